"""List scheduling: legal schedules without a solver, as a baseline and as the solver's first hint."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import networkx as nx

from dfcompiler.budget import Budget
from dfcompiler.columns import Column, Columns, Segment
from dfcompiler.diagnostics import Infeasible, first_span
from dfcompiler.graph import Graph
from dfcompiler.remedies import advice
from dfcompiler.solution import Solution, Task, by_group, longest_path, unpinned
from dfcompiler.tiling import RESOLUTION

Choice: TypeAlias = Mapping[tuple[str, ...], Sequence[Column]]  # a cover: groups, each with the columns to choose from

# How much longer than at its fastest a critical group may take to leave bandwidth to others.
SLACKS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.4, 1.1)
LONGEST = 6  # critical groups whose slack is worth trying one by one
STEP_S = 2e-6  # seconds for a column to be placed beside one task: measured 0.8e-6 to 3e-6
NEAR = 0.9  # of the longest chain: groups on chains of at least this length are critical


def greedy(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Solution:
    """Each node by itself on its fastest column, as early as its operands and the resources allow."""
    groups = by_group(unpinned(columns))
    return bounded(place({(v,): [_fastest(groups[v,])] for v in flow}, flow), flow, columns)


def first_schedule(flow: nx.DiGraph[str], columns: Sequence[Column], budget: Budget | None = None) -> Solution:
    """The best of several list schedules: with and without fusion, and leaving bandwidth to what runs beside.

    Critical groups take the columns that reserve least within some slack of their fastest, everything else
    whatever ends first in the gaps. The slack is one for all at first, then improved group by group, as long as the
    budget lasts: the first of each are tried in any case.
    """
    groups, left, least = by_group(unpinned(columns)), budget or Budget(), longest_path(flow, columns)
    sweeps = [_sweep(flow, groups, _cover(flow, groups, apart=apart), left) for apart in (False, True)]
    best, cover, slacks = min(sweeps, key=lambda s: s[0].cycles)
    longest = sorted(slacks, key=lambda g: (-_fastest(groups[g]).cycles, g))[:LONGEST]
    for g, x in itertools.product(longest, SLACKS):
        if left.over or best.cycles <= least:
            break
        trial = slacks | {g: x}
        found = place(_choice(groups, cover, trial), flow, budget=left)
        if found.cycles < best.cycles:
            best, slacks = found, trial
    best = min(best, greedy(flow, columns), key=lambda s: s.cycles)
    return replace(best, bound=min(least, best.cycles))


def bounded(found: Solution, flow: nx.DiGraph[str], columns: Sequence[Column]) -> Solution:
    """A schedule with the longest chain as its bound."""
    return replace(found, bound=min(longest_path(flow, columns), found.cycles))


Slacks: TypeAlias = dict[tuple[str, ...], float]


def _sweep(
    flow: nx.DiGraph[str], groups: Choice, cover: Sequence[tuple[str, ...]], left: Budget
) -> tuple[Solution, Sequence[tuple[str, ...]], Slacks]:
    """The best schedule of a cover with one slack for all critical groups."""
    critical = _critical(flow, cover, groups)
    found: list[tuple[Solution, Sequence[tuple[str, ...]], Slacks]] = []
    for x in SLACKS:
        if not found or not left.over:
            slacks = dict.fromkeys(critical, x)
            found.append((place(_choice(groups, cover, slacks), flow, budget=left), cover, slacks))
    return min(found, key=lambda f: f[0].cycles)


def _choice(groups: Choice, cover: Sequence[tuple[str, ...]], slacks: Mapping[tuple[str, ...], float]) -> Choice:
    return {g: _within(groups[g], slacks[g]) if g in slacks else groups[g] for g in cover}


def _fastest(columns: Sequence[Column]) -> Column:
    return min(columns, key=lambda c: (c.cycles, c.dram))


def _within(columns: Sequence[Column], slack: float) -> list[Column]:
    """For each unit the column that reserves least among those not much slower than the unit's fastest."""
    found = []
    for unit in dict.fromkeys(c.unit for c in columns):
        here = [c for c in columns if c.unit == unit]
        limit = _fastest(here).cycles * (1 + slack)
        found.append(min((c for c in here if c.cycles <= limit), key=lambda c: (c.dram, c.beside, c.cycles)))
    return found


def _cover(flow: nx.DiGraph[str], groups: Choice, *, apart: bool) -> list[tuple[str, ...]]:
    """Groups that are faster than their nodes one by one, best saving first; without `apart` no groups of nodes
    that do not feed each other. Nodes left over stand alone."""
    fast = {g: _fastest(cs).cycles for g, cs in groups.items()}
    saving = {
        g: sum(fast[v,] for v in g) - n for g, n in fast.items() if len(g) > 1 and (apart or flow.has_edge(*g[:2]))
    }
    taken: list[tuple[str, ...]] = []
    free = set(flow)
    for g in sorted(saving, key=lambda g: (-saving[g], g)):
        if saving[g] > 0 and set(g) <= free and _acyclic(flow, [*taken, g]):
            taken.append(g)
            free -= set(g)
    return [*taken, *((v,) for v in flow if v in free)]


def _critical(flow: nx.DiGraph[str], cover: Sequence[tuple[str, ...]], groups: Choice) -> set[tuple[str, ...]]:
    merged = _merged(flow, cover)
    cost = {g: _fastest(groups[g]).cycles for g in cover}
    after = _remaining(merged, cost)
    before = _remaining(merged.reverse(), cost)
    longest = max(after.values())
    return {g for g in cover if after[g] + before[g] - cost[g] >= NEAR * longest}


def _acyclic(flow: nx.DiGraph[str], groups: Sequence[tuple[str, ...]]) -> bool:
    """Whether the groups can be run each as a whole."""
    return nx.is_directed_acyclic_graph(_merged(flow, groups))


