"""What the cost model says of one mapping, and which of its simplifications the mapping meets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from dfcompiler.moves import INNER, kept
from dfcompiler.nest import ABOVE_READ, ABOVE_WRITE, DRAM_READ, DRAM_WRITE, INNER_IN, INNER_OUT, Nest
from dfcompiler.opshape import accesses, walk
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.replay import Mapped
from dfcompiler.text import tree as t
from dfcompiler.tiles import tiles_of

_ROWS = {"dram": (DRAM_READ, DRAM_WRITE), "above": (ABOVE_READ, ABOVE_WRITE), "inner": (INNER_IN, INNER_OUT)}


@dataclass(frozen=True)
class Claim:
    """Cycles per share of the ways to memory; bytes at the `dram`, the memory `above` the innermost and the `inner`
    ones of all instances, for all operands and (`parts`) for each."""

    cycles: Mapping[float, float]
    bytes: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]


def claim(mapped: Mapped, shares: Sequence[float]) -> Claim:
    """The cost model's answer for a mapping."""
    p, unit = mapped.problem, mapped.unit
    size, ways = ({n: np.array([float(v)]) for n, v in d.items()} for d in (mapped.size, mapped.ways))
    nest = Nest(p, unit, tiles_of(p, unit, mapped.helper, size, ways), mapped.order)
    cycles = {s: float(c[0]) for s, c in zip(shares, nest.cycles(nest.traffic(mapped.keeps), shares), strict=True)}
    parts = {o.name: _of(mapped, nest, [x for x in p.operands if x.name == o.name]) for o in p.operands}
    return Claim(cycles, _of(mapped, nest, p.operands), parts)


def _of(mapped: Mapped, nest: Nest, operands: Sequence[NestOperand]) -> dict[str, float]:
    """Bytes by level of some operands."""
    alone = Nest(replace(mapped.problem, operands=tuple(operands)), mapped.unit, nest.tiles, mapped.order)
    rows = alone.bytes(mapped.keeps)[:, 0].tolist()
    return {level: rows[read] + rows[write] for level, (read, write) in _ROWS.items()}


# ---- simplifications ---------------------------------------------------------------------------


def traits(mapped: Mapped) -> frozenset[str]:
    """Which of these a mapping has.

    `masked`: `where` clauses. `look-ups`: elements found through an index operand. `halo`: subscripts of several
    indices, of a part of one, or shifted by another, so that tiles share elements. `groups`: a subscript of whole
    parts of an index, which tiles may cut. `pieces`: a result made by statements over different loops. `in place`: an
    operand that is both read and written; `read back`: what an earlier statement has written of it. `redone`: a
    statement that does not see a loop which is no sum. `edges`: tiles smaller than others. `uneven`: instances that
    have fewer tiles than others. `idle`: instances without any. `spills`: unfinished sums that leave. `held`: results
    that stay across a loop over their tiles; `beside`: across one that other operands may be held across too.
    """
    p = mapped.problem
    tiles = {x.name: ceil(x.size / mapped.size[x.name]) for x in p.loops}
    kinds = [o.name for o in p.operands if o.kind != "local"]
    lines = [(s, {x.name for x in p.loops if set(x.indices) <= set(s.indices)}) for s in p.group.shape.body]
    touched = [a for s, _ in lines for a in (*s.targets, *accesses(s.expr)) if a.name in p.group.types]
    found = {
        "masked": bool(p.group.shape.where),
        "look-ups": any(_looks_up(p.group.types, s.expr) for s, _ in lines),
        "halo": any(_overlaps(a, {x.name for x in p.group.shape.attrs}) for a in touched),
        "groups": any(isinstance(x, t.Bin) and x.op == "//" for a in touched for sub in a.subs for x in walk(sub)),
        "pieces": any(len({frozenset(on) for s, on in lines if n in [a.name for a in s.targets]}) > 1 for n in kinds),
        "in place": len(kinds) > len(set(kinds)),
        "read back": any(_reads_back(p, n) for n in kinds if kinds.count(n) > 1),
        "redone": any(not x.reduced and tiles[x.name] > 1 and x.name not in on for _, on in lines for x in p.loops),
        "edges": any(x.size % mapped.size[x.name] for x in p.loops),
        "uneven": any(n % mapped.ways[x] and n > mapped.ways[x] for x, n in tiles.items()),
        "idle": any(n < mapped.ways[x] for x, n in tiles.items()),
        "spills": any(_spills(mapped, o) for o in p.operands),
        "held": any(_again(mapped, o) and not _spills(mapped, o) for o in p.operands),
        "beside": any(_again(mapped, o) and not _spills(mapped, o) and _beside(mapped, o) for o in p.operands),
    }
    return frozenset(name for name, holds in found.items() if holds)


def _beside(mapped: Mapped, o: NestOperand) -> bool:
    """Whether another operand does not depend on a loop that a result is held across, but on one inside."""
    order, others = mapped.order, [x for x in mapped.problem.operands if x != o and x.kind != "local"]
    return any(order[i] not in x.loops and set(order[i + 1 :]) & x.loops for i in _again(mapped, o) for x in others)


def _looks_up(tensors: Collection[str], e: t.Expr) -> bool:
    """Whether an element of a tensor chooses another's."""
    return any(b.name in tensors for a in accesses(e) for sub in a.subs for b in accesses(sub))


def _overlaps(a: t.Access, attrs: set[str]) -> bool:
    """Whether tiles may share elements: by a subscript of several indices, or of a part of one, or of a shift that
    an index chooses which is no subscript itself."""
    plain = {x.name for x in a.subs if isinstance(x, t.Ref)}
    for sub in a.subs:
        shifts = [x for y in walk(sub) if isinstance(y, t.Access) for z in y.subs for x in walk(z)]
        moving = {x.name for x in walk(sub) if isinstance(x, t.Ref) and x not in shifts} - attrs
        parts = any(isinstance(x, t.Bin) and x.op in "*//%" for x in walk(sub))
        chosen = {x.name for x in shifts if isinstance(x, t.Ref)} - plain
        if len(moving) > 1 or (moving and (parts or (chosen and any(y.name in attrs for y in accesses(sub))))):
            return True
    return False


def _reads_back(p: Problem, name: str) -> bool:
    """Whether a statement reads an operand that one before it has written."""
    body = p.group.shape.body
    wrote = [n for n, s in enumerate(body) if name in {a.name for a in s.targets}]
    return any(n > min(wrote) and name in {a.name for a in accesses(s.expr)} for n, s in enumerate(body))


def _again(mapped: Mapped, o: NestOperand) -> list[int]:
    """Positions of the loops that run over a result's tiles again."""
    order = mapped.order
    return [i for i, n in enumerate(order) if o.kind == "write" and n not in o.loops and set(order[i + 1 :]) & o.loops]


def _spills(mapped: Mapped, o: NestOperand) -> bool:
    """Whether unfinished sums leave the innermost memory."""
    keep, reduced = kept(o, mapped.keeps), {x.name for x in mapped.problem.loops if x.reduced}
    since = keep.since if keep and keep.where == INNER else len(mapped.order)
    return bool(o.partial_bits) and any(i < since and mapped.order[i] in reduced for i in _again(mapped, o))
