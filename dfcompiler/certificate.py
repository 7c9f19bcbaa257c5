"""Why no schedule of a segment takes less than its bound: proofs that are checked with arithmetic alone.

A chain: nodes that wait for each other, each with cycles that no column undercuts. A dual: multipliers of rows that
hold in every schedule, which together say that the makespan is at least a number. An enumeration: all schedules of a
small segment, cut off where the rest cannot end before the bound. A tree: cases, with a dual for each. Where none of
them reaches the bound, it is the solver's word, and the best of these proofs stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from typing import Any

import networkx as nx

from dfcompiler import paths
from dfcompiler.branches import tree
from dfcompiler.circuits import Steady
from dfcompiler.columns import Column
from dfcompiler.enumeration import none_before
from dfcompiler.goals import Goal
from dfcompiler.relaxation import Relaxation, Row, below
from dfcompiler.solution import Solution, by_group, shortest
from dfcompiler.tiling import RESOLUTION


@dataclass(frozen=True)
class Certificate:
    """A proof that no schedule of the columns takes less than `bound` cycles; `content` is what a checker needs."""

    kind: str
    bound: int
    content: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object of `mapping.json`."""
        return {"kind": self.kind, "bound": self.bound, **self.content}


def certificate(
    flow: nx.DiGraph[str], columns: Sequence[Column], found: Solution, pj_per_cycle: float = inf
) -> Certificate:
    """The plainest proof of the bound of a schedule of `flow`, which may take so much energy on average: a chain, a
    dual, an enumeration, a tree, or else what the solver said beside what can be proven without it."""
    if (plain := chain(flow, columns)).bound >= found.bound:
        return plain
    if (proven := dual(flow, columns, found.cycles, pj_per_cycle)).bound >= found.bound:
        return proven
    if none_before(found.bound, flow, columns):
        return Certificate("enumeration", found.bound, {})
    if (cases := by_cases(flow, columns, found.bound)) is not None:
        return cases
    best = max(plain, proven, key=lambda c: c.bound)
    return Certificate("search", found.bound, {"certified": best.to_json()})


# ---- chains ------------------------------------------------------------------------------------


def chain(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Certificate:
    """The longest chain of dependent nodes on their fastest columns."""
    return heaviest(flow, paths.costs(flow, shortest(columns)))


def heaviest(flow: nx.DiGraph[str], cost: Mapping[str, float]) -> Certificate:
    """The chain of the greatest cost, from a node that waits for none; nodes count as in `paths.costs`."""
    best: dict[str, tuple[float, str | None]] = {}
    for v in nx.topological_sort(flow):
        u = max(flow.predecessors(v), key=lambda u: best[u][0], default=None)
        best[v] = cost[v] + (best[u][0] if u is not None else 0.0), u
    at = max(reversed(list(best)), key=lambda v: best[v][0], default=None)
    nodes: list[str] = []
    while at is not None:
        nodes.append(at)
        at = best[at][1]
    links = [{"node": v, "cycles": int(cost[v])} for v in reversed(nodes)]
    return Certificate("chain", sum(int(cost[v]) for v in nodes), {"chain": links})


def from_run_to_run(
    flow: nx.DiGraph[str], columns: Sequence[Column], carried: Sequence[tuple[str, str]], period: int
) -> Certificate:
    """The best proof of how soon runs can follow each other, where some do every `period`: the longest chain that
    begins with a reader of a value of the last run, and ends with what makes it anew, or a dual with circuits.
    `carried` are pairs of who makes a value and who reads it."""
    cost = paths.costs(flow, shortest(columns))
    loops = [
        heaviest(flow.subgraph((nx.descendants(flow, v) | {v}) & (nx.ancestors(flow, u) | {u})), cost)
        for u, v in carried
    ]
    plain = max(loops, key=lambda c: c.bound, default=Certificate("chain", 0, {"chain": []}))
    if plain.bound >= period:
        return plain
    relaxation = Steady(flow, columns, carried, period)
    found = relaxation.solve(frozenset())
    proven = Certificate("dual", found.bound, _listed(relaxation, frozenset()) | found.to_json())
    return max(plain, proven, key=lambda c: c.bound)


# ---- duals -------------------------------------------------------------------------------------


def dual(flow: nx.DiGraph[str], columns: Sequence[Column], target: int, pj_per_cycle: float = inf) -> Certificate:
    """What the linear relaxation proves of schedules that take less than `target` cycles, and so much energy on average
    at most."""
    above = _above(flow, columns, target)
    relaxation = Relaxation(flow, columns, target, more=_powers(columns, pj_per_cycle))
    found = relaxation.solve(above)
    bound = min(found.bound, target) if above else found.bound
    return Certificate("dual", bound, _listed(relaxation, above) | found.to_json())


def cost(
    flow: nx.DiGraph[str], columns: Sequence[Column], per_pj: float, known: float, pj_per_cycle: float = inf
) -> Certificate:
    """What the linear relaxation proves of the makespan and so many cycles for each pJ of the columns together, where
    a schedule takes so much on average at most. `known` is what one comes to, near which numbers are kept; the bound
    is in cycles."""
    costs = [below(Fraction(per_pj) * Fraction(c.pj)) for c in columns]
    relaxation = Relaxation(flow, columns, ceil(known), costs, _powers(columns, pj_per_cycle))
    found = relaxation.solve(frozenset())
    said = {**_listed(relaxation, frozenset()), **found.to_json(), "per_pj": per_pj}
    return Certificate("cost", found.bound, said)


def _powers(columns: Sequence[Column], pj_per_cycle: float) -> list[Row]:
    """A schedule lasts as long as the energy of its columns asks for, where there is a limit."""
    if pj_per_cycle == inf:
        return []
    takes = {i: Fraction(c.pj) / Fraction(pj_per_cycle) * RESOLUTION for i, c in enumerate(columns)}
    return [Row({"kind": "power"}, 1, {}, takes)]


def least_cost(flow: nx.DiGraph[str], columns: Sequence[Column], goal: Goal, known: float) -> float:
    """What the linear relaxation proves of the cost of schedules by a goal by which cycles cost something."""
    found = cost(flow, columns, goal.per_pj / goal.of_cycle, known / goal.of_cycle, goal.pj_per_cycle)
    return found.bound * goal.of_cycle


def by_cases(flow: nx.DiGraph[str], columns: Sequence[Column], bound: int) -> Certificate | None:
    """Duals of all cases, that no schedule takes less than `bound`; None where there are too many."""
    above, relaxation = _above(flow, columns, bound), Relaxation(flow, columns, bound)
    root = tree(relaxation, above)
    return None if root is None else Certificate("tree", bound, _listed(relaxation, above) | {"root": root})


def _listed(relaxation: Relaxation, above: frozenset[int]) -> dict[str, Any]:
    parts = [{"after": s.after, "before": s.before, "inside": sorted(s.inside)} for s in relaxation.sections]
    return {"sections": parts, "above": sorted(above)}


def _above(flow: nx.DiGraph[str], columns: Sequence[Column], target: int) -> frozenset[int]:
    """Columns whose longest chain takes `target` cycles: they are in no schedule that takes less. None where they are
    all that a node has."""
    rest = paths.beside(flow, paths.costs(flow, shortest(columns)), by_group(columns))
    near = {i for i, c in enumerate(columns) if rest[c.nodes] + c.cycles < target}
    whole = {v for i in near for v in columns[i].nodes} == set(flow)
    return frozenset(range(len(columns))) - near if whole else frozenset()
