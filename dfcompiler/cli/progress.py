"""What runs, on the terminal of stderr, for anything that takes over a second; nothing where that is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import Task

QUIET_S = 1.0


class Progress:
    """A line with what runs now, how much of it is done, at which rate, and how long the rest takes.

    `plan` is what runs one after the other, each for so many seconds at most where that is known.
    """

    def __init__(self, plan: Sequence[tuple[str, float | None]] = ()) -> None:
        self.plan = list(plan)
        self.lock = threading.Lock()
        self.timer = threading.Timer(QUIET_S, self._speak)
        self.timer.daemon = True
        self.now: tuple[str, float | None] | None = None
        self.since = 0.0  # when it began
        self.count: tuple[int, int] | None = None
        self.bars: Bars | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            self.timer.start()
            self.done()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()
        with self.lock:
            self.now = None
            if self.bars is not None:
                self.bars.stop()

    def done(self) -> None:
        """What ran has ended: the next of the plan begins."""
        if self.plan:
            self.begin(*self.plan.pop(0))

    def begin(self, what: str, most_s: float | None = None) -> None:
        """Something runs from now on, for so many seconds at most where that is known."""
        with self.lock:
            self.now, self.count, self.since = (what, most_s), None, time.monotonic()
            self._show()

    def advance(self, done: int, of: int) -> None:
        """So much of it is done."""
        with self.lock:
            fresh = self.count is None
            self.count = done, of
            if self.bars is None:
                return
            if fresh:
                self._show()
            self.bars.update(self.bars.task_ids[-1], completed=done, total=of)

    def _speak(self) -> None:
        with self.lock:
            if self.now is not None:
                self.bars = _bars()
                self.bars.start()
                self._show()

    def _show(self) -> None:
        if self.bars is None or self.now is None:
            return
        for old in self.bars.task_ids:
            self.bars.remove_task(old)
        done, of = self.count or (0, None)
        self.bars.add_task(self.now[0], completed=done, total=of, since=self.since, most_s=self.now[1])


def _bars() -> Bars:
    """Bars that vanish at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Left(ProgressColumn):
        """How much, how fast, how long."""

        def render(self, task: Task) -> Text:
            took = time.monotonic() - task.fields["since"]
            return Text(left(took, task.completed, task.total, task.fields["most_s"]), style="dim")

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), Left())
    return Bars(*columns, console=Console(file=sys.stderr), transient=True)


def left(elapsed_s: float, done: float, of: float | None, most_s: float | None) -> str:
    """In words what a bar shows: `12 of 40, 3.1/s, 0:09 left`, or the time that it has taken, and may take."""
    if of is None:
        limit = f" of at most {clock(most_s)}" if most_s is not None else ""
        return f"{clock(elapsed_s)}{limit}"
    counted = f"{done:,.0f} of {of:,.0f}"
    if not done or not elapsed_s:
        return counted
    return f"{counted}, {done / elapsed_s:.3g}/s, {clock((of - done) * elapsed_s / done)} left"


def clock(seconds: float) -> str:
    """`0:09`, `12:05`, `1:00:00`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
