"""A relation of a `where` clause as bounds of one index, the column, for every value of the others, the rows.

Three forms, from fast to general. Linear relations are bounds by arithmetic. A relation whose two sides only
rise or only fall with the column (`t // 64 <= s // 64`) holds up to one column or from one column on, which
bisection finds. Any other one (`t // 64 % 4 == 0`) is tried on every column, once for each kind of row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.opshape import indices_of
from dfcompiler.scalars import Floats, Ints, Sizes, scalar
from dfcompiler.text import tree as t

FAR = float(1 << 40)  # stands for infinity in bounds: far beyond any extent, far below overflow

_RELATIONS = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "<": np.less, ">": np.greater}


@dataclass(frozen=True)
class Half:
    """`column * col + slide * row <= most`, where `row` is the row index that slides with the column, if any."""

    column: int
    slide: int
    most: Ints


@dataclass(frozen=True)
class Frame:
    """Where expressions have values: extents, attributes, and the rows as arrays that broadcast together."""

    sizes: Sizes
    attrs: Mapping[str, Floats]
    rows: Mapping[str, Ints]

    def at(self, e: t.Expr, more: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
        """The value of an expression, never infinite."""
        value = scalar(e, self.sizes, self.attrs, {**self.rows, **more})
        return np.asarray(np.minimum(np.maximum(value, -FAR), FAR))


def linear(rel: t.Rel, frame: Frame, column: str, slide: str | None) -> list[Half] | None:
    """The relation as bounds, where it is linear in the column and in the row index that slides; else None."""
    names = [column, *([slide] if slide else [])]
    factors = coefficients(t.Bin("-", rel.a, rel.b), names, frame.sizes)
    if factors is None:
        return None
    zero = dict.fromkeys(names, np.zeros((), dtype=np.int64))
    rest = frame.at(rel.a, zero) - frame.at(rel.b, zero)
    c, g = factors.get(column, 0), factors.get(slide or "", 0)
    up, down = (c, g, -rest), (-c, -g, rest)
    match rel.op:
        case "<=" | ">=":
            bounds = [(*(up if rel.op == "<=" else down), False)]
        case "<" | ">":
            bounds = [(*(up if rel.op == "<" else down), True)]
        case _:
            bounds = [(*up, False), (*down, False)]
    return [
        Half(x, y, (np.ceil(most) - 1 if strict else np.floor(most)).astype(np.int64)) for x, y, most, strict in bounds
    ]


def coefficients(e: t.Expr, names: Sequence[str], sizes: Sizes) -> dict[str, int] | None:
    """The whole factor of each of these indices in a sum; None where one occurs in another way."""
    match e:
        case t.Ref(name):
            return {name: 1} if name in names else {}
        case t.Neg(a):
            return _scaled(coefficients(a, names, sizes), -1)
        case t.Bin("+" | "-", a, b):
            one, two = coefficients(a, names, sizes), coefficients(b, names, sizes)
            two = _scaled(two, -1) if e.op == "-" else two
            return None if one is None or two is None else {n: one.get(n, 0) + two.get(n, 0) for n in (*one, *two)}
        case _ if set(names).isdisjoint(indices_of(e)):
            return {}
        case t.Bin("*", a, b):
            by, of = (a, b) if _whole(a, sizes) is not None else (b, a)
            return _scaled(coefficients(of, names, sizes), _whole(by, sizes))
        case _:
            return None


def _whole(e: t.Expr, sizes: Sizes) -> int | None:
    match e:
        case t.Num(value) if value == int(value):
            return int(value)
        case t.Ext(name) if np.ndim(sizes[name]) == 0:
            return int(sizes[name])
        case _:
            return None


def _scaled(factors: dict[str, int] | None, by: int | None) -> dict[str, int] | None:
    return None if factors is None or by is None else {n: f * by for n, f in factors.items()}


# ---- sides that rise or fall -------------------------------------------------------------------


def bisected(rel: t.Rel, frame: Frame, column: str) -> list[Half] | None:
    """The relation as bounds of the column, where it holds up to some column or from some column on; else None."""
    a, b = direction(rel.a, frame, column), direction(rel.b, frame, column)
    way = None if a is None or b is None else _joined(a, -b)
    if way is None:
        return None
    found = []
    for op in ("<=", ">=") if rel.op == "==" else (rel.op,):
        if (way >= 0) == (op in ("<", "<=")):
            found.append(Half(1, 0, _first(rel, op, frame, column, holds=False) - 1))
        else:
            found.append(Half(-1, 0, -_first(rel, op, frame, column, holds=True)))
    return found


def direction(e: t.Expr, frame: Frame, column: str) -> int | None:
    """1 where an expression never falls as the column grows, -1 where it never rises, 0 without it, else None."""
    if column not in indices_of(e):
        return 0
    match e:
        case t.Ref():
            return 1
        case t.Neg(a):
            found = direction(a, frame, column)
            return None if found is None else -found
        case t.Bin("+" | "-", a, b):
            one, two = direction(a, frame, column), direction(b, frame, column)
            return None if one is None or two is None else _joined(one, two if e.op == "+" else -two)
        case t.Bin("//" | "/" | "*", a, b) if column not in indices_of(b) and np.all(frame.at(b, {}) > 0):
            return direction(a, frame, column)
        case t.Bin("*", a, b) if column not in indices_of(a) and np.all(frame.at(a, {}) > 0):
            return direction(b, frame, column)
        case t.Call("maximum" | "minimum", (a, b)):
            one, two = direction(a, frame, column), direction(b, frame, column)
            return None if one is None or two is None else _joined(one, two)
        case _:
            return None


def _joined(a: int, b: int) -> int | None:
    return a or b if a * b >= 0 else None


def _first(rel: t.Rel, op: str, frame: Frame, column: str, *, holds: bool) -> Ints:
    """The first column at which the relation holds (or does not), for every row; the extent where none does."""
    low: Ints = np.zeros((), dtype=np.int64)
    high = np.asarray(frame.sizes[column], dtype=np.int64)
    for _ in range(int(np.max(high)).bit_length()):
        middle = (low + high) // 2
        env = {column: middle}
        there = _RELATIONS[op](frame.at(rel.a, env), frame.at(rel.b, env)) == holds
        low, high = np.where(there | (low == high), low, middle + 1), np.where(there, middle, high)
    return np.asarray(low)


# ---- anything else -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """A relation column by column: `holds[kind, column]`, and the `kind` of every row (it broadcasts over rows)."""

    holds: npt.NDArray[np.bool_]
    kind: Ints


def kinds(rel: t.Rel, frame: Frame, column: str) -> tuple[t.Rel, dict[str, Floats]]:
    """The relation with a name for each part without the column, and the values of those parts.

    Under `% c` and `// c % d` only remainders matter, so rows that differ by a whole period are of one kind.
    """
    parts: dict[str, Floats] = {}

    def part(e: t.Expr, period: Floats | None) -> t.Expr:
        name, value = f"part {len(parts)}", frame.at(e, {})
        parts[name] = value if period is None else np.mod(value, period)
        return t.Ref(name, span=e.span)

    def go(e: t.Expr, period: Floats | None) -> t.Expr:
        if column not in indices_of(e):
            return part(e, period)
        match e:
            case t.Bin("%" | "//" as op, a, b) if column not in indices_of(b) and _steps(frame.at(b, {})):
                by = frame.at(b, {})
                inner = by if op == "%" else None if period is None else by * period
                return t.Bin(op, go(a, inner), part(b, None), span=e.span)
            case t.Bin("+" | "-" as op, a, b):
                return t.Bin(op, go(a, period), go(b, period), span=e.span)
            case t.Bin(op, a, b):
                return t.Bin(op, go(a, None), go(b, None), span=e.span)
            case t.Neg(a):
                return t.Neg(go(a, period), span=e.span)
            case t.Call(fn, args):
                return t.Call(fn, tuple(go(a, None) for a in args), span=e.span)
            case t.Access(name, subs):
                return t.Access(name, tuple(go(s, None) for s in subs), span=e.span)
            case _:
                return e

    return t.Rel(rel.op, go(rel.a, None), go(rel.b, None), span=rel.span), parts


def _steps(by: Floats) -> bool:
    return bool(np.all((by > 0) & (by == np.floor(by))))


def tried(rel: t.Rel, frame: Frame, column: str, most: int) -> Tried | int:
    """The relation tried on every column; the number of trials where they would be more than `most`."""
    plain, parts = kinds(rel, frame, column)
    names, values = list(parts), np.broadcast_arrays(*parts.values()) if parts else []
    width = int(np.max(frame.sizes[column]))
    flat = np.stack([v.ravel() for v in values], 1) if values else np.zeros((1, 0))
    different, kind = np.unique(flat, axis=0, return_inverse=True)
    if len(different) * width > most:
        return len(different) * width
    env = {n: different[:, i : i + 1] for i, n in enumerate(names)} | {column: np.arange(width)}
    a, b = (np.clip(scalar(side, frame.sizes, frame.attrs, env), -FAR, FAR) for side in (plain.a, plain.b))
    holds = np.broadcast_to(_RELATIONS[plain.op](a, b), (len(different), width))
    return Tried(holds, np.reshape(kind, values[0].shape if values else ()))
