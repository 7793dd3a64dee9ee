"""Makes `miniatures` importable: it writes small datasets and holds no tests."""

import os
import sys
from pathlib import Path

# Several test processes share the cores: waiting OpenMP threads must not spin. Before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).parent))
