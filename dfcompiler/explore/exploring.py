"""The one door to exploration: a space, how to search it, and what was found."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.cluster import Cluster
from dfcompiler.explore.declared import explore_prices
from dfcompiler.explore.designs import values_at
from dfcompiler.explore.evaluation import Engine, Inline
from dfcompiler.explore.exploration import Exploration, Member, Proof, exploration
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.rounds import run
from dfcompiler.explore.samplers import DEFAULT, Scene, sampler
from dfcompiler.explore.space import Space
from dfcompiler.explore.standing import standing
from dfcompiler.explore.study import Study, header_of
from dfcompiler.explore.watch import Watch
from dfcompiler.explore.workers import Workers

BUDGET = 256  # designs that are compiled and served, where nothing is said
ROUND = 16  # points that are asked for at a time, whoever evaluates them
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Search:
    """How far to search, by what, from which seed, and where it runs; `out` is the folder of the study. With `check`
    the front of static prices is checked by other code."""

    budget: int = BUDGET
    sampler: str | None = None
    seed: int = 0
    engine: str = "local"
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


def explore(space: Space, search: Search = Search()) -> Exploration:
    """The front of a space under its own prices; one of static prices needs no study.

    Raises what pricing, compiling and the folder raise, and Infeasible `empty-front`.
    """
    if space.prices == "static":
        _refuse_study(search)
        return explore_prices(space, {n: StaticPrices(p) for n, p in space.pools.items()}, space.prices, search.check)
    return explore_mapped(space, search)


def _refuse_study(search: Search) -> None:
    asked = {"sampler": search.sampler, "resume": search.resume, "engine": search.engine != ENGINES[0]}
    for name, given in asked.items():
        if given:
            hint = "static prices try every design; with --prices mapped there is a study"
            raise Diag("bad-option", f"--{name} is for a study of designs that are mapped", hint=hint)


def explore_mapped(space: Space, search: Search) -> Exploration:
    """The front of what a study evaluated; all of a space that is no larger than the budget."""
    if search.check:
        raise Diag(
            "bad-option", "--check is for static prices", hint="mapped designs: `dfc check` of a compiled folder"
        )
    start = time.perf_counter()
    question = Asked(space)
    name = search.sampler or ("all" if space.points <= search.budget else DEFAULT)
    chosen = sampler(name, Scene(question.dimensions, question.goals), search.seed)
    header = header_of(question, space.source.text, name, search.seed, ROUND)
    with _folder(search.out) as folder, Study(Path(folder), header, resume=search.resume) as study:
        before = standing(question.goals, list(study.answers.items()))
        total = min(search.budget, space.points)
        with _engine(question, search) as engine, Watch(before, total) as watch:
            ended = run(study, chosen, engine, search.budget, watch)
        answers = dict(study.answers)
    proof: Proof = "exhaustive" if ended == "space" and len(answers) >= space.points else "sampled"
    return _found(space, answers, proof, name, time.perf_counter() - start)


def _folder(out: Path | None) -> AbstractContextManager[str | Path]:
    """The folder of a study; of one that nobody asked for, one that goes when it is done."""
    return nullcontext(out) if out else tempfile.TemporaryDirectory(prefix="dfc-study-")


def _engine(question: Asked, search: Search) -> Engine:
    if search.engine == "ray":
        return Cluster(question)
    count = search.workers or os.cpu_count() or 1
    return Inline(question) if count == 1 else Workers(question, count)


def _found(space: Space, answers: Mapping[Point, Answer], proof: Proof, name: str, seconds: float) -> Exploration:
    stand = standing(Asked(space).goals, list(answers.items()))
    members = []
    for point in stand.points:
        values = answers[point].values
        assert values is not None
        members.append(Member(values_at(space, point), values))
    refused: dict[str, int] = {}
    for answer in answers.values():
        if answer.values is None:
            refused[answer.why] = refused.get(answer.why, 0) + 1
    worst = sorted(refused.items(), key=lambda x: (-x[1], x[0]))[:3]
    claims = [f"{len(answers):,} of {space.points:,} points were evaluated, chosen by `{name}`"]
    claims += [f"{count:,} of them cannot be: {why}" for why, count in worst]
    return exploration(
        space, members, prices=space.prices, proof=proof, claims=claims, screened=0, evaluated=len(answers),
        seconds=seconds,
    )  # fmt: skip
