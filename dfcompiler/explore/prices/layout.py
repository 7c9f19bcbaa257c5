"""What the sweep over tilings reads, as arrays by name: tuples, so that compiled functions take them as well."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOOPS = 3
WAYS = NEAR_IN, NEAR_OUT, FAR_IN, FAR_OUT = range(4)  # how an operand moves: at the unit's memory, and at the DRAM
TERMS = 2  # of the moves of one operand in one way
ROUNDED = 1 - 1e-12  # bounds add up in another order than prices


class Tilings(NamedTuple):
    """`size0` to `size2` are all distinct tile sizes of the loops, ascending, `cycles` those of a tile of each of these
    sizes, and `least[size, size]` the fewest for all of the last loop.

    A split `[split, loop]` is over `ways` instances and leaves `shard` points of a loop to each; its tile sizes are
    those at `at[first:last]`.
    """

    size0: Floats
    size1: Floats
    size2: Floats
    cycles: Floats
    least: Floats
    ways: Floats
    shard: Floats
    first: Ints
    last: Ints
    at: Ints


class Operands(NamedTuple):
    """Operand o has `base[o] * prod(sizes of loops in mask[o])` elements of `bits[o]` in a tile, and needs at least
    `least_bits[live, o]` of room for each, where loops in `live` run more than once."""

    base: Floats
    mask: Ints
    bits: Floats
    writes: Bools
    least_bits: Floats


class Structures(NamedTuple):
    """Choices for operands, and structures as rows of choices `[structure, operand]`; those where loops in `live` run
    more than once are at `choice_of[live]` and `row_of[live]`, up to the next ones.

    An operand moves `sum(weight[choice, way, term] * prod(trips of loops in over))` bits per element of its tile. One
    that passes takes `tile_bits` of room per element; one that stays (`inner`) has a region, over the loops `inside`,
    of `held_bits` per element, or of up to `buffers` regions of `bits` where that is more; or (`outer`) a region in the
    memory above.
    """

    choice_of: Ints
    row_of: Ints
    operand: Ints
    weight: Floats
    over: Ints
    tile_bits: Floats
    inner: Bools
    outer: Bools
    inside: Ints
    held_bits: Floats
    bits: Floats
    buffers: Floats
    rows: Ints


class Machine(NamedTuple):
    """Capacities, ascending, of the unit's memory and of the one above, and cycles per byte.

    `chip`: into and out of the unit's memory; out of and into the memory above, each by itself (2, 3) and one after the
    other (4, 5). `dram[rates]`: out of and into the DRAM, each by itself and one after the other. `floor[rates]` are
    cycles of the compulsory bytes.
    """

    multicast: bool
    near_bytes: Floats
    above_bytes: Floats
    chip: Floats
    dram: Floats
    floor: Floats


def one_tile() -> tuple[Tilings, Operands, Structures, Machine, Floats]:
    """The smallest sweep there is: one operand, one tiling in one structure, one machine."""
    one, none, zero = np.ones(1), np.zeros(1), np.zeros(1, dtype=np.int64)
    ends, no = np.zeros((1, LOOPS), dtype=np.int64), np.zeros(1, dtype=np.bool_)
    each = np.ones((1, LOOPS))
    tilings = Tilings(one, one, one, np.ones((1, 1, 1)), np.ones((1, 1)), each, each, ends, ends + 1, zero)
    part = np.array([0, 1])
    moves = np.zeros((1, len(WAYS), TERMS))
    over = moves.astype(np.int64)
    rows = np.zeros((1, 1), dtype=np.int64)
    structures = Structures(part, part, zero, moves, over, none, no, no, zero, none, none, one, rows)
    machine = Machine(True, one, one, np.zeros(6), np.zeros((1, 4)), none)
    operands = Operands(one, zero, none, no, np.zeros((1, 1)))
    return tilings, operands, structures, machine, np.full((1, 1, 1), np.inf)
