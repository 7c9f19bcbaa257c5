"""A twin does part of the jobs, and nothing that is found depends on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dfcompiler import twin
from dfcompiler.columns import Columns
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.quotes import price

DTYPES = parse_dtypes("w16a16kv16")
CHAIN = """graph chain {
  input x: bf16 [64, 256]
  weight w1: bf16 [256, 256]
  weight w2: bf16 [512, 256]
  u: bf16 [64, 256] = linear(x, w1)
  m: bf16 [64, 256] = silu(u)
  v: bf16 [64, 512] = linear(m, w2)
  output v
}"""


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A twin from the first job on, whatever machine this is."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    monkeypatch.setattr(twin, "WHILE_S", 0.0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    with twin.allowed():
        yield


def slow(n: int) -> tuple[int, int]:
    """A number, and who found it."""
    time.sleep(0.02)
    return n, os.getpid()


def jobs(count: int) -> list[Callable[[], tuple[int, int]]]:
    return [partial(slow, n) for n in range(count)]


def test_jobs_are_shared_and_answers_come_in_order() -> None:
    found = twin.shared(jobs(12))
    assert [n for n, _ in found] == list(range(12))
    who = {pid for _, pid in found}
    assert os.getpid() in who
    assert len(who) == 2


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_jobs(count: int) -> None:
    assert [n for n, _ in twin.shared(jobs(count))] == list(range(count))


def test_nobody_forks_who_was_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "_allowed", False)
    assert {pid for _, pid in twin.shared(jobs(3))} == {os.getpid()}


def test_short_jobs_are_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin, "WHILE_S", 60.0)
    assert {pid for _, pid in twin.shared(jobs(3))} == {os.getpid()}


def test_where_no_process_can_be_made_jobs_are_done_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> int:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(os, "fork", full)
    assert {pid for _, pid in twin.shared(jobs(3))} == {os.getpid()}


def test_what_a_twin_fails_at_is_done_here() -> None:
    here = os.getpid()

    def job(n: int) -> int:
        time.sleep(0.01)
        if os.getpid() != here:
            raise ValueError("only the twin sees this")
        return n

    assert twin.shared([partial(job, n) for n in range(6)]) == list(range(6))


def test_what_a_job_raises_is_raised_and_no_twin_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    fork, twins = os.fork, list[int]()
    monkeypatch.setattr(os, "fork", lambda: twins.append(fork()) or twins[-1])

    def job(n: int) -> int:
        if n == 0:
            raise ValueError("job 0")
        time.sleep(0.01)
        return n

    with pytest.raises(ValueError, match="job 0"):
        twin.shared([partial(job, n) for n in range(6)])
    assert len(twins) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(twins[0], 0)


def test_columns_are_the_same_as_without_a_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, chip = parse_graph(Source("chain.dfir", CHAIN), library()), load_chip("ador")
    both = price(graph, chip, DTYPES, (1.0, 0.5))
    monkeypatch.setattr(twin, "_allowed", False)
    assert said(both) == said(price(graph, chip, DTYPES, (1.0, 0.5)))


def said(columns: Columns) -> tuple[object, ...]:
    """All that columns say."""
    each = [(c.nodes, c.unit, c.helper, c.cycles, c.dram, c.beside, c.tiling, c.pj) for c in columns.columns]
    return each, columns.refusals, columns.candidates
