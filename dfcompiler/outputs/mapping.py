"""The report as JSON with everything that a checker needs to redo it: the chip, every task, every dependence.

Cycles are of the chip's clock. A task runs from `start` to `end`, counted from the start of its segment's first
run; run i of a segment starts `i * period` later. Resources are reserved in `resolution`-ths: a task holds its
unit whole, `dram` of the DRAM's bandwidth and `beside` of its helper. Null stands for unlimited. docs/mapping.md has
every member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from math import inf
from typing import Any

import networkx as nx

import dfcompiler
from dfcompiler.addresses import lives, placed
from dfcompiler.api import Compiled
from dfcompiler.certificate import certificate, cost, from_run_to_run
from dfcompiler.columns import Column, flow_of
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip, Part, Unit
from dfcompiler.outputs.remarks import remarks
from dfcompiler.outputs.request import request_json
from dfcompiler.pins import Pin
from dfcompiler.planes import Plane
from dfcompiler.schedule import Layer, Mapping, between_layers, columns_of, mapping_of
from dfcompiler.solution import Solution, Task
from dfcompiler.tiling import RESOLUTION

SCHEMA = 1


def mapping_json(compiled: Compiled, name: str) -> dict[str, Any]:
    """The content of `mapping.json`; all but `seconds` depends on the input only."""
    head = {
        "generator": "dfcompiler",
        "schema": SCHEMA,
        "name": name,
        "versions": {"dfcompiler": dfcompiler.__version__} | {p: version(p) for p in ("numpy", "ortools")},
    }
    request = {"request": request_json(compiled.graph, compiled.context)}
    hardware = {"hardware": _hardware(compiled.chip)}
    return head | compiled.report.to_json() | request | hardware | {"mapping": _mapping(compiled)}


def _hardware(chip: Chip) -> dict[str, Any]:
    said = remarks(chip)
    return {
        "name": chip.name,
        "fingerprint": chip.fingerprint(),
        "clock_hz": chip.clock_hz,
        "dram_bytes_per_cycle": chip.dram_bytes_per_s / chip.clock_hz,
        "settings": {n: asdict(o) | {"remark": said.get(n, "")} for n, o in chip.settings.items()},
        "parts": [_part(p) for p in chip.parts.values()],
        "units": [_unit(u) for u in chip.units.values()],
    }


def _part(part: Part) -> dict[str, Any]:
    template = part.template
    units = {a.name: a.unit for a in template.axes()}
    return {
        "name": part.name,
        "template": template.template_name,
        "instances": part.instances,
        "group": part.group,
        "settings": {n: {"value": o.value, "unit": units.get(n, ""), "by": o.by} for n, o in part.settings.items()},
    }


def _unit(unit: Unit) -> dict[str, Any]:
    return {
        "name": unit.name,
        "instances": unit.instances,
        "vector": unit.vector,
        "peak_macs_per_cycle": float(unit.template.peak_macs_per_cycle()) * unit.instances,
        "levels": [asdict(x) for x in unit.levels],
        "ports": {n: float(v) for n, v in asdict(unit.ports).items()},
    }


def _mapping(compiled: Compiled) -> dict[str, Any]:
    mapping, report = mapping_of(compiled.graph), compiled.report
    return {
        "by": mapping.by,
        **schedule_json(compiled.graph),
        "bound_from": "roofline" if report.bound_s > mapping.bound / compiled.chip.clock_hz else "segments",
        "map_space": {"candidates": report.candidates, "columns": report.columns},
        "stages": [asdict(s) for s in mapping.stages],
        "refused": [asdict(r) for r in columns_of(compiled.graph).refusals],
    }


def schedule_json(graph: Graph) -> dict[str, Any]:
    """The schedule of a mapped graph, with what it was chosen from and why nothing is shorter."""
    mapping = mapping_of(graph)
    segments, first = [], 0
    for start, layer in mapping.starts():
        segments.append(_segment(graph, layer, start, first))
        first += len(layer.solution.tasks)
    return {
        "resolution": RESOLUTION,
        "cycles": mapping.cycles,
        "bound_cycles": mapping.bound,
        "aim": _aim(graph, mapping),
        "segments": segments,
    }


def _aim(graph: Graph, mapping: Mapping) -> dict[str, Any]:
    """What the mapping was sought by, and what no step is below where energy counts."""
    aim, limits = mapping.aim, mapping.aim.limits
    planes = aim.planes if any(p.per_pj for p in aim.planes) else ()
    return {
        "objective": aim.objective,
        "static_pj": limits.static_pj,
        "pj_per_cycle": limits.pj_per_cycle if limits.pj_per_cycle < inf else None,
        "planes": [_plane(graph, mapping, p) for p in planes if p.per_cycle + p.per_pj * limits.static_pj],
    }


def _plane(graph: Graph, mapping: Mapping, plane: Plane) -> dict[str, Any]:
    """A plane with the proof of every segment, in cycles that each cost what they do by its weights."""
    goal = replace(mapping.aim.limits, per_cycle=plane.per_cycle, per_pj=plane.per_pj)
    parts = []
    for x in mapping.layers:
        flow, columns = flow_of(graph, x.segment), columns_of(graph).of(x.segment)
        per_pj, known = goal.per_pj / goal.of_cycle, goal.cost(x.solution) / goal.of_cycle
        parts.append(cost(flow, columns, per_pj, known, goal.pj_per_cycle).to_json())
    return {"per_cycle": plane.per_cycle, "per_pj": plane.per_pj, "segments": parts}


def _segment(graph: Graph, layer: Layer, start: int, first: int) -> dict[str, Any]:
    solution, segment, limit = layer.solution, layer.segment, mapping_of(graph).aim.limits.pj_per_cycle
    numbers = {v: first + i for i, t in enumerate(solution.tasks) for v in t.column.nodes}
    flow, columns = flow_of(graph, segment), columns_of(graph).of(segment)
    inside = [(u, v, graph.flow.edges[u, v]["tensor"]) for u, v in flow.edges]
    across = between_layers(graph, segment) if segment.repeat > 1 else []
    at = {id(c): i for i, c in enumerate(columns)}
    pins = sorted({pin for c in columns for pin in c.pins})
    depends = {(numbers[u], numbers[v], tensor) for u, v, tensor in inside if numbers[u] != numbers[v]}
    return {
        "repeat": segment.repeat,
        "stage": segment.stage,
        "runs": list(segment.on.values()),
        "sends": segment.sends,
        "start": start,
        "cycles": solution.cycles,
        "waits": solution.cycles - max((t.end for t in solution.tasks), default=0),
        "period": layer.period,
        "end": start + layer.cycles,
        "bound": {
            "cycles": solution.bound,
            "period": layer.period_floor,
            "all": layer.bound,
            "proof": _proof(layer),
            "period_proof": _period_proof(flow, columns, layer, across),
        },
        "nodes": list(segment.nodes),
        "flow": [{"from": u, "to": v} for u, v in flow.edges],
        "carried": [{"from": u, "to": v} for u, v in dict.fromkeys(across)],
        "pins": [asdict(pin) for pin in pins],
        "columns": [_column(c, pins) for c in columns],
        "certificate": certificate(flow, columns, solution, limit).to_json(),
        "tasks": [{"id": first + i, "column": at[id(t.column)], **_task(t)} for i, t in enumerate(solution.tasks)],
        "pinned": _pinned(solution, pins),
        "depends": [{"from": u, "to": v, "tensor": tensor} for u, v, tensor in sorted(depends)],
        "next_run_depends": [{"from": u, "to": v} for u, v in sorted({(numbers[u], numbers[v]) for u, v in across})],
    }


def _pinned(solution: Solution, pins: Sequence[Pin]) -> list[dict[str, Any]]:
    """Where pinned tensors lie, and from when to when."""
    at = placed(solution.tasks)
    assert isinstance(at, dict)  # a mapper gives no other
    spans = lives(solution.tasks)
    return [
        {"pin": pins.index(pin), "start": spans[pin].start, "end": spans[pin].end, "address": at[pin]}
        for pin in sorted(at)
    ]


def _proof(layer: Layer) -> str:
    """In words, how far the segment's schedule is proven."""
    solution = layer.solution
    if solution.cycles > solution.bound:
        gap = 1 - solution.bound / solution.cycles
        return f"no schedule of these columns takes less than {solution.bound} cycles: at most {gap:.2%} to gain"
    one = "no schedule of these columns is shorter"
    if layer.segment.repeat == 1:
        return one
    if layer.serial:
        return f"{one}, and runs cannot overlap: every op needs the last run's result and is needed by the next run"
    if not layer.sought and layer.period >= solution.cycles:
        return f"{one}; runs follow one another, and schedules in which they overlap are not in the map space"
    return f"{one}; runs overlap, and no period is shorter than {layer.period_floor} cycles"


