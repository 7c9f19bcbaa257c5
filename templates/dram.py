"""DRAM beside the chip: bandwidth, capacity, energy, price, and the area of its PHYs and controllers on the die.

`bandwidth` is the data sheet's peak. What of it is reached is the product of three parts: `efficiency`, which is for
the user to say (1.0 claims the rest); the time that refreshes leave, 1 - tRFC / tREFI, where refreshes close all
banks (those of single banks hide behind the others); and what activations allow, four of them in a window tFAW in
each part of a channel, each for `run` bytes in one row. Reads and writes share the bus unless `duplex` is full.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dfcompiler.hardware.axes import Array, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech, figures
from dfcompiler.hardware.template import Memory, Ports, ceil_div

# Energy of a byte that stays in its bank: activation is 1.21 of 3.92 pJ/bit of HBM2 (Fine-Grained DRAM, MICRO 2017);
# with the way to the bank's edge: our estimate.
IN_BANK = 0.45

KINDS = figures(Path(__file__).with_suffix(".toml"))


class Dram(Memory, name="dram"):
    """All DRAM of a chip, as one memory."""

    kind: str = axis("hbm2e", one_of(*KINDS), doc="decides energy, area and price")
    capacity: int = axis(80 * 10**9, ints(2**20, 2**50), unit="B", doc="bytes in all")
    bandwidth: float = axis(2e12, reals(1e6, 1e16), unit="B/s", doc="data-sheet peak, all channels together")
    efficiency: float = axis(1.0, reals(0.01, 1.0), doc="reachable part of the peak; 1.0 is the data sheet")
    refresh: str = axis("per-bank", one_of("per-bank", "all-bank"), doc="what a refresh closes; of one bank it hides")
    run: int = axis(1024, ints(8, 2**20), unit="B", doc="bytes in turn of one row: 1 KiB is a whole row of HBM")
    inside: float = axis(0.0, reals(0, 1e17), unit="B/s", doc="of all banks together, for units in them; 0: no units")
    duplex: str = axis("half", one_of("half", "full"), doc="half: reads and writes share the bandwidth")

    def capacity_bytes(self) -> Array:
        return self.capacity

    def read_bytes_per_cycle(self, clock_hz: Array) -> Array:
        most: Array = np.maximum(self.outside_bytes_per_cycle(clock_hz), self.inside / clock_hz)
        return most

    def outside_bytes_per_cycle(self, clock_hz: Array) -> Array:
        one: Array = self.bandwidth * self.efficiency * self.refresh_efficiency() * self.page_efficiency() / clock_hz
        return one

    def write_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.read_bytes_per_cycle(clock_hz)

    def refresh_efficiency(self) -> Array:
        """The part of time in which no refresh of all banks runs."""
        lost = np.where(np.asarray(self.refresh) == "all-bank", self.channel("trfc_ns") / self.channel("trefi_ns"), 0.0)
        left: Array = 1 - lost
        return left

    def page_efficiency(self) -> Array:
        """The part of the peak that activations can feed with `run` bytes each."""
        activations_per_ns = 4 * self.channel("subchannels") / self.channel("tfaw_ns")
        fed: Array = np.minimum(1.0, activations_per_ns * self.run / self.channel("channel_gbps"))
        return fed

    def ports(self, clock_hz: Array) -> Ports:
        one = self.read_bytes_per_cycle(clock_hz)
        return Ports(one, one, one, one)

    def channels(self) -> Array:
        """How many channels the peak bandwidth and the capacity take."""
        fast = ceil_div(self.bandwidth, self.channel("channel_gbps") * 1e9)
        large = ceil_div(self.capacity, self.channel("channel_gb") * 1e9)
        most: Array = np.maximum(fast, large)
        return most

    def area_mm2(self, tech: Tech) -> Array:
        controller = tech.logic_mm2(self.channel("controller_mtr") * 1e6)
        return self.channels() * (self.channel("phy_mm2") + controller)

    def pj_per_byte(self, tech: Tech) -> Array:
        return 8 * self.channel("pj_per_bit")

    def inside_pj_per_byte(self, tech: Tech) -> Array:
        return IN_BANK * self.pj_per_byte(tech)

    def usd(self, tech: Tech) -> Array:
        each = [tech.value("usd_per_gb", kind) for kind in np.ravel(self.kind)]
        return self.capacity / 1e9 * (each[0] if np.ndim(self.kind) == 0 else np.reshape(each, np.shape(self.kind)))

    def footprint_mm2(self) -> Array:
        return self.channels() * self.channel("footprint_mm2")

    def idle_w(self) -> Array:
        return self.channels() * self.channel("idle_w")

    def off_chip(self) -> bool:
        return True

    def half_duplex(self) -> bool:
        return self.duplex == "half"

    def channel(self, figure: str) -> Array:
        """A figure of one channel of the kind; 0 where the kind has none (a footprint on an interposer)."""
        if np.ndim(self.kind) == 0:
            return _figure(self.kind, figure)
        return np.array([_figure(kind, figure) for kind in np.ravel(self.kind)]).reshape(np.shape(self.kind))


def _figure(kind: str, name: str) -> float:
    found = KINDS[kind].get(name)
    return found.value if found else 0.0
