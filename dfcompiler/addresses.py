"""Where tensors lie in a memory: each at one address for as long as it lives, no two at one place at one time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dfcompiler.pins import Pin
from dfcompiler.solution import Task

ORDERS = 20_000  # placements that are tried, at most


@dataclass(frozen=True)
class Life:
    """A tensor that lives from `start` to `end`."""

    name: str
    start: int
    end: int
    bytes: int

    def beside(self, other: Life) -> bool:
        """Whether both live at some moment."""
        return self.start < other.end and other.start < self.end


def lives(tasks: Iterable[Task]) -> dict[Pin, Life]:
    """When the tensors live that tasks pin: from the start of who makes one to the end of who reads it last."""
    found: dict[Pin, Life] = {}
    for t in tasks:
        for pin in t.column.pins:
            old = found.get(pin) or Life(pin.tensor, t.start, t.end, pin.bytes)
            found[pin] = replace(old, start=min(old.start, t.start), end=max(old.end, t.end))
    return found


def placed(tasks: Iterable[Task]) -> dict[Pin, int] | tuple[Pin, ...]:
    """An address for every tensor that tasks pin, or those for which none was found: not all of these may live so."""
    of, found = lives(tasks), dict[Pin, int]()
    for memory in sorted({pin.memory for pin in of}):
        mine = {of[pin].name: pin for pin in of if pin.memory == memory}
        at = packed([of[pin] for pin in mine.values()], next(iter(mine.values())).room_bytes)
        if not isinstance(at, dict):
            return tuple(mine[n] for n in at)
        found |= {mine[n]: a for n, a in at.items()}
    return found


def packed(every: Sequence[Life], room_bytes: int) -> dict[str, int] | tuple[str, ...]:
    """An address for each that leaves all apart, below `room_bytes`; or names of those for which none was found: of
    these not all may live as they do.

    In a packing in which nothing can move down, each lies on the ground or on another that lives beside it, so placing
    them by their addresses, each as low as it can, reaches it. All orders are tried, up to a number.
    """
    found: dict[str, int] = {}
    for some in _clusters(every):
        search = _Packing(some, room_bytes)
        if not search.placed({}, tuple(sorted(some, key=lambda x: (-(x.end - x.start) * x.bytes, x.name)))):
            return tuple(sorted(x.name for x in some))
        found |= search.found
    return found


def _clusters(lives: Sequence[Life]) -> list[list[Life]]:
    """Those that live beside each other, directly or by others between."""
    found: list[list[Life]] = []
    end = 0
    for x in sorted(lives, key=lambda x: (x.start, x.end, x.name)):
        if not found or x.start >= end:
            found.append([])
        found[-1].append(x)
        end = max(end, x.end) if len(found[-1]) > 1 else x.end
    return found


class _Packing:
    """A search for addresses; `found` once it succeeds."""

    def __init__(self, lives: Sequence[Life], room_bytes: int) -> None:
        self.room_bytes, self.left = room_bytes, ORDERS
        self.of = {x.name: x for x in lives}
        self.found: dict[str, int] = {}

    def placed(self, at: dict[str, int], rest: tuple[Life, ...]) -> bool:
        """Whether the rest can be placed, none below the last one."""
        if not rest:
            self.found = at
            return True
        least = max(at.values(), default=0)
        for i, x in enumerate(rest):
            self.left -= 1
            if self.left < 0:
                return False
            low = max((a + self.of[n].bytes for n, a in at.items() if self.of[n].beside(x)), default=0)
            again = any(y.start == x.start and y.end == x.end and y.bytes == x.bytes for y in rest[:i])
            if low < least or low + x.bytes > self.room_bytes or again:
                continue
            if self.placed(at | {x.name: low}, rest[:i] + rest[i + 1 :]):
                return True
        return False
