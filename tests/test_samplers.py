"""Samplers keep their contract; models and measures inside them agree with formulas and brute force."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import studycases
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from studycases import Bowl

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import adrs, front, hypervolume
from dfcompiler.explore.question import Answer, Dimension, Goal
from dfcompiler.explore.samplers import MODULES, Sampler, Scene, deep_tree, names, sampler
from dfcompiler.explore.samplers.gaussian import CONSTANT, JITTER, Process
from dfcompiler.explore.samplers.improvement import expected_improvement
from dfcompiler.explore.samplers.magnitudes import scale
from dfcompiler.explore.samplers.nearest import Nearest
from dfcompiler.explore.samplers.nearing import Nearing, world_of
from dfcompiler.explore.samplers.sampler import Coordinates
from dfcompiler.explore.samplers.transductive import transductive
from dfcompiler.explore.samplers.trees import memory_axes, tree
from dfcompiler.explore.study import read

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEEDS = {"sobol": "scipy", "llmshare": "scipy", "nsga2": "pymoo", "gp-ehvi": "botorch"}
HERE = [n for n in MODULES if n not in NEEDS or importlib.util.find_spec(NEEDS[n])]
HERE.remove("screened")  # it asks only for what may be on the front, and wants bounds: tests/test_screening.py
BOWL = Bowl(size=3, axes=3)
TORCH = pytest.mark.filterwarnings("ignore")  # what torch itself warns of is not ours
scipy = pytest.mark.skipif(not importlib.util.find_spec("scipy"), reason="scipy is not installed")


def scene(question: Bowl = BOWL, pool: Integers | None = None) -> Scene:
    return Scene(question.dimensions, question.goals, pool)


def tell(made: Sampler, points: list[tuple[int, ...]], question: Bowl = BOWL) -> None:
    made.tell(points, [studycases.answer(question, p) for p in points])


@pytest.fixture
def quick_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract holds however well a model is fitted."""
    if importlib.util.find_spec("scipy"):
        monkeypatch.setattr(deep_tree, "STEPS", 3)


@pytest.mark.usefixtures("quick_trees")
@pytest.mark.parametrize("name", [pytest.param(n, marks=TORCH if n == "gp-ehvi" else ()) for n in HERE])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_sampler_asks_for_every_point_once_and_goes_on_from_what_it_was_told(name: str, pooled: bool) -> None:
    pool = np.array([p for p in itertools.product(range(3), repeat=3) if sum(p) % 2], dtype=np.int64)
    where = scene(pool=pool if pooled else None)
    allowed = set(map(tuple, pool.tolist())) if pooled else set(itertools.product(range(3), repeat=3))
    made = sampler(name, where, 3)
    asked: list[tuple[int, ...]] = []
    while points := made.ask(9 if asked else 5):
        again = sampler(name, where, 3)
        for start in range(0, len(asked), 7):  # the same answers, in other rounds
            tell(again, asked[start : start + 7])
        assert again.ask(9 if asked else 5) == points
        assert all(type(i) is int for p in points for i in p), "indices go into JSON"
        asked += points
        tell(made, points)
    assert len(asked) == len(set(asked)) and set(asked) == allowed


@pytest.mark.usefixtures("quick_trees")
@pytest.mark.parametrize("name", [n for n in HERE if n not in ("all", "gp-ehvi")])
def test_a_sampler_finds_its_way_in_a_space_too_large_to_list(name: str) -> None:
    question = Bowl(size=9, axes=8)
    made = sampler(name, scene(question), 0)
    asked: list[tuple[int, ...]] = []
    for count in (8, 5, 5):
        points = made.ask(count)
        assert len(points) == count and all(len(p) == 8 and min(p) >= 0 and max(p) < 9 for p in points)
        asked += points
        tell(made, points, question)
    assert len(set(asked)) == 18
    assert sampler(name, scene(question), 1).ask(8) != asked[:8] or name == "sobol"


