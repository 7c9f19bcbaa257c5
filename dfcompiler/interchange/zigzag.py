"""Hardware YAML of ZigZag: an array of multipliers and memories from the innermost to the outermost.

Operands are I1 (inputs), I2 (weights) and O (outputs); sizes are bits, bandwidths bits per cycle. A memory has one
instance for all multipliers along its `served_dimensions`. So those that serve every dimension are buffers, those
that serve fewer are registers of the array; and the dimensions along which outputs share a register are summed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dfcompiler.diagnostics import Infeasible
from dfcompiler.interchange.documents import Value
from dfcompiler.interchange.machine import Machine, Part, Said, identifier, quantity

FAMILY = "memories"
ARRAYS = ("multipliers", "operational_array")
SAID_NOWHERE = "assumed: ZigZag has none, and cycles do not depend on it"
ROLES = {"I1": ("input",), "I2": ("weight",), "O": ("psum_read", "psum_write")}
OPERANDS, SUMS = (4, 8, 16, 32), (16, 24, 32, 48, 64)  # bits of our arrays' multipliers and accumulators

REASONS = {
    "memories.*.?_cost": "energies follow from the node and the kind of DRAM",
    "memories.*.area": "areas follow from the node",
    "memories.*.latency": "buffers of ours answer in time; the way to them has the latency of the network",
    "memories.*.*_port": "buffers of ours have a port per operand and one for each way of the DMA",
    "memories.*.ports.*": "buffers of ours have a port per operand and one for each way of the DMA",
    "memories.*.min_?_granularity": "bytes are counted, not lines",
    "memories.*.auto_cost_extraction": "energies follow from the node",
    "memories.*.mem_type": "a buffer is a buffer",
    "memories.*.double_buffering_support": "what is kept, streamed and double-buffered is part of a mapping",
    "memories.*.size": "a register of the array: ours has one or two words of weights and one sum per element",
    "memories.*.?_bw": "registers of the array feed it in time",
    "*.multiplier_energy": "energies follow from the node",
    "*.multiplier_area": "areas follow from the node",
    "*.unit_energy": "energies follow from the node",
    "*.unit_area": "areas follow from the node",
    "*.is_imc": "it says that the array is none of memory cells",
}


def read_machine(root: Value, name: str) -> Machine:
    """The machine of a file, called `name` unless the file says how.

    Raises Diag for what is wrong, Infeasible `not-expressible` for what a chip of ours cannot be.
    """
    array = root.at(next((name for name in ARRAYS if root.has(name)), ARRAYS[1]))
    if array.has("is_imc") and array.at("is_imc").truth():
        hint = "an array of memory cells is a `cim-crossbar` of ours: write the chip by hand"
        raise Infeasible("not-expressible", "arrays of memory cells are not imported", array.span, hint=hint)
    dims = [d.text() for d in array.at("dimensions").list()]
    sizes = dict(zip(dims, (s.whole() for s in array.at("sizes").list()), strict=False))
    memories = [memory for _, memory in root.at("memories").items()]
    if len(sizes) != len(dims) or len(array.at("sizes").list()) != len(dims):
        raise array.at("sizes").fault(f"a list of {len(dims)} sizes")
    dram, buffers, registers = _sorted(memories, set(dims))
    local, shared = _levels(buffers)
    return Machine(
        name=identifier(root.at("name").text() if root.has("name") else name),
        origin="imported from a hardware file of ZigZag",
        node=Said("7 nm", SAID_NOWHERE),
        clock=Said("1 GHz", SAID_NOWHERE),
        dram=_dram(dram),
        shared=_buffer("global", shared, dram) if shared else None,
        local=_buffer("local", local, dram),
        array=_array(array, sizes, registers),
        lanes=Part("vu", (("lanes", Said(str(max(sizes.values(), default=1)), "ours, so that whole models compile")),)),
        cores=1,
    )


def _sorted(memories: Sequence[Value], dims: set[str]) -> tuple[Value, list[Value], list[Value]]:
    """The DRAM, buffers and registers, the operands of all checked; the outermost memory is the DRAM."""
    if not memories:
        raise Infeasible("not-expressible", "a chip without memories is not imported")
    for memory in memories:
        _operands(memory)
    *inner, dram = memories
    serves = {m.path: {d.text() for d in m.at("served_dimensions").list()} for m in memories}
    return dram, [m for m in inner if serves[m.path] == dims], [m for m in inner if serves[m.path] != dims]


def _operands(memory: Value) -> list[str]:
    return [o.one_of({k.lower(): k for k in ROLES}, "operand") for o in memory.at("operands").list()]


def _levels(buffers: Sequence[Value]) -> tuple[list[Value], list[Value]]:
    """The buffers beside the array and those above them: an operand may pass two at most."""
    seen: dict[str, int] = {}
    levels: tuple[list[Value], list[Value]] = ([], [])
    for memory in buffers:
        level = max((seen.get(o, 0) for o in _operands(memory)), default=0)
        if level > 1:
            message = f"`{memory.path}` is the third buffer on a way to the array, and ours has two at most"
            raise Infeasible("not-expressible", message, memory.span, hint="leave a level out, or join two")
        levels[level].append(memory)
        seen |= dict.fromkeys(_operands(memory), level + 1)
    if not levels[0]:
        raise Infeasible("not-expressible", "no buffer lies between the DRAM and the array", hint="ours needs one")
    return levels


def _bytes(memory: Value, name: str) -> float:
    return memory.at(name).positive() / 8


def _buffer(name: str, memories: Sequence[Value], dram: Value) -> Part:
    """Buffers of one level as one: its capacity is theirs in all, ports stay apart by operand. What comes straight from
    the DRAM passes it at the DRAM's bandwidth."""
    names = " + ".join(m.path.removeprefix("memories.") for m in memories)
    joined = f"{names}, one buffer of ours: what each holds may differ" if len(memories) > 1 else names
    found = [("capacity", Said(quantity(int(sum(_bytes(m, "size") for m in memories)), "B"), f"{joined}: size / 8"))]
    for memory in memories:
        for operand in _operands(memory):
            for port in ROLES[operand]:
                which = "w_bw" if port == "psum_write" else "r_bw"
                found.append((port, Said(quantity(_bytes(memory, which), "B/cycle"), f"{memory.path}.{which} / 8")))
    told = dict(found)
    for operand, ports in ROLES.items():
        straight = f"{operand} passes no buffer there: {dram.path}.r_bw / 8"
        found += [(p, Said(quantity(_bytes(dram, "r_bw"), "B/cycle"), straight)) for p in ports if p not in told]
    for port, which in (("dma_read", "r_bw"), ("dma_write", "w_bw")):
        said = f"{joined}: {which} / 8"
        found.append((port, Said(quantity(sum(_bytes(m, which) for m in memories), "B/cycle"), said)))
    return Part(name, tuple(found))


