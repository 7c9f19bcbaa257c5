"""Which indices of an op that updates a tensor in place may be tiled: no tile may find overwritten what it reads.

Statements run one after the other over the whole op; tiles run all statements on a piece of it, in any order and on
any instance. What a statement reads must then not be written by it or a later one in another tile, and what two
statements write not by the later one first. Two accesses to one element lie in one tile of an index that both of them
run over and that has one value at both; this follows from equal subscripts. Accesses whose subscripts differ wherever
points exist touch nothing in common. Tiles of sums and scans run in order on one instance, so there it is enough that
one access comes in the first of them or the other in the last. The test is syntactic and conservative: it may say no
where a cleverer proof exists, never yes where none does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import inf
from typing import TypeAlias

from dfcompiler.clauses import clause_indices
from dfcompiler.opshape import OpShape, Statement, accesses, walk
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t
from dfcompiler.work import index_set


@dataclass(frozen=True)
class Clash:
    """Two accesses that may touch one element, of statements by number: a read or write that must come before a write.

    `same` are the indices that have then one value at both. What a scan starts from is read `at_first` of its index."""

    name: str
    before: int
    after: int
    same: frozenset[str]
    reads: bool
    at_first: str | None


def overwritten(shape: OpShape, index: str, built: Collection[str]) -> Blocked | None:
    """Why an index must lie whole in a tile, if one tile of it may overwrite what another has yet to read, or leave a
    value that another should have replaced. Tiles of the indices in `built`, those of sums and scans, run in order."""
    for c in clashes(shape):
        if index in c.same or (_in_order(shape, c, index) if index in built else _again(shape, c, index)):
            continue
        span = shape.body[c.before].span
        return Blocked(f"a tile of `{index}` may overwrite what another {_VERBS[c.reads]} of `{c.name}`", span)
    return None


_VERBS = {True: "reads", False: "writes"}


@lru_cache(maxsize=4096)
def clashes(shape: OpShape) -> tuple[Clash, ...]:
    """All pairs of accesses to tensors updated in place that may touch one element, the second a write, not before."""
    found = []
    for name in (p.name for p in shape.params if p.inout):
        earlier = [(True, *r) for r in _reads(shape, name)] + [(False, *w, None) for w in _writes(shape, name)]
        for (reads, i, one, first), (j, other) in product(earlier, _writes(shape, name)):
            if not (i < j or (reads and i == j) or _take_turns(shape, i, j)):
                continue
            same = same_values(shape, one, other)
            if not _Apart(shape, (shape.body[i], shape.body[j]), same).proves(one, other):
                found.append(Clash(name, i, j, same, reads, first))
    return tuple(found)


def _take_turns(shape: OpShape, i: int, j: int) -> bool:
    """Whether two statements are of one scan, so that either comes before the other."""
    return i != j and shape.body[i].scan is not None and shape.body[i].scan == shape.body[j].scan


Subs: TypeAlias = tuple[t.Expr, ...]


def _reads(shape: OpShape, name: str) -> Iterator[tuple[int, Subs, str | None]]:
    for number, s in enumerate(shape.body):
        for e in (s.expr, *(x for a in s.targets for x in a.subs)):
            yield from ((number, a.subs, None) for a in accesses(e) if a.name == name)
        for a in s.targets:
            if s.scan and s.scan[1:] == (a.name, name):
                yield number, tuple(x for x in a.subs if x != t.Ref(s.scan[0])), s.scan[0]


def _writes(shape: OpShape, name: str) -> Iterator[tuple[int, Subs]]:
    return ((n, a.subs) for n, s in enumerate(shape.body) for a in s.targets if a.name == name)


# ---- one tile ----------------------------------------------------------------------------------


def same_values(shape: OpShape, one: Subs, other: Subs) -> frozenset[str]:
    """Indices that have one value at two points that touch the same element: equal subscripts that go up or down with
    one index, all others in them having one value already."""
    same: set[str] = set()
    while more := {
        i
        for a, b in zip(one, other, strict=True)
        if a == b and _lasting(shape, a) and len(rest := {*index_set(shape, a)} - same) == 1
        for i in rest
        if _rises(a, i)
    }:
        same |= more
    return frozenset(same)


def _lasting(shape: OpShape, e: t.Expr) -> bool:
    """Whether an expression has one value all through the op, at one point."""
    made = {a.name for s in shape.body for a in s.targets}
    return not any(a.name in made for a in accesses(e))


def _rises(e: t.Expr, index: str) -> bool:
    """Whether two values of an index never give one value of the expression."""
    match e:
        case t.Ref(name):
            return name == index
        case t.Bin("+" | "-", a, b):
            return sum(_names(x, index) for x in (a, b)) == 1 and any(_rises(x, index) for x in (a, b))
        case t.Bin("*", t.Num(by), of) | t.Bin("*", of, t.Num(by)):
            return by != 0 and _rises(of, index)
        case _:
            return False


def _names(e: t.Expr, index: str) -> bool:
    return any(isinstance(x, t.Ref) and x.name == index for x in walk(e))


# ---- one after the other -----------------------------------------------------------------------


def _in_order(shape: OpShape, c: Clash, index: str) -> bool:
    """Whether of tiles that run in order the first access comes in the first one or the second in the last."""
    return c.at_first == index or _turn(shape, c.before, index) == "first" or _turn(shape, c.after, index) == "last"


def _again(shape: OpShape, c: Clash, index: str) -> bool:
    """Whether every tile does both writes once more, so that the last one of all is the right one."""
    return not c.reads and not any(index in shape.body[n].indices for n in (c.before, c.after))


def _turn(shape: OpShape, number: int, index: str) -> str:
    """In which tiles of a sum or scan a statement runs: in the first where it leans on nothing over the index, in the
    last where nothing over the index leans on it, else in all."""
    if index in shape.body[number].indices:
        return "all"
    if not _meets(shape, number, index, up=True):
        return "first"
    return "all" if _meets(shape, number, index, up=False) else "last"


def _meets(shape: OpShape, number: int, index: str, *, up: bool) -> bool:
    """Whether a statement runs over the index that this one leans on, or that leans on this one."""
    seen, todo = {number}, [number]
    while todo:
        here = shape.body[todo.pop()]
        for i, other in enumerate(shape.body):
            maker, user = (other, here) if up else (here, other)
            if i not in seen and {a.name for a in maker.targets} & {a.name for a in accesses(user.expr)}:
                if index in other.indices:
                    return True
                seen.add(i)
                todo.append(i)
    return False


# ---- nothing in common -------------------------------------------------------------------------

# A sum of multiples of values, each at the access of this number, the first or the second.
Form: TypeAlias = Mapping[tuple[t.Expr, int], float]
_BOTH = -1  # one value, whichever the access
_ONE = (t.Num(1), _BOTH)


@dataclass(frozen=True)
class _Apart:
    """Whether two accesses never touch one element: on some axis one subscript is always the larger."""

    shape: OpShape
    statements: tuple[Statement, Statement]
    same: frozenset[str]

    def proves(self, one: Subs, other: Subs) -> bool:
        """Whether it is shown, by the ranges of indices and at most one clause that holds at either point."""
        firsts, seconds = ([(_NOTHING, False), *self._clauses(side)] for side in (0, 1))
        for a, b in zip(one, other, strict=True):
            gap = _less(self._form(a, 0), self._form(b, 1))
            for d, (first, below), (second, under) in product((gap, _less(_NOTHING, gap)), firsts, seconds):
                most = self._most(_less(_less(d, first), second))
                if most < 0 or (most == 0 and (below or under)):
                    return True
        return False

    def _clauses(self, side: int) -> Iterator[tuple[Form, bool]]:
        """What is at most 0 at every point of a statement, and whether always below."""
        for clause in self.shape.where:
            if len(clause) == 1 and clause_indices(self.shape, clause) <= {*self.statements[side].indices}:
                (r,) = clause
                gap = _less(self._form(r.a, side), self._form(r.b, side))
                if r.op in ("<", "<=", "=="):
                    yield gap, r.op == "<"
                if r.op in (">", ">=", "=="):
                    yield _less(_NOTHING, gap), r.op == ">"

    def _form(self, e: t.Expr, side: int) -> Form:
        """An expression as a sum; what is not linear is a value of its own."""
        match e:
            case t.Num(value):
                return {_ONE: float(value)}
            case t.Bin("+", a, b):
                return _less(self._form(a, side), self._form(t.Neg(b), side))
            case t.Bin("-", a, b):
                return _less(self._form(a, side), self._form(b, side))
            case t.Neg(a):
                return _less(_NOTHING, self._form(a, side))
            case t.Bin("*", t.Num(by), of) | t.Bin("*", of, t.Num(by)):
                return {k: by * v for k, v in self._form(of, side).items()}
            case _:
                both = {*index_set(self.shape, e)} <= self.same and _lasting(self.shape, e)
                return {(e, _BOTH if both else side): 1.0}

    def _most(self, form: Form) -> float:
        """A bound from above for all extents and all values of indices; infinite where an attribute decides."""
        attrs = {a.name for a in self.shape.attrs}
        ends: Form = {_ONE: 0.0}
        for (e, side), by in form.items():
            if not isinstance(e, t.Ref) or e.name in attrs:
                ends = _less(ends, {(e, side): -by})
            elif by > 0:  # the last value of an index; of one that counts against the sum it is the first, 0
                ends = _less(ends, {(t.Ext(e.name), _BOTH): -by, _ONE: by})
        run = {i for s in self.statements for i in s.indices}  # of which there is a point
        least = {k: float(k[0].name in run) if isinstance(k[0], t.Ext) else 1.0 for k in ends}
        known = all(k == _ONE or not by or (by < 0 and isinstance(k[0], t.Ext)) for k, by in ends.items())
        return sum(by * least[k] for k, by in ends.items()) if known else inf


_NOTHING: Form = {}


def _less(a: Form, b: Form) -> Form:
    return {k: a.get(k, 0.0) - b.get(k, 0.0) for k in (*a, *b)}
