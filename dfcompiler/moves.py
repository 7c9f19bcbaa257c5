"""What moves when: for an order of loops, how many bits of an operand's tile pass in each class of steps.

Which operands move in a step depends only on which loops have advanced since the first: with D loops the steps fall
into 2^D classes. An operand moves when a loop that it depends on has moved, unless it is kept: kept at a level across
a loop that it does not depend on, it is loaded in that loop's first iteration only. Sums that are not kept across a
reduced loop go out unfinished and come back. None of this depends on how large tiles are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dfcompiler.problem import NestOperand, Problem

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

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


class LastPass(NamedTuple):
    """The class of stores in first passes, that of the last pass, whether a mask may leave one pass only, and whether
    other operands move alike in both."""

    first: int
    last: int
    either: bool
    alike: bool


@dataclass(frozen=True)
class Flow:
    """Bits of each element of a tile that move in a step, `[IN or OUT, class]`: at the innermost memory (`near`), and
    of those the ones that come from DRAM or go there (`far`).

    Where loops are masked, what is kept is loaded whole, though each pass sees only some of its tiles: with
    `near_whole` and `far_whole` the bits are those of a pass that sees all. The rest says what is late, see `Late`.
    """

    near: Floats
    far: Floats
    near_whole: bool
    far_whole: bool
    kept_near: bool  # whether what is held is so in the innermost memory
    whole: bool  # whether what is held in any memory is loaded whole
    again: bool  # whether a tile stays for more than one step
    last: tuple[LastPass, ...]


class Trace(NamedTuple):
    """Choices with equal traces move the same bytes in all tilings; with the same `alike` and fewer `bits` no more."""

    bits: tuple[Floats, ...]
    alike: tuple[object, ...]


@dataclass(frozen=True)
class Choices:
    """What becomes of operands by several choices, each in an order of the same loops, side by side."""

    operand: Ints  # [choice], positions among the frame's, ascending
    near: Floats  # [IN or OUT, choice, class, 1], as in `Flow`
    far: Floats
    near_whole: Bools  # [choice], and so on
    far_whole: Bools
    kept_near: Bools
    whole: Bools
    again: Bools
    inner: Bools  # whether it stays in the unit's own memory
    outer: Bools  # or in the one above
    inside: Bools  # [choice, loop, 1], by name: over which of them tiles lie side by side where it stays
    last: tuple[tuple[LastPass, ...], ...]

    @staticmethod
    def of(chosen: Sequence[tuple[int, Moves, Keep | None]]) -> Choices:
        """What these choices come to: positions of operands, orders of the same loops, and where they are kept."""
        every = [(moves.frame.operands[i], moves, keep) for i, moves, keep in chosen]
        flows = [moves.flow(o, keep) for o, moves, keep in every]
        near, far = (np.stack([getattr(f, n) for f in flows], 1)[..., None] for n in ("near", "far"))

        def flags(each: Iterable[object]) -> Bools:
            return np.array([*each], dtype=bool)

        inside = [[x in (moves.region(o, keep) or ()) for x in moves.names] for o, moves, keep in every]
        return Choices(
            operand=np.array([i for i, _, _ in chosen]),
            near=near,
            far=far,
            near_whole=flags(f.near_whole for f in flows),
            far_whole=flags(f.far_whole for f in flows),
            kept_near=flags(f.kept_near for f in flows),
            whole=flags(f.whole for f in flows),
            again=flags(f.again for f in flows),
            inner=flags(keep and keep.where == INNER for _, _, keep in every),
            outer=flags(keep and keep.where == OUTER for _, _, keep in every),
            inside=np.array(inside, dtype=bool).reshape(len(every), -1, 1),
            last=tuple(f.last for f in flows),
        )


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

    def renamed(self, numbers: Mapping[str, str]) -> Frame:
        """The frame with its operands by their positions, and with these names of loops; others never move anything."""
        some = set(numbers)
        operands = (
            replace(o, name=str(i), loops=frozenset(numbers[x] for x in o.loops & some))
            for i, o in enumerate(self.operands)
        )
        masked = self.masked and (numbers.get(self.masked[0], ""), numbers.get(self.masked[1] or "", ""))
        return Frame(tuple(operands), frozenset(numbers[x] for x in self.reduced & some), masked)


class Moves:
    """An order of loops, each of which runs more than once. Class `c` of steps are those in which the loops have
    advanced whose bit is set in `c`; bits go by the loops' names, so that all orders of some loops share classes."""

    def __init__(self, frame: Frame, order: Sequence[str]) -> None:
        self.frame, self.order = frame, tuple(order)
        self.names = sorted(order)
        self.bits = [1 << self.names.index(x) for x in order]
        self.classes = np.arange(1 << len(order))
        self.thin, self.thick = "", ""  # the masked loops: the inner one has fewer trips, averaged over the outer one
        if frame.masked:
            live = [x for x in self.order if x in frame.masked]
            self.thick, self.thin = ("", *live, frame.masked[0])[:2] if len(live) < 2 else (live[0], live[1])
        self._idle: dict[frozenset[str], list[int]] = {}
        self._flows: dict[tuple[str, str, Keep | None, bool], Flow] = {}
        self._fewer: dict[str, Moves] = {}

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
        near = np.zeros((2, len(self.classes)))
        if o.kind == "local":
            return Flow(near, near, *(False,) * 5, ())
        within, beyond = (keep if keep and keep.where == w else None for w in (INNER, OUTER))
        done, held, longest = self._finished_once(o), self.held(o, within), self.held(o, keep)
        spilling = self._spills(o, within) & (o.kind == "write")
        bits = np.where(spilling, o.partial_bits, o.bits)
        if widest and spilling.any():
            bits = np.full(len(bits), max(o.bits, o.partial_bits))
        near[OUT if o.kind == "write" else IN] = bits * self._changes(o, held)
        near[IN] += near[OUT] * spilling
        far = near * ~self._stays(o, beyond) if beyond and not done else near
        far = np.zeros_like(near) if o.pinned else far
        whole = self.sees_all(o, held or beyond)
        flags = whole and held is not None, whole, held is not None, self.sees_all(o, longest), self.again(o, longest)
        return Flow(near, far, *flags, self.last_passes(o, longest))

    def last_passes(self, o: NestOperand, held: Keep | None) -> tuple[LastPass, ...]:
        """Where stores of a held result in first passes belong, but for those of which it makes no difference."""
        if held is None or o.kind != "write":
            return ()
        found, masked, alike = [], {self.thick, self.thin}, self._alike(o, held)
        for c in self.classes.tolist():
            last = max((p for p, bit in enumerate(self.bits) if c & bit), default=0)
            passes = [p for p in range(held.since, last) if not c & self.bits[p] and self.order[p] not in o.loops]
            either = bool(masked & {self.order[p] for p in passes})
            if passes and (either or not alike):
                found.append(LastPass(c, c | self._mask(passes), either, alike))
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

    def passes_partly(self, o: NestOperand, held: Keep | None) -> bool:
        """Whether an operand is moved again in passes over only those tiles that have points."""
        over = self.thick if self.thick and self.thin in o.loops else self.thin
        if over not in self.order or over in o.loops:
            return False
        at = self.order.index(over)
        return at in self.idle_positions(o) and not (held and held.since <= at)

    def trace(self, o: NestOperand, keep: Keep | None) -> Trace:
        """What bytes of an operand depend on besides sizes: here, and for instances for which a loop does not run."""
        if o.kind == "local":
            return Trace((), ())
        flow, sets = self.flow(o, keep, widest=False), []
        for k in (keep if keep and keep.where == INNER else None, keep):
            held = self.held(o, k)
            across = frozenset(self.order[p] for p in self.idle_positions(o) if not (k and k.since <= p))
            thick = bool(held and self.thick in self.order[held.since :])
            sets.append((self.sees_all(o, held), self.passes_partly(o, held), thick, across))
        found, rest = [Trace((flow.near, flow.far), (flow.near_whole, flow.far_whole, *sets))], set(self.order)
        for x in sorted(o.loops & rest - {self.thick, self.thin}):
            fewer = self._fewer.setdefault(x, Moves(self.frame, [n for n in self.order if n != x]))
            since = keep and replace(keep, since=keep.since - (x in self.order[: keep.since]))
            found.append(fewer.trace(o, since))
        return Trace(tuple(a for t in found for a in t.bits), tuple(t.alike for t in found))

    def _finished_once(self, o: NestOperand) -> Keep | None:
        """A result that is no sum itself leaves once: when the sums that it is made of are done, and not again where
        others are made of it. As if kept, without room."""
        idle = self.idle_positions(o)
        return Keep(o.name, INNER, idle[0]) if idle and o.kind == "write" and not o.partial_bits else None

    def _mask(self, positions: Iterable[int]) -> int:
        return sum(self.bits[p] for p in positions)

    def _changes(self, o: NestOperand, keep: Keep | None) -> Bools:
        """In which classes of steps the operand's tile changes: where no loop inside of all its own advances."""
        deepest = max((p for p, x in enumerate(self.order) if x in o.loops), default=-1)
        changes = self.classes & self._mask(range(deepest + 1, len(self.order))) == 0
        changes[0] = o.kind != "write"
        return np.asarray(changes & ~self._stays(o, keep) if keep else changes)

    def _stays(self, o: NestOperand, keep: Keep) -> Bools:
        """In which classes of steps what is kept is already there."""
        across = (p for p in range(keep.since, len(self.order)) if self.order[p] not in o.loops)
        return np.asarray(self.classes & self._mask(across) != 0)

    def _spills(self, o: NestOperand, keep: Keep | None) -> Bools:
        """Which classes of steps swap unfinished sums: out at the accumulator's width, and back in."""
        since = keep.since if keep else len(self.order)
        lost = self.frame.reduced - o.loops if o.partial_bits else frozenset()
        across = (p for p in self.idle_positions(o) if self.order[p] in lost and p < since)
        return np.asarray(self.classes & self._mask(across) != 0)
