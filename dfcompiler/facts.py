"""What can be known of an op from its text: the only thing that passes and pricing look at.

`facts(shape)` is cached per shape and holds no sizes: access patterns of every operand, arithmetic,
which indices may be tiled and why not, and which of them behave alike and form one loop.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.clauses import clause_indices
from dfcompiler.hazards import overwritten
from dfcompiler.opshape import OpShape, Statement, accesses, children
from dfcompiler.routing import distinct
from dfcompiler.scalars import Sizes
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
        self._depends: dict[tuple[str, str], frozenset[str]] = {}

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
            for a in s.targets:
                if s.scan and s.scan[1:] == (a.name, s.scan[2]) and s.scan[2] in found:  # what a state is at first
                    subs = tuple(x for x in a.subs if x != t.Ref(s.scan[0]))
                    found[s.scan[2]][Pattern(subs, write=False)] = None
        return {name: tuple(p) for name, p in found.items()}

    @cached_property
    def sequential(self) -> frozenset[str]:
        """Indices of scans: their tiles run in order, and the state stays with who runs them."""
        return frozenset(s.scan[0] for s in self.shape.body if s.scan)

    @cached_property
    def states(self) -> Mapping[str, str]:
        """The carried state of every scan, with its sequential index."""
        return {s.scan[1]: s.scan[0] for s in self.shape.body if s.scan}

    @cached_property
    def passing(self) -> Mapping[str, str]:
        """Locals of scans of which no statement outside reads each step, with the sequential index: there is room for
        one step of them."""
        found = {a.name: s.scan[0] for s in self.shape.body if s.scan for a in s.targets if a.name not in self.patterns}
        for s in self.shape.body:
            for a in accesses(s.expr):
                if a.name in found and not (s.scan and s.scan[0] == found[a.name]) and found[a.name] in s.indices:
                    del found[a.name]
        return found

    def depends(self, operand: str, kind: str = "") -> frozenset[str]:
        """Indices that change which elements of the operand are accessed: `read`, `write`, or both."""
        asked = operand, kind
        if asked not in self._depends:
            subs = (s for p in self.accessed(operand, kind) for s in p.subs)
            self._depends[asked] = frozenset(i for s in subs for i in index_set(self.shape, s))
        return self._depends[asked]

    def accessed(self, operand: str, kind: str = "") -> Sequence[Pattern]:
        """The patterns that `read` or `write` an operand; without a kind all."""
        return [p for p in self.patterns[operand] if kind in ("", "write" if p.write else "read")]

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """All indices of the op's statements, in order of first use."""
        attrs = {a.name for a in self.shape.attrs}
        return tuple(dict.fromkeys(i for s in self.shape.body for i in s.indices if i not in attrs))

    @cached_property
    def reduced(self) -> frozenset[str]:
        """Indices that some statement sums over."""
        return frozenset(i for s in self.shape.body for i in s.over)

    @cached_property
    def pointwise(self) -> bool:
        """Whether nothing is summed or scanned, so that every element is made of a fixed number of others."""
        return not self.reduced and not self.sequential

    @cached_property
    def elementwise(self) -> bool:
        """Whether every result element depends on the same element of equally shaped operands only."""
        if self.reduced or any(s.scan for s in self.shape.body) or self.shape.where:
            return False
        subs = {p.subs for o in self.shape.results for p in self.patterns[o.name]}
        if len(subs) != 1 or not all(isinstance(x, t.Ref) for x in next(iter(subs))):
            return False
        names = {x.name for x in next(iter(subs)) if isinstance(x, t.Ref)}
        return all(set(s.indices) == names for s in self.shape.body) and all(
            isinstance(x, t.Ref) for o in self.shape.params for p in self.patterns[o.name] for x in p.subs
        )

    @cached_property
    def whole(self) -> Mapping[str, Blocked]:
        """Indices that must lie whole inside a tile, each with the reason."""
        return {i: b for i in self.indices if (b := self._blocked(i))}

    def _blocked(self, index: str) -> Blocked | None:
        for patterns in self.patterns.values():
            for p in patterns:
                if any(index in index_set(self.shape, s) and not self._slides(s, index) for s in p.subs):
                    return Blocked(f"`{index}` is used in a subscript that a tile cannot follow", self.shape.span)
        for c in self.work.contractions:
            if index not in c.indices and (index in self.reduced or not self.sequential):
                return Blocked(f"a tile of `{index}` would redo another contraction", self.shape.body[c.statement].span)
        for s in self.shape.body:
            if s.over and s.fn != "topk" and index not in s.indices and self._shown(s):
                return Blocked(f"a tile of `{index}` would redo a sum that leaves", s.span)
            if s.fn == "topk" and index in s.free and index not in index_set(self.shape, s.expr):
                return Blocked(f"all places along `{index}` are found at once", s.span)
        torn = self._torn(index) or overwritten(self.shape, index, self.reduced | self.sequential)
        if torn or index not in self.reduced:
            return torn
        return None if finished(self.shape, index) else streamable(self.shape, index)

    def _shown(self, s: Statement) -> bool:
        """Whether a statement makes a result that another one reads: each tile that reads it has all of it."""
        made = {a.name for a in s.targets} & {o.name for o in self.shape.results}
        return any(not p.write for name in made for p in self.patterns[name])

    def _torn(self, index: str) -> Blocked | None:
        """Whether a tile of the index makes only some of what another statement reads of it. Statements without the
        index are no obstacle: a tile redoes them."""
        for s in self.shape.body:
            for read in (a for e in (s.expr, *(x for a in s.targets for x in a.subs)) for a in accesses(e)):
                for made in self._made.get(read.name, ()):
                    for one, other in zip(made.subs, read.subs, strict=True):
                        if one != other and index in self._moving(one):
                            return Blocked(f"`{read.name}` is made by `{index}` and read in another way", s.span)
        return None

    def _moving(self, e: t.Expr) -> frozenset[str]:
        """Indices of a subscript but for those that only choose an attribute's value."""
        attrs = {a.name for a in self.shape.attrs}
        match e:
            case t.Ref(name):
                return frozenset() if name in attrs else frozenset((name,))
            case t.Access(name, _) if name in attrs:
                return frozenset()
            case _:
                return frozenset(i for c in children(e) for i in self._moving(c))

    @cached_property
    def _made(self) -> Mapping[str, tuple[t.Access, ...]]:
        """Every written tensor with the accesses that write it."""
        made: dict[str, tuple[t.Access, ...]] = {}
        for a in (a for s in self.shape.body if not s.scan for a in s.targets):
            made[a.name] = (*made.get(a.name, ()), a)
        return made

    def _slides(self, e: t.Expr, index: str) -> bool:
        """Whether a tile of `index` touches a piece that grows with it: plain, shifted, in steps, behind a lookup."""
        match e:
            case t.Ref():
                return True
            case t.Bin("+" | "-", a, b):
                return all(self._slides(x, index) or index not in index_set(self.shape, x) for x in (a, b))
            case t.Bin("*", a, b) if _constant(a) or _constant(b):
                return self._slides(b if _constant(a) else a, index)
            case t.Bin("//", t.Ref(), by) if _constant(by):
                return True
            case t.Access(name, subs):
                return (
                    name in self.patterns
                    or any(a.name == name for a in self.shape.attrs)
                    or all(isinstance(s, t.Ref) for s in subs)
                    or self._behind(e, index)
                )
            case _:
                return self._behind(e, index)

    def _behind(self, e: t.Expr, index: str) -> bool:
        """Whether an index only chooses what is looked up: a tile of it may touch all, and is counted so."""
        if isinstance(e, t.Access):
            return all(s == t.Ref(index) or self._behind(s, index) for s in e.subs)
        return e != t.Ref(index) and all(self._behind(c, index) for c in children(e))

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """The tileable indices, merged where every statement and operand treats them alike."""
        groups: dict[tuple[object, ...], list[str]] = {}
        for i in self.indices:
            if i not in self.whole:
                groups.setdefault(self._signature(i), []).append(i)
        labels: list[str] = []
        for names in groups.values():
            label = _label(names)
            again = (f"{label}{n}" for n in itertools.count(1))
            labels.append(next(x for x in itertools.chain((label,), again) if x not in labels))
        return tuple(Loop(label, tuple(names)) for label, names in zip(labels, groups.values(), strict=True))

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
        alone = (
            not plain
            or self.masked(index)
            or index in self.sequential
            or any(o.distinct == index for o in shape.operands)
        )
        return (in_operands, in_statements, *((index,) if alone else ()))

    def masked(self, index: str) -> bool:
        """Whether a `where` clause uses the index as a value, so that its tiles may be empty."""
        return index in self._tested

    @cached_property
    def _tested(self) -> frozenset[str]:
        attrs = {a.name for a in self.shape.attrs}
        each = ((c, side) for c in self.shape.where for rel in c for side in (rel.a, rel.b))
        return frozenset(i for c, side in each for i in _values(side, attrs) & clause_indices(self.shape, c))

    def reach(
        self,
        operand: str,
        tile: Mapping[str, Array],
        sizes: Sizes,
        axes: Sequence[Array],
        *,
        kind: str = "",
        alike: Collection[str] = (),
    ) -> Array:
        """Elements of an operand that a tile touches, at the most; `tile` gives the extent of every index as arrays.
        Distinct patterns add up (the two halves of a rotary embedding), capped by the whole tensor. With `kind` only
        what is read, or written. Attributes of `alike` have one value; others shift what each of their indices touches.
        """
        whole: Array = prod(axes, start=1.0)
        subs = dict.fromkeys(p.subs for p in self.accessed(operand, kind))
        total: Array = sum(self.reach_of(s, tile, sizes, axes, alike) for s in subs)
        return np.minimum(total, whole)

    def reach_of(
        self,
        subs: tuple[t.Expr, ...],
        tile: Mapping[str, Array],
        sizes: Sizes,
        axes: Sequence[Array],
        alike: Collection[str] = (),
    ) -> Array:
        """Elements that one access pattern touches; plain subscripts may stand for a merged loop and have no cap."""
        piece: Array = 1.0
        plain = {s.name for s in subs if isinstance(s, t.Ref)}  # a look-up by them and more is one for each of them
        each = {i: 1.0 if i in plain else n for i, n in tile.items()}
        for s, extent in zip(subs, axes, strict=True):
            along = tile.get(s.name, 1.0) if isinstance(s, t.Ref) else self._axis(s, each, sizes, extent, alike)
            piece = piece * (along if isinstance(s, t.Ref) else np.minimum(along, extent))
        return piece

    def _axis(
        self, e: t.Expr, tile: Mapping[str, Array], sizes: Sizes, extent: Array, alike: Collection[str] = ()
    ) -> Array:
        if not self._moving(e):  # as many shifts as an attribute may have values
            chosen = {i for a in accesses(e) if a.name not in alike for i in index_set(self.shape, a)}
            return prod((tile[i] for i in chosen), start=1.0)
        match e:
            case t.Ref(name):
                return tile.get(name, 1.0)
            case t.Bin("+" | "-", a, b):
                one, two = (self._axis(x, tile, sizes, extent, alike) for x in (a, b))
                if self._looks_up(a) or self._looks_up(b) or not (self._moving(a) and self._moving(b)):
                    return one * two
                for count, piece, step in ((one, two, _step(a, sizes)), (two, one, _step(b, sizes))):
                    if step is not None:  # so many pieces, one every `step`
                        return np.minimum(count * piece, (count - 1) * step + piece)
                return one + two - 1.0
            case t.Bin("*", a, b) if _constant(a) or _constant(b):
                return self._axis(b if _constant(a) else a, tile, sizes, extent, alike)
            case t.Bin("//", t.Ref(name), t.Num() | t.Ext() as by):
                return groups(tile.get(name, 1.0), by.value if isinstance(by, t.Num) else np.asarray(sizes[by.name]))
            case t.Access(name, subs) if name in self.patterns or self.shape.pointer(name):
                pointer = self.shape.pointer(name)
                places = np.asarray(sizes[pointer.within], dtype=np.float64) if pointer and pointer.within else extent
                return self._looked_up(name, subs, tile, sizes, places)
            case _:
                return np.asarray(extent, dtype=np.float64)

    def _looks_up(self, e: t.Expr) -> bool:
        """Whether the values of an operand are in an expression."""
        return any(a.name in self.patterns for a in accesses(e))

    def _looked_up(
        self, name: str, subs: tuple[t.Expr, ...], tile: Mapping[str, Array], sizes: Sizes, places: Array
    ) -> Array:
        """Expected distinct places among lookups; those along the index that is `distinct` by type differ.

        Places may be an array where none is more popular than another."""
        operand = self.shape.pointer(name)
        names = [i for s in subs for i in index_set(self.shape, s)]
        differ = operand.distinct if operand and operand.distinct in names else None
        rows: Array = 1.0
        for i in names:
            rows = rows * (tile[i] if i != differ else 1.0)
        taken = tile[differ] if differ else 1.0
        if operand is None or not operand.skew:
            return distinct(places, rows, taken)
        return distinct(int(places), rows, taken, min(int(sizes[differ] if differ else 1), int(places)), operand.skew)


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


def groups(along: Array, group: Array) -> Array:
    """Groups of `group` indices that a tile of `along` touches at the most; tiles start at multiples of their size."""
    aligned = (np.mod(along, group) == 0) | (np.mod(group, along) == 0)
    return np.where(aligned, np.ceil(along / group), np.ceil((along - 1) / group) + 1)


def _constant(e: t.Expr) -> bool:
    return isinstance(e, t.Num | t.Ext)


def _step(e: t.Expr, sizes: Sizes) -> Array | None:
    """The constant factor of a product with one."""
    match e:
        case t.Bin("*", t.Num(by), _) | t.Bin("*", _, t.Num(by)):
            return by
        case t.Bin("*", t.Ext(name), _) | t.Bin("*", _, t.Ext(name)):
            return np.asarray(sizes[name], dtype=np.float64)
        case _:
            return None


def _label(names: list[str]) -> str:
    """`t0 t1 t2` of one pack is `t`; others are joined."""
    return "".join(dict.fromkeys(re.sub(r"\d+$", "", n) for n in names))
