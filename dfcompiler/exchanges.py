"""What an exchange between devices costs on the links of a chip.

Exchanges take the links in turn. What an op asks for is read from its text by `collectives.demands`; which algorithm
does that, and its time, is `fabrics.choose`'s. Beside that, operands come from DRAM once and results go there once.
Bytes on their way stay in the link, and additions are done as they arrive: neither is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from dfcompiler.collectives import bytes_of, demands_of
from dfcompiler.diagnostics import Diag
from dfcompiler.fabrics import Fabric, exchange_time, fewest_bytes
from dfcompiler.graph import Graph, Node
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.plurals import least, most, plain
from dfcompiler.hardware.template import Interconnect, Memory
from dfcompiler.tiling import RESOLUTION, Tiling


@dataclass(frozen=True)
class Links:
    """The links of a chip as one, and the energy of a byte sent and received."""

    part: str
    fabric: Fabric
    pj_per_byte: float


def links_of(chip: Chip) -> Links:
    """What a chip has between itself and others; raises Diag `no-link` where it has nothing, and `unlike-links` where
    links of several kinds cannot work as one."""
    ways = [p.template for p in chip.links if isinstance(p.template, Interconnect)]
    if not ways:
        hint = "give it a `part link: link { bandwidth = 64 GB/s }` and connect that, or leave the devices out"
        raise Diag("no-link", f"`{chip.name}` has no link to other chips", chip.span, hint=hint)
    every = [w.fabric(chip.clock_hz) for w in ways]
    slowest = max(every, key=lambda f: f.latency_s)
    if len({(f.topology, f.half_duplex, f.library) for f in every}) > 1:
        names = ", ".join(f"`{p.name}`" for p in chip.links)
        hint = "give them one topology, duplex and library, or leave some out"
        raise Diag("unlike-links", f"{names} of `{chip.name}` cannot carry one exchange", chip.links[1].span, hint=hint)
    fabric = replace(slowest, bytes_per_s=sum(f.bytes_per_s for f in every), span=chip.links[0].span)
    return Links(chip.links[0].name, fabric, max(float(w.pj_per_byte(chip.tech)) for w in ways))


def taken_by(graph: Graph, node: Node, fabric: Fabric) -> tuple[float, float, str]:
    """Seconds of an exchange, bytes that cross the busiest port of a device, and the algorithms."""
    found, devices = demands_of(graph, node)
    times = [exchange_time(d.pattern, devices, d.bytes, fabric) for d in found]
    return sum(s for s, _, _ in times), sum(b for _, _, b in times), "+".join(dict.fromkeys(a for _, a, _ in times))


def least_bytes(graph: Graph, node: Node, chip: Chip) -> float:
    """The fewest bytes that any algorithm moves through a device's busiest port."""
    found, devices = demands_of(graph, node)
    return sum(fewest_bytes(d.pattern, devices, d.bytes, links_of(chip).fabric) for d in found)


def stored_bytes(graph: Graph, node: Node, algorithm: str) -> tuple[float, float]:
    """Bytes that an exchange reads from DRAM and writes there; of what stays on its device, no more is read than is
    kept."""
    taken, made = bytes_of(graph, node)
    return taken if algorithm else made, made


def memory_cycles(chip: Chip, read: float, made: float) -> float:
    """Cycles in which the DRAM is busy with these bytes."""
    dram = chip.dram.template
    assert isinstance(dram, Memory)
    outside = plain(dram.outside_bytes_per_cycle(chip.clock_hz))
    reading = read / outside
    writing = made / least(outside, plain(dram.write_bytes_per_cycle(chip.clock_hz)))
    found: float = reading + writing if dram.half_duplex() else most(reading, writing)
    return found


def price_exchange(graph: Graph, node: Node, chip: Chip) -> Tiling:
    """The price of an exchange: of the DRAM it takes as small a share as leaves the links the bottleneck."""
    links, dram = links_of(chip), chip.dram
    seconds, brought, algorithm = taken_by(graph, node, links.fabric)
    read, made = stored_bytes(graph, node, algorithm)
    busy = memory_cycles(chip, read, made)
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
