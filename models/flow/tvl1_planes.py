"""This module defines the memory layout of TV-L1's kernel, and the types its modules share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
F = np.float32

LEFT = 16  # columns before (and at least as many after) the picture in a plane
LANES = 16  # columns are computed in multiples of this
MARGIN = 4  # zeros around the picture in a prepared frame: taps beyond the border read them

U, V, GX, GY, RHO, INVERSE, PUX, PUY, PVX, PVY, CHANGE = range(11)  # planes of a level
PLANES = 11

ONE, TWO = np.uintp(1), np.uintp(2)  # signed indices may count from the end: no vector loads
