"""How people are held in memory: a numpy array per variable, shape (people,)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# By variable. Numbers as floats; categories as positions in the dictionary's levels, -1 where not applicable; dates as
# days since 1970-01-01.
Columns = dict[str, NDArray[Any]]
