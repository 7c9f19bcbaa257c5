"""The front of one pool: every design priced in blocks, and those kept that no other one matches in every term.

Terms are those of the goals (`separation`), oriented so that less is better. Blocks are slices of the open grid, so
what a term does not read is not repeated; a block is compared with the front so far before its own front is found.
O(N log F) time, and memory of a block and the front.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.figures import Corner, Prices, cut, figures, grid, kept, part
from dfcompiler.explore.fronts import covered, front
from dfcompiler.explore.references import Array, value
from dfcompiler.explore.separation import inlined, scaling_axis, without_factor
from dfcompiler.explore.space import Pool
from dfcompiler.text import tree as t

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BLOCK = 1 << 19  # designs that are compared at once
SAMPLE = 64  # every so many designs of a block come first
CELLS = 256  # levels of cost and of rate in the table that rules out most of three terms


@dataclass(frozen=True)
class Term:
    """An expression in names of a pool; `sign` is 1 where less is better, else -1."""

    expr: t.Expr
    sign: float


@dataclass(frozen=True)
class PoolFront:
    """Designs by their indices `[n, axis]` and their terms `[n, term]`, less is better; of `designs` in all, `legal`
    keep every limit and can be priced."""

    pool: Pool
    rows: Ints
    values: Floats
    designs: int
    legal: int


def pool_front(pool: Pool, prices: Prices, terms: Sequence[Term], fixed: Mapping[str, int] | None = None) -> PoolFront:
    """The front of a pool's designs; `fixed` are indices on axes that are not to be chosen.

    An axis that only scales (`scaling_axis`) is taken as 1 first: a design that is matched by another one is matched
    by as many of it, also in terms that do not read the axis.
    """
    given = dict(fixed or {})
    scale = scaling_axis(pool, [x.expr for x in terms])
    if scale is None or scale in given:
        return _front(pool, prices, terms, given)
    ones = [unscaled(x.expr, pool, scale) for x in terms]
    each = [replace(x, expr=y or x.expr) for x, y in zip(terms, ones, strict=True)]
    return scaled(_front(pool, prices, each, given | {scale: 0}), scale, [y is not None for y in ones])


def unscaled(e: t.Expr, pool: Pool, scale: str | None) -> t.Expr | None:
    """A term where the axis that scales is 1; None where the term does not read it."""
    return None if scale is None else without_factor(inlined(e, pool.lets), scale)


def scaled(one: PoolFront, scale: str, terms: Sequence[bool]) -> PoolFront:
    """The front for every value of the axis that scales, from that where it is 1; `terms` are those that it scales."""
    at = next(i for i, a in enumerate(one.pool.axes) if a.name == scale)
    by = np.array(one.pool.axes[at].values, dtype=np.float64)
    values = np.concatenate([one.values * np.where(terms, n, 1.0) for n in by])
    rows = np.concatenate([_with(one.rows, at, i) for i in range(len(by))])
    best = front(values)
    return PoolFront(one.pool, rows[best], values[best], one.designs * len(by), one.legal * len(by))


def _with(rows: Ints, axis: int, index: int) -> Ints:
    changed = rows.copy()
    changed[:, axis] = index
    return changed


def _front(pool: Pool, prices: Prices, terms: Sequence[Term], fixed: Mapping[str, int]) -> PoolFront:
    rows, values = np.empty((0, len(pool.axes)), np.int64), np.empty((0, len(terms)))
    designs = legal = 0
    for corner, some, alive in blocks(pool, prices, terms, fixed):
        designs, legal = designs + alive.size, legal + int(np.count_nonzero(alive))
        where, shape = np.flatnonzero(alive), [s.stop - s.start for s in corner]
        found = np.stack([x[where] for x in some], 1)
        for step in (slice(None, None, SAMPLE), slice(None)):  # what a sample reaches rules out most of the rest
            open_ = np.flatnonzero(~_ruled_out(found[step], values))
            both = np.concatenate([values, found[step][open_]])
            best = front(both)
            chosen = where[step][open_[best[best >= len(values)] - len(values)]]
            new = np.stack(np.unravel_index(chosen, shape), 1) + [s.start for s in corner]
            rows, values = np.concatenate([rows[best[best < len(values)]], new]), both[best]
    return PoolFront(pool, rows, values, designs, legal)


def blocks(
    pool: Pool, prices: Prices, terms: Sequence[Term], fixed: Mapping[str, int]
) -> Iterator[tuple[Corner, list[Floats], npt.NDArray[np.bool_]]]:
    """Slices of the axes, the terms of the designs in them, flat, and which of those are legal."""
    for corner in slices(pool, fixed):
        shape = tuple(s.stop - s.start for s in corner)
        at = {name: cut(x, corner) for name, x in grid(pool).items()}
        priced = _Cut(prices, corner)
        known = figures(pool, at, priced)
        some = [np.broadcast_to(x.sign * value(x.expr, known), shape).ravel() for x in terms]
        able = (np.isfinite(x) for x in (*priced.read.values(), *(s.reshape(shape) for s in some)))
        alive = reduce(np.logical_and, able, np.broadcast_to(kept(pool, known), shape))
        yield corner, some, alive.ravel()


def slices(pool: Pool, fixed: Mapping[str, int]) -> Iterator[Corner]:
    """Blocks of the grid: the first axes one value at a time, until the others make a block."""
    whole = [slice(fixed[a.name], fixed[a.name] + 1) if a.name in fixed else slice(0, len(a.values)) for a in pool.axes]
    sizes = [s.stop - s.start for s in whole]
    split = next(i for i in range(len(sizes) + 1) if prod(sizes[i:]) <= BLOCK)
    for first in product(*(range(s.start, s.stop) for s in whole[:split])):
        yield (*(slice(i, i + 1) for i in first), *whole[split:])


@dataclass(frozen=True)
class _Cut:
    """The prices of a block, and which of them were read: a design that lacks one of these is none."""

    prices: Prices
    corner: Corner
    read: dict[tuple[str, ...], Array] = field(default_factory=dict)

    def price(self, path: tuple[str, ...]) -> Array:
        self.read[path] = part(self.prices, path, self.corner)
        return self.read[path]


def _ruled_out(found: Floats, by: Floats) -> npt.NDArray[np.bool_]:
    """Rows that a front surely matches or beats: all such where there are two terms, most where there are more."""
    if found.shape[1] <= 2 or not len(by) or not len(found):
        return covered(found, by) if found.shape[1] == 2 else np.zeros(len(found), dtype=bool)
    x, y = (np.unique(np.quantile(by[:, i], np.linspace(0, 1, CELLS), method="lower")) for i in (0, 1))
    least = np.full((len(x), len(y)), np.inf)
    i, j = np.searchsorted(x, by[:, 0]), np.searchsorted(y, by[:, 1])  # levels at or above it: within the table
    np.minimum.at(least, (i, j), by[:, 2:].max(1) if by.shape[1] > 3 else by[:, 2])
    least = np.minimum.accumulate(np.minimum.accumulate(least, 0), 1)
    a, b = (np.searchsorted(level, found[:, k], side="right") - 1 for k, level in ((0, x), (1, y)))
    inside = (a >= 0) & (b >= 0)
    reached = np.where(inside, least[np.maximum(a, 0), np.maximum(b, 0)], np.inf)
    ruled: npt.NDArray[np.bool_] = reached <= found[:, 2:].min(1)
    return ruled
