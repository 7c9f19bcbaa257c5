"""What a hardware family must answer. The engine prices through these types and knows no family.

Every quantity is an `Array`: tiles, axes and ports broadcast together, so the call that prices one
design prices a million. Shapes below are the broadcast of all operands.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dfcompiler.fabrics import Fabric
from dfcompiler.hardware.axes import Array, Template
from dfcompiler.hardware.tech import Tech

UNLIMITED = float("inf")

# Scalar operations that ops are made of; a helper must run those of them that its unit cannot.
OP_KINDS = ("mac", "add", "mul", "div", "exp", "log", "sqrt", "rsqrt", "sin", "cos", "tanh", "max", "cmp")


@dataclass(frozen=True)
class Contraction:
    """`batch` independent products `[m, k] x [k, n] -> [m, n]`; `[k, n]` is the stationary operand."""

    batch: Array
    m: Array
    n: Array
    k: Array

    @property
    def macs(self) -> Array:
        """Multiply-accumulates."""
        return self.batch * self.m * self.n * self.k


@dataclass(frozen=True)
class Tile:
    """What one tile of any op asks of a unit: contractions, and scalar operations by kind (`add exp ...`).

    `a_bits` is the streamed operand's width, `b_bits` the stationary one's, `acc_bits` the accumulator's.
    """

    contractions: tuple[Contraction, ...]
    vector: Mapping[str, Array]
    a_bits: int
    b_bits: int
    acc_bits: int


@dataclass(frozen=True)
class Ports:
    """Bytes per cycle between the innermost memory and one instance of a unit; inf where unlimited."""

    input: Array = UNLIMITED
    weight: Array = UNLIMITED
    psum_read: Array = UNLIMITED
    psum_write: Array = UNLIMITED


class Compute(Template, abc.ABC):
    """A unit that computes. One instance; the chip says how many there are."""

    @abc.abstractmethod
    def runs(self, kind: str) -> bool:
        """Whether it can do this scalar operation: `mac`, `add`, `exp`, ..."""

    @abc.abstractmethod
    def cycles(self, tile: Tile, ports: Ports) -> Array:
        """Steady cycles of one tile when tiles follow each other back to back."""

    def least_cycles(self, tile: Tile, ports: Ports) -> Array:
        """Cycles that no way to cut the work of a tile into smaller ones can beat, all of them together: of any tiles
        that cover it, `cycles` add up to as much at least. By default what the peaks say."""
        bits = max(tile.a_bits, tile.b_bits)
        products: Array = sum((x.macs for x in tile.contractions), 0.0) / self.peak_macs_at(bits)
        return slowest(products, *(n / self.peak_ops_per_cycle(kind) for kind, n in tile.vector.items()))

    @abc.abstractmethod
    def fill_cycles(self) -> Array:
        """Cycles paid once per op: skew, tree depth, and the first load that nothing hides."""

    @abc.abstractmethod
    def peak_macs_per_cycle(self) -> Array:
        """Multiply-accumulates per cycle when every element is busy."""

    def peak_macs_at(self, bits: int) -> Array:
        """The same for operands of so many bits; a unit that takes every width alike need not say it."""
        return self.peak_macs_per_cycle()

    @abc.abstractmethod
    def peak_ops_per_cycle(self, kind: str) -> Array:
        """Scalar operations of a kind per cycle; 0 where it cannot run them."""

    @abc.abstractmethod
    def granule(self) -> Mapping[str, int]:
        """Sizes of `m`, `n` and `k` whose multiples leave no element idle."""

    @abc.abstractmethod
    def area_mm2(self, tech: Tech) -> Array:
        """Area of one instance."""

    @abc.abstractmethod
    def pj_per_mac(self, tech: Tech, bits: int) -> Array:
        """Energy of one multiply-accumulate of `bits`-wide operands, registers beside it included."""

    @abc.abstractmethod
    def pj_per_op(self, tech: Tech, kind: str) -> Array:
        """Energy of one scalar operation."""

    def local_bytes(self, tile: Tile) -> Array:
        """Bytes that products of a tile move between the unit and the memory beside it: at least every operand once."""
        total: Array = 0.0
        for x in tile.contractions:
            total = (
                total + x.batch * (x.m * x.k * tile.a_bits + x.k * x.n * tile.b_bits + x.m * x.n * tile.acc_bits) / 8
            )
        return total

    def multiplies(self, dtype: str) -> bool:
        """Whether products may have operands of this type; others must be converted before."""
        return True

    def weights_held(self, bits: int) -> Array:
        """How many weights of `bits` one instance holds before a step begins, and can then not change; inf where
        stationary operands come from memory as products need them."""
        return UNLIMITED

    def off_die(self) -> bool:
        """Whether it stands on another die, that of a memory, whose area and price are not the chip's."""
        return False

    def applies_scales(self, dtype: str) -> bool:
        """Whether it multiplies by the scales of a weight of this type itself, at no cost."""
        return False

    def skips_zeros(self) -> bool:
        """Whether it leaves out the zeros of a stationary operand of which two of every four along k are kept."""
        return False

    def no_such_op(self, kind: str) -> Array:
        """For a unit asked about an operation that it does not run: a fault of the caller."""
        raise ValueError(f"{self.template_name} does not run `{kind}`")


class KernelCompute(Compute, abc.ABC):
    """A unit whose work is priced as whole kernels of a library, by the models of `dfcompiler.kernels`."""

    @abc.abstractmethod
    def lanes_per_cycle(self) -> tuple[Array, Array]:
        """Plain and special scalar operations per cycle."""

    @abc.abstractmethod
    def generation(self) -> tuple[str, object]:
        """The generation of kernels that runs on it, and how this chip differs from where they were fitted."""


