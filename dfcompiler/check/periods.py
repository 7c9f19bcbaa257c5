"""How soon runs of a segment can follow each other: the proof of its bound, recounted exactly."""

from __future__ import annotations

from dfcompiler.check.contents import Mapping, Segment
from dfcompiler.check.proof import chain, recounted
from dfcompiler.check.reading import At
from dfcompiler.check.rows import Case, Unproven
from dfcompiler.check.verdicts import Fault, Verdict, verdict

KINDS = {"serial", "in turn", "once", "chain", "dual", "search"}


def periods(m: Mapping) -> Verdict:
    """The bound of the cycles from run to run is what its proof says."""
    notes: list[str] = []
    repeated = [s for s in m.segments if max(s.runs) > 1]
    found = [_period(s, m.resolution, notes) for s in repeated]
    return verdict("periods", "runs cannot follow each other sooner than the bound says", len(found), found, notes)


def _period(s: Segment, whole: int, notes: list[str]) -> Fault | None:
    said = s.at["bound"]["period_proof"]
    kind, place = said["kind"].one_of(KINDS), f"{s.at.path}.bound.period"
    try:
        proven = _proven(s, said, whole, notes)
    except Unproven as why:
        return why.fault
    return Fault(place, f"is {s.bound_period}, by `{kind}` it is at most {proven}") if s.bound_period > proven else None


def _proven(s: Segment, said: At, whole: int, notes: list[str]) -> int:
    """What a proof says that the period is at least."""
    match said["kind"].text():
        case "once":
            return 0
        case "serial":
            return s.bound if _serial(s) else 0
        case "in turn":
            text = "runs are taken in turn, and were not sought to overlap"
            if "overlapping" in said:
                least = _counted(s, said["overlapping"], whole)
                text += f": if they did, the period would be {least} of {s.period} cycles at least"
            notes.append(f"{s.at.path}: {text}")
            return s.bound if s.period >= s.cycles else 0
        case "search":
            claimed, shown = said["bound"].whole(), _counted(s, said["certified"], whole)
            less = 1 - shown / max(1, claimed)
            text = f"certified are {shown} of {claimed} cycles from run to run ({less:.3%} less)"
            notes.append(f"{s.at.path}: {text}; the rest is the solver's word")
            return claimed
    return _counted(s, said, whole)


def _counted(s: Segment, said: At, whole: int) -> int:
    """Cycles from run to run that a chain or a dual proves, not less than it claims."""
    claimed = said["bound"].whole()
    if said["kind"].one_of({"chain", "dual"}) == "chain":
        proven = _from_run_to_run(s, said)
    else:
        proven = recounted(s, said, said, whole, Case(frozenset(), (), across=True))
    if proven < claimed:
        raise Unproven(said["bound"], f"is {claimed}, recounted the {said['kind'].value} proves {proven}")
    return claimed


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
