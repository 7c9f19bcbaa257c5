"""Columns: what each group of nodes may cost on each unit. Everything that a mapper chooses from.

A column says how long a group holds its unit, and which shares of the way to memory (the DRAM's bandwidth,
and with it the network's) and of the vector unit beside it are reserved for as long. The share of the vector
unit is its mean over the op's tiles. Equal problems are searched once. A unit that cannot beat the schedule
that runs everything serially on the best units can be in no optimal schedule, so it is not searched at all
(`Refusal` says so).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TypeAlias

import networkx as nx

from dfcompiler import paths
from dfcompiler.compose import Group, group, single
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import Graph, Node, Region
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.problem import Problem, problem
from dfcompiler.tiling import Search, Tiling, search, unable

UNITS = 16  # a shared resource is reserved in sixteenths

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Column:
    """One way to run a group: `cycles` on `unit`, with sixteenths of the way to memory (`dram`) and of the helper."""

    nodes: tuple[str, ...]
    unit: str
    helper: str | None
    cycles: int
    dram: int
    beside: int
    tiling: Tiling


@dataclass(frozen=True)
class Refusal:
    """Why a unit offers no column for a group."""

    nodes: tuple[str, ...]
    unit: str
    why: str


@dataclass(frozen=True)
class Segment:
    """Nodes that are scheduled together and run `repeat` times, one layer after the other."""

    repeat: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Columns:
    """All columns of a graph on a chip, by segment; `problems` holds the loop nest of every group."""

    segments: tuple[Segment, ...]
    columns: tuple[Column, ...]
    refusals: tuple[Refusal, ...]
    problems: Mapping[tuple[str, ...], Problem]
    candidates: int

    def of(self, segment: Segment) -> list[Column]:
        """The columns whose nodes lie in the segment."""
        inside = set(segment.nodes)
        return [c for c in self.columns if c.nodes[0] in inside]


def segments(graph: Graph) -> tuple[Segment, ...]:
    """The graph in program order: runs of nodes outside of regions, and each region by itself."""
    found: list[Segment] = []
    run: list[str] = []
    for item in graph.body:
        if isinstance(item, Node):
            run.append(item.name)
        elif isinstance(item, Region):
            if run:
                found.append(Segment(1, tuple(run)))
            run = []
            found += _layers(item, 1)
    return (*found, Segment(1, tuple(run))) if run else tuple(found)


def _layers(region: Region, times: int) -> list[Segment]:
    names = tuple(i.name for i in region.body if isinstance(i, Node))
    inner = [s for i in region.body if isinstance(i, Region) for s in _layers(i, times * region.count)]
    return [*([Segment(times * region.count, names)] if names else []), *inner]


def flow_of(graph: Graph, segment: Segment) -> nx.DiGraph[str]:
    """Data dependences inside one segment, nodes in program order."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(segment.nodes)
    flow.add_edges_from(e for e in graph.flow.edges if e[0] in flow and e[1] in flow)
    return flow


def candidates(graph: Graph) -> tuple[Group, ...]:
    """Every node by itself, then every offer that can be one op and lies within one segment."""
    where = {n: s for s in segments(graph) for n in s.nodes}
    groups = [single(graph, n) for n in graph.nodes.values()]
    for offer in graph.offers:
        if len({where[n] for n in offer.nodes}) == 1:
            joined = group(graph, offer.nodes)
            if isinstance(joined, Group):
                groups.append(joined)
    return tuple(groups)


def price(graph: Graph, chip: Chip, dtypes: DtypeMap, shares: Sequence[float]) -> Columns:
    """Search every group on every unit that could be part of an optimal schedule."""
    parts = segments(graph)
    problems = {g.nodes: problem(g, dtypes) for g in candidates(graph)}
    pricer = _Pricer(chip, shares)
    columns: list[Column] = []
    refusals: list[Refusal] = []
    for segment in parts:
        inside = {k: p for k, p in problems.items() if k[0] in set(segment.nodes)}
        found, refused = pricer.segment(flow_of(graph, segment), inside)
        columns += found
        refusals += refused
    return Columns(parts, tuple(columns), tuple(refusals), problems, pricer.candidates)


