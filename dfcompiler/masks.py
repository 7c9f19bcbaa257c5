"""Which points of an op's index space exist: exact counts under `where` clauses.

For every row (all indices that the clauses use, but one, the column) the columns that exist are a union of
intervals, one per way to satisfy the clauses; relations that bound nothing pick columns out of them. Counting
is then arithmetic on interval ends, vectorised over rows; nothing is ever materialised as a square, and
nothing is averaged. Where all clauses are lines, not even rows are gone through.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler import strips
from dfcompiler.bounds import Frame, Half, Tried, bisected, linear, tried
from dfcompiler.clauses import uses, votes_of
from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import OpShape
from dfcompiler.scalars import Floats, Ints, Sizes, most
from dfcompiler.strips import Strip
from dfcompiler.text import tree as t

MOST_TRIED = 1 << 24  # kinds of rows times columns, for relations that are tried on every column
MOST_RUNS = 1 << 16  # intervals, where picked columns are told apart as intervals of their own
_MOST_TERMS = 4  # ways to satisfy the clauses for which inclusion and exclusion is worth it
_BLOCK = 1 << 22  # elements at once, where columns are marked one by one


@dataclass(frozen=True)
class Picked:
    """Columns by which of the relations that bound nothing hold there.

    `which` is every row's kind, broadcast over rows; `before[class, kind, column]` counts a class's columns
    before a column; `active[class, term]` says for which terms a class of columns counts.
    """

    which: Ints
    before: Ints
    active: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Intervals:
    """For every row, a union of intervals `[lo, hi)` of the column index; axis 0 runs over its terms.

    Further axes are those of `rows`, then of designs. With `picked`, only some columns of the intervals exist.
    """

    rows: tuple[str, ...]
    col: str
    lo: Ints
    hi: Ints
    picked: Picked | None = None

    def union(self, keep: Sequence[str]) -> Ints:
        """Columns that exist for some row, for each value of the row indices `keep` (in that order) and design."""
        if self.picked is None and len(self.lo) == 1 and len(keep) == len(self.rows):  # nothing falls together
            length = np.maximum(self.hi[0] - self.lo[0], 0)
            return np.asarray(length.transpose(*map(self.rows.index, keep), *range(len(keep), length.ndim)))
        if self.picked is None:
            return _pieces(self._arranged(self.lo, keep), self._arranged(self.hi, keep))
        if set(keep) == set(self.rows):
            found = np.zeros(self.lo.shape[1:], dtype=np.int64)
            for number in range(len(self.picked.active)):
                found = found + self._of_class(number)
            return found.transpose(*(self.rows.index(r) for r in keep), *range(len(keep), found.ndim))
        return self._marked(keep)

    def _arranged(self, a: Ints, keep: Sequence[str]) -> Ints:
        """An array as `[kept rows..., designs..., all else]`, empty intervals as `[0, 0)`."""
        kept = [1 + self.rows.index(r) for r in keep]
        designs = range(1 + len(self.rows), self.lo.ndim)
        rest = [0, *(i + 1 for i, r in enumerate(self.rows) if r not in keep)]
        moved = np.where(self.hi <= self.lo, 0, a).transpose(*kept, *designs, *rest)
        return np.asarray(moved.reshape(*moved.shape[: len(kept) + len(designs)], -1))

    def _of_class(self, number: int) -> Ints:
        """Columns of one class for every row."""
        assert self.picked
        active, before = self.picked.active[number], self.picked.before[number]
        lo = np.moveaxis(self.lo[active], 0, -1)
        hi = np.moveaxis(np.maximum(self.lo, self.hi)[active], 0, -1)
        return _pieces(lo, hi, before, self.picked.which[..., None])

    def _marked(self, keep: Sequence[str]) -> Ints:
        """As `union`, where rows of several kinds fall together: columns are marked one by one."""
        assert self.picked
        which = np.broadcast_to(self.picked.which, self.lo.shape)
        term = np.broadcast_to(np.arange(len(self.lo)).reshape(-1, *(1,) * (self.lo.ndim - 1)), self.lo.shape)
        each = [self._arranged(a, keep) for a in (self.lo, self.hi, np.asarray(which), np.asarray(term))]
        shape = each[0].shape[:-1]
        lo, hi, kind, way = (a.reshape(-1, a.shape[-1]) for a in each)
        kinds, width = self.picked.before.shape[1], self.picked.before.shape[2] - 1
        block = max(1, _BLOCK // (kinds * (width + 1)))
        found = np.zeros(len(lo), dtype=np.int64)
        for start in range(0, len(lo), block):
            some = slice(start, start + block)
            seen = np.zeros((len(lo[some]), width), dtype=bool)
            for active, before in zip(self.picked.active, self.picked.before, strict=True):
                ends = np.zeros((len(seen), kinds, width + 1), dtype=np.int64)
                row, at = np.nonzero(active[way[some]] & (hi[some] > lo[some]))
                np.add.at(ends, (row, kind[some][row, at], lo[some][row, at]), 1)
                np.add.at(ends, (row, kind[some][row, at], hi[some][row, at]), -1)
                seen |= ((ends.cumsum(-1)[..., :-1] > 0) & (np.diff(before) > 0)).any(1)
            found[some] = seen.sum(-1)
        return found.reshape(shape)

    def apart(self) -> Intervals:
        """The same without `picked`: exact where rows are of one kind and the runs of columns are few, else a bound
        from above that takes every column of the intervals."""
        if self.picked is None:
            return self
        bound = replace(self, picked=None)
        if self.picked.before.shape[1] > 1:
            return bound
        lo: list[Ints] = []
        hi: list[Ints] = []
        for active, before in zip(self.picked.active, self.picked.before[:, 0], strict=True):
            edges = np.flatnonzero(np.diff(np.diff(before), prepend=0, append=0)).reshape(-1, 2)
            if (len(edges) + len(lo)) * self.lo[active].size > MOST_RUNS:
                return bound
            for first, last in edges.tolist():
                lo.append(np.maximum(self.lo[active], first))
                hi.append(np.minimum(self.hi[active], last))
        if not lo:
            return replace(bound, hi=self.lo)
        return replace(bound, lo=np.concatenate(lo), hi=np.maximum(np.concatenate(lo), np.concatenate(hi)))


def _pieces(lo: Ints, hi: Ints, before: Ints | None = None, kind: Ints | None = None) -> Ints:
    """Length of the union of intervals along the last axis; with `before`, only of the columns it counts."""
    order = np.argsort(lo, axis=-1, kind="stable")
    lo, hi = np.take_along_axis(lo, order, -1), np.take_along_axis(hi, order, -1)
    reached = np.maximum.accumulate(hi, axis=-1)
    start = np.maximum(lo, np.concatenate([np.zeros_like(lo[..., :1]), reached[..., :-1]], axis=-1))
    end = np.maximum(start, hi)
    return np.asarray((end - start if before is None else before[kind, end] - before[kind, start]).sum(-1))


class Mask:
    """The `where` clauses of an op at given sizes and attributes.

    With `designs`, sizes are arrays and attributes have trailing axes over them, and so have all counts.
    """

    def __init__(
        self, shape: OpShape, sizes: Sizes, attrs: Mapping[str, Floats], designs: tuple[int, ...] = ()
    ) -> None:
        self.shape = shape
        self.sizes = sizes
        self.attrs = attrs
        self.designs = designs
        self._cache: dict[tuple[int, ...], _Clauses] = {}
        self._counted: dict[tuple[tuple[str, ...], ...], int] = {}
        self._used, self._of_data = uses(shape)
        for clause, used in zip(shape.where, self._used, strict=True):
            if not used:
                raise Diag("bad-mask", "a `where` clause must use an index", clause[0].span or shape.span)

    def clauses(self, indices: Iterable[str]) -> tuple[int, ...]:
        """The clauses that are counted where exactly these indices exist: those that use no other, and no tensor.

        What a tensor's values exclude cannot be told from sizes: all those points count.
        """
        have = set(indices)
        return tuple(i for i, used in enumerate(self._used) if used <= have and not self._of_data[i])

    def intervals(self, indices: Iterable[str]) -> Intervals | None:
        """Row intervals of the clauses that apply to `indices`; None where no clause does."""
        known = self._known(indices)
        return known.intervals if known else None

    def _known(self, indices: Iterable[str]) -> _Clauses | None:
        which = self.clauses(indices)
        if which and which not in self._cache:
            self._cache[which] = _Clauses(self, which)
        return self._cache[which] if which else None

    def count(self, indices: Iterable[str]) -> int:
        """Points of the index set that exist; an array over designs where there are some."""
        names = tuple(dict.fromkeys(indices))
        return self.touched(names, names)

    def end(self, indices: Iterable[str], index: str) -> int:
        """One more than the last value of an index over the points of `indices` that exist, at least 1."""
        names, size = tuple(indices), int(self.sizes[index])
        known = self._known(names)
        if known is None or index not in known.names or self.touched(names, (index,)) == size:
            return size
        inter = known.intervals
        full = inter.hi > inter.lo
        if index == inter.col:
            return int(inter.hi.max(where=full, initial=1))
        axis = 1 + inter.rows.index(index)
        return int(np.flatnonzero(full.any(tuple(i for i in range(full.ndim) if i != axis))).max(initial=0)) + 1

    def touched(self, indices: Iterable[str], seen: Iterable[str]) -> int:
        """Distinct values of `seen` over the points of `indices` that exist; an array over designs where there are."""
        asked = tuple(dict.fromkeys(indices)), tuple(dict.fromkeys(seen))
        if asked not in self._counted:
            self._counted[asked] = self._touched(*asked)
        return self._counted[asked]

    def _touched(self, names: tuple[str, ...], wanted: tuple[str, ...]) -> int:
        known = self._known(names)
        if known is None:
            return self._total(wanted, 1)
        rest = tuple(i for i in wanted if i not in known.names)
        return self._total(rest, known.touched(tuple(i for i in known.names if i in wanted)))

    def _total(self, names: Iterable[str], inside: Ints | int) -> int:
        if not self.designs:
            return prod(int(self.sizes[i]) for i in names) * int(inside)
        total = np.asarray(inside)
        for i in names:
            total = total * self.sizes[i]
        return np.broadcast_to(total, self.designs)  # type: ignore[return-value]


class _Clauses:
    """Some clauses of a mask, in the form that counts fastest."""

    def __init__(self, mask: Mask, which: tuple[int, ...]) -> None:
        self.mask, self.clauses = mask, [mask.shape.where[i] for i in which]
        self._counted: dict[tuple[str, ...], Ints] = {}
        votes = votes_of(mask.shape, which)
        self.names = list(votes)
        size = {n: most(mask.sizes[n]) for n in self.names}  # one value alone moves nothing: it is a row at best
        best = sorted(self.names, key=lambda n: (votes[n] > 0 and size[n] > 1, votes[n], size[n]), reverse=True)
        self.col, *others = best
        self.slide = next((n for n in others if votes[n]), None)

    def touched(self, wanted: tuple[str, ...]) -> Ints:
        """Distinct values of some of the indices, in the order of `names`, over all points that exist, summed; an array
        over designs."""
        if wanted not in self._counted:
            self._counted[wanted] = self._touched(wanted)
        return self._counted[wanted]

    def _touched(self, wanted: tuple[str, ...]) -> Ints:
        moving = {self.col, self.slide} & set(wanted)
        further = [r for r in self.names if r not in (self.col, self.slide)]
        if self.strips is None or (len(moving) == 2 and not set(further) <= set(wanted)):
            union = self.intervals.union([r for r in self.intervals.rows if r in wanted])
            return self._sum(union if self.col in wanted else union > 0)
        full = (*(most(self.mask.sizes[r]) for r in further), *self.mask.designs)
        if len(moving) == 2:
            return self._sum(np.broadcast_to(strips.count(self.strips), full))
        ends, rows = (
            [s.rows() if moving == {self.slide} else s.columns() for s in self.strips],
            np.zeros(full, np.int64),
        )
        lo, hi = (np.array([e[i] + rows for e in ends]) for i in (0, 1))
        union = Intervals(tuple(further), self.col, lo, hi).union([r for r in further if r in wanted])
        return self._sum(union if moving else union > 0)

    def _sum(self, found: npt.NDArray[np.generic]) -> Ints:
        """The sum over all rows; axes of designs stay."""
        return np.asarray(found.sum(tuple(range(found.ndim - len(self.mask.designs))), dtype=np.int64))

    def _frame(self, rows: Sequence[str]) -> tuple[Frame, npt.NDArray[np.bool_]]:
        """The rows gone through, each along its own axis before those of designs, and which of them exist."""
        mask, inside = self.mask, np.ones((1,) * (len(rows) + len(self.mask.designs)), dtype=bool)
        grid: dict[str, Ints] = {}
        for place, n in enumerate(rows):
            after = inside.ndim - place - 1
            grid[n] = np.arange(most(mask.sizes[n])).reshape(*(1,) * place, -1, *(1,) * after)
            inside = inside & (grid[n] < mask.sizes[n])
        return Frame(mask.sizes, mask.attrs, grid), inside

    @cached_property
    def strips(self) -> list[Strip] | None:
        """The points as strips between the column and the row that slides with it; None where they are none."""
        ways = list(itertools.product(*self.clauses))
        if self.slide is None or len(ways) > _MOST_TERMS:
            return None
        frame, inside = self._frame([n for n in self.names if n not in (self.col, self.slide)])
        whole = strips.box(self.mask.sizes[self.col], np.where(inside, self.mask.sizes[self.slide], 0))
        halves = {rel: linear(rel, frame, self.col, self.slide) for clause in self.clauses for rel in clause}
        lines = {rel: many for rel, many in halves.items() if many is not None}
        found: list[Strip] = []
        for way in ways if len(lines) == len(halves) else ():
            strip: Strip | None = whole
            for half in (half for rel in way for half in lines[rel]):
                strip = strip and strip.cut(half)
            if strip is None:
                return None
            found.append(strip)
        return [strip for strip in found if strip.exists()] or found[:1] or None

    @cached_property
    def intervals(self) -> Intervals:
        """The columns that exist, row by row."""
        rows = tuple(n for n in self.names if n != self.col)
        frame, inside = self._frame(rows)
        ends = np.where(inside, self.mask.sizes[self.col], 0)
        full = (*(most(self.mask.sizes[r]) for r in rows), *self.mask.designs)
        bounds: dict[t.Rel, list[Half]] = {}
        trials: dict[t.Rel, Tried] = {}
        for rel in (r for c in self.clauses for r in c):
            halves = linear(rel, frame, self.col, None) or bisected(rel, frame, self.col)
            if halves is None:
                trials[rel] = self._tried(rel, frame)
            bounds[rel] = halves or []
        ways = list(itertools.product(*self.clauses))
        found = [_between(ends, [h for rel in way for h in bounds[rel]]) for way in ways]
        lo, hi = (np.stack([np.broadcast_to(e[i], full) for e in found]) for i in (0, 1))
        return Intervals(rows, self.col, lo, hi, _picked(trials, ways) if trials else None)

    def _tried(self, rel: t.Rel, frame: Frame) -> Tried:
        found = tried(rel, frame, self.col, MOST_TRIED)
        if isinstance(found, Tried):
            return found
        raise Diag(
            "bad-mask",
            f"this is no bound of `{self.col}` and differs from row to row: {found:,} points to try one by one",
            rel.span or self.mask.shape.span,
            hint=f"write it as bounds of `{self.col}`, such as `{self.col} <= s + past[b]`, or of `{self.col} // 64`",
        )


def _between(ends: Ints, bounds: Sequence[Half]) -> tuple[Ints, Ints]:
    """The columns from 0 to `ends` within all bounds, from and to, for every row."""
    low, high = np.zeros_like(ends), ends
    for half in bounds:
        c, most = half.column, half.most
        if c > 0:
            high = np.minimum(high, most // c + 1)
        elif c < 0:
            low = np.maximum(low, -(most // -c))
        else:
            high = np.where(most >= 0, high, 0)
    low = np.minimum(low, ends)
    return low, np.maximum(low, high)


def _picked(trials: Mapping[t.Rel, Tried], ways: Sequence[Sequence[t.Rel]]) -> Picked:
    """Classes of columns by which of the tried relations hold, of kinds of rows by all of them together."""
    kinds = np.broadcast_arrays(*(x.kind for x in trials.values()))
    pairs, which = np.unique(np.stack([k.ravel() for k in kinds], 1), axis=0, return_inverse=True)
    holds = [x.holds[pairs[:, i]] for i, x in enumerate(trials.values())]
    if holds[0].size > MOST_TRIED:
        rel = next(iter(trials))
        raise Diag("bad-mask", f"together with the others this makes {len(pairs):,} kinds of rows", rel.span)
    before, active = [], []
    for truth in itertools.product((False, True), repeat=len(trials)):
        there = dict(zip(trials, truth, strict=True))
        terms = [all(there.get(rel, True) for rel in way) for way in ways]
        columns = np.logical_and.reduce([h == x for h, x in zip(holds, truth, strict=True)])
        if any(terms) and columns.any():
            before.append(np.pad(columns.cumsum(-1), ((0, 0), (1, 0))))
            active.append(terms)
    shape = (0, len(pairs), holds[0].shape[1] + 1)
    counts = np.stack(before) if before else np.zeros(shape, dtype=np.int64)
    return Picked(which.reshape(kinds[0].shape), counts, np.array(active, dtype=bool).reshape(-1, len(ways)))
