"""Why no schedule of a segment takes less than its bound: proofs that are checked with arithmetic alone.

A chain: nodes that wait for each other, each with cycles that no column undercuts. A dual: multipliers of rows that
hold in every schedule, which together say that the makespan is at least a number. An enumeration: all schedules of a
small segment, cut off where the rest cannot end before the bound. Where none of them reaches the bound, it is the
solver's word, and the best of these proofs stands beside it.

The rows are those of the integer program, for fractions of columns. A solver finds the multipliers; what they prove is
recounted exactly, after every number that breaks a rule has been moved to where it proves a little less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, inf, nextafter
from typing import Any

import networkx as nx

from dfcompiler import paths
from dfcompiler.columns import Column
from dfcompiler.cuts import Section, cliques, sections
from dfcompiler.enumeration import none_before
from dfcompiler.solution import Solution, by_group, shortest
from dfcompiler.tiling import RESOLUTION

NOISE = 1e-9  # multipliers below are the solver's rounding


@dataclass(frozen=True)
class Certificate:
    """A proof that no schedule of the columns takes less than `bound` cycles; `content` is what a checker needs."""

    kind: str
    bound: int
    content: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The object of `mapping.json`."""
        return {"kind": self.kind, "bound": self.bound, **self.content}


def certificate(flow: nx.DiGraph[str], columns: Sequence[Column], found: Solution) -> Certificate:
    """The plainest proof of the bound of a schedule of `flow`: a chain, a dual, an enumeration, or else what the
    solver said beside what can be proven without it."""
    if (plain := chain(flow, columns)).bound >= found.bound:
        return plain
    if (proven := dual(flow, columns, found.cycles)).bound >= found.bound:
        return proven
    if none_before(found.bound, flow, columns):
        return Certificate("enumeration", found.bound, {})
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
    flow: nx.DiGraph[str], columns: Sequence[Column], carried: Sequence[tuple[str, str]]
) -> Certificate:
    """The longest chain that begins with a reader of a value of the last run, and ends with what makes it anew:
    `carried` are pairs of who makes it and who reads it."""
    cost = paths.costs(flow, shortest(columns))
    loops = [
        heaviest(flow.subgraph((nx.descendants(flow, v) | {v}) & (nx.ancestors(flow, u) | {u})), cost)
        for u, v in carried
    ]
    return max(loops, key=lambda c: c.bound, default=Certificate("chain", 0, {"chain": []}))