class _Pricer:
    """Searches problems on units, equal ones once."""

    def __init__(self, chip: Chip, shares: Sequence[float]) -> None:
        self.chip, self.shares = chip, shares
        self.known: dict[Key, Search] = {}
        self.candidates = 0

    def segment(
        self, flow: nx.DiGraph[str], problems: Mapping[tuple[str, ...], Problem]
    ) -> tuple[list[Column], list[Refusal]]:
        """Columns of one segment: best guesses first, then every unit on which a group's longest chain could fit
        into the serial schedule of those."""
        units = self.chip.units.values()
        floors = {(k, u.name): floor_cycles(p, u, self._helper(u)) for k, p in problems.items() for u in units}
        first = {k: min(units, key=lambda u: floors[k, u.name]) for k in problems}
        self._search((problems[k], u) for k, u in first.items() if floors[k, u.name] < inf)
        limit = self._serial(problems, first)
        rest = (
            paths.beside(flow, paths.costs(flow, {k: floors[k, u.name] for k, u in first.items()}), problems)
            if limit < inf
            else {}
        )
        least = {(k, u.name): floors[k, u.name] + rest.get(k, 0.0) for k in problems for u in units}
        self._search(
            (problems[k], u) for k in problems for u in units if least[k, u.name] <= limit and floors[k, u.name] < inf
        )
        columns: list[Column] = []
        refusals: list[Refusal] = []
        for k, p in problems.items():
            for u in units:
                if limit < least[k, u.name] < inf:
                    floor = f"{least[k, u.name]:,.0f}"
                    why = f"with it the segment takes at least {floor} cycles, without it at most {limit:,.0f}"
                    refusals.append(Refusal(k, u.name, why))
                    continue
                result = self.known.get(_key(p, u)) or search(p, u, self._helper(u), self.shares)
                columns += _undominated([column(k, u, t) for t in result.tilings])
                if not result.tilings:
                    refusals.append(Refusal(k, u.name, result.why))
        return columns, refusals

    def _serial(self, problems: Mapping[tuple[str, ...], Problem], first: Mapping[tuple[str, ...], Unit]) -> float:
        """Cycles of running all single nodes one after another on their first units; inf if one cannot."""
        total = 0.0
        for k, p in problems.items():
            if len(k) == 1:
                found = self.known.get(_key(p, first[k]))
                total += min((ceil(t.cycles) for t in found.tilings), default=inf) if found else inf
        return total

    def _search(self, wanted: Iterable[tuple[Problem, Unit]]) -> None:
        for p, u in wanted:
            if _key(p, u) not in self.known:
                found = search(p, u, self._helper(u), self.shares)
                self.known[_key(p, u)] = found
                self.candidates += found.candidates

    def _helper(self, unit: Unit) -> Unit | None:
        return self.chip.units.get(unit.vector) if unit.vector else None


def floor_cycles(p: Problem, unit: Unit, helper: Unit | None) -> float:
    """Cycles below which a unit cannot run a problem; inf where it cannot run it at all."""
    macs = float(unit.template.peak_macs_per_cycle()) * unit.instances
    if unable(p, unit, helper):
        return inf
    floor = p.macs / macs if p.contractions else 0.0
    for kind, count in p.vector.items():
        rate = max(
            (
                float(u.template.peak_ops_per_cycle(kind)) * u.instances
                for u in (unit, helper)
                if u and u.template.runs(kind)
            ),
            default=0.0,
        )
        if not rate:
            return inf
        floor = max(floor, count / rate)
    return floor


def _key(p: Problem, unit: Unit) -> Key:
    """What a search depends on; the names of single nodes are not in it, those inside groups are."""
    g = p.group
    types = tuple((t.dtype, t.shape, t.within) for t in g.types.values())
    return (
        replace(g.shape, name=""),
        tuple(g.sizes.items()),
        repr(sorted(g.attrs.items())),
        types,
        p.acc_bits,
        unit,
    )


def column(nodes: tuple[str, ...], unit: Unit, tiling: Tiling) -> Column:
    """A tiling as a choice of the mapper: whole cycles, reservations rounded up to sixteenths."""
    cycles = ceil(tiling.cycles)
    beside = min(UNITS, ceil(UNITS * tiling.helper_cycles / cycles)) if tiling.helper_cycles else 0
    helper = unit.vector if beside else None
    return Column(nodes, unit.name, helper, cycles, ceil(tiling.share * UNITS), beside, tiling)


def _undominated(columns: list[Column]) -> list[Column]:
    """Columns that no other beats in time and in every reservation."""
    kept: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.cycles, c.dram, c.beside)):
        if not any(k.cycles <= c.cycles and k.dram <= c.dram and k.beside <= c.beside for k in kept):
            kept.append(c)
    return kept
