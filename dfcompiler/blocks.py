"""Tilings in all orders and residencies at once: a bound for every pair of a tiling and a structure, a price for some.

What a choice moves in all steps, and the room that it takes, is a number per tiling; those of a structure are sums over
its operands. They bound its time from below: no port can take less than all that passes it.
"""

from __future__ import annotations

from functools import cached_property, reduce

import numpy as np
import numpy.typing as npt

from dfcompiler.consumption import Consumption
from dfcompiler.expenses import of_choices
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

    def __init__(
        self, problem: Problem, unit: Unit, tiles: Tiles, some: Structures, used: Consumption | None = None
    ) -> None:
        self.problem, self.unit, self.tiles, self.structures, self.used = problem, unit, tiles, some, used
        self.nest = Nest(problem, unit, tiles, some.moves(0))

    def all_of(self, each: Floats, rows: Ints) -> Floats:
        """Sums over operands for structures: `[choice, tiling]` to `[structure, tiling]`."""
        return np.asarray(reduce(np.add, (each[numbers] for numbers in rows.T)))

    def least_of(self, each: Floats, fits: npt.NDArray[np.bool_]) -> Floats:
        """The same, no more than for any structure of choices that fit: `[choice, tiling]` to `[tiling]`."""
        return np.asarray(reduce(np.add, self._least(np.where(fits, each, np.inf))))

    def within(self, each: Floats, limit: float) -> npt.NDArray[np.bool_]:
        """Choices that may be part of a structure for which the sum is no more than a limit, `[choice, tiling]`."""
        least = self._least(each)
        return np.asarray(each + (least.sum(0) - least)[self.structures.choices.operand] <= limit * (1 + 1e-12))

    def _least(self, each: Floats) -> Floats:
        """The least of all choices for an operand, `[operand, tiling]`."""
        return np.asarray(np.minimum.reduceat(each, self.structures.first))

    @cached_property
    def rooms(self) -> tuple[Floats, Floats]:
        """Bytes that each choice takes in the unit's memory, and in the one above: `[choice, tiling]`."""
        return self.nest.rooms(self.structures.choices)

    @cached_property
    def passing(self) -> list[Floats]:
        """What each choice moves in all steps: cycles at each port, then what counts beside time, bytes of DRAM or
        energy; `[choice, tiling]`."""
        counted = of_choices(self.used, self.nest, self.structures) if self.used else self._passing(COUNTED)
        return [*(self._passing(port) for port in self.nest.ports), counted]

    @cached_property
    def alone(self) -> Floats:
        """What of that does not depend on choices, `[tiling]`."""
        if self.used is None:
            return self.nest.last[2]
        return np.broadcast_to(self.used.of_tiles(self.problem, self.tiles.size), self.tiles.compute.shape)

    def beside(self, nest: Nest, traffic: Traffic, structures: Ints, tilings: Ints) -> Floats:
        """What pairs of a structure and a tiling come to beside time."""
        if self.used is None:
            return nest.dram_bytes(traffic)
        choices = self.structures.rows[structures].T
        return np.asarray(reduce(np.add, (self.passing[-1][c, tilings] for c in choices)) + self.alone[tilings])

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
        limits = [(self.rooms[0], capacity), (self.rooms[1], above), *((x, busy) for x in self.passing[:-1])]
        good = np.logical_and.reduce([self.within(*x).any(1) for x in limits])
        return np.asarray(good[self.structures.rows].all(1))

    def traffic(self, structures: Ints, tilings: Ints) -> tuple[Nest, Traffic]:
        """The nest and traffic of pairs of a structure and a tiling."""
        choices, (some, at) = self.structures.rows[structures].T, np.unique(tilings, return_inverse=True)
        moving = [i for i, o in enumerate(self.problem.operands) if o.kind != "local"]
        rooms = (each[choices, tilings].sum(0) for each in self.rooms)
        once = Nest(self.problem, self.unit, select(self.tiles, some), self.nest.moves)
        nest = Nest(self.problem, self.unit, select(self.tiles, tilings), self.nest.moves)
        return nest, Traffic(once.terms(self.structures.choices).pick(choices[moving], at), *rooms)
