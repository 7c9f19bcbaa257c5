"""The schedule as a trace in Chrome's event format, which Perfetto and chrome://tracing open.

One process is the chip; every unit is a thread, bandwidth and vector units are counters. Of a segment that
repeats, the first run is shown op by op and every run as one slice of the thread `layers`; while those that are
not shown run, the counters hold their mean. Times are in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dfcompiler.api import Compiled
from dfcompiler.report import OpReport
from dfcompiler.schedule import Layer, mapping_of, reservations
from dfcompiler.solution import Task
from dfcompiler.tiling import RESOLUTION

PID = 1
LAYERS = 1  # the thread of whole layers; units follow

Event = dict[str, Any]


def trace_json(compiled: Compiled, name: str) -> dict[str, Any]:
    """The content of `trace.json`."""
    chip, report = compiled.chip, compiled.report
    links = [p.name for p in chip.links if compiled.graph.mesh]
    threads = {unit: LAYERS + 1 + i for i, unit in enumerate([*chip.units, *links])}
    counters = {"": "DRAM bandwidth"} | {u.vector: f"{u.vector} busy" for u in chip.units.values() if u.vector}
    to_us = 1e6 / chip.clock_hz
    events = [*_names(f"{name} on {chip.name}", threads)]
    ops = iter(report.ops)
    for start, layer in mapping_of(compiled.graph).starts():
        tasks = layer.solution.tasks
        events += [_slice(task, next(ops), start, threads[task.column.unit], to_us) for task in tasks]
        events += _runs(layer, start, to_us)
        for resource, title in counters.items():
            events += _counter(title, _levels(tasks, resource, start), to_us)
            events += _counter(title, _mean(layer, resource, start), to_us)
    about = {key: getattr(report, key) for key in ("model", "chip", "step", "dtype", "status")}
    about["latency_us"] = _us(report.latency_s * 1e6)
    return {"displayTimeUnit": "ms", "otherData": about, "traceEvents": events}


def _names(process: str, threads: Mapping[str, int]) -> Iterator[Event]:
    yield {"ph": "M", "name": "process_name", "pid": PID, "args": {"name": process}}
    for name, tid in {"layers": LAYERS, **threads}.items():
        yield {"ph": "M", "name": "thread_name", "pid": PID, "tid": tid, "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", "pid": PID, "tid": tid, "args": {"sort_index": tid}}


def _slice(task: Task, op: OpReport, start: int, tid: int, to_us: float) -> Event:
    about = {
        "nodes": " ".join(op.nodes),
        "tile": ", ".join(f"{d} {n}" for d, n in op.tile.items()),
        "split": ", ".join(f"{d} over {n}" for d, n in op.ways.items()),
        "loops": " ".join(op.order),
        "bound": op.bound,
        "utilization": round(op.utilization, 4),
        "dram_share": task.column.dram / RESOLUTION,
        "helper": op.helper or "",
        "helper_share": task.column.beside / RESOLUTION,
        **{f"{level}_bytes": moved for level, moved in op.bytes.items()},
        "runs": op.repeat,
        "source": op.loc,
    }
    span = _span(start + task.start, start + task.end, to_us)
    return {"ph": "X", "name": f"{op.name}: {op.op}", "cat": op.bound, "pid": PID, "tid": tid, **span, "args": about}


def _runs(layer: Layer, start: int, to_us: float) -> Iterator[Event]:
    """Every run of a segment that repeats, until the next one starts."""
    runs, tid = layer.segment.repeat, LAYERS
    if runs == 1:
        return
    for i in range(runs):
        begin = start + i * layer.period
        end = begin + (layer.period if i < runs - 1 else layer.solution.cycles)
        args = {"latency_us": _us(layer.solution.cycles * to_us), "period_us": _us(layer.period * to_us)}
        span = _span(begin, end, to_us)
        yield {
            "ph": "X",
            "name": f"layer {i + 1} of {runs}",
            "cat": "layer",
            "pid": PID,
            "tid": tid,
            **span,
            "args": args,
        }


def _levels(tasks: Sequence[Task], resource: str, start: int) -> Iterator[tuple[int, float]]:
    """(cycle, share) wherever the share of a resource that is in use changes."""
    changes: dict[int, int] = {}
    for t in tasks:
        amount = reservations(t).get(resource, 0)
        changes[t.start] = changes.get(t.start, 0) + amount
        changes[t.end] = changes.get(t.end, 0) - amount
    level, said = 0, -1
    for at in sorted(changes):
        level += changes[at]
        if level != said:
            yield start + at, level / RESOLUTION
        said = level


def _mean(layer: Layer, resource: str, start: int) -> Iterator[tuple[int, float]]:
    """The mean share from the end of the first run to the end of the segment."""
    if layer.segment.repeat == 1:
        return
    used = sum(reservations(t).get(resource, 0) * t.column.cycles for t in layer.solution.tasks)
    yield start + layer.solution.cycles, used / RESOLUTION / layer.period
    yield start + layer.cycles, 0.0


def _counter(title: str, levels: Iterable[tuple[int, float]], to_us: float) -> Iterator[Event]:
    for at, share in levels:
        yield {"ph": "C", "name": title, "pid": PID, "ts": _us(at * to_us), "args": {"percent": round(100 * share, 2)}}


def _span(start: int, end: int, to_us: float) -> Event:
    begin = _us(start * to_us)
    return {"ts": begin, "dur": round(_us(end * to_us) - begin, 6)}


def _us(x: float) -> float:
    return round(x, 6)
