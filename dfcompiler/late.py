"""Moves that happen in some steps of a nest, which no class of steps tells: what they add to its time, at the most.

A class of steps says which loops stand at their first iteration. That is not enough where a mask brings a tile's first
points to another pass, or to another step on one instance than on the next, nor for results that are held across a
reduced loop: they leave in its last pass, which is in one class with those between. Such moves are taken out of their
class and added beside the most that moves in any step where they may happen. What a move adds to a step is convex in
its size: some that fall together add no more than if all did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.moves import Keep, LastPass
from dfcompiler.problem import Band, NestOperand
from dfcompiler.traffic import DRAM, NEAR, Term

if TYPE_CHECKING:
    from dfcompiler.nest import Nest

Floats = npt.NDArray[np.float64]


class Late:
    """The late moves of a nest: `[class, tiling]` cycles of one move in steps of a class, those of class 0 in steps of
    any class, and cycles of all such moves."""

    def __init__(self, nest: Nest) -> None:
        self.nest, self.tiles, self.moves = nest, nest.tiles, nest.moves
        self.band = nest.problem.band if nest.tiles.pairs is not None else None

    def taken_out(self, o: NestOperand, held: Keep | None, term: Term, far: bool, more: Array) -> Term:
        """What moves of an operand, with what of it is late taken out of the classes.

        `held` says since where it moves in first passes only, with `far` on the way to the DRAM only, `more` how often
        each of a pass's moves happens until all tiles are there, an array under a mask.
        """
        whole = held is not None and np.ndim(more) > 0
        if whole:
            term = self._anywhere(o, term, far, more)
        if self._split and not self._flush and (far or not whole) and self.moves.again(o, held):
            apart = np.logical_or.reduce([self.tiles.ways[x] > 1 for x in self._split])
            term = self._anywhere(o, term, False, 1.0, apart)
        if not whole and (passes := self.moves.last_passes(o, held)):
            term = self._in_last_pass(o, passes, term, far)
        return term

    def cycles(self, one: Floats, every: Floats, move: Floats, share: float) -> Floats:
        """Cycles by which late moves make steps longer, at the most, where `move[class, tiling]` are those of the other
        moves with this share of the ways to memory."""
        least = np.minimum.reduce([c for _, c in self.tiles.partly] or [self.tiles.compute])
        beside, together = move.copy(), one + one[0]  # those of any class may fall into steps of this one
        beside[0] = (move * self._anytime * (self.nest.counts > 0)).max(0)
        together[0] = one[0] + one[1:].max(0, initial=0.0)
        longer = np.maximum(beside + together / share, least) - np.maximum(beside, least)
        each = np.divide(longer, together, out=np.zeros_like(move), where=together > 0)
        return np.asarray((each * every).sum(0))

    @cached_property
    def _flush(self) -> bool:
        """Whether the tiles of the inner masked loop begin in one place, so that only steps to a further one bring in
        new ones."""
        nest, thin, thick = self.nest, self.moves.thin, self.moves.thick
        across = any(o.kind == "write" and thin in o.loops and thick not in o.loops for o in nest.problem.operands)
        return isinstance(self.band, Band) and bool(thin) and self.band.flush(thin) and not across

    @cached_property
    def _even(self) -> bool:
        """Whether all instances are done with what they hold in one step: the tiles end in one place."""
        return not self._split or (isinstance(self.band, Band) and self.band.flush(self.moves.thin, ends=True))

    @cached_property
    def _split(self) -> list[str]:
        """Masked loops that are split over instances, which may come to their first points in different steps."""
        band = self.band if isinstance(self.band, Band) else None
        loops = (band.row, band.col, *band.others) if band else ()
        return [x for x in loops if x and np.any(self.tiles.ways[x] > 1)]

    @cached_property
    def _anytime(self) -> Floats:
        """1 for the classes of steps in which what is late in no class of its own may move."""
        order, thin = self.moves.order, self.moves.thin
        at = order.index(thin) if self._flush and thin in order else None
        return np.array([[float(any(c) if at is None else c[at])] for c in self.moves.classes])

    def _times(self, o: NestOperand) -> Floats:
        """In how many steps the instances may move what they would move in one, were it not for the mask."""
        times = np.ones_like(self.tiles.compute)
        for x in self._split:
            if x in o.loops or not self.nest.unit.levels[-1].multicast:
                times = times * self.tiles.ways[x]
        return times

    def _in_last_pass(self, o: NestOperand, passes: Sequence[LastPass], term: Term, far: bool) -> Term:
        """Moves that are charged in first passes as late ones in the classes of the last, and there in as many steps as
        instances are done in. They stay charged as well where a mask may leave the first pass only, and charged in the
        first alone where both are alike."""
        one, every = np.zeros((2, *self.nest.counts.shape))
        together, bits, dram = self._alone(term, term.bits, term.far, far), term.bits.copy(), term.far.copy()
        apart = together
        if not self._even:
            times = self._times(o)
            apart = self._alone(term, bits * times, dram * times, far, times)
        for c, at, either, alike in passes:
            more = apart[c] - together[c] * alike
            one[at] = np.maximum(one[at], np.where(more > 0, together[c], 0.0))
            every[at] += self.nest.counts[c] * more
            if not (either or alike):
                dram[:, c] = 0.0
                bits[:, c] = bits[:, c] if far else 0.0
        return replace(term, bits=bits, far=dram, late=term.late + one, late_all=term.late_all + every)

    def _anywhere(
        self, o: NestOperand, term: Term, far: bool, more: Array, where: npt.NDArray[np.bool_] | bool = True
    ) -> Term:
        """Moves that are charged in first passes, each `more` times, as late ones in no class of their own, but for
        those of first steps that are sure. Instances may do so one after another."""
        counts, times = self.nest.counts, self._times(o)
        sizes, totals, left = [], [], []
        for bits in (term.bits, term.far):
            one = bits.max(1) / more
            stay = np.minimum(bits, one[:, None]) * (1 - self._anytime)
            last = one * (more - 1.0) if o.kind == "write" else 0.0  # the last store of all counts by itself
            again = 0.0 if self._flush else one * (times - 1.0)
            sizes.append(one)
            totals.append(((counts * (bits - stay)).sum(1) + last) * times + again)
            left.append(np.where(where, stay, bits))
        size, every = np.zeros((2, *counts.shape))
        size[0] = np.where(where, self._alone(term, sizes[0], sizes[1], far), 0.0)
        every[0] = np.where(where, self._alone(term, totals[0], totals[1], far, times), 0.0)
        bits, dram = (term.bits, left[1]) if far else left
        return replace(term, bits=bits, far=dram, late=term.late + size, late_all=term.late_all + every)

    def _alone(self, term: Term, bits: Floats, dram: Floats, far: bool, times: Array = 1.0) -> Floats:
        """Cycles that bits `[2, ...]` of an operand take by themselves, with `far` those from and to DRAM only. What
        instances do in so many steps instead of one is as much on the ways that they share."""
        found = []
        for p in (p for p in self.nest.ports if p.level == DRAM or not far):
            elements = term.at(p.level)[1] / (1.0 if p.level == NEAR else times)
            found.append(p.weigh(dram if p.level == DRAM else bits) * elements)
        return np.asarray(np.maximum.reduce(found))
