"""Limits of time: kept in all phases, and counted by the work done, so that equal input gives equal schedules."""

from __future__ import annotations

import random
import time

import networkx as nx
import pytest
from segments import _columns, legal, small

from dfcompiler import budget as budgets
from dfcompiler import ilp
from dfcompiler.budget import Budget
from dfcompiler.columns import Column
from dfcompiler.goals import Goal
from dfcompiler.listing import first_schedule
from dfcompiler.solution import Solution

LIMIT_S = 1.5


def chains(count: int, length: int, seed: int = 0) -> tuple[nx.DiGraph[str], list[Column]]:
    """So many chains of so many nodes beside each other, on three units: more than a solver can prove in a second."""
    rng = random.Random(seed)
    flow: nx.DiGraph[str] = nx.DiGraph()
    for i in range(count):
        nx.add_path(flow, [f"c{i}n{j}" for j in range(length)])
    found = [c for v in flow for c in _columns(rng, (v,), 1000 * rng.random())]
    return flow, found


def within_limit(flow: nx.DiGraph[str], columns: list[Column], seconds: float, goal: Goal = Goal()) -> Solution:
    whole = Budget.of(seconds)
    hint = first_schedule(flow, columns, whole.part(0.2 * seconds))
    return ilp.solve(flow, columns, hint, seconds=whole.seconds, seed=0, goal=goal, budget=whole)


@pytest.mark.parametrize(("count", "length"), [(4, 12), (12, 16)])
def test_a_limit_holds_for_all_phases(count: int, length: int) -> None:
    flow, columns = chains(count, length)
    within_limit(*chains(2, 2), LIMIT_S)  # what is imported once is not a part of any limit
    start = time.process_time()
    found = within_limit(flow, columns, LIMIT_S)
    assert time.process_time() - start <= 1.2 * LIMIT_S + 0.3  # what is begun in time is brought to its end
    assert legal(flow, found) and 0 < found.bound <= found.cycles


@pytest.mark.parametrize("goal", [Goal(), Goal(per_cycle=0.0, per_pj=1.0, static_pj=3.0)])
def test_equal_input_gives_equal_schedules_without_a_proof(goal: Goal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "LATE", 1e6)  # the clock ends nothing
    flow, columns = chains(4, 10)
    one, two = (within_limit(flow, columns, 0.5, goal) for _ in range(2))
    assert not one.optimal
    assert one == two


def test_what_a_part_spends_is_spent_by_the_whole() -> None:
    whole = Budget.of(10.0)
    part = whole.part(4.0)
    part.part(100.0).spend(3.0)
    assert (part.seconds, whole.seconds) == (1.0, 7.0) and not part.over
    part.spend(2.0)
    assert part.over and not whole.over
    assert whole.part(20.0).seconds == 5.0 and part.part(1.0).seconds == 0.0


def test_the_clock_ends_what_the_count_has_not() -> None:
    late = Budget(5.0, deadline=time.perf_counter() - 1)
    assert late.over and late.part(2.0).over and late.clock_s == 0.01
    assert not Budget().over


@pytest.mark.parametrize("seed", range(10))
def test_there_is_a_schedule_in_no_time(seed: int) -> None:
    flow, columns = small(seed)
    hint = first_schedule(flow, columns, Budget(0.0))
    found = ilp.solve(flow, columns, hint, seconds=0.0, seed=0)
    assert legal(flow, hint) and legal(flow, found)
    assert found.cycles <= hint.cycles and 0 < found.bound <= found.cycles
    whole = first_schedule(flow, columns)
    assert whole.cycles <= hint.cycles
