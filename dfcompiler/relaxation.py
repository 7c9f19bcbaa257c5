"""The linear relaxation of a segment: rows that hold in every schedule, and what their multipliers prove.

The rows are those of the integer program, for fractions of columns. A solver finds the multipliers; what they prove is
recounted exactly, after every number that breaks a rule has been moved to where it proves a little less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil, floor, inf, nextafter
from typing import Any, TypeAlias

import networkx as nx

from dfcompiler.columns import Column
from dfcompiler.cuts import Section, sections
from dfcompiler.moments import Apart, Moments, apart_in_run, moments
from dfcompiler.tiling import RESOLUTION

Edge: TypeAlias = tuple[str, str]
NOISE = 1e-9  # multipliers below are the solver's rounding
NO_COLUMN = 100.0  # targets: what a node costs without a column, so that there is an answer where no schedule is left
MOMENTS = 50_000  # sets of columns of a section that are looked at, at most: two seconds


@dataclass(frozen=True)
class Row:
    """What holds in every schedule: `makespan`, and the starts of nodes with their signs, cover what each chosen
    column takes, in parts of cycles (`RESOLUTION` to one)."""

    what: Mapping[str, Any]
    makespan: int
    starts: Mapping[str, int]
    takes: Mapping[int, int | Fraction]


@dataclass(frozen=True)
class Room:
    """The time of a section, as a row that nothing fills, and which of the columns inside can run at one moment."""

    empty: Row
    inside: Sequence[int]
    moments: Moments
    lasts: Any  # the constraint that the section lasts as long as all sets of columns
    covers: Sequence[Any]  # for each kind the constraint that sets with it last as long as its columns

    def weighed(self, columns: Sequence[Column], weights: Sequence[float]) -> Row:
        """What holds in the section where columns of these kinds count by weights of which no set has more than one:
        numbers that break this are made smaller."""
        sure = list(weights)
        for each in self.moments.sets:
            if sum(sure[k] for k in each) > 1 - NOISE:
                most = max(each, key=lambda k: sure[k])
                rest = sum((Fraction(sure[k]) for k in each if k != most), Fraction())
                sure[most] = min(sure[most], max(0.0, below(1 - rest)))
        kinds = [([self.inside[i] for i in some], w) for some, w in zip(self.moments.kinds, sure, strict=True) if w]
        takes = {i: Fraction(w) * columns[i].cycles * RESOLUTION for some, w in kinds for i in some}
        said = [{"columns": some, "weight": w} for some, w in kinds]
        what = {**self.empty.what, "kind": "together", "weights": said}
        return Row(what, self.empty.makespan, self.empty.starts, {**self.empty.takes, **takes})


@dataclass(frozen=True)
class Dual:
    """A proof that no schedule takes less than `bound` cycles, what each node is `worth`, and the fractions of columns
    and starts (in targets) for which the relaxation takes no more."""

    bound: int
    rows: tuple[tuple[Row, float], ...]
    worth: Mapping[str, float]
    chosen: Mapping[int, float] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The proof without the sections that its rows number."""
        return {"worth": dict(self.worth), "rows": [{**r.what, "weight": w} for r, w in self.rows]}


