"""What a step asks of a chip before any mapping: memory that it must hold, and the physical roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from dfcompiler.collectives import exchanged
from dfcompiler.columns import Segment, segments
from dfcompiler.compose import Group, group, single
from dfcompiler.diagnostics import Infeasible
from dfcompiler.dtypes import DtypeMap
from dfcompiler.exchanges import least_bytes, links_of
from dfcompiler.graph import Graph, Item, Node, Region, Tensor
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.growth import MIB, capacity_lever
from dfcompiler.hardware.template import UNLIMITED, Memory
from dfcompiler.problem import Problem, problem
from dfcompiler.remedies import held_by, smallest
from dfcompiler.schedule import columns_of, mapping_of
from dfcompiler.staging import Staged, reads, staged


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
    """Memory that a graph needs on a chip, the fullest stage's where it has stages; activations at the peak of what is
    alive in program order."""
    peak, parts = peak_bytes(graph), list(staged(graph))
    stages = {s for x in parts for s in x.on} or {0}
    kept = [Capacity(*held(graph, parts, s), peak, chip.dram_capacity_bytes) for s in stages]
    return max(kept, key=lambda c: c.needed_bytes)


def held(graph: Graph, parts: Sequence[Staged], stage: int) -> tuple[float, float]:
    """Bytes of weights and states on the devices of a stage, whose `parts` are those of the graph: what is declared
    outside of layers is where it is used."""
    mine = [(x.item, x.on[stage]) for x in parts if stage in x.on]
    used = {a for item, _ in mine for a in reads(item)}
    top = [x for x in graph.body if isinstance(x, Tensor) and x.name in used]
    found = []
    for kind in ("weight", "state"):
        layers = sum(stored_bytes(item.body, kind, n) for item, n in mine if isinstance(item, Region))
        found.append(layers + sum(x.type.bytes for x in top if x.kind == kind))
    return found[0], found[1]


def check_capacity(graph: Graph, chip: Chip) -> Capacity:
    """The memory that a graph needs on each of its devices; raises Infeasible `does-not-fit` with the numbers where
    there is less."""
    c = capacity(graph, chip)
    if c.needed_bytes > c.available_bytes:
        parts = ", ".join(
            f"{n} {in_gb(b)}"
            for n, b in (("weights", c.weights_bytes), ("KV cache", c.kv_bytes), ("activations", c.activation_bytes))
        )
        message = (
            f"`{graph.name}` needs {in_gb(c.needed_bytes)} ({parts}); `{chip.name}` has {in_gb(c.available_bytes)}"
        )
        lever = capacity_lever(chip, chip.dram.name)
        enough = smallest(chip, lever, MIB, lambda x: x.dram_capacity_bytes >= c.needed_bytes)
        more = in_gb(c.needed_bytes - c.available_bytes)
        too_much = f"{more} too much: fewer sequences, less context, narrower types"
        raise Infeasible("does-not-fit", message, hint=f"{too_much}, or {enough}" if enough else too_much)
    return c


def check_resident(graph: Graph, chip: Chip) -> None:
    """Raises Infeasible `not-resident` where a mapping puts more weights on a unit than it holds before a step."""
    full = filled(graph, chip)
    name, stage = max(full, key=full.__getitem__, default=("", 0))
    if full.get((name, stage), 0.0) <= 1:
        return
    more = held_by(chip, name, lambda c: filled(graph, c)[name, stage] <= 1)
    message = f"the mapping puts {full[name, stage]:.3g} times the weights on `{name}` that it holds"
    hint = "weights that are not resident"
    raise Infeasible("not-resident", message, hint=f"{more}, or {hint}" if more else hint)


def filled(graph: Graph, chip: Chip) -> dict[tuple[str, int], float]:
    """(unit, stage) -> how often the weights that a mapping puts there fill what the unit holds before a step, of units
    that hold weights."""
    parts: dict[tuple[str, int], dict[str, float]] = {}  # tensor -> its part of what all instances hold
    for layer in mapping_of(graph).layers:
        for column in (task.column for task in layer.solution.tasks):
            p = columns_of(graph).problems.get(column.nodes)
            if p is None:  # an exchange, on links
                continue
            unit = chip.units[column.unit]
            held = float(unit.template.weights_held(p.b_bits)) * unit.instances
            if held == UNLIMITED:
                continue
            for name in (n for c in p.contractions for n in p.group.parts[c.b].tensors):
                once = graph.type_of(name).elements / held
                for stage, layers in layer.segment.on.items():
                    parts.setdefault((column.unit, stage), {})[name] = once * layers
    return {key: sum(each.values()) for key, each in parts.items()}


def in_gb(n: float) -> str:
    """Bytes for people."""
    return f"{n / 1e9:,.2f} GB"


def stored_bytes(body: tuple[Item, ...], kind: str, times: int) -> float:
    """Bytes of the tensors of a kind that a body declares, where it runs so many times."""
    total = 0.0
    for item in body:
        if isinstance(item, Tensor) and item.kind == kind:
            total += item.type.bytes * times
        elif isinstance(item, Region):
            total += stored_bytes(item.body, kind, times * item.count)
    return total


def peak_bytes(graph: Graph) -> float:
    """Bytes of values alive at once, in program order; a result that is a state updated in place is not counted."""
    order, in_place = list(graph.nodes.values()), updated_in_place(graph)
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


def updated_in_place(graph: Graph) -> frozenset[str]:
    """Results that are states under another name: they take no memory of their own."""
    states = {t.name for t in graph.tensors.values() if t.kind == "state"}
    fed = (n for n in graph.nodes.values() if any(a in states for a in n.args))
    return frozenset(r.name for n in fed for r in n.results if not _written(graph, n, r))


def _written(graph: Graph, node: Node, result: Tensor) -> bool:
    shape = graph.shape(node)
    name = shape.results[[r.name for r in node.results].index(result.name)].name
    return any(a.name == name for s in shape.body for a in s.targets)


# ---- roofline ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Roofline:
    """Seconds that no mapping can beat on one of its devices: arithmetic at the peak of all units, compulsory bytes at
    full bandwidth, on links those of the algorithms that move least, latencies left out."""

    compute_s: float
    vector_s: float
    memory_s: float
    macs: float
    compulsory_bytes: float
    link_s: float = 0.0

    @property
    def seconds(self) -> float:
        """The longest of the four."""
        return max(self.compute_s, self.vector_s, self.memory_s, self.link_s)


def roofline(graph: Graph, chip: Chip, dtypes: DtypeMap) -> Roofline:
    """The roofline of a step. Compulsory bytes are those of a chip with unlimited buffers: weights and states
    once per layer, the step's inputs and outputs, nothing in between."""
    singles = {n.name: problem(single(graph, n), dtypes) for n in graph.nodes.values() if not exchanged(n)}
    linked = sum(least_bytes(graph, n, chip) * graph.repeats[n.name] for n in graph.nodes.values() if exchanged(n))
    macs = float(sum(p.macs * graph.repeats[n] for n, p in singles.items()))
    macs_s = sum(_macs_cycles(p, chip) * graph.repeats[n] for n, p in singles.items()) / chip.clock_hz
    kinds: dict[str, float] = {}
    for n, p in singles.items():
        for kind, count in p.vector.items():
            kinds[kind] = kinds.get(kind, 0.0) + count * graph.repeats[n]
    vector = max((count / r for kind, count in kinds.items() if (r := _kind_rate(chip, kind))), default=0.0)
    read, write = _ends(graph)
    for segment in segments(graph):
        once = compulsory(graph, segment, dtypes)
        read, write = read + segment.repeat * once[0], write + segment.repeat * once[1]
    return Roofline(
        macs_s,
        vector / chip.clock_hz,
        dram_seconds(chip, read, write),
        macs,
        read + write,
        linked / links_of(chip).fabric.bytes_per_s if linked else 0.0,
    )