def settled(
    flow: nx.DiGraph[str], columns: Sequence[Column], found: Solution, budget: Budget | None = None
) -> Solution:
    """A schedule no longer than the one given in which work that has time to spare ends earlier where it can.

    Group by group, in the order of their starts, every column is tried; what makes the sum of all ends smaller and
    the whole no longer is kept, as long as the budget lasts. Where tensors are pinned, nothing is moved.
    """
    if any(t.column.pins for t in found.tasks):
        return found
    groups, left = by_group(unpinned(columns)), budget or Budget()
    order = {t.column.nodes: t.start for t in found.tasks}
    choice: dict[tuple[str, ...], Sequence[Column]] = {t.column.nodes: [t.column] for t in found.tasks}
    best = min(found, place(choice, flow, order, left), key=_merit)
    for g in sorted(order, key=lambda g: (order[g], g)):
        if left.over:
            break
        trial = place(choice | {g: groups[g]}, flow, order, left)
        if trial.cycles <= found.cycles and _merit(trial) < _merit(best):
            best = trial
            choice[g] = [next(t.column for t in trial.tasks if t.column.nodes == g)]
    return replace(best, bound=found.bound, optimal=found.optimal)


def _merit(s: Solution) -> tuple[int, int]:
    return s.cycles, sum(t.end for t in s.tasks)


def _merged(flow: nx.DiGraph[str], groups: Sequence[tuple[str, ...]]) -> nx.DiGraph[tuple[str, ...]]:
    of = {v: g for g in groups for v in g}
    merged: nx.DiGraph[tuple[str, ...]] = nx.DiGraph()
    merged.add_nodes_from(of.get(v, (v,)) for v in flow)
    merged.add_edges_from(
        (of.get(u, (u,)), of.get(v, (v,))) for u, v in flow.edges if of.get(u, (u,)) != of.get(v, (v,))
    )
    return merged


def place(
    choice: Choice,
    flow: nx.DiGraph[str],
    first: Mapping[tuple[str, ...], int] | None = None,
    budget: Budget | None = None,
) -> Solution:
    """Place a cover in dependence order, each group on the column and in the gap where it ends first: groups that
    `first` puts earlier before others, or the longest remaining chain first. It has no bound."""
    merged = _merged(flow, list(choice))
    fast = {g: _fastest(cs).cycles for g, cs in choice.items()}
    at = {v: i for i, v in enumerate(flow)}
    rank = first or {g: -n for g, n in _remaining(merged, fast).items()}
    done: dict[tuple[str, ...], Task] = {}
    ready = [g for g in merged if not list(merged.predecessors(g))]
    while ready:
        ready.sort(key=lambda g: (rank[g], at[g[0]]))
        g = ready.pop(0)
        earliest = max((done[p].end for p in merged.predecessors(g)), default=0)
        options = [Task(c, _fit(c, earliest, done.values())) for c in choice[g]]
        done[g] = min(options, key=lambda t: (t.end, t.column.dram))
        ready += [s for s in merged.successors(g) if all(p in done for p in merged.predecessors(s))]
        if budget:
            budget.spend(STEP_S * len(choice[g]) * len(done))
    tasks = tuple(sorted(done.values(), key=lambda t: (t.start, t.column.nodes)))
    cycles = max((t.end for t in tasks), default=0)
    return Solution(tasks, cycles, 0, optimal=False)


def _remaining(merged: nx.DiGraph[tuple[str, ...]], cost: Mapping[tuple[str, ...], int]) -> dict[tuple[str, ...], int]:
    """The longest chain from each group on, itself included."""
    rest: dict[tuple[str, ...], int] = {}
    for g in reversed(list(nx.topological_sort(merged))):
        rest[g] = cost[g] + max((rest[s] for s in merged.successors(g)), default=0)
    return rest


def _fit(c: Column, earliest: int, tasks: Iterable[Task]) -> int:
    placed = [t for t in tasks if t.end > earliest]
    starts = sorted({earliest, *(t.end for t in placed)})
    return next(s for s in starts if _free(c, s, placed))


def _free(c: Column, start: int, placed: Sequence[Task]) -> bool:
    """Whether nothing is used beyond its capacity from `start` for the length of the column."""
    end = start + c.cycles
    inside = [t for t in placed if t.start < end and t.end > start]
    if any(t.column.unit == c.unit for t in inside):
        return False
    points = [start, *(t.start for t in inside if t.start > start)]
    return all(fits([*(t.column for t in inside if t.start <= p < t.end), c]) for p in points)


def fits(together: Sequence[Column]) -> bool:
    """Whether columns may run at the same moment."""
    load: dict[str, int] = {"": 0}
    for c in together:
        load[""] += c.dram
        load[c.unit] = load.get(c.unit, 0) + RESOLUTION
        if c.helper:
            load[c.helper] = load.get(c.helper, 0) + c.beside
    return all(v <= RESOLUTION for v in load.values())


def require_columns(graph: Graph, columns: Columns, segment: Segment) -> None:
    """Raises Infeasible `no-mapping` for the first node that no unit can run alone, with every unit's reason."""
    covered = {c.nodes[0] for c in columns.of(segment) if len(c.nodes) == 1}
    for v in segment.nodes:
        if v not in covered:
            node = graph.nodes[v]
            refused = [r for r in columns.refusals if r.nodes == (v,)]
            listed = "\n  ".join(f"{r.unit}: {r.why}" for r in refused)
            hint = advice({r.unit: r.remedy for r in refused if r.remedy}, columns.problems[v,])
            message = f"no unit can run `{v}` ({node.op.name}):\n  {listed}"
            raise Infeasible("no-mapping", message, first_span(node.loc), hint=hint)
