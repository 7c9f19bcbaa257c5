"""Analog products in an array of memory cells: inputs drive the rows bit by bit, columns add up currents, ADCs read.

Notation: R rows and C columns of cells of c bits, inputs of d bits at a time, one contraction `[M, K] x [K, N]` of
a-bit inputs and b-bit weights; a weight takes s = ceil(b / c) columns next to each other, an input t = ceil(a / d)
steps. A fold is what one array holds: r <= R of K and w <= floor(C / s) of N.

An ADC of A bits tells sums up to 2^A - 1 apart, so no more than g = floor((2^A - 1) / ((2^c - 1) * (2^d - 1)))
rows drive at once (nor more than `active`): results are exact, and a narrow ADC costs time. One ADC serves `per_adc`
columns, one after the other, one conversion a cycle, so one row of the input takes

  t * ceil(r / g) * ceil(w * s / ADCs)      cycles, at least; ADCs = ceil(C / per_adc)

and a fold before that r * `write` cycles, in which its weights are written row by row; M rows of the input follow. So
weights should stay: of `arrays` side by side each holds a fold of its own, and with `resident` they hold all weights
before the step begins. Nothing else can be stationary then, and a mapping with more weights than cells is refused;
their way through the memories is counted all the same, so that a price is never too low. Inputs and sums move by the
ports: M*r*a / in and M*w*p / wr.
After ISAAC (Shafiee et al., ISCA 2016).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from dfcompiler.dtypes import parse_dtype
from dfcompiler.hardware.axes import Array, axis, ints, one_of
from dfcompiler.hardware.plurals import most
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import UNLIMITED, Compute, Contraction, Ports, Tile, ceil_div, classes, slowest

NARROWEST = 2  # bits of the narrowest integers that there are, at which the peak is taken
ADC_MM2 = 0.0012  # 8 bit at 1.28 GS/s, 32 nm: ISAAC (ISCA 2016), table 1; capacitors do not shrink: our estimate
ADC_PJ = 1.56  # 2 mW at 1.28 GS/s: ISAAC (ISCA 2016), table 1
CELL_F2 = 12.0  # square features of a cell with its transistor: our estimate
CELL_PJ = 0.001  # of one cell in one step, its row's driver included: our estimate


class CimCrossbar(Compute, name="cim-crossbar"):
    """Multiply-accumulates of integers only."""

    rows: int = axis(128, ints(1, 4096), unit="cell", doc="k is unrolled here")
    cols: int = axis(128, ints(1, 4096), unit="cell", doc="bits of n are unrolled here")
    cell_bits: int = axis(2, ints(1, 4), unit="bit", doc="of a weight in one cell")
    input_bits: int = axis(1, ints(1, 2), unit="bit", doc="of an input in one step: width of the DACs")
    adc_bits: int = axis(8, ints(6, 12), unit="bit", doc="width of the ADCs, which limits how many rows drive at once")
    per_adc: int = axis(8, ints(1, 4096), unit="column", doc="columns that one ADC serves in turn")
    active: int = axis(128, ints(1, 4096), unit="row", doc="rows that may drive at once, the cells' noise allowing")
    write: int = axis(1, ints(0, 10**6), unit="cycle", doc="to write a row of cells: 1 as SRAM, hundreds as RRAM")
    resident: str = axis("no", one_of("yes", "no"), doc="yes: all weights have been written before, none is again")
    arrays: int = axis(1, ints(1, 65536), unit="array", doc="arrays side by side, each with ADCs of its own")
    stages: int = axis(3, ints(0, 64), unit="stage", doc="sample and hold, convert, shift and add")

    def runs(self, kind: str) -> bool:
        return kind == "mac"

    def multiplies(self, dtype: str) -> bool:
        return parse_dtype(dtype).number.integer

    def weights_held(self, bits: int) -> Array:
        all_of_them = self.arrays * self.rows * (self.cols // ceil_div(bits, self.cell_bits))
        held: Array = np.where(np.asarray(self.resident) == "yes", all_of_them, UNLIMITED)
        return held

    def at_once(self) -> Array:
        """Rows that drive at once: as many as the ADC tells apart."""
        levels = (2**self.cell_bits - 1) * (2**self.input_bits - 1)
        most: Array = np.minimum(np.minimum(self.active, self.rows), (2**self.adc_bits - 1) // levels)
        return most

    def cycles(self, tile: Tile, ports: Ports) -> Array:
        total: Array = 0.0
        for contraction in tile.contractions:
            total = total + contraction.batch * self._folds(contraction, tile, ports)
        return total

    def _folds(self, x: Contraction, tile: Tile, ports: Ports) -> Array:
        """Cycles of one product: rounds of `arrays` folds at a time, slow folds first; the slowest decides."""
        slices = ceil_div(tile.b_bits, self.cell_bits)
        wide = np.maximum(1, self.cols // slices)
        every = list(product(classes(x.k, self.rows), classes(x.n, wide)))
        counts = [deep * across for (deep, _), (across, _) in every]
        times = [self._fold(x, tile, ports, r, w, slices) for (_, r), (_, w) in every]
        alike = np.broadcast_arrays(*counts, *times, np.asarray(self.arrays))
        count, cycles = np.stack(alike[:4]), np.stack(alike[4:8])
        order = np.argsort(-cycles, axis=0, kind="stable")
        done = ceil_div(np.cumsum(np.take_along_axis(count, order, 0), axis=0), np.asarray(self.arrays))
        rounds = np.diff(done, axis=0, prepend=np.zeros_like(done[:1]))
        result: Array = (rounds * np.take_along_axis(cycles, order, 0)).sum(axis=0)
        return result

    def _fold(self, x: Contraction, tile: Tile, ports: Ports, r: Array, w: Array, slices: Array) -> Array:
        """Cycles of one fold: its weights are written, then rows of the input follow."""
        columns = np.minimum(w * slices, self.cols)
        beyond = ceil_div(slices, self.cols)  # a weight wider than the array takes turns
        steps = ceil_div(tile.a_bits, self.input_bits) * ceil_div(r, self.at_once()) * beyond
        convert = steps * ceil_div(columns, ceil_div(self.cols, self.per_adc))
        moved = slowest(r * tile.a_bits / 8 / ports.input, w * tile.acc_bits / 8 / ports.psum_write)
        written = slowest(r * self.write, r * w * tile.b_bits / 8 / ports.weight)
        written = np.where(np.asarray(self.resident) == "yes", 0, written)
        total: Array = written + x.m * slowest(convert, moved)
        return total

    def local_bytes(self, tile: Tile) -> Array:
        """Weights once, where they are not resident; inputs once per fold of N; sums once per fold of K, and back."""
        total: Array = 0.0
        for x in tile.contractions:
            wide = ceil_div(x.n, np.maximum(1, self.cols // ceil_div(tile.b_bits, self.cell_bits)))
            weights = np.where(np.asarray(self.resident) == "yes", 0, x.k * x.n * tile.b_bits)
            sums = x.m * x.n * tile.acc_bits * (2 * ceil_div(x.k, self.rows) - 1)
            total = total + x.batch * (weights + x.m * x.k * tile.a_bits * wide + sums) / 8
        return total

    def fill_cycles(self) -> Array:
        return self.stages

    def peak_macs_per_cycle(self) -> Array:
        """With the narrowest integers; wider ones take more steps and columns."""
        steps, slices = ceil_div(NARROWEST, self.input_bits), ceil_div(NARROWEST, self.cell_bits)
        conversions = steps * ceil_div(self.cols, ceil_div(self.cols, self.per_adc))
        peak: Array = self.arrays * self.at_once() * np.maximum(1, self.cols / slices) / conversions
        return peak

    def peak_ops_per_cycle(self, kind: str) -> Array:
        return self.peak_macs_per_cycle() if kind == "mac" else 0

    def granule(self) -> Mapping[str, int]:
        return {"m": 1, "n": most(1, self.cols // -(-8 // self.cell_bits)), "k": self.rows}

    def area_mm2(self, tech: Tech) -> Array:
        """Cells, ADCs (twice as large per bit), and a shift-and-add of 32 bits per ADC."""
        cells = self.rows * self.cols * CELL_F2 * (tech.node_nm * 1e-6) ** 2
        adder = tech.logic_mm2(32 * 2 * tech.value("logic", "transistors_per_flip_flop"))
        adcs = ceil_div(self.cols, self.per_adc) * (ADC_MM2 * 2.0 ** (self.adc_bits - 8) + adder)
        return self.arrays * (cells + adcs)

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        """Conversions (twice the energy per bit) shared by the rows that drive at once, and the cells."""
        times = ceil_div(bits, self.input_bits) * ceil_div(bits, self.cell_bits)
        energy: Array = times * (ADC_PJ * 2.0 ** (self.adc_bits - 8) / self.at_once() + CELL_PJ)
        return energy

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        return self.no_such_op(kind)
