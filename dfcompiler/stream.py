"""Which reductions can run in one pass: the algebra behind flash attention and split-K.

A reduction over `d` may be cut into pieces when every later use of `d` sees its result only as a
factor: `exp(x - m)` is `exp(x) * exp(-m)`, so accumulators built with an old `m` are rescaled, never
redone. The test is syntactic and conservative: it may say no where a cleverer proof exists, never yes
where none does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from dfcompiler.diagnostics import Span
from dfcompiler.opshape import OpShape, Statement
from dfcompiler.text import tree as t
from dfcompiler.work import index_set


class Gauge(IntEnum):
    """How an expression depends on results of earlier reductions over the streamed index."""

    FREE = 0  # not at all
    FACTOR = 1  # as a factor of the whole, so it can be rescaled
    TANGLED = 2  # in another way: all of the reduction must be done first


@dataclass(frozen=True)
class Blocked:
    """Why an index cannot be streamed, and the statement that forbids it."""

    why: str
    span: Span | None


@dataclass(frozen=True)
class _Known:
    """How a tensor that the op makes depends on earlier reductions, and its axes along which the index runs: read there
    it is one factor for all of the index, read along another axis a factor of its own for each."""

    gauge: Gauge
    axes: frozenset[int]


_UNKNOWN = _Known(Gauge.FREE, frozenset())


def streamable(shape: OpShape, index: str) -> Blocked | None:
    """None where all reductions over `index` can run in one pass over it, else the reason."""
    known: dict[str, _Known] = {}

    def note(s: Statement, gauge: Gauge) -> None:
        for a in s.targets:
            axes = frozenset(k for k, sub in enumerate(a.subs) if index in index_set(shape, sub))
            before = known.get(a.name, _Known(gauge, axes))
            known[a.name] = _Known(max(gauge, before.gauge), axes & before.axes)

    results = {o.name for o in shape.results}
    for s in shape.body:
        if s.scan:
            return Blocked(f"`{s.scan[0]}` is sequential", s.span)
        gauge = _gauge(shape, s.expr, index, known)
        names = [a.name for a in s.targets]
        if index in s.over:
            if gauge is Gauge.TANGLED or (gauge is Gauge.FACTOR and s.fn != "sum") or s.fn == "topk":
                return Blocked(f"`{names[0]}` needs the whole of an earlier reduction over `{index}`", s.span)
            note(s, Gauge.FACTOR)
        elif index in s.free:
            if gauge is Gauge.TANGLED or (gauge is not Gauge.FREE and set(names) & results):
                return Blocked(f"`{names[0]}` needs the whole of an earlier reduction over `{index}`", s.span)
            note(s, gauge)
        else:
            note(s, Gauge.FREE if gauge is Gauge.FREE else Gauge.FACTOR)
    return None


def _gauge(shape: OpShape, e: t.Expr, index: str, known: Mapping[str, _Known]) -> Gauge:
    def go(x: t.Expr) -> Gauge:
        return _gauge(shape, x, index, known)

    mixed = Gauge.TANGLED if index in index_set(shape, e) else Gauge.FACTOR  # one value for the whole index
    match e:
        case t.Access(name, subs):
            own = known.get(name, _UNKNOWN)
            elsewhere = any(index in index_set(shape, sub) for k, sub in enumerate(subs) if k not in own.axes)
            return Gauge.TANGLED if own.gauge is not Gauge.FREE and elsewhere else own.gauge
        case t.Bin("*" | "/", a, b):
            return max(go(a), go(b))
        case t.Bin(_, a, b):
            return Gauge.FREE if go(a) is go(b) is Gauge.FREE else mixed
        case t.Neg(a):
            return go(a)
        case t.Call("exp", (arg,)):
            return max(_shift(shape, term, index, known) for term in _terms(arg))
        case t.Call(_, args):
            return Gauge.FREE if all(go(a) is Gauge.FREE for a in args) else mixed
        case _:
            return Gauge.FREE


def _terms(e: t.Expr) -> list[t.Expr]:
    match e:
        case t.Bin("+" | "-", a, b):
            return [*_terms(a), *_terms(b)]
        case t.Neg(a):
            return _terms(a)
        case _:
            return [e]


def _shift(shape: OpShape, term: t.Expr, index: str, known: Mapping[str, _Known]) -> Gauge:
    """A summand inside `exp`: free of the reduction, or free of the index (then a factor outside)."""
    if _gauge(shape, term, index, known) is Gauge.FREE:
        return Gauge.FREE
    return Gauge.TANGLED if index in index_set(shape, term) else Gauge.FACTOR


def finished(shape: OpShape, index: str) -> bool:
    """Whether no statement after the reductions over `index` uses it again."""
    last = max((i for i, s in enumerate(shape.body) if index in s.over), default=-1)
    users = [i for i, s in enumerate(shape.body) if index in s.indices]
    return all(i <= last for i in users) and sum(index in s.over for s in shape.body) == 1
