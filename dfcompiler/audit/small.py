"""A mapping of a large op on a small one: the same loops in the same order, several tiles where there were several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

from dfcompiler.hardware.chip import Unit
from dfcompiler.problem import Problem
from dfcompiler.replay import Mapped
from dfcompiler.tiling import Tiling

TRIPS = 3  # tiles per loop and instance at most, where a size allows it: a first, a middle and a last one


def mapped_as(problem: Problem, unit: Unit, helper: Unit | None, tiling: Tiling) -> Mapped:
    """A problem mapped as a tiling says."""
    ways = {x.name: tiling.ways.get(x.name, 1) for x in problem.loops}
    return Mapped(problem, unit, helper, dict(tiling.tile), ways, tuple(tiling.order), tuple(tiling.keeps))


def scaled(large: Mapped, problem: Problem, *, even: bool) -> Mapped:
    """The mapping of a large problem on a small one with loops of the same names.

    A loop that ran once runs once, others up to `TRIPS` times; split loops are split over two instances, or where each
    instance had one tile at most, over as many as there were. With `even` all tiles are alike where the sizes allow
    it, else the last ones are smaller.
    """
    extent = {x.name: x.size for x in large.problem.loops}
    size: dict[str, int] = {}
    ways: dict[str, int] = {}
    for x in problem.loops:
        split, tile = large.ways.get(x.name, 1), large.size.get(x.name, 1)
        trips = ceil(ceil(extent.get(x.name, 1) / split) / tile)
        ways[x.name] = _ways(x.size, split, alone=trips == 1, even=even)
        size[x.name] = _tile(ceil(x.size / ways[x.name]), min(trips, TRIPS), even=even)
    live = [n for n in large.order if n in size and ceil(ceil(_of(problem, n) / ways[n]) / size[n]) > 1]
    kept = [replace(k, since=sum(n in live for n in large.order[: k.since])) for k in large.keeps]
    keeps = tuple(k for k in kept if k.since < len(live))
    return replace(large, problem=problem, size=size, ways=ways, order=tuple(live), keeps=keeps)


def _of(problem: Problem, loop: str) -> int:
    return next(x.size for x in problem.loops if x.name == loop)


def _ways(size: int, split: int, *, alone: bool, even: bool) -> int:
    """Over how many instances a loop of this size is split."""
    most = min(split, size, 4 if alone else 2)
    return max(w for w in range(1, most + 1) if size % w == 0) if even else most


def _tile(size: int, trips: int, *, even: bool) -> int:
    """A tile size that gives about as many trips; ragged unless `even`, where one is possible."""
    if trips == 1:
        return size
    several = [n for n in range(1, size) if ceil(size / n) <= TRIPS] or [1]
    wanted = [n for n in several if (size % n == 0) is even] or several
    return min(wanted, key=lambda n: (abs(ceil(size / n) - trips), n))


def describe(mapped: Mapped) -> Mapping[str, str]:
    """The mapping in words: loops as `size:tile`, split ones with `/ways`."""
    return {
        x.name: f"{x.size}:{mapped.size[x.name]}" + (f"/{w}" if (w := mapped.ways[x.name]) > 1 else "")
        for x in mapped.problem.loops
    }
