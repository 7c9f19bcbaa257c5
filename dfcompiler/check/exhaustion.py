"""All schedules of a small segment that could end before a bound, in search of one that does."""

from __future__ import annotations

from dfcompiler.check.chains import Chains
from dfcompiler.check.contents import Column, Segment

MOST = 200_000  # placements: seconds

Placed = tuple[tuple[int, int, Column], ...]  # start, end, what


def none_before(bound: int, s: Segment, whole: int) -> bool:
    """Whether no schedule ends before a bound.

    Tasks are placed in the order of their starts, each as early as its operands and the tasks placed allow: to that
    form every schedule can be moved without making it longer. False also where there is too much to visit."""
    chains = Chains(s)
    placements = 0

    def shorter(placed: Placed, last: int) -> bool:
        nonlocal placements
        ends = {v: end for _, end, c in placed for v in c.nodes}
        if len(ends) == len(s.nodes):
            return True
        now = placed[-1][0] if placed else 0
        for i, c in enumerate(s.columns):
            placements += 1
            if placements > MOST:
                return True
            needed = [u for u, v in s.flow if v in c.nodes and u not in c.nodes]
            if any(v in ends for v in c.nodes) or any(u not in ends for u in needed):
                continue
            start = _start(c, max([now, *(ends[u] for u in needed)]), placed, whole)
            tail = max((chains.since[w] for v, w in s.flow if v in c.nodes and w not in c.nodes), default=0)
            in_order = start > now or i > last
            if in_order and start + c.cycles + tail < bound and shorter((*placed, (start, start + c.cycles, c)), i):
                return True
        return False

    return not shorter((), -1)


def _start(c: Column, earliest: int, placed: Placed, whole: int) -> int:
    for at in sorted({earliest, *(end for _, end, _ in placed if end > earliest)}):
        held = c.uses(whole)
        for _, end, other in placed:
            if end > at:
                for name, n in other.uses(whole).items():
                    held[name] = held.get(name, 0) + n
        if all(n <= whole for n in held.values()):
            return at
    raise AssertionError("a column fits where nothing else runs")
