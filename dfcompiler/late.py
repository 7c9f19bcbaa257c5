"""Moves that happen in some steps of a nest, which no class of steps tells: what they add to its time, at the most.

A class of steps says which loops stand at their first iteration. That is not enough where a mask brings a tile's first
points to another pass, or to another step on one instance than on the next, nor for results that are held across a
reduced loop: they leave in its last pass, which is in one class with those between. Such moves are taken out of their
class and added beside the most that moves in any step where they may happen. What a move adds to a step is convex in
its size: some that fall together add no more than if all did.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.problem import Band, NestOperand

if TYPE_CHECKING:
    from dfcompiler.nest import Keep, Nest

Floats = npt.NDArray[np.float64]


class Late:
    """The late moves of a nest: `[class, tiling]` cycles of one move in steps of a class, those of class 0 in steps of
    any class, and cycles of all such moves."""

    def __init__(self, nest: Nest) -> None:
        self.nest, self.tiles, self.order = nest, nest.tiles, nest.order
        self.band = nest.problem.band if nest.tiles.pairs is not None else None

    def taken_out(
        self, o: NestOperand, held: Keep | None, moved: Floats, far: bool, more: Array, *, bound: bool = False
    ) -> tuple[Array, Array]:
        """What of an operand's moves is late, taken out of `moved[row, class, tiling]`.

        `held` says since where the operand moves in first passes only, with `far` on the way to the DRAM only, `more`
        how often each of a pass's moves happens until all tiles are there, an array under a mask. With `bound` nothing
        that other choices of what is held have not.
        """
        late: tuple[Array, Array] = 0.0, 0.0
        rows = moved[4:] if far else moved
        if held and np.ndim(more):
            late = self._anywhere(o, rows, more)
        elif held and o.kind == "write" and self._unlike(o, held):
            late = self._in_last_pass(o, held, rows, bound)
        if not bound and self._split and not self._flush and self.order and (held or self.order[-1] not in o.loops):
            apart = np.logical_or.reduce([self.tiles.ways[x] > 1 for x in self._split])
            one, every = self._anywhere(o, moved, 1.0, apart)
            late = late[0] + one, late[1] + every
        return late

    def cycles(self, one: Array, every: Array, move: Floats, share: float) -> Floats:
        """Cycles by which late moves make steps longer, at the most, where `move[class, tiling]` are those of the other
        moves with this share of the ways to memory."""
        least = np.minimum.reduce([c for _, c in self.tiles.partly] or [self.tiles.compute])
        beside = move.copy()
        beside[0] = (move * self._anytime * (self.nest.counts > 0)).max(0)
        longer = np.maximum(beside + one / share, least) - np.maximum(beside, least)
        return np.asarray((longer * np.divide(every, one, out=np.zeros_like(move), where=np.greater(one, 0))).sum(0))

    @cached_property
    def _flush(self) -> bool:
        """Whether the tiles of the inner masked loop begin in one place, so that only steps to a further one bring in
        new ones."""
        nest, thin = self.nest, self.nest.thin
        across = any(o.kind == "write" and thin in o.loops and nest.thick not in o.loops for o in nest.problem.operands)
        return isinstance(self.band, Band) and bool(thin) and self.band.flush(thin) and not across

    @cached_property
    def _split(self) -> list[str]:
        """Masked loops that are split over instances, which may come to their first points in different steps."""
        band = self.band if isinstance(self.band, Band) else None
        return [x for x in (band.row, band.col) if x and np.any(self.tiles.ways[x] > 1)] if band else []

    @cached_property
    def _anytime(self) -> Floats:
        """1 for the classes of steps in which what is late in no class of its own may move."""
        thin = self.order.index(self.nest.thin) if self._flush and self.nest.thin in self.order else None
        return np.array([[float(any(c) if thin is None else c[thin])] for c in self.nest.classes])

    def _unlike(self, o: NestOperand, held: Keep) -> bool:
        """Whether other operands may move less, or more, in the last pass over a held result than in the first."""
        over = {p for p in self.nest.idle_positions(o) if p >= held.since}
        others = [x for x in self.nest.problem.operands if x != o and x.kind != "local"]
        return any(over & set(self.nest.idle_positions(x)) for x in others)

    def _in_last_pass(self, o: NestOperand, held: Keep, moved: Floats, bound: bool) -> tuple[Floats, Floats]:
        """Moves that are charged in first passes as late ones in the classes of the last, which under a mask may be the
        first as well."""
        nest, masked = self.nest, {self.nest.thick, self.nest.thin}
        one, every = np.zeros((2, *nest.counts.shape))
        for c, moving in enumerate(nest.classes):
            last = max((p for p, x in enumerate(moving) if x), default=0)
            passes = {p for p in range(held.since, last) if not moving[p] and self.order[p] not in o.loops}
            either = masked & {self.order[p] for p in passes}
            if not passes or (either and bound):
                continue
            at = nest.classes.index(tuple(int(x or p in passes) for p, x in enumerate(moving)))
            cycles = (moved[:, c] / self._rates[-len(moved) :]).max(0)
            one[at], every[at] = np.maximum(one[at], cycles), every[at] + nest.counts[c] * cycles
            if not either:
                moved[:, c] = 0.0
        return one, every

    def _anywhere(
        self, o: NestOperand, moved: Floats, more: Array, where: npt.NDArray[np.bool_] | bool = True
    ) -> tuple[Floats, Floats]:
        """Moves that are charged in first passes, each `more` times, as late ones in no class of their own, but for
        those of first steps that are sure. Instances may do so one after another."""
        counts, rates, times = self.nest.counts, self._rates[-len(moved) :], np.ones_like(self.tiles.compute)
        for x in self._split:
            if x in o.loops or not self.nest.unit.levels[-1].multicast:
                times = times * self.tiles.ways[x]
        one = moved.max(1) / more
        left = np.minimum(moved, one[:, None]) * (1 - self._anytime)
        last = one * (more - 1.0) if o.kind == "write" else 0.0  # the last store of all counts by itself
        again = 0.0 if self._flush else one * (times - 1.0)
        size, every = np.zeros((2, *counts.shape))
        size[0] = np.where(where, (one / rates).max(0), 0.0)
        total = ((counts * (moved - left)).sum(1) + last) * times + again
        every[0] = np.where(where, (total / rates).max(0), 0.0)
        moved[:] = np.where(where, left, moved)
        return size, every

    @cached_property
    def _rates(self) -> Floats:
        """Bytes per cycle of every row of moved bytes; with two memories there is none between."""
        local, top = self.nest.unit.levels[-1], self.nest.unit.levels[1]
        between = local is not top
        return np.array(
            [
                [local.fill_bytes_per_cycle],
                [local.drain_bytes_per_cycle],
                [local.source_bytes_per_cycle if between else np.inf],
                [local.sink_bytes_per_cycle if between else np.inf],
                [min(top.source_bytes_per_cycle, top.fill_bytes_per_cycle * top.instances)],
                [min(top.sink_bytes_per_cycle, top.drain_bytes_per_cycle * top.instances)],
            ]
        )
