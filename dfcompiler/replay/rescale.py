"""What a value must be multiplied with when a reduction that it leans on has changed since it was made.

`n = sum(t) exp(x - m) * v` beside `m = max(t) x`: once `m` has grown, what `n` holds is off by the factor
`exp(m before - m)`. The factor is found from the text, as the quotient of the summand after and before, in which all
that did not change cancels: differences inside `exp`, quotients outside, so no exponential is ever taken of one value
alone.
"""

from __future__ import annotations

from collections.abc import Collection

from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import OpShape, Statement, accesses, rebuilt, walk
from dfcompiler.text import tree as t

BEFORE = " before"  # no tensor's name has a blank


def factor(shape: OpShape, number: int, tiled: Collection[str]) -> t.Expr | None:
    """The factor for what a statement made in an earlier tile, over its free indices; None where nothing that it reads
    can change. `tiled` are the indices of reduced loops over several tiles.

    Tensors called `x before` are those before the tile. Raises Diag `wrong-nest` where there is no such factor.
    """
    return _Quotient(shape, number, tiled).of(shape.body[number].expr)


def changing(e: t.Expr) -> set[str]:
    """Tensors whose values before the tile an expression asks for."""
    return {a.name.removesuffix(BEFORE) for a in accesses(e) if a.name.endswith(BEFORE)}


class _Quotient:
    def __init__(self, shape: OpShape, number: int, tiled: Collection[str]) -> None:
        mine = shape.body[number]
        self.over = set(mine.over or mine.free) & set(tiled)
        self.whole: set[str] = set()  # change, and are one value for all that is summed over
        self.inner: dict[str, Statement] = {}  # change, and have a value per summand
        for s in shape.body[:number]:
            names = {a.name for a in s.targets}
            if self.over & set(s.over) or (self.changes(s.expr) and not self.over & set(s.free)):
                self.whole |= names
            elif self.changes(s.expr):
                self.inner |= dict.fromkeys(names, s)

    def changes(self, e: t.Expr) -> bool:
        return any(a.name in self.whole or a.name in self.inner for a in accesses(e))

    def of(self, e: t.Expr) -> t.Expr | None:
        """`e` now over `e` before; None is 1."""
        if not self.changes(e):
            return None
        match e:
            case t.Access(name, subs) if name in self.inner:
                return self.of(_inlined(self.inner[name], name, subs))
            case t.Bin("*", a, b):
                return _joined("*", self.of(a), self.of(b), t.Num(1.0))
            case t.Bin("/", a, b):
                return _joined("/", self.of(a), self.of(b), t.Num(1.0))
            case t.Neg(a):
                return self.of(a)
            case t.Call("exp", (arg,)):
                gap = self.gap(arg)
                return None if gap is None else t.Call("exp", (gap,))
            case _:
                return t.Bin("/", e, self.before(e))

    def gap(self, e: t.Expr) -> t.Expr | None:
        """`e` now less `e` before; None is 0."""
        if not self.changes(e):
            return None
        match e:
            case t.Bin("+" | "-" as op, a, b):
                return _joined(op, self.gap(a), self.gap(b), t.Num(0.0))
            case t.Neg(a):
                gap = self.gap(a)
                return None if gap is None else t.Neg(gap)
            case _:
                return t.Bin("-", e, self.before(e))

    def before(self, e: t.Expr) -> t.Expr:
        """The same of the values before the tile."""
        if any(isinstance(x, t.Ref) and x.name in self.over for x in walk(e)):
            raise Diag("wrong-nest", "what this adds to a sum does not change by one factor", e.span)
        return _renamed(e, self.whole)


def _joined(op: str, a: t.Expr | None, b: t.Expr | None, neutral: t.Expr) -> t.Expr | None:
    if b is None:
        return a
    return t.Bin(op, a or neutral, b)


def _inlined(s: Statement, name: str, subs: tuple[t.Expr, ...]) -> t.Expr:
    """A statement's expression at the point at which its target is read."""
    target = next(a for a in s.targets if a.name == name)
    return _at(s.expr, {p.name: q for p, q in zip(target.subs, subs, strict=True) if isinstance(p, t.Ref)})


def _at(e: t.Expr, where: dict[str, t.Expr]) -> t.Expr:
    return where.get(e.name, e) if isinstance(e, t.Ref) else rebuilt(e, lambda x: _at(x, where))


def _renamed(e: t.Expr, names: set[str]) -> t.Expr:
    if isinstance(e, t.Access):
        return t.Access(e.name + BEFORE if e.name in names else e.name, e.subs, span=e.span)
    return rebuilt(e, lambda x: _renamed(x, names))
