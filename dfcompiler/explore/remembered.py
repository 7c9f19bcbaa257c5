"""Answers of yes or no that are kept in a file, so that a search which asks the same again goes on where it ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from dfcompiler.diagnostics import Diag
from dfcompiler.explore import journal

TOGETHER = 64  # answers that are written at once: so many are lost at the most


class Remembered:
    """Answers by their keys; without a path they are forgotten at the end. `of` is a hash of all they follow from.

    Raises Diag `study-of-another-space` for a file of others, `damaged-study`, and `study-not-written`.
    """

    def __init__(self, path: Path | None, of: str) -> None:
        self.known: dict[str, bool] = {}
        self._new: list[dict[str, object]] = []
        self._journal: journal.Journal | None = None
        if path is None:
            return
        records, end = journal.read(path)
        if records and records[0].get("of") != of:
            hint = "take another file, or ask what it was begun with"
            raise Diag("study-of-another-space", f"`{path}` has answers to other questions", hint=hint)
        self.known = {r["key"]: r["answer"] for r in records[1:]}
        self._journal = journal.Journal(path, end)
        if not records:
            self._journal.append([{"of": of}])

    def ask(self, key: str, answer: Callable[[], bool]) -> bool:
        """The answer that is known, or else a new one."""
        if key not in self.known:
            self.known[key] = answer()
            self._new.append({"key": key, "answer": self.known[key]})
            if len(self._new) >= TOGETHER:
                self._write()
        return self.known[key]

    def _write(self) -> None:
        if self._journal is not None and self._new:
            self._journal.append(self._new)
        self._new = []

    def __enter__(self) -> Remembered:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        if self._journal is not None:
            self._journal.close()