def test_the_default_goes_on_in_a_study_as_if_it_had_not_been_ended(tmp_path: Path) -> None:
    for folder, budgets in (("whole", [60]), ("parts", [17, 33, 60])):
        for budget in budgets:
            studycases.explore(
                BOWL, tmp_path / folder, budget, resume=budget != budgets[0], name="nearing", round_points=12
            )
    assert read(tmp_path / "whole").rounds == read(tmp_path / "parts").rounds


def found_by(name: str, seed: int, question: Bowl, exact: Floats) -> float:
    made = sampler(name, scene(question), seed)
    for count in (10, 10, 10):
        tell(made, made.ask(count), question)
    _, values = made.feasible()
    return adrs(values[front(values)], exact)


def test_the_default_is_nearer_to_the_front_than_chance_and_nearest_with_bounds() -> None:
    question = Bowl(size=6, axes=4)
    points = np.array(list(itertools.product(range(6), repeat=4)), dtype=np.int64)
    answers = [studycases.answer(question, tuple(p)) for p in points.tolist()]
    good = [[a.values["usd"], -a.values["rate"]] for a in answers if a.values is not None]
    exact = np.array(good)[front(np.array(good))]
    chance, ours = (np.mean([found_by(n, s, question, exact) for s in range(4)]) for n in ("random", "nearing"))
    assert ours < 0.8 * chance


def test_bounds_that_are_exact_find_the_front_at_once() -> None:
    question = Bowl(size=6, axes=3)
    truth = {p: studycases.answer(question, p).values for p in itertools.product(range(6), repeat=3)}

    def bounds(points: Integers) -> Floats:
        """The objectives themselves; of points that cannot be, something."""
        rows = [truth[tuple(p)] or {"usd": 9.0, "rate": -9.0} for p in points.tolist()]
        return np.array([[r["usd"], -r["rate"]] for r in rows])

    made = sampler("nearing", Scene(question.dimensions, question.goals, bounds=bounds), 0)
    good = np.array([[v["usd"], -v["rate"]] for v in truth.values() if v is not None])
    exact = good[front(good)]
    tell(made, made.ask(6), question)
    tell(made, made.ask(2 * len(exact)), question)
    _, values = made.feasible()
    assert adrs(values[front(values)], exact) < 0.05


def test_the_sampler_that_the_page_shows_works() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "studies.md").read_text(encoding="utf-8")
    (shown,) = [b.partition("```")[0] for b in page.split("```python\n")[1:]]
    before = set(names())
    exec(compile(shown, "studies.md", "exec"), {})
    (name,) = set(names()) - before
    made = sampler(name, scene(), 0)
    asked: list[tuple[int, ...]] = []
    while points := made.ask(4):
        asked += points
        tell(made, points)
    assert asked[:2] == [(0, 0, 0), (2, 2, 2)] and len(set(asked)) == len(asked) == 27


def test_bounds_that_tell_nothing_do_no_harm() -> None:
    """A bound of 0 of a positive objective, and one that is far from everything."""
    question = Bowl(size=5, axes=2)

    def bounds(points: Integers) -> Floats:
        return np.stack([np.zeros(len(points)), np.full(len(points), -1e9)], axis=1)

    made = sampler("nearing", Scene(question.dimensions, question.goals, bounds=bounds), 0)
    while points := made.ask(5):
        tell(made, points, question)
    assert len(made.told) == 25


def test_unknown_samplers_and_missing_extras_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Diag, match="nearign"):
        sampler("nearign", scene(), 0)
    assert set(MODULES) <= set(names())
    monkeypatch.setitem(MODULES, "absent", ("no_such_module", "absent"))
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(missing))
    missing = ModuleNotFoundError("no", name="pymoo")
    with pytest.raises(Diag, match="needs the package `pymoo`") as told:
        sampler("absent", scene(), 0)
    assert "dfcompiler[absent]" in (told.value.hint or "")


