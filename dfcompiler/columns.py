"""Columns: what each group of nodes may cost on each unit. Everything that a mapper chooses from.

A column says how long a group holds its unit, and which shares of the way to memory (the DRAM's bandwidth,
and with it the network's) and of the vector unit beside it are reserved for as long. The share of the vector
unit is its mean over the op's tiles. Equal problems are searched once. A unit that cannot beat the schedule
that runs everything serially on the best units can be in no optimal schedule, so it is not searched at all
(`Refusal` says so).

An exchange between devices has one column, on the links: to a mapper they are one more unit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import ceil, inf

import networkx as nx

from dfcompiler import paths
from dfcompiler.collectives import exchanged
from dfcompiler.compose import Group, group, single
from dfcompiler.dtypes import DtypeMap
from dfcompiler.energy import energy_pj
from dfcompiler.exchanges import links_of, price_exchange
from dfcompiler.graph import Graph, Node, Region
from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.problem import Problem, problem
from dfcompiler.remedies import suggestion
from dfcompiler.renaming import canonical, index_names
from dfcompiler.searches import found_before
from dfcompiler.staging import staged
from dfcompiler.tiling import RESOLUTION, SHARES, Search, Tiling, search, unable


@dataclass(frozen=True, eq=False)
class Column:
    """One way to run a group: `cycles` on `unit`, with sixteenths of the way to memory (`dram`) and of the helper, and
    the energy that it takes."""

    nodes: tuple[str, ...]
    unit: str
    helper: str | None
    cycles: int
    dram: int
    beside: int
    tiling: Tiling
    pj: float = 0.0


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
    exchanges have not."""

    segments: tuple[Segment, ...]
    columns: tuple[Column, ...]
    refusals: tuple[Refusal, ...]
    problems: Mapping[tuple[str, ...], Problem]
    candidates: int
    shares: tuple[float, ...] = SHARES

    def of(self, segment: Segment) -> list[Column]:
        """The columns whose nodes lie in the segment."""
        inside = set(segment.nodes)
        return [c for c in self.columns if c.nodes[0] in inside]


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


def price(
    graph: Graph,
    chip: Chip,
    dtypes: DtypeMap,
    shares: Sequence[float],
    *,
    quickest: bool = True,
    only: Collection[Segment] | None = None,
) -> Columns:
    """Search every group on every unit that could be part of an optimal schedule; where not only time counts
    (`quickest`), on every unit that can run it. With `only`, the groups of these segments.

    Raises Diag `no-link` where devices exchange something over links that the chip does not have.
    """
    parts = segments(graph)
    links = {n.name: _exchange(graph, n, chip) for n in graph.nodes.values() if exchanged(n)}
    wanted = {n for s in (parts if only is None else only) for n in s.nodes}
    problems = {g.nodes: problem(g, dtypes) for g in candidates(graph) if g.nodes[0] in wanted}
    pricer = _Pricer(chip, shares, quickest)
    columns: list[Column] = []
    refusals: list[Refusal] = []
    for segment in parts:
        inside = {k: p for k, p in problems.items() if k[0] in set(segment.nodes)}
        crossing = [links[n] for n in segment.nodes if n in links]
        if wanted.isdisjoint(segment.nodes):
            continue
        found, refused = pricer.segment(flow_of(graph, segment), inside, crossing)
        columns += found
        refusals += _with_remedies(refused, found, problems, chip)
    return Columns(parts, tuple(columns), tuple(refusals), problems, pricer.candidates, tuple(shares))


def _with_remedies(
    refused: Sequence[Refusal], found: Sequence[Column], problems: Mapping[tuple[str, ...], Problem], chip: Chip
) -> list[Refusal]:
    """The refusals, with what would help where nothing can run a node by itself: of the first such node."""
    able = {c.nodes for c in found}
    unable_ = next((r.nodes for r in refused if len(r.nodes) == 1 and r.nodes not in able), None)
    return [
        replace(r, remedy=suggestion(problems[r.nodes], chip.units[r.unit], chip)) if r.nodes == unable_ else r
        for r in refused
    ]


