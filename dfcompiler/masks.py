"""Which points of an op's index space exist: exact counts under `where` clauses.

Clauses are linear in one column index (`t <= s + past[b]`), so for every row (all other indices that
the clauses use) the points that exist are a union of intervals, one per way to satisfy the clauses.
Counting is then arithmetic on interval ends, vectorised over rows; nothing is ever materialised as a
square, and nothing is averaged.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import OpShape, walk
from dfcompiler.text import tree as t

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FAR = float(1 << 40)  # stands for infinity in interval ends: far beyond any extent, far below overflow


def attributes(shape: OpShape, sizes: Mapping[str, int], given: Mapping[str, object]) -> dict[str, Floats]:
    """Attribute values with defaults filled in, as float arrays over the attribute's own indices.

    Raises Diag `bad-attribute` for an unknown or missing one and for a vector of the wrong length.
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
        if name in given:
            value = np.asarray(given[name], dtype=np.float64)
        elif attr.default is not None:
            value = np.asarray(scalar(attr.default, sizes, values, {}), dtype=np.float64)
        else:
            raise Diag("bad-attribute", f"`{shape.name}` needs the attribute `{name}`", attr.span)
        want = tuple(sizes[i] for i in attr.dims)
        try:
            values[name] = np.broadcast_to(value, want)
        except ValueError:
            raise Diag(
                "bad-attribute", f"`{name}` of `{shape.name}` has shape {value.shape}, wants {want}", attr.span
            ) from None
    return values


def _rsqrt(x: Floats) -> Floats:
    return np.asarray(1.0 / np.sqrt(x))


