"""A streaming multiprocessor: tensor cores, lanes and special-function units around a shared memory.

Whole kernels are priced, not tiles: `kernels` names the generation of libraries that runs on it, whose models are in
`dfcompiler/kernels` and whose constants in `templates/kernels`. The clock of the chip is the one behind its peak.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dfcompiler.hardware.axes import Array, axis, ints, one_of, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import KernelCompute, Ports, Tile, digits, slowest
from dfcompiler.kernels import Scale, generations

SPECIAL = frozenset("div exp log sin cos tanh rsqrt sqrt".split())
PLAIN = frozenset("mac add sub mul neg abs max min maximum minimum cmp select cast floor mod".split())


class GpuSm(KernelCompute, name="gpu-sm"):
    """One SM (or compute unit) of a GPU. Its registers and shared memory bound how many thread blocks are resident."""

    macs: int = axis(1024, ints(1, 2**16), unit="MAC/cycle", doc="dense, 16-bit operands, 32-bit sums")
    macs_8bit: int = axis(2048, ints(1, 2**17), unit="MAC/cycle", doc="dense, 8-bit operands")
    macs_4bit: int = axis(2048, ints(1, 2**18), unit="MAC/cycle", doc="dense, 4-bit operands")
    macs_32bit: int = axis(
        512, ints(1, 2**15), unit="MAC/cycle", doc="dense, 32-bit operands (TF32 where there is one)"
    )
    lanes: int = axis(64, ints(1, 4096), unit="lane", doc="FP32 operations per cycle")
    specials: int = axis(16, ints(1, 1024), unit="lane", doc="exp, rsqrt and their like per cycle")
    registers: int = axis(262144, ints(1024, 2**24), unit="B", doc="register file")
    kernels: str = axis("sm80", one_of(*generations()), doc="generation of kernels: a file of templates/kernels")
    launch_scale: float = axis(1.0, reals(0.01, 100), doc="launch and start-up times over those of the generation")
    tensor_scale: float = axis(1.0, reals(0.01, 100), doc="reached part of the tensor peak over that of the generation")
    dram_scale: float = axis(1.0, reals(0.01, 100), doc="reached part of the bandwidth over that of the generation")

    def runs(self, kind: str) -> bool:
        return kind in PLAIN or kind in SPECIAL

    def cycles(self, tile: Tile, ports: Ports) -> Array:
        """At the peak of tensor cores and lanes side by side: a bound of what a kernel takes."""
        macs = sum((c.macs for c in tile.contractions), start=0.0)
        vector = sum((n / self.peak_ops_per_cycle(kind) for kind, n in tile.vector.items()), start=0.0)
        return slowest(macs / self.peak_macs_at(max(tile.a_bits, tile.b_bits)), vector)

    def peak_macs_at(self, bits: int) -> Array:
        """Multiply-accumulates per cycle of operands of so many bits; wider than 32 in several passes."""
        rates = {4: self.macs_4bit, 8: self.macs_8bit, 16: self.macs, 32: self.macs_32bit}
        fits = next((rate for width, rate in rates.items() if bits <= width), None)
        return self.macs_32bit / digits(bits, 32) ** 2 if fits is None else fits

    def fill_cycles(self) -> Array:
        return 0

    def peak_macs_per_cycle(self) -> Array:
        return self.macs

    def peak_ops_per_cycle(self, kind: str) -> Array:
        if kind in SPECIAL:
            return self.specials
        return self.lanes if kind in PLAIN else 0

    def granule(self) -> Mapping[str, int]:
        return {"m": 16, "n": 8, "k": 16}

    def area_mm2(self, tech: Tech) -> Array:
        """Multipliers, lanes and the register file; control is in the transistors of a lane."""
        lane_mm2 = tech.mac_mm2(32) + tech.logic_mm2(tech.value("logic", "transistors_per_vector_lane"))
        registers = tech.sram_mm2(self.registers, 4, 4)  # slices; three operands and a result are ports
        return self.macs * tech.mac_mm2(16) + self.lanes * lane_mm2 + registers

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        return tech.pj_per_mac(bits)

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        """As tabulated; others as so many fp32 multiply-adds as they take lane cycles (estimate)."""
        known = tech.tables.get("pj_per_op", {})
        if kind in known:
            return known[kind].value
        return np.ceil(self.lanes / self.peak_ops_per_cycle(kind)) * tech.pj_per_mac(32)

    def lanes_per_cycle(self) -> tuple[Array, Array]:
        return self.lanes, self.specials

    def generation(self) -> tuple[str, Scale]:
        return self.kernels, Scale(self.launch_scale, self.tensor_scale, self.dram_scale)