def _exchange(graph: Graph, node: Node, chip: Chip) -> Column:
    tiling = price_exchange(graph, node, chip)
    links, dram = links_of(chip).part, ceil(tiling.share * RESOLUTION)
    pj = energy_pj(None, links, None, tiling, chip)
    return Column((node.name,), links, None, ceil(tiling.cycles), dram, 0, tiling, pj)


@dataclass(frozen=True)
class _Known:
    """A search that was done, and within how many cycles for each share."""

    problem: Problem
    limits: Mapping[float, float]
    found: Search

    def answers(self, limits: Mapping[float, float]) -> bool:
        """Whether it says what a search within these limits would."""
        every = {t.share for t in self.found.tilings} == set(limits)
        return every or all(self.limits[s] >= limits[s] for s in limits)


class _Pricer:
    """Searches problems on units, equal ones once: those that differ in nothing but names are equal."""

    def __init__(self, chip: Chip, shares: Sequence[float], quickest: bool) -> None:
        self.chip, self.shares, self.quickest = chip, shares, quickest
        self.known: dict[tuple[str, str], list[_Known]] = {}
        self.candidates = 0

    def segment(
        self, flow: nx.DiGraph[str], problems: Mapping[tuple[str, ...], Problem], links: Sequence[Column]
    ) -> tuple[list[Column], list[Refusal]]:
        """Columns of one segment: best guesses first, then every unit on which a group's longest chain could fit
        into the serial schedule of those."""
        units = self.chip.units.values()
        contents = {k: content_key(p) for k, p in problems.items()}
        floors = {(k, u.name): floor_cycles(p, u, self._helper(u)) for k, p in problems.items() for u in units}
        first = {k: min(units, key=lambda u: floors[k, u.name]) for k in problems}
        alone = {k: self._found(contents[k], problems[k], u) for k, u in first.items() if len(k) == 1}
        limit = sum(min((ceil(t.cycles) for t in found.tilings), default=inf) for found in alone.values())
        limit = limit + sum(c.cycles for c in links) if self.quickest else inf
        least_of = {k: floors[k, u.name] for k, u in first.items()} | {c.nodes: c.cycles for c in links}
        rest = paths.beside(flow, paths.costs(flow, least_of), problems) if limit < inf else {}
        least = {(k, u.name): floors[k, u.name] + rest.get(k, 0.0) for k in problems for u in units}
        columns = [*links]
        refusals: list[Refusal] = []
        for k in sorted(problems, key=len):
            for u in units:
                if limit < least[k, u.name] < inf:
                    floor = f"{least[k, u.name]:,.0f}"
                    why = f"with it the segment takes at least {floor} cycles, without it at most {limit:,.0f}"
                    refusals.append(Refusal(k, u.name, why))
                    continue
                fits = limit - rest.get(k, 0.0)
                together = len(k) > 1 and self.quickest
                limits = {s: min(fits, _in_turn(k, u.name, s, columns) - 1) if together else fits for s in self.shares}
                result = self._found(contents[k], problems[k], u, limits)
                found = [column(problems[k], u, t, self.chip) for t in result.tilings]
                columns += undominated(found, quickest=self.quickest)
                if not result.tilings:
                    refusals.append(Refusal(k, u.name, result.why))
        return columns, refusals

    def _found(self, content: str, p: Problem, unit: Unit, limits: Mapping[float, float] | None = None) -> Search:
        """The search of a problem, or of one that is the same but for its names, for tilings within limits: what an
        earlier search found, or did not find within wider limits, holds."""
        limits = limits or dict.fromkeys(self.shares, inf)
        earlier = self.known.setdefault((content, unit.name), [])
        known = next((x for x in earlier if x.answers(limits)), None)
        if known is None:
            names = index_names(p.group.shape), [x.name for x in p.loops], [x.name for x in p.operands]
            asked = content, names, self.shares, sorted(limits.items())
            run = partial(search, p, unit, self._helper(unit), self.shares, limits)
            known = _Known(p, limits, found_before((unit, self._helper(unit)), asked, run))
            self.candidates += known.found.candidates
            earlier.append(known)
        same, found = known.problem, known.found
        return found if same is p else replace(found, tilings=tuple(_in_words_of(p, same, t) for t in found.tilings))

    def _helper(self, unit: Unit) -> Unit | None:
        return self.chip.units.get(unit.vector) if unit.vector else None


