"""Bounds of whole steps against what is mapped, the search that they order, and what both are made of."""

from __future__ import annotations

import itertools
from functools import cache

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.bounded import Bounds, bounded, proof_of
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.fronts import covered, front
from dfcompiler.explore.intervals import ends, may_hold
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.mapped import compiled
from dfcompiler.explore.plans import own_chip, plan
from dfcompiler.explore.question import Answer, Dimension, Goal
from dfcompiler.explore.references import holds, value
from dfcompiler.explore.samplers import Scene, sampler
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.space import Space, load_space, resolve
from dfcompiler.explore.stretches import stretches
from dfcompiler.explore.sums import parts, spread
from dfcompiler.hardware.plurals import least, most, never_above
from dfcompiler.text.parse import parse_items

SMALL = """
space small {
  pool chip on ador {
    axis side = 32, 64
    axis trees = 0, 16
    axis width = 16, 32
    axis ways = 1, 2
    set sa.rows = side
    set sa.cols = side
    set mt.trees = maximum(trees, 1)
    set mt.width = width
    drop mt where trees == 0
    load prompt: gpt2 { phase = prefill, batch = 1, seq = 128, tp = ways }
    load chat: gpt2 { phase = decode, batch = 8, context = 512, tp = ways }
  }
  minimize ttft_s = prompt.latency_s
  minimize tbt_s = chat.latency_s
  minimize area_mm2 = area_mm2
}
"""
EDGE = """
space memories {
  pool chip on pim_edge {
    axis kib = 64, 1024
    axis speed = 256 GB/s, 512 GB/s
    set local.capacity = 1024 * kib
    set mem.bandwidth = speed
    load chat: gpt2 { phase = decode, batch = 2, context = 128 }
    load mixed: gpt2 { phase = mixed, batch = 2, context = 64, seq = 32 }
  }
  minimize tbt_s = chat.latency_s
}
"""


def space_of(text: str) -> Space:
    source = Source("space", text)
    (decl,) = parse_items(source)
    return resolve(decl, source)


@cache
def small() -> tuple[Space, Screen]:
    space = space_of(SMALL)
    return space, Screen(space.pools["chip"])


def rows_of(screen: Screen) -> np.ndarray:
    return np.stack([x.ravel() for x in np.indices(screen.pool.shape)], 1)


@cache
def exact() -> np.ndarray:
    """The goals of every point of the small space."""
    space, screen = small()
    question = Asked(space)
    found = [question.evaluate(tuple(row)) for row in rows_of(screen).tolist()]
    return np.array([[a.values[g.name] for g in space.goals] for a in found if a.values])


# ---- bounds ------------------------------------------------------------------------------------


def test_no_design_of_a_small_space_is_better_than_its_bounds_and_they_are_tight() -> None:
    space, screen = small()
    bounds = Bounds(space, screen)(rows_of(screen))
    assert (bounds <= exact() * (1 + 1e-12)).all()
    part = bounds / exact()
    assert np.median(part[:, 0]) >= 0.8 and np.median(part[:, 1]) >= 0.8
    np.testing.assert_allclose(part[:, 2], 1, rtol=1e-12)  # an area is known


def test_a_bound_holds_for_a_design_that_is_compiled_by_itself() -> None:
    _, screen = small()
    pool = screen.pool
    for row in rows_of(screen)[[2, 13]]:
        values = {a.name: a.values[i] for a, i in zip(pool.axes, row, strict=True)}
        for name, load in pool.loads.items():
            report = compiled(load_at(load, values), chip_at(pool, values)).report
            low = float(screen.taken(screen.price((name, "latency_s")), row[None])[0])
            assert low <= report.latency_s * (1 + 1e-12)
            assert float(screen.taken(screen.price((name, "energy_j")), row[None])[0]) <= report.energy_j
            gone = frozenset(own_chip(pool.chip, frozenset()).units) - frozenset(chip_at(pool, values).units)
            planned = plan(load_at(load, values), own_chip(pool.chip, gone)).on(chip_at(pool, values))
            assert planned.latency_s == pytest.approx(report.latency_s, rel=1e-12)
            assert planned.energy_j == pytest.approx(report.energy_j, rel=1e-9)
            free = report.capacity.available_bytes - report.capacity.needed_bytes
            assert planned.free_bytes == pytest.approx(free)


