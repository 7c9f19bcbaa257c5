"""What became of requests: times of tokens, gaps between them, and what the replicas did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcompiler.serving.requests import Floats, Ints

# Gaps are counted in bins that divide each octave evenly, from 2**LOWEST s to 2**HIGHEST s.
LOWEST, HIGHEST = -20, 20  # a microsecond, twelve days
BINS = 1 << 13  # of each octave: a bin is at most 1.22e-4 of its values wide
SMALLEST = 2.0**LOWEST


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
    fraction, exponent = math.frexp(gap)
    if exponent > HIGHEST:
        return (HIGHEST - LOWEST) * BINS
    return 1 + (exponent - 1 - LOWEST) * BINS + int((2.0 * fraction - 1.0) * BINS)


def count_run(counts: NDArray[np.int64] | list[int], first: float, growth: float, steps: int, times: int) -> None:
    """Count the gaps of a run of steps, of which each takes `growth` more than the one before, `times` each."""
    if steps <= 0:
        return
    low = bin_of(first)
    if low == bin_of(first + growth * (steps - 1)):
        counts[low] += steps * times
        return
    for i in range(steps):
        counts[bin_of(first + growth * i)] += times


EMPTY_BINS = (HIGHEST - LOWEST) * BINS + 1

# Columns of `Series.rows`.
COLUMNS = ("replica", "start_s", "end_s", "steps", "prefill", "batch", "context", "blocks", "waiting")


@dataclass(frozen=True)
class Series:
    """What replicas did, one row per step or run of equal decode steps, by their starts within each replica.

    `replica`; `start_s`, `end_s`; `steps` of the run; `prefill` tokens computed; `batch` sequences that decode, and
    the `context` of the first step; `blocks` of the cache in use at the start of the first step, with what it takes;
    requests `waiting` after it has begun.
    """

    rows: Floats

    def column(self, name: str) -> Floats:
        """One column, by its name in `COLUMNS`."""
        return self.rows[:, COLUMNS.index(name)]


@dataclass(frozen=True)
class Totals:
    """What replicas did in all, one entry per replica.

    `busy_s` is the time in steps; `prefill_tokens` were computed, those computed again included, `decode_tokens`
    came from decoding; `cached_tokens` were found in the cache of prefixes.
    """

    steps: Ints
    busy_s: Floats
    prefill_tokens: Ints
    decode_tokens: Ints
    cached_tokens: Ints


@dataclass(frozen=True)
class Served:
    """One entry per request, on the clock of the arrivals; nan where a request was rejected.

    `max_gap_s` is the longest time between two tokens, 0 where there is one token; all gaps of a request add up to
    `done_s - first_token_s`. A request is rejected where no replica could ever hold it.
    """

    first_token_s: Floats
    done_s: Floats
    max_gap_s: Floats
    preemptions: NDArray[np.int32]
    rejected: NDArray[np.bool_]
    replica: NDArray[np.int32]  # that generated the last token; -1 where rejected
    gaps: Gaps
    totals: Totals
    series: Series | None = None

    @property
    def sum_gap_s(self) -> Floats:
        """The sum of all gaps of each request."""
        return self.done_s - self.first_token_s

    @property
    def steps(self) -> int:
        """Steps of all replicas."""
        return int(self.totals.steps.sum())


def series_of(parts: Sequence[Floats]) -> Series:
    """The rows of all parts, by replica and then by start."""
    rows = np.concatenate([p.reshape(-1, len(COLUMNS)) for p in parts]) if parts else np.empty((0, len(COLUMNS)))
    return Series(rows[np.argsort(rows[:, 0], kind="stable")])
