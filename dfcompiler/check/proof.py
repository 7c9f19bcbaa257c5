"""Whether no schedule of the columns can be shorter than a segment's bound: its certificate, recounted exactly."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise, product
from math import ceil

from dfcompiler.check import exhaustion
from dfcompiler.check.chains import Chains
from dfcompiler.check.contents import Mapping, Segment
from dfcompiler.check.reading import At
from dfcompiler.check.rows import Case, Row, Unproven, fits, row
from dfcompiler.check.totals import equal
from dfcompiler.check.verdicts import Fault, Verdict, verdict


def bounds(m: Mapping) -> Verdict:
    """Every segment's bound is what its certificate proves."""
    notes: list[str] = []
    found = [_fault(s, m.resolution, notes) for s in m.segments]
    totals = (x for s in m.segments for x in _totals(s))
    whole = equal(m.at["bound_cycles"], sum(s.bound_all for s in m.segments), "the bounds of all segments are")
    return verdict("bounds", "every bound is what its certificate proves", len(found), [*found, *totals, *whole], notes)


def _totals(s: Segment) -> Iterator[Fault]:
    """Every run after the first adds a period."""
    every = sum(s.bound + (n - 1) * s.bound_period for n in s.runs)
    yield from equal(s.at["bound"]["all"], every, "the bounds of its runs are")
    if s.bound > s.cycles:
        yield Fault(f"{s.at.path}.bound.cycles", f"is {s.bound}, above the {s.cycles} cycles of the schedule")


def _fault(s: Segment, whole: int, notes: list[str]) -> Fault | None:
    said = s.at["certificate"]
    try:
        if said["kind"].text() == "search":
            inner, claimed = said["certified"], said["bound"].whole()
            shown = _proven(s, inner, whole)
            gap = f"{shown} of {claimed} cycles ({1 - shown / max(1, claimed):.3%} less)"
            notes.append(f"{s.at.path}: certified are {gap}; the rest is the solver's word")
        else:
            claimed = _proven(s, said, whole)
    except Unproven as why:
        return why.fault
    if s.bound > claimed:
        return Fault(f"{s.at.path}.bound.cycles", f"is {s.bound}, the certificate says {claimed}")
    return None


def _proven(s: Segment, said: At, whole: int) -> int:
    """The cycles that a certificate proves, not less than it claims."""
    claimed, kind = said["bound"].whole(), said["kind"]
    match kind.text():
        case "chain":
            found = chain(s, said)
        case "dual":
            found = dual(s, said, whole, claimed)
        case "tree":
            found = tree(s, said, whole, claimed)
        case "enumeration":
            found = claimed if exhaustion.none_before(claimed, s, whole) else 0
        case _:
            raise kind.wrong("must be chain, dual, tree, enumeration or search")
    if found < claimed:
        raise Unproven(said["bound"], f"is {claimed}, recounted the {kind.value} proves {found}")
    return claimed


# ---- chains ------------------------------------------------------------------------------------


def chain(s: Segment, said: At) -> int:
    """Cycles of nodes each of which waits for the one before, no column shorter than those of them that it runs."""
    links = [(x["node"].one_of(s.nodes), x["cycles"].whole()) for x in said["chain"].each()]
    for (u, _), (v, _) in pairwise(links):
        if (u, v) not in s.flow:
            raise Unproven(said["chain"], f"`{v}` does not wait for `{u}`")
    cycles = dict(links)
    for i, c in enumerate(s.columns):
        counted = sum(cycles.get(v, 0) for v in c.nodes)
        if counted > c.cycles:
            raise Unproven(said["chain"], f"counts {counted} cycles for what column {i} runs in {c.cycles}")
    return sum(cycles.values())


# ---- duals -------------------------------------------------------------------------------------


def dual(s: Segment, said: At, whole: int, claimed: int) -> int:
    """Cycles that a dual proves, for schedules without the columns `above`, which take as long by themselves."""
    out = _above(s, said["above"], claimed)
    bound = recounted(s, said, said, whole, Case(out, ()))
    return min(bound, claimed) if out else bound


def _above(s: Segment, said: At, claimed: int) -> frozenset[int]:
    out = [i.number_of(len(s.columns)) for i in said.each()]
    chains = Chains(s)
    for i in out:
        if (longest := chains.through(s.columns[i])) < claimed:
            text = f"column {i} is left out, though schedules with it may take {longest} of {claimed} cycles"
            raise Unproven(said, text)
    return frozenset(out)


