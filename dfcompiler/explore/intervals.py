"""Expressions over figures of which only bounds are known: the least and the most that they may come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.references import Array, value
from dfcompiler.text import tree as t

Ends: TypeAlias = tuple[Array, Array]  # the least and the most
Bounded: TypeAlias = Callable[[tuple[str, ...]], Ends]

RISING = ("minimum", "maximum", "ceil", "floor", "round", "sqrt", "exp", "log")  # functions that never fall


def ends(e: t.Expr, known: Bounded) -> Ends:
    """The ends between which an expression lies. Raises Diag `bad-expression` for what neither rises nor falls."""
    match e:
        case t.Neg(a):
            low, high = ends(a, known)
            return -high, -low
        case t.Bin("+" | "-" | "*" | "/" as op, a, b):
            return _arithmetic(op, ends(a, known), ends(b, known))
        case t.Call(fn, args) if fn in RISING:
            found = [ends(a, known) for a in args]
            names = [f"end {i}" for i in range(len(args))]
            call = t.Call(fn, tuple(t.Ref(n) for n in names), span=e.span)
            low, high = (
                value(call, lambda path, side=side: found[names.index(path[0])][side])  # type: ignore[misc]
                for side in (0, 1)
            )
            return low, high
        case t.Ref() | t.Field():
            found_low: list[Array] = []

            def both(path: tuple[str, ...]) -> Array:
                low, high = known(path)
                found_low.extend((low, high))
                return low

            value(e, both)
            return found_low[0], found_low[1]
        case t.Num() | t.Text():
            exact = value(e, _none)
            return exact, exact
    raise Diag("bad-expression", "what is not known exactly may be added, multiplied and compared only", e.span)


def _none(path: tuple[str, ...]) -> Array:
    raise KeyError(path)


def _arithmetic(op: str, a: Ends, b: Ends) -> Ends:
    with np.errstate(all="ignore"):
        match op:
            case "+":
                return a[0] + b[0], a[1] + b[1]
            case "-":
                return a[0] - b[1], a[1] - b[0]
            case "/":
                crosses = (b[0] <= 0) & (b[1] >= 0)
                inverse = np.where(crosses, -np.inf, 1 / b[1]), np.where(crosses, np.inf, 1 / b[0])
                inverse = (np.where((b[0] == 0) & (b[1] > 0), 1 / b[1], inverse[0]), inverse[1])
                return _arithmetic("*", a, inverse)
        every = [np.nan_to_num(x * y, nan=0.0, posinf=np.inf, neginf=-np.inf) for x in a for y in b]
    return np.minimum.reduce(np.broadcast_arrays(*every)), np.maximum.reduce(np.broadcast_arrays(*every))


def may_hold(rel: t.Rel, known: Bounded) -> Array:
    """Where a relation holds for some values between the ends."""
    (a_low, a_high), (b_low, b_high) = ends(rel.a, known), ends(rel.b, known)
    match rel.op:
        case "<=":
            found = a_low <= b_high
        case "<":
            found = a_low < b_high
        case ">=":
            found = a_high >= b_low
        case ">":
            found = a_high > b_low
        case "==":
            found = (a_low <= b_high) & (b_low <= a_high)
        case _:
            found = (a_low != a_high) | (b_low != b_high) | (a_low != b_low)
    return np.asarray(found)
