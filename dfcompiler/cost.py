"""What a step asks of a chip before any mapping: memory that it must hold, and the physical roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfcompiler.columns import Column, Segment, segments
from dfcompiler.compose import Group, group, single
from dfcompiler.diagnostics import Infeasible
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import Graph, Item, Node, Region, Tensor
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.template import Memory
from dfcompiler.problem import Problem, problem


@dataclass(frozen=True)
class Capacity:
    """Bytes in DRAM: weights, KV cache and other states, activations at their peak, and what there is."""

    weights_bytes: float
    kv_bytes: float
    activation_bytes: float
    available_bytes: float

    @property
    def needed_bytes(self) -> float:
        """Bytes that the step needs."""
        return self.weights_bytes + self.kv_bytes + self.activation_bytes


def capacity(graph: Graph, chip: Chip) -> Capacity:
    """Memory that a graph needs on a chip; activations at the peak of what is alive in program order."""
    weights = _stored(graph.body, "weight", 1)
    states = _stored(graph.body, "state", 1)
    return Capacity(weights, states, _peak(graph), chip.dram_capacity_bytes)


def check_capacity(graph: Graph, chip: Chip) -> Capacity:
    """The memory that a graph needs; raises Infeasible `does-not-fit` with the numbers where there is less."""
    c = capacity(graph, chip)
    if c.needed_bytes > c.available_bytes:
        parts = ", ".join(
            f"{n} {_gb(b)}"
            for n, b in (("weights", c.weights_bytes), ("KV cache", c.kv_bytes), ("activations", c.activation_bytes))
        )
        message = f"`{graph.name}` needs {_gb(c.needed_bytes)} ({parts}); `{chip.name}` has {_gb(c.available_bytes)}"
        raise Infeasible(
            "does-not-fit",
            message,
            hint=f"{_gb(c.needed_bytes - c.available_bytes)} too much: fewer sequences, less context, narrower types",
        )
    return c


def _gb(n: float) -> str:
    return f"{n / 1e9:,.2f} GB"


def _stored(body: tuple[Item, ...], kind: str, times: int) -> float:
    total = 0.0
    for item in body:
        if isinstance(item, Tensor) and item.kind == kind:
            total += item.type.bytes * times
        elif isinstance(item, Region):
            total += _stored(item.body, kind, times * item.count)
    return total


def _peak(graph: Graph) -> float:
    """Bytes of values alive at once, in program order; a result that is a state updated in place is not counted."""
    order = list(graph.nodes.values())
    states = {t.name for t in graph.tensors.values() if t.kind == "state"}
    in_place = {
        r.name for n in order if any(a in states for a in n.args) for r in n.results if not _written(graph, n, r)
    }
    last: dict[str, int] = {}
    for i, node in enumerate(order):
        last |= dict.fromkeys(node.args, i)
    for name in graph.outputs:
        last[name] = len(order)
    alive: dict[str, float] = {t.name: t.type.bytes for t in graph.tensors.values() if t.kind == "input"}
    peak = sum(alive.values())
    for i, node in enumerate(order):
        alive |= {r.name: r.type.bytes for r in node.results if r.name not in in_place}
        peak = max(peak, sum(alive.values()))
        alive = {n: b for n, b in alive.items() if last.get(n, len(order)) > i}
    return peak


def _written(graph: Graph, node: Node, result: Tensor) -> bool:
    shape = graph.shape(node)
    name = shape.results[[r.name for r in node.results].index(result.name)].name
    return any(a.name == name for s in shape.body for a in s.targets)


# ---- roofline ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Roofline:
    """Seconds that no mapping can beat: arithmetic at the peak of all units, compulsory bytes at full bandwidth."""

    compute_s: float
    vector_s: float
    memory_s: float
    macs: float
    compulsory_bytes: float

    @property
    def seconds(self) -> float:
        """The longest of the three."""
        return max(self.compute_s, self.vector_s, self.memory_s)


def roofline(graph: Graph, chip: Chip, dtypes: DtypeMap) -> Roofline:
    """The roofline of a step. Compulsory bytes are those of a chip with unlimited buffers: weights and states
    once per layer, the step's inputs and outputs, nothing in between."""
    singles = {n.name: problem(single(graph, n), dtypes) for n in graph.nodes.values()}
    macs = float(sum(p.macs * graph.repeats[n] for n, p in singles.items()))
    kinds: dict[str, float] = {}
    for n, p in singles.items():
        for kind, count in p.vector.items():
            kinds[kind] = kinds.get(kind, 0.0) + count * graph.repeats[n]
    rate = sum(_peak_macs(u) for u in chip.units.values())
    vector = max((count / r for kind, count in kinds.items() if (r := _kind_rate(chip, kind))), default=0.0)
    read, write = _ends(graph)
    for segment in segments(graph):
        once = compulsory(graph, segment, dtypes)
        read, write = read + segment.repeat * once[0], write + segment.repeat * once[1]
    return Roofline(
        macs / rate / chip.clock_hz if macs and rate else 0.0,
        vector / chip.clock_hz,
        dram_seconds(chip, read, write),
        macs,
        read + write,
    )


