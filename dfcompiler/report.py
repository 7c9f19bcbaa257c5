"""The answer to a compile: times with their proof, traffic, energy, area, and every op with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

from dfcompiler.addresses import lives
from dfcompiler.columns import Column
from dfcompiler.cost import Capacity, Roofline
from dfcompiler.diagnostics import Infeasible, first_span
from dfcompiler.economics import Owned, Running, price, switches_usd
from dfcompiler.exchanges import links_of, taken_by
from dfcompiler.goals import LATENCY
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.power import static_w
from dfcompiler.problem import Problem
from dfcompiler.schedule import Layer, columns_of, mapping_of
from dfcompiler.schedule import Mapping as Mapped
from dfcompiler.solution import Task
from dfcompiler.terms import Terms


@dataclass(frozen=True)
class OpReport:
    """One scheduled group: seconds from the start of the step (of its first repetition), bytes of one run.

    `op` joins the names of the ops in the group by `+`; `bound` is what it waits for longest: `compute`,
    `vector`, `memory`, `link`, or `network` where none of these fills its time and latencies do. `algorithm` is that
    of an exchange.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    repeat: int
    unit: str
    helper: str | None
    start_s: float
    end_s: float
    compute_s: float
    memory_s: float
    flops: float
    bytes: Mapping[str, float]
    tile: Mapping[str, int]
    ways: Mapping[str, int]
    order: tuple[str, ...]
    keep: Mapping[str, str]
    dram_share: float
    helper_share: float
    utilization: float
    bound: str
    energy_j: float
    loc: str
    algorithm: str = ""


@dataclass(frozen=True)
class LayerReport:
    """One segment: it runs `repeat` times, a layer every `period_s`. `serial` layers cannot overlap; others could,
    and `bound_s` is that of schedules in which they do not (or of all, where `period_s` is shorter than a layer)."""

    repeat: int
    serial: bool
    start_s: float
    latency_s: float
    period_s: float
    bound_s: float


@dataclass(frozen=True)
class PinnedReport:
    """Tensors that stay in a memory from one op to another; of the `room_bytes` that it sets aside they take
    `most_bytes` at the most."""

    memory: str
    tensors: tuple[str, ...]
    most_bytes: int
    room_bytes: int


@dataclass(frozen=True)
class StageReport:
    """The layers of one stage: pairs of a segment's number and how many of its layers; its time, and that of handing
    `send_bytes` to the next."""

    layers: tuple[tuple[int, int], ...]
    latency_s: float
    send_s: float
    send_bytes: float


@dataclass(frozen=True)
class Report:
    """Everything that `dfc compile` tells about a step.

    `objective_value` is what the mapping was to make least (s, J, J s, or mm2 s), `objective_bound` what it comes to at
    least; `gap` and `status` are of these. Where a step has parts that do not depend on each other, such as prefill
    and decode, they would take `serial_s` one after another, and `hidden` is the part of the shorter ones' time that
    runs beside the longest.

    On several devices, ops, traffic and roofline are those of one device (of each stage), `capacity` that of the
    fullest, `energy_j` that of all, of which `static_j` goes whether or not work is done, and `cost_usd` the price
    of all and of the switches between them; that is None where a device cannot be made, with the reason in `notes`.
    A next step may start after `interval_s`; such steps one after the other cost `usd_per_million_tokens` (None as
    above), by the `terms` on which devices are owned. A graph that is no step of a model has no `tokens`. Times of
    ops leave transfers between stages out.
    """

    model: str
    chip: str
    devices: int
    step: str
    dtype: str
    tokens: int
    latency_s: float
    layer_latency_s: float
    bound_s: float
    gap: float
    status: str
    roofline_s: float
    candidates: int
    columns: int
    seconds: Mapping[str, float]
    traffic_bytes: Mapping[str, float]
    compulsory_bytes: float
    macs: float
    capacity: Capacity
    energy_j: float
    static_j: float
    area_mm2: Mapping[str, float]
    cost_usd: float | None
    mapper: str
    roofline: Roofline
    layers: tuple[LayerReport, ...]
    ops: tuple[OpReport, ...]
    interval_s: float = 0.0
    stages: tuple[StageReport, ...] = ()
    pinned: tuple[PinnedReport, ...] = ()
    layer_count: int = 0
    objective: str = LATENCY
    objective_value: float = 0.0
    objective_bound: float = 0.0
    serial_s: float | None = None
    hidden: float | None = None
    usd_per_million_tokens: Owned | None = None
    terms: Terms = Terms()
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command line's contract; numbers are plain, keys in a fixed order."""
        return asdict(self)