def test_bounds_hold_where_parts_of_a_step_overlap_and_units_are_in_the_memory() -> None:
    space = space_of(EDGE)
    screen = Screen(space.pools["chip"])
    fits = 0
    for row in rows_of(screen)[::2]:
        values = {a.name: a.values[i] for a, i in zip(screen.pool.axes, row, strict=True)}
        for name, load in screen.pool.loads.items():
            low = float(screen.taken(screen.price((name, "latency_s")), row[None])[0])
            try:
                found = compiled(load_at(load, values), chip_at(screen.pool, values), "list").report.latency_s
            except Infeasible:
                continue
            fits += 1
            assert low <= found
    assert fits


def test_designs_that_differ_in_what_they_do_not_have_are_one() -> None:
    _, screen = small()
    distinct = screen.distinct()
    assert distinct is not None
    trees = screen.pool.axes[1].values
    without = [row for row in distinct.tolist() if trees[row[1]] == 0]
    assert len(without) * 2 == len([r for r in rows_of(screen) if trees[r[1]] == 0])  # the width of trees is not read
    assert len(distinct) == 12


@pytest.mark.parametrize("lanes", ["width", "16", "ways * 16", "minimum(width, 16)"])
def test_designs_are_alike_where_all_of_their_numbers_are(lanes: str) -> None:
    pool = space_of(SMALL.replace("set mt.width = width", f"set mt.width = {lanes}\n    set vu.lanes = 8 * side"))
    screen = Screen(pool.pools["chip"])
    first: dict[str, list[int]] = {}
    for row in rows_of(screen).tolist():
        values = {a.name: a.values[i] for a, i in zip(screen.pool.axes, row, strict=True)}
        said = [(n, p.template.settings(), p.instances) for n, p in chip_at(screen.pool, values).parts.items()]
        first.setdefault(repr((said, [load_at(x, values) for x in screen.pool.loads.values()])), row)
    np.testing.assert_array_equal(screen.distinct(), list(first.values()))


def test_no_two_designs_are_alike_where_every_axis_is_read() -> None:
    text = SMALL.replace("axis trees = 0, 16", "axis trees = 8, 16").replace("    drop mt where trees == 0\n", "")
    space = space_of(text)
    assert Screen(space.pools["chip"]).distinct() is None
    scene = bounded(Asked(space))
    assert scene.pool is None and scene.size() == space.points


@given(seed=st.integers(0, 1 << 20))
def test_a_sum_is_kept_in_parts_that_no_other_part_holds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 4, size=3)
    xs = [rng.integers(0, 9, np.where(rng.random(3) < 0.5, shape, 1)).astype(float) for _ in range(rng.integers(0, 5))]
    found = parts([*xs, 2.0] if seed % 2 else xs)
    whole = sum(xs, np.zeros(shape)) + 2.0 * (seed % 2)
    np.testing.assert_array_equal(np.broadcast_to(spread(found), shape), whole)
    for a, b in itertools.permutations(found, 2):
        assert np.broadcast_shapes(a.shape, b.shape) not in (a.shape, b.shape)


