"""Pareto fronts and how good they are; every objective is minimised.

Rows of an array are points, columns are objectives. A row dominates another if it is nowhere larger and
somewhere smaller. Comparisons are of the doubles as they are, without a tolerance, so a front does not depend on
the order in which points arrive. Rows may hold infinities, never NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

BLOCK = 1 << 20  # comparisons of two rows at a time: bounds the memory of what is compared in full


def front(points: ArrayLike, *, ties: bool = False) -> Indices:
    """Indices, ascending, of the rows of `points` [n, k] that no row dominates.

    Of equal rows the first is kept, or all of them with `ties`. O(n log n) for up to three objectives, else
    O(n * size of the front) in blocks. Raises ValueError for NaN.
    """
    rows = _rows(points)
    if not len(rows):
        return np.empty(0, dtype=np.intp)
    order = np.lexsort(rows.T[::-1])  # stable: equal rows stay in their order
    ordered = rows[order]
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
    distinct = ordered[new]
    best = _SWEEPS.get(rows.shape[1], _blockwise)(distinct)
    chosen = order[best[np.cumsum(new) - 1]] if ties else order[new][best]
    return np.sort(chosen)


def covered(points: ArrayLike, by: ArrayLike) -> Mask:
    """Which rows of `points` [n, k] some row of `by` [m, k] equals or dominates.

    O(n log m) for two objectives, where `by` is sorted; else O(n * m) in blocks.
    """
    rows, others = _rows(points), _rows(by)
    if not len(others) or not len(rows):
        return np.zeros(len(rows), dtype=np.bool_)
    if rows.shape[1] != 2:
        return _covered_blockwise(rows, others)
    others = others[np.lexsort((others[:, 1], others[:, 0]))]
    lowest = np.minimum.accumulate(others[:, 1])
    before = np.searchsorted(others[:, 0], rows[:, 0], side="right")  # how many are no larger in the first
    reached = np.where(before > 0, lowest[before - 1], np.inf)
    found: Mask = (before > 0) & (reached <= rows[:, 1])
    return found


def merge(kept: ArrayLike, block: ArrayLike) -> tuple[Indices, Indices]:
    """The front of a front and a block of points: indices of `kept` that stay, and of `block` that join it.

    Of equal rows the one in `kept` stays, then the first of the block. What joins does not depend on how a
    sequence of points is cut into blocks.
    """
    held, rows = _rows(kept), _rows(block)
    if not len(held):
        return np.empty(0, dtype=np.intp), front(rows)
    open_ = np.flatnonzero(~covered(rows, held))
    joins = open_[front(rows[open_])]
    return np.flatnonzero(~covered(held, rows[joins])), joins


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """The volume that `points` [n, k] dominate below the reference point [k]: exact up to rounding.

    Points that are not below the reference in every objective add nothing. O(n log n) for two objectives,
    O(n^2) for three; more are cut into slices, each a volume with one objective less.
    """
    rows, corner = _rows(points), np.asarray(reference, dtype=np.float64)
    if corner.shape != (rows.shape[1],) or not np.isfinite(corner).all():
        raise ValueError(f"the reference {corner} is not a finite point of {rows.shape[1]} objectives")
    inside = rows[np.all(rows < corner, axis=1)]
    if np.isneginf(inside).any():
        return np.inf
    return _volume(inside[front(inside)], corner)


def adrs(found: ArrayLike, exact: ArrayLike, span: ArrayLike | None = None) -> float:
    """Average distance from an exact front [m, k] to what was found [n, k], after normalisation.

    Every objective is divided by `span` [k], by default its extent over the exact front (1 where that is 0). The
    distance of a row of `exact` is that to the nearest row of `found` in that scale, Euclidean; it is infinite
    where nothing was found. 0 means that the whole exact front was found.
    """
    there, here = _rows(exact), _rows(found)
    if not len(there):
        raise ValueError("an exact front has at least one point")
    if not len(here):
        return np.inf
    scale = np.ptp(there, axis=0) if span is None else np.asarray(span, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    step = max(1, BLOCK // len(here))
    nearest = [
        np.sqrt((((there[i : i + step, None] - here[None]) / scale) ** 2).sum(axis=2)).min(axis=1)
        for i in range(0, len(there), step)
    ]
    return float(np.concatenate(nearest).mean())


def _rows(points: ArrayLike) -> Floats:
    rows = np.asarray(points, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"points are rows of objectives, not an array of shape {rows.shape}")
    if np.isnan(rows).any():
        raise ValueError("a point has NaN for an objective")
    return rows


# Each sweep gets distinct rows in lexicographic order, so that no row dominates one before it.


def _sweep_1(rows: Floats) -> Mask:
    best = np.zeros(len(rows), dtype=np.bool_)
    best[0] = True
    return best


def _sweep_2(rows: Floats) -> Mask:
    lowest = np.minimum.accumulate(rows[:, 1])
    best = np.ones(len(rows), dtype=np.bool_)
    best[1:] = rows[1:, 1] < lowest[:-1]
    return best


def _sweep_3(rows: Floats) -> Mask:
    """Row i is dominated iff one before it is no larger in y and z.

    Halves are compared, then halves of halves: at each level the rows of a block lie in the order of y, and a row
    of its second half is dropped where a lower z came before it from the first half. From level to level the
    order of y is kept by a stable partition, so a level costs O(n); what is dropped stays dropped.
    """
    n = len(rows)
    rank = np.argsort(rows[:, 1], kind="stable")  # rows in the order of y; of equal y, those before come first
    z = np.unique(rows[:, 2], return_inverse=True)[1].astype(np.int64).reshape(-1)
    best = np.ones(n, dtype=np.bool_)
    for level in range(max(0, (n - 1).bit_length() - 1), -1, -1):
        block, second = rank >> (level + 1), (rank >> level & 1).astype(np.bool_)
        height = np.where(second, n, z[rank])
        # Each block's heights lie below those of the block before it, so the running minimum starts anew.
        lowest = np.minimum.accumulate(height - block * (n + 1)) + block * (n + 1)
        lost = second & (lowest <= z[rank])
        best[rank[lost]] = False
        rank, second, block = rank[~lost], second[~lost], block[~lost]
        rank = rank[np.argsort(2 * block + second, kind="stable")]
    return best


def _blockwise(rows: Floats) -> Mask:
    best = np.zeros(len(rows), dtype=np.bool_)
    kept = rows[:0]
    step = 256
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        open_ = np.flatnonzero(~_covered_blockwise(part, kept)) if len(kept) else np.arange(len(part))
        part = part[open_]
        over = np.all(part[None] <= part[:, None], axis=2)  # [i, j]: j is nowhere larger than i
        np.fill_diagonal(over, False)
        alone = ~over.any(axis=1)
        best[start + open_[alone]] = True
        kept = np.concatenate([kept, part[alone]])
    return best


_SWEEPS = {1: _sweep_1, 2: _sweep_2, 3: _sweep_3}


def _covered_blockwise(rows: Floats, others: Floats) -> Mask:
    found = np.zeros(len(rows), dtype=np.bool_)
    step = max(1, BLOCK // len(others))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        below = others[None, :, 0] <= part[:, None, 0]
        for k in range(1, rows.shape[1]):
            below &= others[None, :, k] <= part[:, None, k]
        found[start : start + step] = below.any(axis=1)
    return found


def _volume(rows: Floats, corner: Floats) -> float:
    """The volume below `corner` of a front that lies below it."""
    k = len(corner)
    if not len(rows):
        return 0.0
    if k == 1:
        return float(corner[0] - rows[:, 0].min())
    rows = rows[np.lexsort(rows.T[::-1])]
    if k == 2:
        ceilings = np.concatenate([corner[1:], rows[:-1, 1]])
        return float(((corner[0] - rows[:, 0]) * (ceilings - rows[:, 1])).sum())
    return _volume_3(rows, corner) if k == 3 else _volume_in_slices(rows, corner)


def _volume_3(rows: Floats, corner: Floats) -> float:
    """Along x, the depth in z over each interval of y is a running minimum."""
    edges, column = np.unique(rows[:, 1], return_inverse=True)
    widths = np.diff(np.append(edges, corner[1]))
    depth, total = np.zeros(len(edges)), 0.0
    ends = np.append(rows[1:, 0], corner[0])
    for x, end, j, z in zip(rows[:, 0], ends, column.reshape(-1), rows[:, 2], strict=True):
        np.maximum(depth[j:], corner[2] - z, out=depth[j:])
        total += (end - x) * float(depth @ widths)
    return float(total)


def _volume_in_slices(rows: Floats, corner: Floats) -> float:
    """Along the first objective, each point adds to the slice what the points before it leave of its box."""
    total = area = 0.0
    ends = np.append(rows[1:, 0], corner[0])
    for i, (row, end) in enumerate(zip(rows, ends, strict=True)):
        shared = np.maximum(rows[:i, 1:], row[1:])
        box = float(np.prod(corner[1:] - row[1:]))
        area += box - (_volume(shared[front(shared)], corner[1:]) if i else 0.0)
        total += (end - row[0]) * area
    return float(total)
