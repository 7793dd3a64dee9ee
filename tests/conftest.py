"""Makes `miniatures` importable: it writes small datasets and holds no tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
