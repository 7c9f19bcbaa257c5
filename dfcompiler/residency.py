"""Which operands of a nest stay where, in all orders of its loops at once.

An operand pays to keep across a loop that it does not depend on and that has loops inside which it does. What an
operand moves and what room it takes follows from a few choices, many of which are the same in several orders; an order
with a choice for every operand is a structure, a row of numbers of choices. Equal rows are one structure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from dfcompiler.moves import Choices, Frame, Keep, Moves, Trace
from dfcompiler.problem import NestOperand

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COMPARED = 2048  # structures of which each is compared with each
KNOWN = 1024  # frames of which structures are kept: layers, units and steps share them


@dataclass(frozen=True)
class Structures:
    """Structures of orders that share how often their loops run: `rows[structure, operand]` are numbers of `choices`,
    `order[structure]` is that of an order that has them; `keeps` says for each order and operand what they keep."""

    frame: Frame
    orders: Sequence[tuple[str, ...]]
    choices: Choices
    rows: Ints
    order: Ints
    keeps: Sequence[Sequence[Mapping[int, Keep | None]]]
    made: Sequence[tuple[int, int, Keep | None]]  # of each choice its operand, an order and what is kept in it

    @cached_property
    def first(self) -> Ints:
        """Of each operand the number of its first choice: it has one at least, and they are side by side."""
        return np.searchsorted(self.choices.operand, np.arange(len(self.frame.operands)))

    @cached_property
    def each(self) -> list[tuple[int, Moves, Keep | None]]:
        """Of each choice the position of its operand, the moves of an order that has it, and where that is kept."""
        moves, names = [Moves(self.frame, x) for x in self.orders], [o.name for o in self.frame.operands]
        return [(i, moves[order], keep and replace(keep, operand=names[i])) for i, order, keep in self.made]

    def moves(self, structure: int) -> Moves:
        """The order of a structure."""
        return Moves(self.frame, self.orders[self.order[structure]])

    def mapping(self, structure: int) -> tuple[Moves, tuple[Keep, ...]]:
        """The order of a structure and what it keeps."""
        keeps = self.keeps[self.order[structure]]
        each = zip(self.frame.operands, keeps, self.rows[structure].tolist(), strict=True)
        kept = ((o, found[number]) for o, found, number in each)
        return self.moves(structure), tuple(replace(keep, operand=o.name) for o, keep in kept if keep)


@lru_cache(maxsize=KNOWN)
def structures(
    frame: Frame, live: tuple[str, ...], levels: tuple[str, ...], *, traced: bool = False
) -> tuple[Structures, ...]:
    """All structures of loops that run more than once, by which of the masked loops is the inner one: those that may
    take least time; `traced` those that may move least bytes too."""
    numbers = {name: str(i) for i, name in enumerate(sorted(live))}
    words = {i: name for name, i in numbers.items()}
    found = _of_numbers(frame.renamed(numbers), tuple(numbers[x] for x in live), levels, traced)
    return tuple(replace(s, frame=frame, orders=[tuple(words[i] for i in x) for x in s.orders]) for s in found)


@lru_cache(maxsize=KNOWN)
def _of_numbers(frame: Frame, live: tuple[str, ...], levels: tuple[str, ...], traced: bool) -> tuple[Structures, ...]:
    """The same for frames in which names are numbers, so that nests that differ in names share them."""
    orders = [Moves(frame, order) for order in permutations(live)]
    thin = dict.fromkeys(m.thin for m in orders)
    return tuple(_structures(frame, [m for m in orders if m.thin == t], levels, traced) for t in thin)


def _structures(frame: Frame, orders: Sequence[Moves], levels: Sequence[str], traced: bool) -> Structures:
    made: list[tuple[int, int, Keep | None]] = []
    traces: list[Trace] = []
    keeps: list[list[dict[int, Keep | None]]] = [[] for _ in orders]
    for i, o in enumerate(frame.operands):
        known: dict[object, int] = {}
        for at, (moves, each) in enumerate(zip(orders, keeps, strict=True)):
            each.append({})
            for keep in _keeps(moves, o, levels):
                trace = moves.trace(o, keep) if traced else Trace((), ())
                content = _content(moves, o, keep), tuple(a.tobytes() for a in trace.bits), trace.alike
                number = known.setdefault(content, len(made))
                each[i].setdefault(number, keep)
                if number == len(made):
                    made.append((i, at, keep))
                    traces.append(trace)
    choices = Choices.of([(i, orders[at], keep) for i, at, keep in made])
    no_more = _no_more(choices, bool(frame.masked), traces)
    rows = [np.array([*product(*(_best(sorted(x), no_more) for x in each))], dtype=np.int64) for each in keeps]
    every, first = np.unique(np.concatenate(rows), axis=0, return_index=True)
    good = _undominated(every, no_more)
    order = np.repeat(np.arange(len(orders)), [len(x) for x in rows])[first[good]]
    return Structures(frame, [m.order for m in orders], choices, every[good], order, keeps, made)


def _best(numbers: list[int], no_more: Bools) -> list[int]:
    """Choices for an operand in one order than which no other there moves and takes no more."""
    good = _undominated(np.array(numbers)[:, None], no_more) if len(numbers) > 1 else [True]
    return [n for n, keep in zip(numbers, good, strict=True) if keep]


def _undominated(rows: Ints, no_more: Bools) -> Bools:
    """Structures than which no other moves and takes no more; all where there are too many to compare."""
    if len(rows) > COMPARED:
        return np.ones(len(rows), dtype=bool)
    worse = np.ones((len(rows), len(rows)), dtype=bool)
    for numbers in rows.T:
        worse &= no_more[numbers[:, None], numbers]
    beaten = worse & ~(worse.T & np.tri(len(rows), dtype=bool))  # of equal ones the first stays
    return np.asarray(~beaten.any(0))


def _no_more(choices: Choices, masked: bool, traces: Sequence[Trace]) -> Bools:
    """`[a, b]`: choice a of an operand moves no more than choice b in any step, in no more room anywhere, and what of
    it is late is so in both; where they are traced, nor more bytes."""
    flags = np.stack([choices.near_whole, choices.far_whole, choices.inner, choices.outer], 1)
    taken = np.concatenate([*choices.near[..., 0], *choices.far[..., 0], flags, choices.inside[..., 0]], 1)
    late = zip(choices.operand.tolist(), choices.last, (choices.again & masked).tolist(), traces, strict=True)
    alike: dict[object, list[int]] = {}
    for i, (*key, trace) in enumerate(late):
        alike.setdefault((*key, trace.alike), []).append(i)
    found = np.zeros((len(taken), len(taken)), dtype=bool)
    for some in alike.values():
        each = np.array([np.concatenate([np.zeros(0), *map(np.ravel, traces[i].bits)]) for i in some])
        each = np.concatenate([taken[some], each], 1)
        found[np.ix_(some, some)] = (each[:, None] <= each).all(-1)
    return found


def _keeps(moves: Moves, o: NestOperand, levels: Sequence[str]) -> list[Keep | None]:
    spots = moves.idle_positions(o) if o.kind != "local" else []
    return [None, *(Keep(o.name, where, p, o.kind) for p in spots for where in levels)]


def _content(moves: Moves, o: NestOperand, keep: Keep | None) -> object:
    """What an operand's choice comes to: what moves and when, and what it takes room for."""
    flow = moves.flow(o, keep)
    bits = flow.near.tobytes(), flow.far.tobytes(), flow.near_whole, flow.far_whole
    return bits, flow.last, moves.frame.masked and flow.again, keep and keep.where, moves.region(o, keep)
