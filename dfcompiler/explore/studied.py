"""A space under prices that are mapped, as a study: points are chosen by proven bounds, or by a sampler."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.bounded import bounded, proof_of
from dfcompiler.explore.cluster import Cluster
from dfcompiler.explore.evaluation import Engine, Inline
from dfcompiler.explore.exploration import Proof
from dfcompiler.explore.perturbation import Constant
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.rounds import run
from dfcompiler.explore.samplers import DEFAULT, Sampler, Scene, sampler
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.space import Space
from dfcompiler.explore.standing import standing
from dfcompiler.explore.study import Study, header_of
from dfcompiler.explore.watch import Watch
from dfcompiler.explore.workers import Workers

BUDGET = 256  # designs that are compiled and served, where nothing is said
ROUND = 16  # points that are asked for at a time, whoever evaluates them
ENGINES = ("local", "ray")
REASONS = 3  # why points cannot be: the most frequent ones are told


@dataclass(frozen=True)
class Search:
    """How far to search, by what, from which seed, and where it runs; `out` is the folder of the study. With `check`
    the front of static prices is checked by other code; with `perturb` it is asked how much of it stands where these
    constants are others."""

    budget: int = BUDGET
    sampler: str | None = None
    seed: int = 0
    engine: str = ENGINES[0]
    workers: int | None = None
    out: Path | None = None
    resume: bool = False
    check: bool = False
    perturb: tuple[Constant, ...] | None = None

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
    """What became of a study: its answers, the points of their front, and how that is known, in words too. `screened`
    points needed no mapping."""

    answers: Mapping[Point, Answer]
    front: tuple[Point, ...]
    proof: Proof
    screened: int
    claims: tuple[str, ...]


def studied(space: Space, search: Search) -> Studied:
    """Evaluate points of a space until the front is proven, or as many as the budget allows."""
    question = Asked(space)
    scene = _scene(question, search)
    by_default = "all" if space.points <= search.budget else "screened" if scene.bounds else DEFAULT
    name = search.sampler or by_default
    chosen = sampler(name, scene, search.seed)
    header = header_of(question, space.source.text, name, search.seed, ROUND)
    with _folder(search.out) as folder, Study(Path(folder), header, resume=search.resume) as study:
        before = standing(question.goals, list(study.answers.items()))
        with _engine(question, search) as engine, Watch(before, min(search.budget, space.points)) as watch:
            run(study, chosen, engine, search.budget, watch)
        answers = dict(study.answers)
    chosen.tell(list(answers), list(answers.values()))  # those of a round that the budget ended as well
    proof, screened, claims = _known(chosen, space)
    said = [f"{len(answers):,} of {space.points:,} points were evaluated, chosen by `{name}`", *claims]
    refused = Counter(a.why for a in answers.values() if a.values is None)
    for why, count in sorted(refused.items(), key=lambda x: (-x[1], x[0]))[:REASONS]:
        said.append(f"{count:,} of them cannot be: {why}{_nearest(why, answers)}")
    front = standing(question.goals, list(answers.items())).points
    return Studied(answers, tuple(front), proof, screened, tuple(said))


def _nearest(why: str, answers: Mapping[Point, Answer]) -> str:
    """How near the limit those came that do not keep it."""
    sides = [a.sides for a in answers.values() if a.why == why and a.sides]
    if not sides:
        return ""
    a, b = min(sides, key=lambda s: abs(s[0] - s[1]))
    return f"; the nearest has {a:.4g} against {b:.4g}"


def _scene(question: Asked, search: Search) -> Scene:
    """Where a study chooses: with proven bounds where there are any, and they are asked for."""
    plain = Scene(question.dimensions, question.goals)
    if search.sampler not in (None, "screened") or question.space.points <= search.budget:
        return plain
    try:
        return bounded(question)
    except Diag as fault:
        if fault.code != "no-bound" or search.sampler:
            raise
        return plain


def _known(chosen: Sampler, space: Space) -> tuple[Proof, int, list[str]]:
    """What is known of the points that were not evaluated."""
    if len(chosen.told) == space.points:
        return "exhaustive", 0, []
    return proof_of(chosen, space) if isinstance(chosen, Screened) else ("sampled", 0, [])


def _folder(out: Path | None) -> AbstractContextManager[str | Path]:
    """The folder of a study; of one that nobody asked for, one that goes when it is done."""
    return nullcontext(out) if out else tempfile.TemporaryDirectory(prefix="dfc-study-")


def _engine(question: Asked, search: Search) -> Engine:
    if search.engine == "ray":
        return Cluster(question)
    count = search.workers or os.cpu_count() or 1
    return Inline(question) if count == 1 else Workers(question, count)


def evaluated(space: Space, points: Sequence[Point], search: Search) -> Iterator[list[tuple[Point, Answer]]]:
    """Answers of some points of a space, in batches as they come, kept nowhere. Raises what evaluating raises."""
    question = Asked(space)
    with _engine(question, search) as engine:
        yield from engine.run(points)


def part(search: Search, name: str) -> Search:
    """The search of one part of a space, in a folder within the study's."""
    return replace(search, out=search.out and search.out / name)
