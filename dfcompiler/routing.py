"""What rows that each pick some of many places touch: expected distinct places, and how loads are spread.

Popularity is Zipf's law: place x, in order of popularity, has the weight (x + 1) ** -skew; 0 makes all alike. A row
picks `picked` different places one after another, each time one that is left, by weight (as the top of log-weights
with Gumbel noise does). Rows are independent. Which place is popular says nothing about where it lies, so groups of
places, such as the experts of one device, are dealt in order of popularity.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EXACT = 1 << 15  # places times picks up to which inclusion is integrated exactly
NODES = 96  # of that integral
NEVER = 1e-12  # what is less likely is left out


def popularity(places: int, skew: float) -> Floats:
    """Chance of each place in a single pick, the most popular first."""
    weights = np.arange(1, places + 1, dtype=np.float64) ** -skew
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=256)
def inclusion(places: int, picked: int, skew: float) -> Floats:
    """Probability that a row picks each place; they sum to `picked`, which is at most `places`.

    Places ring at rates p; a row picks the first to ring. Place x is picked if fewer than `picked` others ring before
    it, which is integrated over the time of its ring. Beyond `EXACT`, all are taken to ring until the same time, at
    which `picked` have rung on average: the larger the numbers, the better (Rosen 1972).
    """
    p = popularity(places, skew)
    if picked >= places or picked == 1 or skew == 0:
        return np.minimum(1.0, p * picked) if picked < places else np.ones(places)
    time = _until(p, picked)
    return _integrated(p, picked, time) if places * picked <= EXACT else -np.expm1(-p * time)


def _until(p: Floats, picked: int) -> float:
    """When `picked` places have rung on average, by bisection."""
    low, high = 0.0, 1.0
    while -np.expm1(-p * high).sum() < picked:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if -np.expm1(-p * middle).sum() < picked else (low, middle)
    return high


def _integrated(p: Floats, picked: int, time: float) -> Floats:
    at, weight = np.polynomial.legendre.leggauss(NODES)
    s = (at + 1) / 2
    u, du = time * s / (1 - s), weight / 2 * time / (1 - s) ** 2
    rung = -np.expm1(-np.outer(p, u))
    before, after = _counts(rung, picked), _counts(rung[::-1], picked)[::-1]
    fewer = (before[:-1] * np.cumsum(after[1:], -1)[..., ::-1]).sum(-1)
    return np.asarray((p[:, None] * (1 - rung) * fewer * du).sum(-1))


def _counts(chance: Floats, most: int) -> Floats:
    """`[x, ..., n]`: the probability that n < `most` of the first x happen; `chance[x, ...]` is that of each."""
    found = np.zeros((len(chance) + 1, *chance.shape[1:], most))
    found[0, ..., 0] = 1
    for x, c in enumerate(chance[..., None]):
        found[x + 1] = found[x] * (1 - c)
        found[x + 1, ..., 1:] += (found[x] * c)[..., :-1]
    return found


def distinct(
    places: npt.ArrayLike, rows: npt.ArrayLike, taken: npt.ArrayLike, picked: int = 1, skew: float = 0.0
) -> Floats:
    """Expected distinct places that `rows` rows touch by `taken` of their `picked` picks; arrays broadcast.

    Exact for all picks of a row, and for some of them without skew. With skew, where `places` is one number, some picks
    are taken for as good as others, which gives a little more than the first ones do.
    """
    rows_, taken_ = np.broadcast_arrays(np.asarray(rows, dtype=np.float64), np.asarray(taken, dtype=np.float64))
    if skew == 0:
        many = np.asarray(places, dtype=np.float64)
        return np.asarray(many * -np.expm1(rows_ * np.log1p(-np.minimum(taken_ / many, 1 - 1e-12))))
    pairs, back = np.unique(np.stack([rows_.ravel(), taken_.ravel()]), axis=1, return_inverse=True)
    chance = inclusion(int(np.asarray(places)), picked, skew)
    missed = np.log1p(-np.minimum(np.outer(pairs[1] / picked, chance), 1 - 1e-12))
    return np.asarray(-np.expm1(pairs[0][:, None] * missed).sum(-1)[back.ravel()].reshape(rows_.shape))


# ---- loads -------------------------------------------------------------------------------------


def _loads(places: int, rows: int, picked: int, groups: int, skew: float) -> tuple[Floats, Floats]:
    """(how many groups of places, the probability of each load `[kind, load]`) for the kinds of groups that differ.

    A row's picks in a group are those of independent places with the right inclusion, given that there are `picked` in
    all: exact without skew, and where a group is one place.
    """
    chance = inclusion(places, picked, skew)
    kinds = [np.arange(g, places, groups) for g in range(groups)]
    many = np.ones(groups)
    if skew == 0 and places % groups == 0:
        kinds, many = kinds[:1], np.asarray([float(groups)])
    most = min(picked, max(len(k) for k in kinds))
    size = 1 << (rows * most).bit_length()
    found = np.zeros((len(kinds), rows * most + 1))
    for row, mine in zip(found, kinds, strict=True):
        one = np.fft.rfft(_in_group(chance, mine, picked), size)
        row[:] = np.maximum(0.0, np.fft.irfft(one**rows, size)[: len(row)])
    seen = np.flatnonzero(found.max(0) > NEVER / found.shape[1])
    return many, found[:, : seen[-1] + 1]


def _in_group(chance: Floats, mine: npt.NDArray[np.int64], picked: int) -> Floats:
    """Probability of 0 .. `picked` picks of one row in a group."""
    if len(mine) == 1:
        return np.asarray([1 - chance[mine[0]], chance[mine[0]]])
    others = np.delete(chance, mine)
    both = _counts(chance[mine], picked + 1)[-1] * _counts(others, picked + 1)[-1][::-1]
    return np.asarray(both / both.sum())


@lru_cache(maxsize=256)
def reach(places: int, picked: int, groups: int, skew: float = 0.0) -> float:
    """Chance that a row has a pick in a group of places, of so many groups: in the one that has most of the rows."""
    chance = inclusion(places, picked, skew)
    kinds = [np.arange(g, places, groups) for g in range(groups if skew or places % groups else 1)]
    return max(float(1 - _in_group(chance, mine, picked)[0]) for mine in kinds)


@lru_cache(maxsize=256)
def max_load(places: int, rows: int, picked: int, groups: int, skew: float = 0.0) -> float:
    """Expected picks in the group that has most, of `groups` groups of places (all places: each by itself).

    Groups are taken as independent, and what the most exceeds the highest mean by is scaled for the sum being fixed,
    as it is for normal loads.
    """
    many, chance = _loads(places, rows, picked, groups, skew)
    below = np.minimum(1.0, np.cumsum(chance, -1))
    free = float((1 - np.prod(below ** many[:, None], axis=0)).sum())
    mean = float((chance * np.arange(chance.shape[1])).sum(-1).max())
    return mean + (free - mean) * (groups / (groups - 1)) ** 0.5 if groups > 1 else mean


@lru_cache(maxsize=256)
def crowd(places: int, rows: int, picked: int, skew: float = 0.0) -> Floats:
    """`[m]`: the expected number of places that more than m rows pick; the first is that of distinct places."""
    many, chance = _loads(places, rows, picked, places, skew)
    more = np.cumsum(chance[:, ::-1], -1)[:, ::-1]
    return np.asarray((many[:, None] * more).sum(0)[1:])
