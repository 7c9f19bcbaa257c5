"""Counts between two parallel lines in a box, in closed form: causal and windowed masks of any size at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from dfcompiler.bounds import FAR, Half
from dfcompiler.scalars import Ints


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
                return self & _everywhere(column_end=most + 1)
            case (-1, 0):
                return self & _everywhere(column=-most)
            case (0, 1):
                return self & _everywhere(row_end=most + 1)
            case (0, -1):
                return self & _everywhere(row=-most)
            case (1, -1):
                return self & _everywhere(gap_end=most + 1)
            case (-1, 1):
                return self & _everywhere(gap=-most)
            case (0, 0):
                return self & _everywhere(row_end=np.where(most >= 0, int(FAR), -int(FAR)))
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

    def count(self) -> Ints:
        """Points: the overlap of the columns with a window that slides with the row, summed over the rows.

        The overlap is a sum of four ramps in the row, each of which sums to a difference of triangles.
        """
        c0, c1, r0 = self.column, np.maximum(self.column, self.column_end), self.row
        r1 = np.maximum(r0, self.row_end)
        least, most = c0 - r1, c1 - r0 + 1  # no point has a gap outside, and the squares below stay small
        g0 = np.clip(self.gap, least, most)
        g1 = np.maximum(g0, np.clip(self.gap_end, least, most))

        def ramps(shift: Ints) -> Ints:
            return _triangle(r1 + shift) - _triangle(r0 + shift)

        return np.asarray(ramps(g1 - c0) - ramps(g1 - c1) - ramps(g0 - c0) + ramps(g0 - c1))

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
    zero = np.zeros((), dtype=np.int64)
    return _everywhere(column=zero, column_end=np.asarray(columns), row=zero, row_end=np.asarray(rows))


def count(strips: Sequence[Strip]) -> Ints:
    """Points of the union, by inclusion and exclusion."""
    total: Ints = np.zeros((), dtype=np.int64)
    for many in range(1, len(strips) + 1):
        for some in itertools.combinations(strips, many):
            total = total - (-1) ** many * reduce(Strip.__and__, some).count()
    return total


def _everywhere(**ends: Ints) -> Strip:
    far = np.asarray(int(FAR))
    every = {"column": -far, "column_end": far, "row": -far, "row_end": far, "gap": -far, "gap_end": far}
    return Strip(**(every | ends))


def _triangle(x: Ints) -> Ints:
    """0 + 1 + .. + (x - 1); 0 where x is negative."""
    x = np.maximum(x, 0)
    return np.asarray(x * (x - 1) // 2)