# ---- duals -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What holds in every schedule: `makespan`, and the starts of nodes with their signs, cover what each chosen
    column takes, in parts of cycles (`RESOLUTION` to one)."""

    what: Mapping[str, Any]
    makespan: int
    starts: Mapping[str, int]
    takes: Mapping[int, int]
    section: Section | None = None


@dataclass
class _Dual:
    """Multipliers of rows and the worth of nodes, as the solver has them until `settle` makes a proof of them."""

    rows: list[Row]
    weights: list[float]
    worth: dict[str, float] = field(default_factory=dict)


def dual(flow: nx.DiGraph[str], columns: Sequence[Column], target: int) -> Certificate:
    """What the linear relaxation proves of schedules that take less than `target` cycles; columns whose longest chain
    is as long are in none of those."""
    rest = paths.beside(flow, paths.costs(flow, shortest(columns)), by_group(columns))
    near = [i for i, c in enumerate(columns) if rest[c.nodes] + c.cycles < target]
    if {v for i in near for v in columns[i].nodes} != set(flow):
        near = list(range(len(columns)))
    found = _settled(flow, columns, near, _solved(flow, columns, near, list(_rows(flow, columns)), target))
    span = sum(Fraction(w) * r.makespan for r, w in zip(found.rows, found.weights, strict=True))
    bound = ceil(sum(map(Fraction, found.worth.values())) / span) if span else 0
    within = list(dict.fromkeys(r.section for r in found.rows if r.section))
    said = {
        "worth": found.worth,
        "sections": [_section(flow, s) for s in within],
        "rows": [_row(r, w, within) for r, w in zip(found.rows, found.weights, strict=True)],
        "above": sorted(set(range(len(columns))) - set(near)),
    }
    return Certificate("dual", min(bound, target) if said["above"] else bound, said)


def _row(r: Row, weight: float, within: Sequence[Section]) -> dict[str, Any]:
    number = {"section": within.index(r.section)} if r.section else {}
    return {**r.what, **number, "weight": weight}


def _section(flow: nx.DiGraph[str], s: Section) -> dict[str, Any]:
    return {"after": s.after, "before": s.before, "inside": [v for v in flow if v in s.inside]}


def _rows(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Iterator[Row]:
    """The rows of the program: ends, order of data, loads of every resource, groups that never run together."""
    over = {v: _lasting(columns, v) for v in flow}
    for v in flow:
        yield Row({"kind": "end", "node": v}, 1, {v: -1}, over[v])
    for u, v in flow.edges:
        yield Row({"kind": "order", "from": u, "to": v}, 0, {u: -1, v: 1}, _without(over[u], columns, v))
    apart = cliques(columns)
    for s in sections(flow):
        inside = [i for i, c in enumerate(columns) if s.inside.issuperset(c.nodes)]
        span = 1 if s.before is None else 0
        starts = ({s.after: -1} if s.after is not None else {}) | ({s.before: 1} if s.before is not None else {})
        before = _without(over[s.after], columns, s.before) if s.after is not None else {}
        for resource, loads in _loads(columns, inside).items():
            what = {"kind": "unit", "unit": resource} if resource else {"kind": "dram"}
            yield Row(what, span, starts, before | loads, s)
        for clique in apart:
            takes = {i: columns[i].cycles * RESOLUTION for i in inside if columns[i].nodes in clique}
            groups = sorted({columns[i].nodes for i in takes})
            if len(groups) > 1:
                yield Row({"kind": "apart", "groups": list(map(list, groups))}, span, starts, before | takes, s)


def _lasting(columns: Sequence[Column], v: str) -> dict[int, int]:
    """How long each column holds a node."""
    return {i: c.cycles * RESOLUTION for i, c in enumerate(columns) if v in c.nodes}


def _without(takes: Mapping[int, int], columns: Sequence[Column], v: str | None) -> dict[int, int]:
    return {i: n for i, n in takes.items() if v not in columns[i].nodes}


def _loads(columns: Sequence[Column], inside: Sequence[int]) -> dict[str, dict[int, int]]:
    """What columns ask of every resource, the way to memory by the empty name."""
    loads: dict[str, dict[int, int]] = {}
    for i in inside:
        c = columns[i]
        for resource, share in (("", c.dram), (c.unit, RESOLUTION), (c.helper, c.beside)):
            if resource is not None and share:
                loads.setdefault(resource, {})[i] = c.cycles * share
    return loads


def _solved(
    flow: nx.DiGraph[str], columns: Sequence[Column], near: Sequence[int], rows: list[Row], target: int
) -> _Dual:
    """The multipliers that a linear program finds, in units of `target` to keep its numbers near one."""
    from ortools.math_opt.python import mathopt  # takes longer to import than all else: only who needs it waits

    model = mathopt.Model()
    chosen = {i: model.add_variable(lb=0.0) for i in near}
    start = {v: model.add_variable(lb=0.0) for v in flow}
    makespan = model.add_variable(lb=0.0)
    scale = RESOLUTION * max(1, target)
    once = {
        v: model.add_linear_constraint(mathopt.fast_sum(chosen[i] for i in near if v in columns[i].nodes) == 1.0)
        for v in flow
    }
    held = []
    for r in rows:
        terms = [n * start[v] for v, n in r.starts.items()] + [r.makespan * makespan]
        terms += [-n / scale * chosen[i] for i, n in r.takes.items() if i in chosen]
        held.append(model.add_linear_constraint(mathopt.fast_sum(terms) >= 0.0))
    model.minimize(makespan)
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    values = result.dual_values() if result.has_dual_feasible_solution() else {}
    weights = [float(values.get(row, 0.0)) for row in held]
    used = [i for i, w in enumerate(weights) if w > NOISE]
    worth = {v: float(values.get(row, 0.0)) * target for v, row in once.items()}
    return _Dual([rows[i] for i in used], [weights[i] for i in used], worth)


def _settled(flow: nx.DiGraph[str], columns: Sequence[Column], near: Sequence[int], found: _Dual) -> _Dual:
    """The same as a proof: no start helps the makespan, and no column costs less than its nodes are worth."""
    rows, weights = list(found.rows), list(found.weights)
    for v in flow:
        pull = sum((Fraction(w) * r.starts.get(v, 0) for r, w in zip(rows, weights, strict=True)), Fraction())
        if pull > 0:
            rows.append(Row({"kind": "end", "node": v}, 1, {v: -1}, _lasting(columns, v)))
            weights.append(-_below(-pull))
    price = dict.fromkeys(near, Fraction())
    for r, w in zip(rows, weights, strict=True):
        for i, n in r.takes.items():
            if i in price:
                price[i] += Fraction(w) * n / RESOLUTION
    worth = {v: Fraction(x) for v, x in found.worth.items()}
    spare = {i: price[i] - sum(worth[v] for v in columns[i].nodes) for i in near}
    for v in flow:
        mine = [i for i in near if v in columns[i].nodes]
        value = Fraction(_below(worth[v] + min((spare[i] for i in mine), default=Fraction())))
        for i in mine:
            spare[i] += worth[v] - value
        worth[v] = value
    return _Dual(rows, weights, {v: float(x) for v, x in worth.items()})


def _below(x: Fraction) -> float:
    """The largest float that is not above a number."""
    near = float(x)
    return near if Fraction(near) <= x else nextafter(near, -inf)
