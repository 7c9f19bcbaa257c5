"""All columns of a graph on a chip: groups searched on units, equal problems once.

A unit that cannot beat the schedule that runs everything serially on the best units can be in no optimal schedule, so
it is not searched at all (`Refusal` says so). Where energy counts, nothing is searched that takes longer than a
schedule that could be best: none takes less energy than `floor_pj` of what it runs, and in every cycle goes what the
chip takes at rest.
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
from dfcompiler.columns import (
    Column,
    Columns,
    Refusal,
    Segment,
    as_good,
    candidates,
    column,
    flow_of,
    segments,
    undominated,
)
from dfcompiler.dtypes import DtypeMap
from dfcompiler.energy import energy_pj
from dfcompiler.exchanges import links_of, price_exchange
from dfcompiler.expenses import floor_pj
from dfcompiler.graph import Graph, Node
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.likeness import content_key, in_words_of
from dfcompiler.pins import Pin, choices, pins, with_pins
from dfcompiler.problem import Problem, problem
from dfcompiler.remedies import suggestion
from dfcompiler.renaming import index_names
from dfcompiler.searches import Known, found_before
from dfcompiler.spending import Spending, least_of_covers
from dfcompiler.tiling import RESOLUTION, Search, search, unable
from dfcompiler.twin import shared


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
        held = pins(graph, segment.nodes, [p for k, p in inside.items() if len(k) == 1], chip)
        found, refused = pricer.segment(flow_of(graph, segment), inside, crossing, held)
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


Nodes: TypeAlias = tuple[str, ...]
Asked: TypeAlias = tuple[str, Problem, Unit, Mapping[float, float], bool]  # content, limits for each share, `spent`


@dataclass(frozen=True)
class _Way:
    """A group on a unit with some of its tensors pinned, `beside` cycles of what runs before and after it."""

    unit: Unit
    pins: tuple[Pin, ...]
    problem: Problem
    beside: float


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
        self,
        flow: nx.DiGraph[str],
        problems: Mapping[Nodes, Problem],
        links: Sequence[Column],
        pins: Sequence[Pin] = (),
    ) -> tuple[list[Column], list[Refusal]]:
        """Columns of one segment: best guesses first, then every unit on which a group's longest chain could fit
        into the serial schedule of those."""
        units = self.chip.units.values()
        contents = {k: content_key(p) for k, p in problems.items()}
        floors = {(k, u.name): floor_cycles(p, u, self._helper(u)) for k, p in problems.items() for u in units}
        first = {k: min(units, key=lambda u: floors[k, u.name]) for k in problems}
        limit = self._limit(first, contents, problems, links, pins) if self.pruned else inf
        least_of = {k: floors[k, u.name] for k, u in first.items()} | {c.nodes: c.cycles for c in links}
        rest = paths.beside(flow, paths.costs(flow, least_of), problems) if limit < inf else {}
        least = {(k, u.name): floors[k, u.name] + rest.get(k, 0.0) for k in problems for u in units}
        columns = [*links]
        refusals: list[Refusal] = []
        for _, alike in groupby(sorted(problems, key=len), len):
            groups = [*alike]
            ways = [
                _Way(u, pinned, with_pins(problems[k], pinned), rest.get(k, 0.0))
                for k, u in product(groups, units)
                for pinned in ((), *choices(problems[k], u, pins))
                if not limit < least[k, u.name] < inf
            ]
            within = [self._within(way, limit, columns) for way in ways]
            spent = self.spending is not None
            keys = [content_key(way.problem) if way.pins else contents[way.problem.group.nodes] for way in ways]
            self._search((key, way.problem, way.unit, x, spent) for key, way, x in zip(keys, ways, within, strict=True))
            for key, way, x in zip(keys, ways, within, strict=True):
                result = self._found(key, way.problem, way.unit, x, spent)
                columns += self._kept([column(way.problem, way.unit, t, self.chip, way.pins) for t in result.tilings])
                if not result.tilings and not way.pins:
                    refusals.append(Refusal(way.problem.group.nodes, way.unit.name, result.why))
            for k, u in product(groups, units):
                if limit < least[k, u.name] < inf:
                    floor, most = f"{least[k, u.name]:,.0f}", f"{limit:,.0f}"
                    other = "a best schedule" if self.spending else "without it"
                    why = f"with it the segment takes at least {floor} cycles, {other} at most {most}"
                    refusals.append(Refusal(k, u.name, why))
            self.done += len(groups)
            self.tick(self.done)
        return columns, refusals

    def _within(self, way: _Way, limit: float, columns: Sequence[Column]) -> dict[float, float]:
        """Cycles within which a group is worth having on a unit, for each share."""
        if len(way.problem.group.nodes) == 1 or not self.pruned or self.spending is not None:
            return dict.fromkeys(self.shares, limit - way.beside)
        return {s: min(limit - way.beside, _in_turn(way, s, columns) - 1) for s in self.shares}

    def _kept(self, found: list[Column]) -> list[Column]:
        """The columns of a group on a unit that are worth having, by time alone unless energy counts."""
        if self.spending is None:
            return undominated(found, inf if self.pruned else 0.0)
        kept = undominated(found, self.spending.thin)
        for c in found:
            self.loss = max(self.loss, min(k.pj / c.pj - 1 if c.pj else 0.0 for k in kept if as_good(k, c)))
        return kept

    def _limit(
        self,
        first: Mapping[tuple[str, ...], Unit],
        contents: Mapping[tuple[str, ...], str],
        problems: Mapping[tuple[str, ...], Problem],
        links: Sequence[Column],
        pins: Sequence[Pin],
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
            for k, p in ((k, with_pins(p, pins)) for k, p in problems.items())
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


def _in_turn(way: _Way, share: float, columns: Sequence[Column]) -> float:
    """Cycles of a group's parts one after another, the best of all its nodes alone and of a smaller group with the
    others alone: each on this unit where it can run there, else on its best, with no more than this share, and with the
    same tensors pinned."""
    nodes = way.problem.group.nodes
    times: dict[Nodes, tuple[bool, int]] = {}
    for c in columns:
        part = c.tiling.share <= share and set(c.nodes) < set(nodes)
        if part and c.pins == tuple(x for x in way.pins if x.crosses(c.nodes)):
            time = c.unit != way.unit.name, c.cycles
            times[c.nodes] = min(times.get(c.nodes, time), time)
    alone = {v: times[v,][1] if (v,) in times else inf for v in nodes}
    total = sum(alone.values())
    return min((total - sum(alone[v] for v in g) + time for g, (_, time) in times.items()), default=inf)
