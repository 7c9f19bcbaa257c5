"""The points of statements, one by one: index values, the tiles they lie in, the elements they touch.

Nothing is derived here: `where` clauses and subscripts are evaluated at every point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.clauses import clause_indices
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.opshape import walk
from dfcompiler.problem import Problem
from dfcompiler.scalars import FUNCTIONS, Floats, Ints, arithmetic, attributes
from dfcompiler.text import tree as t

Key: TypeAlias = tuple[int, ...]
Bools: TypeAlias = npt.NDArray[np.bool_]
Reader: TypeAlias = Callable[[t.Access], Floats]

_RELATIONS = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "<": np.less, ">": np.greater}


@dataclass(frozen=True)
class Points:
    """Points that exist: the value of every index, all arrays of one length."""

    values: Mapping[str, Ints]
    count: int


class Space:
    """The index space of a problem: which points exist, and what they touch."""

    def __init__(self, problem: Problem) -> None:
        group = problem.group
        self.loops, self.shape, self.sizes = problem.loops, group.shape, group.sizes
        self.attrs = attributes(group.shape, group.sizes, group.attrs)
        self._known: dict[tuple[str, ...], Points] = {}

    def points(self, indices: Sequence[str]) -> Points:
        """All points over these indices that the clauses about them leave."""
        names = tuple(i for i in indices if i in self.sizes)  # not attributes
        if names not in self._known:
            grid = np.indices([self.sizes[i] for i in names]).reshape(len(names), prod(self.sizes[i] for i in names))
            env = dict(zip(names, grid, strict=True))
            exists = np.ones(grid.shape[1], dtype=bool)
            for clause in self.shape.where:
                if clause_indices(self.shape, clause) <= set(names):
                    holds = [_RELATIONS[r.op](self.value(r.a, env), self.value(r.b, env)) for r in clause]
                    exists &= np.logical_or.reduce([np.broadcast_to(h, exists.shape) for h in holds])
            self._known[names] = Points({i: a[exists] for i, a in env.items()}, int(exists.sum()))
        return self._known[names]

    def masked(self, indices: Sequence[str]) -> bool:
        """Whether some clause is about these indices."""
        return any(clause_indices(self.shape, c) <= set(indices) for c in self.shape.where)

    def value(self, e: t.Expr, env: Mapping[str, Ints], read: Reader | None = None) -> Floats:
        """An expression at every point; `read` gives tensors' elements."""
        match e:
            case t.Num(number):
                return np.asarray(number, dtype=np.float64)
            case t.Ext(name):
                return np.asarray(self.sizes[name], dtype=np.float64)
            case t.Ref(name):
                return np.asarray(env[name], dtype=np.float64) if name in env else self.attrs[name]
            case t.Access(name, subs) if name in self.attrs:
                return np.asarray(self.attrs[name][tuple(self.value(s, env).astype(np.int64) for s in subs)])
            case t.Access():
                if read is None:
                    raise uncharted(e)
                return read(e)
            case t.Neg(a):
                return -self.value(a, env, read)
            case t.Bin(op, a, b):
                return arithmetic(op, self.value(a, env, read), self.value(b, env, read))
            case t.Call(fn, args):
                return np.asarray(FUNCTIONS[fn](*(self.value(a, env, read) for a in args)))
            case _:
                raise Diag("bad-expression", "no value can be given to this", e.span)

    def loops_of(self, indices: Sequence[str]) -> list[str]:
        """Loops that run over some of these indices."""
        return [x.name for x in self.loops if set(x.indices) <= set(indices)]

    def by_tile(self, points: Points, size: Mapping[str, int]) -> dict[Key, Ints]:
        """Positions of the points of every tile, by its number along each of `loops_of`."""
        at = [self.number(points, [n]) // size[n] for n in self.loops_of(tuple(points.values))]
        if not points.count:
            return {}
        if not at:
            return {(): np.arange(points.count)}
        shape = [int(a.max()) + 1 for a in at]
        tile = np.ravel_multi_index(at, shape)
        order = np.argsort(tile, kind="stable")
        starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
        keys = zip(*(a.tolist() for a in np.unravel_index(tile[order][starts], shape)), strict=True)
        return dict(zip(keys, np.split(order, starts[1:]), strict=True))

    def number(self, points: Points, loops: Sequence[str]) -> Ints:
        """The place of every point in the loops of these names, as one number."""
        found = np.zeros(points.count, dtype=np.int64)
        for i in (i for x in self.loops if x.name in loops for i in x.indices):
            found = found * self.sizes[i] + points.values[i]
        return found

    def is_tensor(self, e: t.Expr) -> bool:
        """Whether an expression reads a tensor."""
        return any(isinstance(x, t.Access) and x.name not in self.attrs for x in walk(e))


def uncharted(a: t.Access) -> Infeasible:
    """For an access to a tensor that decides which elements are touched, or which points exist."""
    return Infeasible("no-replay", f"only the values of `{a.name}` tell which elements are touched", a.span)


def flat(places: Sequence[Floats], shape: Sequence[int], count: int) -> Ints:
    """Positions in a flattened tensor; -1 where a subscript is no number or lies outside."""
    at, inside = np.zeros(count, dtype=np.int64), np.ones(count, dtype=bool)
    for place, extent in zip(places, shape, strict=True):
        inside &= (place >= 0) & (place < extent)
        at = at * extent + np.where(inside, place, 0).astype(np.int64)
    return np.where(inside, at, -1)
