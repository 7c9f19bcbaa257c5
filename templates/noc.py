"""The network on chip: what carries bytes from a memory to the memories (or units) behind it."""

from __future__ import annotations

from dfcompiler.hardware.axes import Array, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Interconnect


class Noc(Interconnect, name="noc"):
    """A crossbar without contention between endpoints: each endpoint has its own bandwidth, each way.

    Area: every bit of an endpoint crosses every bit of the trunk, so it grows with the product of both widths.
    """

    bandwidth: float = axis(128.0, reals(1 / 8, 2**20), unit="B/cycle", doc="of one endpoint, each way")
    trunk: float = axis(2048.0, reals(1 / 8, 2**24), unit="B/cycle", doc="of all ports of the memory, each way")
    multicast: str = axis("no", one_of("yes", "no"), doc="one read above can reach many endpoints at once")
    latency: int = axis(20, ints(0, 10**6), unit="cycle", doc="first byte in to first byte out; our estimate")
    distance: float = axis(1e7, reals(0, 1e8), unit="nm", doc="mean way of a byte: half a large die")

    def bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.bandwidth

    def multicasts(self) -> bool:
        return self.multicast == "yes"

    def latency_s(self, clock_hz: Array) -> Array:
        return self.latency / clock_hz

    def area_mm2(self, tech: Tech) -> Array:
        crosspoints = 8 * self.bandwidth * 8 * self.trunk
        return tech.logic_mm2(crosspoints * tech.value("logic", "transistors_per_crosspoint"))

    def pj_per_byte(self, tech: Tech) -> Array:
        return 8 * self.distance / 1e6 * tech.value("wire", "pj_per_bit_mm")
