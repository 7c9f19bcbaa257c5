"""How much of an answer stands when its constants and its model are a little wrong.

Designs on a front are fragile, its curve is not: a small error moves which designs are on the front by much, and what
the old ones cost by little. So both are told, and a best design never without those that are as good as far as the
model can tell. Objectives are rows [designs, k], all minimised; a row with an infinity cannot be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import Floats, Indices, covered, front


@dataclass(frozen=True)
class Constant:
    """A constant of the model with the range in which its true value lies, as its source states it."""

    name: str
    value: float
    low: float
    high: float
    source: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            message = f"`{self.name}` is {self.value}, outside its own range from {self.low} to {self.high}"
            raise Diag("bad-perturbation", message)


@dataclass(frozen=True)
class Shift:
    """What other constants do to a front. Shares are of 1; a regret is by how much more a chosen design costs."""

    changed: Mapping[str, float]  # the constants that are not at their values
    jaccard: float  # designs on both fronts over designs on either
    mean: float  # regret of the old front over the levels of the new one, where it reaches them
    p95: float
    worst: float
    unmet: int  # levels of the new front that no old design reaches


@dataclass(frozen=True)
class Choice:
    """The design that the model puts first, and all that may be as good."""

    first: int
    others: tuple[int, ...]


def jaccard(a: Iterable[int], b: Iterable[int]) -> float:
    """Designs in both over designs in either; 1 where both are empty."""
    one, other = set(a), set(b)
    return len(one & other) / len(one | other) if one | other else 1.0


def regret(kept: Indices, truth: Floats, along: int) -> Floats:
    """By how much more than the best the kept designs cost, at each level of the true front.

    For every design on the front of `truth` [n, k]: the least objective `along` of a kept design that is no worse in
    all others, over its own, less 1; infinite where no kept design is no worse in all others. The objective must be
    positive. Raises ValueError where it is not.
    """
    best = _possible(front(truth), truth)
    if (truth[best, along] <= 0).any():
        raise ValueError("a regret is a share of an objective that is positive")
    others = np.delete(np.arange(truth.shape[1]), along)
    held = _possible(kept, truth)
    found = np.full(len(best), np.inf)
    for i, level in enumerate(truth[best]):
        reach = held[np.all(truth[held][:, others] <= level[others], axis=1)]
        if len(reach):
            found[i] = truth[reach, along].min() / level[along] - 1.0
    return found


def shift(nominal: Indices, changed: Mapping[str, float], truth: Floats, along: int) -> Shift:
    """What becomes of the front `nominal` where the objectives are `truth` [n, k] instead."""
    found = regret(nominal, truth, along)
    met = found[np.isfinite(found)]
    mean, p95, worst = (
        (float(met.mean()), float(np.quantile(met, 0.95)), float(met.max())) if len(met) else (np.inf,) * 3
    )
    alike = jaccard(nominal.tolist(), _possible(front(truth, ties=True), truth).tolist())
    return Shift(dict(changed), alike, mean, p95, worst, len(found) - len(met))


def alone(constants: Sequence[Constant]) -> list[dict[str, float]]:
    """Each constant by itself at the ends of its range, in order; an end that is the value itself is left out."""
    return [{c.name: end} for c in constants for end in (c.low, c.high) if end != c.value]


def together(
    constants: Sequence[Constant], draws: int, seed: int, at_ends: Collection[str] = ()
) -> list[dict[str, float]]:
    """All constants at once, independent of each other: each anywhere in its range with the same chance, or of
    `at_ends` one of its ends or its value."""
    rng = np.random.default_rng(seed)
    return [
        {
            c.name: float(rng.choice([c.low, c.value, c.high]) if c.name in at_ends else rng.uniform(c.low, c.high))
            for c in constants
        }
        for _ in range(draws)
    ]


def band(values: Floats, error: ArrayLike) -> Indices:
    """The designs that may be on the front where each objective of each is wrong by up to a share `error` [k] or one.

    A design is left out only where some other is at its worst no worse than this one at its best, and somewhere
    better. With no error these are the front's designs, ties included. Raises ValueError for errors outside [0, 1).
    """
    share = np.broadcast_to(np.asarray(error, dtype=np.float64), values.shape[1:])
    if (share < 0).any() or (share >= 1).any():
        raise ValueError(f"an error is a share from 0 to below 1, not {share}")
    rows = values[_possible(np.arange(len(values)), values)]
    at_best, at_worst = rows - share * np.abs(rows), rows + share * np.abs(rows)
    surest = at_worst[front(at_worst)]
    equal = {tuple(row) for row in surest.tolist()}
    out = covered(at_best, surest) & [tuple(row) not in equal for row in at_best.tolist()]
    return _possible(np.arange(len(values)), values)[~out]


def choice(values: Floats, limits: ArrayLike, along: int, error: float) -> Choice | None:
    """The least `along` among designs within `limits` [k] (infinite: none), and all that may be as good.

    Another may be as good where its objective less the error is no more than the first one's with the error. None
    where no design is within the limits.
    """
    within = _possible(np.flatnonzero(np.all(values <= np.asarray(limits, dtype=np.float64), axis=1)), values)
    if not len(within):
        return None
    order = within[np.argsort(values[within, along], kind="stable")]
    column = values[order, along]
    alike = column - error * np.abs(column) <= column[0] + error * np.abs(column[0])
    return Choice(int(order[0]), tuple(order[1:][alike[1:]].tolist()))


def _possible(designs: NDArray[np.intp], values: Floats) -> Indices:
    return designs[np.isfinite(values[designs]).all(axis=1)]
