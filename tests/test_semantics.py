"""Every op against an independent implementation, and a tiny model with and without its cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, sqrt
from typing import Any

import numpy as np
import pytest
from tiny import LLAMA, lower

from dfcompiler.diagnostics import Diag, Source
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph, Tensor, regions
from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.semantics import run_op
from dfcompiler.steps import step
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

Floats = np.ndarray[Any, np.dtype[np.float64]]
RNG = np.random.default_rng(7)


def rand(*shape: int) -> Floats:
    return RNG.standard_normal(shape)


def run(name: str | t.OpDecl, *operands: Any, **attrs: Any) -> dict[str, Floats]:
    decl = library().ops[name] if isinstance(name, str) else name
    shape = bind(decl, tuple(x.ndim for x in operands))
    sizes = extents(shape, [x.shape for x in operands], attrs)
    return run_op(shape, sizes, attrs, dict(zip((p.name for p in shape.params), operands, strict=True)))


def one(name: str | t.OpDecl, *operands: Any, **attrs: Any) -> Floats:
    return next(reversed(run(name, *operands, **attrs).values()))


def declare(text: str) -> t.OpDecl:
    (op,) = parse_items(Source("op.dfir", text))
    assert isinstance(op, t.OpDecl)
    return op


def same(a: Floats, b: Floats) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# ---- dense -------------------------------------------------------------------------------------


def silu(x: Floats) -> Floats:
    return np.asarray(x / (1 + np.exp(-x)))


A, B = rand(3, 5), rand(5, 4)
X, G, H = rand(2, 3, 6), rand(6), rand(6)


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("matmul", (A, B), lambda a, b: a @ b),
        ("bmm", (rand(2, 3, 4, 5), rand(2, 3, 5, 6)), lambda a, b: a @ b),
        ("linear", (X, rand(4, 6)), lambda x, w: x @ w.T),
        ("linear", (X, rand(2, 2, 3, 6)), lambda x, w: np.einsum("abk,cdek->abcde", x, w)),
        ("linear", (rand(6), rand(4, 6)), lambda x, w: w @ x),
        ("merge", (rand(2, 3, 4, 5), rand(7, 4, 5)), lambda x, w: np.einsum("abcd,ecd->abe", x, w)),
        ("add", (A, A * 2), lambda a, b: a + b),
        ("mul", (A, A + 1), lambda a, b: a * b),
        ("bias_add", (X, G), lambda x, g: x + g),
        ("bias_add", (X, rand(3, 6)), lambda x, g: x + g),
        ("silu", (A,), silu),
        ("silu_mul", (A, A + 1), lambda a, b: silu(a) * b),
        ("absorb", (rand(2, 3, 4), rand(3, 4, 5)), lambda x, w: np.stack([x[:, h] @ w[h] for h in range(3)], 1)),
    ],
)
def test_dense(name: str, operands: tuple[Floats, ...], expected: Callable[..., Floats]) -> None:
    same(one(name, *operands), expected(*operands))


def test_norms() -> None:
    same(one("rmsnorm", X, G, eps=1e-3), X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-3) * G)
    centred = X - X.mean(-1, keepdims=True)
    same(one("layernorm", X, G, H), centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * G + H)
    e = np.exp(X)
    same(one("softmax", X), e / e.sum(-1, keepdims=True))
    assert np.isfinite(one("softmax", X * 1e6)).all()


def test_default_attribute_differs_from_a_given_one() -> None:
    assert not np.allclose(one("rmsnorm", X, G), one("rmsnorm", X, G, eps=1.0))


@pytest.mark.parametrize("heads", [(), (3,), (2, 3)])
def test_rope(heads: tuple[int, ...]) -> None:
    x, past = rand(2, 4, *heads, 8), (5, 0)
    expected = np.zeros_like(x)
    for b in range(2):
        for s in range(4):
            for i in range(4):
                angle = (s + past[b]) * 10000.0 ** (-i / 4)
                lo, hi = x[b, s, ..., i], x[b, s, ..., i + 4]
                expected[b, s, ..., i] = lo * np.cos(angle) - hi * np.sin(angle)
                expected[b, s, ..., i + 4] = hi * np.cos(angle) + lo * np.sin(angle)
    same(one("rope", x, past=past), expected)


def test_qlinear_scales_by_group() -> None:
    x, w, c = rand(3, 8), rand(5, 8), rand(5, 2)
    same(one("qlinear", x, w, c), x @ (w * np.repeat(c, 4, axis=1)).T)


def test_conv1d_sees_no_time_before_the_first() -> None:
    x, w = rand(2, 5, 3), rand(3, 4)
    expected = np.zeros_like(x)
    for i in range(5):
        for j in range(min(4, i + 1)):
            expected[:, i] += x[:, i - j] * w[:, j]
    same(one("conv1d", x, w), expected)


# ---- attention ---------------------------------------------------------------------------------


def attention(q: Floats, k: Floats, v: Floats, sees: Callable[[int, int, int], bool], scale: float) -> Floats:
    b, s, g, r, _ = q.shape
    out = np.zeros((*q.shape[:4], v.shape[-1]))
    for bi, si, gi, ri in np.ndindex(b, s, g, r):
        seen = [ti for ti in range(k.shape[1]) if sees(bi, si, ti)]
        if seen:
            weights = np.array([exp(q[bi, si, gi, ri] @ k[bi, ti, gi] * scale) for ti in seen])
            out[bi, si, gi, ri] = weights @ v[bi, seen, gi] / weights.sum()
    return out


@pytest.mark.parametrize("fresh", [4, (4, 2)])
@pytest.mark.parametrize(("window", "sink"), [(float("inf"), 0), (3, 0), (3, 2), (1, 1)])
@pytest.mark.parametrize("past", [(6, 6), (6, 0), (2, 5)])
def test_attention(past: tuple[int, int], window: float, sink: int, fresh: Any) -> None:
    q, k, v = rand(2, 4, 2, 3, 5), rand(2, 10, 2, 5), rand(2, 10, 2, 4)
    new = fresh if isinstance(fresh, tuple) else (fresh, fresh)

    def sees(b: int, s: int, at: int) -> bool:
        place = s + past[b]
        return s < new[b] and at <= place and (at > place - window or at < sink)

    found = one("attention", q, k, v, past=past, window=window, sink=sink, fresh=fresh)
    same(found, attention(q, k, v, sees, 1 / sqrt(5)))


def test_attention_past_is_what_is_not_new_by_default() -> None:
    q, k, v = rand(1, 2, 1, 1, 4), rand(1, 6, 1, 4), rand(1, 6, 1, 4)
    same(one("attention", q, k, v), one("attention", q, k, v, past=4))


def test_what_does_not_exist_does_not_poison() -> None:
    q, k, v = rand(1, 2, 1, 1, 4), rand(1, 6, 1, 4), rand(1, 6, 1, 4)
    clean = one("attention", q, k, v, past=2)
    k[0, 4:], v[0, 4:] = np.nan, np.inf
    same(one("attention", q, k, v, past=2), clean)


def test_mla_is_attention_on_joined_keys() -> None:
    qc, qr, cc, kr = rand(2, 3, 4, 6), rand(2, 3, 4, 2), rand(2, 7, 6), rand(2, 7, 2)
    past = (1, 4)
    q = np.concatenate([qc, qr], -1)[:, :, None]
    k = np.concatenate([cc, kr], -1)[:, :, None]
    expected = attention(q, k, cc[:, :, None], lambda b, s, at: at <= s + past[b], 0.3)
    same(one("mla", qc, qr, cc, kr, past=past, scale=0.3), expected[:, :, 0])


def test_append_writes_new_rows_only_and_on_a_copy() -> None:
    cache, new = rand(2, 6, 3, 4), rand(2, 2, 3, 4)
    before = cache.copy()
    found = run("append", cache, new, past=(4, 1))
    expected = before.copy()
    expected[0, 4:6], expected[1, 1:3] = new[0], new[1]
    same(found["out"], expected)
    assert found["out"] is found["cache"]
    same(cache, before)


# ---- mixtures, collectives, recurrences --------------------------------------------------------


def test_gather() -> None:
    table, ids = rand(9, 4), np.array([[3, 3, 8], [0, 1, 2]])
    same(one("gather", table, ids), table[ids])


def test_router_takes_the_largest_first_and_the_lower_place_of_equals() -> None:
    x = np.array([[1.0, 5.0, 5.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    found = run("router", x, top=3)
    assert found["id"].tolist() == [[1, 2, 3], [0, 1, 2]]
    e = np.exp([5, 5, 2])
    same(found["p"], np.array([e / e.sum(), [1 / 3] * 3]))


def test_experts() -> None:
    x, w, ids = rand(4, 6), rand(5, 3, 6), np.array([[0, 1], [4, 2], [3, 0], [2, 1]])
    hidden = one("expert_linear", x, w, ids)
    same(hidden, np.array([[w[e] @ x[i] for e in row] for i, row in enumerate(ids)]))
    back, p = rand(5, 6, 3), rand(4, 2)
    expected = [sum(p[i, j] * (back[e] @ hidden[i, j]) for j, e in enumerate(row)) for i, row in enumerate(ids)]
    same(one("expert_merge", hidden, back, ids, p), np.array(expected))


def test_collectives() -> None:
    x, sliced = rand(3, 4, 2), rand(3, 3, 4)
    same(one("all_reduce", x), np.broadcast_to(x.sum(0), x.shape))
    same(one("all_gather", x), np.broadcast_to(x, (3, *x.shape)))
    same(one("reduce_scatter", sliced), sliced.sum(0))
    same(one("all_to_all", sliced), sliced.transpose(1, 0, 2))


def test_ssd() -> None:
    x, dt, a, h0 = rand(2, 5, 3, 2, 4), rand(2, 5, 3, 2), rand(3, 2), rand(2, 3, 2, 4, 6)
    bb, cc = rand(2, 5, 3, 6), rand(2, 5, 3, 6)
    found, h, y = run("ssd", x, dt, a, bb, cc, h0), h0.copy(), np.zeros_like(x)
    for i in range(5):
        h = h * np.exp(dt[:, i] * a)[..., None, None]
        h = h + (dt[:, i, ..., None] * x[:, i])[..., None] * bb[:, i, :, None, None, :]
        y[:, i] = (h * cc[:, i, :, None, None, :]).sum(-1)
    same(found["y"], y)
    same(found["h0"], h)


def test_gated_delta() -> None:
    q, k, v = rand(2, 4, 3, 5), rand(2, 4, 3, 5) / 3, rand(2, 4, 3, 2, 6)
    al, be, state = rand(2, 4, 3, 2), rand(2, 4, 3, 2), rand(2, 3, 2, 5, 6)
    found = run("gated_delta", q, k, v, al, be, state)
    for b, g, r in np.ndindex(2, 3, 2):
        m, h = state[b, g, r].copy(), (g, r)
        for i in range(4):
            key, by, to = k[b, i, g], al[b, i][h], be[b, i][h]
            m = by * (m - to * np.outer(key, key @ m)) + to * np.outer(key, v[b, i][h])
            same(found["o"][b, i][h], q[b, i, g] @ m)
        same(found["s0"][b, g, r], m)


def test_channel_delta() -> None:
    q, k, v = rand(2, 4, 3, 5), rand(2, 4, 3, 5) / 3, rand(2, 4, 3, 6)
    al, be, state = rand(2, 4, 3, 5), rand(2, 4, 3), rand(2, 3, 5, 6)
    found = run("channel_delta", q, k, v, al, be, state)
    for b, h in np.ndindex(2, 3):
        m = state[b, h].copy()
        for i in range(4):
            key, to = k[b, i, h], be[b, i, h]
            m = al[b, i, h, :, None] * m
            m = m - to * np.outer(key, key @ m) + to * np.outer(key, v[b, i, h])
            same(found["o"][b, i, h], q[b, i, h] @ m)
        same(found["s0"][b, h], m)


# ---- the language ------------------------------------------------------------------------------


def test_constant_sums_and_broadcasts() -> None:
    op = declare("op f(x: [n, k]) -> (y: [n, k]) {\n  c[n] = sum(k) 2\n  y[n, k] = c[n] + k\n}")
    same(one(op, np.zeros((2, 3))), np.array([[6.0, 7.0, 8.0]] * 2))


def test_a_sum_skips_points_and_an_element_outside_is_zero() -> None:
    op = declare(
        "op f(x: [n, k]) -> (s: [n], y: [n, k]) {\n  where k <= n\n  s[n] = sum(k) x[n, k] * x[n, k]\n  y[n, k] = 1\n}"
    )
    x = rand(3, 3)
    found = run(op, x)
    same(found["s"], (np.tril(x) ** 2).sum(1))
    same(found["y"], np.tril(np.ones((3, 3))))


def test_masked_writes_leave_an_updated_operand_as_it_was() -> None:
    op = declare("op f(inout c: [t], x: [s]) -> (y: [t]) {\n  attr n = 1\n  where s < n\n  c[s] = x[s]\n}")
    same(one(op, np.zeros(3), np.ones(3), n=2), np.array([1.0, 1.0, 0.0]))


def test_a_local_may_be_read_by_later_statements_and_max_of_nothing_is_the_least() -> None:
    op = declare("op f(x: [n, k]) -> (y: [n]) {\n  where k < n\n  y[n] = max(k) x[n, k]\n}")
    assert one(op, np.zeros((2, 2))).tolist() == [-np.inf, 0.0]


def test_a_local_is_as_large_as_what_is_written() -> None:
    op = declare("op f(x: [n]) -> (y: [n]) {\n  u[n + 1] = x[n]\n  y[n] = u[n]\n}")
    assert one(op, np.array([1.0, 2.0, 3.0])).tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = x[n + 1]\n}", "out-of-range", "op.dfir:2:14"),
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = z[n]\n}", "unknown-name", "op.dfir:2:10"),
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = x[k]\n}", "unknown-name", "op.dfir:2:12"),
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = expo(x[n])\n}", "unknown-name", "op.dfir:2:10"),
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = x[n, n]\n}", "bad-statement", "op.dfir:2:10"),
        ("op f(x: [n]) -> (y: [n]) {\n  y[n] = sum(n) x[n]\n}", "bad-statement", "op.dfir:2:3"),
        ("op f(x: [n]) -> (y: [n], z: [n]) {\n  y[n] = x[n]\n}", "bad-statement", "op.dfir:1:26"),
        (
            "op f(x: [n]) -> (y: [n]) {\n  u[n] = x[n]\n  u[n, n] = x[n]\n  y[n] = x[n]\n}",
            "bad-statement",
            "op.dfir:3:3",
        ),
    ],
)
def test_faults_have_a_place(text: str, code: str, place: str) -> None:
    with pytest.raises(Diag) as error:
        run(declare(text), np.ones(3))
    assert error.value.code == code
    assert str(error.value.span) == place


@pytest.mark.parametrize(
    ("name", "operands", "said"),
    [
        ("rope", (rand(1, 3, 2, 5),), "`i` divides `|e|` by 2, but it is 5"),
        ("qlinear", (rand(2, 10), rand(4, 10), rand(4, 3)), "`group` divides `|k|` by 3, but it is 10"),
        ("pick_grouped_max", (rand(2, 7),), "`i` divides `|e|` by 2, but it is 7"),
    ],
)
def test_a_quotient_of_an_extent_is_whole(name: str, operands: tuple[Floats, ...], said: str) -> None:
    """Else an element would be left as it is by accident, or one touched that is not there."""
    with pytest.raises(Diag) as caught:
        run(name, *operands, **({"groups": 2} if name.startswith("pick") else {}))
    assert caught.value.code == "op-size" and said in caught.value.message and caught.value.span is not None
    assert "is axis" in caught.value.notes[0].message


def test_bad_operands() -> None:
    shape = bind(library().ops["add"], (1, 1))
    with pytest.raises(Diag, match="needs the operand `b`"):
        run_op(shape, {"t": 2}, {}, {"a": np.ones(2)})
    with pytest.raises(Diag, match=r"is \[3\], wants \[2\]"):
        run_op(shape, {"t": 2}, {}, {"a": np.ones(2), "b": np.ones(3)})


# ---- a tiny model ------------------------------------------------------------------------------


def states(graph: Graph) -> list[str]:
    return [x.name for r in regions(graph.body) for x in r.body if isinstance(x, Tensor) and x.kind == "state"]


@pytest.mark.parametrize("params", [LLAMA, {**LLAMA, "sliding_window": 3}])
def test_the_cache_carries_what_a_longer_prefill_sees(params: Mapping[str, Any]) -> None:
    whole, first, second = (lower(params, step(prefill=p)) for p in ([(7, 0)], [(5, 0)], [(2, 5)]))
    inputs = random_inputs(whole)
    ids = inputs["ids"]
    expected = run_graph(whole, inputs)["logits"]

    def shaped(graph: Graph, tokens: Any, cache: Mapping[str, Floats]) -> dict[str, Any]:
        empty = {s: np.zeros((len(inputs[s]), *graph.type_of(s).shape)) for s in states(graph)}
        for name, rows in cache.items():
            empty[name][:, :, : rows.shape[2]] = rows
        return {**inputs, **empty, "ids": tokens}

    head = run_graph(first, shaped(first, ids[:, :5], {}))
    cache = {name: head[name] for name in states(first)}
    tail = run_graph(second, shaped(second, ids[:, 5:], cache))
    np.testing.assert_allclose(head["logits"], expected[:, :5], rtol=0, atol=1e-10)
    np.testing.assert_allclose(tail["logits"], expected[:, 5:], rtol=0, atol=1e-10)
    blind = run_graph(second, shaped(second, ids[:, 5:], {}))
    assert np.abs(blind["logits"] - expected[:, 5:]).max() > 1e-3


def test_parts_of_a_mixed_step_equal_steps_of_their_own() -> None:
    mixed = lower(LLAMA, step(prefill=[(4, 2)], decode=[3, 1]))
    inputs = random_inputs(mixed)
    both = run_graph(mixed, inputs)
    for part, alone in [("prefill", step(prefill=[(4, 2)])), ("decode", step(decode=[3, 1]))]:
        own = {k.removesuffix(f"_{part}"): v for k, v in inputs.items()}
        np.testing.assert_allclose(run_graph(lower(LLAMA, alone), own)["logits"], both[f"logits_{part}"], atol=1e-12)


def test_layers_have_weights_of_their_own() -> None:
    graph = lower(LLAMA, step(decode=[3]))
    inputs = random_inputs(graph)
    other = {**inputs, "w1": inputs["w1"].copy()}
    other["w1"][1] += 1
    assert not np.allclose(run_graph(graph, inputs)["logits"], run_graph(graph, other)["logits"])
    with pytest.raises(Diag, match=r"wants \[2, 12, 8\]"):
        run_graph(graph, {**inputs, "w1": inputs["w1"][0]})


def test_random_inputs_keep_to_their_types() -> None:
    graph = lower(LLAMA, step(prefill=[(64, 0)]))
    ids = random_inputs(graph)["ids"]
    assert ids.min() == 0
    assert ids.max() == 10
    assert all((random_inputs(graph, 3)[k] == v).all() for k, v in random_inputs(graph, 3).items())
