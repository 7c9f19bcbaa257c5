"""What holds in every schedule of a segment, worked out from its columns and its flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from dfcompiler.check.contents import Column, Edge, Segment
from dfcompiler.check.reading import At
from dfcompiler.check.verdicts import Fault


class Unproven(Exception):
    """A step of a proof that does not hold."""

    def __init__(self, at: At, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(at.path, message)


@dataclass(frozen=True)
class Row:
    """`makespan` of the makespan and the starts of nodes, with their signs, cover what each chosen column takes, in
    parts of cycles."""

    makespan: int
    starts: Mapping[str, int]
    takes: Mapping[int, int | Fraction]


@dataclass(frozen=True)
class Case:
    """What a proof may take for granted: columns that are not chosen, and nodes of which one follows the other. It is
    about one run, or `across` runs about the period from one to the next, which then stands for the makespan."""

    out: frozenset[int]
    orders: tuple[Edge, ...]
    across: bool = False


def row(s: Segment, said: At, x: At, whole: int, case: Case) -> Row:
    """The row that a certificate names by its kind; raises Unproven where it does not hold, Diag where it is none."""
    kind = x["kind"].text()
    if kind in (("end", "order") if case.across else ("circuit",)):
        raise Unproven(x, f"a row `{kind}` says nothing of {'the period of runs' if case.across else 'one run'}")
    match kind:
        case "end":
            v = x["node"].one_of(s.nodes)
            return Row(1, {v: -1}, _lasting(s, v, None, whole))
        case "order":
            u, v = x["from"].one_of(s.nodes), x["to"].one_of(s.nodes)
            if v not in s.after[u] and (u, v) not in case.orders:
                raise Unproven(x, f"`{v}` does not wait for `{u}`")
            return Row(0, {u: -1, v: 1}, _lasting(s, u, v, whole))
        case "circuit":
            return _circuit(s, x, whole)
        case "power":
            if not s.pj_per_cycle:
                raise Unproven(x, "there is no limit of power")
            each = Fraction(s.pj_per_cycle)
            return Row(1, {}, {i: Fraction(c.pj) / each * whole for i, c in enumerate(s.columns)})
        case "pinned":
            return _pinned(s, x, whole)
        case "dram":
            room, inside = _section(s, said, x, whole, case)
            return _filled(room, {i: c.cycles * c.dram for i, c in inside.items()})
        case "unit":
            room, inside = _section(s, said, x, whole, case)
            unit = x["unit"].text()
            return _filled(room, {i: c.cycles * c.uses(whole).get(unit, 0) for i, c in inside.items()})
        case "together":
            room, inside = _section(s, said, x, whole, case)
            weights = _weights(s, x["weights"], whole, _apart(s, case))
            return _filled(room, {i: c.cycles * whole * weights[i] for i, c in inside.items() if i in weights})
    raise x["kind"].wrong("must be end, order, circuit, power, pinned, dram, unit or together")


def _lasting(s: Segment, u: str, v: str | None, whole: int) -> dict[int, int]:
    """Cycles of the columns that run `u` without `v`."""
    return {i: c.cycles * whole for i, c in enumerate(s.columns) if u in c.nodes and v not in c.nodes}


def _filled(room: Row, takes: Mapping[int, int | Fraction]) -> Row:
    return Row(room.makespan, room.starts, {**room.takes, **takes})


def _circuit(s: Segment, x: At, whole: int) -> Row:
    """Nodes that wait for each other in a circle, some in the next run: it is closed so many periods later."""
    takes: dict[int, int] = {}
    links = [(y["from"].one_of(s.nodes), y["to"].one_of(s.nodes), y["next"].truth()) for y in x["links"].each()]
    for (u, v, following), (w, _, _) in zip(links, [*links[1:], *links[:1]], strict=True):
        if (u, v) not in s.carried if following else v not in s.after[u]:
            raise Unproven(x["links"], f"{'the next run of ' if following else ''}`{v}` does not wait for `{u}`")
        if v != w:
            raise Unproven(x["links"], f"the chain breaks at `{v}`")
        for i, n in _lasting(s, u, None if following else v, whole).items():
            takes[i] = takes.get(i, 0) + n
    return Row(sum(following for _, _, following in links), {}, takes)


def _pinned(s: Segment, x: At, whole: int) -> Row:
    """Who makes a tensor and who reads it find it pinned both or neither, but for columns that run both."""
    tensor, memory, v = (x[name].text() for name in ("tensor", "memory", "reader"))
    i = next((i for i, pin in enumerate(s.pins) if (pin.tensor, pin.memory) == (tensor, memory)), None)
    if i is None or v not in s.pins[i].touch[1:]:
        raise Unproven(x, f"`{v}` cannot find `{tensor}` pinned in `{memory}`")
    maker, cycles = s.pins[i].touch[0], int(x["cycles"].real()) * whole
    here = {k: c for k, c in enumerate(s.columns) if i in c.pins and (maker in c.nodes) != (v in c.nodes)}
    return Row(0, {}, {k: cycles if maker in c.nodes else -cycles for k, c in here.items()})


def _apart(s: Segment, case: Case) -> Mapping[str, frozenset[str]]:
    """The nodes that no moment has beside a node: itself and those before and after it, across runs those of them that
    are on a circuit with it that closes in the next run."""
    if not case.across:
        return {v: frozenset({v}) | s.after[v] | s.before[v] for v in s.nodes}
    loops = [(frozenset({v}) | s.after[v]) & (frozenset({u}) | s.before[u]) for u, v in s.carried]
    near = {v: frozenset({v}) | s.after[v] | s.before[v] for v in s.nodes}
    return {v: frozenset().union(*(loop & near[v] for loop in loops if v in loop)) for v in s.nodes}


def _section(s: Segment, said: At, x: At, whole: int, case: Case) -> tuple[Row, dict[int, Column]]:
    """The time of a section, from the end of one node to the start of another, and the columns that must run in it.

    A column of both ends leaves no time, and needs none: nodes between them run with them or not at all."""
    listed = said["sections"].each()
    at = listed[x["section"].number_of(len(listed))]
    after, before = (at[k].maybe_text() for k in ("after", "before"))
    if case.across and (after, before) != (None, None):
        raise Unproven(at, "a part of a run says nothing of the period of runs")
    inside = {v.one_of(s.nodes) for v in at["inside"].each()}
    for end, near, word in ((after, s.before, "after"), (before, s.after, "before")):
        if end is not None:
            at[word].one_of(s.nodes)
            if late := next((v for v in sorted(inside) if end not in near[v]), None):
                raise Unproven(at["inside"], f"`{late}` need not run {word} `{end}`")
    mine = {i: c for i, c in enumerate(s.columns) if inside.issuperset(c.nodes)}
    starts = ({after: -1} if after else {}) | ({before: 1} if before else {})
    takes = _lasting(s, after, before, whole) if after else {}
    return Row(0 if before else 1, starts, takes), mine


def _weights(s: Segment, at: At, whole: int, apart: Mapping[str, frozenset[str]]) -> dict[int, Fraction]:
    """Weights of columns of which no set weighs more than 1 that can run at one moment."""
    weights: dict[int, Fraction] = {}
    for x in at.each():
        weight = Fraction(x["weight"].amount())
        weights |= {i.number_of(len(s.columns)): weight for i in x["columns"].each()}
    heavy = Heaviest(s, weights, whole, apart).above_one()
    if heavy:
        names = " and ".join(f"`{' '.join(s.columns[i].nodes)}` on {s.columns[i].unit}" for i in heavy)
        raise Unproven(at, f"{names} can run at one moment, and weigh {float(sum(weights[i] for i in heavy))!r}")
    return weights


class Heaviest:
    """Sets of weighted columns that can run at one moment, the heaviest first."""

    def __init__(
        self, s: Segment, weights: Mapping[int, Fraction], whole: int, apart: Mapping[str, frozenset[str]]
    ) -> None:
        self.weights, self.whole = weights, whole
        self.order = sorted((i for i, w in weights.items() if w), key=lambda i: -weights[i])
        self.uses = {i: s.columns[i].uses(whole) for i in self.order}
        self.unit = {i: s.columns[i].unit for i in self.order}
        self.nodes = {i: s.columns[i].nodes for i in self.order}
        related = {g: {w for v in g for w in apart[v]} for g in s.groups}
        self.apart = {i: related[self.nodes[i]] for i in self.order}

    def above_one(self) -> list[int]:
        """Columns of such a set that weighs more than 1; none where there is no such set."""
        return self._grown([], Fraction(), {}, self.order)

    def _grown(self, chosen: list[int], weight: Fraction, held: Mapping[str, int], rest: list[int]) -> list[int]:
        if weight > 1:
            return chosen
        best: dict[str, Fraction] = {}  # of each unit, which runs one column at a time
        for i in reversed(rest):
            best[self.unit[i]] = self.weights[i]
        for n, i in enumerate(rest):
            if weight + sum(best.values()) <= 1:
                return []
            more = {k: held.get(k, 0) + self.uses[i].get(k, 0) for k in (*held, *self.uses[i])}
            beside = [j for j in rest[n + 1 :] if self._fits(j, i, more)]
            if found := self._grown([*chosen, i], weight + self.weights[i], more, beside):
                return found
            later = (self.weights[j] for j in rest[n + 1 :] if self.unit[j] == self.unit[i])
            best[self.unit[i]] = next(later, Fraction())
        return []

    def _fits(self, j: int, i: int, held: Mapping[str, int]) -> bool:
        """Whether column j fits beside what is held, and neither waits for the other of column i."""
        if any(held.get(k, 0) + n > self.whole for k, n in self.uses[j].items()):
            return False
        return self.apart[i].isdisjoint(self.nodes[j])


def fits(x: Column, y: Column, whole: int) -> bool:
    """Whether two columns can run at one moment."""
    a, b = x.uses(whole), y.uses(whole)
    return all(n + b.get(k, 0) <= whole for k, n in a.items())
