"""Points to evaluate, handed out in chunks, and what became of them.

An engine takes chunks from a `Ledger` and brings back what `evaluate` gave for them. Where a worker died, its chunk
goes back point by point; a point that three workers died of ends the study, which can be resumed.
"""

from __future__ import annotations

import math
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.explore.question import Answer, Point, Question

STRIKES = 3  # workers that may die of one point
LARGEST = 256  # points in a chunk: what is lost with a worker, and what is written to the disk at a time
SLICE_S = 0.5  # after so long a chunk comes back with what is done, so that no more than this is ever lost
SHARES = 4  # chunks per worker and round, so that none waits long for the last one


@dataclass(frozen=True)
class Fault:
    """Why a point has no answer: a `Diag`, or the text of any other error."""

    text: str
    error: Diag | None = None


Outcome = list[tuple[Point, Answer | Fault]]


class Engine(Protocol):
    """What evaluates points; a context manager that starts and ends its workers."""

    def run(self, points: Sequence[Point]) -> Iterator[list[tuple[Point, Answer]]]:
        """Answers of all points, in batches as they come; raises what evaluating raised."""

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Ledger:
    """What is still to be done of some points."""

    def __init__(self, points: Sequence[Point], workers: int) -> None:
        share = math.ceil(len(points) / (SHARES * max(1, workers)))
        step = max(1, min(LARGEST, share))
        self.waiting = deque(list(points[i : i + step]) for i in range(0, len(points), step))
        self.strikes: Counter[Point] = Counter()

    def returned(self, chunk: Sequence[Point], outcome: Outcome) -> None:
        """A worker is back; what it did not come to is handed out again."""
        if rest := list(chunk[len(outcome) :]):
            self.waiting.appendleft(rest)

    def lost(self, chunk: Sequence[Point], why: str) -> None:
        """The worker of this chunk died. Raises `worker-died` at the third time for the same point."""
        self.strikes.update(chunk)
        worst = max(chunk, key=lambda p: self.strikes[p])
        if self.strikes[worst] >= STRIKES:
            message = f"{STRIKES} workers that evaluated the point {worst} died: {why}"
            raise Diag("worker-died", message, hint="it may need more memory than there is; try fewer workers")
        self.waiting.extend([point] for point in chunk)


class Inline:
    """The engine of one worker: this process."""

    def __init__(self, question: Question) -> None:
        self.question = question

    def run(self, points: Sequence[Point]) -> Iterator[list[tuple[Point, Answer]]]:
        """See `Engine`."""
        ledger = Ledger(points, 1)
        while ledger.waiting:
            chunk = ledger.waiting.popleft()
            outcome = evaluate(self.question, chunk)
            ledger.returned(chunk, outcome)
            yield from settled(outcome)

    def __enter__(self) -> Inline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def evaluate(question: Question, points: Sequence[Point]) -> Outcome:
    """What the question says at the first points: up to a fault, or as many as fit into `SLICE_S`, at least one.

    Never raises an error of the question.
    """
    outcome: Outcome = []
    end = time.monotonic() + SLICE_S
    for point in points:
        found = _answer(question, point)
        outcome.append((point, found))
        if isinstance(found, Fault) or time.monotonic() > end:
            break
    return outcome


def settled(outcome: Outcome) -> Iterator[list[tuple[Point, Answer]]]:
    """The answers of an outcome as one batch; raises the fault that ended it, after the batch was taken."""
    answers = [(point, found) for point, found in outcome if isinstance(found, Answer)]
    if answers:
        yield answers
    for point, found in outcome:
        if isinstance(found, Fault):
            raise _raised(point, found)


def _answer(question: Question, point: Point) -> Answer | Fault:
    try:
        found = question.evaluate(point)
        if found.values is None:
            return found
        values = {goal.name: float(found.values[goal.name]) for goal in question.goals}
    except Infeasible as error:
        return Answer(None, error.message)
    except Diag as error:
        return Fault(error.render(), error)
    except Exception:
        return Fault(traceback.format_exc())
    if not all(map(math.isfinite, values.values())):
        return Fault(f"ValueError: objectives that are not finite: {values}")
    return Answer(values)


def _raised(point: Point, fault: Fault) -> Exception:
    return fault.error or RuntimeError(f"evaluating the point {point} failed:\n{fault.text}")
