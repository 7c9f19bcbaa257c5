"""What became of requests: times of tokens, gaps between them, and what the replicas did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcompiler.serving.gaps import Gaps
from dfcompiler.serving.requests import Floats, Ints

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
