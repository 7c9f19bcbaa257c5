"""A line on a terminal that tells how a study goes; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TextIO

from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.standing import Standing

EVERY_S = 0.2  # between two looks
SMOOTH_S = 10.0  # the rate is that of about as long


class Watch:
    """An observer of `rounds.run`, and a context manager that takes its line away at the end."""

    def __init__(
        self, standing: Standing, total: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`standing` holds what was answered before; `total` answers end the study."""
        self.standing, self.total, self.clock = standing, total, clock
        self.stream = sys.stderr if stream is None else stream
        self.live = self.stream.isatty()
        self.start = self.marked = self.shown = clock()
        self.since = self.marked_answers = standing.answers
        self.rate = 0.0

    def __call__(self, batch: Sequence[tuple[Point, Answer]]) -> None:
        """See `Observer`."""
        if not self.live:
            return
        self.standing.add(batch)
        now = self.clock()
        if now - self.shown >= EVERY_S:
            self.shown = now
            self.stream.write(f"\r\033[K{self.line(now)}")
            self.stream.flush()

    def line(self, now: float) -> str:
        """The line at this time: answers, rate, front, volume, and what is left at that rate."""
        done = self.standing.answers
        took = now - self.marked
        if took > 0:
            self.rate = (done - self.marked_answers) / took
        if took > SMOOTH_S:
            self.marked, self.marked_answers = now, done
        left = f", {duration((self.total - done) / self.rate)} left" if self.rate > 0 and done < self.total else ""
        return (
            f"{done:,} of {self.total:,} points, {self.rate:,.3g}/s, {len(self.standing.points):,} on the front, "
            f"hypervolume {self.standing.volume():.4g}{left}"
        )

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.stream.write("\r\033[K")
            self.stream.flush()


def duration(seconds: float) -> str:
    """A time to wait, to two units: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
