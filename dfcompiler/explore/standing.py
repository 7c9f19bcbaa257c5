"""How a study stands: the front of its answers and the volume that it dominates, kept as answers come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfcompiler.explore.fronts import Floats, hypervolume, merge
from dfcompiler.explore.question import Answer, Goal, Point, costs

MARGIN = 0.1  # the reference lies this share of the first answers' extent beyond the worst of them; our choice


class Standing:
    """The front of the answers so far. Of designs with the same objectives all are counted, one is on the front."""

    def __init__(self, goals: tuple[Goal, ...]) -> None:
        self.goals = goals
        self.points: list[Point] = []
        self.front: Floats = np.zeros((0, len(goals)))  # all minimised
        self.reference: Floats | None = None  # fixed by the first answers that can be
        self.answers = self.feasible = 0

    def add(self, batch: Sequence[tuple[Point, Answer]]) -> None:
        """Take in answers."""
        good = [(point, answer.values) for point, answer in batch if answer.values is not None]
        self.answers += len(batch)
        self.feasible += len(good)
        if not good:
            return
        rows = costs(self.goals, [values for _, values in good])
        if self.reference is None:
            worst, extent = rows.max(axis=0), np.ptp(rows, axis=0)
            self.reference = worst + MARGIN * np.where(extent > 0, extent, np.maximum(np.abs(worst), 1.0))
        stay, join = merge(self.front, rows)
        self.points = [*(self.points[i] for i in stay), *(good[i][0] for i in join)]
        self.front = np.concatenate([self.front[stay], rows[join]])

    def volume(self) -> float:
        """The hypervolume of the front below the reference; 0 where nothing could be."""
        return 0.0 if self.reference is None else hypervolume(self.front, self.reference)


def standing(goals: tuple[Goal, ...], answers: Sequence[tuple[Point, Answer]]) -> Standing:
    """How a study with these answers stands, whatever their order."""
    made = Standing(goals)
    made.add(sorted(answers, key=lambda pair: pair[0]))
    return made