def report(
    graph: Graph,
    chip: Chip,
    *,
    step: str,
    tokens: int,
    dtype: str,
    capacity: Capacity,
    limit: Roofline,
    seconds: Mapping[str, float],
    layer_count: int,
) -> Report:
    """Gather the report of a mapped graph."""
    mapping, columns = mapping_of(graph), columns_of(graph)
    per_s = 1 / chip.clock_hz
    ops = tuple(_ops(graph, chip))
    bound = max(mapping.bound * per_s, limit.seconds)
    latency = mapping.cycles * per_s
    repeated = max((x for x in mapping.layers), key=lambda x: x.segment.repeat, default=None)
    traffic: dict[str, float] = {}
    for op in ops:
        for level, moved in op.bytes.items():
            traffic[level] = traffic.get(level, 0.0) + moved * op.repeat
    many = prod(n for _, n in graph.mesh)
    static_j = many * static_w(chip) * latency
    made = _price(chip, many)
    energy_j = many / max(1, len(mapping.stages)) * sum(op.energy_j * op.repeat for op in ops) + static_j
    running = Running(tokens, mapping.interval * per_s, latency, energy_j, static_j)
    area_mm2 = chip.area_mm2()
    value, least, proven = _aimed(mapping, many, latency, bound, energy_j, area_mm2["total"], per_s)
    return Report(
        model=graph.name,
        chip=chip.name,
        devices=many,
        step=step,
        dtype=dtype,
        tokens=tokens,
        latency_s=latency,
        layer_latency_s=repeated.period * per_s if repeated else 0.0,
        bound_s=bound,
        gap=max(0.0, value - least) / value if value else 0.0,
        status="OPTIMAL" if proven else "FEASIBLE",
        roofline_s=limit.seconds,
        candidates=columns.candidates,
        columns=len(columns.columns),
        seconds=dict(seconds),
        traffic_bytes=traffic,
        compulsory_bytes=limit.compulsory_bytes,
        macs=limit.macs,
        capacity=capacity,
        energy_j=energy_j,
        static_j=static_j,
        area_mm2=area_mm2,
        cost_usd=made.usd,
        mapper=mapping.by,
        roofline=limit,
        layers=tuple(_layer(x, start, per_s) for start, x in mapping.starts()),
        ops=ops,
        interval_s=mapping.interval * per_s,
        layer_count=layer_count,
        objective=mapping.aim.objective,
        objective_value=value,
        objective_bound=least,
        serial_s=mapping.serial * per_s if mapping.hidden is not None else None,
        hidden=mapping.hidden,
        usd_per_million_tokens=running.per_million_tokens(made.usd, Terms())
        if made.usd is not None and tokens
        else None,
        stages=tuple(
            StageReport(s.layers, s.cycles * per_s, s.send_cycles * per_s, s.send_bytes) for s in mapping.stages
        ),
        pinned=tuple(_pinned(mapping)),
        notes=(*made.notes, *_notes(chip)),
    )


def _pinned(mapping: Mapped) -> Iterator[PinnedReport]:
    """What is pinned, by memory."""
    every = [lives(x.solution.tasks) for x in mapping.layers]
    for memory in dict.fromkeys(pin.memory for of in every for pin in of):
        mine = [{pin: life for pin, life in of.items() if pin.memory == memory} for of in every]
        tensors = tuple(pin.tensor for of in mine for pin in of)
        yield PinnedReport(
            memory,
            tensors,
            max(sum(x.bytes for x in of.values() if x.start <= y.start < x.end) for of in mine for y in of.values()),
            max(pin.room_bytes for of in mine for pin in of),
        )


def _aimed(
    mapping: Mapped, many: int, latency_s: float, bound_s: float, energy_j: float, mm2: float, per_s: float
) -> tuple[float, float, bool]:
    """What a mapping was to make least, what that comes to at least, and whether it is proven to be that."""
    aim, fastest = mapping.aim, mapping.cycles <= mapping.bound
    least_j = many / max(1, len(mapping.stages)) * aim.least * 1e-12
    match aim.objective:
        case "energy":
            return energy_j, least_j, aim.optimal
        case "edp":
            return energy_j * latency_s, least_j * per_s, aim.optimal
        case "area-delay":
            return latency_s * mm2, bound_s * mm2, fastest
        case "latency-then-energy":
            return latency_s, bound_s, fastest and aim.optimal
        case _:
            return latency_s, bound_s, fastest


