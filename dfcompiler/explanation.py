"""Why an op of a mapped step has its unit and its tile: what else there was, what binds, and what more would be worth.

Nothing is estimated. What the step would cost without a column or a unit is the integer program solved again; what more
of a memory, of bandwidth or of instances is worth is the op priced again on the chip that has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from dfcompiler import ilp
from dfcompiler.columns import Column, Columns, flow_of
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.dtypes import DtypeMap
from dfcompiler.exchanges import price_exchange
from dfcompiler.goals import AREA_DELAY, EDP, ENERGY, LATENCY, Goal
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.growth import (
    GB_PER_S,
    KIB,
    Lever,
    bandwidth_lever,
    capacity_lever,
    least,
    legal,
    more_instances,
)
from dfcompiler.hardware.template import Interconnect
from dfcompiler.listing import first_schedule
from dfcompiler.objectives import Found, best, limits, spending
from dfcompiler.problem import Problem
from dfcompiler.quotes import price
from dfcompiler.report import bound_by, exchange_bound
from dfcompiler.schedule import Layer, steady
from dfcompiler.solution import Solution, unpinned
from dfcompiler.tiling import Tiling, search

SECONDS = 20.0  # for one segment solved again


@dataclass(frozen=True)
class Mapped:
    """A mapped step, as a folder of outputs holds it: the graph, what it was priced and mapped with, and its schedules
    by segment."""

    graph: Graph
    chip: Chip
    dtypes: DtypeMap
    shares: tuple[float, ...]
    layers: tuple[Layer, ...]
    objective: str = LATENCY
    power_w: float | None = None
    seed: int = 0

    @property
    def cycles(self) -> int:
        """Cycles of the step."""
        return sum(x.cycles for x in self.layers)


@dataclass(frozen=True)
class Choice:
    """A unit's best column for the nodes of the op, or why it has none."""

    unit: str
    column: Column | None
    why: str = ""


@dataclass(frozen=True)
class RunnerUp:
    """The best schedule in which the op does not use its `column`, or its `unit` (`without`): cycles of the step and
    what they are proven to be within; the columns that run the op's nodes then. None where there is no schedule."""

    without: str
    step_cycles: int | None
    gap: float
    instead: tuple[Column, ...]
    why: str = ""


@dataclass(frozen=True)
class Worth:
    """What `more` of an axis changes: cycles and DRAM bytes of one run of the op, negative where they are fewer. Its
    tiling takes `beyond_bytes` more than the unit may use of that memory now."""

    more: float
    cycles: float
    dram_bytes: float
    beyond_bytes: float = 0.0


@dataclass(frozen=True)
class ShadowPrice:
    """What more of `part.axis`, in `unit`, is worth to an op: of one step, and of the `least` that changes anything."""

    part: str
    axis: str
    unit: str
    one: Worth
    least: Worth | None


@dataclass(frozen=True)
class Explanation:
    """Why an op is mapped as it is. `choices` are all units' columns for its nodes, that of its own unit first; it runs
    `repeat` times in a step of `step_cycles`."""

    name: str
    nodes: tuple[str, ...]
    repeat: int
    column: Column
    bound: str
    choices: tuple[Choice, ...]
    runners_up: tuple[RunnerUp, ...]
    shadow_prices: tuple[ShadowPrice, ...]
    step_cycles: int
    clock_hz: float


