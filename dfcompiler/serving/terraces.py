"""Planes over what a step works on and the context of each: lines along the context, and steps or bends across it.

Along the context a price is one straight line, but for the granules of a tile, which all numbers share, so lines need
two contexts and granules one number. Of the tokens of a chunk a price bends, as lines that meet do. Of sequences that
decode, which are shared out in waves over instances, it stays until a wave is full and rises by a step; where a number
divides well it may be less than before. Behind the first two waves these rise as straight lines do, or are looked at
one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dfcompiler.serving.refining import Grid, Refiner

Floats = npt.NDArray[np.float64]
EVERY = 4  # sequences up to which each number is looked at, as halves and thirds divide most there
SHORT = 16  # the shorter of the two contexts is this part of the longer one
WAVES = 2  # that are looked at number by number


def slopes(refiner: Refiner, tokens: Sequence[int], context: Sequence[int], points: int) -> Grid:
    """The table of a function of tokens and the context before them, which begins with these knots; as many evaluations
    at the most. Where lines along the context do not have the same bends it is refined in both."""
    short, long = context[0], context[-1]
    numbers: Sequence[int] = tokens
    for at in (long, short):
        cut = _cut_at(refiner, at)
        numbers = cut.line(cut.few(numbers) if at == long else numbers, points // 3).axes[0].tolist()
    low, high = (np.array([refiner.value((n, t)) for n in numbers]) for t in (short, long))
    made = _leaning(refiner, numbers, context, (short, low), (long, high))
    n, t = numbers[len(numbers) // 2], context[len(context) // 2]
    true = refiner.value((n, t))
    told = float(made.at([np.array(float(n)), np.array(float(t))]))
    if abs(told - true) > 2 * refiner.tolerance * refiner.scale((n, t), true):
        return refiner.grid([numbers, context], points)
    return made


def terraces(refiner: Refiner, most: int, context: Sequence[int], points: int) -> Grid:
    """The table of a function of 1 to `most` sequences and their context, with these knots along it; so many numbers
    of sequences at the most."""
    long, short = context[-1], max(context[0], context[-1] // SHORT)
    wave = _wave(refiner, most, long)
    last = most if wave == 1 else WAVES * wave
    powers = [2**i for i in range(last.bit_length())]
    numbers = sorted({n for n in (*range(1, EVERY + 1), *powers, *(p + 1 for p in powers), last) if n <= last})
    while len(numbers) < points and (cut := _cut(refiner, numbers, long)):
        numbers = sorted({*numbers, cut})
    high = [refiner.value((n, long)) for n in numbers]
    if last < most:
        behind, told = _waves(refiner, wave, most, long, points)
        numbers, high = numbers + behind, high + told
    ends = (f(zip(high, numbers, strict=True))[1] for f in (min, max))
    known = {refiner.value((n, long)): n for n in (*ends, *(n for n in numbers if _divides(n)), most)}
    rising = sorted(known)
    low = np.interp(high, rising, [refiner.value((known[x], short)) for x in rising])
    return _leaning(refiner, numbers, context, (short, low), (long, np.array(high)))


def _leaning(
    refiner: Refiner,
    numbers: Sequence[int],
    context: Sequence[int],
    low: tuple[int, Floats],
    high: tuple[int, Floats],
) -> Grid:
    """Lines along the context through what all numbers take at two of them, bent as that of the last number is."""
    (short, lows), (long, highs), x = low, high, np.array(context)
    slope = (highs - lows) / max(1, long - short)
    bent = np.array([refiner.value((numbers[-1], t)) for t in context]) - (highs[-1] + slope[-1] * (x - long))
    part = slope / slope[-1] if slope[-1] else np.ones(len(numbers))
    values = highs[:, None] + slope[:, None] * (x - long) + part[:, None] * bent
    return Grid((np.array(numbers), x), np.maximum(values, 0.0))


def _cut_at(refiner: Refiner, context: int) -> Refiner:
    """The function along its first number, at one context."""
    return Refiner(
        lambda p: refiner.value((p[0], context)), lambda p, v: refiner.scale((p[0], context), v), refiner.tolerance
    )


def _wave(refiner: Refiner, most: int, context: int) -> int:
    """Sequences of a wave, a power of two: a late one and one amid all take as long for their first as for all, and
    four rise evenly; 1 where there are few waves, or none."""
    wave = 1
    while 4 * wave * WAVES <= most:
        late = most // (2 * wave)
        for end in (late, late // 2 + 1):
            end -= _divides(end)
            first, last = ((end - 1) * 2 * wave + 1, context), (end * 2 * wave, context)
            if refiner.value(first) != refiner.value(last):
                amid = [refiner.value((k * wave + 1, context)) for k in range(most // wave // 2, most // wave // 2 + 4)]
                rises = np.diff(amid)
                even = rises.min() > 0 and np.ptp(rises) <= refiner.tolerance * amid[0]
                return wave if even else 1
        wave *= 2
    return 1


def _divides(number: int) -> bool:
    """Whether a number is shared out well, as halves of halves are."""
    return number & (number - 1) == 0


def _waves(refiner: Refiner, wave: int, most: int, context: int, points: int) -> tuple[list[int], list[float]]:
    """First and last numbers of the waves behind the first ones, and what they take: the first ones lie on few lines,
    and all of a wave take as long, but for numbers that divide well."""
    count = -(-most // wave)
    first = Refiner(
        lambda p: refiner.value(((p[0] - 1) * wave + 1, context)),
        lambda p, v: refiner.scale(((p[0] - 1) * wave + 1, context), v),
        refiner.tolerance,
    )
    line = first.line(first.few(range(WAVES + 1, count + 1)), points).at([np.arange(WAVES + 1.0, count + 1)])
    told: dict[int, float] = {}
    for k, value in enumerate(line.tolist(), WAVES + 1):
        end = min(k * wave, most)
        told |= dict.fromkeys(((k - 1) * wave + 1, max(end - 1, (k - 1) * wave + 1), end), value)
        if _divides(end):
            told[end] = refiner.value((end, context))
    return list(told), list(told.values())


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