def dram_seconds(chip: Chip, read: float, write: float) -> float:
    """Seconds to move bytes from and to DRAM: in turn, or side by side where it is full duplex."""
    dram = chip.dram.template
    assert isinstance(dram, Memory)
    reading = read / (float(dram.read_bytes_per_cycle(chip.clock_hz)) * chip.clock_hz)
    writing = write / (float(dram.write_bytes_per_cycle(chip.clock_hz)) * chip.clock_hz)
    return reading + writing if dram.half_duplex() else max(reading, writing)


def _peak_macs(unit: Unit) -> float:
    return float(unit.template.peak_macs_per_cycle()) * unit.instances


def _kind_rate(chip: Chip, kind: str) -> float:
    return sum(
        float(u.template.peak_ops_per_cycle(kind)) * u.instances for u in chip.units.values() if u.template.runs(kind)
    )


def compulsory(graph: Graph, segment: Segment, dtypes: DtypeMap) -> tuple[float, float]:
    """DRAM bytes read and written in one run of a segment fused into one op with an unlimited buffer: weights and
    states. Where the segment cannot be one op, its weights alone, which is less."""
    fused = group(graph, segment.nodes)
    if isinstance(fused, Group):
        kinds = fused.kinds
        kept = [o for o in problem(fused, dtypes).operands if kinds.get(o.name) in ("weight", "state")]
        reads, writes = (sum(o.total_bytes for o in kept if o.kind == k) for k in ("read", "write"))
        return reads, writes
    seen: dict[str, float] = {}
    for name in segment.nodes:
        node = graph.nodes[name]
        behind = dict(zip((o.name for o in graph.shape(node).params), node.args, strict=True))
        for operand in problem(single(graph, node), dtypes).operands:
            tensor = behind.get(operand.name, "")
            if tensor and graph.tensors[tensor].kind == "weight":
                seen[tensor] = operand.total_bytes
    return sum(seen.values()), 0.0


def _ends(graph: Graph) -> tuple[float, float]:
    """Bytes of the step's inputs, read, and of its outputs, written."""
    inputs = sum(t.type.bytes for t in graph.tensors.values() if t.kind == "input")
    return inputs, sum(graph.type_of(o).bytes for o in graph.outputs)


# ---- energy ------------------------------------------------------------------------------------


def energy_pj(column: Column, p: Problem, chip: Chip) -> float:
    """Dynamic energy of one run of a column: arithmetic, and bytes at every level with the way to it.

    Leakage, clock distribution and what the unit reads from and writes to the memory beside it (its input, weight
    and sum ports) are not in it.
    """
    unit = chip.units[column.unit]
    width = max(p.a_bits, p.b_bits)
    total = p.macs * float(unit.template.pj_per_mac(chip.tech, width)) if p.contractions else 0.0
    for kind, count in p.vector.items():
        runner = unit if unit.does(kind) else chip.units[column.helper or column.unit]
        pj = runner.template.pj_per_mac(chip.tech, 32) if kind == "mac" else runner.template.pj_per_op(chip.tech, kind)
        total += count * float(pj)
    moved: Mapping[str, float] = column.tiling.level_bytes
    return total + sum(moved.get(x.part, 0.0) * (x.pj_per_byte + x.wire_pj_per_byte) for x in unit.levels)
