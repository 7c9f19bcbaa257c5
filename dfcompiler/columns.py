"""Columns: what each group of nodes may cost on each unit. Everything that a mapper chooses from.

A column says how long a group holds its unit, and which shares of the way to memory (the DRAM's bandwidth,
and with it the network's) and of the vector unit beside it are reserved for as long. The share of the vector
unit is its mean over the op's tiles. Where energy counts, every tiling that no other beats in time and energy is a
column.

An exchange between devices has one column, on the links: to a mapper they are one more unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from math import ceil, inf

import networkx as nx

from dfcompiler.collectives import exchanged
from dfcompiler.compose import Group, group, single
from dfcompiler.energy import energy_pj
from dfcompiler.graph import Graph, Node, Region
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.pins import Pin, with_pins
from dfcompiler.problem import Problem
from dfcompiler.staging import staged
from dfcompiler.tiling import RESOLUTION, SHARES, Tiling


@dataclass(frozen=True, eq=False)
class Column:
    """One way to run a group: `cycles` on `unit`, with sixteenths of the way to memory (`dram`) and of the helper, and
    the energy that it takes. It finds, and leaves, the tensors of `pins` on the chip, and all others in DRAM."""

    nodes: tuple[str, ...]
    unit: str
    helper: str | None
    cycles: int
    dram: int
    beside: int
    tiling: Tiling
    pj: float = 0.0
    pins: tuple[Pin, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a unit offers no column for a group. Of a node that no unit can run, what would let this one run it."""

    nodes: tuple[str, ...]
    unit: str
    why: str
    remedy: str = ""


@dataclass(frozen=True)
class Segment:
    """Nodes that are scheduled together and run `repeat` times, one layer after the other. Where devices are in stages,
    `runs` says how many of these each stage runs, from number `stage` on; what it `sends` is a segment too."""

    repeat: int
    nodes: tuple[str, ...]
    stage: int = 0
    runs: tuple[int, ...] = ()
    sends: bool = False

    @property
    def on(self) -> dict[int, int]:
        """How often each stage runs it."""
        return dict(enumerate(self.runs or (self.repeat,), self.stage))


@dataclass(frozen=True)
class Columns:
    """All columns of a graph on a chip, by segment; `problems` holds the loop nest of every group that has one, which
    exchanges have not. A schedule of columns that were left out takes up to `loss` of its energy less than one of those
    that are here, in no less time."""

    segments: tuple[Segment, ...]
    columns: tuple[Column, ...]
    refusals: tuple[Refusal, ...]
    problems: Mapping[tuple[str, ...], Problem]
    candidates: int
    shares: tuple[float, ...] = SHARES
    loss: float = 0.0

    def of(self, segment: Segment) -> list[Column]:
        """The columns whose nodes lie in the segment."""
        inside = set(segment.nodes)
        return [c for c in self.columns if c.nodes[0] in inside]

    def problem_of(self, c: Column) -> Problem | None:
        """The loop nest of a column, with what it finds pinned; None of an exchange."""
        found = self.problems.get(c.nodes)
        return with_pins(found, c.pins) if found else None


def segments(graph: Graph) -> tuple[Segment, ...]:
    """The graph in program order: runs of nodes outside of regions, each region by itself, and what is handed on."""
    found: list[Segment] = []
    runs = groupby(staged(graph), lambda x: x if isinstance(x.item, Region) else (x.stage, x.sends))
    for _, group_ in runs:
        first, *rest = group_
        if isinstance(first.item, Region):
            found += _layers(first.item, first.runs, first.stage)
        else:
            names = tuple(x.item.name for x in (first, *rest) if isinstance(x.item, Node))
            found.append(Segment(1, names, first.stage, (1,), first.sends))
    return tuple(found)


def _layers(region: Region, runs: tuple[int, ...], stage: int) -> list[Segment]:
    names = tuple(i.name for i in region.body if isinstance(i, Node))
    found = [Segment(sum(runs), names, stage, runs)] if names else []
    for item in region.body:
        if isinstance(item, Region):
            found += _layers(item, tuple(n * item.count for n in runs), stage)
    if region.between:
        once = (1,) * (len(runs) - 1)
        found.append(Segment(len(once), tuple(n.name for n in region.between), stage, once, sends=True))
    return found


def flow_of(graph: Graph, segment: Segment) -> nx.DiGraph[str]:
    """Data dependences inside one segment, nodes in program order."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(segment.nodes)
    flow.add_edges_from(e for e in graph.flow.edges if e[0] in flow and e[1] in flow)
    return flow


def candidates(graph: Graph) -> tuple[Group, ...]:
    """Every node but exchanges by itself, then every offer that can be one op and lies within one segment."""
    where = {n: s for s in segments(graph) for n in s.nodes}
    groups = [single(graph, n) for n in graph.nodes.values() if not exchanged(n)]
    for offer in graph.offers:
        if len({where[n] for n in offer.nodes}) == 1:
            joined = group(graph, offer.nodes)
            if isinstance(joined, Group):
                groups.append(joined)
    return tuple(groups)


def column(p: Problem, unit: Unit, tiling: Tiling, chip: Chip, pins: tuple[Pin, ...] = ()) -> Column:
    """A tiling as a choice of the mapper: whole cycles, reservations rounded up to sixteenths."""
    cycles = ceil(tiling.cycles)
    beside = min(RESOLUTION, ceil(RESOLUTION * tiling.helper_cycles / cycles)) if tiling.helper_cycles else 0
    helper = unit.vector if beside else None
    pj = energy_pj(p, unit.name, helper, tiling, chip)
    dram = ceil(tiling.share * RESOLUTION)
    return Column(p.group.nodes, unit.name, helper, cycles, dram, beside, tiling, pj, pins)


def undominated(columns: list[Column], thin: float = inf) -> list[Column]:
    """Columns that no other with the same pins beats in time and in every reservation, and in energy but for a part
    `thin` of it."""
    kept: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.cycles, c.dram, c.beside, c.pj)):
        if not any(as_good(k, c) and k.pj <= c.pj * (1 + thin) for k in kept):
            kept.append(c)
    return kept


def as_good(a: Column, b: Column) -> bool:
    """Whether a column has the pins of another, takes no longer and reserves no more."""
    return a.pins == b.pins and a.cycles <= b.cycles and a.dram <= b.dram and a.beside <= b.beside
