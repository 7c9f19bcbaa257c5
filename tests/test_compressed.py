"""Operators on a compressed past and on several streams: by their definitions, what they move, and that they map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dfcompiler.counts import counts
from dfcompiler.facts import facts
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.pricing import price_op
from dfcompiler.semantics import run_op


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def run(name: str, *operands: Any, **attrs: Any) -> dict[str, Any]:
    shape = bind(library().ops[name], tuple(x.ndim for x in operands))
    sizes = extents(shape, [x.shape for x in operands], attrs)
    return run_op(shape, sizes, attrs, dict(zip((p.name for p in shape.params), operands, strict=True)))


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


@settings(max_examples=50)
@given(
    past=st.lists(st.integers(0, 9), min_size=2, max_size=3),
    fresh=st.integers(1, 7),
    ratio=st.integers(1, 4),
    ways=st.integers(1, 2),
)
def test_sequences_of_unlike_pasts_pool_as_each_alone(past: list[int], fresh: int, ratio: int, ways: int) -> None:
    """Rows that were written are the same; the windows that `fresh` tokens finish, and no others, are written."""
    b, held = len(past), ways * ratio - 1
    assume(held > 0)  # else every token is a window, and nothing is kept
    lk, lg = draw(b, held, ways, 3), draw(b, held, ways, 3, seed=1)
    k, g, place = draw(b, fresh, ways, 3, seed=2), draw(b, fresh, ways, 3, seed=3), draw(ratio, ways, 3)
    rows = np.full((b, (max(past) + fresh + ratio - 1) // ratio, 3), np.nan)

    def both(some: slice, past: Any) -> Any:
        zk, zg = (run("slide_window", a[some], x[some])["z"] for a, x in ((lk, k), (lg, g)))
        y = run("pool_tokens", zk, zg, place, past=past, fresh=fresh)["y"]
        return run("append_pooled", rows[some], y, past=past, fresh=fresh, ratio=ratio)["cache"]

    found = both(slice(None), tuple(past))
    for i, n in enumerate(past):
        np.testing.assert_allclose(found[i : i + 1], both(slice(i, i + 1), n))
        done = [j for j in range(rows.shape[1]) if n < (j + 1) * ratio <= n + fresh]
        assert np.flatnonzero(~np.isnan(found[i, :, 0])).tolist() == done


def test_a_step_pools_where_a_window_ends_and_writes_one_row() -> None:
    sizes = {"b": 3, "t": 8, "v": 2, "r": 4, "e": 16}
    shape = bind(library().ops["pool_tokens"], (4, 4, 3))
    works = [int(counts(shape, sizes, {"past": past, "fresh": 1}).vector["exp"]) for past in range(4, 12)]
    assert works == [3 * 16 * 8 if (past + 1) % 4 == 0 else 0 for past in range(4, 12)]
    append = bind(library().ops["append_pooled"], (3, 3))
    found = counts(append, {"b": 3, "t": 4096, "n": 1, "h": 16}, {"past": 8191, "fresh": 1, "ratio": 4})
    assert found.written["cache"] == 3 * 16 and found.read["new"] == 3 * 16


def test_attention_reads_the_window_and_the_rows_that_are_whole() -> None:
    sizes = {"b": 2, "s": 1, "h": 4, "e": 8}
    window, pooled = bind(library().ops["window_latent"], (4, 3, 1)), bind(library().ops["pooled_latent"], (4, 3))
    for past, seen, whole in ((1023, 128, 8), (200, 128, 1), (9, 10, 0)):
        near = counts(window, {**sizes, "t": 128}, {"past": past})
        far = counts(pooled, {**sizes, "t": 64}, {"past": past, "ratio": 128})
        assert near.read["z"] == 2 * seen * 8 and near.macs == 2 * 4 * 2 * 8 * seen
        assert far.read.get("rows", 0) == 2 * whole * 8 and far.macs == 2 * 4 * 2 * 8 * whole


def test_parts_may_be_cut_into_tiles_of_what_they_look_at() -> None:
    for name, ranks, index in (("window_latent", (4, 3, 1), "t"), ("pooled_latent", (4, 3), "t")):
        assert index not in facts(bind(library().ops[name], ranks)).whole


@settings(max_examples=25)
@given(copies=st.integers(2, 5), rounds=st.integers(20, 40), seed=st.integers(0, 99))
def test_streams_mix_by_a_doubly_stochastic_matrix(copies: int, rounds: int, seed: int) -> None:
    """Streams that agree stay as they are, and the sum over streams stays, where a half layer gives nothing."""
    y, c = draw(6, copies + 2, copies, seed=seed) / 2, draw(copies + 2, copies, seed=seed) / 2
    x, nothing, g = draw(6, copies, 4, seed=seed), np.zeros((6, 4)), np.ones(3)
    same = np.repeat(x[:, :1], copies, 1)
    assert np.allclose(run("stream_update", same, nothing, y, c, g, rounds=rounds)["z"], same, atol=1e-4)
    z = run("stream_update", x, nothing, y, c, g, rounds=rounds)["z"]
    assert np.allclose(z.sum(1), x.sum(1), atol=1e-2) and np.abs(z - x).max() > 1e-3


@given(a=st.floats(-30, 30), b=st.floats(-30, 30))
def test_bounded_gates(a: float, b: float) -> None:
    u, g = np.array([a]), np.array([b])
    clamped, bent = run("silu_mul_clamped", u, g, limit=2)["c"][0], run("situ_mul", u, g, beta=3, linear=5)["c"][0]
    assert clamped == pytest.approx(min(a, 2) * sigmoid(min(a, 2)) * min(max(b, -2), 2), rel=1e-9, abs=1e-12)
    assert abs(bent) <= 15 and np.sign(bent) in (0, np.sign(a) * np.sign(b))
    wide = run("situ_mul", u, g, beta=1e7, linear=1e7)["c"][0]
    assert wide == pytest.approx(a * sigmoid(a) * b, rel=1e-6, abs=1e-9)


def priced(fresh: int) -> dict[str, dict[str, tuple[float, ...]]]:
    """Sizes of DeepSeek-V4-Flash's operators for so many new tokens, and of Kimi K3's mean of nine states."""
    streams = {"t": (fresh,), "m": (4,), "d": (4096,)}
    heads = {"b": (1,), "s": (fresh,), "h": (64,), "e": (512,), "past": (8191,)}
    windows = {"b": (1,), "t": (7 + fresh,), "r": (4,), "v": (2,), "e": (512,)}
    return {
        "stream_scores": {**streams, "n": (24,)},
        "stream_mix": {**streams, "n": (6,), "k": (3,)},
        "stream_update": {**streams, "n": (6,), "k": (3,)},
        "slide_window": {"b": (1,), "i": (127,), "s": (fresh,), "h": (512,)},
        "pool_tokens": {**windows, "past": (8191,), "fresh": (fresh,)},
        "window_latent": {**heads, "t": (127 + fresh,)},
        "pooled_latent": {**heads, "t": (128,), "ratio": (128,)},
        "picked_latent": {**heads, "t": (4096,), "j": (512,), "ratio": (4,)},
        "latent_join": {"t": (fresh * 64,), "e": (512,)},
        "bank_mix": {"t": (fresh,), "k": (8,), "d": (7168,)},
    }


@pytest.mark.parametrize("fresh", [1, 8192], ids=["decode", "prefill"])
@pytest.mark.parametrize("name", priced(1))
def test_every_op_is_tiled_and_priced(name: str, fresh: int) -> None:
    found = price_op(name, priced(fresh)[name], load_chip("ador"))
    assert found.candidates > 0 and 0 <= found.compute_s <= found.latency_s and found.latency_s > 0


@pytest.mark.parametrize(
    ("s", "t", "ratio", "past"), [(1, 1, 4, 0), (2, 2, 8, 5), (3, 4, 4, 0), (3, 4, 2, 0), (5, 3, 3, 2)]
)
def test_rows_are_picked_of_what_is_there(s: int, t: int, ratio: int, past: int) -> None:
    """Where a mask leaves no rows nothing moves; else each element that some point touches moves once."""
    h, e, top, width = 2, 4, 2, 2
    seen = {(x, y) for x in range(s) for y in range(t) if (y + 1) * ratio <= x + past + 1}
    picked = {(x, y) for x in range(s) for y in range(min(top, t)) if (y + 1) * ratio <= x + past + 1}
    rows, columns = ({x[k] for x in seen} for k in (0, 1))
    expected = width * (len(rows) * h * (e + 1) + len(columns) * e) + 4 * len(picked)
    sizes = {"b": (1,), "s": (s,), "h": (h,), "e": (e,), "t": (t,), "past": (past,), "ratio": (ratio,), "top": (top,)}
    assert price_op("row_indexer", sizes, load_chip("ador")).bytes["hbm"] == expected
