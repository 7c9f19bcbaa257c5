"""Routers against plain numpy, each written from the description of the model that uses it; dispatch and combine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.semantics import run_op

Floats = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(11)


def run(name: str, *operands: Floats, **attrs: float) -> dict[str, Floats]:
    decl = library().ops[name]
    shape = bind(decl, tuple(x.ndim for x in operands))
    sizes = extents(shape, [x.shape for x in operands], attrs)
    return run_op(shape, sizes, attrs, dict(zip((p.name for p in shape.params), operands, strict=True)))


def result(name: str, *operands: Floats, **attrs: float) -> Floats:
    return next(reversed(run(name, *operands, **attrs).values()))


def picked(name: str, *operands: Floats, **attrs: float) -> tuple[Floats, Floats]:
    found = run(name, *operands, **attrs)
    return found["p"], found["id"].astype(int)


def best(scores: Floats, count: int) -> Floats:
    """The places of the largest, in falling order."""
    return np.argsort(-scores, axis=-1, kind="stable")[..., :count]


def dense(p: Floats, ids: Floats, experts: int) -> Floats:
    """Weights by expert, so that the order of the picks does not matter."""
    found = np.zeros((*p.shape[:-1], experts))
    np.put_along_axis(found, ids, p, axis=-1)
    return found


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def same(a: Floats, b: Floats) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


LOGITS = RNG.standard_normal((3, 5, 16))


# ---- softmax -----------------------------------------------------------------------------------


def test_mixtral_normalises_over_the_picked() -> None:
    """Softmax over all experts, the two best, divided by their sum."""
    full = softmax(LOGITS)
    ids = best(full, 2)
    weights = np.take_along_axis(full, ids, -1)
    expected = dense(weights / weights.sum(-1, keepdims=True), ids, 16)
    same(dense(*picked("router", LOGITS, top=2), 16), expected)


def test_gpt_oss_takes_the_softmax_of_the_picked() -> None:
    ids = best(LOGITS, 4)
    expected = dense(softmax(np.take_along_axis(LOGITS, ids, -1)), ids, 16)
    p, found = picked("router", LOGITS, top=4)
    same(dense(p, found, 16), expected)
    v, found = picked("pick", LOGITS, top=4)
    same(dense(result("softmax", v), found, 16), expected)


@pytest.mark.parametrize("normalised", [True, False])
def test_qwen_moe_normalises_if_told(normalised: bool) -> None:
    """`norm_topk_prob` of Qwen2-MoE and Qwen3-MoE."""
    full = softmax(LOGITS)
    ids = best(full, 4)
    weights = np.take_along_axis(full, ids, -1)
    if normalised:
        weights = weights / weights.sum(-1, keepdims=True)
    p, found = picked("pick", result("softmax", LOGITS), top=4)
    same(dense(result("normalise", p) if normalised else p, found, 16), dense(weights, ids, 16))


def test_deepseek_v2_limits_groups_by_their_best_expert() -> None:
    full = softmax(LOGITS)
    groups = full.reshape(3, 5, 4, 4).max(-1)
    allowed = np.zeros((3, 5, 4))
    np.put_along_axis(allowed, best(groups, 2), 1, -1)
    open_ = np.where(np.repeat(allowed, 4, -1) > 0, full, -np.inf)
    ids = best(open_, 6)
    p, found = picked("pick_grouped_max", full, top=6, groups=4, kept=2)
    same(dense(p, found, 16), dense(np.take_along_axis(full, ids, -1), ids, 16))


# ---- sigmoid -----------------------------------------------------------------------------------


def noaux_tc(logits: Floats, bias: Floats, top: int, groups: int, kept: int, scaling: float) -> tuple[Floats, Floats]:
    """One token, as DeepSeek-V3's report and configuration say: biased scores choose, unbiased ones weigh."""
    score = [1 / (1 + np.exp(-x)) for x in logits]
    choice = [s + b for s, b in zip(score, bias, strict=True)]
    size = len(logits) // groups
    strength = [sum(sorted(choice[g * size : (g + 1) * size])[-2:]) for g in range(groups)]
    allowed = sorted(range(groups), key=lambda g: -strength[g])[:kept]
    experts = [x for g in allowed for x in range(g * size, (g + 1) * size)]
    ids = sorted(experts, key=lambda x: -choice[x])[:top]
    total = sum(score[x] for x in ids)
    return np.array([score[x] / total * scaling for x in ids]), np.array(ids)


