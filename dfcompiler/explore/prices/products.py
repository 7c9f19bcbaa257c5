"""Products of two tensors as loop nests of up to three loops, and all orders and residencies of these as numbers.

A structure says for every operand how often its tile moves, as a polynomial in the trips of loops, and what room it
takes; `residency.structures` lists those that the compiler would try. An operand's moves in and out, near the unit and
at the DRAM, are sums of `w * prod(trips of loops in S)`: classes of steps count `prod(trips - 1)`, and expanding that
leaves one or two terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from itertools import product as every
from math import prod
from typing import Any

import numpy as np

from dfcompiler.explore.prices.layout import FAR_OUT, LOOPS, NEAR_OUT, TERMS, WAYS, Floats, Operands, Structures
from dfcompiler.moves import INNER, OUTER, Frame
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.residency import Structures as Found
from dfcompiler.residency import structures

LEVELS = (INNER, OUTER)


@dataclass(frozen=True)
class Product:
    """One contraction over loops that no mask cuts; `names` are its loops, those that are reduced last."""

    problem: Problem
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    operands: Operands

    @property
    def key(self) -> object:
        """What its price depends on besides the unit."""
        p, o = self.problem, self.operands
        same = (o.base.tolist(), o.mask.tolist(), o.bits.tolist(), o.writes.tolist(), o.least_bits.tolist())
        return repr((self.sizes, same, p.a_bits, p.b_bits, p.acc_bits, sorted(p.multiplied), sorted(p.vector.items())))


def product_of(p: Problem) -> Product | None:
    """The product that a problem is; None for problems with several contractions, masks, or more loops.

    An operand whose elements are in no proportion to tiles (scales of groups) counts as its mean, which is no more than
    any of its tiles has.
    """
    if len(p.contractions) != 1 or p.band is not None or len(p.loops) > LOOPS or p.facts.sequential:
        return None
    loops = sorted(p.loops, key=lambda x: x.reduced)
    names = tuple(x.name for x in loops)
    whole = {x.name: np.array([float(x.size)]) for x in loops}
    points = [prod(x.size for x in loops if x.name in o.loops) for o in p.operands]
    operands = Operands(
        base=np.array([_elements(p, o, whole) / n for o, n in zip(p.operands, points, strict=True)]),
        mask=np.array([sum(1 << i for i, n in enumerate(names) if n in o.loops) for o in p.operands]),
        bits=np.array([float(o.bits) for o in p.operands]),
        writes=np.array([o.kind == "write" for o in p.operands]),
        least_bits=np.array([[_least_bits(o, running) for o in p.operands] for running in _live(names)]),
    )
    return Product(p, names, tuple(x.size for x in loops), operands)


def _elements(p: Problem, o: NestOperand, tile: Mapping[str, Floats]) -> float:
    return float(np.asarray(p.elements(o.name, tile)).item())


def _live(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The loops in every mask."""
    return [tuple(n for i, n in enumerate(names) if mask >> i & 1) for mask in range(1 << len(names))]


def structures_of(x: Product, levels: int) -> Structures:
    """The structures on a unit with so many levels of memory, DRAM included."""
    return _structures(Frame.of(x.problem), x.names, LEVELS[: levels - 1])


@lru_cache(maxsize=256)
def _structures(frame: Frame, names: tuple[str, ...], levels: tuple[str, ...]) -> Structures:
    found: list[Structures] = []
    choices = 0
    for running in _live(names):
        (one,) = structures(frame, running, levels)
        made = _of(frame, names, running, one)
        found.append(made._replace(rows=made.rows + choices))
        choices += len(made.operand)
    joined: dict[str, Any] = {f: np.concatenate([getattr(s, f) for s in found]) for f in Structures._fields[2:]}
    ends = ([0, *accumulate(len(getattr(s, f)) for s in found)] for f in ("operand", "rows"))
    return Structures(*(np.array(e) for e in ends), **joined)


def _of(frame: Frame, names: tuple[str, ...], running: tuple[str, ...], found: Found) -> Structures:
    c = found.choices
    bit = [1 << names.index(n) for n in sorted(running)]  # of the loops as classes number them
    operands = [frame.operands[i] for i in c.operand.tolist()]
    weight = np.zeros((len(operands), len(WAYS), TERMS))
    over = np.zeros((len(operands), len(WAYS), TERMS), dtype=np.int64)
    for i, o in enumerate(operands):
        for way, by_class in enumerate((*c.near[:, i, :, 0], *c.far[:, i, :, 0])):
            last = o.bits if way in (NEAR_OUT, FAR_OUT) and o.kind == "write" else 0.0
            for k, (mask, w) in enumerate(_expanded(by_class, bit, last)):
                weight[i, way, k], over[i, way, k] = w, mask
    spills = np.asarray(c.near[0, :, :, 0].any(1))
    inside = [sum(b for b, on in zip(bit, row, strict=True) if on) for row in c.inside[:, :, 0]]
    local = np.array([o.kind == "local" for o in operands])
    bits = np.array([o.bits for o in operands])
    return Structures(
        choice_of=np.zeros(0, dtype=np.int64),
        row_of=np.zeros(0, dtype=np.int64),
        operand=np.asarray(c.operand),
        weight=weight,
        over=over,
        tile_bits=np.array([_passing(o, bool(s), running) for o, s in zip(operands, spills, strict=True)]),
        inner=np.asarray(c.inner) | local,
        outer=np.asarray(c.outer),
        inside=np.array(inside, dtype=np.int64),
        held_bits=np.array([_held_bits(o) for o in operands]),
        bits=np.where(local, 0.0, bits),
        buffers=np.array([_buffers(o, running) for o in operands], dtype=np.float64),
        rows=np.asarray(found.rows),
    )


# ---- room, as `Nest.rooms` counts it -----------------------------------------------------------


def _buffers(o: NestOperand, running: Sequence[str]) -> int:
    return 2 if o.loops & set(running) else 1


def _held_bits(o: NestOperand) -> float:
    return o.bits if o.kind == "local" else max(o.bits, o.partial_bits)


def _passing(o: NestOperand, spills: bool, running: Sequence[str]) -> float:
    """Bits of room per element of what passes: two buffers where tiles change, a sum beside what leaves, three where
    it leaves unfinished."""
    if o.partial_bits:
        return 3 * o.partial_bits if spills and o.kind == "write" else o.partial_bits + o.bits
    return o.bits * _buffers(o, running)


def _least_bits(o: NestOperand, running: Sequence[str]) -> float:
    """Below which no choice for an operand takes room, per element of its tile."""
    return _held_bits(o) if o.partial_bits or o.kind == "local" else o.bits * _buffers(o, running)


def _expanded(by_class: Floats, bit: list[int], last: float) -> list[tuple[int, float]]:
    """`last + sum(v[c] * prod(trips - 1 of loops in c))` by products of trips: masks of loops with their weights."""
    found: dict[int, float] = {0: last}
    for c, v in enumerate(by_class.tolist()):
        own = [b for i, b in enumerate(bit) if c >> i & 1]
        for taken in every((0, 1), repeat=len(own)):
            mask = sum(b for b, on in zip(own, taken, strict=True) if on)
            found[mask] = found.get(mask, 0.0) + v * (-1) ** (len(own) - sum(taken))
    terms = [(mask, w) for mask, w in sorted(found.items()) if w]
    assert len(terms) <= TERMS, "moves of an operand are a product of trips, less those of first passes"
    return terms
