"""Adder trees over lanes of multipliers: dot products without skew, made to stream weights once.

Notation: T trees (over n) of W lanes (over k), `hold` = H rows of the input that share one load of
weights, a chunk of k <= W lanes and n <= T trees, `a`, `b`, `p` bytes of input, weight and partial sum.

Rule: the W x T weights of a chunk stay in registers for a group of h = min(H, M) rows, each of which
takes one cycle; a group's weights stream in while the group before computes. So a group costs

  max(h, k*n*b / weight port, h*k*a / input port)

and ceil(M/H) groups pass over ceil(K/W) * ceil(N/T) chunks. With H = 1 weights stream every cycle, which
is matrix-vector product; H > 1 needs H accumulators per tree. Sums stay in the tree's accumulators over
the chunks of K and leave once: M*N*p / psum write port bounds the whole from below, and sums of an earlier
tile of K come in at the same time by the psum read port.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from dfcompiler.hardware.axes import Array, axis, bits, ints, one_of
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import (
    Compute,
    Contraction,
    Pieces,
    Ports,
    Tile,
    ceil_div,
    classes,
    digits,
    evenly,
    slowest,
)


class MacTree(Compute, name="mac-tree"):
    """Multiply-accumulates only. Operands wider than `operand_bits` take one pass per pair of digits."""

    width: int = axis(16, ints(1, 4096), unit="lane", doc="k is unrolled here: multipliers per tree")
    trees: int = axis(16, ints(1, 4096), unit="tree", doc="n is unrolled here")
    hold: int = axis(1, ints(1, 4096), unit="row", doc="rows of m that share one load of weights")
    stages: int = axis(2, ints(0, 64), unit="stage", doc="pipeline stages beside the tree: multiply, accumulate")
    operand_bits: int = axis(16, bits(4, 8, 16, 32), unit="bit", doc="width of the multipliers' operands")
    acc_bits: int = axis(32, bits(16, 24, 32, 48, 64), unit="bit", doc="width of the accumulators")
    sparsity: str = axis(
        "none",
        one_of("none", "two-of-four"),
        doc="zeros skipped: those of weights of which two of every four along k are kept; selectors take no area yet",
    )

    def runs(self, kind: str) -> bool:
        return kind == "mac"

    def skips_zeros(self) -> bool:
        return self.sparsity == "two-of-four"

    def cycles(self, tile: Tile, ports: Ports) -> Array:
        return self._all(tile, ports, classes)

    def least_cycles(self, tile: Tile, ports: Ports) -> Array:
        """Of groups and chunks that are all as large."""
        return self._all(tile, ports, evenly)

    def _all(self, tile: Tile, ports: Ports, pieces: Pieces) -> Array:
        passes = digits(tile.a_bits, self.operand_bits) * digits(tile.b_bits, self.operand_bits)
        total: Array = 0.0
        for contraction in tile.contractions:
            total = total + passes * contraction.batch * self._product(contraction, tile, ports, pieces)
        return total

    def _product(self, x: Contraction, tile: Tile, ports: Ports, pieces: Pieces) -> Array:
        """Cycles of one product: its groups and chunks by classes, each times its count."""
        a, b, p = tile.a_bits / 8, tile.b_bits / 8, tile.acc_bits / 8
        total: Array = 0.0
        every = product(pieces(x.m, self.hold), pieces(x.k, self.width), pieces(x.n, self.trees))
        for (groups, h), (deep, k), (wide, n) in every:
            one = slowest(h, k * n * b / ports.weight, h * k * a / ports.input)
            total = total + groups * deep * wide * one
        return slowest(total, x.m * x.n * p / ports.psum_write)

    def local_bytes(self, tile: Tile) -> Array:
        """Weights once per group of rows, inputs once per group of trees, sums once."""
        total: Array = 0.0
        for x in tile.contractions:
            inputs = x.m * x.k * tile.a_bits * ceil_div(x.n, self.trees)
            weights = x.k * x.n * tile.b_bits * ceil_div(x.m, self.hold)
            total = total + x.batch * (inputs + weights + x.m * x.n * tile.acc_bits) / 8
        return total

    def fill_cycles(self) -> Array:
        depth: Array = np.ceil(np.log2(self.width))
        return depth + self.stages

    def peak_macs_per_cycle(self) -> Array:
        return self.width * self.trees

    def peak_ops_per_cycle(self, kind: str) -> Array:
        return self.width * self.trees if kind == "mac" else 0

    def granule(self) -> Mapping[str, int]:
        return {"m": self.hold, "n": self.trees, "k": self.width}

    def area_mm2(self, tech: Tech) -> Array:
        """Multipliers and adders, a weight register per lane, `hold` accumulators per tree."""
        flip_flops = self.trees * (self.width * 2 * self.operand_bits + self.hold * self.acc_bits)
        registers = tech.logic_mm2(flip_flops * tech.value("logic", "transistors_per_flip_flop"))
        return self.trees * self.width * tech.mac_mm2(self.operand_bits) + registers

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        return tech.pj_per_mac(bits)

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        return self.no_such_op(kind)
