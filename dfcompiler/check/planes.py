"""Whether time and energy of a step cannot both be less: planes of weighted sums, recounted from duals of all segments.

A plane says that no step takes less by so much for each cycle and each pJ. The proof of a segment is in its own cycles:
each costs what a cycle does with what goes at rest in it, and each pJ of a column its part of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

from dfcompiler.check.contents import File, Mapping, Segment
from dfcompiler.check.proof import summed
from dfcompiler.check.reading import At
from dfcompiler.check.rows import Case, Unproven
from dfcompiler.check.verdicts import Fault, Verdict, verdict

NEAR = 1 + 1e-9  # ratios of floats


@dataclass(frozen=True)
class Plane:
    """No step takes less than `least` by so much for each cycle and each pJ."""

    per_cycle: Fraction
    per_pj: Fraction
    least: Fraction


def planes(m: Mapping) -> Verdict:
    """Every plane's parts are what their duals prove, and no run takes more power than allowed."""
    said = m.at["aim"]["planes"].each() if "aim" in m.at else []
    limited = [s for s in m.segments if s.pj_per_cycle is not None]
    found = [x for p in said for x in _faults(m, p)] + [x for s in limited for x in _power(s)]
    what = "costs of time and energy are proven, and power is kept"
    return verdict("planes", what, len(said) * len(m.segments) + len(limited), found)


def _power(s: Segment) -> Iterator[Fault]:
    pj = sum(t.column.pj for t in s.tasks)
    if s.pj_per_cycle is not None and pj > s.pj_per_cycle * s.cycles * NEAR:
        yield Fault(f"{s.at.path}.cycles", f"are {s.cycles}: {pj:.6g} pJ take {pj / s.pj_per_cycle:.0f} by the limit")


def _faults(m: Mapping, said: At) -> Iterator[Fault]:
    per_cycle, per_pj = said["per_cycle"].amount(), said["per_pj"].amount()
    each = per_cycle + per_pj * m.at["aim"]["static_pj"].amount()
    parts = said["segments"].each()
    if len(parts) != len(m.segments):
        yield Fault(said["segments"].path, f"are {len(parts)}, there are {len(m.segments)} segments")
        return
    for part, s in zip(parts, m.segments, strict=True):
        if (cost := part["per_pj"].amount()) * each > per_pj * NEAR:
            yield Fault(part["per_pj"].path, f"is {cost!r}, the plane has {per_pj / each if each else 0.0!r}")
        try:
            proven = _part(s, part, m.resolution)
        except Unproven as why:
            yield why.fault
            continue
        if part["bound"].whole() > proven:
            yield Fault(part["bound"].path, f"is {part['bound'].value}, recounted the rows prove {float(proven):.6g}")


def _part(s: Segment, said: At, whole: int) -> Fraction:
    """What makespan and energy of a segment come to at least, in cycles: makespan x W and the energy come to the worth
    at least, so for a W above one both do to the worth over W."""
    case, per_pj = Case(frozenset(), ()), Fraction(said["per_pj"].amount())
    worth, span = summed(s, said, said, whole, case, per_pj)
    return worth / max(span, Fraction(1))


def aims(f: File) -> Verdict:
    """What is sought by energy, or its product with time, is no better than its bound; what of that is proven."""
    name = f.at["objective"].text() if "objective" in f.at else "latency"
    if name not in ("energy", "edp"):
        return verdict("aims", WHAT, 0, [])
    value, claimed = f.at["objective_value"].amount(), f.at["objective_bound"].amount()
    faults = [Fault("objective_bound", f"is {claimed!r}, above the {value!r} of the mapping")]
    proven = _proven(f, name)
    less = max(0.0, 1 - proven / claimed) if claimed else 0.0
    note = f"certified are {proven:.6g} of {claimed:.6g} by {name} ({less:.3%} less); the rest is the solver's word"
    notes = [note] if claimed > proven * NEAR else []
    return verdict("aims", WHAT, 1, faults if claimed > value * NEAR else [], notes)


WHAT = "what energy counts in is no better than its bound"


def _proven(f: File, name: str) -> float:
    """What the planes prove of all devices, in J or J s; runs in turn."""
    m = f.mapping
    if "aim" not in m.at or any(s.period < s.cycles for s in m.segments if max(s.runs) > 1):
        return 0.0
    found = [_plane(m, said) for said in m.at["aim"]["planes"].each()]
    to_j = f.at["devices"].whole(1) / max(1, len(m.at["stages"].each())) * 1e-12
    if name == "energy":
        return to_j * float(max((p.least / p.per_pj for p in found if p.per_pj and not p.per_cycle), default=0))
    found += [Plane(Fraction(1), Fraction(), Fraction()), Plane(Fraction(), Fraction(1), Fraction())]
    corners = (_corner(a, b) for a, b in combinations(found, 2))
    above = [
        c * e
        for c, e in filter(None, corners)
        if all(p.per_cycle * c + p.per_pj * e >= p.least for p in found) and min(c, e) >= 0
    ]
    return to_j / f.clock_hz * float(min(above, default=Fraction()))


def _plane(m: Mapping, said: At) -> Plane:
    per_cycle, per_pj = (Fraction(said[k].amount()) for k in ("per_cycle", "per_pj"))
    each = per_cycle + per_pj * Fraction(m.at["aim"]["static_pj"].amount())
    whole = sum(sum(s.runs) * x["bound"].whole() for s, x in zip(m.segments, said["segments"].each(), strict=True))
    return Plane(per_cycle, per_pj, each * whole)


def _corner(a: Plane, b: Plane) -> tuple[Fraction, Fraction] | None:
    turn = a.per_cycle * b.per_pj - b.per_cycle * a.per_pj
    if not turn:
        return None
    return (a.least * b.per_pj - b.least * a.per_pj) / turn, (a.per_cycle * b.least - b.per_cycle * a.least) / turn
