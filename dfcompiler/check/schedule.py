"""Whether a schedule can run: every node once, operands first, and nothing used beyond what there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from dfcompiler.check.contents import Mapping, Segment
from dfcompiler.check.verdicts import Fault, Verdict, verdict


def nodes(m: Mapping) -> Verdict:
    """Every node is in one segment and there in one task."""
    every = Counter(v for s in m.segments for v in s.nodes)
    return verdict("nodes", "every node is in exactly one task", len(every), _nodes(m, every))


def _nodes(m: Mapping, every: Counter[str]) -> Iterator[Fault]:
    for s in m.segments:
        done = Counter(v for t in s.tasks for v in t.said.nodes)
        for v in s.nodes:
            if every[v] > 1:
                yield Fault(f"{s.at.path}.nodes", f"`{v}` is in {every[v]} segments")
            if done[v] != 1:
                yield Fault(f"{s.at.path}.tasks", f"`{v}` is in {done[v] or 'no'} tasks")


def columns(m: Mapping) -> Verdict:
    """Tasks are what the table of columns offers, and last as long."""
    tasks = [t for s in m.segments for t in s.tasks]
    return verdict("columns", "every task is a column of its segment's table", len(tasks), _columns(m))


def _columns(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        for t in s.tasks:
            if t.end - t.start != t.column.cycles:
                text = f"{t.start} and the column's {t.column.cycles} cycles end at {t.start + t.column.cycles}"
                yield Fault(f"{t.at.path}.end", f"{text}, not at {t.end}")
            for name in ("nodes", "unit", "helper", "dram", "beside"):
                if (got := getattr(t.said, name)) != (want := getattr(t.column, name)):
                    yield Fault(f"{t.at.path}.{name}", f"is {_shown(got)}, the column has {_shown(want)}")


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)


def order(m: Mapping) -> Verdict:
    """Within a run operands come first."""
    edges = sum(len(s.flow) for s in m.segments)
    return verdict("order", "within a run a task starts when its operands are done", edges, _order(m))


def _order(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        of = {v: t for t in s.tasks for v in t.said.nodes}
        needed = {(of[u].number, of[v].number) for u, v in s.flow if u in of and v in of and of[u] is not of[v]}
        if needed != set(s.depends):
            odd = min(needed ^ set(s.depends))
            why = "is not listed" if odd in needed else "does not follow from `flow`"
            yield Fault(f"{s.at.path}.depends", f"task {odd[1]} waiting for task {odd[0]} {why}")
        for u, v in s.flow:
            if u in of and v in of and of[u] is not of[v] and of[u].end > of[v].start:
                text = f"`{v}` starts at {of[v].start}, before its operand `{u}` is done at {of[u].end}"
                yield Fault(f"{of[v].at.path}.start", text)


def runs(m: Mapping) -> Verdict:
    """From run to run operands come first."""
    edges = sum(len(s.carried) for s in m.segments)
    return verdict("runs", "a run starts when what it needs of the run before is done", edges, _runs(m))


def _runs(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        of = {v: t for t in s.tasks for v in t.said.nodes}
        needed = {(of[u].number, of[v].number) for u, v in s.carried if u in of and v in of}
        if needed != set(s.next_run_depends):
            odd = min(needed ^ set(s.next_run_depends))
            why = "is not listed" if odd in needed else "does not follow from `carried`"
            yield Fault(f"{s.at.path}.next_run_depends", f"task {odd[1]} waiting for task {odd[0]} {why}")
        for u, v in s.carried:
            if max(s.runs) > 1 and u in of and v in of and of[u].end > of[v].start + s.period:
                text = f"the next run's `{v}` starts at {of[v].start + s.period}, before `{u}` is done at {of[u].end}"
                yield Fault(f"{s.at.path}.period", text)


def units(m: Mapping) -> Verdict:
    """A unit runs one task at a time."""
    tasks = sum(len(s.tasks) for s in m.segments)
    return verdict("units", "a unit runs one task at a time, also of runs that overlap", tasks, _units(m))


def _units(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        for t in s.tasks:
            if max(s.runs) > 1 and t.end - t.start > s.period:
                text = f"{s.period} cycles are less than task {t.number} takes, which the next run needs too"
                yield Fault(f"{s.at.path}.period", text)
        for unit in {t.said.unit for t in s.tasks}:
            mine = [t for t in s.tasks if t.said.unit == unit]
            spans = sorted((at + t.start, at + t.end, t.number) for at in _starts(s) for t in mine)
            for (_, end, a), (start, _, b) in pairwise(spans):
                if start < end:
                    place = f"{s.at.path}.tasks[{b - s.tasks[0].number}].start"
                    yield Fault(place, f"`{unit}` runs task {a} until {end}, and task {b} from {start}")


def shares(m: Mapping) -> Verdict:
    """Shares of the way to memory and of helpers add up to no more than the whole."""
    moments = sum(len(s.tasks) * len(_starts(s)) for s in m.segments)
    what = "the DRAM and helpers are never reserved beyond the whole"
    return verdict("shares", what, moments, _shares(m))


def _shares(m: Mapping) -> Iterator[Fault]:
    for s in m.segments:
        held: Counter[str] = Counter()
        divided = {"", *(t.said.helper for t in s.tasks)}
        changes = []
        for at in _starts(s):
            for t in s.tasks:
                for name, amount in (x for x in t.said.uses(m.resolution).items() if x[0] in divided):
                    changes.append((at + t.start, amount, name, t))
                    changes.append((at + t.end, -amount, name, t))
        for moment, amount, name, t in sorted(changes, key=lambda c: c[:3]):
            held[name] += amount
            if amount > 0 and held[name] > m.resolution:
                text = f"`{name or 'DRAM'}` is reserved to {held[name]} of {m.resolution} at {moment}"
                yield Fault(f"{t.at.path}.start", text)


def _starts(s: Segment) -> range:
    """When runs start that overlap with the first, which see all that ever overlap; one where a unit would run two."""
    if any(t.end - t.start > s.period for t in s.tasks):
        return range(1)
    return range(0, min(max(s.runs) * s.period, max((t.end for t in s.tasks), default=1)), s.period)
