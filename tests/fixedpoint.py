"""The vector unit's algorithms in numpy, on the same integers: words are 32 bits, numbers Q16.16."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
ONE = 1 << 16
LARGEST = 2**31 - 1

LOG2E = round(math.log2(math.e) * 2**30)
ROOT = int(2 ** (1 / 64) * 2**40 + 0.5)


def word(values: Any) -> Ints:
    """Modulo 2^32, two's complement."""
    return ((np.asarray(values) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _powers() -> Ints:
    """2^(i/64) in 24 bits of fraction, i to 64: by products of the root, as the core does at elaboration."""
    at, found = 1 << 40, []
    for _ in range(65):
        found.append(((at >> 16) + (at >> 15 & 1)) & 0x1FFFFFF)
        at = at * ROOT >> 40
    return np.array(found)


def _roots() -> Ints:
    """1/sqrt(m) in 24 bits: m from 1 to 2 in steps of 1/64, then from 2 to 4 in steps of 1/32, ends included."""
    sixty_fourths = [*range(64, 129), *range(128, 257, 2)]
    return np.array([math.isqrt(2**54 // m) for m in sixty_fourths])


POWERS, ROOTS = _powers(), _roots()
FRACTION = (1 << 24) - 1


def exp(x: Ints) -> Ints:
    """e^x."""
    t = word(x) * LOG2E >> 26
    n, entry, rest = t >> 20, t >> 14 & 63, t & 0x3FFF
    line = POWERS[entry] + ((POWERS[entry + 1] - POWERS[entry] & FRACTION) * rest >> 14)
    shift = np.clip(8 - n, 0, 40)
    half = np.where((shift == 0) | (shift > 25), 0, 1 << np.clip(shift - 1, 0, 25))
    small, large = line + half >> shift, line << np.clip(n - 8, 0, 6)
    return word(np.where(n >= 15, LARGEST, np.where(n > 8, large, small)))


def rsqrt(x: Ints) -> Ints:
    """1/sqrt(x); the largest number where x is not positive."""
    positive = np.where(x > 0, x, 1)
    top = np.floor(np.log2(positive)).astype(np.int64)
    mantissa = (positive << (30 - top)) & ((1 << 30) - 1)
    place = (mantissa >> 24) + 65 * (top & 1)
    line = ROOTS[place] - ((ROOTS[place] - ROOTS[place + 1] & FRACTION) * (mantissa >> 10 & 0x3FFF) >> 14)
    shift = top >> 1
    half = np.where(shift == 0, 0, 1 << np.maximum(shift - 1, 0))
    return np.where(x > 0, line + half >> shift, LARGEST)


def mul(x: Ints, w: Ints, amount: int = 0) -> Ints:
    """The product, shifted right."""
    return word(word(x) * word(w) >> amount)


# What an operation does to two words; those of one operand take the first.
KINDS: dict[str, Callable[[Ints, Ints], Ints]] = {
    "add": lambda x, w: word(x + w),
    "sub": lambda x, w: word(x - w),
    "mul": lambda x, w: mul(x, w, 16),
    "max": np.maximum,
    "exp": lambda x, w: exp(x),
    "rsqrt": lambda x, w: rsqrt(x),
}
