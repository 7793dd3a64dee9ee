"""Benchmarks: ``python benchmarks/NAME.py`` and ``python -m benchmarks.NAME`` do the same.

Python puts a script's own folder on its path, but not that of a module. With this line both ways
find the modules beside them by their bare names.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent))