class Relaxation:
    """The relaxation of a segment, to be solved without some columns and with some order of nodes; numbers are kept
    near one by measuring time in targets. Where columns have `costs`, in cycles, what is bounded is the makespan
    and the costs of the chosen columns together; `more` are further rows that hold."""

    earliest = 0.0  # start

    def __init__(
        self,
        flow: nx.DiGraph[str],
        columns: Sequence[Column],
        target: int,
        costs: Sequence[float] = (),
        more: Sequence[Row] = (),
    ) -> None:
        from ortools.math_opt.python import mathopt  # takes longer to import than all else: only who solves waits

        self.flow, self.columns, self.target, self.costs = flow, columns, max(1, target), costs
        self.sections, self.apart = self._sections(), self._apart()
        self.rows = [*self._rows(), *_pinned(columns, self.target), *more]
        self.model = mathopt.Model()
        self.makespan = self.model.add_variable(lb=0.0)
        self.start = {v: self.model.add_variable(lb=self.earliest) for v in flow}
        self.chosen = [self.model.add_variable(lb=0.0) for _ in columns]
        none = {v: self.model.add_variable(lb=0.0) for v in flow}
        covering: dict[str, list[Any]] = {v: [x] for v, x in none.items()}
        for x, c in zip(self.chosen, columns, strict=True):
            for v in c.nodes:
                covering[v].append(x)
        self.once = {v: self._sum(((x, 1.0) for x in some), 1.0, 1.0) for v, some in covering.items()}
        self.held = [self._held(r) for r in self.rows]
        rooms = [self._room(number, s) for number, s in enumerate(self.sections)]
        self.rooms = [r for r in rooms if r is not None]
        paid = mathopt.fast_sum(x / self.target * y for x, y in zip(costs, self.chosen, strict=bool(costs)))
        self.model.minimize(self.makespan + paid + NO_COLUMN * mathopt.fast_sum(none.values()))

    def _sections(self) -> list[Section]:
        return sections(self.flow)

    def _apart(self) -> Apart:
        return apart_in_run(self.flow)

    def _rows(self) -> Iterator[Row]:
        """The rows of the program: ends, order of data, loads of every resource."""
        of: dict[str, dict[int, int]] = {v: {} for v in self.flow}
        for i, c in enumerate(self.columns):
            for v in c.nodes:
                of[v][i] = c.cycles * RESOLUTION
        yield from (_end(v, of[v]) for v in self.flow)
        yield from (_order(u, v, _without(of[u], self.columns, v)) for u, v in self.flow.edges)
        yield from loads_of(self.columns, self.sections)

    def _joined(self, weighted: list[tuple[Row, float]]) -> list[tuple[Row, float]]:
        """Rows with multipliers, as they are to stand in a proof."""
        return weighted

    @cached_property
    def solver(self) -> Any:
        """The solver, which begins with what it found before."""
        from ortools.math_opt.python import mathopt

        return mathopt.IncrementalSolver(self.model, mathopt.SolverType.GLOP)

    @property
    def moments(self) -> int:
        """How many sets of columns are looked at that can run at one moment."""
        return sum(len(r.moments.sets) for r in self.rooms)

    def _room(self, number: int, s: Section) -> Room | None:
        """A section in which sets of columns run one after another; None where there are too many sets."""
        inside = _within(self.columns, s)
        found = moments(self.apart, [self.columns[i] for i in inside], MOMENTS)
        if found is None:
            return None
        empty, last = _empty(self.columns, number, s), [self.model.add_variable(lb=0.0) for _ in found.sets]
        with_it: list[list[Any]] = [[] for _ in found.kinds]
        for each, x in zip(found.sets, last, strict=True):
            for k in each:
                with_it[k].append(x)
        covers = []
        for kind, some in zip(found.kinds, with_it, strict=True):
            runs = [(self.chosen[inside[i]], -self.columns[inside[i]].cycles / self.target) for i in kind]
            covers.append(self._sum([*((x, 1.0) for x in some), *runs]))
        return Room(empty, inside, found, self._held(empty, last), covers)

    def _held(self, r: Row, more: Sequence[Any] = ()) -> Any:
        scale = RESOLUTION * self.target
        starts = [(self.start[v], float(n)) for v, n in r.starts.items()]
        takes = [(self.chosen[i], -float(n) / scale) for i, n in r.takes.items()]
        return self._sum([*starts, (self.makespan, float(r.makespan)), *takes, *((x, -1.0) for x in more)])

    def _sum(self, terms: Iterable[tuple[Any, float]], low: float = 0.0, high: float = inf) -> Any:
        """A constraint on a sum of different variables with their coefficients. (Sums of the modelling language take
        several times as long to build.)"""
        row = self.model.add_linear_constraint(lb=low, ub=high)
        for x, n in terms:
            row.set_coefficient(x, n)
        return row

    def solve(self, out: frozenset[int], orders: Sequence[Edge] = ()) -> Dual:
        """What is proven of schedules without the columns in `out`, in which nodes follow each other as in `orders`."""
        for i, x in enumerate(self.chosen):
            x.upper_bound = 0.0 if i in out else inf
        rows = [*self.rows, *(order(self.columns, u, v) for u, v in orders)]
        more = [self._held(r) for r in rows[len(self.rows) :]]
        result = attempted(self.solver.solve)
        found: Dual | None = None
        if result and result.has_dual_feasible_solution() and result.has_primal_feasible_solution():
            duals, values = result.dual_values(), result.variable_values()
            weights = [(r, float(duals[h])) for r, h in zip(rows, [*self.held, *more], strict=True)]
            weights += [(self._weighed(r, y, duals), y) for r in self.rooms if (y := float(duals[r.lasts])) > NOISE]
            found = self._settled(
                self._joined([(r, w) for r, w in weights if w > NOISE]),
                {v: Fraction(float(duals[h])) * self.target for v, h in self.once.items()},
                [i for i in range(len(self.columns)) if i not in out],
                {i: values[x] for i, x in enumerate(self.chosen) if values[x] > NOISE},
                {v: values[x] for v, x in self.start.items()},
            )
        for row in more:
            self.model.delete_linear_constraint(row)
        return found or Dual(0, (), dict.fromkeys(self.flow, 0.0))

    def _weighed(self, room: Room, whole: float, duals: Mapping[Any, float]) -> Row:
        return room.weighed(self.columns, [max(0.0, float(duals[h]) / whole) for h in room.covers])

    def _settled(
        self,
        weighted: list[tuple[Row, float]],
        worth: dict[str, Fraction],
        near: Sequence[int],
        chosen: Mapping[int, float],
        start: Mapping[str, float],
    ) -> Dual:
        """Multipliers as a proof: no start helps the makespan, and no column costs less than its nodes are worth."""
        for v in self.flow:
            pull = sum((Fraction(w) * r.starts.get(v, 0) for r, w in weighted), Fraction())
            if pull > 0:
                weighted.append((end(self.columns, v), -below(-pull)))
        price = {i: Fraction(self.costs[i]) if self.costs else Fraction() for i in near}
        for r, w in weighted:
            for i, n in r.takes.items():
                if i in price:
                    price[i] += Fraction(w) * n / RESOLUTION
        spare = {i: price[i] - sum(worth[v] for v in self.columns[i].nodes) for i in near}
        for v in self.flow:
            mine = [i for i in near if v in self.columns[i].nodes]
            value = Fraction(below(worth[v] + min((spare[i] for i in mine), default=Fraction())))
            for i in mine:
                spare[i] += worth[v] - value
            worth[v] = value
        span = sum((Fraction(w) * r.makespan for r, w in weighted), Fraction())
        if self.costs:  # makespan and costs are at least (span x makespan + costs) / span where that is more than one
            span = max(span, Fraction(1))
        whole = sum(worth.values(), Fraction())
        bound = max(0, floor(whole / span) if self.costs else ceil(whole / span)) if span else 0  # costs are no cycles
        return Dual(bound, tuple(weighted), {v: float(x) for v, x in worth.items()}, chosen, start)