def explain(m: Mapped, name: str, seconds: float = SECONDS) -> Explanation:
    """Why the op of this name, or the group that it is in, is mapped as it is; `seconds` are for each schedule sought.

    Raises Diag `unknown-node`, and `bad-mapping` where it is priced otherwise than when it was mapped.
    """
    found = {n: (i, t.column) for i, x in enumerate(m.layers) for t in x.solution.tasks for n in t.column.nodes}
    if name not in found:
        raise unknown("node", name, found)
    at, chosen = found[name]
    timed = m.objective in (LATENCY, AREA_DELAY) and m.power_w is None
    segment = m.layers[at].segment
    only = [segment] if timed else None
    counts = spending(m.objective, limits(m.chip, m.power_w))
    columns = price(m.graph, m.chip, m.dtypes, m.shares, pruned=False, spending=counts, only=only)
    if not any(_same(c, chosen) for c in columns.columns):
        message = f"`{name}` is priced otherwise than when it was mapped"
        raise Diag("bad-mapping", message, hint="`dfc compile -o DIR` maps it anew")
    others = [c for c in columns.columns if not _same(c, chosen)]
    elsewhere = [c for c in others if c.unit != chosen.unit or not set(c.nodes) & set(chosen.nodes)]
    runners = (
        _runner_up(m, at, chosen, replace(columns, columns=tuple(left)), without, seconds)
        for without, left in (("column", others), ("unit", elsewhere))
    )
    return Explanation(
        name=chosen.nodes[-1],
        nodes=chosen.nodes,
        repeat=segment.repeat,
        column=chosen,
        bound=bound_by(chosen) if chosen.nodes in columns.problems else exchange_bound(chosen, m.chip),
        choices=tuple(_choices(m.chip, columns, chosen)),
        runners_up=tuple(runners),
        shadow_prices=tuple(_shadow_prices(m, columns.problem_of(chosen), chosen)),
        step_cycles=m.cycles,
        clock_hz=m.chip.clock_hz,
    )


def _same(a: Column, b: Column) -> bool:
    return (a.nodes, a.unit, a.dram, a.cycles, a.pins) == (b.nodes, b.unit, b.dram, b.cycles, b.pins)


def _choices(chip: Chip, columns: Columns, chosen: Column) -> Iterator[Choice]:
    refused = {r.unit: r.why for r in columns.refusals if r.nodes == chosen.nodes}
    for unit in sorted(chip.units, key=lambda u: u != chosen.unit):
        mine = [c for c in columns.columns if c.nodes == chosen.nodes and c.unit == unit]
        best_one = min(mine, key=lambda c: c.cycles, default=None)
        if best_one and _same(best_one, chosen):
            best_one = chosen  # of equal tilings it is the one that was taken
        if mine or unit in refused:
            yield Choice(unit, best_one, refused.get(unit, ""))


# ---- the step without it -----------------------------------------------------------------------


def _runner_up(m: Mapped, at: int, chosen: Column, columns: Columns, without: str, seconds: float) -> RunnerUp:
    """The step mapped again with these columns: where nothing but time counts, that is the op's segment."""
    if why := _stranded(columns, chosen):
        return RunnerUp(without, None, 0.0, (), why)
    graph, known = replace(m.graph, columns=columns), [x.solution for x in m.layers]
    parts = [x.segment for x in m.layers]

    def solved(goals: Sequence[Goal], hints: Sequence[Solution] | None) -> Sequence[Solution]:
        result = []
        for i, (segment, goal) in enumerate(zip(parts, goals, strict=True)):
            if i != at and goal.quickest:
                result.append(known[i])
                continue
            flow, mine = flow_of(graph, segment), columns.of(segment)
            hint = hints[i] if hints else first_schedule(flow, mine)
            result.append(ilp.solve(flow, mine, hint, seconds=seconds, seed=m.seed, goal=goal))
        return result

    base = limits(m.chip, m.power_w)
    found = best(m.objective, base, [s.repeat for s in parts], solved)
    again = steady(graph, m.layers[at], base).period == m.layers[at].period  # whether it was so for the mapping
    layers = [
        x if s is x.solution else _layer(graph, x, s, base if again else None)
        for x, s in zip(m.layers, found.solutions, strict=True)
    ]
    instead = tuple(t.column for t in layers[at].solution.tasks if set(t.column.nodes) & set(chosen.nodes))
    return RunnerUp(without, sum(x.cycles for x in layers), _gap(m.objective, found), instead)


def _layer(graph: Graph, x: Layer, solution: Solution, base: Goal | None) -> Layer:
    layer = Layer(x.segment, solution, solution.cycles, solution.bound)
    return steady(graph, layer, base) if base else layer


