"""A grid of multiply-accumulate elements with operands that move one element per cycle.

Notation: an array of R rows and C columns, one contraction `[M, K] x [K, N]`, a fold (one pass of the
array) that uses r <= R rows and c <= C columns, `a`, `b`, `p` the bytes of a streamed operand, a
stationary operand and a partial sum, and ports `in`, `w`, `rd`, `wr` in bytes per cycle.

weight-stationary: K runs over rows, N over columns, ceil(K/R) * ceil(N/C) folds.
  load    the r x c weights shift down the columns:   L = max(R, r*c*b / w)
  stream  M rows of the input enter, M rows of partial sums leave; sums of a K that takes several folds
          are read back and added:                    S = max(M, M*r*a / in, M*c*p / wr, [K > R] M*c*p / rd)
  skew    row i starts i cycles late, column j another j: R + C - 2 cycles until the last element is done.
output-stationary: M runs over rows, N over columns, ceil(M/R) * ceil(N/C) folds.
  stream  K pairs of operands enter:                  S = max(K, K*r*a / in, K*c*b / w)
  drain   the r x c results shift out along the rows: D = max(R, r*c*p / wr)

What overlaps is `reload`; the steady cycles of a fold are

  reload           weight-stationary     output-stationary     once per op (fill)
  serial           L + S + R + C - 2     S + D + C - 2         -1
  exposed          L + S                 S + D                 R + C - 2
  double-buffered  max(L, S)             max(S, D)             R + C - 2 + R

serial: a fold starts when the last one has left. With unlimited ports this is SCALE-Sim's 2R + C + M - 2
and R + C + K - 2; it reports the index of the last cycle, hence the -1.
exposed: one weight register per element. The wavefront of the next weights follows that of the inputs,
column by column with the same skew, so the skew is hidden and the load is not.
double-buffered: two registers; the next load (the last drain) runs under the stream. The first load
(the last drain) has nothing to hide under and is in the fill, at the pace of the shift.

Sums that an op carries from one tile of K to the next are read at `rd` within the time of the tile's
writes; a memory whose read port is narrower than its write port would need more than is counted here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from dfcompiler.hardware.axes import Array, axis, bits, ints, one_of
from dfcompiler.hardware.plurals import whole
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import (
    UNLIMITED,
    Compute,
    Contraction,
    Pieces,
    Ports,
    Tile,
    ceil_div,
    classes,
    digits,
    either,
    evenly,
    slowest,
)


class SystolicArray(Compute, name="systolic-array"):
    """Multiply-accumulates only. Operands wider than `operand_bits` take one pass per pair of digits."""

    rows: int = axis(128, ints(1, 4096), unit="PE", doc="k (weight-stationary) or m (output-stationary) unrolled")
    cols: int = axis(128, ints(1, 4096), unit="PE", doc="n is unrolled here")
    dataflow: str = axis(
        "weight-stationary", one_of("weight-stationary", "output-stationary"), doc="the operand that does not move"
    )
    reload: str = axis(
        "double-buffered",
        one_of("serial", "exposed", "double-buffered"),
        doc="what overlaps with the stream: nothing, all but the load (drain), or the load (drain) too",
    )
    operand_bits: int = axis(16, bits(4, 8, 16, 32), unit="bit", doc="width of the multiplier's operands")
    acc_bits: int = axis(32, bits(16, 24, 32, 48, 64), unit="bit", doc="width of the accumulator")
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
        """Of folds that are all as large; sums of a K that is cut into tiles of one fold are not read back."""
        return self._all(tile, replace(ports, psum_read=UNLIMITED), evenly)

    def _all(self, tile: Tile, ports: Ports, pieces: Pieces) -> Array:
        passes = digits(tile.a_bits, self.operand_bits) * digits(tile.b_bits, self.operand_bits)
        total: Array = 0.0
        for contraction in tile.contractions:
            total = total + passes * contraction.batch * self._folds(contraction, tile, ports, pieces)
        return total

    def _folds(self, x: Contraction, tile: Tile, ports: Ports, pieces: Pieces) -> Array:
        """Cycles of one product: its folds by classes, each times its count."""
        over_rows = np.where(self._stationary_weights(), x.k, x.m)
        total: Array = 0.0
        for (nr, r), (nc, c) in product(pieces(over_rows, self.rows), pieces(x.n, self.cols)):
            total = total + nr * nc * self._fold(x, tile, ports, r, c)
        return total

    def _fold(self, x: Contraction, tile: Tile, ports: Ports, r: Array, c: Array) -> Array:
        """Steady cycles of one fold that uses `r` rows and `c` columns."""
        a, b, p = tile.a_bits / 8, tile.b_bits / 8, tile.acc_bits / 8

        def rows_in() -> Array:
            again = np.where(np.asarray(x.k) > self.rows, x.m * c * p / ports.psum_read, 0)
            return slowest(x.m, x.m * r * a / ports.input, x.m * c * p / ports.psum_write, again)

        def pairs_in() -> Array:
            return slowest(x.k, x.k * r * a / ports.input, x.k * c * b / ports.weight)

        stationary = self._stationary_weights()
        shifted = either(stationary, lambda: r * c * b / ports.weight, lambda: r * c * p / ports.psum_write)
        move, stream = np.maximum(self.rows, shifted), either(stationary, rows_in, pairs_in)
        skew = self.cols - 2 + np.where(stationary, self.rows, 0)
        return self._by_reload(
            lambda: move + stream + skew, lambda: move + stream, lambda: np.asarray(np.maximum(move, stream))
        )

    def local_bytes(self, tile: Tile) -> Array:
        """Of one product, what is stationary moves once; the rest once per fold of the array over the other dimension,
        sums of a K that takes several folds in both directions."""
        total: Array = 0.0
        for x in tile.contractions:
            deep, high, wide = ceil_div(x.k, self.rows), ceil_div(x.m, self.rows), ceil_div(x.n, self.cols)
            a, b, p = x.m * x.k * tile.a_bits / 8, x.k * x.n * tile.b_bits / 8, x.m * x.n * tile.acc_bits / 8
            kept = self._stationary_weights()
            total = total + x.batch * np.where(kept, a * wide + b + p * (2 * deep - 1), a * wide + b * high + p)
        return total

    def fill_cycles(self) -> Array:
        skew = self.rows + self.cols - 2
        return self._by_reload(lambda: -1, lambda: skew, lambda: skew + self.rows)

    def peak_macs_per_cycle(self) -> Array:
        return self.rows * self.cols

    def peak_ops_per_cycle(self, kind: str) -> Array:
        return self.rows * self.cols if kind == "mac" else 0

    def granule(self) -> Mapping[str, int]:
        kept = self._stationary_weights()
        return {"m": whole(np.where(kept, 1, self.rows)), "n": self.cols, "k": whole(np.where(kept, self.rows, 1))}

    def area_mm2(self, tech: Tech) -> Array:
        """Multiplier, adder and registers: input, weight (two where double-buffered), sum."""
        weights = np.where(np.asarray(self.reload) == "double-buffered", 2, 1)
        flip_flops = self.operand_bits * (1 + weights) + self.acc_bits
        registers = tech.logic_mm2(flip_flops * tech.value("logic", "transistors_per_flip_flop"))
        return self.rows * self.cols * (tech.mac_mm2(self.operand_bits) + registers)

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        return tech.pj_per_mac(bits)

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        return self.no_such_op(kind)

    def _stationary_weights(self) -> Array:
        held: Array = np.asarray(self.dataflow) == "weight-stationary"
        return held

    def _by_reload(self, *each: Callable[[], Array]) -> Array:
        """Cycles where loads are `serial`, `exposed` and double-buffered."""
        reload, (serial, exposed, double) = np.asarray(self.reload), each
        return either(reload == "serial", serial, lambda: either(reload == "exposed", exposed, double))
