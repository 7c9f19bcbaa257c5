"""Multipliers at the sense amplifiers of a DRAM bank: matrix-vector products where the weights lie.

Notation: one contraction `[M, K] x [K, N]` in one bank, a column of C bytes (e weights of b bits), a row of R bytes,
timings tRCD, tRAS, tRP, tCCD in cycles of the chip's clock, L lanes.

The K weights of an output lie in turn, filled up to whole columns, outputs behind one another: N * ceil(K*b / C)
columns in rows of R / C. A row is opened once; every column of it is read once per row of the input, which takes
p = max(tCCD, ceil(e / L) * digits) cycles. So a row with c columns takes

  max(tRAS, tRCD + M*c*p) + tRP

and refreshes, between rows, leave 1 - tRFC / tREFI of the time.
Inputs arrive by the input port, each once per output, as lanes hold none: M*K*N*a / input port bounds the whole from
below. Sums stay in the bank until they are done. Modelled after GDDR6-AiM (Lee et al., ISSCC 2022) and HBM-PIM
(Kwon et al., ISSCC 2021); commands that a controller issues to several banks are taken as free.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dfcompiler.hardware.axes import Array, axis, bits, ints, reals
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Compute, Contraction, Ports, Tile, ceil_div, classes, digits, slowest

DRAM_LOGIC = 10.0  # area of logic in a DRAM process over that of logic: Devaux, Hot Chips 2019 (UPMEM), about 10

CYCLES = reals(0, 1e6)


class PimBank(Compute, name="pim-bank"):
    """Multiply-accumulates only. Stands on the die of the DRAM: its area is in that process, and not the chip's."""

    lanes: int = axis(16, ints(1, 4096), unit="lane", doc="multiply-accumulates per cycle: 16 of bf16 in AiM")
    operand_bits: int = axis(16, bits(4, 8, 16, 32), unit="bit", doc="width of the multipliers' operands")
    acc_bits: int = axis(32, bits(16, 24, 32, 48, 64), unit="bit", doc="width of the accumulators")
    column: int = axis(32, ints(1, 4096), unit="B", doc="bytes of one column access")
    row: int = axis(2048, ints(64, 2**16), unit="B", doc="bytes of an open row: 2 KiB in GDDR6")
    rcd: float = axis(14.0, CYCLES, unit="cycle", doc="tRCD, activate to read: ramulator2 HBM2, 14 ns at 1 GHz")
    ras: float = axis(34.0, CYCLES, unit="cycle", doc="tRAS, activate to precharge: ramulator2 HBM2, 34 ns at 1 GHz")
    rp: float = axis(14.0, CYCLES, unit="cycle", doc="tRP, precharge to activate: ramulator2 HBM2, 14 ns at 1 GHz")
    ccd: float = axis(1.0, reals(0.25, 1e6), unit="cycle", doc="tCCD, read to read: 1 ns in AiM")
    refresh: float = axis(0.0, reals(0, 0.9), doc="part of time that refreshes of all banks take: tRFC / tREFI")
    stages: int = axis(
        6, ints(0, 64), unit="stage", doc="from a column to its sum: multiply, tree of adders, accumulate"
    )

    def runs(self, kind: str) -> bool:
        return kind == "mac"

    def cycles(self, tile: Tile, ports: Ports) -> Array:
        total: Array = 0.0
        for contraction in tile.contractions:
            total = total + contraction.batch * self._product(contraction, tile, ports)
        return total / (1 - self.refresh)

    def _product(self, x: Contraction, tile: Tile, ports: Ports) -> Array:
        """Cycles of one product: whole rows and the ragged one."""
        passes = digits(tile.a_bits, self.operand_bits) * digits(tile.b_bits, self.operand_bits)
        weights = np.maximum(1, self.column * 8 // tile.b_bits)
        one = np.maximum(self.ccd, ceil_div(weights, self.lanes) * passes)
        columns = x.n * ceil_div(x.k, weights)
        total: Array = 0.0
        for rows, c in classes(columns, np.maximum(1, self.row // self.column)):
            open_cycles = slowest(self.ras, self.rcd + x.m * c * one)
            total = total + rows * (open_cycles + self.rp)
        return slowest(total, x.m * x.k * x.n * (tile.a_bits / 8) / ports.input)

    def local_bytes(self, tile: Tile) -> Array:
        """An input per multiply-accumulate, weights once, sums once."""
        total: Array = 0.0
        for x in tile.contractions:
            once = x.k * x.n * tile.b_bits + x.m * x.n * tile.acc_bits
            total = total + (x.macs * tile.a_bits + x.batch * once) / 8
        return total

    def fill_cycles(self) -> Array:
        return self.stages + self.rcd

    def peak_macs_per_cycle(self) -> Array:
        return self.lanes

    def peak_ops_per_cycle(self, kind: str) -> Array:
        return self.lanes if kind == "mac" else 0

    def granule(self) -> Mapping[str, int]:
        return {"m": 1, "n": 1, "k": self.lanes}

    def area_mm2(self, tech: Tech) -> Array:
        """Multipliers and one accumulator, as if of the chip's node, times what logic takes more in a DRAM process."""
        registers = tech.logic_mm2(self.acc_bits * tech.value("logic", "transistors_per_flip_flop"))
        return DRAM_LOGIC * (self.lanes * tech.mac_mm2(self.operand_bits) + registers)

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        return tech.pj_per_mac(bits)

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        return self.no_such_op(kind)

    def off_die(self) -> bool:
        return True