class Memory(Template, abc.ABC):
    """A memory. One instance."""

    @abc.abstractmethod
    def capacity_bytes(self) -> Array:
        """Bytes that it holds."""

    def pinned_bytes(self) -> Array:
        """Bytes of it that are set aside for tensors that stay there from one op to the next."""
        return 0

    @abc.abstractmethod
    def read_bytes_per_cycle(self, clock_hz: Array) -> Array:
        """What it can send to the level below (or to a unit's DMA), on all of its DMA ports together."""

    @abc.abstractmethod
    def write_bytes_per_cycle(self, clock_hz: Array) -> Array:
        """What it can take in from another memory."""

    @abc.abstractmethod
    def ports(self, clock_hz: Array) -> Ports:
        """What it offers to one unit beside it."""

    @abc.abstractmethod
    def area_mm2(self, tech: Tech) -> Array:
        """On-die area: the array, or the PHY and controller of a memory that is off the die."""

    @abc.abstractmethod
    def pj_per_byte(self, tech: Tech) -> Array:
        """Energy of one byte read or written."""

    def outside_bytes_per_cycle(self, clock_hz: Array) -> Array:
        """What of `read_bytes_per_cycle` leaves its die: less where units stand on it."""
        return self.read_bytes_per_cycle(clock_hz)

    def inside_pj_per_byte(self, tech: Tech) -> Array:
        """Energy of one byte read or written by a unit on its die."""
        return self.pj_per_byte(tech)

    def usd(self, tech: Tech) -> Array:
        """What it costs beside the die: nothing where it is on it."""
        return 0.0

    def footprint_mm2(self) -> Array:
        """Its area beside the die on an interposer; 0 where it is on the die, or on the board."""
        return 0.0

    def idle_w(self) -> Array:
        """Watts beside the die without traffic."""
        return 0.0

    def off_chip(self) -> bool:
        """Whether it is a DRAM, at which every path of a compute unit ends."""
        return False

    def off_die(self) -> bool:
        """Whether it stands on the die of the DRAM, beside units that do."""
        return self.off_chip()

    def half_duplex(self) -> bool:
        """Whether reads and writes share one bandwidth."""
        return False


@dataclass(frozen=True)
class Switch:
    """What joins devices: a die, ports of one link each, and how many links a device has."""

    die_mm2: float
    node_nm: float
    ports: int
    links: int


class Interconnect(Template, abc.ABC):
    """What carries bytes between memories, or between chips."""

    @abc.abstractmethod
    def bytes_per_cycle(self, clock_hz: Array) -> Array:
        """Bandwidth of one endpoint, each way."""

    @abc.abstractmethod
    def multicasts(self) -> bool:
        """Whether one read of the memory above can reach many endpoints at the price of one."""

    @abc.abstractmethod
    def latency_s(self, clock_hz: Array) -> Array:
        """First byte in to first byte out."""

    @abc.abstractmethod
    def area_mm2(self, tech: Tech) -> Array:
        """Area per endpoint."""

    @abc.abstractmethod
    def pj_per_byte(self, tech: Tech) -> Array:
        """Energy of carrying one byte."""

    def between_chips(self) -> bool:
        """Whether it leaves the chip."""
        return False

    def switched(self) -> bool:
        """Whether switches lie between devices."""
        return False

    def switch(self) -> Switch | None:
        """One of them; None where nobody says what it is. One design, no array."""
        return None

    def fabric(self, clock_hz: float) -> Fabric:
        """Between chips: how they reach each other. One design, no array."""
        return Fabric(float(self.bytes_per_cycle(clock_hz)) * clock_hz, float(self.latency_s(clock_hz)))


def ceil_div(a: Array, b: Array) -> NDArray[Any]:
    """`ceil(a / b)`, exact for integers (below 2^53 where they are floats); broadcasts."""
    quotient = np.true_divide(a, b) if np.result_type(a, b).kind == "f" else None
    result: NDArray[Any] = -(-np.asarray(a) // np.asarray(b)) if quotient is None else np.ceil(quotient)
    return result


def either(which: Array, yes: Callable[[], Array], no: Callable[[], Array]) -> Array:
    """`yes()` where a condition holds, else `no()`; broadcasts, and asks for only one where there is one condition."""
    if np.ndim(which):
        return np.where(which, yes(), no())
    return yes() if which else no()


def digits(width: Array, unit_width: Array) -> NDArray[Any]:
    """How many digits of `unit_width` bits an operand of `width` bits takes: 1 where it fits."""
    return ceil_div(width, unit_width)


def slowest(*cycles: Array) -> Array:
    """The largest of several rates that run side by side; broadcasts."""
    return reduce(np.maximum, cycles)


Pieces: TypeAlias = Callable[[Array, Array], Sequence[tuple[Array, Array]]]  # (how many, how large) of a size


def evenly(size: Array, unrolled: Array) -> tuple[tuple[Array, Array]]:
    """As few pieces of at most `unrolled` as cover `size`, all as large: of a cost per piece that is convex in how
    large it is (the largest of constants and products of sizes), any pieces take as much at least (Jensen)."""
    count = ceil_div(size, unrolled)
    return ((count, size / count),)


def classes(size: Array, unrolled: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Pieces of `unrolled` that cover `size`, as (how many, how large): the whole ones and the ragged one."""
    whole, ragged = np.divmod(np.asarray(size), unrolled)
    return (whole, unrolled), (np.minimum(ragged, 1), ragged)
