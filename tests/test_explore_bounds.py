"""Fronts that are not listed, and bounds of servers that move, against enumeration and a second solver."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ortools.linear_solver import pywraplp

from dfcompiler.explore.fronts import front
from dfcompiler.explore.implicit import Implicit
from dfcompiler.explore.reallocation import bound_front, cost_line, gap, kinds_front, overlapped, time_shared

SEEDS = st.integers(0, 2**20)


def pool(rng: np.random.Generator, most: int = 40) -> np.ndarray:
    rows = rng.integers(0, 8, size=(rng.integers(1, most), 3)).astype(float)
    return rows[front(rows)]


def systems(a: np.ndarray, b: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    pairs = list(product(range(len(a)), range(len(b))))
    goals = [[a[i, 0] + b[j, 0], max(a[i, 1], b[j, 1]), a[i, 2], b[j, 2]] for i, j in pairs]
    return pairs, np.array(goals)


@given(seed=SEEDS)
def test_the_rule_is_the_front(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = pool(rng), pool(rng)
    pairs, goals = systems(a, b)
    whole = Implicit(a, b)
    listed = list(whole.systems())
    assert sorted(listed) == sorted(pairs[i] for i in front(goals))
    assert whole.count() == len(listed) == len(set(listed))


@given(seed=SEEDS, level=st.integers(-1, 8), first=st.integers(-1, 8), second=st.integers(-1, 8))
def test_two_look_ups_find_the_cheapest(seed: int, level: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = pool(rng), pool(rng)
    pairs, goals = systems(a, b)
    able = np.flatnonzero(np.all(goals[:, 1:] <= [level, first, second], axis=1))
    found = Implicit(a, b).cheapest(level, first, second)
    if not len(able):
        assert found is None
        return
    assert found is not None
    chosen = goals[pairs.index(found)]
    assert chosen[0] == goals[able, 0].min()
    assert np.all(chosen[1:] <= [level, first, second])


@given(seed=SEEDS)
def test_time_sharing_is_the_linear_program(seed: int) -> None:
    rates = np.random.default_rng(seed).integers(0, 50, size=4) / 8
    p_a, d_a, p_b, d_b = rates
    solver = pywraplp.Solver.CreateSolver("GLOP")
    x, y, r = solver.NumVar(0, 1, "x"), solver.NumVar(0, 1, "y"), solver.NumVar(0, 1e9, "r")
    solver.Add(r <= p_a * x + p_b * y)
    solver.Add(r <= d_a * (1 - x) + d_b * (1 - y))
    solver.Maximize(r)
    assert solver.Solve() == solver.OPTIMAL
    found = time_shared(*(np.array(v) for v in rates))
    assert found == pytest.approx(solver.Objective().Value(), rel=1e-9)
    free = overlapped(*(np.array(v) for v in rates))
    assert found <= free * (1 + 1e-12) <= 2 * found * (1 + 1e-12)


@given(seed=SEEDS)
def test_bounds_of_all_systems(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost, p, d = rng.integers(1, 30, size=(3, 12)) / 4
    counts = (1, 2, 3)
    found_cost, found_rate, many = bound_front(cost, p, d, counts)
    every = []
    for i, j, n, m in product(range(12), range(12), counts, counts):
        rates = (np.array(v) for v in (n * p[i], n * d[i], m * p[j], m * d[j]))
        every.append([n * cost[i] + m * cost[j], float(time_shared(*rates))])
    every = np.array(every)
    best = every[front(every * [1, -1])]
    best = best[np.argsort(best[:, 0])]
    assert np.allclose(np.stack([found_cost, found_rate], 1), best, rtol=1e-12)
    assert 1 <= many <= len(every)
    few = kinds_front(cost, p, d)
    again = bound_front(cost[few], p[few], d[few], counts)
    assert np.allclose(again[1], found_rate)
    assert np.all(every[:, 0] >= cost_line(cost, p, d) * every[:, 1] * (1 - 1e-12))


def test_the_gap_is_what_the_bound_allows_beyond() -> None:
    allowed = gap(np.array([1.0, 2.5, 9.0]), np.array([1.0, 2.0, 8.0]), np.array([2.0, 3.0]), np.array([4.0, 6.0]))
    assert allowed.tolist() == [1.0, 2.0, 1.0]
