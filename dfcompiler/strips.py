"""Counts between two parallel lines in a box, in closed form: causal and windowed masks of any size at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from dfcompiler.bounds import FAR, Half
from dfcompiler.scalars import Ints

_ZERO, _EVERYWHERE = np.zeros((), dtype=np.int64), np.asarray(int(FAR))


@dataclass(frozen=True)
class Strip:
    """Columns in `[column, column_end)` and rows in `[row, row_end)` with `column - row` in `[gap, gap_end)`.

    The ends are arrays over further rows and designs, where every strip stands for one region.
    """

    column: Ints
    column_end: Ints
    row: Ints
    row_end: Ints
    gap: Ints
    gap_end: Ints

    def cut(self, half: Half) -> Strip | None:
        """The part on one side of a bound; None where the bound is not parallel to the strip."""
        most = half.most
        match (half.column, half.slide):
            case (1, 0):
                return replace(self, column_end=np.minimum(self.column_end, most + 1))
            case (-1, 0):
                return replace(self, column=np.maximum(self.column, -most))
            case (0, 1):
                return replace(self, row_end=np.minimum(self.row_end, most + 1))
            case (0, -1):
                return replace(self, row=np.maximum(self.row, -most))
            case (1, -1):
                return replace(self, gap_end=np.minimum(self.gap_end, most + 1))
            case (-1, 1):
                return replace(self, gap=np.maximum(self.gap, -most))
            case (0, 0):
                return replace(self, row_end=np.where(most >= 0, self.row_end, self.row))
            case _:
                return None

    def __and__(self, other: Strip) -> Strip:
        return Strip(
            np.maximum(self.column, other.column),
            np.minimum(self.column_end, other.column_end),
            np.maximum(self.row, other.row),
            np.minimum(self.row_end, other.row_end),
            np.maximum(self.gap, other.gap),
            np.minimum(self.gap_end, other.gap_end),
        )

    def exists(self) -> bool:
        """Whether any strip may have a point: one with no column, no row or no gap has none."""
        some = (self.column_end > self.column) & (self.row_end > self.row) & (self.gap_end > self.gap)
        return bool(some.any())

    def count(self) -> Ints:
        """Points: the overlap of the columns with a window that slides with the row, summed over the rows.

        The overlap is a sum of four ramps in the row, each of which sums to a difference of triangles.
        """
        c0, c1, r0 = self.column, np.maximum(self.column, self.column_end), self.row
        r1 = np.maximum(r0, self.row_end)
        least, most = c0 - r1, c1 - r0 + 1  # no point has a gap outside, and the squares below stay small
        g0 = np.minimum(np.maximum(self.gap, least), most)
        g1 = np.maximum(g0, np.minimum(np.maximum(self.gap_end, least), most))
        shifts = np.stack(np.broadcast_arrays(g1 - c0, g1 - c1, g0 - c0, g0 - c1))
        one, two, three, four = _triangle(r1 + shifts) - _triangle(r0 + shifts)
        return np.asarray(one - two - three + four)

    def columns(self) -> tuple[Ints, Ints]:
        """The columns that have a point, from and to; they lie side by side."""
        some = (self.row_end > self.row) & (self.gap_end > self.gap)
        low, high = np.maximum(self.column, self.row + self.gap), self.row_end + self.gap_end - 1
        return low, np.where(some, np.maximum(low, np.minimum(self.column_end, high)), low)

    def rows(self) -> tuple[Ints, Ints]:
        """The rows that have a point, from and to; they lie side by side."""
        some = (self.column_end > self.column) & (self.gap_end > self.gap)
        low, high = np.maximum(self.row, self.column - self.gap_end + 1), self.column_end - self.gap
        return low, np.where(some, np.maximum(low, np.minimum(self.row_end, high)), low)


def box(columns: Ints | int, rows: Ints | int) -> Strip:
    """The whole of a box."""
    return Strip(_ZERO, np.asarray(columns), _ZERO, np.asarray(rows), -_EVERYWHERE, _EVERYWHERE)


def count(strips: Sequence[Strip]) -> Ints:
    """Points of the union, by inclusion and exclusion."""
    total: Ints = np.zeros((), dtype=np.int64)
    for many in range(1, len(strips) + 1):
        for some in itertools.combinations(strips, many):
            total = total - (-1) ** many * reduce(Strip.__and__, some).count()
    return total


def _triangle(x: Ints) -> Ints:
    """0 + 1 + .. + (x - 1); 0 where x is negative."""
    x = np.maximum(x, 0)
    return np.asarray(x * (x - 1) // 2)
