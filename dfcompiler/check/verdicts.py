"""What a check found: how much it looked at, and what is wrong, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Fault:
    """Something wrong at a place such as `mapping.segments[1].tasks[3].end`."""

    path: str
    message: str


@dataclass(frozen=True)
class Verdict:
    """A check by name, in a sentence what holds if it passes, how many things it looked at, and its faults.

    `notes` say what had to be taken on trust.
    """

    name: str
    what: str
    count: int
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def joined(parts: Sequence[Verdict]) -> Verdict:
    """The same check of several parts as one."""
    faults = tuple(f for v in parts for f in v.faults)
    return replace(parts[0], count=sum(v.count for v in parts), faults=faults)


def verdict(name: str, what: str, count: int, faults: Iterable[Fault | None], notes: Iterable[str] = ()) -> Verdict:
    """A verdict of what was found; None is nothing wrong."""
    return Verdict(name, what, count, tuple(f for f in faults if f is not None), tuple(notes))
