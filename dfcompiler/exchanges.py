"""What an exchange between devices costs on the links of a chip.

Every device reaches every other at the full bandwidth of its links, each way, as through a switch; exchanges take
the links in turn. An algorithm of n steps that brings b bytes in takes n latencies and b over the bandwidth, and the
fastest of those that `collectives.traffic` reads from the op is taken. Beside that, operands come from DRAM once and
results go there once. Bytes on their way stay in the link, and additions are done as they arrive: neither is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from dfcompiler.collectives import bytes_of, ways_of
from dfcompiler.diagnostics import Diag
from dfcompiler.graph import Graph, Node
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import Interconnect, Memory
from dfcompiler.tiling import Tiling

RESOLUTION = 16  # shares of the DRAM's bandwidth are reserved in sixteenths


@dataclass(frozen=True)
class Links:
    """The links of a chip as one: bytes per second each way, seconds per step, energy of a byte sent and received."""

    part: str
    bytes_per_s: float
    latency_s: float
    pj_per_byte: float


def links_of(chip: Chip) -> Links:
    """What a chip has between itself and others; raises Diag `no-link` where it has nothing."""
    ways = [p.template for p in chip.links if isinstance(p.template, Interconnect)]
    if not ways:
        hint = "give it a `part link: link { bandwidth = 64 GB/s }` and connect that, or leave the devices out"
        raise Diag("no-link", f"`{chip.name}` has no link to other chips", chip.span, hint=hint)
    return Links(
        chip.links[0].name,
        chip.link_bytes_per_s,
        max(float(w.latency_s(chip.clock_hz)) for w in ways),
        max(float(w.pj_per_byte(chip.tech)) for w in ways),
    )


def price_exchange(graph: Graph, node: Node, chip: Chip) -> Tiling:
    """The price of an exchange: of the DRAM it takes as small a share as leaves the links the bottleneck."""
    links, dram = links_of(chip), chip.dram
    assert isinstance(dram.template, Memory)
    ways, (taken, made) = ways_of(graph, node), bytes_of(graph, node)
    seconds, brought = min(((w.seconds(links.latency_s, links.bytes_per_s), w.bytes) for w in ways), default=(0.0, 0.0))
    read = taken if ways else made  # of what stays on its device, no more is read than is kept
    reading = read / float(dram.template.read_bytes_per_cycle(chip.clock_hz))
    writing = made / float(dram.template.write_bytes_per_cycle(chip.clock_hz))
    busy = reading + writing if dram.template.half_duplex() else max(reading, writing)
    linked = seconds * chip.clock_hz
    share = min(RESOLUTION, max(1, ceil(RESOLUTION * busy / linked))) / RESOLUTION if linked else 1.0
    return Tiling(
        share=share,
        cycles=max(1.0, linked, busy / share),
        compute_cycles=0.0,
        helper_cycles=0.0,
        memory_cycles=busy,
        dram_bytes=read + made,
        level_bytes={dram.name: read + made, links.part: brought},
        tile={},
        ways={},
        order=(),
        keeps=(),
        room_bytes=0.0,
        room_above_bytes=0.0,
    )
