"""Where a space separates: goals that are a sum, least, largest, or one pool's own figure, over terms of single pools.

These four are all that is needed: each is monotone in its terms, so a design that another design of its pool matches or
beats in every term can be left out of every system (see `systems`). An axis that only multiplies all terms of a pool,
such as a number of equal servers, scales a front instead of making designs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dfcompiler.explore.references import paths
from dfcompiler.explore.space import Pool, Space
from dfcompiler.text import tree as t

Kind: TypeAlias = Literal["one", "+", "minimum", "maximum"]


@dataclass(frozen=True)
class Combined:
    """A goal or a limited figure as a combination of terms, one for each pool that it reads."""

    kind: Kind
    terms: Mapping[str, t.Expr]  # in names of the pool


@dataclass(frozen=True)
class Unseparated:
    """Why a figure does not separate, and where."""

    why: str
    at: t.Expr


def combined(e: t.Expr, space: Space) -> Combined | Unseparated:
    """The terms of an expression over a space."""
    whole = inlined(e, space.lets)
    read = _pools(whole, space)
    if len(read) == 1:
        return Combined("one", {pool: within(whole, pool, space) for pool in read})
    if not read:
        return Unseparated("it reads no pool", e)
    match whole:
        case t.Bin("+", a, b):
            return _joined("+", a, b, space)
        case t.Call("minimum" | "maximum" as kind, (a, b)):
            return _joined(kind, a, b, space)
        case t.Bin("*", a, b) if not _pools(a, space) and _positive(a):
            return _scaled(combined(b, space), "*", a)
        case t.Bin("*" | "/" as op, a, b) if not _pools(b, space) and _positive(b):
            return _scaled(combined(a, space), op, b)
    return Unseparated(f"it mixes {', '.join(sorted(read))} by more than a sum, `minimum` or `maximum`", whole)


def inlined(e: t.Expr, lets: Mapping[str, t.SLet]) -> t.Expr:
    """The expression with what `let` defines written out."""
    match e:
        case t.Ref(name) if name in lets:
            return inlined(lets[name].value, lets)
        case t.Neg(a):
            return replace(e, a=inlined(a, lets))
        case t.Bin(_, a, b):
            return replace(e, a=inlined(a, lets), b=inlined(b, lets))
        case t.Call(_, args):
            return replace(e, args=tuple(inlined(a, lets) for a in args))
    return e


def within(e: t.Expr, pool: str, space: Space) -> t.Expr:
    """The expression in the names of one pool: `pool.load.figure` is `load.figure`."""
    match e:
        case t.Field(t.Ref(name), figure) if name == pool and name in space.pools:
            return t.Ref(figure, span=e.span)
        case t.Field(base, figure):
            return t.Field(within(base, pool, space), figure, span=e.span)
        case t.Neg(a):
            return replace(e, a=within(a, pool, space))
        case t.Bin(_, a, b):
            return replace(e, a=within(a, pool, space), b=within(b, pool, space))
        case t.Call(_, args):
            return replace(e, args=tuple(within(a, pool, space) for a in args))
    return e


def pools_read(e: t.Expr | t.Rel, space: Space) -> set[str]:
    """The pools whose figures an expression reads; with one pool, its own names need no `pool.` before them."""
    if isinstance(e, t.Rel):
        return pools_read(e.a, space) | pools_read(e.b, space)
    return _pools(inlined(e, space.lets), space)


def _pools(e: t.Expr, space: Space) -> set[str]:
    shared = {a.name for a in space.shared}
    only = next(iter(space.pools)) if len(space.pools) == 1 else None
    found = {path[0] if path[0] in space.pools else only for path, _ in paths(e) if path[0] not in shared}
    return {name for name in found if name is not None}


def _positive(e: t.Expr) -> bool:
    """Whether a factor without pools is surely above 0, so that it keeps the order of what it scales."""
    match e:
        case t.Num(number):
            return number > 0
        case t.Bin("*" | "/" | "+", a, b):
            return _positive(a) and _positive(b)
    return False


def _joined(kind: Kind, a: t.Expr, b: t.Expr, space: Space) -> Combined | Unseparated:
    terms: dict[str, t.Expr] = {}
    for part in (a, b):
        if not _pools(part, space):
            return Unseparated("a part of it reads no pool", part)
        found = combined(part, space)
        if isinstance(found, Unseparated):
            return found
        if found.kind not in ("one", kind):
            return Unseparated(f"`{found.kind}` lies within `{kind}`", part)
        for pool, term in found.terms.items():
            terms[pool] = _both(kind, terms[pool], term) if pool in terms else term
    return Combined(kind, terms)


def _both(kind: Kind, a: t.Expr, b: t.Expr) -> t.Expr:
    return t.Bin("+", a, b, span=a.span) if kind == "+" else t.Call(kind, (a, b), span=a.span)


def _scaled(found: Combined | Unseparated, op: str, by: t.Expr) -> Combined | Unseparated:
    if isinstance(found, Unseparated):
        return found
    return replace(found, terms={pool: t.Bin(op, term, by, span=term.span) for pool, term in found.terms.items()})


# ---- axes that scale ---------------------------------------------------------------------------


def scaling_axis(pool: Pool, terms: Sequence[t.Expr]) -> str | None:
    """An axis of positive numbers that multiplies every term that reads it, and is read by nothing else; None where
    there is none."""
    elsewhere = {path[0] for s in pool.sets for path, _ in paths(s.value)}
    elsewhere |= {path[0] for load in pool.loads.values() for o in load.options for path, _ in paths(o.value)}
    compared = (*pool.limits, *(r for d in pool.drops for c in d.where for r in c))
    elsewhere |= {path[0] for rel in compared for side in (rel.a, rel.b) for path, _ in paths(inlined(side, pool.lets))}
    for axis in pool.axes:
        numbers = all(not isinstance(v, str) and v > 0 for v in axis.values)
        reading = [whole for term in terms if axis.name in _names(whole := inlined(term, pool.lets))]
        factored = (without_factor(whole, axis.name) for whole in reading)
        if numbers and reading and axis.name not in elsewhere and all(factored):
            return axis.name
    return None


def without_factor(e: t.Expr, axis: str) -> t.Expr | None:
    """The expression divided by an axis that is a factor of it; None where it is none."""
    match e:
        case t.Ref(name) if name == axis:
            return t.Num(1, span=e.span)
        case t.Bin("*", a, b):
            return _one_side(e, a, b, axis)
        case t.Bin("/", a, b) if axis not in _names(b):
            rest = without_factor(a, axis)
            return rest and replace(e, a=rest)
        case t.Bin("+" | "-", a, b):
            both = without_factor(a, axis), without_factor(b, axis)
            return replace(e, a=both[0], b=both[1]) if both[0] and both[1] else None
        case t.Call("minimum" | "maximum", args):
            rests = [without_factor(a, axis) for a in args]
            return replace(e, args=tuple(r for r in rests if r)) if all(rests) else None
    return None


def _one_side(e: t.Bin, a: t.Expr, b: t.Expr, axis: str) -> t.Expr | None:
    if axis not in _names(b) and (rest := without_factor(a, axis)):
        return replace(e, a=rest)
    if axis not in _names(a) and (rest := without_factor(b, axis)):
        return replace(e, b=rest)
    return None


def _names(e: t.Expr) -> set[str]:
    return {path[0] for path, _ in paths(e)}