FUNCTIONS: Mapping[str, Callable[..., Floats]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "abs": np.abs,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def applied(fn: str, *args: Floats | float) -> Floats:
    """A scalar function of `FUNCTIONS` on arrays."""
    return np.asarray(FUNCTIONS[fn](*args))


def scalar(
    e: t.Expr, sizes: Mapping[str, int], attrs: Mapping[str, Floats], env: Mapping[str, npt.NDArray[np.generic]]
) -> Floats:
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
            return np.asarray(attrs[name][where])
        case t.Neg(a):
            return -go(a)
        case t.Call(fn, args) if fn in FUNCTIONS:
            return applied(fn, *(go(a) for a in args))
        case t.Bin(op, a, b):
            return arithmetic(op, go(a), go(b))
        case _:
            raise Diag("bad-expression", "this is no scalar expression", e.span)


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


@dataclass(frozen=True)
class Intervals:
    """For every row, a union of intervals `[lo, hi)` of the column index; axis 0 runs over its terms."""

    rows: tuple[str, ...]
    col: str
    lo: Ints
    hi: Ints

    def union(self, keep: Sequence[str]) -> Ints:
        """Columns that exist for some row, for each value of the row indices `keep` (in that order)."""
        lo, hi = self._grouped(keep)
        order = np.argsort(lo, axis=-1, kind="stable")
        lo, hi = np.take_along_axis(lo, order, -1), np.take_along_axis(hi, order, -1)
        reached = np.maximum.accumulate(hi, axis=-1)
        before = np.concatenate([np.zeros_like(lo[..., :1]), reached[..., :-1]], axis=-1)
        return np.asarray(np.maximum(0, hi - np.maximum(lo, before)).sum(-1))

    def _grouped(self, keep: Sequence[str]) -> tuple[Ints, Ints]:
        """Interval ends as `[kept rows..., all else]`, empty intervals as `[0, 0)`."""
        empty = self.hi <= self.lo
        kept = [1 + self.rows.index(r) for r in keep]
        rest = [0, *(i + 1 for i, r in enumerate(self.rows) if r not in keep)]

        def arrange(a: Ints) -> Ints:
            moved = np.where(empty, 0, a).transpose(*kept, *rest)
            return moved.reshape(*moved.shape[: len(kept)], -1)

        return arrange(self.lo), arrange(self.hi)


class Mask:
    """The `where` clauses of an op at given sizes and attributes."""

    def __init__(self, shape: OpShape, sizes: Mapping[str, int], attrs: Mapping[str, Floats]) -> None:
        self.shape = shape
        self.sizes = sizes
        self.attrs = attrs
        self._cache: dict[tuple[int, ...], Intervals] = {}

    def clauses(self, indices: Iterable[str]) -> tuple[int, ...]:
        """The clauses that apply where exactly these indices exist: those that use no other."""
        have = set(indices)
        return tuple(i for i, c in enumerate(self.shape.where) if clause_indices(self.shape, c) <= have)

    def intervals(self, indices: Iterable[str]) -> Intervals | None:
        """Row intervals of the clauses that apply to `indices`; None where no clause does."""
        which = self.clauses(indices)
        if not which:
            return None
        if which not in self._cache:
            self._cache[which] = _intervals(self, [self.shape.where[i] for i in which])
        return self._cache[which]

    def count(self, indices: Iterable[str]) -> int:
        """Points of the index set that exist."""
        names = tuple(dict.fromkeys(indices))
        inter = self.intervals(names)
        if inter is None:
            return prod(self.sizes[i] for i in names)
        inside = int(inter.union(inter.rows).sum())
        return inside * prod(self.sizes[i] for i in names if i not in inter.rows and i != inter.col)

    def touched(self, indices: Iterable[str], seen: Iterable[str]) -> int:
        """Distinct values of `seen` over the points of `indices` that exist."""
        names, wanted = tuple(dict.fromkeys(indices)), tuple(dict.fromkeys(seen))
        inter = self.intervals(names)
        if inter is None:
            return prod(self.sizes[i] for i in wanted)
        keep = tuple(r for r in inter.rows if r in wanted)
        union = inter.union(keep)
        inside = int(union.sum() if inter.col in wanted else (union > 0).sum())
        return inside * prod(self.sizes[i] for i in wanted if i not in keep and i != inter.col)


def clause_indices(shape: OpShape, clause: Sequence[t.Rel]) -> set[str]:
    """Indices that a clause uses, as values or as subscripts of attributes."""
    attrs = {a.name for a in shape.attrs}
    refs = {x.name for rel in clause for side in (rel.a, rel.b) for x in walk(side) if isinstance(x, t.Ref)}
    return refs - attrs


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


def _intervals(mask: Mask, clauses: Sequence[Sequence[t.Rel]]) -> Intervals:
    shape, sizes = mask.shape, mask.sizes
    names = sorted(set().union(*(clause_indices(shape, c) for c in clauses)))
    votes = {n: sum(n in _value_indices(shape, r) for c in clauses for r in c) for n in names}
    col = max(names, key=lambda n: (votes[n], sizes[n]))
    rows = tuple(n for n in names if n != col)
    grid = {n: np.arange(sizes[n]).reshape([-1 if m == n else 1 for m in rows]) for n in rows}
    full = tuple(sizes[r] for r in rows)
    lo, hi = [], []
    for term in itertools.product(*clauses):
        low, high = np.zeros(full), np.full(full, float(sizes[col]))
        for rel in term:
            a, b = _bounds(mask, rel, col, grid)
            low, high = np.maximum(low, a), np.minimum(high, b)
        lo.append(low)
        hi.append(np.maximum(low, high))
    return Intervals(rows, col, np.stack(lo).astype(np.int64), np.stack(hi).astype(np.int64))


def _linear(e: t.Expr, col: str) -> bool:
    """Whether an index occurs in an expression only as a summand."""
    match e:
        case t.Bin("+" | "-", a, b):
            return _linear(a, col) and _linear(b, col)
        case t.Neg(a):
            return _linear(a, col)
        case t.Ref():
            return True
        case _:
            return not any(isinstance(x, t.Ref) and x.name == col for x in walk(e))


def _bounds(mask: Mask, rel: t.Rel, col: str, grid: Mapping[str, Ints]) -> tuple[Floats, Floats]:
    """`rel` as `lo <= col < hi`, for every row."""

    def at(value: int) -> Floats:
        env = {**grid, col: np.asarray(value)}
        a, b = (scalar(s, mask.sizes, mask.attrs, env) for s in (rel.a, rel.b))
        return np.asarray(np.clip(a, -FAR, FAR) - np.clip(b, -FAR, FAR))

    if not (_linear(rel.a, col) and _linear(rel.b, col)):
        raise Diag(
            "bad-mask",
            f"a `where` clause may only add to `{col}` and subtract from it",
            rel.span or mask.shape.span,
            hint=f"write it as bounds of `{col}`, such as `{col} <= s + past[b]`",
        )
    zero, one, two = at(0), at(1), at(2)
    slope = np.round(one - zero, 9)  # `a / 3` is not exact in binary
    near = np.abs(zero) < FAR / 2
    if np.any((np.abs(two - one - slope) > 1e-9) & near) or not np.all(np.isin(slope[near], (-1.0, 0.0, 1.0))):
        raise Diag("bad-mask", f"a `where` clause must use `{col}` with factor 1", rel.span or mask.shape.span)
    op, slope_, rest = rel.op, slope, zero
    if op in (">", ">="):
        op, slope_, rest = op.replace(">", "<"), -slope, -zero
    strict = op == "<"
    # slope * col + rest <= 0 (or < 0), integers: `<` is `<= -1`.
    top = np.floor(-rest) - (1 if strict else 0) * (np.floor(rest) == rest)
    upper = np.where(slope_ > 0, top + 1, np.where((slope_ == 0) & ~_holds(rest, strict), -FAR, FAR))
    bottom = np.ceil(rest) + (1 if strict else 0) * (np.floor(rest) == rest)
    lower = np.where(slope_ < 0, bottom, -FAR)
    if rel.op == "==":
        upper = np.where(
            slope != 0, np.where(rest == np.floor(rest), -rest * slope + 1, -FAR), np.where(rest == 0, FAR, -FAR)
        )
        lower = np.where(slope != 0, -rest * slope, -FAR)
    return lower, upper


def _holds(rest: Floats, strict: bool) -> npt.NDArray[np.bool_]:
    return np.asarray(rest < 0 if strict else rest <= 0)
