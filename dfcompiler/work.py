"""How much arithmetic an op is: scalar operations by kind, each over its own indices.

Counting rules. Every scalar operation is counted over its own free indices, so loop-invariant parts
are hoisted. Subscripts are address work and free. A product is read left to right and parentheses
are respected. In a sum, factors that miss a reduced index move out of that sum; what stays inside
multiplies and adds in one `mac` per point, further factors are `mul`. Arithmetic without any tensor
is a constant and free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dfcompiler.opshape import OpShape, Statement, indices_of, walk
from dfcompiler.text import tree as t

_KINDS = {"+": "add", "-": "add", "*": "mul", "/": "div", "//": "div", "%": "div"}
# What a unit is asked for, where it is not called like the function: `erf` is a special function as `tanh` is.
_CALLS = {"maximum": "max", "minimum": "max", "equal": "cmp", "erf": "tanh"}
_REDUCERS = {"sum": "add", "max": "max", "min": "max", "topk": "cmp"}


@dataclass(frozen=True)
class Term:
    """One scalar operation of this kind for every point of `indices`; `statement` is where it comes from."""

    kind: str
    indices: tuple[str, ...]
    statement: int


@dataclass(frozen=True)
class Contraction:
    """A sum of products of two tensors: `a` streams, `b` is stationary where a unit holds one of them.

    `batch` indices are in both, `m` only in `a`, `n` only in `b`, `k` is summed.
    """

    statement: int
    a: str
    b: str
    batch: tuple[str, ...]
    m: tuple[str, ...]
    n: tuple[str, ...]
    k: tuple[str, ...]

    @property
    def indices(self) -> tuple[str, ...]:
        """All indices; the number of multiply-accumulates is that of the points that exist."""
        return (*self.batch, *self.m, *self.n, *self.k)


@dataclass(frozen=True)
class Work:
    """All arithmetic of an op: contractions for MAC arrays, terms for everything else."""

    contractions: tuple[Contraction, ...]
    terms: tuple[Term, ...]


def work(shape: OpShape) -> Work:
    """Derive the arithmetic of an op from its statements."""
    contractions: list[Contraction] = []
    terms: list[Term] = []
    for number, statement in enumerate(shape.body):
        found = contraction(shape, number, statement)
        if found:
            contractions.append(found)
        terms += _statement(shape, number, statement, found)
    return Work(tuple(contractions), tuple(terms))


def index_set(shape: OpShape, e: t.Expr) -> tuple[str, ...]:
    """The indices that an expression depends on, also through subscripts and attributes."""
    attrs = {a.name for a in shape.attrs}
    return tuple(i for i in indices_of(e) if i not in attrs)


def factors(e: t.Expr) -> tuple[list[t.Expr], list[t.Expr]]:
    """A left-associated product as (numerators, denominators)."""
    match e:
        case t.Bin("*", a, b):
            top, bottom = factors(a)
            return [*top, b], bottom
        case t.Bin("/", a, b):
            top, bottom = factors(a)
            return top, [*bottom, b]
        case _:
            return [e], []


def contraction(shape: OpShape, number: int, s: Statement) -> Contraction | None:
    """The statement as a contraction of two tensors that a MAC array can run, or None."""
    if s.fn != "sum":
        return None
    inner = [f for f in factors(s.expr)[0] if set(index_set(shape, f)) & set(s.over)]
    if len(inner) < 2:
        return None
    one, two = sorted(inner, key=lambda f: -len(index_set(shape, f)))[:2]
    first, second = (one, two) if inner.index(one) < inner.index(two) else (two, one)
    if _held(shape, first) > _held(shape, second):
        first, second = second, first
    a, b = index_set(shape, first), index_set(shape, second)
    m = tuple(i for i in a if i not in b and i not in s.over)
    n = tuple(i for i in b if i not in a and i not in s.over)
    if not m and not n:
        return None
    batch = tuple(i for i in a if i in b and i not in s.over)
    return Contraction(number, _tensor(first), _tensor(second), batch, m, n, s.over)


def _held(shape: OpShape, factor: t.Expr) -> int:
    """1 for a factor that reads a weight or a cache: that side is the stationary one."""
    names = {x.name for x in walk(factor) if isinstance(x, t.Access)}
    return int(any(o.role in ("w", "kv") and o.name in names for o in shape.params))


def _tensor(factor: t.Expr) -> str:
    return next((x.name for x in walk(factor) if isinstance(x, t.Access)), "")


def _statement(shape: OpShape, number: int, s: Statement, found: Contraction | None) -> Iterator[Term]:
    top, bottom = factors(s.expr) if s.fn == "sum" else ([s.expr], [])
    over = set(s.over)
    if s.fn == "sum":
        inner = [f for f in top if set(index_set(shape, f)) & over]
        outer = [f for f in top if f not in inner and _has_tensor(shape, f)]
        whole = [f for f in inner if over <= set(index_set(shape, f))] or inner
        yield from _sum(shape, number, s, found, inner, whole)
        yield from (Term("mul", s.free, number) for f in outer)
        constants = [f for f in (*top, *bottom) if f not in inner and not _has_tensor(shape, f) and not _is_one(f)]
        yield from (Term("mul", s.free, number) for f in constants[:1])
        yield from (Term("div", s.free, number) for f in bottom if _has_tensor(shape, f))
    elif s.fn:
        yield Term(_REDUCERS[s.fn], _ordered(s, (*index_set(shape, s.expr), *s.over)), number)
    for f in (*top, *bottom):
        yield from _expression(shape, number, f)


def _sum(
    shape: OpShape, number: int, s: Statement, found: Contraction | None, inner: list[t.Expr], whole: list[t.Expr]
) -> Iterator[Term]:
    """The multiplications and additions inside a sum."""
    points = _ordered(s, tuple(i for f in whole for i in index_set(shape, f)))
    if len(whole) < 2:
        yield Term("add", _ordered(s, (*points, *s.over)), number)
    else:
        if found is None:
            yield Term("mac", points, number)
        yield from (Term("mul", points, number) for _ in whole[2:])
    for f in inner:
        if f not in whole:  # misses a reduced index: multiplied in once that index is summed
            missed = set(s.over) - set(index_set(shape, f))
            yield Term("mac", tuple(i for i in points if i not in missed), number)


def _expression(shape: OpShape, number: int, e: t.Expr) -> Iterator[Term]:
    """Scalar operations of an expression, each over its own indices; constants are free."""
    if isinstance(e, t.Access) or not _has_tensor(shape, e):
        if not isinstance(e, t.Access) and index_set(shape, e):
            yield from _indexed(shape, number, e)
        return
    match e:
        case t.Bin("/", a, b) if not _has_tensor(shape, b):
            yield Term("mul", index_set(shape, e), number)
            yield from _expression(shape, number, a)
        case t.Bin(op, a, b):
            yield Term(_KINDS[op], index_set(shape, e), number)
            yield from _expression(shape, number, a)
            yield from _expression(shape, number, b)
        case t.Neg(a):
            yield from _expression(shape, number, a)
        case t.Call(fn, args):
            yield Term(_CALLS.get(fn, fn), index_set(shape, e), number)
            for arg in args:
                yield from _expression(shape, number, arg)
        case _:
            return


def _indexed(shape: OpShape, number: int, e: t.Expr) -> Iterator[Term]:
    """Arithmetic on indices as values (rope's angles): real work, over the indices it uses."""
    match e:
        case t.Bin(op, a, b):
            if index_set(shape, e):
                yield Term(
                    _KINDS[op] if index_set(shape, b) else "mul" if op == "/" else _KINDS[op],
                    index_set(shape, e),
                    number,
                )
            yield from _indexed(shape, number, a)
            yield from _indexed(shape, number, b)
        case t.Neg(a):
            yield from _indexed(shape, number, a)
        case t.Call(fn, args) if index_set(shape, e):
            yield Term(_CALLS.get(fn, fn), index_set(shape, e), number)
            for arg in args:
                yield from _indexed(shape, number, arg)
        case _:
            return


def _has_tensor(shape: OpShape, e: t.Expr) -> bool:
    attrs = {a.name for a in shape.attrs}
    return any(isinstance(x, t.Access) and x.name not in attrs for x in walk(e))


def _is_one(e: t.Expr) -> bool:
    return isinstance(e, t.Num) and e.value == 1


def _ordered(s: Statement, names: Iterable[str]) -> tuple[str, ...]:
    wanted = set(names)
    return tuple(i for i in s.indices if i in wanted)
