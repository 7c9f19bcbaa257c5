"""Whether no schedule of the columns can be shorter than a segment's bound: its certificate, recounted exactly."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from math import ceil

from dfcompiler.check import exhaustion
from dfcompiler.check.chains import Chains
from dfcompiler.check.contents import Mapping, Segment
from dfcompiler.check.reading import At
from dfcompiler.check.rows import Row, Unproven, row
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
    """Runs in turn take the bound of each; where they overlap only the chain from run to run holds."""
    if s.period < s.cycles:
        every = sum(max(s.bound, n * s.bound_period) for n in s.runs)
    else:
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
        case "enumeration":
            found = claimed if exhaustion.none_before(claimed, s, whole) else 0
        case _:
            raise kind.wrong("must be chain, dual, enumeration or search")
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
    """What multipliers of rows prove. With weights w of rows that hold, summed up: makespan x W + starts x 0 or less
    covers the price of every chosen column, and that is no less than the worth of its nodes, each of which is run
    once. So the makespan is at least the worth of all nodes over W."""
    above = [i.number_of(len(s.columns)) for i in said["above"].each()]
    chains = Chains(s)
    for i in above:
        if (longest := chains.through(s.columns[i])) < claimed:
            text = f"column {i} is left out, though schedules with it may take {longest} of {claimed} cycles"
            raise Unproven(said["above"], text)
    rows = [(row(s, said, x, whole), Fraction(x["weight"].amount())) for x in said["rows"].each()]
    for v in s.nodes:
        if sum((w * r.starts.get(v, 0) for r, w in rows), Fraction()) > 0:
            raise Unproven(said["rows"], f"a later start of `{v}` would help")
    worth = {v: Fraction(x.real()) for v, x in said["worth"].members().items()}
    if set(worth) != set(s.nodes):
        raise said["worth"].wrong("must have a number for every node of the segment")
    price = _prices(rows, len(s.columns), whole)
    for i, c in enumerate(s.columns):
        if i not in above and (asked := sum(worth[v] for v in c.nodes)) > price[i]:
            text = f"the nodes of column {i} are worth {float(asked)!r}, it costs {float(price[i])!r}"
            raise Unproven(said["worth"], text)
    span = sum((w * r.makespan for r, w in rows), Fraction())
    if span <= 0:
        return 0
    bound = ceil(sum(worth.values()) / span)
    return min(bound, claimed) if above else bound


def _prices(rows: list[tuple[Row, Fraction]], count: int, whole: int) -> list[Fraction]:
    price = [Fraction()] * count
    for r, w in rows:
        for i, parts in r.takes.items():
            price[i] += w * parts / whole
    return price


# ---- from run to run ---------------------------------------------------------------------------


def periods(m: Mapping) -> Verdict:
    """The bound of the cycles from run to run is what its proof says."""
    notes: list[str] = []
    repeated = [s for s in m.segments if max(s.runs) > 1]
    found = [_period(s, notes) for s in repeated]
    return verdict("periods", "runs cannot follow each other sooner than the bound says", len(found), found, notes)


def _period(s: Segment, notes: list[str]) -> Fault | None:
    said = s.at["bound"]["period_proof"]
    kind, place = said["kind"].one_of({"serial", "in turn", "chain", "once"}), f"{s.at.path}.bound.period"
    try:
        if kind == "chain":
            proven = _from_run_to_run(s, said)
        elif kind == "serial":
            proven = s.bound if _serial(s) else 0
        elif kind == "once":
            proven = 0
        else:
            proven = s.bound if s.period >= s.cycles else 0
            notes.append(f"{s.at.path}: runs are taken in turn; whether overlapping them is shorter is not asked")
    except Unproven as why:
        return why.fault
    return Fault(place, f"is {s.bound_period}, by `{kind}` it is at most {proven}") if s.bound_period > proven else None


def _serial(s: Segment) -> bool:
    """Whether for one value all nodes wait for the last run's and are waited for by the next run's."""
    for out in {u for u, _ in s.carried}:
        first = {v for u, v in s.carried if u == out}
        waiting = first.union(*(s.after[v] for v in first))
        if set(s.nodes) <= waiting and set(s.nodes) <= s.before[out] | {out}:
            return True
    return False


def _from_run_to_run(s: Segment, said: At) -> int:
    nodes = [x["node"].one_of(s.nodes) for x in said["chain"].each()]
    if nodes and (nodes[-1], nodes[0]) not in s.carried:
        raise Unproven(said["chain"], f"the next run's `{nodes[0]}` does not wait for `{nodes[-1]}`")
    return chain(s, said)


def sections(m: Mapping) -> Verdict:
    """Sections and groups that rows speak of are what they claim; `rows` has their rules."""
    found = []
    count = 0
    for s in m.segments:
        said = s.at["certificate"]
        said = said["certified"] if said["kind"].text() == "search" else said
        for x in said["rows"].each() if said["kind"].text() == "dual" else []:
            count += 1
            try:
                row(s, said, x, m.resolution)
            except Unproven as why:
                found.append(why.fault)
    return verdict("rows", "rows of duals hold in every schedule: sections, loads, groups apart", count, found)
