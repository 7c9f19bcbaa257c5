"""Columns where energy counts: nothing that could be best is left out, and what thinning costs is known."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from math import inf
from typing import Any

import pytest
from nestcases import CASES
from segments import active, covers, small
from test_mapping import llama, tiny  # noqa: F401
from test_tiling import drawn

from dfcompiler import quotes as pricing
from dfcompiler.api import Compiled, compile_model
from dfcompiler.columns import undominated
from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.energy import energy_pj
from dfcompiler.expenses import floor_pj
from dfcompiler.goals import Goal
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import Model, load_model
from dfcompiler.objectives import Found, limits, spending, thinned
from dfcompiler.quotes import price
from dfcompiler.schedule import columns_of
from dfcompiler.solution import by_group
from dfcompiler.spending import Spending, least_of_covers
from dfcompiler.steps import Step, phase
from dfcompiler.tiling import SHARES, search

STEPS = {"prefill": phase("prefill", 1, 64, 0), "decode": phase("decode", 4, 1, 64)}
PLAIN = "lower-model,tile,map-ilp,schedule"
FRUGAL = ("energy", "edp", "latency-then-energy")


@cache
def ador() -> Chip:
    return load_chip("ador")


def compiled(model: Model, step: Step, objective: str, pipeline: str = "default", **more: Any) -> Compiled:
    return compile_model(model, ador(), step, objective=objective, pipeline=pipeline, **more)


# ---- what is left out cannot matter ------------------------------------------------------------


@pytest.mark.parametrize(("what", "objective"), [("prefill", "energy"), ("decode", "energy"), ("decode", "edp")])
def test_pruning_loses_nothing(tiny: Model, what: str, objective: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pruned = compiled(tiny, STEPS[what], objective, PLAIN).report
    monkeypatch.setattr(Spending, "longest", lambda *a: inf)
    whole = compiled(tiny, STEPS[what], objective, PLAIN).report
    assert whole.columns >= pruned.columns
    assert pruned.status == whole.status == "OPTIMAL"
    assert (pruned.energy_j, pruned.latency_s) == pytest.approx((whole.energy_j, whole.latency_s), rel=1e-8)


@pytest.mark.parametrize("objective", FRUGAL)
def test_no_objective_is_worse_than_with_the_fastest_tilings(
    tiny: Model,  # noqa: F811
    objective: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = compiled(tiny, STEPS["decode"], objective, PLAIN).report
    fastest = lambda p, u, h, shares, limits=None, tech=None: search(p, u, h, shares, limits)  # noqa: E731
    monkeypatch.setattr(pricing, "search", fastest)
    before = compiled(tiny, STEPS["decode"], objective, PLAIN).report
    assert found.columns > before.columns
    assert found.objective_value <= before.objective_value * (1 + 1e-9)
    assert objective == "edp" or found.energy_j < before.energy_j


def test_columns_are_no_slower_and_no_more_than_where_only_time_counts(tiny: Model) -> None:  # noqa: F811
    """The fastest of each group, unit and share stay; no column is beaten in both."""
    fast, frugal = (columns_of(compiled(tiny, STEPS["decode"], o, PLAIN).graph) for o in ("latency", "energy"))
    graph, dtypes = compiled(tiny, STEPS["decode"], "latency", PLAIN).graph, parse_dtypes("w16a16kv16")
    every = price(graph, ador(), dtypes, SHARES, pruned=False, spending=Spending(1.0))
    assert len(every.columns) >= len(frugal.columns) > len(fast.columns)
    for mine in by_group(every.columns).values():
        for a in mine:
            assert not any(
                b.unit == a.unit and b.dram <= a.dram and b.beside <= a.beside and b.cycles < a.cycles and b.pj < a.pj
                for b in mine
            )
    quickest = {(c.nodes, c.unit, c.dram): c.cycles for c in sorted(every.columns, key=lambda c: -c.cycles)}
    assert all(
        quickest[c.nodes, c.unit, c.dram] <= c.cycles for c in fast.columns if (c.nodes, c.unit, c.dram) in quickest
    )


@pytest.mark.parametrize("seed", range(40))
def test_what_covers_come_to_at_least(seed: int) -> None:
    flow, columns = small(seed)
    rng = random.Random(seed)
    least = {g: rng.uniform(0, 10) for g in by_group(columns)}
    true = min(sum(least[g] for g in cover) for cover in covers(flow, columns))
    assert least_of_covers(least) <= true * (1 + 1e-12)


@pytest.mark.parametrize("name", CASES)
def test_no_tiling_takes_less_than_the_floor(name: str) -> None:
    for seed in range(2):
        p, unit, helper = drawn(name, 700 + seed)
        floor = floor_pj(p, unit, helper, ador().tech)
        chip = replace_units(unit, helper)
        for t in search(p, unit, helper, SHARES, tech=ador().tech).tilings:
            assert floor <= energy_pj(p, unit.name, helper.name if helper else None, t, chip) * (1 + 1e-9)


def replace_units(*units: Any) -> Any:
    """Something like a chip, with these units."""
    return replace(ador(), units={u.name: u for u in units if u})


@pytest.mark.parametrize("seed", range(60))
def test_no_best_schedule_takes_longer_than_said(seed: int) -> None:
    """By energy with what goes at rest, its product with time, or time, within a limit of power."""
    flow, columns = small(seed)
    rng = random.Random(seed)
    counts = Spending(rng.choice([0.5, 3.0, 20.0]), rng.choice([inf, 8.0, 30.0]), first=rng.random() < 0.3)
    every = list(active(flow, columns))
    known = rng.choice(every)
    least = min(pj for _, pj in every)
    longest = counts.longest(*known, rng.uniform(0, least))
    waited = {(max(c, -(-pj // counts.pj_per_cycle) if counts.pj_per_cycle < inf else 0), pj) for c, pj in every}
    goals = [lambda c, e: (c, e)] if counts.first else [lambda c, e: (e, c), lambda c, e: (c * e, c)]
    for goal in goals:
        assert min(((c, pj + counts.static_pj * c) for c, pj in waited), key=lambda x: goal(*x))[0] <= longest


# ---- thinned -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_thinning_costs_no_more_than_said(seed: int) -> None:
    flow, columns = small(seed)
    thin, static = random.Random(seed).choice([0.05, 0.5, 3.0]), 2.0
    pricer = pricing._Pricer(ador(), SHARES, True, Spending(static, thin=thin))
    by_unit: dict[Any, list[Any]] = {}
    for c in columns:
        by_unit.setdefault((c.nodes, c.unit), []).append(c)
    kept = [c for mine in by_unit.values() for c in pricer._kept(mine)]
    assert pricer.loss <= thin * (1 + 1e-9)
    whole, fewer = (list(active(flow, some)) for some in (columns, kept))
    for merit in (lambda c, e: e + static * c, lambda c, e: c * (e + static * c), lambda c, e: max(c, e / 8)):
        best, found = (min(merit(*x) for x in some) for some in (whole, fewer))
        assert best <= found <= best * (1 + pricer.loss) * (1 + 1e-9)
    assert min(c for c, _ in fewer) == min(c for c, _ in whole)


def test_what_thinning_may_cost_is_in_the_gap(tiny: Model) -> None:  # noqa: F811
    text = PLAIN.replace("tile", "tile{}")
    whole, thin = (compiled(tiny, STEPS["decode"], "energy", text.format(x)) for x in ("", "{thin=0.2}"))
    assert thin.report.columns < whole.report.columns
    loss = columns_of(thin.graph).loss
    assert 0 < loss <= 0.2
    assert thin.report.status == "FEASIBLE" and thin.report.gap <= loss / (1 + loss) + 1e-9
    assert thin.report.objective_bound <= whole.report.objective_value <= thin.report.objective_value
    timed = compiled(tiny, STEPS["decode"], "latency-then-energy", text.format("{thin=0.2}")).report
    assert timed.latency_s == compiled(tiny, STEPS["decode"], "latency", text.format("")).report.latency_s


def test_thinning_of_time_alone_is_none() -> None:
    found = Found((), 10, 5.0, True, 10.0)
    base = Goal(static_pj=1.0)
    assert thinned(found, spending("latency", base), 0.5) == found
    assert thinned(found, spending("latency-then-energy", base), 0.5) == replace(found, optimal=False)
    assert thinned(found, spending("energy", base), 0.25).least == pytest.approx(8.0)
    held = spending("latency", replace(base, pj_per_cycle=3.0))
    assert held is not None and thinned(found, held, 0.25).least == pytest.approx(8.0)


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(Diag, match="thin must be from 0 to below 1"):
        compile_model(load_model("llama3-8b"), ador(), STEPS["decode"], pipeline="lower-model,tile{thin=1.0},map-ilp")
    assert undominated([]) == [] and limits(ador(), None).pj_per_cycle == inf