def recounted(s: Segment, listed: At, said: At, whole: int, case: Case) -> int:
    """What multipliers of rows prove of the makespan: it is at least the worth of all nodes over W."""
    worth, span = summed(s, listed, said, whole, case)
    return ceil(worth / span) if span > 0 else 0


def summed(
    s: Segment, listed: At, said: At, whole: int, case: Case, per_pj: Fraction = Fraction()
) -> tuple[Fraction, Fraction]:
    """The worth of all nodes, and W. With weights w of rows that hold, summed up: makespan x W + starts x 0 or less
    covers the price of every chosen column, and that with what its energy costs is no less than the worth of its
    nodes, each of which is run once. So makespan x W and the energy of the columns come to that worth at least."""
    rows = [(row(s, listed, x, whole, case), Fraction(x["weight"].amount())) for x in said["rows"].each()]
    for v in s.nodes:
        if sum((w * r.starts.get(v, 0) for r, w in rows), Fraction()) > 0:
            raise Unproven(said["rows"], f"a later start of `{v}` would help")
    worth = {v: Fraction(x.real()) for v, x in said["worth"].members().items()}
    if set(worth) != set(s.nodes):
        raise said["worth"].wrong("must have a number for every node of the segment")
    price = _prices(rows, len(s.columns), whole)
    for i, c in enumerate(s.columns):
        cost = price[i] + per_pj * Fraction(c.pj)
        if i not in case.out and (asked := sum(worth[v] for v in c.nodes)) > cost:
            text = f"the nodes of column {i} are worth {float(asked)!r}, it costs {float(cost)!r}"
            raise Unproven(said["worth"], text)
    return sum(worth.values(), Fraction()), sum((w * r.makespan for r, w in rows), Fraction())


def _prices(rows: list[tuple[Row, Fraction]], count: int, whole: int) -> list[Fraction]:
    price = [Fraction()] * count
    for r, w in rows:
        for i, parts in r.takes.items():
            price[i] += w * parts / whole
    return price


# ---- cases -------------------------------------------------------------------------------------


def tree(s: Segment, said: At, whole: int, claimed: int) -> int:
    """Cycles that the duals of all cases prove."""
    found = _least(s, said, said["root"], whole, Case(_above(s, said["above"], claimed), ()))
    return min(claimed, found)


def _least(s: Segment, said: At, at: At, whole: int, case: Case) -> int:
    if "columns" in at:
        some, rest = _some(s, at["columns"])
        chosen = _least(s, said, at["with"], whole, Case(case.out | rest, case.orders))
        return min(chosen, _least(s, said, at["without"], whole, Case(case.out | some, case.orders)))
    if "nodes" in at:
        u, v = _two(s, at["nodes"], whole, case)
        first = _least(s, said, at["first"], whole, Case(case.out, (*case.orders, (u, v))))
        return min(first, _least(s, said, at["second"], whole, Case(case.out, (*case.orders, (v, u)))))
    return recounted(s, said, at, whole, case)


def _some(s: Segment, at: At) -> tuple[frozenset[int], frozenset[int]]:
    """Columns of one group, and those that are out if one of them is chosen: all others of its nodes."""
    some = frozenset(i.number_of(len(s.columns)) for i in at.each())
    if len({s.columns[i].nodes for i in some}) != 1:
        raise Unproven(at, "are not columns of the same nodes")
    nodes = {v for i in some for v in s.columns[i].nodes}
    return some, frozenset(i for i, c in enumerate(s.columns) if i not in some and nodes & set(c.nodes))


def _two(s: Segment, at: At, whole: int, case: Case) -> tuple[str, str]:
    """Two nodes of which one follows the other, as no columns that are left can run both at one moment."""
    names = [v.one_of(s.nodes) for v in at.each()]
    if len(set(names)) != 2:
        raise at.wrong("must be two nodes")
    u, v = names
    left = [c for i, c in enumerate(s.columns) if i not in case.out]
    for x, y in product([c for c in left if u in c.nodes], [c for c in left if v in c.nodes]):
        if x is y or (not set(x.nodes) & set(y.nodes) and fits(x, y, whole)):
            raise Unproven(at, f"`{u}` on {x.unit} can run beside `{v}` on {y.unit}")
    return u, v
