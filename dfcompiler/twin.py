"""A twin of this process: on another core it does part of a list of jobs that takes a while.

Jobs are handed out one by one, so both are busy to the end. The twin is a fork: it knows what this process knows, sends
what it found and ends. What a thread holds at that moment it would hold in the twin for ever, so it is for whoever owns
the process to allow a twin: the command line does, a library that is imported does not.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, TypeVar

T = TypeVar("T")

WHILE_S = 0.02  # of work, ten times what a fork takes: measured 1.6 to 2 ms
TICKET_BYTES = 2  # that hold the number of a job
MOST = 1 << 12  # jobs that are handed out: their tickets fit into a pipe, which holds 64 KiB

_allowed = False


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Inside, a twin may do jobs where there is a second core."""
    global _allowed  # noqa: PLW0603  # one process has one answer
    before, _allowed = _allowed, True
    try:
        yield
    finally:
        _allowed = before


def shared(jobs: Sequence[Callable[[], T]]) -> list[T]:
    """What jobs return, in their order, which is best that of how long they take, the longest first. What one raises
    is raised. What they return must be of classes that can be pickled."""
    found: dict[int, T] = {}
    start = time.process_time()
    for i in reversed(range(len(jobs))):  # the short ones alone, until a twin is worth it
        if 0 < i < MOST and time.process_time() - start > WHILE_S and _can():
            found |= _by_two(jobs[: i + 1])
            break
        found[i] = jobs[i]()
    return [found[i] for i in range(len(jobs))]


def _can() -> bool:
    return _allowed and hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def _by_two(jobs: Sequence[Callable[[], T]]) -> dict[int, T]:
    """The result of every job, each done here or by a twin, whoever is free; here if the twin fails."""
    (tickets, fill), (theirs, answer) = os.pipe(), os.pipe()
    os.write(fill, b"".join(i.to_bytes(TICKET_BYTES, "little") for i in range(len(jobs))))
    os.close(fill)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads: those of numpy rest meanwhile
            twin = os.fork()
    except OSError:  # there is no room for one more
        for end in (tickets, theirs, answer):
            os.close(end)
        return {i: job() for i, job in enumerate(jobs)}
    if not twin:
        _answer(jobs, tickets, answer)
    os.close(answer)
    try:
        with open(theirs, "rb") as answers, contextlib.suppress(EOFError, pickle.UnpicklingError):
            found = _taken(jobs, tickets)
            found |= pickle.load(answers)
    except BaseException:
        os.kill(twin, signal.SIGKILL)
        raise
    finally:
        os.close(tickets)
        os.waitpid(twin, 0)
    return found | {i: job() for i, job in enumerate(jobs) if i not in found}


def _taken(jobs: Sequence[Callable[[], T]], tickets: int) -> dict[int, T]:
    """The results of those jobs that are taken here, until there are none left."""
    found: dict[int, T] = {}
    while ticket := os.read(tickets, TICKET_BYTES):
        number = int.from_bytes(ticket, "little")
        found[number] = jobs[number]()
    return found


def _answer(jobs: Sequence[Callable[[], T]], tickets: int, answer: int) -> NoReturn:
    """Be the twin: nothing but the answer leaves it, and nothing at all where a job fails."""
    try:
        with open(answer, "wb") as file:
            pickle.dump(_taken(jobs, tickets), file, protocol=pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)