def _dram(memory: Value) -> Part:
    """Reads and writes share its bandwidth unless it has a port for each."""
    apart = all(memory.has(p) and memory.at(p).whole(0) for p in ("r_port", "w_port"))
    rates = [_bytes(memory, name) for name in ("r_bw", "w_bw")]
    if rates[0] != rates[1]:
        raise Infeasible("not-expressible", "a DRAM that reads faster than it writes is not imported", memory.span)
    return Part(
        "mem",
        (
            ("capacity", Said(quantity(int(max(_bytes(memory, "size"), 2**20)), "B"), f"{memory.path}.size / 8")),
            ("bandwidth", Said(quantity(rates[0], "B/cycle"), f"{memory.path}.r_bw / 8")),
            ("kind", Said("hbm2e", "assumed: it decides energy, area and price, not cycles")),
            ("duplex", Said("full" if apart else "half", f"{memory.path}: r_port, w_port")),
        ),
    )


def _array(array: Value, sizes: dict[str, int], registers: Sequence[Value]) -> Part:
    """Rows are what sums run over: the dimensions along which outputs share a register. Where they share none, sums
    stay in the elements."""
    bits = [b.whole() for b in array.at("input_precision").list()] if array.has("input_precision") else [16]
    outputs = next((m for m in registers if _operands(m) == ["O"]), None)
    summed = {d.text() for d in outputs.at("served_dimensions").list()} & set(sizes) if outputs else set()
    weights = next((m for m in registers if _operands(m) == ["I2"]), None)
    words = weights.at("size").positive() / bits[-1] if weights else 2
    first = array.at("sizes").path
    if summed and summed != set(sizes):
        rows, how, flow = prod(sizes[d] for d in summed), "along which outputs share a register", "weight-stationary"
    else:
        rows, how, flow = next(iter(sizes.values())), "the first dimension", "output-stationary"
    cols = prod(sizes.values()) // rows
    reload = "double-buffered" if words >= 2 else "exposed"
    said = (
        f"{weights.path}.size: {words:g} words of an element" if weights else "assumed: no register for weights is told"
    )
    return Part(
        "sa",
        (
            ("rows", Said(str(rows), f"{first}: {how}")),
            ("cols", Said(str(cols), f"{first}: the others")),
            ("dataflow", Said(flow, "where sums meet: served_dimensions of the register of O")),
            ("reload", Said(reload, said)),
            ("operand_bits", Said(str(_width(max(bits), OPERANDS)), "input_precision")),
            ("acc_bits", _sum_bits(outputs)),
        ),
    )


def _sum_bits(outputs: Value | None) -> Said:
    if outputs is None:
        return Said("32", "assumed: no register for sums is told")
    return Said(str(_width(int(outputs.at("size").positive()), SUMS)), f"{outputs.path}.size")


def _width(bits: int, widths: Sequence[int]) -> int:
    """The narrowest of ours that holds so many bits."""
    return next((w for w in widths if w >= bits), widths[-1])
