"""Small segments with every schedule that they have: what a mapper must find, by brute force."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.solution import Solution, Task
from dfcompiler.tiling import Tiling

NOTHING = Tiling(1.0, 1.0, 0, 0, 0, 0, {}, {}, {}, (), (), 0, 0)


def small(seed: int) -> tuple[nx.DiGraph[str], list[Column]]:
    """Up to 5 nodes with up to 3 columns each, and groups that can run as one."""
    rng = random.Random(seed)
    flow: nx.DiGraph[str] = nx.DiGraph()
    names = [f"n{i}" for i in range(rng.randint(2, 5))]
    flow.add_nodes_from(names)
    flow.add_edges_from((u, v) for u, v in itertools.combinations(names, 2) if rng.random() < 0.35)
    found = [c for v in names for c in _columns(rng, (v,), 1)]
    groups = [g for n in (2, 3) for g in itertools.combinations(names, n) if _convex(flow, g)]
    for g in rng.sample(groups, min(len(groups), rng.randint(0, 3))):
        found += _columns(rng, g, len(g) * 0.8)
    return flow, found


def _convex(flow: nx.DiGraph[str], g: Sequence[str]) -> bool:
    below = set().union(*(nx.descendants(flow, v) for v in g)) - set(g)
    above = set().union(*(nx.ancestors(flow, v) for v in g)) - set(g)
    return not below & above


def _columns(rng: random.Random, nodes: tuple[str, ...], scale: float) -> list[Column]:
    found = []
    for _ in range(rng.randint(1, 3)):
        unit = rng.choice(["a", "b", "v"])
        beside = 0 if unit == "v" else rng.choice([0, 0, 3, 9, 16])
        cycles = max(1, int(scale * rng.randint(1, 12)))
        dram, pj = rng.choice([2, 4, 8, 12, 16]), float(rng.randint(1, 100))
        found.append(Column(nodes, unit, "v" if beside else None, cycles, dram, beside, NOTHING, pj))
    return found


def covers(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Iterator[list[tuple[str, ...]]]:
    groups = list(dict.fromkeys(c.nodes for c in columns))

    def extend(left: frozenset[str], taken: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
        if not left:
            yield taken
            return
        for g in groups:
            if min(left) in g and set(g) <= left:
                yield from extend(left - set(g), [*taken, g])

    yield from extend(frozenset(flow), [])


def active(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Iterator[tuple[int, float]]:
    """Cycles and energy of the shortest active schedule of every choice: every cover, every column, every order of
    placing them. The makespan only grows with the end of any task, so one of the active schedules is shortest."""
    for cover in covers(flow, columns):
        of = {v: i for i, g in enumerate(cover) for v in g}
        before = {i: {of[u] for u, w in flow.edges if of[w] == i and of[u] != i} for i in range(len(cover))}
        for chosen in itertools.product(*([c for c in columns if c.nodes == g] for g in cover)):
            serial = sum(c.cycles for c in chosen)
            yield _place(chosen, before, {}, serial), sum(c.pj for c in chosen)


def shortest(flow: nx.DiGraph[str], columns: Sequence[Column]) -> int:
    """Cycles of the shortest of all schedules."""
    return min(cycles for cycles, _ in active(flow, columns))


def _place(chosen: Sequence[Column], before: Mapping[int, set[int]], done: dict[int, Task], best: int) -> int:
    end = max((t.end for t in done.values()), default=0)
    if end >= best:
        return best
    if len(done) == len(chosen):
        return end
    for i in range(len(chosen)):
        if i in done or not before[i] <= set(done):
            continue
        ready = max((done[j].end for j in before[i]), default=0)
        starts = sorted({ready, *(t.end for t in done.values() if t.end > ready)})
        task = next(t for s in starts if _fits(t := Task(chosen[i], s), done.values()))
        best = _place(chosen, before, {**done, i: task}, best)
    return best


def _fits(task: Task, others: Any) -> bool:
    near = [t for t in others if t.start < task.end and task.start < t.end]
    try:
        check_resources([task, *near])
    except AssertionError:
        return False
    return True


def legal(flow: nx.DiGraph[str], solution: Solution) -> bool:
    task = {v: t for t in solution.tasks for v in t.column.nodes}
    check_resources(solution.tasks)
    ordered = all(task[u] is task[v] or task[u].end <= task[v].start for u, v in flow.edges)
    once = sorted(v for t in solution.tasks for v in t.column.nodes) == sorted(flow)
    return ordered and once and solution.cycles >= max(t.end for t in solution.tasks)


def check_resources(tasks: Sequence[Task]) -> None:
    for moment in {t.start for t in tasks}:
        now = [t for t in tasks if t.start <= moment < t.end]
        assert sum(t.column.dram for t in now) <= 16
        for unit in {t.column.unit for t in now} | {t.column.helper for t in now}:
            own = sum(t.column.unit == unit for t in now)
            helped = sum(t.column.beside for t in now if t.column.helper == unit and unit)
            assert own <= 1 and 16 * own + helped <= 16, (unit, moment)
