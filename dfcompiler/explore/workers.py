"""The engine of this machine: worker processes, each with a pipe of its own.

Workers are spawned, not forked, and end when their pipe does, so they never outlive the process that started them. One
that dies is replaced, and what it had in hand is done again.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from dfcompiler.explore.evaluation import Fault, Ledger, Outcome, evaluate, settled
from dfcompiler.explore.question import Answer, Point, Question

_SPAWN = multiprocessing.get_context("spawn")
_GONE = (EOFError, OSError)  # what a pipe raises whose other end has died
_PATIENCE_S = 2.0  # how long a worker may take to end by itself


class _Worker:
    """A process and what it has in hand."""

    def __init__(self, question: bytes) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.process: SpawnProcess = _SPAWN.Process(target=_serve, args=(theirs, question), daemon=True)
        self.process.start()
        theirs.close()
        self.chunk: list[Point] = []

    def end(self) -> None:
        self.pipe.close()
        self.process.join(_PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class Workers:
    """`Engine` of `count` processes on this machine."""

    def __init__(self, question: Question, count: int) -> None:
        self.question = pickle.dumps(question)
        self.count = count
        self.workers: list[_Worker] = []

    def run(self, points: Sequence[Point]) -> Iterator[list[tuple[Point, Answer]]]:
        """See `Engine`."""
        ledger = Ledger(points, self.count)
        busy: dict[Connection, _Worker] = {}
        while ledger.waiting or busy:
            for worker in [w for w in self.workers if not w.chunk]:
                if ledger.waiting and self._give(worker, ledger):
                    busy[worker.pipe] = worker
            pipes = wait(list(busy), timeout=None if busy else 0)
            ready = [busy.pop(pipe) for pipe in list(busy) if pipe in pipes]
            outcome = [pair for worker in ready for pair in self._take(worker, ledger)]
            yield from settled(outcome)

    def _give(self, worker: _Worker, ledger: Ledger) -> bool:
        worker.chunk = ledger.waiting.popleft()
        try:
            worker.pipe.send(worker.chunk)
        except _GONE:  # it died while it had nothing to do
            ledger.lost(worker.chunk, self._replace(worker))
            return False
        return True

    def _take(self, worker: _Worker, ledger: Ledger) -> Outcome:
        try:
            outcome: Outcome = worker.pipe.recv()
        except _GONE:
            ledger.lost(worker.chunk, self._replace(worker))
            return []
        ledger.returned(worker.chunk, outcome)
        worker.chunk = []
        return outcome

    def _replace(self, worker: _Worker) -> str:
        """Start another worker in this one's place; returns how this one ended."""
        worker.process.join(_PATIENCE_S)
        code = worker.process.exitcode
        worker.end()
        self.workers[self.workers.index(worker)] = _Worker(self.question)
        return f"signal {signal.Signals(-code).name}" if code and code < 0 else f"exit code {code}"

    def __enter__(self) -> Workers:
        self.workers = [_Worker(self.question) for _ in range(self.count)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            if error is not None or worker.chunk:
                worker.process.kill()
            worker.end()
        self.workers = []


def _serve(pipe: Connection, question: bytes) -> None:
    """What a worker does; the terminal's Ctrl-C is for the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        asked: Question | Fault = pickle.loads(question)
    except Exception:
        asked = Fault(traceback.format_exc())
    while True:
        try:
            points: list[Point] = pipe.recv()
            pipe.send([(points[0], asked)] if isinstance(asked, Fault) else evaluate(asked, points))
        except _GONE:
            return
