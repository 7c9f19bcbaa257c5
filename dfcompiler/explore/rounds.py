"""The loop of a study: ask for a round of points, evaluate what has no answer yet, tell the sampler, and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from dfcompiler.explore.evaluation import Engine
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.samplers import Sampler
from dfcompiler.explore.study import Study

Ended = Literal["budget", "space"]  # why no more was asked: enough answers, or no points left


class Observer(Protocol):
    """What watches a study: it sees every batch of answers once they are kept."""

    def __call__(self, batch: Sequence[tuple[Point, Answer]]) -> None: ...


def run(study: Study, sampler: Sampler, engine: Engine, budget: int, observe: Observer | None = None) -> Ended:
    """Go on with a study until it has `budget` answers or nothing is left to ask for.

    A round that the budget ends within is finished by whoever resumes the study with a larger one. What evaluating
    raises, and Ctrl-C, go through; the study holds every answer that was there by then.
    """
    number = 0
    while True:
        if number == len(study.rounds):
            if len(study.answers) >= budget:
                return "budget"
            points = sampler.ask(study.header.round_points)
            if not points:
                return "space"
            study.asked(points)
        points = list(study.rounds[number])
        open_ = [p for p in points if p not in study.answers]
        for batch in engine.run(open_[: max(0, budget - len(study.answers))]):
            study.answered(batch)
            if observe is not None:
                observe(batch)
        if any(p not in study.answers for p in points):
            return "budget"
        sampler.tell(points, [study.answers[p] for p in points])
        number += 1
