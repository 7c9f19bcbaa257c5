"""A link from chip to chip."""

from __future__ import annotations

from dfcompiler.hardware.axes import Array, axis, ints, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Interconnect, ceil_div

# Constants of one NVLink 3, the unit in which links are sized.
LINK_BYTES_PER_S = 25e9  # each way: A100 data sheet, 12 links = 600 GB/s both ways
LINK_PHY_MM2 = 1.888  # LLMCompass (ISCA 2024), cost_model.py: on the die, does not shrink with the node
LINK_CONTROLLER_TRANSISTORS = 74.632e6  # LLMCompass (ISCA 2024), cost_model.py


class Link(Interconnect, name="link"):
    """`count` equal links; a byte takes one of them."""

    bandwidth: float = axis(64e9, reals(1e6, 1e14), unit="B/s", doc="of one link, each way")
    latency: float = axis(1e-6, reals(0, 1), unit="s", doc="first byte in to first byte out; our estimate")
    count: int = axis(1, ints(1, 1024), unit="link", doc="links of one chip")
    pj_per_bit: float = axis(8.0, reals(0, 1000), unit="pJ", doc="SerDes of both ends; our estimate")

    def bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.count * self.bandwidth / clock_hz

    def multicasts(self) -> bool:
        return False

    def latency_s(self, clock_hz: Array) -> Array:
        return self.latency

    def area_mm2(self, tech: Tech) -> Array:
        one = LINK_PHY_MM2 + tech.logic_mm2(LINK_CONTROLLER_TRANSISTORS)
        return self.count * ceil_div(self.bandwidth, LINK_BYTES_PER_S) * one

    def pj_per_byte(self, tech: Tech) -> Array:
        return 8 * self.pj_per_bit

    def between_chips(self) -> bool:
        return True
