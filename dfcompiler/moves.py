"""What moves when: for an order of loops, how many bits of an operand's tile pass in each class of steps.

Which operands move in a step depends only on which loops have advanced since the first: with D loops the steps fall
into 2^D classes. An operand moves when a loop that it depends on has moved, unless it is kept: kept at a level across
a loop that it does not depend on, it is loaded in that loop's first iteration only. Sums that are not kept across a
reduced loop go out unfinished and come back. None of this depends on how large tiles are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dfcompiler.problem import NestOperand, Problem

Floats = npt.NDArray[np.float64]

INNER, OUTER = "inner", "outer"  # where an operand may be kept: the unit's own memory, or the one above it
IN, OUT = range(2)  # rows of what moves: into a unit's memory, and out of it


@dataclass(frozen=True)
class Keep:
    """`operand` stays in the inner or outer memory from loop position `since` inwards."""

    operand: str
    where: str
    since: int
    kind: str = ""  # on the way in (`read`) or out (`write`); both where it is not said


def kept(o: NestOperand, keeps: Sequence[Keep]) -> Keep | None:
    """Where an operand is kept, if it is."""
    return next((k for k in keeps if k.operand == o.name and k.kind in ("", o.kind)), None)


@dataclass(frozen=True)
class Flow:
    """Bits of each element of a tile that move in a step, `[IN or OUT, class, 1]`: at the innermost memory (`near`),
    and of those the ones that come from DRAM or go there (`far`).

    Where loops are masked, what is kept is loaded whole, though each pass sees only some of its tiles: with
    `near_whole` and `far_whole` the bits are those of a pass that sees all.
    """

    near: Floats
    far: Floats
    near_whole: bool
    far_whole: bool
    kept_near: bool  # whether what is held is so in the innermost memory


class LastPass(NamedTuple):
    """The class of stores in first passes, that of the last pass, whether a mask may leave one pass only, and whether
    other operands move alike in both."""

    first: int
    last: int
    either: bool
    alike: bool


@dataclass(frozen=True)
class Frame:
    """What orders and residencies of a nest depend on: its operands, which loops are reduced, and which two are masked.
    Equal frames have the same structures, however long their loops are."""

    operands: tuple[NestOperand, ...]
    reduced: frozenset[str]
    masked: tuple[str, str | None] | None  # the loop over columns, and that over rows

    @staticmethod
    def of(problem: Problem) -> Frame:
        """The frame of a problem."""
        band, names = problem.band, {x.name for x in problem.loops}
        return Frame(
            tuple(replace(o, total_bytes=0.0) for o in problem.operands),
            frozenset(x.name for x in problem.loops if x.reduced),
            (band.col, band.row) if band and band.col in names else None,
        )


class Moves:
    """An order of loops, each of which runs more than once. Class `c` of steps are those in which the loops have
    advanced whose bit is set in `c`; bits go by the loops' names, so that all orders of some loops share classes."""

    def __init__(self, frame: Frame, order: Sequence[str]) -> None:
        self.frame, self.order = frame, tuple(order)
        self.names = sorted(order)
        self.classes = [tuple(c >> self.names.index(x) & 1 for x in order) for c in range(1 << len(order))]
        self.thin, self.thick = "", ""  # the masked loops: the inner one has fewer trips, averaged over the outer one
        if frame.masked:
            live = [x for x in self.order if x in frame.masked]
            self.thick, self.thin = ("", *live, frame.masked[0])[:2] if len(live) < 2 else (live[0], live[1])
        self._idle: dict[frozenset[str], list[int]] = {}
        self._flows: dict[tuple[str, str, Keep | None, bool], Flow] = {}

    def idle_positions(self, o: NestOperand) -> list[int]:
        """Positions of loops that the operand does not depend on but with such loops inside: where keeping pays."""
        if o.loops not in self._idle:
            on = [x in o.loops for x in self.order]
            self._idle[o.loops] = [p for p in range(len(on)) if not on[p] and any(on[p + 1 :])]
        return self._idle[o.loops]

    def region(self, o: NestOperand, keep: Keep | None) -> frozenset[str] | None:
        """Loops over which tiles of an operand lie side by side in the memory where it stays; None where it passes.
        What is local stays across all loops that it does not depend on."""
        if o.kind == "local":
            spots = self.idle_positions(o)
            return o.loops & set(self.order[spots[0] :]) if spots else frozenset()
        return o.loops & set(self.order[keep.since :]) if keep else None

    def flow(self, o: NestOperand, keep: Keep | None, *, widest: bool = True) -> Flow:
        """What moves of an operand that is kept so. Of sums that leave unfinished, the first pass's are wide and the
        last pass's are not; here it is the first that counts as finished, or with `widest` none."""
        key = o.name, o.kind, keep, widest
        if key not in self._flows:
            self._flows[key] = self._flow(o, keep, widest)
        return self._flows[key]

    def _flow(self, o: NestOperand, keep: Keep | None, widest: bool) -> Flow:
        within, beyond = (keep if keep and keep.where == w else None for w in (INNER, OUTER))
        done, held = self._finished_once(o), self.held(o, within)
        near, far = np.zeros((2, 2, len(self.classes)))
        writes = o.kind == "write"
        spilling = [writes and self._spills(o, moved, within) for moved in self.classes]
        wide = widest and any(spilling)
        for c, moved in enumerate(self.classes):
            if not self._changes(o, moved, held):
                continue
            bits = max(o.bits, o.partial_bits) if wide else o.partial_bits if spilling[c] else o.bits
            fresh = bool(done) or not (beyond and self._stays(o, moved, beyond))
            for row in (OUT, IN) if spilling[c] else (OUT if writes else IN,):
                near[row, c] += bits
                far[row, c] += bits * fresh
        whole = self.sees_all(o, held or beyond)
        return Flow(near[..., None], far[..., None], whole and held is not None, whole, held is not None)

    def last_passes(self, o: NestOperand, held: Keep | None) -> tuple[LastPass, ...]:
        """Where stores of a held result in first passes belong, but for those of which it makes no difference."""
        if held is None or o.kind != "write":
            return ()
        found, masked, alike = [], {self.thick, self.thin}, self._alike(o, held)
        for c, moved in enumerate(self.classes):
            last = max((p for p, x in enumerate(moved) if x), default=0)
            passes = {p for p in range(held.since, last) if not moved[p] and self.order[p] not in o.loops}
            either = bool(masked & {self.order[p] for p in passes})
            if passes and (either or not alike):
                at = self.classes.index(tuple(int(x or p in passes) for p, x in enumerate(moved)))
                found.append(LastPass(c, at, either, alike))
        return tuple(found)

    def _alike(self, o: NestOperand, held: Keep) -> bool:
        """Whether no other operand may move less, or more, in the last pass over a held result than in the first."""
        over = {p for p in self.idle_positions(o) if p >= held.since}
        others = [x for x in self.frame.operands if (x.name, x.kind) != (o.name, o.kind) and x.kind != "local"]
        return not any(over & set(self.idle_positions(x)) for x in others)

    def again(self, o: NestOperand, held: Keep | None) -> bool:
        """Whether an operand's tile stays for more than one step."""
        return bool(self.order) and (held is not None or self.order[-1] not in o.loops)

    def held(self, o: NestOperand, keep: Keep | None) -> Keep | None:
        """Since where an operand moves in the first iterations only: because it is kept, or finished once."""
        return min((k for k in (keep, self._finished_once(o)) if k), key=lambda k: k.since, default=None)

    def sees_all(self, o: NestOperand, keep: Keep | None) -> bool:
        """Whether an operand is kept across a masked loop, so that it is loaded whole."""
        if keep is None or not self.thick or self.thick in o.loops or self.thin not in o.loops:
            return False
        return self.thick in self.order[keep.since :]

    def _finished_once(self, o: NestOperand) -> Keep | None:
        """A result that is no sum itself leaves once: when the sums that it is made of are done, and not again where
        others are made of it. As if kept, without room."""
        idle = self.idle_positions(o)
        return Keep(o.name, INNER, idle[0]) if idle and o.kind == "write" and not o.partial_bits else None

    def _changes(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> bool:
        """Whether the operand's tile changes in this class of steps."""
        advanced = max((p for p, m in enumerate(moved) if m), default=None)
        if keep and self._stays(o, moved, keep):
            return False
        if advanced is None:
            return o.kind != "write"
        return any(x in o.loops for x in self.order[advanced:])

    def _stays(self, o: NestOperand, moved: tuple[int, ...], keep: Keep) -> bool:
        """Whether what is kept is already there in this class of steps."""
        return any(moved[p] and self.order[p] not in o.loops for p in range(keep.since, len(moved)))

    def _spills(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> bool:
        """Whether this class of steps swaps unfinished sums: out at the accumulator's width, and back in."""
        since = keep.since if keep else len(self.order)
        lost = self.frame.reduced - o.loops
        return bool(o.partial_bits) and any(
            moved[p] and self.order[p] in lost and p < since for p in self.idle_positions(o)
        )
