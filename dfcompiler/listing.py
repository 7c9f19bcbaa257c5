"""List scheduling: legal schedules without a solver, as a baseline and as the solver's first hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import networkx as nx

from dfcompiler.columns import UNITS, Column, Columns, Segment
from dfcompiler.diagnostics import Infeasible
from dfcompiler.solution import Solution, Task, by_group, longest_path


def greedy(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Solution:
    """Each node by itself on its fastest column, as early as its operands and the resources allow."""
    fastest = {
        nodes[0]: min(cs, key=lambda c: (c.cycles, c.dram))
        for nodes, cs in by_group(columns).items()
        if len(nodes) == 1
    }
    return place([fastest[v] for v in flow], flow, columns)


def fused(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Solution:
    """As `greedy`, but groups that are faster than their nodes one by one are taken, best saving first."""
    groups = {nodes: min(cs, key=lambda c: (c.cycles, c.dram)) for nodes, cs in by_group(columns).items()}
    alone = {nodes[0]: c for nodes, c in groups.items() if len(nodes) == 1}
    saving = {g: sum(alone[v].cycles for v in g) - c.cycles for g, c in groups.items() if len(g) > 1}
    taken: list[Column] = []
    free = set(flow)
    for g in sorted(saving, key=lambda g: (-saving[g], g)):
        if saving[g] > 0 and set(g) <= free and _acyclic(flow, [*(t.nodes for t in taken), g]):
            taken.append(groups[g])
            free -= set(g)
    return place([*taken, *(alone[v] for v in flow if v in free)], flow, columns)


def _acyclic(flow: nx.DiGraph[str], groups: Sequence[tuple[str, ...]]) -> bool:
    """Whether the groups can be run each as a whole."""
    return nx.is_directed_acyclic_graph(_merged(flow, groups))


def _merged(flow: nx.DiGraph[str], groups: Sequence[tuple[str, ...]]) -> nx.DiGraph[tuple[str, ...]]:
    of = {v: g for g in groups for v in g}
    merged: nx.DiGraph[tuple[str, ...]] = nx.DiGraph()
    merged.add_nodes_from(of.get(v, (v,)) for v in flow)
    merged.add_edges_from(
        (of.get(u, (u,)), of.get(v, (v,))) for u, v in flow.edges if of.get(u, (u,)) != of.get(v, (v,))
    )
    return merged


def place(
    chosen: Sequence[Column],
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    first: Mapping[tuple[str, ...], int] | None = None,
) -> Solution:
    """Start the chosen columns in dependence order, each as early as it fits: those that `first` puts earlier
    before others, or the longest remaining chain first."""
    merged = _merged(flow, [c.nodes for c in chosen])
    of = {c.nodes: c for c in chosen}
    rank = first or {g: -n for g, n in _remaining(merged, of).items()}
    done: dict[tuple[str, ...], Task] = {}
    ready = [g for g in merged if not list(merged.predecessors(g))]
    while ready:
        ready.sort(key=lambda g: (rank[g], g))
        g = ready.pop(0)
        earliest = max((done[p].end for p in merged.predecessors(g)), default=0)
        done[g] = Task(of[g], _fit(of[g], earliest, done.values()))
        ready += [s for s in merged.successors(g) if all(p in done for p in merged.predecessors(s))]
    tasks = tuple(sorted(done.values(), key=lambda t: (t.start, t.column.nodes)))
    cycles = max((t.end for t in tasks), default=0)
    return Solution(tasks, cycles, min(longest_path(flow, columns), cycles), optimal=False)


def _remaining(merged: nx.DiGraph[tuple[str, ...]], of: Mapping[tuple[str, ...], Column]) -> dict[tuple[str, ...], int]:
    rest: dict[tuple[str, ...], int] = {}
    for g in reversed(list(nx.topological_sort(merged))):
        rest[g] = of[g].cycles + max((rest[s] for s in merged.successors(g)), default=0)
    return rest


def _fit(c: Column, earliest: int, tasks: Iterable[Task]) -> int:
    placed = [t for t in tasks if t.end > earliest]
    starts = sorted({earliest, *(t.end for t in placed)})
    return next(s for s in starts if _free(c, s, placed))


def _free(c: Column, start: int, placed: Sequence[Task]) -> bool:
    """Whether nothing is used beyond its capacity from `start` for the length of the column."""
    inside = [t for t in placed if t.start < start + c.cycles and t.end > start]
    points = [start, *(t.start for t in inside if t.start > start)]
    return all(fits([*(t.column for t in inside if t.start <= p < t.end), c]) for p in points)


def fits(together: Sequence[Column]) -> bool:
    """Whether columns may run at the same moment."""
    load: dict[str, int] = {"": 0}
    for c in together:
        load[""] += c.dram
        load[c.unit] = load.get(c.unit, 0) + UNITS
        if c.helper:
            load[c.helper] = load.get(c.helper, 0) + c.beside
    return all(v <= UNITS for v in load.values())


def require_columns(columns: Columns, segment: Segment) -> None:
    """Raises Infeasible `no-mapping` for the first node that no unit can run alone, with every unit's reason."""
    covered = {c.nodes[0] for c in columns.of(segment) if len(c.nodes) == 1}
    for v in segment.nodes:
        if v not in covered:
            listed = "\n  ".join(f"{r.unit}: {r.why}" for r in columns.refusals if r.nodes == (v,))
            raise Infeasible("no-mapping", f"no unit can run `{v}`:\n  {listed}")
