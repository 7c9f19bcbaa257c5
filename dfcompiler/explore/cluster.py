"""The engine of a Ray cluster: the same chunks as tasks on whatever machines the cluster has.

Ray is asked to repeat nothing: a task whose worker process or machine is gone comes back as lost and is handed out
again by the same rules as on one machine. Every process that takes part checks that the question means there what it
means here, so a machine with another version of the program is found at its first task.
"""

from __future__ import annotations

import functools
import math
import os
import pickle
import socket
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from dfcompiler import content
from dfcompiler.diagnostics import Diag
from dfcompiler.explore.evaluation import Fault, Ledger, Outcome, evaluate, settled
from dfcompiler.explore.question import Answer, Point, Question

AHEAD = 2  # tasks in flight per processor, so that none waits for the next one
KNOCK_S = 5.0  # for the first sign of a cluster
LOOK_S = 5.0  # how often the size of the cluster is asked for while nothing comes back


class Cluster:
    """`Engine` on a Ray cluster that runs already."""

    def __init__(self, question: Question, address: str | None = None) -> None:
        """`address` as `ray.init` takes it; by default `$RAY_ADDRESS`, or the cluster of this machine.

        Raises `missing-extra` without ray, `no-cluster` where none answers.
        """
        try:
            import ray
        except ModuleNotFoundError as error:
            hint = "pip install 'dfcompiler[ray]', here and on every machine of the cluster"
            raise Diag("missing-extra", "the engine `ray` needs the package `ray`", hint=hint) from error
        self.ray: Any = ray
        self.identity = question.identity()
        self.mine = not ray.is_initialized()
        if self.mine:
            _join(ray, address)
        self.question = ray.put(pickle.dumps(question))
        self.task = ray.remote(max_retries=0, num_cpus=1)(work)

    def run(self, points: Sequence[Point]) -> Iterator[list[tuple[Point, Answer]]]:
        """See `Engine`."""
        ledger = Ledger(points, self._processors())
        flying: dict[Any, list[Point]] = {}
        while ledger.waiting or flying:
            while ledger.waiting and len(flying) < AHEAD * self._processors():
                chunk = ledger.waiting.popleft()
                flying[self.task.remote(self.question, self.identity, chunk)] = chunk
            ready, _ = self.ray.wait(list(flying), num_returns=1, timeout=LOOK_S)
            more, _ = self.ray.wait(list(flying), num_returns=len(flying), timeout=0) if ready else ([], None)
            outcome = [pair for ref in more for pair in self._take(ref, flying.pop(ref), ledger)]
            yield from settled(outcome)

    def _take(self, ref: Any, chunk: list[Point], ledger: Ledger) -> Outcome:
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(ref)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError, errors.OutOfMemoryError) as e:
            ledger.lost(chunk, str(e).splitlines()[0])
            return []
        ledger.returned(chunk, outcome)
        return outcome

    def _processors(self) -> int:
        count: float = self.ray.cluster_resources().get("CPU", 1)
        return max(1, math.floor(count))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.mine:
            self.ray.shutdown()


def work(question: bytes, identity: str, points: list[Point]) -> Outcome:
    """What a task does: answers, or why this machine can give none."""
    try:
        asked = _question(question)
        there = asked.identity()
    except Exception:
        return [(points[0], Fault(traceback.format_exc()))]
    if there != identity:
        message = f"a machine of the cluster has another version: the question is {there} there, {identity} here"
        error = Diag("cluster-differs", message, hint="install the same version everywhere")
        return [(points[0], Fault(message, error))]
    return evaluate(asked, points)


@functools.lru_cache(maxsize=1)
def _question(pickled: bytes) -> Question:
    question: Question = pickle.loads(pickled)
    return question


def _join(ray: Any, address: str | None) -> None:
    named = address or os.environ.get("RAY_ADDRESS") or "auto"
    variables = {content.VARIABLE: os.environ[content.VARIABLE]} if os.environ.get(content.VARIABLE) else {}
    try:
        _knock(named)
        ray.init(
            address=named,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": variables} if variables else None,
        )
    except (OSError, RuntimeError, ValueError) as error:
        message = f"no Ray cluster answers at `{named}`: {str(error).splitlines()[0]}"
        hint = "`ray start --head` starts one here; $RAY_ADDRESS names one elsewhere, `HOST:6379`"
        raise Diag("no-cluster", message, hint=hint) from error


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: `ray.init` itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCK_S).close()
