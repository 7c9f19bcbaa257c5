"""What a study asks: axes, goals, and a function from one point of the axes to an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Point = tuple[int, ...]  # an index into the values of each dimension


@dataclass(frozen=True)
class Dimension:
    """One axis of a space and the values that it may take, in order."""

    name: str
    values: tuple[int | float | str, ...]


@dataclass(frozen=True)
class Goal:
    """One objective and which way is better."""

    name: str
    sense: Literal["min", "max"]


@dataclass(frozen=True)
class Answer:
    """Values of the goals by name, or None for a point that cannot be, and why it cannot; of a limit that it does not
    keep both `sides`."""

    values: Mapping[str, float] | None
    why: str = ""
    sides: tuple[float, float] | None = None


class Question(Protocol):
    """What a study asks. It travels to worker processes and machines, so it must be picklable."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The axes."""

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The objectives."""

    def identity(self) -> str:
        """A hash of everything that an answer depends on."""

    def evaluate(self, point: Point) -> Answer:
        """The answer at a point: the same one whenever and wherever it is asked."""


def size(dimensions: tuple[Dimension, ...]) -> int:
    """How many points a space has; exact, however many."""
    count = 1
    for dimension in dimensions:
        count *= len(dimension.values)
    return count


def costs(goals: Sequence[Goal], answers: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Answers as rows of objectives that are all minimised, [answers, goals]: a goal to maximise is negated."""
    signs = [1.0 if goal.sense == "min" else -1.0 for goal in goals]
    rows = [[sign * values[goal.name] for goal, sign in zip(goals, signs, strict=True)] for values in answers]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(goals))
