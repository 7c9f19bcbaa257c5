"""Values of expressions without tensors: extents, attributes and indices, as arrays that broadcast.

Axes of designs come last: what depends on them only broadcasts as it is. A size is a number or an array
over designs; an attribute is an array over its own indices, then over designs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import OpShape
from dfcompiler.text import tree as t

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Sizes: TypeAlias = Mapping[str, int] | Mapping[str, Ints]


@dataclass(frozen=True)
class Along:
    """Values along named axes: designs, such as many contexts, or indices of an attribute."""

    values: npt.ArrayLike
    axes: tuple[str, ...]

    def placed(self, axes: Sequence[str]) -> Floats:
        """The values with these axes, in this order, of extent 1 along those that they do not have.

        Raises Diag `bad-axes` where the values have other axes, or another number of them.
        """
        values = np.asarray(self.values, dtype=np.float64)
        if values.ndim != len(self.axes) or len(set(self.axes)) != values.ndim or not set(self.axes) <= set(axes):
            raise Diag(
                "bad-axes",
                f"values of {values.ndim} dimensions along {list(self.axes)} do not fit the axes {list(axes)}",
            )
        order = [self.axes.index(a) for a in axes if a in self.axes]
        extents = iter(values.transpose(order).shape)
        return values.transpose(order).reshape([next(extents) if a in self.axes else 1 for a in axes])


def attributes(
    shape: OpShape, sizes: Sizes, given: Mapping[str, object], designs: Sequence[str] = ()
) -> dict[str, Floats]:
    """Attribute values with defaults filled in, as float arrays over the attribute's own indices, then over designs.

    Raises Diag `bad-attribute` for an unknown or missing one and for a vector of the wrong length, and `bad-axes`.
    """
    known = {a.name: a for a in shape.attrs}
    for name in given:
        if name not in known:
            raise Diag(
                "bad-attribute",
                f"`{shape.name}` has no attribute `{name}`",
                shape.span,
                hint=f"known: {', '.join(known) or 'none'}",
            )
    values: dict[str, Floats] = {}
    for name, attr in known.items():
        own = given.get(name)
        if isinstance(own, Along):
            value = own.placed((*attr.dims, *designs))
        elif name in given:
            value = np.asarray(own, dtype=np.float64)
            value = value.reshape(value.shape + (1,) * len(designs)) if value.ndim else value
        elif attr.default is not None:
            value = np.asarray(scalar(attr.default, sizes, values, {}), dtype=np.float64)
        else:
            raise Diag("bad-attribute", f"`{shape.name}` needs the attribute `{name}`", attr.span)
        want = tuple(most(sizes[i]) for i in attr.dims)
        over = value.shape[max(0, value.ndim - len(designs)) :] if designs else ()
        try:
            values[name] = np.broadcast_to(value, (*want, *(1,) * (len(designs) - len(over)), *over))
        except ValueError:
            raise Diag(
                "bad-attribute", f"`{name}` of `{shape.name}` has shape {value.shape}, wants {want}", attr.span
            ) from None
    return values


def most(size: int | Ints) -> int:
    """The largest of a size's values over designs."""
    return size if isinstance(size, int) else int(np.max(size))


def _rsqrt(x: Floats) -> Floats:
    return np.asarray(1.0 / np.sqrt(x))


def _equal(x: Floats, y: Floats) -> Floats:
    """1 where both are equal, else 0."""
    return np.asarray(np.equal(x, y), dtype=np.float64)


def _erf(x: Floats) -> Floats:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


FUNCTIONS: Mapping[str, Callable[..., Floats]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "erf": _erf,
    "abs": np.abs,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": _equal,
}


def applied(fn: str, *args: Floats | float) -> Floats:
    """A scalar function of `FUNCTIONS` on arrays."""
    return np.asarray(FUNCTIONS[fn](*args))


def scalar(e: t.Expr, sizes: Sizes, attrs: Mapping[str, Floats], env: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
    """Evaluate an expression without tensors; `env` gives indices as arrays that broadcast together."""

    def go(x: t.Expr) -> Floats:
        return scalar(x, sizes, attrs, env)

    match e:
        case t.Num(value):
            return np.asarray(value, dtype=np.float64)
        case t.Ext(name):
            return np.asarray(sizes[name], dtype=np.float64)
        case t.Ref(name):
            return np.asarray(env[name], dtype=np.float64) if name in env else attrs[name]
        case t.Access(name, subs) if name in attrs:
            where = tuple(np.asarray(go(s)).astype(np.int64) for s in subs)
            return looked_up(attrs[name], where)
        case t.Neg(a):
            return -go(a)
        case t.Call(fn, args) if fn in FUNCTIONS:
            return applied(fn, *(go(a) for a in args))
        case t.Bin(op, a, b):
            return arithmetic(op, go(a), go(b))
        case _:
            raise Diag("bad-expression", "this is no scalar expression", e.span)


def looked_up(table: Floats, where: Sequence[Ints]) -> Floats:
    """Elements of an attribute at these places of its own indices, for every design."""
    designs = table.shape[len(where) :]
    each = (np.arange(n).reshape(-1, *(1 for _ in designs[i + 1 :])) for i, n in enumerate(designs))
    return np.asarray(table[(*where, *each)])


def arithmetic(op: str, a: Floats, b: Floats) -> Floats:
    """One of `+ - * / // %` on arrays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        match op:
            case "+":
                return np.asarray(a + b)
            case "-":
                return np.asarray(a - b)
            case "*":
                return np.asarray(a * b)
            case "/":
                return np.asarray(a / b)
            case "//":
                return np.asarray(a // b)
            case _:
                return np.asarray(a % b)
