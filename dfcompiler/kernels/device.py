"""What a kernel model needs to know of a GPU: a handful of figures, all of them on its data sheet."""

from __future__ import annotations

from dataclasses import dataclass

from dfcompiler.hardware.axes import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import KernelCompute

L2_PORT_BYTES = 64  # per clock and SM, between L2 and one SM: NVIDIA A100 whitepaper (2020), 5,120 B/clk over 108 SMs
THREADS = 2048  # resident per SM: CUDA C programming guide, compute capability 8.0 and 9.0


@dataclass(frozen=True)
class Device:
    """A GPU. Every field is a scalar, or an array that broadcasts with the rows that are priced."""

    sms: Array
    clock_hz: Array  # the one behind the peak of the data sheet
    macs: Array  # multiply-accumulates per clock and SM, dense, for the width of the operands
    dram_bytes_per_s: Array
    l2_bytes: Array
    lanes: Array  # FP32 operations per clock and SM
    specials: Array  # exp, rsqrt and their like per clock and SM

    @property
    def macs_per_s(self) -> Array:
        """Peak of all SMs."""
        return self.sms * self.clock_hz * self.macs

    @property
    def l2_bytes_per_s(self) -> Array:
        """All ports of the L2 together."""
        return L2_PORT_BYTES * self.sms * self.clock_hz


def device_of(unit: Unit, template: KernelCompute, bits: int) -> Device:
    """A unit's instances as one device, for operands of so many bits; its L2 is the memory below the DRAM."""
    lanes, specials = template.lanes_per_cycle()
    l2 = unit.levels[1]
    return Device(
        sms=float(unit.instances),
        clock_hz=unit.clock_hz,
        macs=template.peak_macs_at(bits),
        dram_bytes_per_s=l2.source_bytes_per_cycle * unit.clock_hz,
        l2_bytes=float(l2.capacity_bytes),
        lanes=lanes,
        specials=specials,
    )