def floor_cycles(p: Problem, unit: Unit, helper: Unit | None) -> float:
    """Cycles below which a unit cannot run a problem; inf where it cannot run it at all."""
    macs = float(unit.template.peak_macs_at(max(p.a_bits, p.b_bits))) * unit.instances
    if unable(p, unit, helper):
        return inf
    floor = p.macs_on(unit.template) / macs if p.contractions else 0.0
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


def _in_turn(nodes: tuple[str, ...], unit: str, share: float, columns: Sequence[Column]) -> float:
    """Cycles of a group's parts one after another, the best of all its nodes alone and of a smaller group with the
    others alone: each on this unit where it can run there, else on its best, with no more than this share."""
    times: dict[tuple[str, ...], tuple[bool, int]] = {}
    for c in columns:
        if c.tiling.share <= share and set(c.nodes) < set(nodes):
            time = c.unit != unit, c.cycles
            times[c.nodes] = min(times.get(c.nodes, time), time)
    alone = {v: times[v,][1] if (v,) in times else inf for v in nodes}
    total = sum(alone.values())
    return min((total - sum(alone[v] for v in g) + time for g, (_, time) in times.items()), default=inf)


def content_key(p: Problem) -> str:
    """What a search depends on besides the unit; no name is in it."""
    g = p.group
    return repr(
        (
            canonical(g.shape),
            tuple(g.sizes.get(i) for i in index_names(g.shape)),
            [g.attrs.get(a.name) for a in g.shape.attrs],
            tuple((x.dtype, x.shape, x.within) for x in (g.types[o.name] for o in g.shape.operands)),
            (p.a_bits, p.b_bits, p.acc_bits, *sorted(p.multiplied)),
            [(o.kind, o.bits, o.partial_bits) for o in p.operands],  # what stays inside is as wide as `--dtype` says
        )
    )


def _in_words_of(p: Problem, same: Problem, tiling: Tiling) -> Tiling:
    """A tiling of an equal problem, by the names that this one gives to its loops, in any form, and operands."""
    pairs = [(x, y) for x, y in ((same, p), (grouped(same), grouped(p))) if x and y]
    loop = {x.name: y.name for a, b in pairs for x, y in zip(a.loops, b.loops, strict=True)}
    operand = {x.name: y.name for x, y in zip(same.operands, p.operands, strict=True)}
    return replace(
        tiling,
        tile={loop[n]: v for n, v in tiling.tile.items()},
        ways={loop[n]: v for n, v in tiling.ways.items()},
        order=tuple(loop[n] for n in tiling.order),
        keeps=tuple(replace(k, operand=operand[k.operand]) for k in tiling.keeps),
    )


def column(p: Problem, unit: Unit, tiling: Tiling, chip: Chip) -> Column:
    """A tiling as a choice of the mapper: whole cycles, reservations rounded up to sixteenths."""
    cycles = ceil(tiling.cycles)
    beside = min(RESOLUTION, ceil(RESOLUTION * tiling.helper_cycles / cycles)) if tiling.helper_cycles else 0
    helper = unit.vector if beside else None
    pj = energy_pj(p, unit.name, helper, tiling, chip)
    return Column(p.group.nodes, unit.name, helper, cycles, ceil(tiling.share * RESOLUTION), beside, tiling, pj)


def undominated(columns: list[Column], *, quickest: bool = True) -> list[Column]:
    """Columns that no other beats in time and in every reservation; where not only time counts, nor in energy."""
    kept: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.cycles, c.dram, c.beside, c.pj)):
        if not any(_as_good(k, c) and (quickest or k.pj <= c.pj) for k in kept):
            kept.append(c)
    return kept


def _as_good(a: Column, b: Column) -> bool:
    return a.cycles <= b.cycles and a.dram <= b.dram and a.beside <= b.beside
