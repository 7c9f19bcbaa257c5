"""Lanes that do any scalar operation, each an element at a time: what the matrix units cannot.

An operation of c cycles on L lanes: n of them take ceil(n * c / L) cycles. A multiply-accumulate takes one
cycle, and its stationary operand comes from memory each time (no reuse in registers is assumed), so
products are bounded by the weight port as well. Scalar operations are taken to find their operands in the
lanes' registers: chains of them (softmax, normalisation) are, and what reads memory is counted as traffic.
"""

from __future__ import annotations

from collections.abc import Mapping

from dfcompiler.hardware.axes import Array, axis, ints
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Compute, Ports, Tile, ceil_div, digits, slowest

ONE_CYCLE = frozenset("mac add sub mul neg abs max min maximum minimum cmp select cast floor mod".split())
# Which axis gives the cycles of an operation that is not in ONE_CYCLE.
TIMED = {
    "div": "div_cycles",
    "exp": "exp_cycles",
    "log": "log_cycles",
    "sin": "trig_cycles",
    "cos": "trig_cycles",
    "tanh": "trig_cycles",
    "rsqrt": "rsqrt_cycles",
    "sqrt": "rsqrt_cycles",
}


class VectorUnit(Compute, name="vector-unit"):
    """Every scalar operation, multiply-accumulates among them.

    Default cycles: one special-function unit per four fp32 lanes, the ratio of 16 to 64 results per cycle
    of an A100 SM (CUDA C++ Programming Guide, table of arithmetic throughput, compute capability 8.0); a
    division is a reciprocal and a multiplication.
    """

    lanes: int = axis(128, ints(1, 65536), unit="lane", doc="elements per cycle")
    div_cycles: int = axis(5, ints(1, 256), unit="cycle", doc="cycles per division and lane")
    exp_cycles: int = axis(4, ints(1, 256), unit="cycle", doc="cycles per exponential and lane")
    log_cycles: int = axis(4, ints(1, 256), unit="cycle", doc="cycles per logarithm and lane")
    trig_cycles: int = axis(4, ints(1, 256), unit="cycle", doc="cycles per sine, cosine or tanh and lane")
    rsqrt_cycles: int = axis(4, ints(1, 256), unit="cycle", doc="cycles per (reciprocal) square root and lane")
    integer_lanes: int = axis(0, ints(0, 65536), unit="lane", doc="int32 lanes beside: area only, no op asks for them")
    double_lanes: int = axis(0, ints(0, 65536), unit="lane", doc="fp64 lanes beside: area only, no op asks for them")
    stages: int = axis(6, ints(0, 64), unit="stage", doc="pipeline depth, paid once per op")

    def runs(self, kind: str) -> bool:
        return kind in ONE_CYCLE or kind in TIMED

    def cycles(self, tile: Tile, ports: Ports) -> Array:
        passes = digits(tile.a_bits, 32) * digits(tile.b_bits, 32)
        total: Array = 0.0
        for x in tile.contractions:
            from_memory = x.macs * (tile.b_bits / 8) / ports.weight
            total = total + passes * slowest(ceil_div(x.macs, self.lanes), from_memory)
        for kind, count in tile.vector.items():
            total = total + ceil_div(count * self._op_cycles(kind), self.lanes)
        return total

    def least_cycles(self, tile: Tile, ports: Ports) -> Array:
        return self.cycles(tile, ports)  # what lanes round up, they round up once at least

    def _op_cycles(self, kind: str) -> Array:
        if kind in ONE_CYCLE:
            return 1
        if kind not in TIMED:
            return self.no_such_op(kind)
        cycles: int = getattr(self, TIMED[kind])
        return cycles

    def local_bytes(self, tile: Tile) -> Array:
        """A stationary operand per multiply-accumulate; the input stays in registers, sums leave once."""
        total: Array = 0.0
        for x in tile.contractions:
            once = x.m * x.k * tile.a_bits + x.m * x.n * tile.acc_bits
            total = total + (x.macs * tile.b_bits + x.batch * once) / 8
        return total

    def fill_cycles(self) -> Array:
        return self.stages

    def peak_macs_per_cycle(self) -> Array:
        return self.lanes

    def peak_ops_per_cycle(self, kind: str) -> Array:
        return self.lanes / self._op_cycles(kind) if self.runs(kind) else 0

    def granule(self) -> Mapping[str, int]:
        return {"m": 1, "n": self.lanes, "k": 1}

    def area_mm2(self, tech: Tech) -> Array:
        """Per lane: an fp32 multiply-add, and the control and registers of a GPU lane."""
        lane = tech.mac_mm2(32) + tech.logic_mm2(tech.value("logic", "transistors_per_vector_lane"))
        integer = tech.logic_mm2(tech.value("logic", "transistors_per_integer_lane"))
        return self.lanes * lane + self.integer_lanes * integer + self.double_lanes * tech.mac_mm2(64)

    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        return tech.pj_per_mac(bits)

    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        """`add` and `mul` as tabulated; others as so many fp32 multiply-adds as they take cycles (estimate)."""
        known = tech.tables.get("pj_per_op", {})
        return known[kind].value if kind in known else self._op_cycles(kind) * tech.pj_per_mac(32)
