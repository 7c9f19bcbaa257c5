"""What an op computes, in numpy float64, straight from its statements.

A statement is evaluated over the grid of its indices, free ones first, and reduced over the others.
Points that the `where` clauses exclude do not exist: reductions skip them, elements there are 0 and
nothing is written there. Every array of an expression has one axis per index of the statement, of
extent 1 where it does not depend on that index, so broadcasting does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.clauses import clause_indices
from dfcompiler.diagnostics import Diag, Span, nearest
from dfcompiler.opshape import OpShape, Statement, operand_axes
from dfcompiler.scalars import FUNCTIONS, Floats, Ints, arithmetic, attributes
from dfcompiler.text import tree as t
from dfcompiler.work import factors, index_set

Bools: TypeAlias = npt.NDArray[np.bool_]
Arrays: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

_RELATIONS = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal, "<": np.less, ">": np.greater}
_REDUCERS: Mapping[str, tuple[Callable[..., Floats], float]] = {
    "sum": (np.sum, 0.0),
    "max": (np.max, -np.inf),
    "min": (np.min, np.inf),
}


def run_op(
    shape: OpShape, sizes: Mapping[str, int], attrs: Mapping[str, object], operands: Arrays
) -> dict[str, Floats]:
    """The results of an op by name, and its `inout` operands as they are afterwards.

    `sizes` gives the extent of every index, `attrs` the attributes that differ from their defaults,
    `operands` one array per parameter (left unchanged). A result that no statement writes is an updated
    `inout` operand, in order. Raises Diag `bad-operand`, `bad-attribute`, `bad-statement`, `unknown-name`
    and `out-of-range`.
    """
    return _Run(shape, sizes, attrs, operands).results()


@dataclass(frozen=True)
class _Grid:
    """Points of a statement: its indices in order and the values that each takes."""

    values: Mapping[str, Ints]
    exists: Bools | None = None  # broadcasts over the grid; None where every point exists

    @cached_property
    def axes(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(v) for v in self.values.values())

    def along(self, name: str) -> Ints:
        """The values of an index, along its axis."""
        return self.values[name].reshape([-1 if a == name else 1 for a in self.axes])

    def full(self, array: npt.NDArray[np.generic]) -> Floats:
        """An array with one axis per index; scalars get theirs."""
        return np.asarray(array, dtype=np.float64).reshape(array.shape or (1,) * len(self.shape))


class _Run:
    def __init__(self, shape: OpShape, sizes: Mapping[str, int], attrs: Mapping[str, object], operands: Arrays) -> None:
        self.shape, self.sizes = shape, sizes
        self.attrs = attributes(shape, sizes, attrs)
        self.tensors: dict[str, Floats] = {}
        self.carried: dict[str, int] = {}  # states of scans: the axis on which slot i + 1 is step i
        for p in shape.params:
            if p.name not in operands:
                raise Diag("bad-operand", f"`{shape.name}` needs the operand `{p.name}`", p.span)
            value = np.asarray(operands[p.name], dtype=np.float64)
            if value.shape != operand_axes(p, sizes):
                wants = list(operand_axes(p, sizes))
                raise Diag("bad-operand", f"`{p.name}` of `{shape.name}` is {list(value.shape)}, wants {wants}", p.span)
            self.tensors[p.name] = value.copy() if p.inout else value

    def results(self) -> dict[str, Floats]:
        for scan, group in groupby(self.shape.body, key=lambda s: s.scan):
            statements = list(group)
            if scan is None:
                for s in statements:
                    self.execute(s, {})
            else:
                self.scan(scan, statements)
        updated = {p.name: self.tensors[p.name] for p in self.shape.params if p.inout}
        spare = iter(updated.values())
        found = dict(updated)
        for o in self.shape.results:
            value = self.tensors[o.name] if o.name in self.tensors else next(spare, None)
            if value is None:
                raise Diag("bad-statement", f"no statement of `{self.shape.name}` gives `{o.name}`", o.span)
            found[o.name] = value
        return found

    def scan(self, scan: tuple[str, str, str], statements: Sequence[Statement]) -> None:
        """Statements once per value of the sequential index, with room for the state before the first."""
        index, state, init = scan
        target = next((a for s in statements for a in s.targets if a.name == state), None)
        axis = next((i for i, x in enumerate(target.subs) if x == t.Ref(index)), None) if target else None
        if axis is None or init not in self.tensors:
            raise Diag("bad-statement", f"no statement gives the state `{state}[.., {index}, ..]`", statements[0].span)
        before = np.expand_dims(self.tensors[init], axis)
        room = list(before.shape)
        room[axis] = self.sizes[index]
        self.tensors[state] = np.concatenate([before, np.zeros(room)], axis)
        self.carried[state] = axis
        for step in range(self.sizes[index]):
            for s in statements:
                self.execute(s, {index: np.array([step])})

    # ---- statements

    def execute(self, s: Statement, fixed: Mapping[str, Ints]) -> None:
        """Evaluate a statement over its grid, reduce, and write; `fixed` are indices that a scan holds."""
        free = [i for i in s.free if i not in self.attrs]
        if set(free) & set(s.over):
            raise Diag("bad-statement", "a reduced index cannot be in the result", s.span)
        target = self.grid(s, free, fixed)
        with np.errstate(all="ignore"):
            if s.fn == "topk":
                values = self.topk(s, target, fixed)
            else:
                values = (self.reduce(s, target, self.grid(s, [*free, *s.over], fixed)),)
        if len(values) < len(s.targets):
            raise Diag("bad-statement", f"one value for {len(s.targets)} targets", s.span)
        for access, value in zip(s.targets, values, strict=False):
            self.write(access, np.broadcast_to(value, target.shape), target)

    def grid(self, s: Statement, names: Sequence[str], fixed: Mapping[str, Ints]) -> _Grid:
        for name in names:
            if name not in self.sizes:
                raise Diag("bad-statement", f"the extent of `{name}` is not known", s.span)
        grid = _Grid({n: fixed[n] if n in fixed else np.arange(self.sizes[n]) for n in names})
        clauses = [c for c in self.shape.where if clause_indices(self.shape, c) <= set(names)]
        exists: Bools | None = None
        for clause in clauses:
            holds = np.zeros((), dtype=bool)
            for rel in clause:
                holds = holds | _RELATIONS[rel.op](self.value(rel.a, grid), self.value(rel.b, grid))
            exists = holds if exists is None else exists & holds
        return grid if exists is None else _Grid(grid.values, np.reshape(exists, exists.shape or (1,) * len(names)))

    def reduce(self, s: Statement, target: _Grid, grid: _Grid) -> Floats:
        """The statement's value over the grid of its free indices."""
        if s.fn is None:
            return self.value(s.expr, grid)
        if s.fn not in _REDUCERS:
            raise Diag("bad-statement", f"unknown reducer `{s.fn}`", s.span)
        product = self.contract(s, target, grid) if s.fn == "sum" else None
        if product is not None:
            return product
        function, neutral = _REDUCERS[s.fn]
        every = np.broadcast_to(self.value(s.expr, grid), grid.shape)
        if grid.exists is not None:
            every = np.where(grid.exists, every, neutral)
        return np.asarray(function(every, axis=tuple(range(len(target.axes), len(grid.axes)))))

    def contract(self, s: Statement, target: _Grid, grid: _Grid) -> Floats | None:
        """A sum of products by einsum, each factor over its own indices only; None where that does not fit."""
        top, bottom = factors(s.expr)
        free = range(len(target.axes))
        over = range(len(target.axes), len(grid.axes))
        arrays = [grid.full(self.value(f, grid)) for f in top]
        below = [grid.full(self.value(f, grid)) for f in bottom]
        if sum(a.size > 1 for a in arrays) < 2 or any(a.shape[i] > 1 for a in below for i in over):
            return None
        if grid.exists is not None and not grid.exists.all():
            if not all(np.isfinite(a).all() for a in arrays):
                return None  # zero times infinity: points that do not exist must be skipped, not weighed
            arrays.append(grid.exists.astype(np.float64))
        missing = [i for i in over if all(a.shape[i] == 1 for a in arrays)]
        weight = float(np.prod([grid.shape[i] for i in missing]))
        parts: list[object] = []
        for a in arrays:
            axes = [i for i in range(len(grid.axes)) if a.shape[i] > 1]
            parts += [a.reshape([a.shape[i] for i in axes]), axes]
        used = {i for a in arrays for i in range(a.ndim) if a.shape[i] > 1}
        total = np.asarray(np.einsum(*parts, [i for i in free if i in used], optimize=True))  # type: ignore[call-overload]
        total = total.reshape([grid.shape[i] if i in used else 1 for i in free]) * weight
        for a in below:
            total = total / a.reshape(a.shape[: len(target.axes)])
        return np.asarray(total)

    def topk(self, s: Statement, target: _Grid, fixed: Mapping[str, Ints]) -> tuple[Floats, ...]:
        """The largest values and their places, in falling order; the lower place first where values tie."""
        names = set(index_set(self.shape, s.expr))
        rank = [i for i in target.axes if i not in names]
        if len(rank) != 1 or len(s.over) != 1:
            raise Diag("bad-statement", "`topk` reduces one index and gives one new one", s.span)
        (over,), (new,) = s.over, rank
        rest = [i for i in target.axes if i != new]
        grid = self.grid(s, [*rest, over], fixed)
        if self.sizes[new] > self.sizes[over]:
            raise Diag("bad-statement", f"the top {self.sizes[new]} of only {self.sizes[over]} do not exist", s.span)
        every = np.broadcast_to(self.value(s.expr, grid), grid.shape)
        if grid.exists is not None:
            every = np.where(grid.exists, every, -np.inf)
        places = np.argsort(-every, axis=-1, kind="stable")[..., : self.sizes[new]]
        order = target.axes.index(new)
        return tuple(np.moveaxis(x, -1, order) for x in (np.take_along_axis(every, places, -1), places.astype(float)))

    # ---- tensors

    def write(self, access: t.Access, value: Floats, grid: _Grid) -> None:
        """Store the values of a grid of free indices; only points that exist are written."""
        name = access.name
        if name not in self.tensors:
            self.tensors[name] = np.zeros(self.extent(name))
        places = self.places(access, grid)
        if grid.exists is None:
            self.tensors[name][places] = value
        else:
            which = np.broadcast_to(grid.exists, grid.shape)
            self.tensors[name][tuple(np.broadcast_to(i, grid.shape)[which] for i in places)] = value[which]

    def extent(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor: as declared, or of a local one just large enough for all that is written."""
        operand = self.shape.operand(name)
        if operand is not None:
            return operand_axes(operand, self.sizes)
        writes = [(s, a) for s in self.shape.body for a in s.targets if a.name == name]
        ends = [[self.end(s, sub) for sub in a.subs] for s, a in writes]
        if len({len(axes) for axes in ends}) != 1:
            raise Diag("bad-statement", f"`{name}` is written with several ranks", writes[0][1].span)
        return tuple(map(max, zip(*ends, strict=True)))

    def end(self, s: Statement, sub: t.Expr) -> int:
        """One past the largest value of a subscript."""
        grid = self.grid(s, index_set(self.shape, sub), {})
        return int(np.max(self.value(sub, grid))) + 1

    def read(self, access: t.Access, grid: _Grid) -> Floats:
        """The elements of a tensor at every point of the grid; a view where the subscripts are plain."""
        tensor = self.tensors.get(access.name)
        if tensor is None:
            hint = nearest(access.name, self.tensors)
            raise Diag("unknown-name", f"`{access.name}` has no value here", access.span, hint=hint)
        plain = [sub.name for sub in access.subs if isinstance(sub, t.Ref) and sub.name in grid.values]
        extents = tuple(len(grid.values[n]) for n in plain)
        if len(set(plain)) == len(access.subs) == tensor.ndim and tensor.shape == extents and self.whole(plain, grid):
            order = sorted(range(len(plain)), key=lambda i: grid.axes.index(plain[i]))
            return tensor.transpose(order).reshape(
                [n if a in plain else 1 for a, n in zip(grid.axes, grid.shape, strict=True)]
            )
        return np.asarray(tensor[self.places(access, grid)])

    def whole(self, names: Sequence[str], grid: _Grid) -> bool:
        """Whether the grid runs over all values of these indices."""
        return all(len(grid.values[n]) == self.sizes[n] for n in names)

    def places(self, access: t.Access, grid: _Grid) -> tuple[Ints, ...]:
        """An array of positions per axis; what lies outside is an error at points that exist, else 0."""
        tensor = self.tensors[access.name]
        if len(access.subs) != tensor.ndim:
            message = f"`{access.name}` has {tensor.ndim} dimensions, not {len(access.subs)}"
            raise Diag("bad-statement", message, access.span)
        found = []
        for axis, sub in enumerate(access.subs):
            place = self.value(sub, grid).astype(np.int64) + (self.carried.get(access.name) == axis)
            outside = (place < 0) | (place >= tensor.shape[axis])
            if np.any(outside if grid.exists is None else outside & grid.exists):
                message = f"axis {axis} of `{access.name}` has {tensor.shape[axis]} elements"
                worst = int(place[outside].flat[0])
                raise Diag("out-of-range", f"{message}, so there is no element {worst}", sub.span or access.span)
            found.append(np.where(outside, 0, place))
        return tuple(found)

    # ---- expressions

    def value(self, e: t.Expr, grid: _Grid) -> Floats:
        """An expression at every point of the grid, with extent 1 along indices that it does not use."""
        match e:
            case t.Num(number):
                return np.asarray(number, dtype=np.float64)
            case t.Ext(name) if name in self.sizes:
                return np.asarray(self.sizes[name], dtype=np.float64)
            case t.Ref(name) if name in grid.values:
                return grid.along(name).astype(np.float64)
            case t.Ref(name) if name in self.attrs:
                return np.asarray(self.attrs[name])
            case t.Access(name, subs) if name in self.attrs:
                return np.asarray(self.attrs[name][tuple(self.value(s, grid).astype(np.int64) for s in subs)])
            case t.Access():
                return self.read(e, grid)
            case t.Neg(a):
                return -self.value(a, grid)
            case t.Bin(op, a, b):
                return arithmetic(op, self.value(a, grid), self.value(b, grid))
            case t.Call(fn, args) if fn in FUNCTIONS:
                return np.asarray(FUNCTIONS[fn](*(self.value(a, grid) for a in args)))
            case t.Call(fn):
                raise _unknown("function", fn, FUNCTIONS, e.span)
            case t.Ref(name) | t.Ext(name) | t.Pack(name):
                raise _unknown("index", name, (*grid.axes, *self.attrs), e.span)
            case t.Text() | t.Field() | t.Entry():
                raise Diag("bad-statement", "an operator knows numbers and tensors only", e.span)


def _unknown(kind: str, name: str, known: Sequence[str] | Mapping[str, object], span: Span | None) -> Diag:
    return Diag("unknown-name", f"unknown {kind} `{name}` in this statement", span, hint=nearest(name, known))
