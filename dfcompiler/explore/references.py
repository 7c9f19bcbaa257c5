"""What expressions of a space read, and their values: numbers, or arrays over designs that broadcast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag, Span
from dfcompiler.scalars import FUNCTIONS, applied, arithmetic
from dfcompiler.text import tree as t

Array: TypeAlias = npt.NDArray[Any]
Known: TypeAlias = Callable[[tuple[str, ...]], Array]  # what a name stands for, `prefill.prompt.latency_s` being three

COMPARE: dict[str, Callable[[Array, Array], Array]] = {
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
    "==": np.equal,
    "!=": np.not_equal,
}


def paths(read: t.Expr | t.Rel) -> Iterator[tuple[tuple[str, ...], Span | None]]:
    """Every name that an expression reads, in its parts, with its place; from left to right."""
    match read:
        case t.Ref(name):
            yield (name,), read.span
        case t.Field():
            yield _path(read), read.span
        case t.Neg(a):
            yield from paths(a)
        case t.Bin(_, a, b) | t.Rel(_, a, b):
            yield from paths(a)
            yield from paths(b)
        case t.Call(_, args):
            for a in args:
                yield from paths(a)
        case _:
            return


def _path(e: t.Expr) -> tuple[str, ...]:
    match e:
        case t.Ref(name):
            return (name,)
        case t.Field(base, name):
            return (*_path(base), name)
    raise Diag("bad-expression", "a space has no such expression", e.span, hint="names are `pool.load.figure`")


def value(e: t.Expr, known: Known) -> Array:
    """The value of an expression. Raises Diag `bad-expression` for what is no arithmetic on figures."""
    match e:
        case t.Num(number):
            return np.asarray(number, dtype=np.float64)
        case t.Text(text):
            return np.asarray(text)
        case t.Ref() | t.Field():
            return known(_path(e))
        case t.Neg(a):
            return -value(a, known)
        case t.Bin(op, a, b):
            return arithmetic(op, value(a, known), value(b, known))
        case t.Call(fn, args) if fn in FUNCTIONS:
            return applied(fn, *(value(a, known) for a in args))
    hint = f"functions are {', '.join(sorted(FUNCTIONS))}"
    raise Diag("bad-expression", "a space has no such expression", e.span, hint=hint)


def holds(rel: t.Rel, known: Known) -> Array:
    """Where a relation holds. Raises Diag `bad-expression`."""
    if rel.op not in COMPARE:
        raise Diag("bad-expression", f"a space does not compare with `{rel.op}`", rel.span)
    return np.asarray(COMPARE[rel.op](value(rel.a, known), value(rel.b, known)))