def attempted(solve: Callable[[], Any]) -> Any:
    """What a solver answers; None where it gives up on its numbers."""
    try:
        return solve()
    except Exception:  # what it raises is no class of its own
        return None


def end(columns: Sequence[Column], v: str) -> Row:
    """The makespan is no less than the end of a node."""
    return _end(v, lasting(columns, v))


def _end(v: str, takes: Mapping[int, int]) -> Row:
    return Row({"kind": "end", "node": v}, 1, {v: -1}, takes)


def order(columns: Sequence[Column], u: str, v: str) -> Row:
    """One node starts when another is done, or with it in one group."""
    return _order(u, v, _without(lasting(columns, u), columns, v))


def _order(u: str, v: str, takes: Mapping[int, int]) -> Row:
    return Row({"kind": "order", "from": u, "to": v}, 0, {u: -1, v: 1}, takes)


def loads_of(columns: Sequence[Column], parts: Sequence[Section]) -> Iterator[Row]:
    """In the time of every section every resource does what is asked of it there."""
    for number, s in enumerate(parts):
        empty = _empty(columns, number, s)
        for resource, loads in _loads(columns, _within(columns, s)).items():
            what: dict[str, Any] = {"kind": "unit", "unit": resource} if resource else {"kind": "dram"}
            yield Row({**empty.what, **what}, empty.makespan, empty.starts, {**empty.takes, **loads})


def _pinned(columns: Sequence[Column], cycles: int) -> Iterator[Row]:
    """Who makes a tensor pins it where who reads it finds it so, and only there, but for one group that does both."""
    for pin in sorted({pin for c in columns for pin in c.pins}):
        with_it = [i for i, c in enumerate(columns) if pin in c.pins]
        for v in dict.fromkeys(pin.readers):
            makes, reads = (
                [i for i in with_it if one in columns[i].nodes and other not in columns[i].nodes]
                for one, other in ((pin.maker, v), (v, pin.maker))
            )
            what = {"kind": "pinned", "tensor": pin.tensor, "memory": pin.memory, "reader": v}
            for n in (cycles, -cycles):
                takes = dict.fromkeys(makes, n * RESOLUTION) | dict.fromkeys(reads, -n * RESOLUTION)
                yield Row({**what, "cycles": n}, 0, {}, takes)


def _within(columns: Sequence[Column], s: Section) -> list[int]:
    return [i for i, c in enumerate(columns) if s.inside.issuperset(c.nodes)]


def _empty(columns: Sequence[Column], number: int, s: Section) -> Row:
    """The time of a section, that nothing fills."""
    starts = ({s.after: -1} if s.after is not None else {}) | ({s.before: 1} if s.before is not None else {})
    before = _without(lasting(columns, s.after), columns, s.before) if s.after is not None else {}
    return Row({"section": number}, 1 if s.before is None else 0, starts, before)


def lasting(columns: Sequence[Column], v: str) -> dict[int, int]:
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


def below(x: Fraction) -> float:
    """The largest float that is not above a number."""
    near = float(x)
    return near if Fraction(near) <= x else nextafter(near, -inf)
