"""Columns: what each group of nodes may cost on each unit. Everything that a mapper chooses from.

A column says how long a group holds its unit, and which shares of the way to memory (the DRAM's bandwidth,
and with it the network's) and of the vector unit beside it are reserved for as long. The share of the vector
unit is its mean over the op's tiles. Equal problems are searched once. A unit that cannot beat the schedule
that runs everything serially on the best units can be in no optimal schedule, so it is not searched at all
(`Refusal` says so).

Where energy counts, every tiling that no other beats in time and energy is a column. Nothing is searched that takes
longer than a schedule that could be best: none takes less energy than `floor_pj` of what it runs, and in every cycle
goes what the chip takes at rest.

An exchange between devices has one column, on the links: to a mapper they are one more unit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product
from math import ceil, inf
from typing import TypeAlias

import networkx as nx

from dfcompiler import paths
from dfcompiler.collectives import exchanged
from dfcompiler.compose import Group, group, single
from dfcompiler.dtypes import DtypeMap
from dfcompiler.energy import energy_pj
from dfcompiler.exchanges import links_of, price_exchange
from dfcompiler.expenses import floor_pj
from dfcompiler.graph import Graph, Node, Region
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.likeness import content_key, in_words_of
from dfcompiler.problem import Problem, problem
from dfcompiler.remedies import suggestion
from dfcompiler.renaming import index_names
from dfcompiler.searches import Known, found_before
from dfcompiler.spending import Spending, least_of_covers
from dfcompiler.staging import staged
from dfcompiler.tiling import RESOLUTION, SHARES, Search, Tiling, search, unable
from dfcompiler.twin import shared


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
    pruned: bool = True,
    spending: Spending | None = None,
    only: Collection[Segment] | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Columns:
    """Search every group on every unit that could be part of an optimal schedule, by time, with `spending` by energy
    too; unless `pruned` on every unit that can run it. With `only`, the groups of these segments. `tick` is told how
    many groups are done, and how many there are.

    Raises Diag `no-link` where devices exchange something over links that the chip does not have.
    """
    parts = segments(graph)
    links = {n.name: _exchange(graph, n, chip) for n in graph.nodes.values() if exchanged(n)}
    wanted = {n for s in (parts if only is None else only) for n in s.nodes}
    problems = {g.nodes: problem(g, dtypes) for g in candidates(graph) if g.nodes[0] in wanted}
    pricer = _Pricer(chip, shares, pruned, spending, lambda done: tick(done, len(problems)) if tick else None)
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
    return Columns(parts, tuple(columns), tuple(refusals), problems, pricer.candidates, tuple(shares), pricer.loss)


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


Asked: TypeAlias = tuple[str, Problem, Unit, Mapping[float, float], bool]  # content, limits for each share, `spent`


class _Pricer:
    """Searches problems on units, equal ones once: those that differ in nothing but names are equal."""

    def __init__(
        self,
        chip: Chip,
        shares: Sequence[float],
        pruned: bool,
        spending: Spending | None,
        tick: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.chip, self.shares, self.pruned, self.spending, self.tick = chip, shares, pruned, spending, tick
        self.known: dict[tuple[str, str, bool], list[Known]] = {}
        self.candidates, self.loss = 0, 0.0
        self.done = 0  # groups

    def segment(
        self, flow: nx.DiGraph[str], problems: Mapping[tuple[str, ...], Problem], links: Sequence[Column]
    ) -> tuple[list[Column], list[Refusal]]:
        """Columns of one segment: best guesses first, then every unit on which a group's longest chain could fit
        into the serial schedule of those."""
        units = self.chip.units.values()
        contents = {k: content_key(p) for k, p in problems.items()}
        floors = {(k, u.name): floor_cycles(p, u, self._helper(u)) for k, p in problems.items() for u in units}
        first = {k: min(units, key=lambda u: floors[k, u.name]) for k in problems}
        limit = self._limit(first, contents, problems, links) if self.pruned else inf
        least_of = {k: floors[k, u.name] for k, u in first.items()} | {c.nodes: c.cycles for c in links}
        rest = paths.beside(flow, paths.costs(flow, least_of), problems) if limit < inf else {}
        least = {(k, u.name): floors[k, u.name] + rest.get(k, 0.0) for k in problems for u in units}
        columns = [*links]
        refusals: list[Refusal] = []
        spent = self.spending is not None
        for size, alike in groupby(sorted(problems, key=len), len):
            groups, within = [*alike], dict[tuple[tuple[str, ...], str], dict[float, float]]()
            for k, u in product(groups, units):
                if not limit < least[k, u.name] < inf:
                    together = size > 1 and self.pruned and not spent
                    turns = {s: _in_turn(k, u.name, s, columns) - 1 if together else inf for s in self.shares}
                    within[k, u.name] = {s: min(limit - rest.get(k, 0.0), n) for s, n in turns.items()}
            self._search((contents[k], problems[k], self.chip.units[u], x, spent) for (k, u), x in within.items())
            for k, u in product(groups, units):
                if (k, u.name) not in within:
                    floor, most = f"{least[k, u.name]:,.0f}", f"{limit:,.0f}"
                    other = "a best schedule" if self.spending else "without it"
                    why = f"with it the segment takes at least {floor} cycles, {other} at most {most}"
                    refusals.append(Refusal(k, u.name, why))
                    continue
                result = self._found(contents[k], problems[k], u, within[k, u.name], spent)
                columns += self._kept([column(problems[k], u, t, self.chip) for t in result.tilings])
                if not result.tilings:
                    refusals.append(Refusal(k, u.name, result.why))
            self.done += len(groups)
            self.tick(self.done)
        return columns, refusals

    def _kept(self, found: list[Column]) -> list[Column]:
        """The columns of a group on a unit that are worth having, by time alone unless energy counts."""
        if self.spending is None:
            return undominated(found, inf if self.pruned else 0.0)
        kept = undominated(found, self.spending.thin)
        for c in found:
            self.loss = max(self.loss, min(k.pj / c.pj - 1 if c.pj else 0.0 for k in kept if _as_good(k, c)))
        return kept

    def _limit(
        self,
        first: Mapping[tuple[str, ...], Unit],
        contents: Mapping[tuple[str, ...], str],
        problems: Mapping[tuple[str, ...], Problem],
        links: Sequence[Column],
    ) -> float:
        """Cycles of which no best schedule takes more: from one that runs each node alone on its first unit."""
        cycles, pj = sum(c.cycles for c in links), sum(c.pj for c in links)
        free = dict.fromkeys(self.shares, inf)
        self._search((contents[k], problems[k], u, free, False) for k, u in first.items() if len(k) == 1)
        for k, u in first.items():
            if len(k) == 1:
                tilings = self._found(contents[k], problems[k], u).tilings
                if not tilings:
                    return inf
                found = min((column(problems[k], u, t, self.chip) for t in tilings), key=lambda c: c.cycles)
                cycles, pj = cycles + found.cycles, pj + found.pj
        if self.spending is None:
            return cycles
        units = [(u, self._helper(u)) for u in self.chip.units.values()]
        least = {
            k: min((floor_pj(p, u, h, self.chip.tech) for u, h in units if not unable(p, u, h)), default=inf)
            for k, p in problems.items()
        }
        return self.spending.longest(cycles, pj, sum(c.pj for c in links) + least_of_covers(least))

    def _found(
        self,
        content: str,
        p: Problem,
        unit: Unit,
        limits: Mapping[float, float] | None = None,
        spent: bool = False,
    ) -> Search:
        """The search of a problem, or of one that is the same but for its names, for tilings within limits, by what is
        `spent` too: what an earlier search found, or did not find within wider limits, holds."""
        limits = limits or dict.fromkeys(self.shares, inf)
        self._search([(content, p, unit, limits, spent)])
        same, found = next((x.problem, x.found) for x in self._known(content, unit, limits, spent))
        return found if same is p else replace(found, tilings=tuple(in_words_of(p, same, t) for t in found.tilings))

    def _known(self, content: str, unit: Unit, limits: Mapping[float, float], spent: bool) -> list[Known]:
        return [x for x in self.known.get((content, unit.name, spent), ()) if x.answers(limits, spent)]

    def _search(self, asks: Iterable[Asked]) -> None:
        """Search what is not known yet, of problems that are the same the first, on two cores where that can be."""
        first: dict[tuple[str, str, bool], Asked] = {}
        for ask in asks:
            content, _, unit, limits, spent = ask
            if not self._known(content, unit, limits, spent):
                first.setdefault((content, unit.name, spent), ask)
        longest = sorted(first.items(), key=lambda x: -len(x[1][1].loops) * len(x[1][1].operands))
        done = shared([partial(self._run, *ask) for _, ask in longest])
        for (key, (_, p, _, limits, _)), found in zip(longest, done, strict=True):
            self.known.setdefault(key, []).append(Known(p, limits, found))
            self.candidates += found.candidates

    def _run(self, content: str, p: Problem, unit: Unit, limits: Mapping[float, float], spent: bool) -> Search:
        names = index_names(p.group.shape), [x.name for x in p.loops], [x.name for x in p.operands]
        priced_by = self.chip.fingerprint() if spent else ""  # energies are those of its node
        asked = content, names, self.shares, sorted(limits.items()), spent, priced_by
        units, tech = (unit, self._helper(unit)), self.chip.tech if spent else None
        return found_before(units, asked, partial(search, p, *units, self.shares, limits, tech))

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


def column(p: Problem, unit: Unit, tiling: Tiling, chip: Chip) -> Column:
    """A tiling as a choice of the mapper: whole cycles, reservations rounded up to sixteenths."""
    cycles = ceil(tiling.cycles)
    beside = min(RESOLUTION, ceil(RESOLUTION * tiling.helper_cycles / cycles)) if tiling.helper_cycles else 0
    helper = unit.vector if beside else None
    pj = energy_pj(p, unit.name, helper, tiling, chip)
    return Column(p.group.nodes, unit.name, helper, cycles, ceil(tiling.share * RESOLUTION), beside, tiling, pj)


def undominated(columns: list[Column], thin: float = inf) -> list[Column]:
    """Columns that no other beats in time and in every reservation, and in energy but for a part `thin` of it."""
    kept: list[Column] = []
    for c in sorted(columns, key=lambda c: (c.cycles, c.dram, c.beside, c.pj)):
        if not any(_as_good(k, c) and k.pj <= c.pj * (1 + thin) for k in kept):
            kept.append(c)
    return kept


def _as_good(a: Column, b: Column) -> bool:
    return a.cycles <= b.cycles and a.dram <= b.dram and a.beside <= b.beside
