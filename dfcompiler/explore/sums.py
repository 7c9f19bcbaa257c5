"""Figures of many designs as sums of arrays, each over the axes that it reads: what is kept is as small as what is
added, however many designs all axes make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from math import prod
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.explore.references import Array

Parts: TypeAlias = tuple[Array, ...]  # of a sum, those over most designs first
ZERO = np.zeros(())


def parts(xs: Iterable[Any]) -> Parts:
    """The sum of numbers over designs, in one array for all that read no axis but those of it."""
    by_shape: dict[tuple[int, ...], Array] = {}
    for x in xs:
        key = np.shape(x)
        by_shape[key] = by_shape[key] + x if key in by_shape else np.asarray(x)
    small = sorted(by_shape, key=lambda shape: (prod(shape), len(shape)))
    for i, shape in enumerate(small):
        whole = next((s for s in small[i + 1 :] if np.broadcast_shapes(shape, s) == s), None)
        if whole is not None:
            by_shape[whole] = by_shape[whole] + by_shape.pop(shape)
    return tuple(by_shape[s] for s in reversed(small) if s in by_shape) or (ZERO,)


def spread(summed: Sequence[Array]) -> Array:
    """The sum itself over all designs that its parts are of."""
    whole = summed[-1]
    for x in reversed(summed[:-1]):
        whole = whole + x
    return whole


def aligned(many: Sequence[Parts]) -> Iterable[tuple[Array, ...]]:
    """The first part of every sum, the second of every sum, and so on; 0 where a sum has fewer."""
    return zip_longest(*many, fillvalue=ZERO)
