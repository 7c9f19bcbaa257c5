"""What runs, on stderr, for anything that takes over a second; nothing for anything faster."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.status import Status

QUIET_S = 1.0


class Progress:
    """Names the pass that runs: a spinner on a terminal, plain lines elsewhere."""

    def __init__(self, passes: Sequence[str]) -> None:
        self.left = list(passes)
        self.lock = threading.Lock()
        self.timer = threading.Timer(QUIET_S, self._speak)
        self.timer.daemon = True
        self.speaking = False
        self.status: Status | None = None

    def __enter__(self) -> Progress:
        self.timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.timer.cancel()
        with self.lock:
            self.speaking, self.left = False, []
            if self.status is not None:
                self.status.stop()

    def done(self) -> None:
        """A pass has ended, the next one begins."""
        with self.lock:
            self.left = self.left[1:]
            if self.speaking:
                self._say()

    def _speak(self) -> None:
        with self.lock:
            if not self.left:
                return
            self.speaking = True
            if sys.stderr.isatty():
                from rich.console import Console

                self.status = Console(file=sys.stderr).status("")
                self.status.start()
            self._say()

    def _say(self) -> None:
        if not self.left:
            return
        if self.status is not None:
            self.status.update(f"{self.left[0]} ...")
        else:
            print(f"dfc: {self.left[0]} ...", file=sys.stderr, flush=True)
