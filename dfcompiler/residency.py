"""Which operands of a nest stay where, in all orders of its loops at once.

An operand pays to keep across a loop that it does not depend on and that has loops inside which it does. What an
operand moves and what room it takes follows from a few choices, many of which are the same in several orders; an order
with a choice for every operand is a structure, a row of numbers of choices. Equal rows are one structure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from dfcompiler.moves import Frame, Keep, Moves
from dfcompiler.problem import NestOperand

Ints = npt.NDArray[np.int64]

COMPARED = 2048  # structures of which each is compared with each
KNOWN = 1024  # frames of which structures are kept: layers, units and steps share them


@dataclass(frozen=True)
class Structures:
    """Structures of orders that share how often their loops run: `rows[structure, operand]` are numbers of `choices`,
    each of which is an order and what is kept in it; `made` says by which order, and by which of the combinations of
    its operands' `keeps`."""

    orders: Sequence[Moves]
    choices: Sequence[Sequence[tuple[Moves, Keep | None]]]
    rows: Ints
    made: Ints
    keeps: Sequence[Sequence[Sequence[Keep | None]]]

    def mapping(self, structure: int) -> tuple[Moves, tuple[Keep, ...]]:
        """The order of a structure and what it keeps."""
        at, combination = self.made[structure].tolist()
        picks = np.unravel_index(combination, [len(keeps) for keeps in self.keeps[at]])
        kept = [keeps[int(i)] for keeps, i in zip(self.keeps[at], picks, strict=True)]
        return self.orders[at], tuple(k for k in kept if k)


@lru_cache(maxsize=KNOWN)
def structures(frame: Frame, live: tuple[str, ...], levels: tuple[str, ...]) -> tuple[Structures, ...]:
    """All structures of loops that run more than once, by which of the masked loops is the inner one."""
    orders = [Moves(frame, order) for order in permutations(live)]
    thin = dict.fromkeys(m.thin for m in orders)
    return tuple(_structures(frame, [m for m in orders if m.thin == t], levels) for t in thin)


def _structures(frame: Frame, orders: Sequence[Moves], levels: Sequence[str]) -> Structures:
    known: list[dict[object, int]] = [{} for _ in frame.operands]
    choices: list[list[tuple[Moves, Keep | None]]] = [[] for _ in frame.operands]
    every, of, rows = [], [], []
    for at, moves in enumerate(orders):
        each = [_keeps(moves, o, levels) for o in frame.operands]
        picks = np.indices([len(keeps) for keeps in each]).reshape(len(each), -1)
        columns = []
        for o, seen, made, keeps, pick in zip(frame.operands, known, choices, each, picks, strict=True):
            numbers = []
            for keep in keeps:
                numbers.append(seen.setdefault(_content(moves, o, keep), len(made)))
                if numbers[-1] == len(made):
                    made.append((moves, keep))
            columns.append(np.array(numbers)[pick])
        every.append(each)
        rows.append(np.stack(columns, 1))
        of.append(np.stack([np.full(picks.shape[1], at), np.arange(picks.shape[1])], 1))
    found, first = np.unique(np.concatenate(rows), axis=0, return_index=True)
    good = _undominated(found, [_no_more(o, made) for o, made in zip(frame.operands, choices, strict=True)])
    return Structures(orders, choices, found[good], np.concatenate(of)[first[good]], every)


def _undominated(rows: Ints, no_more: Sequence[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """Structures than which no other moves and takes no more; all where there are too many to compare."""
    if len(rows) > COMPARED:
        return np.ones(len(rows), dtype=bool)
    worse = np.ones((len(rows), len(rows)), dtype=bool)
    for numbers, matrix in zip(rows.T, no_more, strict=True):
        worse &= matrix[numbers[:, None], numbers]
    beaten = worse & ~(worse.T & np.tri(len(rows), dtype=bool))  # of equal ones the first stays
    return np.asarray(~beaten.any(0))


def _no_more(o: NestOperand, made: Sequence[tuple[Moves, Keep | None]]) -> npt.NDArray[np.bool_]:
    """`[a, b]`: choice a of an operand moves no more than choice b in any step, in no more room anywhere."""
    inside = [moves.region(o, keep) or frozenset() for moves, keep in made]
    found = np.array([[a <= b for b in inside] for a in inside])
    if o.kind == "local":
        return found
    where = [keep and keep.where for _, keep in made]
    late = [_late(moves, o, keep) for moves, keep in made]
    found &= np.array(
        [
            [a in (None, b) and x == y for b, y in zip(where, late, strict=True)]
            for a, x in zip(where, late, strict=True)
        ]
    )
    flows = [moves.flow(o, keep) for moves, keep in made]
    bits = np.stack([[*f.near.ravel(), *f.far.ravel(), f.near_whole, f.far_whole] for f in flows])
    return np.asarray(found & (bits[:, None] <= bits).all(-1))


def _keeps(moves: Moves, o: NestOperand, levels: Sequence[str]) -> list[Keep | None]:
    spots = moves.idle_positions(o) if o.kind != "local" else []
    return [None, *(Keep(o.name, where, p, o.kind) for p in spots for where in levels)]


def _content(moves: Moves, o: NestOperand, keep: Keep | None) -> object:
    """What an operand's choice comes to: what moves and when, and what it takes room for."""
    inside = moves.region(o, keep)
    if o.kind == "local":
        return inside
    flow = moves.flow(o, keep)
    bits = flow.near.tobytes(), flow.far.tobytes(), flow.near_whole, flow.far_whole
    return bits, _late(moves, o, keep), keep and keep.where, inside


def _late(moves: Moves, o: NestOperand, keep: Keep | None) -> object:
    """What says which of an operand's moves are late."""
    held = moves.held(o, keep)
    return moves.last_passes(o, held), moves.frame.masked and moves.again(o, held)
