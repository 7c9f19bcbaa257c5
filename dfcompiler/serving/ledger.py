"""The ledger of the plain engines: every token of every request, written down and checked as it comes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dfcompiler.serving.gaps import ALL_BINS, Gaps, bin_of
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served, Totals, series_of


class Ledger:
    """What became of each request so far. `gaps` has every gap between two tokens and how often it came.

    It holds that a request gets its first token once, at or after its arrival, later tokens in order of time, never
    more than it asked for, and is done when it has them all.
    """

    def __init__(self, requests: Requests, replicas: int) -> None:
        n = len(requests)
        self.requests = requests
        self.arrival: list[float] = requests.arrival_s.tolist()
        self.output: list[int] = requests.output_tokens.tolist()
        self.generated = [0] * n
        self.first = [math.nan] * n
        self.last = [math.nan] * n
        self.worst = [0.0] * n
        self.preemptions = [0] * n
        self.rejected = [False] * n
        self.replica = [-1] * n
        self.gaps: list[tuple[float, int]] = []
        self.rows: list[tuple[float, ...]] = []
        self.steps = [0] * replicas
        self.busy_s = [0.0] * replicas
        self.prefill_tokens = [0] * replicas
        self.decode_tokens = [0] * replicas
        self.cached_tokens = [0] * replicas

    def token(self, request: int, now_s: float, replica: int) -> bool:
        """Write down one token; whether it was the last one."""
        assert not self.rejected[request] and self.generated[request] < self.output[request]
        if self.generated[request] == 0:
            assert now_s >= self.arrival[request]
            self.first[request] = now_s
        else:
            gap = now_s - self.last[request]
            assert gap >= 0
            self.gaps.append((gap, 1))
            self.worst[request] = max(self.worst[request], gap)
        self.last[request] = now_s
        self.generated[request] += 1
        self.replica[request] = replica
        return self.generated[request] == self.output[request]

    def tokens(self, requests: Sequence[int], durations_s: Sequence[float], end_s: float) -> None:
        """Write down that each of these requests got a token after each of these times, the last one at `end_s`."""
        self.gaps += [(duration, len(requests)) for duration in durations_s]
        longest = max(durations_s)
        for r in requests:
            self.generated[r] += len(durations_s)
            assert self.generated[r] <= self.output[r]
            self.worst[r] = max(self.worst[r], longest)
            self.last[r] = end_s

    def served(self, with_series: bool) -> Served:
        """The result, once everything is done; it holds that nothing was lost."""
        for got, wanted, rejected in zip(self.generated, self.output, self.rejected, strict=True):
            assert got == (0 if rejected else wanted)
        counts = np.zeros(ALL_BINS, dtype=np.int64)
        for gap, times in self.gaps:
            counts[bin_of(gap)] += times
        totals = Totals(
            np.array(self.steps, dtype=np.int64),
            np.array(self.busy_s),
            np.array(self.prefill_tokens, dtype=np.int64),
            np.array(self.decode_tokens, dtype=np.int64),
            np.array(self.cached_tokens, dtype=np.int64),
        )
        return Served(
            np.array(self.first),
            np.array(self.last),
            np.where(self.rejected, math.nan, self.worst),
            np.array(self.preemptions, dtype=np.int32),
            np.array(self.rejected, dtype=np.bool_),
            np.array(self.replica, dtype=np.int32),
            Gaps(counts),
            totals,
            series_of([np.array(self.rows, dtype=np.float64)]) if with_series else None,
        )
