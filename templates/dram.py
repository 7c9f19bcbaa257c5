"""DRAM beside the chip: bandwidth, capacity, energy, and the area of its PHYs and controllers on the die.

`bandwidth` is the data sheet's peak and `efficiency` the part of it that long bursts reach; 1.0 claims the
peak. Reads and writes share the bus unless `duplex` is full.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dfcompiler.hardware.axes import Array, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Memory, Ports, ceil_div


class Kind(NamedTuple):
    """One channel (an HBM stack, a GDDR device, a 32-bit DDR channel) of a kind of DRAM."""

    channel_gbps: float  # GB/s of one channel, peak
    pj_per_bit: float  # array, I/O and PHY of both ends
    phy_mm2: float  # PHY on the die, which does not shrink with the node
    controller_mtr: float  # controller on the die, in millions of transistors


# channel_gbps: JEDEC or vendor data rate per pin x width / 8 bits.
# PHY and controller of HBM2e and DDR5: LLMCompass (ISCA 2024), cost_model.py, per 1024-bit stack and per
# 32-bit channel. Other HBM: the same PHY per stack, estimate (HBM4 twice as
# wide, so twice). GDDR and LPDDR: as DDR5 per 32 bit, estimate.
# pJ/bit of HBM2 and GDDR6: TPUv4i (ISCA 2021, table 2): 250-450 and 350-480 pJ per 64 bit; HBM2 as 3.9,
# which is also Fine-Grained DRAM (MICRO 2017), GDDR6 as the top of the range.
KINDS = {
    "hbm2": Kind(256, 3.9, 10.45, 552.743),  # JESD235B: 2.0 Gb/s x 1024
    "hbm2e": Kind(460.8, 3.9, 10.45, 552.743),  # 3.6 Gb/s x 1024 (SK hynix, 2019); energy as HBM2, estimate
    "hbm3": Kind(819.2, 3.9, 10.45, 552.743),  # JESD238: 6.4 Gb/s x 1024; energy as HBM2, estimate
    "hbm3e": Kind(1228.8, 3.9, 10.45, 552.743),  # 9.6 Gb/s x 1024 (Micron, 2024); energy as HBM2, estimate
    "hbm4": Kind(2048, 3.5, 20.9, 1105.486),  # JESD270-4: 8 Gb/s x 2048; energy 10 % below HBM3, estimate
    "gddr6": Kind(64, 7.5, 1.45, 90.4464),  # JESD250: 16 Gb/s x 32
    "gddr6x": Kind(84, 7.25, 1.45, 90.4464),  # 21 Gb/s x 32, 7.25 pJ/bit: Micron technical brief GDDR6X (2020)
    "gddr7": Kind(128, 6.0, 1.45, 90.4464),  # JESD239: 32 Gb/s x 32; energy 20 % below GDDR6, estimate
    "lpddr5": Kind(25.6, 5.0, 1.45, 90.4464),  # JESD209-5: 6.4 Gb/s x 32; energy estimate
    "lpddr5x": Kind(34.1, 4.0, 1.45, 90.4464),  # JESD209-5B: 8.533 Gb/s x 32; energy 20 % below LPDDR5, estimate
    "ddr5": Kind(19.2, 15.0, 1.45, 90.4464),  # JESD79-5: 4.8 Gb/s x 32; DDR4 20 pJ/bit (TPUv4i), -25 %, estimate
}


class Dram(Memory, name="dram"):
    """All DRAM of a chip, as one memory."""

    kind: str = axis("hbm2e", one_of(*KINDS), doc="decides energy and area")
    capacity: int = axis(80 * 10**9, ints(2**20, 2**50), unit="B", doc="bytes in all")
    bandwidth: float = axis(2e12, reals(1e6, 1e16), unit="B/s", doc="data-sheet peak, all channels together")
    efficiency: float = axis(1.0, reals(0.01, 1.0), doc="reachable part of the peak; 1.0 is the data sheet")
    duplex: str = axis("half", one_of("half", "full"), doc="half: reads and writes share the bandwidth")

    def capacity_bytes(self) -> Array:
        return self.capacity

    def read_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.bandwidth * self.efficiency / clock_hz

    def write_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.read_bytes_per_cycle(clock_hz)

    def ports(self, clock_hz: Array) -> Ports:
        one = self.read_bytes_per_cycle(clock_hz)
        return Ports(one, one, one, one)

    def channels(self) -> Array:
        """How many channels the peak bandwidth takes."""
        return ceil_div(self.bandwidth, self._of_kind("channel_gbps") * 1e9)

    def area_mm2(self, tech: Tech) -> Array:
        controller = tech.logic_mm2(self._of_kind("controller_mtr") * 1e6)
        return self.channels() * (self._of_kind("phy_mm2") + controller)

    def pj_per_byte(self, tech: Tech) -> Array:
        return 8 * self._of_kind("pj_per_bit")

    def off_chip(self) -> bool:
        return True

    def half_duplex(self) -> bool:
        return self.duplex == "half"

    def _of_kind(self, field: str) -> Array:
        if np.ndim(self.kind) == 0:
            value: float = getattr(KINDS[self.kind], field)
            return value
        return np.array([getattr(KINDS[kind], field) for kind in np.ravel(self.kind)]).reshape(np.shape(self.kind))