@given(seed=st.integers(0, 1 << 20))
def test_numbers_are_never_above_others_where_they_are_for_no_design(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = np.where(rng.random((2, 3)) < 0.5, rng.integers(1, 4, size=3), 1)
    x, y = (
        rng.integers(0, 4, n).astype(float) + shift for n, shift in zip(shapes, (0, rng.integers(0, 4)), strict=True)
    )
    x = x[0, 0, 0] if seed % 3 == 0 else x
    x, y = (x, y) if seed % 2 else (y, x)
    assert never_above(x, y) == bool(np.all(x <= y))
    for found, known in ((most(x, y), np.maximum(x, y)), (least(x, y), np.minimum(x, y))):
        np.testing.assert_array_equal(np.broadcast_to(found, known.shape), known)


def test_whole_kernels_are_not_screened() -> None:
    text = "space gpu {\n pool chip on a100_sxm {\n axis n = 1, 2\n }\n minimize area = area_mm2\n}"
    with pytest.raises(Diag, match="runs whole kernels") as caught:
        Screen(space_of(text).pools["chip"])
    assert caught.value.code == "no-bound"


# ---- the search --------------------------------------------------------------------------------


def searched(scene: Scene, answers: dict[tuple[int, ...], Answer], rounds: int, budget: int = 10**9) -> Screened:
    found = sampler("screened", scene, 0)
    assert isinstance(found, Screened)
    while len(found.told) < budget and (points := found.ask(rounds)):
        assert len(set(points)) == len(points) and not set(points) & set(found.told)
        found.tell(points, [answers[p] for p in points])
    return found


def test_screening_loses_nothing_of_an_exact_front() -> None:
    space, screen = small()
    question, rows = Asked(space), rows_of(screen)
    points = [tuple(r) for r in rows.tolist()]
    values = exact()
    answers = {
        p: Answer({g.name: v for g, v in zip(question.goals, row, strict=True)})
        for p, row in zip(points, values, strict=True)
    }
    bounds = Bounds(space, screen)(rows)
    index = {p: i for i, p in enumerate(points)}

    def known(some: np.ndarray) -> np.ndarray:
        return bounds[[index[tuple(r)] for r in some.tolist()]]

    goals = tuple(Goal(g.name, "min") for g in space.goals)
    scene = Scene(question.dimensions, goals, screen.distinct(), known)
    for rounds in (1, 5, 16):
        found = searched(scene, answers, rounds)
        _, reached = found.feasible()
        assert covered(values, reached).all()
        assert found.gap() == 0
        proof, screened, claims = proof_of(found, space)
        assert proof == "exhaustive" and screened + len(found.told) == space.points and len(claims) == 2
    few = searched(scene, answers, 2, budget=4)
    proof, screened, claims = proof_of(few, space)
    left = len(few.open()[0])
    assert proof == "bounded" and left and screened + left + len(few.told) == space.points
    assert f"{few.gap():.2%}" in claims[-1]


def test_the_scene_of_a_space_has_its_bounds() -> None:
    space, screen = small()
    scene = bounded(Asked(space))
    assert scene.bounds is not None and scene.pool is not None
    np.testing.assert_array_equal(scene.pool, screen.distinct())
    named = space_of(
        SMALL.replace("= chat.latency_s", "= chip.chat.latency_s + 0 * wide").replace(
            "  minimize ttft_s", "  let wide = 2 * side\n  limit chip.side >= 64\n  minimize ttft_s"
        )
    )
    rows = rows_of(screen)
    found = Bounds(named, screen)(rows)
    wide = np.array(screen.pool.axes[0].values)[rows[:, 0]] == 64
    np.testing.assert_array_equal(found[wide], Bounds(space, screen)(rows)[wide])
    assert np.isinf(found[~wide]).all()


def test_spaces_without_bounds_say_why() -> None:
    with pytest.raises(Diag, match="has 2 pools"):
        bounded(Asked(load_space("prefill-decode")))


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 20), rounds=st.integers(1, 9), k=st.integers(1, 3))
def test_a_search_by_any_bounds_that_hold_proves_the_front(seed: int, rounds: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, size=3)
    dimensions = tuple(Dimension(f"d{i}", tuple(range(n))) for i, n in enumerate(shape))
    goals = tuple(Goal(f"g{i}", "min") for i in range(k))
    points = list(itertools.product(*(range(n) for n in shape)))
    values = rng.integers(1, 8, size=(len(points), k)).astype(float)
    refused = rng.random(len(points)) < 0.2
    bounds = values * (rng.uniform(0.5, 1.0, size=values.shape) if seed % 2 else 0.5)  # or with many ties
    bounds[rng.random(len(points)) < 0.5 * refused] = np.inf
    index = {p: i for i, p in enumerate(points)}
    answers = {
        p: Answer(None if no else {g.name: float(v) for g, v in zip(goals, row, strict=True)})
        for p, row, no in zip(points, values, refused, strict=True)
    }
    scene = Scene(dimensions, goals, None, lambda rows: bounds[[index[tuple(r)] for r in rows.tolist()]])
    whole = values[~refused]
    found = searched(scene, answers, rounds)
    _, reached = found.feasible()
    assert covered(whole, reached).all() if len(whole) else not len(reached)
    few = searched(scene, answers, rounds, budget=len(points) // 3)
    gap = few.gap()
    if np.isfinite(gap) and len(whole):
        left = whole[front(whole)]
        _, reached = few.feasible()
        assert covered(left * (1 + gap) * (1 + 1e-12), reached).all()


def test_a_scene_without_bounds_is_refused() -> None:
    scene = Scene((Dimension("x", (1, 2)),), (Goal("y", "min"),))
    with pytest.raises(Diag, match="no proven bounds"):
        sampler("screened", scene, 0).ask(1)


# ---- stretches ---------------------------------------------------------------------------------


@given(seed=st.integers(0, 1 << 20))
def test_stretches_follow_one_another_and_are_covered_in_every_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(map(str, range(n)))
    flow.add_edges_from((str(a), str(b)) for a in range(n) for b in range(a + 1, n) if rng.random() < 0.45)
    offers = {tuple(sorted(rng.choice(n, size=2, replace=False).astype(str))) for _ in range(3) if n > 1}
    groups = [*((v,) for v in flow), *sorted(offers)]
    found = stretches(flow, groups)
    assert sorted(v for s in found for v in s.nodes) == sorted(flow)
    for a, b in itertools.combinations(found, 2):
        assert all(nx.has_path(flow, u, v) for u in a.nodes for v in b.nodes)
    for g in groups:
        assert any(set(g) <= set(s.nodes) for s in found)
    for s in found:
        ways = {
            frozenset(some)
            for size in range(1, len(s.nodes) + 1)
            for some in itertools.combinations(s.groups, size)
            if sorted(v for g in some for v in g) == sorted(s.nodes)
        }
        use = {g: float(rng.integers(1, 9)) for g in s.groups}
        least = min(sum(use[g] for g in way) for way in ways)
        assert s.least_sum(use) == least
        assert s.least_sum(use, most_rests=1) <= least


# ---- intervals ---------------------------------------------------------------------------------


def expressions() -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["a", "b", "2", "0.5", "3"])
    return st.recursive(
        leaf,
        lambda e: st.one_of(
            st.tuples(e, st.sampled_from("+-*/"), e).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
            st.tuples(st.sampled_from(["minimum", "maximum"]), e, e).map(lambda x: f"{x[0]}({x[1]}, {x[2]})"),
            e.map(lambda x: f"(-{x})"),
        ),
        max_leaves=5,
    )


