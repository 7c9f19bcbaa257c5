"""Whether the numbers of a report add up to those of the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose

from dfcompiler.check.contents import File, Mapping
from dfcompiler.check.reading import At
from dfcompiler.check.verdicts import Fault, Verdict, verdict


def equal(at: At, want: float, what: str) -> Iterator[Fault]:
    """A fault where the number at a place is not this one, to nine digits."""
    got = at.real()
    if not isclose(got, want, rel_tol=1e-9, abs_tol=1e-15):
        yield Fault(at.path, f"is {got!r}, {what} {want!r}")


def segments(m: Mapping) -> Verdict:
    """Segments follow each other, and their cycles are those of the step."""
    return verdict("segments", "segments follow each other and add up to the step", len(m.segments), _segments(m))


def _segments(m: Mapping) -> Iterator[Fault]:
    at = 0
    for s in m.segments:
        last = max((t.end for t in s.tasks), default=0) + s.at["waits"].whole()
        yield from equal(s.at["start"], at, "the segment before ends at")
        yield from equal(s.at["cycles"], last, "the last task ends, and waits, at")
        at = s.start + sum(map(s.cycles_of, s.runs))
        yield from equal(s.at["end"], at, "its runs end at")
    yield from equal(m.at["cycles"], at, "the last segment ends at")


def stages(f: File) -> Verdict:
    """Stages of devices run what the segments say."""
    count = len(f.at["mapping"]["stages"].each())
    return verdict("stages", "stages of devices run what their segments take", count, _stages(f))


def _stages(f: File) -> Iterator[Fault]:
    said, parts = f.at["mapping"]["stages"], f.mapping.segments
    count = max((s.stage + len(s.runs) for s in parts), default=1)
    if len(said.each()) != (count if count > 1 else 0):
        yield Fault(said.path, f"has {len(said.each())} stages, the segments run on {count}")
        return
    longest = 0
    for k, stage in enumerate(said.each()):
        mine = [(i, s, s.runs[k - s.stage]) for i, s in enumerate(parts) if 0 <= k - s.stage < len(s.runs)]
        if [[x.whole() for x in pair.each()] for pair in stage["layers"].each()] != [
            [i, n] for i, s, n in mine if not s.sends
        ]:
            yield Fault(stage["layers"].path, "is not what the segments run there")
        cycles = sum(s.cycles_of(n) for _, s, n in mine if not s.sends)
        sent = [s for _, s, _ in mine if s.sends]
        moved = sum(t.at["level_bytes"][t.said.unit].amount() for s in sent for t in s.tasks)
        yield from equal(stage["cycles"], cycles, "its segments take")
        yield from equal(stage["send_cycles"], sum(s.cycles for s in sent), "what is sent takes")
        yield from equal(stage["send_bytes"], moved, "what is sent has")
        longest = max(longest, cycles + sum(s.cycles for s in sent))
    interval = (longest if count > 1 else f.mapping.cycles) / f.clock_hz
    yield from equal(f.at["interval_s"], interval, "the schedule has")


def times(f: File) -> Verdict:
    """Latency, bound, gap and layers of the report are those of the schedule."""
    count = 6 + 5 * len(f.mapping.segments)
    return verdict("times", "latency, bound, gap and layers are those of the schedule", count, _times(f))


def _times(f: File) -> Iterator[Fault]:
    r, m = f.at, f.mapping
    bound = max(m.bound_cycles / f.clock_hz, r["roofline_s"].amount())
    latency = m.cycles / f.clock_hz
    yield from equal(r["latency_s"], latency, "the cycles at this clock take")
    yield from equal(r["bound_s"], bound, "the longer of roofline and proven cycles is")
    yield from _gap(f, latency, bound)
    limits = [v.amount() for k, v in r["roofline"].members().items() if k.endswith("_s")]
    yield from equal(r["roofline_s"], max(limits, default=0.0), "the longest of the roofline's times is")
    if latency < r["roofline_s"].amount() * (1 - 1e-9):
        yield Fault("latency_s", "is below the roofline")
    layers = r["layers"].each()
    if len(layers) != len(m.segments):
        yield Fault("layers", f"are {len(layers)}, there are {len(m.segments)} segments")
        return
    for layer, s in zip(layers, m.segments, strict=True):
        yield from equal(layer["repeat"], sum(s.runs), "the segment has")
        yield from equal(layer["start_s"], s.start / f.clock_hz, "the segment has")
        yield from equal(layer["latency_s"], sum(map(s.cycles_of, s.runs)) / f.clock_hz, "the segment has")
        yield from equal(layer["period_s"], s.period / f.clock_hz, "the segment has")
        yield from equal(layer["bound_s"], s.bound_all / f.clock_hz, "the segment has")
    repeated = max(m.segments, key=lambda s: sum(s.runs), default=None)
    yield from equal(r["layer_latency_s"], repeated.period / f.clock_hz if repeated else 0.0, "the longest segment has")


def _gap(f: File, latency: float, bound: float) -> Iterator[Fault]:
    """What a mapping is sought by and its bound leave the gap; a file that names nothing else is about latency."""
    r, sought = f.at, f.at["objective"].text() if "objective" in f.at else "latency"
    if sought == "latency":
        status = "OPTIMAL" if f.mapping.cycles <= f.mapping.bound_cycles else "FEASIBLE"
        if r["status"].text() != status:
            yield Fault("status", f"is {r['status'].value}, cycles and their bound say {status}")
        value, least = latency, bound
    else:
        r["status"].one_of({"OPTIMAL", "FEASIBLE"})
        value, least = r["objective_value"].amount(), r["objective_bound"].amount()
    if "objective" in r:
        yield from equal(r["objective_value"], _value(f, sought, latency), f"{sought} comes to")
    yield from equal(r["gap"], max(0.0, value - least) / value if value else 0.0, "value and bound leave")


def _value(f: File, sought: str, latency: float) -> float:
    """What a mapping was sought by, from energy, area and time: a name of several takes them in turn."""
    energy_j, mm2 = f.at["energy_j"].amount(), f.at["area_mm2"]["total"].amount()
    known = {"energy": energy_j, "edp": energy_j * latency, "area-delay": latency * mm2}
    return known.get(sought, latency)


def ops(f: File) -> Verdict:
    """The ops of the report are the tasks."""
    return verdict("ops", "the ops of the report are the tasks of the schedule", len(f.at["ops"].each()), _ops(f))


def _ops(f: File) -> Iterator[Fault]:
    tasks = [(s, t) for s in f.mapping.segments for t in s.tasks]
    rows = f.at["ops"].each()
    if len(rows) != len(tasks):
        yield Fault("ops", f"are {len(rows)}, there are {len(tasks)} tasks")
        return
    for op, (s, t) in zip(rows, tasks, strict=True):
        for name, want in (("nodes", list(t.said.nodes)), ("unit", t.said.unit), ("helper", t.said.helper)):
            if op[name].value != want:
                yield Fault(op[name].path, f"is {op[name].value!r}, the task has {want!r}")
        yield from equal(op["repeat"], sum(s.runs), "its segment has")
        yield from equal(op["start_s"], (s.start + t.start) / f.clock_hz, "the task has")
        yield from equal(op["end_s"], (s.start + t.end) / f.clock_hz, "the task has")
        if t.column.pj:
            yield from equal(op["energy_j"], t.column.pj * 1e-12, "its column has")
        moved = op["bytes"].members()
        if moved.keys() != t.at["level_bytes"].members().keys():
            yield Fault(op["bytes"].path, "names other memories than the task")
            continue
        for level, x in moved.items():
            yield from equal(x, t.at["level_bytes"][level].amount(), "the task has")


def traffic(f: File) -> Verdict:
    """Bytes of all runs of all tasks add up to the traffic of every memory."""
    said = f.at["traffic_bytes"].members()
    return verdict("traffic", "bytes of all tasks add up to the traffic of every memory", len(said), _traffic(f, said))


def _traffic(f: File, said: dict[str, At]) -> Iterator[Fault]:
    total: dict[str, float] = {}
    for s in f.mapping.segments:
        for t in s.tasks:
            for level, x in t.at["level_bytes"].members().items():
                total[level] = total.get(level, 0.0) + x.amount() * sum(s.runs)
    for level in total.keys() - said.keys():
        yield Fault("traffic_bytes", f"lacks `{level}`")
    for level, x in said.items():
        yield from equal(x, total.get(level, 0.0), "the tasks add up to")


def energy(f: File) -> Verdict:
    """Energies of all ops, of all devices, and what goes at rest add up."""
    return verdict("energy", "energy of all ops, and at rest, adds up", len(f.at["ops"].each()), _energy(f))


def _energy(f: File) -> Iterator[Fault]:
    each = sum(op["energy_j"].amount() * op["repeat"].whole(1) for op in f.at["ops"].each())
    devices = f.at["devices"].whole(1) / max(1, len(f.at["mapping"]["stages"].each()))
    yield from equal(f.at["energy_j"], devices * each + f.at["static_j"].amount(), "ops and rest add up to")


def sizes(f: File) -> Verdict:
    """Areas add up, and what is stored fits."""
    parts = f.at["area_mm2"].members()
    return verdict("sizes", "areas add up, and what is stored fits into the DRAM", len(parts) + 1, _sizes(f, parts))


def _sizes(f: File, parts: dict[str, At]) -> Iterator[Fault]:
    yield from equal(f.at["area_mm2"]["total"], sum(x.amount() for n, x in parts.items() if n != "total"), "parts have")
    stored = f.at["capacity"]
    used = sum(stored[n].amount() for n in ("weights_bytes", "kv_bytes", "activation_bytes"))
    if used > stored["available_bytes"].limit():
        yield Fault(stored["available_bytes"].path, f"is less than the {used:,.0f} bytes that are stored")
