"""On-chip SRAM with separate ports: towards a unit (input, weight, partial sums) and towards other memories.

Every port moves its width each cycle, at the same time as the others; `banks` macros of equal size share
the capacity, and an access opens one of them, so the energy is that of a macro of capacity / banks.
Area is that of the macros over the part of a memory that is macros (`Tech.sram_mm2`); banks may have cells with
several ports (a register file), or be slices of a cache, each with tags, miss handling and atomics.
"""

from __future__ import annotations

import numpy as np

from dfcompiler.hardware.axes import Array, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Memory, Ports

WIDTH = reals(1 / 8, 2**20)  # B/cycle: a bit to a megabyte


class Sram(Memory, name="sram"):
    """A memory on the die that the compiler manages."""

    capacity: int = axis(2**21, ints(64, 2**33), unit="B", doc="bytes of one instance")
    banks: int = axis(1, ints(1, 2**16), unit="bank", doc="macros that share the capacity")
    cell_ports: int = axis(1, ints(1, 16), unit="port", doc="of a cell: reads and writes of one bank in one cycle")
    pinned: int = axis(0, ints(0, 2**33), unit="B", doc="set aside for tensors that stay from one op to the next")
    cache: str = axis("no", one_of("yes", "no"), doc="every bank is a slice of a cache: tags, misses, atomics")
    input: float = axis(128.0, WIDTH, unit="B/cycle", doc="port of the streamed operand")
    weight: float = axis(128.0, WIDTH, unit="B/cycle", doc="port of the stationary operand")
    psum_read: float = axis(256.0, WIDTH, unit="B/cycle", doc="port that reads partial sums")
    psum_write: float = axis(256.0, WIDTH, unit="B/cycle", doc="port that writes partial sums and results")
    dma_read: float = axis(128.0, WIDTH, unit="B/cycle", doc="to all other memories together")
    dma_write: float = axis(128.0, WIDTH, unit="B/cycle", doc="from all other memories together")

    def capacity_bytes(self) -> Array:
        return self.capacity

    def pinned_bytes(self) -> Array:
        return self.pinned

    def read_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.dma_read

    def write_bytes_per_cycle(self, clock_hz: Array) -> Array:
        return self.dma_write

    def ports(self, clock_hz: Array) -> Ports:
        return Ports(self.input, self.weight, self.psum_read, self.psum_write)

    def area_mm2(self, tech: Tech) -> Array:
        slices = np.where(np.asarray(self.cache) == "yes", self.banks, 0)
        logic = tech.logic_mm2(slices * tech.value("logic", "transistors_per_cache_slice"))
        return tech.sram_mm2(self.capacity, self.banks, self.cell_ports) + logic

    def pj_per_byte(self, tech: Tech) -> Array:
        return tech.sram_pj_per_byte(self.capacity / self.banks)
