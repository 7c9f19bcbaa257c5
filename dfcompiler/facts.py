"""What can be known of an op from its text: the only thing that passes and pricing look at.

`facts(shape)` is cached per shape and holds no sizes: access patterns of every operand, arithmetic,
which indices may be tiled and why not, and which of them behave alike and form one loop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.masks import clause_indices
from dfcompiler.opshape import OpShape, Statement, accesses
from dfcompiler.stream import Blocked, finished, streamable
from dfcompiler.text import tree as t
from dfcompiler.work import Work, index_set, work

Array: TypeAlias = npt.NDArray[np.float64] | float


@dataclass(frozen=True)
class Pattern:
    """One way in which an op reads or writes a tensor: an expression per axis."""

    subs: tuple[t.Expr, ...]
    write: bool


@dataclass(frozen=True)
class Loop:
    """Indices that every access treats alike, so that one loop over their product covers them."""

    name: str
    indices: tuple[str, ...]


class Facts:
    """Derived properties of an `OpShape`; everything is computed on first use."""

    def __init__(self, shape: OpShape) -> None:
        self.shape = shape

    @cached_property
    def work(self) -> Work:
        """Arithmetic by kind and index set."""
        return work(self.shape)

    @cached_property
    def patterns(self) -> Mapping[str, tuple[Pattern, ...]]:
        """Distinct access patterns of every operand; an operand that is never accessed has none."""
        found: dict[str, dict[Pattern, None]] = {o.name: {} for o in self.shape.operands}
        for s in self.shape.body:
            for a in s.targets:
                if a.name in found:
                    found[a.name][Pattern(a.subs, write=True)] = None
            for e in (s.expr, *(x for a in s.targets for x in a.subs)):
                for a in accesses(e):
                    if a.name in found:
                        found[a.name][Pattern(a.subs, write=False)] = None
        return {name: tuple(p) for name, p in found.items()}

    def depends(self, operand: str) -> frozenset[str]:
        """Indices that change which elements of the operand are accessed."""
        return frozenset(i for p in self.patterns[operand] for s in p.subs for i in index_set(self.shape, s))

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """All indices of the op's statements, in order of first use."""
        return tuple(dict.fromkeys(i for s in self.shape.body for i in s.indices))

    @cached_property
    def reduced(self) -> frozenset[str]:
        """Indices that some statement sums over."""
        return frozenset(i for s in self.shape.body for i in s.over)

    @cached_property
    def elementwise(self) -> bool:
        """Whether every result element depends on the same element of equally shaped operands only."""
        if self.reduced or any(s.scan for s in self.shape.body) or self.shape.where:
            return False
        subs = {p.subs for o in self.shape.results for p in self.patterns[o.name]}
        if len(subs) != 1 or not all(isinstance(x, t.Ref) for x in next(iter(subs))):
            return False
        full = next(iter(subs))
        names = {x.name for x in full if isinstance(x, t.Ref)}
        return all(set(s.indices) == names for s in self.shape.body) and all(
            isinstance(x, t.Ref) for o in self.shape.params for p in self.patterns[o.name] for x in p.subs
        )

    @cached_property
    def whole(self) -> Mapping[str, Blocked]:
        """Indices that must lie whole inside a tile, each with the reason."""
        return {i: b for i in self.indices if (b := self._blocked(i))}

    def _blocked(self, index: str) -> Blocked | None:
        if any(s.scan and s.scan[0] == index for s in self.shape.body):
            return Blocked(f"`{index}` is sequential", self.shape.span)
        for patterns in self.patterns.values():
            for p in patterns:
                if any(index in index_set(self.shape, s) and not self._slides(s, index) for s in p.subs):
                    return Blocked(f"`{index}` is used in a subscript that a tile cannot follow", self.shape.span)
        for c in self.work.contractions:
            if index not in c.indices and len(self.work.contractions) > 1:
                return Blocked(f"a tile of `{index}` would redo another contraction", self.shape.body[c.statement].span)
        if index in self.reduced:
            return None if finished(self.shape, index) else streamable(self.shape, index)
        return next(
            (Blocked(f"`{index}` is missing here", s.span) for s in self.shape.body if not self._covers(s, index)), None
        )

    def _covers(self, s: Statement, index: str) -> bool:
        return index in s.indices

    def _slides(self, e: t.Expr, index: str) -> bool:
        """Whether a tile of `index` touches a contiguous piece: plain, shifted, or behind a lookup."""
        match e:
            case t.Ref():
                return True
            case t.Bin("+" | "-", a, b):
                return all(self._slides(x, index) or index not in index_set(self.shape, x) for x in (a, b))
            case t.Access(name, subs):
                return (
                    name in self.patterns
                    or any(a.name == name for a in self.shape.attrs)
                    or all(isinstance(s, t.Ref) for s in subs)
                )
            case _:
                return False

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The tileable indices, merged where every statement and operand treats them alike."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for i in self.indices:
            if i not in self.whole:
                groups.setdefault(self._signature(i), []).append(i)
        return tuple(Loop(_label(names), tuple(names)) for names in groups.values())

    def _signature(self, index: str) -> tuple[object, ...]:
        shape = self.shape
        in_operands = tuple(index in self.depends(o.name) for o in shape.operands)
        in_statements = tuple((index in s.indices, index in s.over) for s in shape.body)
        plain = all(
            isinstance(s, t.Ref)
            for ps in self.patterns.values()
            for p in ps
            for s in p.subs
            if index in index_set(shape, s)
        )
        return (in_operands, in_statements, *(() if plain and not self.masked(index) else (index,)))

    def masked(self, index: str) -> bool:
        """Whether a `where` clause uses the index as a value, so that its tiles may be empty."""
        attrs = {a.name for a in self.shape.attrs}
        return any(
            index in _values(side, attrs) and index in clause_indices(self.shape, c)
            for c in self.shape.where
            for rel in c
            for side in (rel.a, rel.b)
        )

    def reach(self, operand: str, tile: Mapping[str, Array], sizes: Mapping[str, int], axes: tuple[int, ...]) -> Array:
        """Elements of an operand that a tile touches; `tile` gives the extent of every index as arrays.

        Distinct patterns add up (the two halves of a rotary embedding), capped by the whole tensor.
        """
        whole = float(np.prod(axes, dtype=np.float64))
        subs = dict.fromkeys(p.subs for p in self.patterns[operand])
        total: Array = sum(self.reach_of(s, tile, sizes, axes) for s in subs)
        return np.minimum(total, whole)

    def reach_of(
        self, subs: tuple[t.Expr, ...], tile: Mapping[str, Array], sizes: Mapping[str, int], axes: tuple[int, ...]
    ) -> Array:
        """Elements that one access pattern touches; plain subscripts may stand for a merged loop and have no cap."""
        piece: Array = 1.0
        for s, extent in zip(subs, axes, strict=True):
            along = self._axis(s, tile, sizes, extent)
            piece = piece * (along if isinstance(s, t.Ref) else np.minimum(along, extent))
        return piece

    def _axis(self, e: t.Expr, tile: Mapping[str, Array], sizes: Mapping[str, int], extent: int) -> Array:
        match e:
            case t.Ref(name):
                return tile[name]
            case t.Num() | t.Ext():
                return 1.0
            case t.Bin("+" | "-", a, b):
                return self._axis(a, tile, sizes, extent) + self._axis(b, tile, sizes, extent) - 1.0
            case t.Access(name, subs) if name in self.patterns:
                return self._looked_up(name, subs, tile, extent)
            case t.Access():
                return 1.0  # an attribute: a shift
            case _:
                return float(extent)

    def _looked_up(self, name: str, subs: tuple[t.Expr, ...], tile: Mapping[str, Array], extent: int) -> Array:
        """Expected distinct rows among `rows` lookups, `per` of which differ by type (balanced routing)."""
        operand = self.shape.operand(name)
        names = [i for s in subs for i in index_set(self.shape, s)]
        per: Array = tile[operand.distinct] if operand and operand.distinct in names else 1.0
        rows: Array = 1.0
        for i in names:
            rows = rows * tile[i]
        return extent * -np.expm1(rows / per * np.log1p(-np.minimum(per / extent, 1 - 1e-12)))


@lru_cache(maxsize=4096)
def facts(shape: OpShape) -> Facts:
    """The facts of a shape, cached by its text."""
    return Facts(shape)


def _values(e: t.Expr, attrs: set[str]) -> set[str]:
    """Names used as values, not inside subscripts."""
    match e:
        case t.Ref(name):
            return set() if name in attrs else {name}
        case t.Access():
            return set()
        case t.Bin(_, a, b):
            return _values(a, attrs) | _values(b, attrs)
        case t.Neg(a):
            return _values(a, attrs)
        case t.Call(_, args):
            return {n for a in args for n in _values(a, attrs)}
        case _:
            return set()


def _label(names: list[str]) -> str:
    """`t0 t1 t2` of one pack is `t`; others are joined."""
    return "".join(dict.fromkeys(re.sub(r"\d+$", "", n) for n in names))
