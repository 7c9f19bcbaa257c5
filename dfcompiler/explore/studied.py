"""A space under prices that are mapped, as a study: points are chosen by proven bounds, or by a sampler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.cluster import Cluster
from dfcompiler.explore.evaluation import Engine, Inline
from dfcompiler.explore.exploration import Proof
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.rounds import run
from dfcompiler.explore.samplers import DEFAULT, Sampler, Scene, sampler
from dfcompiler.explore.samplers.sampler import Floats, Integers
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.separation import inlined, within
from dfcompiler.explore.space import Goal, Space
from dfcompiler.explore.standing import standing
from dfcompiler.explore.study import Study, header_of
from dfcompiler.explore.systems import limited_pool
from dfcompiler.explore.watch import Watch
from dfcompiler.explore.workers import Workers

BUDGET = 256  # designs that are compiled and served, where nothing is said
ROUND = 16  # points that are asked for at a time, whoever evaluates them
ENGINES = ("local", "ray")
BY_BOUNDS = "screened"


@dataclass(frozen=True)
class Search:
    """How far to search, by what, from which seed, and where it runs; `out` is the folder of the study. With `check`
    the front of static prices is checked by other code."""

    budget: int = BUDGET
    sampler: str | None = None
    seed: int = 0
    engine: str = ENGINES[0]
    workers: int | None = None
    out: Path | None = None
    resume: bool = False
    check: bool = False

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise Diag("bad-option", f"the budget is at least one design, not {self.budget}")
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.workers is not None and self.workers < 1:
            raise Diag("bad-option", f"there is at least one worker, not {self.workers}")
        if self.resume and self.out is None:
            raise Diag("bad-option", "only a study in a folder can be resumed", hint="give its folder with -o")


@dataclass(frozen=True)
class Studied:
    """What became of a study: its answers, the points of their front, and how that is known. `gap` is by which part at
    most what was not evaluated may be better; None where nothing says."""

    answers: Mapping[Point, Answer]
    front: tuple[Point, ...]
    proof: Proof
    by: str
    gap: float | None


def studied(space: Space, search: Search) -> Studied:
    """Evaluate points of a space until the front is proven, or as many as the budget allows."""
    question = Asked(space)
    bounds = None if space.points <= search.budget else _bounds(space)
    name = search.sampler or ("all" if space.points <= search.budget else BY_BOUNDS if bounds else DEFAULT)
    chosen = sampler(name, Scene(question.dimensions, question.goals, bounds=bounds), search.seed)
    header = header_of(question, space.source.text, name, search.seed, ROUND)
    with _folder(search.out) as folder, Study(Path(folder), header, resume=search.resume) as study:
        before = standing(question.goals, list(study.answers.items()))
        with _engine(question, search) as engine, Watch(before, min(search.budget, space.points)) as watch:
            ended = run(study, chosen, engine, search.budget, watch)
        answers = dict(study.answers)
    chosen.tell(list(answers), list(answers.values()))  # those of a round that the budget ended as well
    proof, gap = _known(chosen, ended == "space", len(answers) == space.points)
    return Studied(answers, tuple(standing(question.goals, list(answers.items())).points), proof, name, gap)


def _known(chosen: Sampler, done: bool, all_of_it: bool) -> tuple[Proof, float | None]:
    """What is known of the points that were not evaluated."""
    if all_of_it or (done and isinstance(chosen, Screened)):
        return "exhaustive", 0.0
    return ("bounded", chosen.gap()) if isinstance(chosen, Screened) else ("sampled", None)


def _bounds(space: Space) -> Callable[[Integers], Floats] | None:
    """Proven bounds of the goals of points; None where there are none: of several pools, or of whole kernels."""
    if len(space.pools) != 1:
        return None
    pool = limited_pool(space, next(iter(space.pools.values())))
    goals = [Goal(g.name, g.sense, within(inlined(g.expr, space.lets), pool.name, space)) for g in space.goals]
    try:
        return partial(Screen(pool).bounds, goals)
    except Diag as fault:
        if fault.code != "no-bound":
            raise
        return None


def _folder(out: Path | None) -> AbstractContextManager[str | Path]:
    """The folder of a study; of one that nobody asked for, one that goes when it is done."""
    return nullcontext(out) if out else tempfile.TemporaryDirectory(prefix="dfc-study-")


def _engine(question: Asked, search: Search) -> Engine:
    if search.engine == "ray":
        return Cluster(question)
    count = search.workers or os.cpu_count() or 1
    return Inline(question) if count == 1 else Workers(question, count)


def part(search: Search, name: str) -> Search:
    """The search of one part of a space, in a folder within the study's."""
    return replace(search, out=search.out and search.out / name)
