"""Schedules are best by every objective: against all schedules of small segments, and on a whole model."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from math import ceil, inf

import networkx as nx
import pytest
from segments import active, legal, small

from dfcompiler import ilp
from dfcompiler.api import Compiled, compile_model
from dfcompiler.certificate import least_cost
from dfcompiler.cli.options import OBJECTIVES as SAID
from dfcompiler.columns import Column
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.goals import OBJECTIVES, Goal
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.listing import first_schedule
from dfcompiler.models import load_model
from dfcompiler.objectives import Found, best
from dfcompiler.power import static_w
from dfcompiler.solution import Solution
from dfcompiler.steps import phase

STATIC_PJ = 3.0
REPEATS = (3, 1)


def everything(flow: nx.DiGraph[str], columns: Sequence[Column], limits: Goal) -> set[tuple[int, float]]:
    """Cycles and energy of every choice at its shortest, waiting where the power asks for it."""
    found = set()
    for cycles, pj in active(flow, columns):
        cycles = max(cycles, ceil(pj / limits.pj_per_cycle) if limits.pj_per_cycle < inf else 0)
        found.add((cycles, pj + limits.static_pj * cycles))
    return found


def two(seed: int) -> list[tuple[nx.DiGraph[str], list[Column]]]:
    return [small(2 * seed), small(2 * seed + 1)]


def sought(objective: str, limits: Goal, parts: Sequence[tuple[nx.DiGraph[str], list[Column]]]) -> Found:
    def solve(goals: Sequence[Goal], hints: Sequence[Solution] | None) -> list[Solution]:
        first = hints or [first_schedule(*p) for p in parts]
        return [ilp.solve(*p, h, seconds=30, seed=0, goal=g) for p, h, g in zip(parts, first, goals, strict=True)]

    found = best(objective, limits, REPEATS, solve)
    assert all(legal(flow, s) for (flow, _), s in zip(parts, found.solutions, strict=True))
    return found


def weighted_sum(of_segments: Sequence[float]) -> float:
    return sum(n * x for n, x in zip(REPEATS, of_segments, strict=True))


def limits_of(seed: int, parts: Sequence[tuple[nx.DiGraph[str], list[Column]]]) -> Goal:
    """Without a limit of power in most cases, else with one that slows some schedules down."""
    rng = random.Random(seed)
    if rng.random() < 0.6:
        return Goal(static_pj=STATIC_PJ)
    powers = [pj / cycles for p in parts for cycles, pj in active(*p)]
    return Goal(static_pj=STATIC_PJ, pj_per_cycle=rng.uniform(0.5, 1.0) * max(powers))


@pytest.mark.parametrize("seed", range(25))
def test_no_schedule_is_better_by_any_objective(seed: int) -> None:
    parts = two(seed)
    limits = limits_of(seed, parts)
    each = [everything(*p, limits) for p in parts]
    steps = [tuple(map(weighted_sum, zip(*pair, strict=True))) for pair in product(*each)]
    merits = {
        "latency": lambda c, e: (c,),
        "energy": lambda c, e: (e, c),
        "edp": lambda c, e: (c * e,),
        "latency-then-energy": lambda c, e: (c, e),
    }
    for objective, merit in merits.items():
        found = sought(objective, limits, parts)
        assert found.optimal
        assert merit(found.cycles, found.pj) == pytest.approx(min(merit(*s) for s in steps)), objective
    assert sought("energy", limits, parts).least == pytest.approx(min(e for _, e in steps))


def test_a_limit_of_power_is_kept_by_waiting() -> None:
    flow, columns = small(4)
    free = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=10, seed=0)
    power = 0.5 * free.pj / free.cycles
    goal = Goal(pj_per_cycle=power)
    held = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=10, seed=0, goal=goal)
    assert held.pj <= power * held.cycles and held.cycles > free.cycles
    assert held.cycles == min(max(c, ceil(e / power)) for c, e in active(flow, columns))


@pytest.mark.parametrize("seed", range(0, 50, 5))
def test_what_is_proven_within_a_gap_is_not_called_the_best(seed: int) -> None:
    flow, columns = small(seed)
    goal, hint = Goal(per_cycle=0.0, per_pj=1.0, static_pj=STATIC_PJ), first_schedule(flow, columns)
    near, best_one = (ilp.solve(flow, columns, hint, seconds=20, seed=0, gap=g, goal=goal) for g in (0.9, 0.0))
    assert best_one.optimal and near.least <= goal.cost(best_one) * (1 + 1e-9)
    assert not near.optimal or goal.cost(near) == pytest.approx(goal.cost(best_one))


@pytest.mark.parametrize("seed", range(40))
def test_the_relaxation_costs_no_more_than_any_schedule(seed: int) -> None:
    flow, columns = small(seed)
    rng = random.Random(seed)
    per_cycle, per_pj = rng.uniform(0.1, 20), rng.uniform(0.1, 5)
    best_one = min(per_cycle * c + per_pj * e for c, e in active(flow, columns))
    low = least_cost(flow, columns, Goal(per_cycle, per_pj), best_one * rng.uniform(1, 3))
    assert 0.3 * best_one <= low <= best_one * (1 + 1e-12)


def test_what_is_not_proven_in_time_has_the_bound_of_the_relaxation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "MODEL_S", inf)  # the solver has no time
    flow, columns = small(4)
    hint, goal = first_schedule(flow, columns), Goal(per_cycle=0.0, per_pj=1.0, static_pj=STATIC_PJ)
    found = ilp.solve(flow, columns, hint, seconds=10, seed=0, goal=goal)
    low = least_cost(flow, columns, goal, goal.cost(hint))
    assert goal.of_cycle * found.bound < low <= found.least <= goal.cost(found)


@cache
def compiled(objective: str, power_w: float | None = None) -> Compiled:
    model, chip = load_model("llama3-8b"), load_chip("ador")
    return compile_model(model, chip, phase("decode", 4, 1, 512), objective=objective, power_w=power_w)


def test_a_model_is_mapped_by_objective() -> None:
    fast, frugal, both = (compiled(o).report for o in ("latency", "energy", "latency-then-energy"))
    assert fast.latency_s == both.latency_s <= frugal.latency_s
    assert frugal.energy_j <= both.energy_j * (1 + 1e-9)
    frugal_and_fast = compiled("edp").report
    least = min(r.energy_j * r.latency_s for r in (fast, frugal, both))
    assert frugal_and_fast.objective_value == pytest.approx(frugal_and_fast.energy_j * frugal_and_fast.latency_s)
    assert frugal_and_fast.objective_value <= least * (1 + 1e-9)
    for report in (fast, frugal, both, frugal_and_fast):
        assert report.objective_bound <= report.objective_value * (1 + 1e-9)
    area = compiled("area-delay").report
    assert area.objective_value == pytest.approx(fast.latency_s * fast.area_mm2["total"])


def test_a_chip_with_less_power_is_slower() -> None:
    free = compiled("latency").report
    watts = free.energy_j / free.latency_s
    held = compiled("latency", 0.8 * watts).report
    assert held.energy_j / held.latency_s <= 0.8 * watts * (1 + 1e-6)
    assert held.latency_s > free.latency_s


def test_power_that_does_not_suffice() -> None:
    model, chip = load_model("llama3-8b"), load_chip("ador")
    with pytest.raises(Infeasible, match="at rest") as failed:
        compile_model(model, chip, phase("decode", 1, 1, 16), power_w=0.9 * static_w(chip))
    assert failed.value.code == "over-power"
    for watts in (0.0, -1.0, inf, float("nan")):
        with pytest.raises(Diag) as refused:
            compile_model(model, chip, phase("decode", 1, 1, 16), power_w=watts)
        assert refused.value.code == "bad-option"


def test_a_schedule_that_no_limit_allows_is_refused() -> None:
    flow, columns = small(4)
    hint = first_schedule(flow, columns)
    with pytest.raises(Infeasible) as failed:
        ilp.solve(flow, columns, replace(hint, cycles=10**6), seconds=5, seed=0, goal=Goal(per_pj=1.0, most_pj=0.5))
    assert failed.value.code == "over-limit"


def test_the_help_names_every_objective() -> None:
    assert all(o in SAID for o in OBJECTIVES)
