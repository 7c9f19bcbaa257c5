"""What stands when constants and models are a little wrong, against loops over designs and drawn errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import front
from dfcompiler.explore.perturbation import Constant, alone, band, choice, jaccard, regret, shift, together

Floats = NDArray[np.float64]


@st.composite
def prices(draw: st.DrawFn) -> Floats:
    """Objectives of some designs: the first positive, the second negative (to be maximised), perhaps a third."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = rng.integers(1, draw(st.sampled_from([4, 50])), (draw(st.integers(1, 25)), draw(st.integers(2, 3)))).astype(
        float
    )
    rows[:, 1] *= -1
    return rows


def dominates(a: Floats, b: Floats) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(prices(), st.integers(0, 2**32 - 1))
def test_regret_is_the_price_of_keeping_old_designs_at_every_level(truth: Floats, seed: int) -> None:
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(truth)) < 0.5)
    best = [i for i, p in enumerate(truth) if not any(dominates(q, p) for q in truth)]
    best = [i for i in best if not any((truth[j] == truth[i]).all() for j in best if j < i)]
    expected = [
        min((truth[k, 0] / truth[i, 0] - 1 for k in kept if (truth[k, 1:] <= truth[i, 1:]).all()), default=math.inf)
        for i in best
    ]
    assert regret(kept, truth, 0).tolist() == pytest.approx(expected)
    assert (regret(kept, truth, 0) >= 0).all()
    assert not regret(front(truth), truth, 0).any(), "the true front regrets nothing"


@given(prices(), st.lists(st.sampled_from([0.0, 0.05, 0.3]), min_size=3, max_size=3), st.integers(0, 2**32 - 1))
def test_the_band_holds_what_some_error_puts_on_the_front(values: Floats, errors: list[float], seed: int) -> None:
    share = np.array(errors[: values.shape[1]])
    found = band(values, share).tolist()
    low, high = values - share * abs(values), values + share * abs(values)
    assert found == [i for i in range(len(values)) if not any(dominates(high[j], low[i]) for j in range(len(values)))]
    rng = np.random.default_rng(seed)
    for _ in range(5):
        wrong = values * (1 + share * rng.uniform(-1, 1, values.shape))
        assert set(front(wrong, ties=True).tolist()) <= set(found)
    for i in found:  # and no more: the error that is best for it and worst for the others puts it there
        kind = high.copy()
        kind[i] = low[i]
        assert i in front(kind, ties=True)


def test_without_an_error_the_band_is_the_front() -> None:
    values = np.array([[1.0, -2.0], [1.0, -2.0], [2.0, -3.0], [2.0, -2.0], [np.inf, -9.0]])
    assert band(values, 0.0).tolist() == [0, 1, 2]
    assert band(values, [0.0, 0.5]).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="share"):
        band(values, 1.0)


@given(prices(), st.sampled_from([0.0, 0.1]))
def test_a_choice_names_all_that_may_be_as_good(values: Floats, error: float) -> None:
    limits = np.full(values.shape[1], np.inf)
    limits[1] = -2.0
    within = [i for i in range(len(values)) if values[i, 1] <= -2]
    found = choice(values, limits, 0, error)
    if not within:
        assert found is None
        return
    assert found is not None
    best = min(values[i, 0] for i in within)
    assert values[found.first, 0] == best
    alike = {i for i in within if values[i, 0] * (1 - error) <= best * (1 + error)}
    assert {found.first, *found.others} == alike and found.first not in found.others


def test_jaccard_counts_designs() -> None:
    for a, b in itertools.product([[], [1], [1, 2, 3]], [[], [1], [3, 4]]):
        both, either = len({*a} & {*b}), len({*a} | {*b})
        assert jaccard(a, b) == (both / either if either else 1.0)


def cost_and_rate(constants: Mapping[str, float]) -> Floats:
    """Designs of 1 to 30 units and 1 to 8 memories: dollars, and the negated rate that the scarcer allows."""
    units, memories = (a.ravel().astype(float) for a in np.meshgrid(range(1, 31), range(1, 9), indexing="ij"))
    dollars = units * constants["unit_usd"] + memories * constants["memory_usd"] + 20
    rate = np.minimum(units * constants["efficiency"], memories * 3.0)
    return np.stack([dollars, -rate], axis=1)


CONSTANTS = (Constant("unit_usd", 5, 5, 5), Constant("memory_usd", 10, 5, 20), Constant("efficiency", 1, 0.8, 1.2))


def test_each_constant_is_moved_alone_and_what_it_does_is_told() -> None:
    changes = alone(CONSTANTS)
    assert changes == [{"memory_usd": 5}, {"memory_usd": 20}, {"efficiency": 0.8}, {"efficiency": 1.2}]
    values = {c.name: c.value for c in CONSTANTS}
    nominal = front(cost_and_rate(values), ties=True)
    shifts = [shift(nominal, changed, cost_and_rate(values | changed), 0) for changed in changes]
    for told in shifts:
        found = regret(nominal, cost_and_rate(values | dict(told.changed)), 0)
        met = found[np.isfinite(found)]
        assert told.unmet == np.isinf(found).sum()
        assert told.mean == pytest.approx(met.mean()) and told.worst == pytest.approx(met.max())
        assert told.p95 == pytest.approx(np.quantile(met, 0.95))
    assert shifts[2].unmet > 0 or shifts[2].worst > 0, "less efficient units need other designs"


def test_all_constants_together_are_drawn_the_same_for_a_seed() -> None:
    one, again, other = (together(CONSTANTS, 8, seed, at_ends=["efficiency"]) for seed in (1, 1, 2))
    assert one == again != other
    for drawn in one:
        assert all(c.low <= drawn[c.name] <= c.high for c in CONSTANTS)
    assert {drawn["efficiency"] for drawn in one + other} == {0.8, 1.0, 1.2}
    assert len({drawn["memory_usd"] for drawn in one}) == 8


def test_a_constant_outside_its_range_is_refused() -> None:
    with pytest.raises(Diag, match="outside its own range"):
        Constant("x", 3.0, 1.0, 2.0)
