"""Times between tokens, counted in fine bins: their quantiles in bounded memory."""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from dataclasses import dataclass
from math import frexp

import numpy as np

from dfcompiler.serving.requests import Ints

# Gaps are counted in bins that divide each octave evenly, from 2**LOWEST s to 2**HIGHEST s.
LOWEST, HIGHEST = -20, 20  # a microsecond, twelve days
BINS = 1 << 13  # of each octave: a bin is at most 1.22e-4 of its values wide
SMALLEST = 2.0**LOWEST
ALL_BINS = (HIGHEST - LOWEST) * BINS + 1
TWICE = 2.0 * BINS
OFFSET = LOWEST + 2  # as `frexp` gives fractions from 0.5


@dataclass(frozen=True)
class Gaps:
    """How often which time passed between two tokens of a request, over all requests; bounded memory.

    `counts[0]` is for gaps below a microsecond, the others are for bins whose width is at most 1.22e-4 of their value.
    """

    counts: Ints

    @property
    def total(self) -> int:
        """Number of gaps: all tokens but the first ones."""
        return int(self.counts.sum())

    def quantile(self, part: float) -> float:
        """The smallest gap that at least this part of all gaps do not exceed, to 6.1e-5 of its value; nan without gaps.

        `part` is from 0 to 1. Gaps below a microsecond count as 0.
        """
        total = self.total
        if not total:
            return math.nan
        rank = max(1, math.ceil(part * total))
        return middle_s(int(np.searchsorted(np.cumsum(self.counts), rank)))


def middle_s(index: int) -> float:
    """The middle of a bin."""
    if index == 0:
        return 0.0
    octave, within = divmod(index - 1, BINS)
    return math.ldexp(1 + (within + 0.5) / BINS, LOWEST + octave)


def bin_of(gap: float) -> int:
    """The bin that a gap is counted in."""
    if gap < SMALLEST:
        return 0
    fraction, exponent = frexp(gap)
    if exponent > HIGHEST:
        return ALL_BINS - 1
    return 1 + (exponent - OFFSET) * BINS + int(fraction * TWICE)


def count_run(counts: MutableSequence[int], first: float, growth: float, steps: int, times: int) -> None:
    """Count the gaps of a run of steps, of which each takes `growth` more than the one before, `times` each."""
    if steps <= 0:
        return
    end = first + growth * (steps - 1)
    low, high = bin_of(first), bin_of(end)
    if low == high:
        counts[low] += steps * times
        return
    counts[high] += times
    if 0 < low < ALL_BINS - 1 and (low - 1) // BINS == (high - 1) // BINS:  # within an octave bins are a line
        fraction, exponent = frexp(first)
        start, scale = 1 + (exponent - OFFSET) * BINS, fraction / first * TWICE  # a power of two: no bit is lost
        first, growth = first * scale, growth * scale
        for i in range(steps - 1):
            counts[start + int(first + growth * i)] += times
        return
    for i in range(steps - 1):
        counts[bin_of(first + growth * i)] += times