def _stranded(columns: Columns, chosen: Column) -> str:
    """Why no unit can run a node of the op any more, empty where one can."""
    able = {c.nodes[0] for c in unpinned(columns.columns) if len(c.nodes) == 1}
    lost = next((v for v in chosen.nodes if v not in able), None)
    if lost is None:
        return ""
    reasons = "; ".join(f"{r.unit}: {r.why}" for r in columns.refusals if r.nodes == (lost,))
    return f"nothing else can run `{lost}`" + (f": {reasons}" if reasons else "")


def _gap(objective: str, found: Found) -> float:
    value = {ENERGY: found.pj, EDP: found.product}.get(objective, found.cycles)
    return max(0.0, 1 - found.least / value) if value else 0.0


# ---- what more would be worth ------------------------------------------------------------------


def _shadow_prices(m: Mapped, p: Problem | None, chosen: Column) -> Iterator[ShadowPrice]:
    """Of the memories on the way to the op's unit, of the bandwidth of the DRAM and of networks, or of links for an
    exchange, and of one more of the unit."""

    spent = spending(m.objective, limits(m.chip, m.power_w)) is not None

    def priced(chip: Chip) -> Tiling | None:
        return _priced(m.graph, p, chosen, chip, spent=spent)

    now = priced(m.chip)
    assert now is not None and ceil(now.cycles) == chosen.cycles

    def worth(chip: Chip, more: float, beyond: Callable[[Tiling], float] = lambda t: 0.0) -> Worth:
        t = priced(chip)
        assert t is not None  # with more of anything an op still runs
        return Worth(more, t.cycles - now.cycles, t.dram_bytes - now.dram_bytes, max(0.0, beyond(t)))

    def changes(chip: Chip) -> bool:
        w = worth(chip, 0)
        return bool(abs(w.cycles) > 1e-9 * now.cycles or abs(w.dram_bytes) > 1e-9 * now.dram_bytes)

    def shadow(lever: Lever, grain: int, beyond: Callable[[Tiling], float] = lambda t: 0.0) -> ShadowPrice | None:
        if not legal(m.chip, lever, grain):
            return None
        one, more = worth(lever.on(m.chip, grain), grain, beyond), least(m.chip, lever, grain, changes)
        enough = worth(lever.on(m.chip, more), more, beyond) if more else None
        return ShadowPrice(lever.part, lever.axis, lever.unit, one, enough)

    if unit := m.chip.units.get(chosen.unit):
        inner, above = unit.levels[-1], unit.levels[-2]
        if lever := capacity_lever(m.chip, inner.part):
            yield from filter(None, [shadow(lever, KIB, lambda t: t.room_bytes - inner.capacity_bytes)])
        if len(unit.levels) > 2 and (lever := capacity_lever(m.chip, above.part)):
            yield from filter(None, [shadow(lever, KIB, lambda t: t.room_above_bytes - above.capacity_bytes)])
    networks = (x.name for x in m.chip.parts.values() if isinstance(x.template, Interconnect))
    for name in (m.chip.dram.name, *(n for n in networks if (m.chip.parts[n] in m.chip.links) == (unit is None))):
        if lever := bandwidth_lever(m.chip, name):
            yield from filter(None, [shadow(lever, GB_PER_S if lever.unit == "B/s" else 1)])
    if unit and (larger := more_instances(m.chip, unit.name)):
        one = worth(larger, 1)
        yield ShadowPrice(m.chip.parts[unit.name].group or unit.name, "count", "", one, one)


def _priced(graph: Graph, p: Problem | None, chosen: Column, chip: Chip, *, spent: bool) -> Tiling | None:
    """The best tiling of the op on its unit with the share that it has, on another chip; where energy counts, the one
    that takes least of it and no more time."""
    if p is None:
        return price_exchange(graph, graph.nodes[chosen.nodes[0]], chip)
    unit = chip.units[chosen.unit]
    share, tech = chosen.tiling.share, chip.tech if spent else None
    found = search(
        p, unit, chip.units.get(unit.vector or ""), (share,), {share: chosen.cycles} if spent else None, tech
    )
    return found.tilings[-1] if found.tilings else None
