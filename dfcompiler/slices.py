"""An op as one device runs it: on its slices of some indices, with everything else as in the whole op.

The device's own loops run from 0 over its slice. Where an index is used as a value it counts from where
the slice starts; `|d|` stays the extent of all slices together; a guarded access skips rows of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import OpShape
from dfcompiler.sharding import Split, axes_of, groups_of, split
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Slice:
    """`size` values of an index from `start`, of `whole` in all."""

    start: int
    size: int
    whole: int


@dataclass(frozen=True)
class _Led:
    """What numbers groups of another index, and the `dim` that is the size of one."""

    index: str
    group: str


def sliced(shape: OpShape, slices: Mapping[str, Slice]) -> OpShape:
    """The op on one device, which holds these slices of its indices; sizes of the result are those of the slices.

    Raises Diag `bad-split` where an index may not be split, or only with an exchange in the middle.
    """
    led = {g: _Led(k, size) for k in slices for g, size in groups_of(shape, k).items() if g in slices}
    found = {i: _legal(shape, i) for i in slices if i not in led}
    for g, by in led.items():
        _fits(shape, g, by.index, slices)
    return _Slicing(shape, dict(slices), found, led).result() if slices else shape


def own_attributes(shape: OpShape, slices: Mapping[str, Slice], attrs: Mapping[str, object]) -> dict[str, object]:
    """The attributes of one device: vectors over an index that it has a slice of are cut."""
    declared = {a.name: a for a in shape.attrs}
    own = dict(attrs)
    for name, value in attrs.items():
        if isinstance(value, tuple) and declared[name].dims[0] in slices:
            s = slices[declared[name].dims[0]]
            own[name] = value[s.start : s.start + s.size]
    return own


def _legal(shape: OpShape, index: str) -> Split:
    found = split(shape, index)
    if isinstance(found, Blocked):
        raise Diag("bad-split", f"`{index}` of `{shape.name}` cannot be split: {found.why}", found.span)
    if not found.apart:
        what = ", ".join(f"`{c.tensor}`" for c in found.inside)
        message = f"`{index}` of `{shape.name}` cannot be split in one piece: {what} is combined inside"
        raise Diag("bad-split", message, shape.span)
    return found


def _fits(shape: OpShape, groups: str, index: str, slices: Mapping[str, Slice]) -> None:
    mine, own = slices[groups], slices[index]
    size = own.whole // mine.whole
    if own.start < mine.start * size or own.start + own.size > (mine.start + mine.size) * size:
        message = f"`{groups}` of `{shape.name}` cannot be split: a device's slice of `{index}` needs other groups"
        raise Diag("bad-split", message, shape.span)


class _Slicing:
    def __init__(
        self, shape: OpShape, slices: Mapping[str, Slice], found: Mapping[str, Split], led: Mapping[str, _Led]
    ) -> None:
        self.shape, self.slices, self.led = shape, slices, led
        self.attrs = {a.name: a for a in shape.attrs}
        self.axes = {(name, axis): i for i, f in found.items() for name, axis in (*f.axes, *f.local)}
        self.axes |= {axis: g for g in led for axis in axes_of(shape, g)}
        self.guards: dict[t.Rel, None] = {}

    def result(self) -> OpShape:
        shape = self.shape
        where = tuple(tuple(replace(r, a=self.go(r.a), b=self.go(r.b)) for r in c) for c in shape.where)
        body = tuple(
            replace(s, targets=tuple(self.access(a) for a in s.targets), expr=self.go(s.expr)) for s in shape.body
        )
        defaults = tuple(replace(a, default=a.default and self.go(a.default)) for a in shape.attrs)
        dims = tuple(replace(d, expr=self.go(d.expr)) for d in shape.dims)
        guards = tuple((r,) for r in self.guards)
        return replace(shape, attrs=defaults, dims=dims, where=(*where, *guards), body=body)

    def go(self, e: t.Expr) -> t.Expr:
        match e:
            case t.Ref(name) if name in self.slices:
                start = self.slices[name].start
                return t.Bin("+", e, t.Num(start)) if start else e
            case t.Ext(name) if name in self.slices:
                return t.Num(self.slices[name].whole)
            case t.Access():
                return self.access(e)
            case t.Call(fn, args):
                return t.Call(fn, tuple(self.go(a) for a in args), span=e.span)
            case t.Bin(op, a, b):
                return t.Bin(op, self.go(a), self.go(b), span=e.span)
            case t.Neg(a):
                return t.Neg(self.go(a), span=e.span)
            case _:
                return e

    def access(self, a: t.Access) -> t.Access:
        attr = self.attrs.get(a.name)
        subs = []
        for axis, sub in enumerate(a.subs):
            index = attr.dims[axis] if attr else self.axes.get((a.name, axis))
            if index in self.led:
                subs.append(self.group(index or ""))
            elif index not in self.slices:
                subs.append(self.go(sub))
            elif sub == t.Ref(index or ""):
                subs.append(sub)
            else:
                subs.append(self.guard(self.go(sub), self.slices[index or ""]))
        return t.Access(a.name, tuple(subs), span=a.span)

    def group(self, groups: str) -> t.Expr:
        """Which of the device's groups holds an element of its slice."""
        by, mine = self.led[groups], self.slices[groups]
        own = self.slices[by.index]
        ahead = own.start - mine.start * (own.whole // mine.whole)
        index: t.Expr = t.Bin("+", t.Ref(by.index), t.Num(ahead)) if ahead else t.Ref(by.index)
        return t.Bin("//", index, t.Ext(by.group))

    def guard(self, sub: t.Expr, s: Slice) -> t.Expr:
        """The subscript into the device's slice; points at which it lies outside do not exist here."""
        own = t.Bin("-", sub, t.Num(s.start)) if s.start else sub
        self.guards |= {t.Rel(">=", own, t.Num(0)): None, t.Rel("<", own, t.Num(s.size)): None}
        return own