def test_axes_become_coordinates() -> None:
    axes = (Dimension("a", (1, 2, 4)), Dimension("b", (10, 20)), Dimension("c", ("x", "y")), Dimension("d", (7,)))
    rows = np.array([[0, 0, 0, 0], [1, 1, 1, 0], [2, 0, 1, 0]])
    expected = [[0, 0, 1, 0], [0.5, 1, 0, 1], [1, 0, 0, 1]]
    assert Coordinates(axes)(rows) == pytest.approx(np.array(expected))


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=20), st.sampled_from([1, -1, 0]))
def test_a_scale_keeps_order_and_comes_back(values: list[float], sign: int) -> None:
    column = np.array(values) * sign if sign else np.array([-1.0, *values])
    where = scale(column)
    assert where.back(where(column)) == pytest.approx(column, rel=1e-9, abs=0 if sign else 1e-9 * np.abs(column).max())
    assert (np.diff(where(np.sort(column))) >= 0).all() and where.sign == sign


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2]))
def test_expected_improvement_is_that_of_many_draws(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    known, mean, deviation = rng.random((6, k)), rng.random((2, k)), rng.uniform(0.05, 0.5, (2, k))
    corner = np.full(k, 1.2)
    before = hypervolume(known, corner)
    draws = rng.normal(mean, deviation, (800, 2, k))
    gains = np.array([[hypervolume([*known, p], corner) - before for p in pair] for pair in draws])
    error = 5 * gains.std(axis=0) / math.sqrt(len(draws)) + 2e-3  # the last for what happens too rarely to be drawn
    assert (np.abs(expected_improvement(known, corner, mean, deviation) - gains.mean(axis=0)) < error).all()
    with pytest.raises(ValueError, match="closed form"):
        expected_improvement(np.ones((1, 3)), np.ones(3), np.ones((1, 3)), np.ones((1, 3)))


def covariance(logs: Floats, a: Floats, b: Floats) -> Floats:
    """The prior written out pair by pair."""
    found = np.zeros((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            rest = math.exp(logs[0] - 0.5 * sum(((p - q) / np.exp(logs[3:])) ** 2))
            found[i, j] = rest + math.exp(logs[1]) * float((p - 0.5) @ (q - 0.5)) + CONSTANT
    return found


def log_posterior(process: Process, logs: Floats) -> float:
    cov = covariance(logs, process.columns, process.columns) + (math.exp(logs[2]) + JITTER) * np.eye(
        len(process.values)
    )
    fit = 0.5 * process.values @ np.linalg.solve(cov, process.values) + 0.5 * np.linalg.slogdet(cov)[1]
    return float(fit + 0.5 * (((logs - process.centre) / process.spread) ** 2).sum())


def a_process() -> Process:
    rng = np.random.default_rng(2)
    columns = rng.random((9, 3))
    return Process(columns, np.sin(3 * columns[:, 0]) + columns[:, 1] - 1)


def test_the_ascent_follows_the_gradient_of_the_posterior_to_a_flat_place() -> None:
    process = a_process()
    for logs in (process.centre, process.logs):
        steps = np.eye(len(logs)) * 1e-5
        by_differences = [(log_posterior(process, logs + s) - log_posterior(process, logs - s)) / 2e-5 for s in steps]
        assert process._slope(logs) == pytest.approx(by_differences, abs=1e-4)
    assert log_posterior(process, process.logs) < log_posterior(process, process.centre)
    assert np.abs(process._slope(process.logs)).max() < 0.3


def test_paths_have_the_mean_and_the_deviation_of_the_process() -> None:
    process = a_process()
    there = np.random.default_rng(3).random((7, 3))
    seen = covariance(process.logs, process.columns, process.columns)
    seen += (np.exp(process.logs[2]) + JITTER) * np.eye(len(seen))
    across = covariance(process.logs, there, process.columns)
    mean = across @ np.linalg.solve(seen, process.values)
    variance = np.diag(covariance(process.logs, there, there) - across @ np.linalg.solve(seen, across.T))
    paths = np.concatenate([process.paths(there, 200, np.random.default_rng(s)) for s in range(40)], axis=1)
    assert paths.mean(axis=1) == pytest.approx(mean, abs=0.05)
    assert paths.std(axis=1) == pytest.approx(np.sqrt(variance), rel=0.15, abs=0.02)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_gains_in_a_world_are_how_much_nearer_its_front_comes(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    known, truth = rng.random((5, k)), rng.random((12, k))
    known = known[front(known)]
    made = world_of(known, truth)
    both = np.concatenate([known, truth])
    exact = both[front(both)]

    def distance(some: Floats) -> float:
        extent = np.ptp(exact, axis=0)
        return adrs(some, exact, np.where(extent > 0, extent, 1.0))

    on_front = [i for i in range(12) if any((truth[i] == row).all() for row in exact)]
    assert made.members.tolist() == on_front
    gains = [distance(known) - distance(np.concatenate([known, truth[[i]]])) for i in on_front]
    assert made.gains() == pytest.approx(gains)
    if on_front:
        made.learn(on_front[0])
        assert made.gains()[0] == 0


def test_transductive_design_takes_what_lowers_the_variance_of_all_rows_most() -> None:
    rows = np.random.default_rng(1).random((15, 3))
    chosen = transductive(rows, 4)
    centred = np.c_[rows - rows.mean(axis=0), np.ones(15)]
    kernel = centred @ centred.T

    def variance(some: list[int]) -> float:
        inner = kernel[np.ix_(some, some)] + 0.1 * np.eye(len(some))
        return float(np.trace(kernel - kernel[:, some] @ np.linalg.solve(inner, kernel[some])))

    for i, best in enumerate(chosen):
        others = {j: variance([*chosen[:i], j]) for j in range(15) if j not in chosen[:i]}
        assert others[best] == pytest.approx(min(others.values()))


def test_a_tree_is_read_from_names() -> None:
    names_ = ("p.servers", "p.server.memory_gb", "p.server.cores", "p.server.core.local_kb", "d.servers")
    axes = tuple(Dimension(n, (1, 2)) for n in names_)
    root = tree(axes)
    assert [c.name for c in root.children] == ["p", "d"]
    assert root.children[0].kind == "(servers (memory_gb cores (local_kb)))"
    assert memory_axes(root) == [(1, (0,), 1e9), (3, (0, 2), 1e3)]


def test_the_nearest_points_left_are_all_different() -> None:
    pool = np.array([[0, 0], [3, 3], [0, 3]])
    made = sampler(
        "random", Scene((Dimension("a", (0, 1, 2, 3)), Dimension("b", (0, 1, 2, 3))), (Goal("g", "min"),), pool), 0
    )
    made.tell([(0, 3)], [Answer({"g": 1.0})])
    assert Nearest(made)(np.array([[0.0, 1.0], [0.1, 0.1], [1.0, 1.0]]), 3).tolist() == [[0, 0], [3, 3]]


@scipy
def test_the_deep_tree_follows_the_gradient_and_keeps_what_it_saw() -> None:
    from dfcompiler.explore.samplers.deep_tree import DeepTree

    rng = np.random.default_rng(0)
    axes = tuple(Dimension(f"{p}.{n}", (0, 1)) for p in "ab" for n in ("x", "y.z", "y.w"))
    columns = rng.random((14, 6))
    values = columns[:, 0] - columns[:, 4] + 0.3 * columns[:, 2]
    made = DeepTree(tree(axes), columns, values - values.mean(), rng)
    at = rng.normal(0, 0.5, made.at.size)
    at[-1] = -3.0
    _, slope = made._loss(at, columns)
    steps = np.eye(len(at)) * 1e-6
    by_differences = [(made._loss(at + s, columns)[0] - made._loss(at - s, columns)[0]) / 2e-6 for s in steps]
    assert slope == pytest.approx(by_differences, abs=1e-4)
    made = DeepTree(tree(axes), columns, values - values.mean(), rng)
    mean, deviation = made(columns)
    assert np.abs(mean - values + values.mean()).max() < 0.2 and (deviation > 0).all()


def test_the_default_sampler_is_ours_and_takes_any_number_of_goals() -> None:
    goals = tuple(Goal(f"g{i}", "min") for i in range(4))
    made = sampler("nearing", Scene((Dimension("a", tuple(range(30))), Dimension("b", tuple(range(30)))), goals), 0)
    assert isinstance(made, Nearing)
    for _ in range(2):
        points = made.ask(6)
        made.tell(points, [Answer({f"g{i}": (a - 7 * i) ** 2 + b * i + 1.0 for i in range(4)}) for a, b in points])
    assert len(made.told) == 12
