"""What a sampler is: it is asked for points, and told what they are worth.

What a sampler asks for follows from its scene, its seed and what it was told, and from nothing else: a sampler that
is told what a study holds goes on as the one did that was there before. It never asks for a point twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfcompiler.explore.question import Answer, Dimension, Goal, Point, costs, size

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LISTED = 1 << 16  # spaces up to this size are listed, so that the last points are found as fast as the first
WIDE = 4.0  # an axis whose largest value is this many times its smallest is looked at in logarithms; our choice

_registered: dict[str, type[Sampler]] = {}


@dataclass(frozen=True)
class Scene:
    """Where a sampler chooses, and what is better.

    `pool` [points, dimensions] are indices: the only points that may be chosen, where not all may. `bounds` gives for
    points [n, dimensions] proven lower bounds of the objectives, all minimised [n, goals], where there are any.
    """

    dimensions: tuple[Dimension, ...]
    goals: tuple[Goal, ...]
    pool: Integers | None = None
    bounds: Callable[[Integers], Floats] | None = None

    def size(self) -> int:
        """How many points may be chosen."""
        return size(self.dimensions) if self.pool is None else len(self.pool)


class Sampler(ABC):
    """Subclasses name themselves: `class Mine(Sampler, name="mine")`."""

    name: ClassVar[str]

    def __init_subclass__(cls, name: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if name:
            cls.name = name
            _registered[name] = cls

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.seed = scene, seed
        self.told: dict[Point, Answer] = {}
        self._all: Integers | None = scene.pool
        if self._all is None and scene.size() <= LISTED:
            shape = [len(d.values) for d in scene.dimensions]
            self._all = np.stack([a.ravel() for a in np.indices(shape)], axis=1).astype(np.int64)

    @abstractmethod
    def ask(self, count: int) -> list[Point]:
        """Up to `count` points, all different, none told before; fewer only where no more are left."""

    def tell(self, points: Sequence[Point], answers: Sequence[Answer]) -> None:
        """What the points are worth; every point that was asked for is told before the next are asked for."""
        self.told.update(zip(points, answers, strict=True))

    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the seed and on how much was told, so that nothing need be kept."""
        return np.random.default_rng((self.seed, len(self.told)))

    def left(self) -> Integers | None:
        """All points that were not told, in order, or None where the space is too large to list."""
        if self._all is None:
            return None
        new = [tuple(p) not in self.told for p in self._all.tolist()]
        return self._all[np.array(new, dtype=np.bool_)]

    def fresh(self, rng: np.random.Generator, count: int) -> Integers:
        """Up to `count` different points at random that were not told, each as likely as any other."""
        left = self.left()
        if left is not None:
            return left[rng.permutation(len(left))[:count]]
        shape = [len(d.values) for d in self.scene.dimensions]
        found: dict[Point, None] = {}
        while len(found) < count and len(found) + len(self.told) < self.scene.size():
            drawn = rng.integers(0, shape, (count, len(shape)))
            found.update((p, None) for p in map(tuple, drawn.tolist()) if p not in self.told)
        return np.array(list(found)[:count], dtype=np.int64).reshape(-1, len(shape))

    def feasible(self) -> tuple[Integers, Floats]:
        """Points that were told and can be [n, dimensions], and their objectives, all minimised [n, goals]."""
        good = [(p, a.values) for p, a in self.told.items() if a.values is not None]
        points = np.array([p for p, _ in good], dtype=np.int64).reshape(len(good), len(self.scene.dimensions))
        return points, costs(self.scene.goals, [v for _, v in good])


def registered() -> dict[str, type[Sampler]]:
    """The samplers whose modules were imported, by name."""
    return _registered


def points_of(rows: Integers) -> list[Point]:
    """Rows of indices as points."""
    return [tuple(row) for row in rows.tolist()]


class Coordinates:
    """Points as rows of numbers between 0 and 1: an axis of numbers is one column, of names one per value.

    Axes with one value have no column. Numbers that span a wide range are taken in logarithms.
    """

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self.tables = [_column(d) for d in dimensions]

    def __call__(self, points: Integers) -> Floats:
        """The coordinates [n, columns] of points [n, dimensions]."""
        parts = [table[points[:, i]] for i, table in enumerate(self.tables)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(points), 0))


def _column(dimension: Dimension) -> Floats:
    numbers = [v for v in dimension.values if not isinstance(v, str)]
    if len(numbers) < len(dimension.values):
        return np.eye(len(dimension.values)) if len(dimension.values) > 1 else np.zeros((1, 0))
    column = np.array(numbers, dtype=np.float64)
    if len(column) < 2 or np.ptp(column) == 0:
        return np.zeros((len(column), 0))
    if column.min() > 0 and column.max() >= WIDE * column.min():
        column = np.log(column)
    scaled: Floats = (column - column.min()) / np.ptp(column)
    return scaled[:, None]
