"""Numbers of one design or of many: a Python number, or an array over designs that broadcasts with others.

What is elaborated once holds for both: one design's numbers stay plain (they are printed, hashed and handed to a
solver), those of many stay arrays.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np


def plain(x: Any) -> Any:
    """A float of one number, an array as it is."""
    return x if np.ndim(x) else float(x)


def whole(x: Any) -> Any:
    """What is below, in whole numbers: an int of one number."""
    return np.floor(x).astype(np.int64) if np.ndim(x) else int(x)


def least(*xs: Any) -> Any:
    """The least of numbers; over designs where some are arrays."""
    return reduce(np.minimum, xs) if any(map(np.ndim, xs)) else min(xs)


def most(*xs: Any) -> Any:
    """The largest of numbers; over designs where some are arrays."""
    return reduce(np.maximum, xs) if any(map(np.ndim, xs)) else max(xs)
