"""What can run at one moment: the largest sets of columns that fit beside each other.

Columns fit that reserve no more than there is of any resource, and of whose nodes no two are apart: in one run nodes
are that are the same, or of which one waits for the other. Whatever a schedule runs at a moment is part of one of these
sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.listing import fits
from dfcompiler.tiling import RESOLUTION

Nodes: TypeAlias = tuple[str, ...]
Apart: TypeAlias = Mapping[str, Set[str]]  # nodes that never run at one moment, told by either of them


@dataclass(frozen=True)
class Moments:
    """The largest `sets` of kinds of columns that can run at one moment. Columns of a kind, by number, fit beside the
    same others; what they reserve of a helper is taken to be what the least of them does."""

    kinds: tuple[tuple[int, ...], ...]
    sets: tuple[tuple[int, ...], ...]


def apart_in_run(flow: nx.DiGraph[str]) -> Apart:
    """Nodes that never run at one moment of one run."""
    return {v: {v} | nx.descendants(flow, v) for v in flow}


def moments(apart: Apart, columns: Sequence[Column], most: int) -> Moments | None:
    """All sets of columns that can run at one moment to which none can be added; None where they are more than
    `most`."""
    near = _near(apart, columns)
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, c in enumerate(columns):
        alike.setdefault((near[i], c.unit, c.dram, c.helper), []).append(i)
    first = [min(some, key=lambda i: columns[i].beside) for some in alike.values()]
    search = _Search([columns[i] for i in first], [_picked(near[i], first) for i in first])
    found: list[tuple[int, ...]] = []
    for each in search.largest():
        found.append(each)
        if len(found) > most:
            return None
    return Moments(tuple(map(tuple, alike.values())), tuple(found))


def _near(apart: Apart, columns: Sequence[Column]) -> list[int]:
    """For every column a bit for each that fits beside it."""
    alike: dict[tuple[object, ...], int] = {}
    of: dict[Nodes, int] = {}
    for i, c in enumerate(columns):
        alike[_reserved(c)] = alike.get(_reserved(c), 0) | 1 << i
        of[c.nodes] = of.get(c.nodes, 0) | 1 << i
    one = {r: columns[bits.bit_length() - 1] for r, bits in alike.items()}
    room = {r: sum(alike[x] for x, c in one.items() if fits([one[r], c])) for r in alike}
    after = {g: set[str]().union(*(apart[v] for v in g)) for g in of}
    free = {g: sum(of[x] for x in of if after[g].isdisjoint(x) and after[x].isdisjoint(g)) for g in of}
    return [room[_reserved(c)] & free[c.nodes] for c in columns]


def _reserved(c: Column) -> tuple[object, ...]:
    return c.unit, c.dram, c.helper, c.beside


def _picked(bits: int, places: Sequence[int]) -> int:
    """The bits at some places, together."""
    return sum(1 << k for k, i in enumerate(places) if bits >> i & 1)


class _Search:
    """Columns, with a bit in `near` for each that fits beside one."""

    def __init__(self, columns: Sequence[Column], near: Sequence[int]) -> None:
        self.columns, self.near = columns, near
        drams = [(c.dram, 1 << i) for i, c in enumerate(columns)]
        self.lean = [sum(bit for dram, bit in drams if dram <= n) for n in range(RESOLUTION + 1)]

    def largest(self) -> Iterator[tuple[int, ...]]:
        """Every largest set once."""
        for i, near in enumerate(self.near):
            before = (1 << i) - 1
            yield from self._grown((i,), near & ~before, near & before)

    def _grown(self, chosen: tuple[int, ...], later: int, earlier: int) -> Iterator[tuple[int, ...]]:
        """The largest sets with these columns and others of `later`; those with one of `earlier` were found before."""
        lean = self.lean[RESOLUTION - sum(self.columns[i].dram for i in chosen)]
        later, earlier = later & lean, earlier & lean
        if len(chosen) > 1:
            later, earlier = self._fitting(chosen, later), self._fitting(chosen, earlier)
        if not later | earlier:
            yield chosen
        while later:
            bit = later & -later
            i = bit.bit_length() - 1
            later ^= bit
            yield from self._grown((*chosen, i), later & self.near[i], earlier & self.near[i])
            earlier |= bit

    def _fitting(self, chosen: Sequence[int], bits: int) -> int:
        """Those of some columns that fit beside all that are chosen."""
        there, found = [self.columns[i] for i in chosen], 0
        while bits:
            bit = bits & -bits
            bits ^= bit
            if fits([*there, self.columns[bit.bit_length() - 1]]):
                found |= bit
        return found
