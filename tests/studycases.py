"""Questions that cost nothing, and a study of one as a program: what the tests of studies share.

`python tests/studycases.py FOLDER [--resume] [--budget N] [--workers N] [--engine ray] ...`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.explore.evaluation import Engine, Inline
from dfcompiler.explore.question import Answer, Dimension, Goal, Point
from dfcompiler.explore.rounds import run
from dfcompiler.explore.samplers import Scene, sampler
from dfcompiler.explore.study import Study, header_of
from dfcompiler.explore.workers import Workers


@dataclass(frozen=True)
class Bowl:
    """Two goals that pull apart; some points cannot be. What `deaths` holds kills its worker, up to `times` times."""

    size: int = 9
    axes: int = 3
    pause_s: float = 0.0
    deaths: tuple[Point, ...] = ()
    times: int = 1
    marks: str = ""  # a folder in which deaths are counted
    fault: str = ""
    log: str = ""  # a file that gets a line for every evaluation

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        return tuple(Dimension(f"x{i}", tuple(range(self.size))) for i in range(self.axes))

    @property
    def goals(self) -> tuple[Goal, ...]:
        return Goal("usd", "min"), Goal("rate", "max")

    def identity(self) -> str:
        return hashlib.sha256(f"bowl {self.size} {self.axes}".encode()).hexdigest()[:16]

    def evaluate(self, point: Point) -> Answer:
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{str(point)[1:-1]}\n")
        if self.pause_s:
            time.sleep(self.pause_s)
        if point in self.deaths:
            self._die(point)
        if sum(point) % 7 == 6:
            raise Infeasible("no-fit", f"{sum(point)} leaves 6")
        if self.fault == "diag" and sum(point) == 5:
            raise Diag("bad-thing", "five is not allowed", hint="take four")
        if self.fault == "bug" and sum(point) == 5:
            raise ZeroDivisionError("five")
        if self.fault == "nan" and sum(point) == 5:
            return Answer({"usd": float("nan"), "rate": 1.0})
        x = [p / (self.size - 1) for p in point]
        return Answer({"usd": sum(v * v for v in x) + 0.01, "rate": -sum((v - 0.7) ** 2 for v in x) / 3})

    def _die(self, point: Point) -> None:
        for i in range(self.times):
            try:
                os.open(Path(self.marks, f"{point}.{i}"), os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)


def answer(question: Bowl, point: Point) -> Answer:
    """What the question says, where a point that cannot be is an answer as well."""
    try:
        return question.evaluate(point)
    except Infeasible as error:
        return Answer(None, error.message)


def engine(question: Bowl, workers: int, name: str = "local", address: str | None = None) -> Engine:
    if name == "ray":
        from dfcompiler.explore.cluster import Cluster

        return Cluster(question, address)
    return Workers(question, workers) if workers > 1 else Inline(question)


def explore(
    question: Bowl, folder: Path, budget: int, *, resume: bool = False, seed: int = 0, by: Engine | None = None,
    name: str = "random", round_points: int = 40,
) -> str:  # fmt: skip
    """A study of the question, from the start or on; why it ended."""
    header = header_of(question, f"a bowl of {question.size}\n{question.axes} axes\n", name, seed, round_points)
    with Study(folder, header, resume=resume) as study, by or Inline(question) as at:
        return run(study, sampler(name, Scene(question.dimensions, question.goals), seed), at, budget)


def kill_studies() -> int:
    """For each line `[seconds, arguments]` on stdin a study, killed after so many seconds; how it ended to stdout.

    A study begins here within a millisecond, because all modules are there; so most kills hit its work.
    """
    for line in sys.stdin:
        after_s, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            sys.argv[1:] = arguments
            os._exit(main())
        deadline = time.monotonic() + after_s
        ended, status = os.waitpid(child, os.WNOHANG)
        while not ended and time.monotonic() < deadline:
            time.sleep(0.0005)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--log", default="")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--address")
    args = parser.parse_args()
    question = Bowl(pause_s=args.pause, log=args.log)
    try:
        by = engine(question, args.workers, args.engine, args.address)
        explore(question, args.folder, args.budget, resume=args.resume, by=by)
    except Diag as error:
        print(error.render(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(kill_studies() if sys.argv[1:] == ["--kill"] else main())