def _period_proof(
    flow: nx.DiGraph[str], columns: Sequence[Column], layer: Layer, across: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Why no run can follow another sooner than the bound says."""
    if max(layer.segment.on.values()) == 1:
        return {"kind": "once"}
    if layer.serial:
        return {"kind": "serial"}
    best = from_run_to_run(flow, columns, across, layer.period)
    if not layer.sought and layer.period >= layer.solution.cycles:
        return {"kind": "in turn", "overlapping": best.to_json()}
    if best.bound >= layer.period_floor:
        return best.to_json()
    return {"kind": "search", "bound": layer.period_floor, "certified": best.to_json()}


def _column(c: Column, pins: Sequence[Pin]) -> dict[str, Any]:
    said = {"nodes": list(c.nodes), "unit": c.unit, "helper": c.helper}
    rest = {"cycles": c.cycles, "dram": c.dram, "beside": c.beside, "pj": c.pj}
    return {**said, **rest, "pins": [i for i, pin in enumerate(pins) if pin in c.pins]}


def _task(task: Task) -> dict[str, Any]:
    c, tiling = task.column, task.column.tiling
    return {
        "nodes": list(c.nodes),
        "unit": c.unit,
        "helper": c.helper,
        "start": task.start,
        "end": task.end,
        "dram": c.dram,
        "beside": c.beside,
        "tile": dict(tiling.tile),
        "ways": dict(tiling.ways),
        "order": list(tiling.order),
        "keeps": [{"operand": k.operand, "kind": k.kind, "where": k.where, "since": k.since} for k in tiling.keeps],
        "level_bytes": dict(tiling.level_bytes),
        "dram_bytes": tiling.dram_bytes,
        "compute_cycles": tiling.compute_cycles,
        "helper_cycles": tiling.helper_cycles,
        "memory_cycles": tiling.memory_cycles,
        "buffer_bytes": tiling.room_bytes,
        "buffer_above_bytes": tiling.room_above_bytes,
    }
