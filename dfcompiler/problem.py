"""A group of nodes as a loop nest over tiles: all that pricing needs, with no op left in it.

Loops are the tileable indices of the group, merged where nothing tells them apart; everything else
lies whole inside a tile. Operands say how many bytes a tile touches and on which loops that depends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dfcompiler.compose import Group
from dfcompiler.counts import moved
from dfcompiler.dtypes import DtypeMap, bits, element_bits, parse_dtype
from dfcompiler.facts import Array, Facts, facts, groups
from dfcompiler.hardware.template import Compute
from dfcompiler.masks import Intervals, Mask
from dfcompiler.opshape import OpShape, children
from dfcompiler.rows import own_rows
from dfcompiler.scalars import attributes
from dfcompiler.text import tree as t
from dfcompiler.work import Contraction, factors

if TYPE_CHECKING:
    from dfcompiler.grouping import Crowd

Floats = npt.NDArray[np.float64]
FAR_COLUMN = np.iinfo(np.int64).max  # where a row without columns starts: no hull takes it in


@dataclass(frozen=True)
class NestLoop:
    """One loop over tiles: `size` points; `reduced` loops build up sums or carry a state, so one instance runs them."""

    name: str
    indices: tuple[str, ...]
    size: int
    reduced: bool


@dataclass(frozen=True)
class NestOperand:
    """A tensor of the nest. `kind` is `read`, `write` or `local` (never leaves the tile's memory).

    `total_bytes` is what must move at least once; `partial_bits` the width of unfinished sums, 0 where the
    operand is no sum. What is `pinned` lies in the memory above the unit's own from one op to another: nothing of it
    moves from or to DRAM.
    """

    name: str
    kind: str
    loops: frozenset[str]
    bits: float
    partial_bits: float
    total_bytes: float
    pinned: bool = False


@dataclass(frozen=True)
class Problem:
    """A loop nest to be tiled: loops, operands, contractions (by loop roles) and vector work."""

    group: Group
    facts: Facts
    loops: tuple[NestLoop, ...]
    operands: tuple[NestOperand, ...]
    mask: Mask = field(compare=False)
    a_bits: int
    b_bits: int
    acc_bits: int
    multiplied: frozenset[str] = frozenset()  # types of what contractions multiply
    crowd: Crowd | None = None  # where rows are many or few in expectation, in place of a band

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all contractions; points that do not exist are not counted."""
        return sum(self.mask.count(c.indices) for c in self.contractions)

    def macs_on(self, template: Compute) -> float:
        """Multiply-accumulates that a unit runs: without those of zeros where it skips them."""
        return sum(self.mask.count(c.indices) * (0.5 if self.skips(c, template) else 1) for c in self.contractions)

    def depth_on(self, c: Contraction, tile: Mapping[str, Array], template: Compute) -> Array:
        """Steps along k that a unit runs for a tile: of every four that it touches two, where it skips zeros."""
        k = self.role(c.k, tile)
        return np.minimum(k, 2 * groups(k, 4)) if self.skips(c, template) else k

    def skips(self, c: Contraction, template: Compute) -> bool:
        """Whether a unit skips zeros and the stationary operand has two of every four along k, its last axis."""
        kind = self.group.types.get(c.b)
        sparsity = parse_dtype(kind.dtype).sparsity if kind else None
        if sparsity is None or not sparsity.of_four or not template.skips_zeros():
            return False
        return {p.subs[-1] for p in self.facts.patterns[c.b]} <= {t.Ref(i) for i in c.k}

    @property
    def weights(self) -> frozenset[str]:
        """Operands that are weights."""
        return frozenset(o.name for o in self.group.shape.params if o.role == "w")

    @property
    def floats(self) -> bool:
        """Whether a contraction multiplies floats."""
        return not all(parse_dtype(dtype).number.integer for dtype in self.multiplied)

    @property
    def contractions(self) -> tuple[Contraction, ...]:
        """Contractions of the group's statements."""
        return self.facts.work.contractions

    @cached_property
    def vector(self) -> Mapping[str, int]:
        """Scalar operations by kind, exact under masks."""
        total: dict[str, int] = {}
        for term in self.facts.work.terms:
            total[term.kind] = total.get(term.kind, 0) + self.mask.count(term.indices)
        return total

    @property
    def total_bytes(self) -> float:
        """Compulsory traffic: every operand once that is not pinned."""
        return sum(o.total_bytes for o in self.operands if not o.pinned)

    def extent(self, index: str, tile: Mapping[str, Array]) -> Array:
        """Points of an index in a tile: its loop's tile for the first index of a loop, 1 for the others."""
        for loop in self.loops:
            if index in loop.indices:
                return tile[loop.name] if index == loop.indices[0] else 1.0
        return float(self.group.sizes[index])

    def extents(self, tile: Mapping[str, Array]) -> dict[str, Array]:
        """Points of every index in a tile."""
        return {i: self.extent(i, tile) for i in self.group.sizes}

    def elements(self, operand: str, tile: Mapping[str, Array], kind: str = "") -> Array:
        """Elements of an operand that a tile touches, or with `kind` reads or writes; a local's are those of the
        statement that makes it."""
        extents = self.extents(tile)
        if operand in self.group.types:
            shape = self.group.types[operand].shape
            return self.facts.reach(operand, extents, self.group.sizes, shape, kind=kind, alike=self._alike)
        free = next(s.free for s in self.group.shape.body for a in s.targets if a.name == operand)
        step = self.facts.states.get(operand)  # of a state there is room for one step more: that before the tile
        held = {step: 1.0 if operand in self.facts.passing else extents[step] + 1} if step else {}
        return _product((extents | held | dict.fromkeys([self.facts.passing.get(operand, "")], 1.0))[i] for i in free)

    @cached_property
    def _alike(self) -> frozenset[str]:
        """Attributes that have one value at all of their indices."""
        return frozenset(n for n, v in self.mask.attrs.items() if v.size and np.all(v == v.flat[0]))

    def proportional(self, o: NestOperand) -> frozenset[str]:
        """Loops whose tiles touch elements of their own, in proportion to their sizes: not those of look-ups and halos,
        nor of what other statements touch without the loop."""
        seen = [p.subs for p in self.facts.accessed(o.name, o.kind)]
        crooked = {i for subs in seen for s in subs for i in _crooked(s, self.facts.patterns)}
        steady = [{i for s in subs for i in _seen(s, self.facts.patterns)} - crooked for subs in seen]
        return frozenset(x.name for x in self.loops if x.name in o.loops and all(set(x.indices) <= s for s in steady))

    def role(self, indices: tuple[str, ...], tile: Mapping[str, Array]) -> Array:
        """Product of the tile's extents over these indices."""
        return _product(self.extent(i, tile) for i in indices)

    @cached_property
    def band(self) -> Band | Crowd | None:
        """The mask between two loops, where tiles may be empty; None where every tile has points."""
        if self.crowd:
            return self.crowd
        inter = self.mask.intervals(i for i in self.facts.indices if i not in self.facts.whole)
        if inter is None:
            return None
        of = {i: loop.name for loop in self.loops for i in loop.indices}
        rows = [r for r in inter.rows if self.facts.masked(r) and r in of]
        if inter.col not in of or len(rows) > 1:
            return None
        return Band(of[inter.col], rows[0] if rows else None, self.loops, self.group.sizes, inter.apart())


class Band:
    """Which tiles have points. Instances walk in step, each with its own tile: a step is skipped where no tile
    of it has points, and a tile is run whole where one of its rows has some.

    `lo` and `hi` are `[terms, *others, row]`: the columns of every row; `others` are loops over further rows.
    """

    def __init__(
        self, col: str, index: str | None, loops: Sequence[NestLoop], sizes: Mapping[str, int], inter: Intervals
    ) -> None:
        self.col, self.row = col, next((x.name for x in loops if index in x.indices), None)
        empty = inter.hi <= inter.lo
        lo, hi = np.where(empty, FAR_COLUMN, inter.lo), np.where(empty, 0, inter.hi)
        for axis, r in enumerate(inter.rows, 1):  # rows that all agree, and rows that lie whole in a tile
            if not any(r in x.indices for x in loops) or (
                r != index and not np.ptp(lo, axis).any() and not np.ptp(hi, axis).any()
            ):
                lo, hi = lo.min(axis, keepdims=True), hi.max(axis, keepdims=True)
        beside = [
            x
            for x in loops
            if any(lo.shape[1 + inter.rows.index(i)] > 1 for i in x.indices if i in inter.rows and i != index)
        ]
        self.others = tuple(x.name for x in beside)
        where: list[Any] = [np.arange(len(lo)).reshape(-1, *(1 for _ in beside), 1)]
        for axis, r in enumerate(inter.rows, 1):
            at: Any = np.zeros(1, dtype=np.int64)
            if r == index:
                at = np.arange(lo.shape[axis])
            for place, x in enumerate(beside):
                if r in x.indices and r != index and lo.shape[axis] > 1:
                    each = np.unravel_index(np.arange(x.size), tuple(sizes[i] for i in x.indices))[x.indices.index(r)]
                    at = each.reshape(-1, *(1 for _ in beside[place + 1 :]), 1)
            where.append(at)
        self.lo, self.hi = lo[tuple(where)], hi[tuple(where)]
        used = np.flatnonzero((self.hi > self.lo).reshape(len(self.hi), -1).any(1))  # terms that no point satisfies
        used = used if len(used) else np.zeros(1, dtype=np.int64)
        self.lo, self.hi = self.lo[used], self.hi[used]
        self._pairs: dict[tuple[int, ...], float] = {}
        self._width: dict[int, float] = {}

    def pairs_of(self, rows: int, cols: npt.NDArray[np.int64], others: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """Steps over both loops, where all instances together take `rows` rows, so many columns and `others` at a
        time: the mean over the blocks of the others."""
        missing = [c for c in np.unique(cols).tolist() if (rows, c, *others) not in self._pairs]
        if missing:
            lo, hi = (x[..., None] for x in self._hulls((*others, rows)))
            wide = np.array(missing)
            found = _union(np.where(hi > lo, lo // wide, 0), np.where(hi > lo, -(-hi // wide), 0)).sum(-2)
            mean = found.reshape(-1, len(wide)).mean(0)
            self._pairs |= {(rows, c, *others): float(n) for c, n in zip(missing, mean, strict=True)}
        return np.array([self._pairs[rows, c, *others] for c in cols.tolist()])

    def width(self, rows: int) -> float:
        """Columns that blocks of `rows` rows touch, summed over the blocks: the mean over all other rows."""
        if rows not in self._width:
            lo, hi = self._hulls((*(1 for _ in self.others), rows))
            self._width[rows] = float(_union(np.where(hi > lo, lo, 0), np.where(hi > lo, hi, 0)).sum(-1).mean())
        return self._width[rows]

    def steps(self, loop: str, block: npt.NDArray[np.int64]) -> Floats:
        """Blocks of the rows or of the columns in which there are points, for any of the other rows."""
        first, last = self._runs[loop]
        return np.asarray(_union(first[:, None] // block, -(-last[:, None] // block)), dtype=np.float64)

    def flush(self, loop: str, *, ends: bool = False) -> bool:
        """Whether the points along the loop of the rows or columns begin in one place, whatever the others are, or with
        `ends` end in one."""
        if loop == self.row:  # the first row has all columns, or the last one
            return bool(np.all(((self.lo <= self.lo.min()) & (self.hi >= self.hi.max()))[..., -ends].any(0)))
        edge = self.hi.max(0) if ends else self.lo.min(0)
        return bool(np.all(edge == edge.flat[0]) and np.all((self.hi > self.lo).any(0)))

    @cached_property
    def _runs(self) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """The runs of rows and of columns that have points, from and to."""
        full = self.hi > self.lo
        ends = np.zeros(int(self.hi.max(initial=0)) + 1, dtype=np.int64)
        np.add.at(ends, self.lo[full], 1)
        np.add.at(ends, self.hi[full], -1)
        found = {self.row or "": full.any(tuple(range(full.ndim - 1))), self.col: ends.cumsum() > 0}
        edges = {n: np.flatnonzero(np.diff(has, prepend=False, append=False)) for n, has in found.items()}
        return {n: (e[::2], e[1::2]) for n, e in edges.items()}

    def _hulls(self, blocks: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Hull of the intervals of each block of rows, per term."""
        lo, hi = self.lo, self.hi
        for axis, block in enumerate(blocks, 1):
            if block > 1:
                starts = np.arange(0, lo.shape[axis], block)
                lo, hi = np.minimum.reduceat(lo, starts, axis), np.maximum.reduceat(hi, starts, axis)
        return lo, hi


def _union(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Length of the union of intervals over axis 0."""
    if len(first) == 1:
        return np.asarray(last[0] - first[0])
    order = np.argsort(first, axis=0)
    lo, hi = np.take_along_axis(first, order, 0), np.take_along_axis(last, order, 0)
    reached = np.maximum.accumulate(hi, axis=0)
    before = np.concatenate([np.zeros_like(lo[:1]), reached[:-1]])
    return np.asarray(np.maximum(0, hi - np.maximum(lo, before)).sum(0))


def problem(group: Group, dtypes: DtypeMap) -> Problem:
    """The loop nest of a group."""
    group = own_rows(replace(group, shape=_skewed(group)))
    known = facts(group.shape)
    mask = Mask(group.shape, group.sizes, attributes(group.shape, group.sizes, group.attrs))
    built = known.reduced | known.sequential
    loops = tuple(
        NestLoop(x.name, x.indices, _points(known, mask, x.indices, group.sizes), bool(set(x.indices) & built))
        for x in known.loops
        if prod(group.sizes[i] for i in x.indices) > 1
    )
    pairs = _multiplied(group, known, dtypes)
    a_bits, b_bits = (max(map(element_bits, x)) for x in zip(*(pairs or [(dtypes.activation,) * 2]), strict=True))
    acc = int(bits(dtypes.accumulate))
    operands = (*_outer(group, known, mask, loops, acc), *_locals(group, known, loops, acc, dtypes))
    kinds = frozenset(dtype for pair in pairs for dtype in pair)
    return Problem(group, known, loops, operands, mask, a_bits, b_bits, acc, multiplied=kinds)


def _points(known: Facts, mask: Mask, indices: Sequence[str], sizes: Mapping[str, int]) -> int:
    """Points of a loop, up to the last one that exists for some statement."""
    if len(indices) > 1 or not known.masked(indices[0]):
        return prod(sizes[i] for i in indices)
    return max(mask.end(s.indices, indices[0]) for s in known.shape.body if indices[0] in s.indices)


def _skewed(group: Group) -> OpShape:
    """The group's op with the skew of its index tensors, which their types know."""
    params, results = (
        tuple(replace(o, skew=group.types[o.name].skew) for o in some)
        for some in (group.shape.params, group.shape.results)
    )
    if (params, results) == (group.shape.params, group.shape.results):
        return group.shape
    return replace(group.shape, params=params, results=results)


def _on(loops: tuple[NestLoop, ...], indices: frozenset[str] | set[str]) -> frozenset[str]:
    return frozenset(x.name for x in loops if set(x.indices) & indices)


def _outer(group: Group, known: Facts, mask: Mask, loops: tuple[NestLoop, ...], acc: int) -> list[NestOperand]:
    sums = {a.name for s in group.shape.body if s.over for a in s.targets}
    found = []
    for o in group.shape.operands:
        width = group.types[o.name].bytes * 8 / group.types[o.name].elements
        for kind, elements in moved(known, mask, o.name, group.types[o.name].shape).items():
            on = _on(loops, known.depends(o.name, kind))
            partial = acc if kind == "write" and o.name in sums else 0
            found.append(NestOperand(o.name, kind, on, width, partial, float(elements) * width / 8))
    return found


def _locals(group: Group, known: Facts, loops: tuple[NestLoop, ...], acc: int, dtypes: DtypeMap) -> list[NestOperand]:
    read = {name for name, patterns in known.patterns.items() if not all(p.write for p in patterns)}
    outer = {o.name for o in group.shape.params} | {o.name for o in group.shape.results if o.name not in read}
    found: dict[str, NestOperand] = {}
    for s in group.shape.body:
        for a in s.targets:
            if a.name not in outer and a.name not in found:
                width = acc if s.over else bits(dtypes.activation)
                found[a.name] = NestOperand(
                    a.name,
                    "local",
                    _on(loops, set(s.free) - {known.states.get(a.name), known.passing.get(a.name)}),
                    width,
                    0,
                    0.0,
                )
    return list(found.values())


def _multiplied(group: Group, known: Facts, dtypes: DtypeMap) -> list[tuple[str, str]]:
    """Types of the streamed and the stationary operand of every contraction. What is computed before it is multiplied,
    such as codes times scales, is as activations are."""

    def kind(c: Contraction, name: str) -> str:
        read = {f.name for f in factors(group.shape.body[c.statement].expr)[0] if isinstance(f, t.Access)}
        return group.types[name].dtype if name in read & set(group.types) else dtypes.activation

    return [(kind(c, c.a), kind(c, c.b)) for c in known.work.contractions]


def _crooked(e: t.Expr, tensors: Collection[str]) -> frozenset[str]:
    """Indices of a subscript that is neither an index nor an index and a constant shift."""
    match e:
        case t.Ref() | t.Num() | t.Ext():
            return frozenset()
        case t.Bin("+" | "-", a, b):
            moving = [x for x in (a, b) if _seen(x, tensors)]
            return _crooked(moving[0], tensors) if len(moving) == 1 else frozenset(_seen(e, tensors))
        case _:
            return frozenset(_seen(e, tensors))


def _seen(e: t.Expr, tensors: Collection[str]) -> set[str]:
    """Indices of an expression but for those that only choose an attribute's value."""
    if isinstance(e, t.Ref):
        return {e.name}
    if isinstance(e, t.Access) and e.name not in tensors:
        return set()
    return {i for c in children(e) for i in _seen(c, tensors)}


def _product(values: Iterable[Array]) -> Array:
    total: Array = 1.0
    for v in values:
        total = total * v
    return total
