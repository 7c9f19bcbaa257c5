"""What an op reads of an operand that it has written itself before: that need not come from anywhere.

Two accesses meet where their subscripts are equal. On every axis that one of them runs over whole and plainly, its
index is the other's subscript; what is left are the points of both statements' remaining indices, counted like any
others under the clauses of both, written in these indices. What cannot be solved so counts as not met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.clauses import clause_indices
from dfcompiler.facts import Array, Facts
from dfcompiler.hazards import same_values
from dfcompiler.masks import Mask
from dfcompiler.opshape import Statement, accesses, rebuilt
from dfcompiler.text import tree as t
from dfcompiler.work import index_set

READ = "'"  # behind the names of a reading statement's indices
Place: TypeAlias = tuple[Statement, tuple[t.Expr, ...]]  # a statement, and subscripts in it


def written_before(known: Facts, mask: Mask, operand: str, subs: tuple[t.Expr, ...], axes: Sequence[Array]) -> Array:
    """Elements of an operand of this shape that are read through these subscripts and written by an earlier statement:
    a bound from below, of several writes that of the largest."""
    body = known.shape.body
    made = [(n, s, a.subs) for n, s in enumerate(body) for a in s.targets if a.name == operand and not s.scan]
    if not made:
        return 0.0
    reads = [n for n, s in enumerate(body) for e in (s.expr, *_subs(s)) if t.Access(operand, subs) in accesses(e)]
    first = min(reads, default=0)  # where a scan starts
    writes = [(s, target) for n, s, target in made if n < first]
    found: Array = 0.0
    for write in writes:
        found = np.maximum(found, _met(known, mask, write, (body[first], subs), axes))
    return found


def _subs(s: Statement) -> list[t.Expr]:
    return [x for a in s.targets for x in a.subs]


def _met(known: Facts, mask: Mask, write: Place, read: Place, axes: Sequence[Array]) -> Array:
    """Elements that two accesses have in common, 0 where that cannot be told."""
    shape, names = known.shape, {i: t.Ref(i + READ) for i in mask.sizes}
    sizes: Any = {**mask.sizes, **{i + READ: n for i, n in mask.sizes.items()}}
    solved: dict[str, t.Expr] = {}
    common: list[t.Expr] = []
    for mine, e, extent in zip(write[1], read[1], axes, strict=True):
        other = _put(e, names)
        plain = next((x for x in (other, mine) if isinstance(x, t.Ref) and _whole(sizes, x.name, extent)), None)
        if plain is None or any(index_set(shape, x) == (plain.name,) for x in common) or plain.name in solved:
            return 0.0
        solved[plain.name] = mine if plain == other else other
        common.append(solved[plain.name])
    left = {i for x in common for i in index_set(shape, x)}
    if left & set(solved) or same_values(shape, tuple(common), tuple(common)) < left:
        return 0.0
    where = tuple(
        tuple(t.Rel(r.op, _put(_put(r.a, own), solved), _put(_put(r.b, own), solved)) for r in mask.shape.where[i])
        for s, own in ((write[0], {}), (read[0], names))
        for i in mask.clauses(s.indices)
    )
    if not all(clause_indices(shape, c) for c in where):
        return 0.0
    every = {*left, *(i for c in where for i in clause_indices(shape, c))}
    return Mask(replace(shape, where=where), sizes, mask.attrs, mask.designs).touched(every, left)


def _whole(sizes: Mapping[str, Any], index: str, extent: Array) -> bool:
    return bool(np.all(sizes.get(index, -1) == extent))


def _put(e: t.Expr, values: Mapping[str, t.Expr]) -> t.Expr:
    """An expression with other values for some of its indices."""
    return values.get(e.name, e) if isinstance(e, t.Ref) else rebuilt(e, lambda x: _put(x, values))
