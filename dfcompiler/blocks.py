"""Tilings in all orders and residencies at once: a bound for every pair of a tiling and a structure, a price for some.

What a choice moves in all steps, and the room that it takes, is a number per tiling; those of a structure are sums over
its operands. They bound its time from below: no port can take less than all that passes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.nest import Nest, Tiles
from dfcompiler.problem import Problem
from dfcompiler.residency import Structures
from dfcompiler.tiles import select
from dfcompiler.traffic import BYTES, Port, Term, Traffic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COUNTED = Port(BYTES, 1.0, 1.0)


class Block:
    """Tilings of the same loops that run more than once, in the orders of some structures."""

    def __init__(self, problem: Problem, unit: Unit, tiles: Tiles, some: Structures) -> None:
        self.problem, self.unit, self.tiles, self.structures = problem, unit, tiles, some
        self.nest = Nest(problem, unit, tiles, some.orders[0])
        self.parts = [
            [self.nest.turned(moves).part(o, keep) for moves, keep in made]
            for o, made in zip(problem.operands, some.choices, strict=True)
        ]

    def all_of(self, each: Sequence[Floats], rows: Ints) -> Floats:
        """Sums over operands for structures: `[choice, tiling]` of every operand to `[structure, tiling]`."""
        total = np.zeros((len(rows), len(self.tiles.compute)))
        for numbers, of in zip(rows.T, each, strict=True):
            total += of[numbers]
        return total

    @cached_property
    def rooms(self) -> tuple[list[Floats], list[Floats]]:
        """Bytes that each choice takes in the unit's memory, and in the one above: `[choice, tiling]` per operand."""
        own = [np.stack([t.room for t in parts]) for parts in self.parts]
        return own, [np.stack([t.room_above for t in parts]) for parts in self.parts]

    @cached_property
    def passing(self) -> list[list[Floats]]:
        """What each choice moves in all steps: cycles at each port, then bytes of DRAM; `[choice, tiling]`."""
        return [[self._passing(port, i) for i in range(len(self.parts))] for port in (*self.nest.ports, COUNTED)]

    def _passing(self, port: Port, operand: int) -> Floats:
        terms = self.terms[operand]
        if not terms:
            return np.zeros((len(self.parts[operand]), len(self.tiles.compute)))
        bits, elements = zip(*(t.at(port.level) for t in terms), strict=True)
        weights = [port.weigh(b) for b in bits]
        if all(w.shape[-1] == 1 for w in weights):
            steps = np.concatenate(weights, -1).T @ self.nest.counts
        else:
            steps = np.stack([(w * self.nest.counts).sum(0) for w in weights])
        return np.asarray(steps * np.stack(elements))

    @cached_property
    def terms(self) -> list[list[Term]]:
        """What each choice of each operand moves; nothing of what is local."""
        return [[t.terms[0] for t in parts if t.terms] for parts in self.parts]

    def useful(self, busy: float, capacity: float, above: float) -> npt.NDArray[np.bool_]:
        """Structures of whose choices each may be part of one that fits and keeps no port busy for longer."""
        rows = self.structures.rows
        limits = [(self.rooms[0], capacity), (self.rooms[1], above), *((t, busy) for t in self.passing[:-1])]
        good = [np.ones(len(made), dtype=bool) for made in self.structures.choices]
        for each, limit in limits:
            least = [of.min(0) for of in each]
            rest = np.sum(least, 0)
            for ok, of, own in zip(good, each, least, strict=True):
                ok &= (of + (rest - own) <= limit * (1 + 1e-12)).any(1)
        return np.asarray(np.logical_and.reduce([ok[numbers] for ok, numbers in zip(good, rows.T, strict=True)]))

    def traffic(self, structures: Ints, tilings: Ints) -> tuple[Nest, Traffic]:
        """The nest and traffic of pairs of a structure and a tiling."""
        terms, rooms = [], [np.zeros(len(tilings)), np.zeros(len(tilings))]
        for operand, numbers in enumerate(self.structures.rows[structures].T):
            for total, each in zip(rooms, self.rooms, strict=True):
                total += each[operand][numbers, tilings]
            if some := self.terms[operand]:
                terms.append(_of_pairs(some, numbers, tilings))
        nest = Nest(self.problem, self.unit, select(self.tiles, tilings), self.nest.moves)
        return nest, Traffic(tuple(terms), *rooms)


def _of_pairs(some: Sequence[Term], numbers: Ints, tilings: Ints) -> Term:
    """What pairs of a choice and a tiling move, of terms per choice."""
    return Term(*(_gathered([getattr(t, f.name) for t in some], numbers, tilings) for f in fields(Term)))


def _gathered(choices: Sequence[Array], numbers: Ints, tilings: Ints) -> Any:
    """Of arrays per choice, the last axis of which are tilings (or one for all), what pairs of a choice and a tiling
    have."""
    if not any(np.ndim(a) for a in choices):
        return np.array([float(a) for a in choices])[numbers]
    shape = np.broadcast_shapes(*(np.shape(a) for a in choices))
    every = np.stack([np.broadcast_to(a, shape) for a in choices])
    return np.asarray(np.moveaxis(every[numbers, ..., tilings if shape[-1] > 1 else 0], 0, -1))
