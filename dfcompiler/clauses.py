"""What `where` clauses depend on: indices as values or as subscripts, tensors; derived once per op."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dfcompiler.opshape import OpShape, walk
from dfcompiler.text import tree as t


@lru_cache(maxsize=4096)
def uses(shape: OpShape) -> tuple[tuple[frozenset[str], ...], tuple[bool, ...]]:
    """Of every clause the indices that it uses, and whether it depends on a tensor's values."""
    used = (frozenset(clause_indices(shape, clause)) for clause in shape.where)
    return tuple(used), tuple(of_data(shape, clause) for clause in shape.where)


@lru_cache(maxsize=4096)
def votes_of(shape: OpShape, which: tuple[int, ...]) -> dict[str, int]:
    """The indices that some clauses use, sorted, and of each how many relations have it as a value."""
    clauses = [shape.where[i] for i in which]
    values = [_value_indices(shape, rel) for clause in clauses for rel in clause]
    names = sorted(set().union(*(clause_indices(shape, clause) for clause in clauses)))
    return {n: sum(n in some for some in values) for n in names}


def clause_indices(shape: OpShape, clause: Sequence[t.Rel]) -> set[str]:
    """Indices that a clause uses, as values or as subscripts of attributes."""
    attrs = {a.name for a in shape.attrs}
    refs = {x.name for rel in clause for side in (rel.a, rel.b) for x in walk(side) if isinstance(x, t.Ref)}
    return refs - attrs


def of_data(shape: OpShape, clause: Sequence[t.Rel]) -> bool:
    """Whether a clause depends on the values of a tensor."""
    attrs = {a.name for a in shape.attrs}
    sides = (side for rel in clause for side in (rel.a, rel.b))
    return any(isinstance(x, t.Access) and x.name not in attrs for side in sides for x in walk(side))


def _value_indices(shape: OpShape, rel: t.Rel) -> set[str]:
    """Indices that a relation uses as values, not as subscripts."""
    attrs = {a.name for a in shape.attrs}
    subscripts = {
        x.name
        for s in (rel.a, rel.b)
        for a in walk(s)
        if isinstance(a, t.Access)
        for b in a.subs
        for x in walk(b)
        if isinstance(x, t.Ref)
    }
    return clause_indices(shape, [rel]) - attrs - subscripts
