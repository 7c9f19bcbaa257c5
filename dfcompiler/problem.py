"""A group of nodes as a loop nest over tiles: all that pricing needs, with no op left in it.

Loops are the tileable indices of the group, merged where nothing tells them apart; everything else
lies whole inside a tile. Operands say how many bytes a tile touches and on which loops that depends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.compose import Group
from dfcompiler.dtypes import DtypeMap, bits
from dfcompiler.facts import Array, Facts, facts
from dfcompiler.masks import Intervals, Mask, attributes
from dfcompiler.work import Contraction

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NestLoop:
    """One loop over tiles: `size` points; `reduced` loops build up sums."""

    name: str
    indices: tuple[str, ...]
    size: int
    reduced: bool


@dataclass(frozen=True)
class NestOperand:
    """A tensor of the nest. `kind` is `read`, `write` or `local` (never leaves the tile's memory).

    `total_bytes` is what must move at least once; `partial_bits` the width of unfinished sums, 0 where the
    operand is no sum.
    """

    name: str
    kind: str
    loops: frozenset[str]
    bits: float
    partial_bits: float
    total_bytes: float


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

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all contractions; points that do not exist are not counted."""
        return sum(self.mask.count(c.indices) for c in self.contractions)

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
        """Compulsory traffic: every operand once."""
        return sum(o.total_bytes for o in self.operands)

    def extent(self, index: str, tile: Mapping[str, Array]) -> Array:
        """Points of an index in a tile: its loop's tile for the first index of a loop, 1 for the others."""
        for loop in self.loops:
            if index in loop.indices:
                return tile[loop.name] if index == loop.indices[0] else 1.0
        return float(self.group.sizes[index])

    def extents(self, tile: Mapping[str, Array]) -> dict[str, Array]:
        """Points of every index in a tile."""
        return {i: self.extent(i, tile) for i in self.group.sizes}

    def elements(self, operand: str, tile: Mapping[str, Array]) -> Array:
        """Elements of an operand that a tile touches; a local's are those of its defining statement."""
        extents = self.extents(tile)
        if operand in self.group.types:
            return self.facts.reach(operand, extents, self.group.sizes, self.group.types[operand].shape)
        free = next(s.free for s in self.group.shape.body for a in s.targets if a.name == operand)
        return _product(extents[i] for i in free)

    def role(self, indices: tuple[str, ...], tile: Mapping[str, Array]) -> Array:
        """Product of the tile's extents over these indices."""
        return _product(self.extent(i, tile) for i in indices)

    @cached_property
    def band(self) -> Band | None:
        """The mask between two loops, where tiles may be empty; None where every tile has points."""
        inter = self.mask.intervals(self.facts.indices)
        if inter is None:
            return None
        of = {i: loop.name for loop in self.loops for i in loop.indices}
        rows = [r for r in inter.rows if self.facts.masked(r) and r in of]
        if inter.col not in of or len(rows) > 1:
            return None
        return Band(of[inter.col], of[rows[0]] if rows else None, rows[0] if rows else None, inter)


class Band:
    """Which (row tile, column tile) pairs have points: exact counts, averaged over all other rows."""

    def __init__(self, col: str, row: str | None, index: str | None, inter: Intervals) -> None:
        self.col, self.row = col, row
        axis = inter.rows.index(index) + 1 if index else None
        lo = inter.lo if axis is None else np.moveaxis(inter.lo, axis, -1)
        hi = inter.hi if axis is None else np.moveaxis(inter.hi, axis, -1)
        size = lo.shape[-1] if axis is not None else 1
        used = np.flatnonzero((hi > lo).reshape(len(hi), -1).any(1))  # terms that no point satisfies say nothing
        used = used if len(used) else np.zeros(1, dtype=np.int64)
        self.lo = lo[used].reshape(len(used), -1, size)  # [terms, other rows, row]
        self.hi = hi[used].reshape(len(used), -1, size)
        self._pairs: dict[tuple[int, int, int], float] = {}
        self._cut: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def pairs(self, row_tile: int, col_tile: int, ways: int) -> float:
        """Tiles with points that the busiest of `ways` instances runs, row tiles dealt in turn."""
        key = (row_tile, col_tile, ways)
        if key not in self._pairs:
            self._pairs[key] = self._count(row_tile, col_tile, ways)
        return self._pairs[key]

    def _count(self, row_tile: int, col_tile: int, ways: int) -> float:
        lo, hi = self._blocks(row_tile)
        first, last = lo // col_tile, -(-hi // col_tile)
        first, last = np.where(hi > lo, first, 0), np.where(hi > lo, last, 0)
        tiles = last - first
        if len(tiles) > 1:  # terms may share tiles: the union of two, exact; more are merged pairwise
            tiles = _union(first, last)
        else:
            tiles = tiles[0]
        blocks = tiles.shape[-1]
        padded = np.pad(tiles, ((0, 0), (0, -blocks % ways)))
        return float(padded.reshape(len(tiles), -1, ways).sum(1).max(-1).mean())

    def width(self, row_tile: int) -> float:
        """Column points that the row tiles touch, summed over row tiles, averaged over all other rows."""
        lo, hi = self._blocks(row_tile)
        merged = np.where(hi > lo, hi - lo, 0)[0] if len(lo) == 1 else _union(np.where(hi > lo, lo, 0), np.where(hi > lo, hi, 0))
        return float(merged.sum(-1).mean())

    def _blocks(self, row_tile: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Hull of the intervals of each block of rows, per term."""
        if row_tile not in self._cut:
            self._cut[row_tile] = self._hulls(row_tile)
        return self._cut[row_tile]

    def _hulls(self, row_tile: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        size = self.lo.shape[-1]
        pad = ((0, 0), (0, 0), (0, -size % row_tile))
        empty = self.hi <= self.lo
        lo = np.pad(np.where(empty, np.iinfo(np.int64).max, self.lo), pad, constant_values=np.iinfo(np.int64).max)
        hi = np.pad(np.where(empty, 0, self.hi), pad)
        shape = (*lo.shape[:2], -1, row_tile)
        return lo.reshape(shape).min(-1), hi.reshape(shape).max(-1)


def _union(first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Length of the union of intervals over axis 0."""
    order = np.argsort(first, axis=0)
    lo, hi = np.take_along_axis(first, order, 0), np.take_along_axis(last, order, 0)
    reached = np.maximum.accumulate(hi, axis=0)
    before = np.concatenate([np.zeros_like(lo[:1]), reached[:-1]])
    return np.asarray(np.maximum(0, hi - np.maximum(lo, before)).sum(0))


def problem(group: Group, dtypes: DtypeMap) -> Problem:
    """The loop nest of a group."""
    known = facts(group.shape)
    mask = Mask(group.shape, group.sizes, attributes(group.shape, group.sizes, group.attrs))
    loops = tuple(
        NestLoop(x.name, x.indices, size, bool(set(x.indices) & known.reduced))
        for x in known.loops
        if (size := prod(group.sizes[i] for i in x.indices)) > 1
    )
    a_bits, b_bits = _widths(group, known, dtypes)
    acc = int(bits(dtypes.accumulate))
    operands = (*_outer(group, known, mask, loops, acc), *_locals(group, known, loops, acc, dtypes))
    return Problem(group, known, loops, operands, mask, a_bits, b_bits, acc)


def _on(loops: tuple[NestLoop, ...], indices: frozenset[str] | set[str]) -> frozenset[str]:
    return frozenset(x.name for x in loops if set(x.indices) & indices)


def _outer(group: Group, known: Facts, mask: Mask, loops: tuple[NestLoop, ...], acc: int) -> list[NestOperand]:
    sums = {a.name for s in group.shape.body if s.over for a in s.targets}
    found = []
    for o in group.shape.operands:
        width = bits(group.types[o.name].dtype)
        on = _on(loops, known.depends(o.name))
        moved = touched_elements(group, known, mask, o.name)
        for kind, elements in moved.items():
            partial = acc if kind == "write" and o.name in sums else 0
            found.append(NestOperand(o.name, kind, on, width, partial, elements * width / 8))
    return found


def touched_elements(group: Group, known: Facts, mask: Mask, operand: str) -> dict[str, float]:
    """Elements of an operand that must be read and written at least once.

    A row written inside the group need not be read: what an append writes, attention finds on chip.
    """
    full: dict[str, Array] = {i: float(n) for i, n in group.sizes.items()}
    axes = group.types[operand].shape
    count = {"read": 0.0, "write": 0.0}
    for way in count:
        patterns = [p for p in known.patterns[operand] if p.write is (way == "write")]
        pieces = {p.subs: _pattern_elements(group, known, mask, operand, p.subs, full) for p in patterns}
        count[way] = min(float(prod(axes)), sum(pieces.values()))
    if count["read"] and count["write"]:
        count["read"] = max(0.0, count["read"] - count["write"])
    return {way: n for way, n in count.items() if n}


def _pattern_elements(group: Group, known: Facts, mask: Mask, operand: str, subs: Any, full: Mapping[str, Array]) -> float:
    from dfcompiler.text.tree import Ref

    names = [s.name for s in subs if isinstance(s, Ref)]
    if len(names) == len(subs):
        users = [s.indices for s in group.shape.body if set(names) <= set(s.indices)]
        seen = [mask.touched(indices, names) for indices in users]
        return float(max(seen)) if seen else float(prod(group.sizes[n] for n in names))
    return float(known.reach_of(subs, full, group.sizes, group.types[operand].shape))


def _locals(group: Group, known: Facts, loops: tuple[NestLoop, ...], acc: int, dtypes: DtypeMap) -> list[NestOperand]:
    outer = {o.name for o in group.shape.operands}
    found: dict[str, NestOperand] = {}
    for s in group.shape.body:
        for a in s.targets:
            if a.name not in outer and a.name not in found:
                width = acc if s.over else bits(dtypes.activation)
                found[a.name] = NestOperand(a.name, "local", _on(loops, set(s.free)), width, 0, 0.0)
    return list(found.values())


def _widths(group: Group, known: Facts, dtypes: DtypeMap) -> tuple[int, int]:
    """Widths of streamed and stationary operands, the widest where contractions differ."""

    def width(name: str) -> int:
        return int(np.ceil(bits(group.types[name].dtype))) if name in group.types else int(bits(dtypes.activation))

    found = known.work.contractions
    if not found:
        return int(bits(dtypes.activation)), int(bits(dtypes.activation))
    return max(width(c.a) for c in found), max(width(c.b) for c in found)


def _product(values: Any) -> Array:
    total: Array = 1.0
    for v in values:
        total = total * v
    return total