@pytest.mark.parametrize(
    ("experts", "top", "groups", "kept"), [(16, 4, 4, 2), (32, 8, 8, 4), (12, 3, 2, 1), (8, 2, 1, 1)]
)
def test_deepseek_v3_limits_groups_by_their_two_best(experts: int, top: int, groups: int, kept: int) -> None:
    logits, bias = RNG.standard_normal((2, 3, experts)), RNG.standard_normal(experts) * 0.3
    p, ids = picked("pick_grouped", result("sigmoid", logits), bias, top=top, groups=groups, kept=kept)
    weights = result("normalise", p, scale=2.5)
    for b in range(2):
        for s in range(3):
            expected, chosen = noaux_tc(logits[b, s], bias, top, groups, kept, 2.5)
            assert set(ids[b, s] // (experts // groups)) == set(chosen // (experts // groups))
            same(dense(weights[b, s], ids[b, s], experts), dense(expected, chosen, experts))
    if groups == 1:
        plain, places = picked("pick_biased", result("sigmoid", logits), bias, top=top)
        same(dense(plain, places, experts), dense(p, ids, experts))


def test_a_group_that_is_left_out_is_never_picked_though_its_expert_is_the_best() -> None:
    """One outstanding expert in a poor group loses to two good ones in another."""
    s = np.array([0.9, 0.0, 0.6, 0.5, 0.1, 0.1])
    _, ids = picked("pick_grouped", s, np.zeros(6), top=2, groups=3, kept=1)
    assert sorted(ids) == [2, 3]
    _, ids = picked("pick_grouped_max", s, top=2, groups=3, kept=1)
    assert sorted(ids) == [0, 1]


def test_bias_chooses_but_does_not_weigh() -> None:
    bias = np.array([0.0, 0.0, 5.0, 0.0])
    p, ids = picked("pick_biased", np.array([0.1, 0.2, 0.3, 0.4]), bias, top=2)
    assert ids.tolist() == [2, 3]
    same(p, np.array([0.3, 0.4]))


def test_deepseek_v4_scores_are_roots_of_softplus() -> None:
    x = np.array([-800.0, -3.0, 0.0, 2.0, 800.0])
    expected = np.sqrt([0.0, np.log1p(np.exp(-3)), np.log(2), np.log1p(np.exp(2)), 800.0])
    same(result("sqrt_softplus", x), expected)
    bias = RNG.standard_normal(16)
    score = np.sqrt(np.log1p(np.exp(LOGITS)))
    ids = best(score + bias, 6)
    weights = np.take_along_axis(score, ids, -1)
    p, found = picked("pick_biased", result("sqrt_softplus", LOGITS), bias, top=6)
    expected = weights / weights.sum(-1, keepdims=True) * 1.5
    same(dense(result("normalise", p, scale=1.5), found, 16), dense(expected, ids, 16))


def test_llama4_scales_the_input_of_its_one_expert() -> None:
    x, w = RNG.standard_normal((4, 6)), RNG.standard_normal((5, 3, 6))
    logits = RNG.standard_normal((4, 5))
    v, ids = picked("pick", logits, top=1)
    rows = result("expert_scale", x, result("sigmoid", v))
    found = result("expert_each", rows, w, ids)
    expected = [w[i := int(row.argmax())] @ (x[t] * sigmoid(row[i])) for t, row in enumerate(logits)]
    same(found[:, 0], np.array(expected))


def test_gpt_oss_experts_have_biases() -> None:
    x, w, c = RNG.standard_normal((4, 6)), RNG.standard_normal((5, 3, 6)), RNG.standard_normal((5, 3))
    p, ids = picked("router", RNG.standard_normal((4, 5)), top=2)
    y = result("expert_bias", result("expert_linear", x, w, ids), c, ids)
    found = result("expert_sum", y, p)
    expected = [sum(p[t, j] * (w[i] @ x[t] + c[i]) for j, i in enumerate(ids[t])) for t in range(4)]
    same(found, np.array(expected))


# ---- dispatch and combine ----------------------------------------------------------------------


def choices(rng: np.random.Generator, shape: tuple[int, ...], experts: int, top: int) -> Floats:
    return np.asarray(np.argsort(rng.random((*shape, experts)), axis=-1)[..., :top])


cases = st.tuples(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
)


@given(cases)
def test_permuted_rows_give_what_look_ups_give(case: tuple[int, ...]) -> None:
    seed, b, s, experts, top, n = case
    rng, top = np.random.default_rng(seed), min(top, experts)
    x, w, p = rng.standard_normal((b, s, 5)), rng.standard_normal((experts, n, 5)), rng.random((b, s, top))
    ids = choices(rng, (b, s), experts, top)
    rows = run("permute", x, ids, experts=experts)
    on, back = rows["on"].astype(int), rows["from"].astype(int)
    assert on.tolist() == sorted(ids.ravel().tolist())
    assert sorted(back.tolist()) == list(range(b * s * top))
    y = result("expert_rows", rows["y"], w, on)
    same(result("unpermute", y, back, p), result("expert_sum", result("expert_linear", x, w, ids), p))


@given(cases, st.integers(1, 3))
def test_rows_on_devices_give_what_one_device_gives(case: tuple[int, ...], devices: int) -> None:
    """Each device holds its own experts and tokens; between dispatch and combine it sees only its rows."""
    seed, b, s, each, top, n = case
    rng, experts = np.random.default_rng(seed), each * devices
    top = min(top, experts)
    x, w = rng.standard_normal((devices, b, s, 5)), rng.standard_normal((experts, n, 5))
    p, ids = rng.random((devices, b, s, top)), choices(rng, (devices, b, s), experts, top)
    rows = run("dispatch", x, ids, experts=experts)
    own = w.reshape(devices, each, n, 5)
    y = np.stack([result("expert_rows", rows["y"][q], own[q], rows["on"][q].astype(int)) for q in range(devices)])
    found = result("combine", y, rows["from"].astype(int), rows["live"], p)
    same(found, result("expert_sum", result("expert_linear", x, w, ids), p))
    live = rows["live"]
    assert live.sum() == devices * b * s * top
    assert (np.diff(live, axis=-1) <= 0).all()
    assert (rows["y"][live == 0] == 0).all()
    for q in range(devices):
        on = rows["on"][q][live[q] == 1]
        assert (np.diff(on) >= 0).all()
        assert sorted(ids[ids // each == q] % each) == on.tolist()


def test_what_is_over_the_capacity_is_dropped() -> None:
    x, ids, p = np.ones((1, 1, 3, 2)), np.zeros((1, 1, 3, 1), dtype=int), np.ones((1, 1, 3, 1))
    rows = run("dispatch", x, ids, experts=1, capacity=2)
    assert rows["y"].shape == (1, 2, 2)
    back = result("combine", rows["y"], rows["from"].astype(int), rows["live"], p)
    assert back[0, 0].tolist() == [[1, 1], [1, 1], [0, 0]]


def test_new_scalar_functions() -> None:
    from math import erf

    from dfcompiler.scalars import applied

    x = np.linspace(-3, 3, 7)
    same(applied("erf", x), np.array([erf(v) for v in x]))
    assert applied("equal", np.array([1.0, 2.0]), 2.0).tolist() == [0.0, 1.0]
