"""Hardware JSON of LLMCompass (Zhang et al., ISCA 2024): cores of sublanes around a global buffer.

Members as its `configs/*.json` have them. A sublane is one array with one vector unit. Sublanes of a core share what
its SRAM holds, so they are one array of ours with columns side by side, and one vector unit. Bandwidth of memory is
channels x pins x rate of a pin.
"""

from __future__ import annotations

from dfcompiler.diagnostics import Diag
from dfcompiler.interchange.documents import Value
from dfcompiler.interchange.machine import Machine, Part, Said, identifier, quantity

BITS = {"int4": "4", "fp4": "4", "int8": "8", "fp8": "8", "fp16": "16", "bf16": "16", "fp32": "32"}
MEMORIES = {name: name for name in "hbm2 hbm2e hbm3 hbm3e hbm4 gddr6 gddr6x gddr7 lpddr5 lpddr5x ddr5".split()}
FAMILY = "device"  # the member by which a file is known

# Why a member is not in our chip; patterns of paths, the first that fits counts.
REASONS = {
    "device_count": "a chip file is one device; `dfc compile --devices N` takes several",
    "interconnect.link.name": "a link is its figures",
    "interconnect.link.bandwidth_both_directions_byte": "the bandwidth of each direction is taken",
    "interconnect.link.*": "our exchanges are priced by bytes and latency, not by flits",
    "interconnect.topology": "write `topology = ...` at the link: ours is a switch unless it says otherwise",
    "interconnect.*": "a link needs bandwidth_per_direction_byte",
    "device._*": "a comment",
    "device.compute_chiplet.physical_core_count": "cores that are switched off compute nothing; their area is missing",
    "device.compute_chiplet.core.systolic_array.mac_per_cycle": "an element of ours multiplies once per cycle",
    "device.compute_chiplet.core.register_file.*": "registers are within our vector lanes and array elements",
    "device.compute_chiplet.core.vector_unit.fp*_count": "area is per lane",
    "device.io.process_node": "one node for the chip: that of the compute die",
    "device.io.physical_global_buffer_MB": "the part that is switched on is taken; the rest of its area is missing",
    "device.io.memory_channel_physical_count": "channels that are switched off move nothing",
}


def read_machine(root: Value, name: str) -> Machine:
    """The machine of a file, called `name` unless the file says how; raises Diag for what is missing or no number."""
    device = root.at("device")
    die, io = device.at("compute_chiplet"), device.at("io")
    core = die.at("core")
    chiplets = device.at("compute_chiplet_count").whole() if device.has("compute_chiplet_count") else 1
    cores, sublanes = chiplets * die.at("core_count").whole(), core.at("sublane_count").whole()
    return Machine(
        name=identifier(root.at("name").text() if root.has("name") else name),
        origin="imported from a hardware file of LLMCompass",
        node=Said(_node(die.at("process_node")), die.at("process_node").path),
        clock=Said(quantity(device.at("frequency_Hz").positive(), "Hz"), "device.frequency_Hz"),
        dram=_dram(device),
        shared=_buffer(io),
        local=_sram(core, sublanes),
        array=_array(core.at("systolic_array"), sublanes),
        lanes=_lanes(core.at("vector_unit"), sublanes),
        cores=cores,
        link=_link(root),
    )


def _node(value: Value) -> str:
    text = value.text().strip().lower().removesuffix("nm").strip()
    if not text.replace(".", "", 1).isdigit():
        raise value.fault("a process node such as `7nm`")
    return f"{text} nm"


def _dram(device: Value) -> Part:
    io = device.at("io")
    names = ("memory_channel_active_count", "pin_count_per_channel", "bandwidth_per_pin_bit")
    channels, pins, rate = (io.at(name).positive() for name in names)
    kind = device.at("memory_protocol").one_of(MEMORIES, "memory")
    capacity = device.at("memory", "total_capacity_GB").positive()
    return Part(
        "mem",
        (
            ("kind", Said(kind, "device.memory_protocol")),
            ("capacity", Said(quantity(capacity * 1e9, "B"), "device.memory.total_capacity_GB")),
            ("bandwidth", Said(quantity(channels * pins * rate / 8, "B/s"), f"device.io: {' x '.join(names)} / 8")),
        ),
    )


