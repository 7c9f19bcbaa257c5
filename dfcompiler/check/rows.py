"""What holds in every schedule of a segment, worked out from its columns and its flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product

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
    takes: Mapping[int, int]


@dataclass(frozen=True)
class Case:
    """What a proof by cases may take for granted: columns that are not chosen, and nodes of which one follows the
    other."""

    out: frozenset[int]
    orders: tuple[Edge, ...]


def row(s: Segment, said: At, x: At, whole: int, case: Case) -> Row:
    """The row that a certificate names by its kind; raises Unproven where it does not hold, Diag where it is none."""
    match x["kind"].text():
        case "end":
            v = x["node"].one_of(s.nodes)
            return Row(1, {v: -1}, _lasting(s, v, None, whole))
        case "order":
            u, v = x["from"].one_of(s.nodes), x["to"].one_of(s.nodes)
            if v not in s.after[u] and (u, v) not in case.orders:
                raise Unproven(x, f"`{v}` does not wait for `{u}`")
            return Row(0, {u: -1, v: 1}, _lasting(s, u, v, whole))
        case "dram":
            room, inside = _section(s, said, x, whole)
            return _filled(room, {i: c.cycles * c.dram for i, c in inside.items()})
        case "unit":
            room, inside = _section(s, said, x, whole)
            unit = x["unit"].text()
            return _filled(room, {i: c.cycles * c.uses(whole).get(unit, 0) for i, c in inside.items()})
        case "apart":
            room, inside = _section(s, said, x, whole)
            groups = _apart(s, x["groups"], whole)
            return _filled(room, {i: c.cycles * whole for i, c in inside.items() if c.nodes in groups})
    raise x["kind"].wrong("must be end, order, dram, unit or apart")


def _lasting(s: Segment, u: str, v: str | None, whole: int) -> dict[int, int]:
    """Cycles of the columns that run `u` without `v`."""
    return {i: c.cycles * whole for i, c in enumerate(s.columns) if u in c.nodes and v not in c.nodes}


def _filled(room: Row, takes: Mapping[int, int]) -> Row:
    return Row(room.makespan, room.starts, {**room.takes, **takes})


def _section(s: Segment, said: At, x: At, whole: int) -> tuple[Row, dict[int, Column]]:
    """The time of a section, from the end of one node to the start of another, and the columns that must run in it.

    A column of both ends leaves no time, and needs none: nodes between them run with them or not at all."""
    listed = said["sections"].each()
    at = listed[x["section"].number_of(len(listed))]
    after, before = (at[k].maybe_text() for k in ("after", "before"))
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


def _apart(s: Segment, at: At, whole: int) -> set[tuple[str, ...]]:
    """Groups of which no two can run at one moment, whatever columns they take."""
    groups = [g.texts() for g in at.each()]
    for a, b in combinations(groups, 2):
        if set(a) & set(b):
            continue
        for x, y in product(s.groups.get(a, ()), s.groups.get(b, ())):
            if fits(x, y, whole):
                raise Unproven(at, f"`{' '.join(a)}` on {x.unit} can run beside `{' '.join(b)}` on {y.unit}")
    return set(groups)


def fits(x: Column, y: Column, whole: int) -> bool:
    """Whether two columns can run at one moment."""
    a, b = x.uses(whole), y.uses(whole)
    return all(n + b.get(k, 0) <= whole for k, n in a.items())
