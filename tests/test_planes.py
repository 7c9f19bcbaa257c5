"""What time and energy cannot both be below: against all schedules of small segments, and recounted by the checker."""

from __future__ import annotations

import copy
import json
import random
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segmentjson import mapping_of
from segments import active, small
from test_check import failing, place, wrong
from test_mapping import STEPS, chip, llama
from test_objectives import STATIC_PJ, everything, sought, two, weighted_sum

from dfcompiler import check, ilp
from dfcompiler.api import compile_model
from dfcompiler.certificate import certificate, cost, dual
from dfcompiler.goals import Goal
from dfcompiler.listing import first_schedule
from dfcompiler.outputs import json_text, mapping_json
from dfcompiler.planes import Plane, least_product

# ---- the least product -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_the_least_product_is_at_a_corner(seed: int) -> None:
    """On every ray from the origin the first point above all planes has no less, and on some ray hardly more."""
    rng = np.random.default_rng(seed)
    planes = [Plane(1.0, 0.0, rng.uniform(0.5, 2)), Plane(0.0, 1.0, rng.uniform(0.5, 2))]
    planes += [Plane(*rng.uniform(0.2, 2, 2), rng.uniform(1, 6)) for _ in range(rng.integers(0, 5))]
    angle = np.linspace(1e-4, np.pi / 2 - 1e-4, 40_001)
    c, e = np.cos(angle), np.sin(angle)
    far = np.max([p.least / p.at(c, e) for p in planes], axis=0)
    assert least_product(planes) == pytest.approx(float(np.min(far**2 * c * e)), rel=1e-3)
    assert least_product(planes[:1]) == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_all_steps_are_above_the_planes(seed: int) -> None:
    parts, limits = two(seed), Goal(static_pj=STATIC_PJ)
    each = [everything(*p, limits) for p in parts]
    steps = [tuple(map(weighted_sum, zip(*pair, strict=True))) for pair in product(*each)]
    for objective in ("energy", "edp"):
        found = sought(objective, limits, parts)
        assert found.planes and all(p.at(*s) >= p.least * (1 - 1e-9) for p in found.planes for s in steps)
        assert objective == "energy" or least_product(found.planes) <= min(c * e for c, e in steps) * (1 + 1e-9)


# ---- proofs ------------------------------------------------------------------------------------


def aimed(seed: int, per_cycle: float, per_pj: float) -> dict[str, Any]:
    """A segment that runs twice, with the proof of one plane."""
    flow, columns = small(seed)
    goal = Goal(per_cycle, per_pj, static_pj=STATIC_PJ)
    found = first_schedule(flow, columns)
    found = ilp.solve(flow, columns, found, seconds=5, seed=0)
    part = cost(flow, columns, per_pj / goal.of_cycle, goal.cost(found) / goal.of_cycle).to_json()
    said = mapping_of(flow, columns, found, runs=2, proof={"kind": "in turn"})
    plane = {"per_cycle": per_cycle, "per_pj": per_pj, "segments": [part]}
    return {**said, "aim": {"objective": "edp", "static_pj": STATIC_PJ, "pj_per_cycle": None, "planes": [plane]}}


@pytest.mark.parametrize("seed", range(20))
def test_the_checker_takes_a_plane_that_holds_and_no_other(seed: int) -> None:
    rng = random.Random(seed)
    per_cycle, per_pj = rng.choice([0.0, 1.0, rng.uniform(0.1, 9)]), rng.uniform(0.1, 2)
    said = aimed(seed, per_cycle, per_pj)
    assert wrong(said) == []
    (part,) = said["aim"]["planes"][0]["segments"]
    each, (flow, columns) = per_cycle + per_pj * STATIC_PJ, small(seed)
    least = min(each * c + per_pj * pj for c, pj in active(flow, columns))
    assert 0 < each * part["bound"] <= least * (1 + 1e-9)
    for path, change in (
        ("bound", lambda x: x + 1),
        ("per_pj", lambda x: x * 1.01),
        ("worth", lambda x: {v: n + 1e-6 for v, n in x.items()}),
    ):
        damaged = copy.deepcopy(said)
        place(damaged, f"aim.planes[0].segments[0].{path}")[0][path] = change(part[path])
        assert any(f"aim.planes[0].segments[0].{path.split('.')[0]}" in w or "worth" in w for w in wrong(damaged)), path


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_a_limit_of_power_is_part_of_the_proof(seed: int) -> None:
    """No schedule within the limit is shorter; without the limit the proof is none."""
    flow, columns = small(seed)
    power = 0.6 * max(pj / cycles for cycles, pj in active(flow, columns))
    best = min(max(cycles, ceil(pj / power)) for cycles, pj in active(flow, columns))
    hint = first_schedule(flow, columns)
    found = ilp.solve(flow, columns, hint, seconds=10, seed=0, goal=Goal(pj_per_cycle=power))
    assert found.optimal and found.cycles == found.bound == best
    assert dual(flow, columns, best, power).bound <= best
    said = mapping_of(flow, columns, found)
    aim = {"objective": "latency", "static_pj": 0.0, "pj_per_cycle": power, "planes": []}
    said["segments"][0]["certificate"] = certificate(flow, columns, found, power).to_json()
    assert wrong({**said, "aim": aim}) == []
    assert any("there is no limit of power" in w for w in wrong(said)) == ('"power"' in json.dumps(said))
    tight = {**aim, "pj_per_cycle": 0.9 * found.pj / found.cycles}
    assert any("take" in w and "by the limit" in w for w in wrong({**said, "aim": tight}))


def test_a_hint_that_is_too_quick_waits_where_the_solver_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "MODEL_S", float("inf"))
    flow, columns = small(4)
    hint = first_schedule(flow, columns)
    goal = Goal(pj_per_cycle=0.5 * hint.pj / hint.cycles)
    found = ilp.solve(flow, columns, hint, seconds=10, seed=0, goal=goal)
    assert found.tasks == hint.tasks and found.cycles == ceil(hint.pj / goal.pj_per_cycle) and goal.allows(found)


# ---- a whole file ------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_a_file_says_how_much_of_its_bound_is_proven(objective: str, tmp_path: Path) -> None:
    done = compile_model(llama(tmp_path), chip("ador"), STEPS["decode"], objective=objective, time_limit_s=4.0)
    data = json.loads(json_text(mapping_json(done, "step")))
    assert failing(data) == {}
    (aims,) = (v for v in check.check(data) if v.name == "aims")
    assert aims.count == 1 and all(f"by {objective}" in n for n in aims.notes)
    above = {**data, "objective_bound": data["objective_value"] * 1.001}
    assert "aims" in failing(above)