@given(text=expressions(), seed=st.integers(0, 1 << 20))
def test_what_may_be_lies_between_the_ends(text: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = space_of(
        f"space x {{\n pool p on ador {{\n axis a = 1, 2\n axis b = 1, 2\n let c = {text}\n }}\n minimize m = c\n}}"
    )
    e = space.pools["p"].lets["c"].value
    low = rng.uniform(-2, 3, size=2)
    high = low + rng.uniform(0, 2, size=2) * (rng.random(2) < 0.7)
    first, last = ends(e, lambda path: tuple(np.asarray(x["ab".index(path[0])]) for x in (low, high)))  # type: ignore[return-value]
    for _ in range(20):
        at = rng.uniform(low, high)
        with np.errstate(all="ignore"):
            here = float(value(e, lambda path, at=at: np.asarray(at["ab".index(path[0])])))
        if np.isfinite(here):
            slack = 1e-9 * max(1.0, abs(here))
            assert first - slack <= here <= last + slack


@pytest.mark.parametrize("op", ["<=", "<", ">=", ">", "==", "!="])
def test_a_relation_may_hold_where_it_does_for_some_values(op: str) -> None:
    rng = np.random.default_rng(1)
    space = space_of(
        f"space x {{\n pool p on ador {{\n axis a = 1, 2\n axis b = 1, 2\n limit a {op} b\n }}\n minimize m = a\n}}"
    )
    rel = space.pools["p"].limits[0]
    for _ in range(200):
        low = rng.integers(0, 3, size=2).astype(float)
        high = low + rng.integers(0, 2, size=2)
        may = may_hold(rel, lambda path, x=(low, high): tuple(np.asarray(y["ab".index(path[0])]) for y in x))  # type: ignore[return-value,misc]
        does = [
            holds(rel, lambda path, x=(a, b): np.asarray(x["ab".index(path[0])]))
            for a in np.linspace(low[0], high[0], 5)
            for b in np.linspace(low[1], high[1], 5)
        ]
        assert bool(may) or not any(does)
        assert any(does) or not may or op in ("<", ">")


def test_a_limit_of_watts_holds_before_anything_is_mapped() -> None:
    space = load_space("edge")
    pool = space.pools["chip"]
    screen, question = Screen(pool), Asked(space)
    rows = rows_of(screen)
    watts = screen.taken(screen.price(("peak_w",)), rows)
    found = Bounds(space, screen)(rows)
    assert np.isinf(found[watts > 8]).all()
    assert 100 < np.isfinite(found).all(1).sum() < len(rows) / 2
    hungry = question.evaluate(tuple(int(i) for i in rows[watts.argmax()]))
    assert hungry.values is None and "`peak_w <= 8` does not hold" in hungry.why