def _buffer(io: Value) -> Part:
    capacity = io.at("global_buffer_MB").positive() * 2**20
    moved = io.at("global_buffer_bandwidth_per_cycle_byte")
    width = Said(quantity(moved.positive(), "B/cycle"), moved.path)
    return Part(
        "global",
        (
            ("capacity", Said(quantity(int(capacity), "B"), "device.io.global_buffer_MB x 2^20")),
            ("dma_read", width),
            ("dma_write", width),
        ),
    )


def _sram(core: Value, sublanes: int) -> Part:
    """Its ports are not told: as wide as the arrays beside it take at full rate."""
    array = core.at("systolic_array")
    rows, cols = array.at("array_height").whole(), sublanes * array.at("array_width").whole()
    word = int(array.at("data_type").one_of(BITS, "data type")) / 8
    assumed = "assumed: what the arrays take at full rate"
    return Part(
        "local",
        (
            ("capacity", Said(quantity(core.at("SRAM_KB").positive() * 1024, "B"), "core.SRAM_KB x 1024")),
            ("input", Said(quantity(rows * word, "B/cycle"), assumed)),
            ("weight", Said(quantity(cols * word, "B/cycle"), assumed)),
            ("psum_read", Said(quantity(4 * cols, "B/cycle"), assumed)),
            ("psum_write", Said(quantity(4 * cols, "B/cycle"), assumed)),
            ("dma_read", Said(quantity((rows + cols) * word, "B/cycle"), assumed)),
            ("dma_write", Said(quantity(4 * cols, "B/cycle"), assumed)),
        ),
    )


def _array(array: Value, sublanes: int) -> Part:
    if array.has("mac_per_cycle") and array.at("mac_per_cycle").number() != 1:
        message = "an element of our arrays multiplies once per cycle"
        raise Diag("bad-document", message, array.at("mac_per_cycle").span, hint="write a larger array instead")
    return Part(
        "sa",
        (
            ("rows", Said(quantity(array.at("array_height").whole()), "systolic_array.array_height")),
            ("cols", Said(quantity(sublanes * array.at("array_width").whole()), "array_width x sublane_count")),
            ("operand_bits", Said(array.at("data_type").one_of(BITS, "data type"), "systolic_array.data_type")),
        ),
    )


def _lanes(vector: Value, sublanes: int) -> Part:
    """A lane of ours does a multiply-add, two floating-point operations, per cycle."""
    flops = sublanes * vector.at("vector_width").whole() * vector.at("flop_per_cycle").positive()
    vector.at("data_type").one_of(BITS, "data type")
    found = [("lanes", Said(quantity(max(1, int(flops // 2))), "vector_width x flop_per_cycle / 2 x sublane_count"))]
    for ours, theirs in (("integer_lanes", "int32_count"), ("double_lanes", "fp64_count")):
        if vector.has(theirs):
            found.append((ours, Said(quantity(sublanes * vector.at(theirs).whole(0)), f"{theirs} x sublane_count")))
    return Part("vu", tuple(found))


def _link(root: Value) -> Part | None:
    if not root.has("interconnect", "link", "bandwidth_per_direction_byte"):
        return None
    link = root.at("interconnect", "link")
    count = root.at("interconnect", "link_count_per_device").whole()
    rate = link.at("bandwidth_per_direction_byte").positive()
    found = [
        ("count", Said(quantity(count), "interconnect.link_count_per_device")),
        ("bandwidth", Said(quantity(rate, "B/s"), "interconnect.link.bandwidth_per_direction_byte")),
    ]
    if link.has("latency_second"):
        found.append(("latency", Said(quantity(link.at("latency_second").number(), "s"), "link.latency_second")))
    return Part("link", tuple(found))
