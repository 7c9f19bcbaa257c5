"""Tilings in all orders and residencies at once: a bound for every pair of a tiling and a structure, a price for some.

What a choice moves in all steps, and the room that it takes, is a number per tiling; those of a structure are sums over
its operands. They bound its time from below: no port can take less than all that passes it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from dfcompiler.hardware.chip import Unit
from dfcompiler.nest import Nest, Tiles
from dfcompiler.problem import Problem
from dfcompiler.residency import Structures
from dfcompiler.tiles import select
from dfcompiler.traffic import BYTES, Port, Terms, Traffic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COUNTED = Port(BYTES, 1.0, 1.0)


class Block:
    """Tilings of the same loops that run more than once, in the orders of some structures."""

    def __init__(self, problem: Problem, unit: Unit, tiles: Tiles, some: Structures) -> None:
        self.problem, self.unit, self.tiles, self.structures = problem, unit, tiles, some
        self.nest = Nest(problem, unit, tiles, some.moves(0))

    def all_of(self, each: Floats, rows: Ints) -> Floats:
        """Sums over operands for structures: `[choice, tiling]` to `[structure, tiling]`."""
        total = np.zeros((len(rows), len(self.tiles.compute)))
        for numbers in rows.T:
            total += each[numbers]
        return total

    @cached_property
    def rooms(self) -> tuple[Floats, Floats]:
        """Bytes that each choice takes in the unit's memory, and in the one above: `[choice, tiling]`."""
        return self.nest.rooms(self.structures.choices)

    @cached_property
    def passing(self) -> list[Floats]:
        """What each choice moves in all steps: cycles at each port, then bytes of DRAM; `[choice, tiling]`."""
        return [self._passing(port) for port in (*self.nest.ports, COUNTED)]

    @cached_property
    def _sure(self) -> Terms:
        return self.nest.terms(self.structures.choices, counted=False)

    def _passing(self, port: Port) -> Floats:
        bits, elements = self._sure.at(port.level)
        weights, counts = port.weigh(bits), self.nest.counts
        steps = weights[..., 0] @ counts if weights.shape[-1] == 1 else (weights * counts).sum(-2)
        return np.asarray(steps * elements)

    def useful(self, busy: float, capacity: float, above: float) -> npt.NDArray[np.bool_]:
        """Structures of whose choices each may be part of one that fits and keeps no port busy for longer."""
        operand, good = self.structures.choices.operand, np.ones(len(self.structures.choices.operand), dtype=bool)
        for each, limit in zip((*self.rooms, *self.passing[:-1]), (capacity, above, *[busy] * len(self.passing))):
            least = np.minimum.reduceat(each, np.flatnonzero(np.diff(operand, prepend=-1)), axis=0)
            rest = least.sum(0) - least[operand]
            good &= (each + rest <= limit * (1 + 1e-12)).any(1)
        return np.asarray(good[self.structures.rows].all(1))

    def traffic(self, structures: Ints, tilings: Ints) -> tuple[Nest, Traffic]:
        """The nest and traffic of pairs of a structure and a tiling."""
        choices, (some, at) = self.structures.rows[structures].T, np.unique(tilings, return_inverse=True)
        rooms = (each[choices, tilings].sum(0) for each in self.rooms)
        once = Nest(self.problem, self.unit, select(self.tiles, some), self.nest.moves)
        nest = Nest(self.problem, self.unit, select(self.tiles, tilings), self.nest.moves)
        return nest, Traffic(once.terms(self.structures.choices).pick(choices, at), *rooms)