@dataclass(frozen=True)
class Made:
    """USD of all devices with what joins them, None where they cannot be made; and what to know of that."""

    usd: float | None
    notes: tuple[str, ...] = ()


def _price(chip: Chip, devices: int) -> Made:
    try:
        usd, between = devices * price(chip).usd, switches_usd(chip, devices)
    except Infeasible as why:
        return Made(None, (f"no price: {why.message}",))
    if between is None:
        return Made(usd, ("the price leaves out the switches between devices: the chip's link has no `switch-mm2`",))
    return Made(usd + between)


def _notes(chip: Chip) -> Iterator[str]:
    """What the reader of energy, area and cost should know."""
    if guessed := chip.tech.interpolated:
        tables = ", ".join(dict.fromkeys(name.split(".")[0] for name in guessed))
        yield f"{len(guessed)} constants of {chip.node_nm:g} nm are interpolated between other nodes ({tables})"


def _layer(x: Layer, start: int, per_s: float) -> LayerReport:
    return LayerReport(x.segment.repeat, x.serial, start * per_s, x.cycles * per_s, x.period * per_s, x.bound * per_s)


def _ops(graph: Graph, chip: Chip) -> Iterator[OpReport]:
    problems = columns_of(graph).problems
    for start, layer in mapping_of(graph).starts():
        for task in layer.solution.tasks:
            yield _op(graph, chip, task, problems.get(task.column.nodes), start, layer.segment.repeat)


def _op(graph: Graph, chip: Chip, task: Task, p: Problem | None, start: int, repeat: int) -> OpReport:
    c, per_s = task.column, 1 / chip.clock_hz
    nodes = [graph.nodes[n] for n in c.nodes]
    span = first_span(nodes[0].loc)
    return OpReport(
        name=nodes[-1].name,
        op="+".join(dict.fromkeys(n.op.name for n in nodes)),
        nodes=c.nodes,
        repeat=repeat,
        unit=c.unit,
        helper=c.helper,
        start_s=(start + task.start) * per_s,
        end_s=(start + task.end) * per_s,
        compute_s=c.tiling.compute_cycles * per_s,
        memory_s=c.tiling.memory_cycles * per_s,
        flops=2.0 * p.macs + sum(v * (2 if k == "mac" else 1) for k, v in p.vector.items()) if p else 0.0,
        bytes=dict(c.tiling.level_bytes),
        tile=dict(c.tiling.tile),
        ways=dict(c.tiling.ways),
        order=c.tiling.order,
        keep={k.operand: k.where for k in c.tiling.keeps},
        dram_share=c.tiling.share,
        helper_share=c.tiling.helper_cycles / c.cycles,
        utilization=utilization(p, chip.units[c.unit], chip.units.get(c.helper or ""), c.cycles) if p else 0.0,
        bound=bound_by(c) if p else exchange_bound(c, chip),
        energy_j=c.pj * 1e-12,
        loc=str(span) if span else "",
        algorithm="" if p else taken_by(graph, nodes[0], links_of(chip).fabric)[2],
    )


def utilization(p: Problem, unit: Unit, helper: Unit | None, cycles: float) -> float:
    """The share of its time in which the busier of array and lanes does useful work at its peak."""
    peak = float(unit.template.peak_macs_at(max(p.a_bits, p.b_bits))) * unit.instances
    macs = p.macs_on(unit.template) / peak / cycles if p.contractions and peak else 0.0
    lanes = 0.0
    for kind, count in p.vector.items():
        runner = unit if unit.does(kind) else helper
        rate = float(runner.template.peak_ops_per_cycle(kind)) * runner.instances if runner else 0.0
        lanes += count / rate / cycles if rate else 0.0
    return min(1.0, max(macs, lanes))


def exchange_bound(c: Column, chip: Chip) -> str:
    """What an exchange waits for: the bytes on the links, those in memory, or the latency of its steps."""
    links, memory = links_of(chip), c.tiling.memory_cycles
    linked = c.tiling.level_bytes[links.part] / links.fabric.bytes_per_s * chip.clock_hz
    longest = max(linked, memory)
    return "network" if longest < 0.5 * c.cycles else "link" if longest == linked else "memory"


def bound_by(c: Column) -> str:
    """What a column waits for longest."""
    t = c.tiling
    memory = t.memory_cycles / t.share
    vector = t.helper_cycles
    compute = t.compute_cycles if t.helper_cycles < t.compute_cycles else 0.0
    longest = max(memory, vector, compute)
    if longest < 0.5 * t.cycles:
        return "network"
    return "memory" if longest == memory else "vector" if longest == vector else "compute"
