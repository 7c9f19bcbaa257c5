"""Looking up the seconds of a step: by rows where only one of its parts works, else linear in each of four numbers;
and in closed form over a run of steps.

Functions here run as they stand, on lists, or compiled by numba, on arrays; see `compiled`. Tables lie one after the
other: `shape` has for each table four times the place and length of a grid, then the place of its values, place and
length of what its tokens add; then, for rows of chunks and of what decodes, the place of their starts in the grid, how
many there are, by how much their values lie after their knots, and the place of what they leave out beside the other;
then, into how many micro-batches a step is cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import sqrt

CHUNKS, DECODES = 11, 15  # entries of `shape` for rows: starts, number, distance of values, what is left out; -1: none
STAGES = 19  # entry of `shape` for micro-batches of a step
SHAPE = 20  # entries of `shape` per table


def place_of(grid: Sequence[int], first: int, length: int, x: float) -> tuple[int, float]:
    """The cell of a grid that `x` is in, or nearest to, and how far in it: 0 at its first point, 1 at its second.

    A grid of one point has one cell, of which all is at its start.
    """
    if length == 1:
        return 0, 0.0
    after = bisect_right(grid, x, first + 1, first + length - 1)
    start = grid[after - 1]
    return after - 1 - first, (x - start) / (grid[after] - start)


def step_s(
    grid: Sequence[int],
    shape: Sequence[int],
    values: Sequence[float],
    table: int,
    prefill: int,
    past: float,
    batch: int,
    context: int,
) -> float:
    """Seconds of one step by the numbers of `table.StepTable`."""
    stages = shape[SHAPE * table + STAGES]
    if stages == 1:
        return part_s(grid, shape, values, table, prefill, past, batch, context)
    chunk, some = (prefill + stages - 1) // stages, (batch + stages - 1) // stages
    before, held = past + 0.5 * (prefill - chunk), context * some / max(batch, 1)
    return stages * part_s(grid, shape, values, table, chunk, before, some, held)


def part_s(
    grid: Sequence[int],
    shape: Sequence[int],
    values: Sequence[float],
    table: int,
    prefill: int,
    past: float,
    batch: int,
    context: float,
) -> float:
    """Seconds of one step, or of one micro-batch on the slowest stage."""
    t = SHAPE * table
    if prefill == 0 and shape[t + DECODES + 1] > 0:
        a = row_s(grid, shape, values, t + DECODES, batch, context / max(batch, 1))
        return a if a > 0.0 else 0.0
    if batch == 0 and shape[t + CHUNKS + 1] > 0:
        a = row_s(grid, shape, values, t + CHUNKS, prefill, past)
        return a if a > 0.0 else 0.0
    f0, n0, f1, n1 = shape[t], shape[t + 1], shape[t + 2], shape[t + 3]
    f2, n2, f3, n3 = shape[t + 4], shape[t + 5], shape[t + 6], shape[t + 7]
    c0, w0 = place_of(grid, f0, n0, prefill)
    c1, w1 = place_of(grid, f1, n1, past)
    c2, w2 = place_of(grid, f2, n2, batch)
    c3, w3 = place_of(grid, f3, n3, context)
    up1 = n2 * n3 if n1 > 1 else 0
    low = shape[t + 8] + ((c0 * n1 + c1) * n2 + c2) * n3 + c3
    high = low + (n1 * n2 * n3 if n0 > 1 else 0)
    up2 = n3 if n2 > 1 else 0
    up3 = 1 if n3 > 1 else 0
    a = plane(values, low, up2, up3, w2, w3)
    if w1 != 0.0:
        a += w1 * (plane(values, low + up1, up2, up3, w2, w3) - a)
    if w0 != 0.0:
        b = plane(values, high, up2, up3, w2, w3)
        if w1 != 0.0:
            b += w1 * (plane(values, high + up1, up2, up3, w2, w3) - b)
        a += w0 * (b - a)
    a += tokens_s(shape, values, t, prefill + batch)
    if shape[t + CHUNKS + 3] >= 0:
        a += row_s(grid, shape, values, t + CHUNKS, prefill, past) - beside_s(shape, values, t + CHUNKS, prefill)
        a += row_s(grid, shape, values, t + DECODES, batch, context / max(batch, 1))
        a -= beside_s(shape, values, t + DECODES, batch)
    return a if a > 0.0 else 0.0


def row_s(grid: Sequence[int], shape: Sequence[int], values: Sequence[float], r: int, number: int, x: float) -> float:
    """A part of a step by itself: straight between the knots of its row; beyond the last row in proportion to that."""
    last = shape[r + 1] - 1
    row = shape[r] + min(number, last)
    first, length = grid[row], grid[row + 1] - grid[row]
    cell, part = place_of(grid, first, length, x)
    at = first + cell + shape[r + 2]
    a = values[at]
    if length > 1:
        a += part * (values[at + 1] - a)
    return a if number <= last else a * number / last


def beside_s(shape: Sequence[int], values: Sequence[float], r: int, number: int) -> float:
    """What a part of a step need not do beside the other one, as both do it together."""
    last = shape[r + 1] - 1
    a = values[shape[r + 3] + min(number, last)]
    return a if number <= last else a * number / last


def tokens_s(shape: Sequence[int], values: Sequence[float], t: int, tokens: int) -> float:
    """What a step takes for its number of tokens alone; past the last one, in proportion to that."""
    last = shape[t + 10] - 1
    at = shape[t + 9] + (tokens if tokens < last else last)
    return values[at] if tokens <= last or last == 0 else values[at] * tokens / last


def plane(values: Sequence[float], at: int, up2: int, up3: int, w2: float, w3: float) -> float:
    """Between four values, of which the others lie `up2` and `up3` after the one `at`."""
    a = values[at]
    a += w3 * (values[at + up3] - a)
    if w2 == 0.0:
        return a
    b = values[at + up2]
    b += w3 * (values[at + up2 + up3] - b)
    return a + w2 * (b - a)


def decode_line(
    grid: Sequence[int], shape: Sequence[int], values: Sequence[float], table: int, batch: int, context: int
) -> tuple[float, float, int]:
    """Steps that only decode are linear in their context within a cell: seconds, seconds per token, last context.

    The last context is that up to which the line holds, -1 where there is no end.
    """
    t = SHAPE * table
    stages = shape[t + STAGES]
    if shape[t + DECODES + 1] > 0:
        return row_line(grid, shape, values, t + DECODES, batch, context, stages)
    f2, n2, f3, n3 = shape[t + 4], shape[t + 5], shape[t + 6], shape[t + 7]
    c2, w2 = place_of(grid, f2, n2, batch)
    c3, w3 = place_of(grid, f3, n3, context)
    at = shape[t + 8] + c2 * n3 + c3
    up2 = n3 if n2 > 1 else 0
    alone = tokens_s(shape, values, t, batch)
    low = values[at] + w2 * (values[at + up2] - values[at])
    if n3 == 1:
        return alone + low, 0.0, -1
    high = values[at + 1] + w2 * (values[at + up2 + 1] - values[at + 1])
    start, end = grid[f3 + c3], grid[f3 + c3 + 1]
    return alone + low + w3 * (high - low), (high - low) / (end - start), (end if c3 + 2 < n3 else -1)


def row_line(
    grid: Sequence[int], shape: Sequence[int], values: Sequence[float], r: int, batch: int, context: int, stages: int
) -> tuple[float, float, int]:
    """The line of a row of what decodes, over the context of all its sequences."""
    last, some = shape[r + 1] - 1, (batch + stages - 1) // stages
    row = shape[r] + min(some, last)
    first, length = grid[row], grid[row + 1] - grid[row]
    cell, part = place_of(grid, first, length, context / batch)
    at = first + cell + shape[r + 2]
    more = 1.0 * stages if some <= last else stages * some / last
    if length == 1:
        return more * values[at], 0.0, -1
    rise = values[at + 1] - values[at]
    end = grid[first + cell + 1]
    slope = rise / (end - grid[first + cell])
    return more * (values[at] + part * rise), more * slope / batch, (end * batch if cell + 2 < length else -1)


def run_s(first: float, growth: float, steps: int) -> float:
    """Seconds of so many steps, of which each takes `growth` more than the one before."""
    return steps * first + growth * (0.5 * steps * (steps - 1))


def steps_until(first: float, growth: float, most: int, seconds: float) -> int:
    """How many steps of a run start before `seconds` have passed; at least 1 and at most `most`."""
    if run_s(first, growth, most - 1) < seconds:
        return most
    half = first - 0.5 * growth
    root = half * half + 2.0 * growth * seconds
    if half <= 0.0:
        guess = (sqrt(root) - half) / growth
    else:
        guess = 2.0 * seconds / (half + sqrt(max(root, 0.0)))
    steps = min(max(int(guess), 1), most)
    while steps > 1 and run_s(first, growth, steps - 1) >= seconds:
        steps -= 1
    while steps < most and run_s(first, growth, steps) < seconds:
        steps += 1
    return steps
