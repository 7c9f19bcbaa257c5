"""Terraces: what is shared out in waves over instances, as sequences that decode are.

With one more sequence its time stays, until a wave is full, and rises by a step; where a number divides well it may be
less than before. Along the context every sequence has one straight line, but for the granules of a tile, which are
those of all others. So the steps are looked for along one context, lines need two, and granules one number of
sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dfcompiler.serving.refining import Grid, Refiner

EVERY = 4  # sequences up to which each number is looked at, as halves and thirds divide most there
SHORT = 16  # the shorter of the two contexts is this part of the longer one


def terraces(refiner: Refiner, most: int, context: Sequence[int], points: int) -> Grid:
    """The table of a function of 1 to `most` sequences and their context, with these knots along it; so many numbers
    of sequences at the most."""
    long, short = context[-1], max(context[0], context[-1] // SHORT)
    powers = [2**i for i in range(most.bit_length())]
    numbers = sorted({n for n in (*range(1, EVERY + 1), *powers, *(p + 1 for p in powers), most) if n <= most})
    while len(numbers) < points and (cut := _cut(refiner, numbers, long)):
        numbers = sorted({*numbers, cut})
    high = np.array([refiner.value((n, long)) for n in numbers])
    first = {value: n for n, value in zip(numbers, high.tolist(), strict=True)}  # one number for each terrace
    low = np.array([refiner.value((first[value], short)) for value in high.tolist()])
    slope = (high - low) / max(1, long - short)
    base = [refiner.value((numbers[-1], t)) for t in context]
    bent = np.array(base) - (high[-1] + slope[-1] * (np.array(context) - long))
    part = slope / slope[-1] if slope[-1] else np.ones(len(numbers))
    values = high[:, None] + slope[:, None] * (np.array(context) - long) + part[:, None] * bent
    return Grid((np.array(numbers), np.array(context)), np.maximum(values, 0.0))


def _cut(refiner: Refiner, numbers: Sequence[int], context: int) -> int | None:
    """A number between the widest two between which the function steps by more than the tolerance: terraces end with
    round numbers, so that is the one behind such a number, else the roundest."""
    found = [(b - a, a, b) for a, b in pairwise(numbers) if b > a + 1 and _steps(refiner, a, b, context)]
    if not found:
        return None
    _, a, b = max(found)
    return a + 1 if a % EVERY == 0 else max(range(a + 1, b), key=lambda n: n & -n)


def _steps(refiner: Refiner, a: int, b: int, context: int) -> bool:
    low, high = refiner.value((a, context)), refiner.value((b, context))
    return abs(high - low) > refiner.tolerance * refiner.scale((b, context), high)
