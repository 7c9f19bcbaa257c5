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
from dfcompiler.moves import Choices
from dfcompiler.problem import Band, NestOperand
from dfcompiler.traffic import DRAM, NEAR, Terms

if TYPE_CHECKING:
    from dfcompiler.nest import Nest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Late:
    """The late moves of a nest: `[class, tiling]` cycles of one move in steps of a class, those of class 0 in steps of
    any class, and cycles of all such moves; not `counted` they are left out."""

    def __init__(self, nest: Nest, *, counted: bool = True) -> None:
        self.nest, self.tiles, self.moves, self.counted = nest, nest.tiles, nest.moves, counted
        self.band = nest.problem.band if nest.tiles.pairs is not None else None

    def taken_out(self, choices: Choices, terms: Terms) -> Terms:
        """What moves by choices, with what of it is late taken out of the classes: of what is held in first passes that
        see some of the tiles under a mask, of what instances come to one by one, and of what leaves in last passes."""
        whole, far = choices.whole, ~choices.kept_near
        if len(some := np.flatnonzero(whole)):
            terms = self._anywhere(choices, some, terms, far, self.nest.all_of(True))
        if self._split and not self._flush and len(some := np.flatnonzero(choices.again & (far | ~whole))):
            apart = np.logical_or.reduce([self.tiles.ways[x] > 1 for x in self._split])
            terms = self._anywhere(choices, some, terms, np.zeros_like(far), 1.0, apart)
        if len(some := np.flatnonzero([bool(x) for x in choices.last] & ~whole)):
            terms = self._in_last_pass(choices, some, terms, far)
        return terms

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
        thin, order = self.moves.thin, self.moves.order
        some = self.moves.bits[order.index(thin)] if self._flush and thin in order else -1
        return np.asarray(self.moves.classes & some != 0, dtype=np.float64)[:, None]

    def _times(self, operands: Sequence[NestOperand]) -> Floats:
        """In how many steps the instances may move what they would move in one, were it not for the mask, `[operand, 1,
        tiling]`."""
        times = np.ones((len(operands), 1, *self.tiles.compute.shape))
        for x in self._split:
            apart = [x in o.loops or not self.nest.unit.levels[-1].multicast for o in operands]
            times[apart] *= self.tiles.ways[x]
        return times

    def _operands(self, choices: Choices, some: Ints) -> list[NestOperand]:
        return [self.nest.problem.operands[i] for i in choices.operand[some].tolist()]

    def _in_last_pass(self, choices: Choices, some: Ints, terms: Terms, far: Bools) -> Terms:
        """Moves of some choices that are charged in first passes as late ones in the classes of the last, and there in
        as many steps as instances are done in. They stay charged as well where a mask may leave the first pass only,
        and charged in the first alone where both are alike."""
        bits, dram, first = terms.bits[:, some], terms.far[:, some], np.ones((len(some), len(self.moves.classes), 1))
        passes = [choices.last[i] for i in some.tolist()]
        for i, each in enumerate(passes):
            first[i, [x.first for x in each if not (x.either or x.alike)]] = 0.0
        left = _left(terms, some, bits * np.where(far[some, None, None], 1.0, first), dram * first)
        if not self.counted:
            return left
        counts, times = self.nest.counts, 1.0 if self._even else self._times(self._operands(choices, some))
        together = self._alone(terms, some, bits, dram, far)
        apart = together if self._even else self._alone(terms, some, bits * times, dram * times, far, times)
        one, every = np.zeros((2, len(some), *counts.shape))
        for i, each in enumerate(passes):
            for c, at, _, alike in each:
                more = apart[i, c] - together[i, c] * alike
                one[i, at] = np.maximum(one[i, at], np.where(more > 0, together[i, c], 0.0))
                every[i, at] += counts[c] * more
        return _added(left, some, one, every)

    def _anywhere(
        self, choices: Choices, some: Ints, terms: Terms, far: Bools, more: Array, where: Bools | bool = True
    ) -> Terms:
        """Moves of some choices that are charged in first passes, each `more` times, as late ones in no class of their
        own, but for those of first steps that are sure. Instances may do so one after another."""
        every = terms.bits[:, some], terms.far[:, some]
        ones = [bits.max(-2, keepdims=True) / more for bits in every]
        stay = [np.minimum(bits, one) * (1 - self._anytime) for bits, one in zip(every, ones, strict=True)]
        bits, dram = (np.where(where, x, y) for x, y in zip(stay, every, strict=True))
        left = _left(terms, some, np.where(far[some, None, None], every[0], bits), dram)
        if not self.counted:
            return left
        counts, operands = self.nest.counts, self._operands(choices, some)
        writes, times = np.array([o.kind == "write" for o in operands])[:, None, None], self._times(operands)
        totals = []
        for bits, one, kept in zip(every, ones, stay, strict=True):
            last = one * (more - 1.0) * writes  # the last store of all counts by itself
            again = 0.0 if self._flush else one * (times - 1.0)
            totals.append(((counts * (bits - kept)).sum(-2, keepdims=True) + last) * times + again)
        late = np.zeros((2, len(some), *counts.shape))
        late[0, :, :1] = np.where(where, self._alone(terms, some, ones[0], ones[1], far), 0.0)
        late[1, :, :1] = np.where(where, self._alone(terms, some, totals[0], totals[1], far, times), 0.0)
        return _added(left, some, *late)

    def _alone(self, terms: Terms, some: Ints, bits: Floats, dram: Floats, far: Bools, times: Array = 1.0) -> Floats:
        """Cycles that bits `[2, choice, ...]` of some choices take by themselves, where `far` those from and to DRAM
        only. What instances do in so many steps instead of one is as much on the ways that they share."""
        each = []
        for port in self.nest.ports:
            elements = terms.at(port.level)[1][some, None] / (1.0 if port.level == NEAR else times)
            one = port.weigh(dram if port.level == DRAM else bits) * elements
            each.append(one * (port.level == DRAM or ~far[some, None, None]))
        return np.asarray(np.maximum.reduce(each))


def _left(terms: Terms, some: Ints, bits: Floats, far: Floats) -> Terms:
    """Terms with other bits for some of them."""
    return replace(terms, bits=_put(terms.bits, some, bits), far=_put(terms.far, some, far))


def _added(terms: Terms, some: Ints, size: Floats, every: Floats) -> Terms:
    """Terms some of which have more that is late."""
    late, late_all = (_put(a, some, a[some] + b) for a, b in ((terms.late, size), (terms.late_all, every)))
    return replace(terms, late=late, late_all=late_all)


def _put(a: Floats, some: Ints, values: Floats) -> Floats:
    found = np.array(np.broadcast_to(a, (*a.shape[:-1], max(a.shape[-1], values.shape[-1]))))
    found[..., some, :, :] = values
    return found
