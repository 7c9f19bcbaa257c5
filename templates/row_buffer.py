"""The open row of a DRAM bank with the registers beside it: what a unit in the bank works from.

A row is in it as soon as it is open: moving a byte of it takes no more than the column access that the bank's unit
pays. Inputs come from outside, broadcast to all banks.
"""

from __future__ import annotations

from dfcompiler.hardware.axes import Array, axis, ints, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Memory, Ports

WIDTH = reals(1 / 8, 2**20)  # B/cycle


class RowBuffer(Memory, name="row-buffer"):
    """One bank's. Its sense amplifiers are those of the DRAM, so it takes no area of the chip's die."""

    capacity: int = axis(4096, ints(64, 2**24), unit="B", doc="the open row, and inputs and sums beside it")
    column: float = axis(32.0, WIDTH, unit="B/cycle", doc="from the sense amplifiers, and back into them")
    input: float = axis(32.0, WIDTH, unit="B/cycle", doc="port of the inputs, which all banks receive")

    def capacity_bytes(self) -> Array:
        return self.capacity

    def read_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.column

    def write_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.column

    def ports(self, clock_hz: Array) -> Ports:
        return Ports(self.input, self.column, self.column, self.column)

    def area_mm2(self, tech: Tech) -> Array:
        return 0.0 * self.capacity

    def off_die(self) -> bool:
        return True

    def pj_per_byte(self, tech: Tech) -> Array:
        """As an SRAM of its size: registers and the local data lines (our estimate)."""
        return tech.sram_pj_per_byte(self.capacity)
