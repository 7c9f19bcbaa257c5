"""Fronts and their measures against definitions that are written out pair by pair, cell by cell."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfcompiler.explore.fronts import adrs, covered, front, hypervolume, merge
from dfcompiler.explore.question import Dimension, Goal, costs, size

Floats = NDArray[np.float64]


@st.composite
def clouds(draw: st.DrawFn, least: int = 1, most: int = 4, rows: int = 40) -> Floats:
    """Points with 1 to 4 objectives; few distinct values make ties, an infinity now and then."""
    k, n, levels = draw(st.integers(least, most)), draw(st.integers(0, rows)), draw(st.sampled_from([2, 5, 1000]))
    seed, holes = draw(st.integers(0, 2**32 - 1)), draw(st.booleans())
    rng = np.random.default_rng(seed)
    points = rng.integers(0, levels, (n, k)).astype(np.float64)
    if holes and n:
        points[rng.integers(0, n), rng.integers(0, k)] = np.inf
    return points


def dominates(a: Floats, b: Floats) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def by_pairs(points: Floats) -> list[int]:
    return [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]


def first_of_equals(points: Floats, chosen: list[int]) -> list[int]:
    seen: dict[tuple[float, ...], int] = {}
    for i in chosen:
        seen.setdefault(tuple(points[i]), i)
    return sorted(seen.values())


@given(clouds())
def test_a_front_is_what_no_pair_rules_out(points: Floats) -> None:
    chosen = by_pairs(points)
    assert front(points, ties=True).tolist() == chosen
    assert front(points).tolist() == first_of_equals(points, chosen)


@given(clouds(2, 4), st.integers(1, 17))
def test_a_front_merged_in_blocks_is_that_of_all_points(points: Floats, block: int) -> None:
    kept = np.empty(0, dtype=np.intp)
    for start in range(0, len(points), block):
        stay, join = merge(points[kept], points[start : start + block])
        kept = np.concatenate([kept[stay], start + join])
    assert sorted(kept.tolist()) == front(points).tolist()


@given(clouds(2, 3), st.integers(0, 2**32 - 1))
def test_a_front_does_not_depend_on_the_order_of_points(points: Floats, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(points))
    assert sorted(order[front(points[order], ties=True)].tolist()) == front(points, ties=True).tolist()


@given(clouds(1, 4), st.integers(0, 40))
def test_what_is_covered_has_a_row_that_is_nowhere_larger(points: Floats, cut: int) -> None:
    some, others = points[:cut], points[cut:]
    expected = [any(all(x <= y for x, y in zip(q, p, strict=True)) for q in others) for p in some]
    assert covered(some, others).tolist() == expected


def unit_cells(points: Floats, corner: tuple[int, ...]) -> int:
    """The cells of the grid below the corner that some point dominates, one by one."""
    return sum(
        any(all(x <= c for x, c in zip(p, cell, strict=True)) for p in points)
        for cell in itertools.product(*(range(c) for c in corner))
    )


@settings(max_examples=60)
@given(st.data())
def test_hypervolume_counts_the_cells_of_a_grid(data: st.DataObject) -> None:
    k = data.draw(st.integers(1, 5))
    side = {1: 30, 2: 12, 3: 8, 4: 5, 5: 4}[k]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    points = rng.integers(0, side + 2, (data.draw(st.integers(0, 25)), k)).astype(np.float64)
    corner = (side,) * k
    assert hypervolume(points, corner) == pytest.approx(unit_cells(points, corner), rel=1e-12)


@given(clouds(2, 4, rows=10))
def test_hypervolume_agrees_with_inclusion_and_exclusion(points: Floats) -> None:
    rng = np.random.default_rng(len(points))
    points = rng.random((min(len(points), 8), points.shape[1]))
    corner = np.ones(points.shape[1])
    total = 0.0
    for r in range(1, len(points) + 1):
        for some in itertools.combinations(points, r):
            total += (-1) ** (r + 1) * float(np.prod(corner - np.max(some, axis=0)))
    assert hypervolume(points, corner) == pytest.approx(total, abs=1e-9)


@given(clouds(1, 4), clouds(1, 4))
def test_adrs_is_the_mean_of_the_nearest_distances(found: Floats, exact: Floats) -> None:
    k = min(found.shape[1], exact.shape[1])
    found, exact = (p[np.isfinite(p).all(axis=1), :k] for p in (found, exact))
    if not len(exact):
        with pytest.raises(ValueError, match="at least one"):
            adrs(found, exact)
        return
    span = [max(exact[:, j]) - min(exact[:, j]) or 1.0 for j in range(k)]
    near = [min((math.dist(e / span, f / span) for f in found), default=math.inf) for e in exact]
    assert adrs(found, exact) == pytest.approx(sum(near) / len(near))
    assert adrs(exact, exact) == 0


@pytest.mark.parametrize("shape", [(3000, 2), (3000, 3), (1500, 4)])
def test_a_large_front_has_no_dominated_row_and_covers_all(shape: tuple[int, int]) -> None:
    """Points near a sphere: a front of hundreds, more than one block."""
    rng = np.random.default_rng(7)
    points = np.abs(rng.normal(size=shape))
    points = 1 - points / np.linalg.norm(points, axis=1, keepdims=True) * rng.uniform(0.9, 1, (shape[0], 1))
    chosen = front(points)
    assert len(chosen) > 30
    over = (points[chosen][None] <= points[chosen][:, None]).all(axis=2)
    assert np.array_equal(over, np.eye(len(chosen), dtype=bool))
    assert all((points[chosen] <= p).all(axis=1).any() for p in points)


def test_a_point_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        front([[0.0, math.nan]])
    with pytest.raises(ValueError, match="reference"):
        hypervolume([[0.0, 1.0]], [2.0])
    with pytest.raises(ValueError, match="shape"):
        front([1.0, 2.0])


def test_a_goal_to_maximise_is_negated() -> None:
    goals = (Goal("usd", "min"), Goal("rate", "max"))
    assert costs(goals, [{"rate": 3.0, "usd": 2.0}]).tolist() == [[2.0, -3.0]]
    assert costs(goals, []).shape == (0, 2)
    assert size((Dimension("a", (1, 2)), Dimension("b", ("x", "y", "z")))) == 6
