"""Numbers of one design or of many: a Python number, or an array over designs that broadcasts with others.

What is elaborated once holds for both: one design's numbers stay plain (they are printed, hashed and handed to a
solver), those of many stay arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from math import inf, prod
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
    arrays = [x for x in xs if np.ndim(x)]
    if not arrays:
        return min(xs)
    alone = min((x for x in xs if not np.ndim(x)), default=inf)
    return reduce(_lesser, arrays if alone == inf else (alone, *arrays))


def most(*xs: Any) -> Any:
    """The largest of numbers; over designs where some are arrays."""
    arrays = [x for x in xs if np.ndim(x)]
    if not arrays:
        return max(xs)
    alone = max((x for x in xs if not np.ndim(x)), default=-inf)
    return reduce(_larger, arrays if alone == -inf else (alone, *arrays))


def total(xs: Iterable[Any]) -> Any:
    """The sum of numbers; over designs those that read the same axes are added first, which is less to add."""
    by_shape: dict[tuple[int, ...], Any] = {}
    for x in xs:
        key = np.shape(x)
        by_shape[key] = by_shape[key] + x if key in by_shape else x
    return sum((by_shape[key] for key in sorted(by_shape, key=prod)), 0.0)


def _larger(x: Any, y: Any) -> Any:
    if np.shape(x) == np.shape(y):
        return np.maximum(x, y)
    return x if never_above(y, x) else y if never_above(x, y) else np.maximum(x, y)


def _lesser(x: Any, y: Any) -> Any:
    if np.shape(x) == np.shape(y):
        return np.minimum(x, y)
    return x if never_above(x, y) else y if never_above(y, x) else np.minimum(x, y)


def never_above(x: Any, y: Any) -> bool:
    """Whether numbers are nowhere larger than others, where both broadcast: along an axis that one of them does not
    read only the worst of the other counts. So what decides nowhere need not be spread over the axes of both."""
    x, y = np.asarray(x), np.asarray(y)
    if not x.size or not y.size:
        return True
    if x.item(0) > y.item(0) or x.item(-1) > y.item(-1):  # for the first or the last design, which is told soonest
        return False
    if not x.ndim or not y.ndim:
        return bool(x.max() <= y.min())
    count = max(x.ndim, y.ndim)
    x, y = (a.reshape((1,) * (count - a.ndim) + a.shape) for a in (x, y))
    alone = [tuple(i for i in range(count) if a.shape[i] > 1 == b.shape[i]) for a, b in ((x, y), (y, x))]
    worst = (np.maximum.reduce(x, alone[0], keepdims=True), np.minimum.reduce(y, alone[1], keepdims=True))
    return bool((worst[0] <= worst[1]).all())
