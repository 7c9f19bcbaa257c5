"""Time for work, counted by the work that is done: equal input gets equal work done, however busy the machine is.

What a piece of work takes is estimated from its size, by rates that were measured once. The clock only ends what is
late by a fifth.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import inf

LATE = 1.2  # times the limit: when the clock ends what the count has not


@dataclass
class Budget:
    """`seconds` that are left. What a part spends is spent by the whole."""

    seconds: float = inf
    deadline: float = inf  # by the clock of `time.perf_counter`
    whole: Budget | None = None

    @staticmethod
    def of(seconds: float) -> Budget:
        """A budget that begins now."""
        return Budget(seconds, time.perf_counter() + LATE * seconds)

    def part(self, seconds: float) -> Budget:
        """So many seconds of what is left, or all of it."""
        return Budget(max(0.0, min(seconds, self.seconds)), self.deadline, self)

    def spend(self, seconds: float) -> None:
        """Count work that took, or will take, so long."""
        self.seconds -= seconds
        if self.whole is not None:
            self.whole.spend(seconds)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.seconds <= 0 or time.perf_counter() > self.deadline

    @property
    def clock_s(self) -> float:
        """Seconds until the clock ends what still runs."""
        return max(0.01, self.deadline - time.perf_counter())