def dram_seconds(chip: Chip, read: float, write: float) -> float:
    """Seconds to move bytes from and to DRAM: in turn, or side by side where it is full duplex."""
    dram = chip.dram.template
    assert isinstance(dram, Memory)
    reading = read / (float(dram.read_bytes_per_cycle(chip.clock_hz)) * chip.clock_hz)
    writing = write / (float(dram.write_bytes_per_cycle(chip.clock_hz)) * chip.clock_hz)
    return reading + writing if dram.half_duplex() else max(reading, writing)


def _macs_cycles(p: Problem, chip: Chip) -> float:
    """Cycles of a problem's multiply-accumulates with all units of the chip at their peak."""
    bits = max(p.a_bits, p.b_bits)
    rate = sum(float(u.template.peak_macs_at(bits)) * u.instances for u in chip.units.values())
    return min(p.macs_on(u.template) for u in chip.units.values()) / rate if p.macs else 0.0


def _kind_rate(chip: Chip, kind: str) -> float:
    return sum(
        float(u.template.peak_ops_per_cycle(kind)) * u.instances for u in chip.units.values() if u.template.runs(kind)
    )


def compulsory(graph: Graph, segment: Segment, dtypes: DtypeMap) -> tuple[float, float]:
    """DRAM bytes read and written in one run of a segment fused into one op with an unlimited buffer, or into one
    between any two exchanges: weights and states, each once. Where it cannot be one op, its weights alone, which is
    less."""
    most: dict[tuple[str, str], float] = {}
    for run in _between_exchanges(graph, segment.nodes):
        for key, moved in _kept(graph, run, dtypes):
            most[key] = max(moved, most.get(key, 0.0))
    reads, writes = (sum(b for (kind, _), b in most.items() if kind == k) for k in ("read", "write"))
    return reads, writes


def _between_exchanges(graph: Graph, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Runs of nodes in program order that no exchange parts."""
    for apart, run in groupby(names, lambda n: exchanged(graph.nodes[n])):
        if not apart:
            yield tuple(run)


def _kept(graph: Graph, names: tuple[str, ...], dtypes: DtypeMap) -> Iterator[tuple[tuple[str, str], float]]:
    """Bytes of what persists, by way (`read` or `write`) and name."""
    fused = group(graph, names)
    if isinstance(fused, Group):
        for o in problem(fused, dtypes).operands:
            if fused.kinds.get(o.name) in ("weight", "state"):
                behind = {n: graph.type_of(n).bytes for n in fused.parts[o.name].tensors}
                for name, size in behind.items():
                    yield (o.kind, name), o.total_bytes * size / sum(behind.values())
        return
    for name in names:
        node = graph.nodes[name]
        given = dict(zip((o.name for o in graph.shape(node).params), node.args, strict=True))
        for operand in problem(single(graph, node), dtypes).operands:
            tensor = given.get(operand.name, "")
            if tensor and graph.tensors[tensor].kind == "weight":
                yield ("read", tensor), operand.total_bytes


def _ends(graph: Graph) -> tuple[float, float]:
    """Bytes of the step's inputs, read, and of its outputs, written."""
    inputs = sum(t.type.bytes for t in graph.tensors.values() if t.kind == "input")
    return inputs, sum(graph.type_of(o).bytes for o in graph.outputs)
