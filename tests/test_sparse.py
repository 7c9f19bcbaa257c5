"""Attention over selected tokens and blocks: equal to dense attention where all are selected, and what it moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dfcompiler.counts import counts
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.pricing import price_op
from dfcompiler.semantics import run_op

Floats = npt.NDArray[np.float64]
B, S, T, G, R, E, H, C = 2, 3, 11, 2, 2, 4, 3, 5
PAST = (4, 8)


def run(name: str, *operands: Any, **attrs: Any) -> dict[str, Floats]:
    shape = bind(library().ops[name], tuple(x.ndim for x in operands))
    sizes = extents(shape, [x.shape for x in operands], attrs)
    return run_op(shape, sizes, attrs, dict(zip((p.name for p in shape.params), operands, strict=True)))


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def picked(top: int) -> Floats:
    """Picks of the indexer by its definition, best first."""
    return run("indexer", draw(B, S, H, E), draw(B, S, H, seed=1), draw(B, T, E, seed=2), past=PAST, top=top)["id"]


def test_the_indexer_picks_the_best_that_are_there() -> None:
    q, w, k = draw(B, S, H, E), draw(B, S, H, seed=1), draw(B, T, E, seed=2)
    found = picked(4)
    assert found.shape == (B, S, 4)
    for b in range(B):
        for s in range(S):
            score = np.maximum(k[b] @ q[b, s].T, 0) @ w[b, s]
            there = PAST[b] + s + 1
            best = np.argsort(-score[:there], kind="stable")[:4]
            assert found[b, s, : len(best)].tolist() == best.tolist()


@pytest.mark.parametrize("top", [T, 2 * T])
def test_all_tokens_picked_is_dense_attention(top: int) -> None:
    q, k, v = draw(B, S, G, R, E), draw(B, T, G, E, seed=1), draw(B, T, G, E + 1, seed=2)
    found = run("sparse_attention", q, k, v, picked(top), past=PAST)["o"]
    assert np.allclose(found, run("attention", q, k, v, past=PAST)["o"], rtol=1e-12)


def test_all_tokens_picked_is_dense_latent_attention() -> None:
    qc, qr, cc, kr = draw(B, S, H, C), draw(B, S, H, E), draw(B, T, C, seed=1), draw(B, T, E, seed=2)
    found = run("sparse_mla", qc, qr, cc, kr, picked(T), past=PAST, scale=0.3)["o"]
    assert np.allclose(found, run("mla", qc, qr, cc, kr, past=PAST, scale=0.3)["o"], rtol=1e-12)


def test_some_tokens_picked_is_attention_over_those() -> None:
    q, k, v, id_ = draw(B, S, G, R, E), draw(B, T, G, E, seed=1), draw(B, T, G, E, seed=2), picked(3)
    found = run("sparse_attention", q, k, v, id_, past=PAST)["o"]
    for b in range(B):
        for s in range(S):
            rows = id_[b, s].astype(int)
            one = run("attention", q[b : b + 1, s : s + 1], k[b : b + 1, rows], v[b : b + 1, rows], past=2)["o"]
            assert np.allclose(found[b, s], one[0, 0], rtol=1e-12)


@pytest.mark.parametrize("block", [1, 2, 4, 16])
def test_all_blocks_picked_is_dense_attention(block: int) -> None:
    q, k, v = draw(B, S, G, R, E), draw(B, T, G, E, seed=1), draw(B, T, G, E, seed=2)
    id_ = run("block_indexer", q, k, past=PAST, block=block, top=T)["id"]
    found = run("block_attention", q, k, v, id_, past=PAST, block=block)["o"]
    assert np.allclose(found, run("attention", q, k, v, past=PAST)["o"], rtol=1e-12)


def test_blocks_are_picked_by_their_best_token_and_the_newest_always() -> None:
    q, k, block, top = draw(B, S, G, R, E), draw(B, T, G, E, seed=1), 3, 2
    id_ = run("block_indexer", q, k, past=PAST, block=block, top=top)["id"]
    for b, s, g in np.ndindex(B, S, G):
        end = PAST[b] + s + 1
        match = (k[b, :end, g] @ q[b, s, g].T).max(-1)
        best = [match[x : x + block].max() for x in range(0, end, block)]
        older = np.argsort(-np.array(best[:-1]), kind="stable")[: top - 1]
        assert id_[b, s, g].tolist() == [len(best) - 1, *older]


# ---- what moves --------------------------------------------------------------------------------


def test_a_decode_reads_exactly_its_selected_rows() -> None:
    sizes = {"b": 3, "s": 1, "g": G, "r": R, "e": E, "f": E, "t": 4096, "j": 64}
    shape = bind(library().ops["sparse_attention"], (5, 4, 4, 3))
    found = counts(shape, sizes, {"past": 4095})
    assert found.read["k"] == pytest.approx(3 * 64 * G * E, rel=1e-9)
    assert found.macs == 3 * 64 * G * R * (E + E)
    few = counts(shape, sizes, {"past": 9})  # ten tokens are there, so ten are picked
    assert few.read["k"] == pytest.approx(3 * 10 * G * E, rel=1e-9) and few.macs == 3 * 10 * G * R * (E + E)


def test_a_prefill_reads_the_distinct_rows_that_are_expected() -> None:
    rows, top, t = 6, 5, 40
    sizes = {"b": 2, "s": rows, "g": 1, "r": 1, "e": 2, "f": 2, "t": t, "j": top}
    found = counts(bind(library().ops["sparse_attention"], (5, 4, 4, 3)), sizes, {"past": 100})
    rng = np.random.default_rng(0)
    drawn = [len({int(x) for _ in range(rows) for x in rng.permutation(t)[:top]}) for _ in range(4000)]
    assert found.read["k"] == pytest.approx(2 * 2 * np.mean(drawn), rel=0.01)


def test_blocks_read_whole_blocks() -> None:
    sizes = {"b": 3, "s": 1, "g": 2, "r": 4, "e": 8, "f": 8, "t": 4096, "j": 16}
    found = counts(bind(library().ops["block_attention"], (5, 4, 4, 4)), sizes, {"past": 4095, "block": 64})
    assert found.read["k"] == pytest.approx(3 * 16 * 64 * 2 * 8, rel=1e-9)
    assert found.macs == 3 * 16 * 64 * 2 * 4 * 16
    indexer = counts(bind(library().ops["block_indexer"], (5, 4)), {k: sizes[k] for k in "bsgret"}, {"block": 64})
    assert indexer.read["k"] == 3 * 4096 * 2 * 8 and indexer.macs == 3 * 4096 * 2 * 4 * 8


SMALL: dict[str, dict[str, tuple[float, ...]]] = {
    "indexer": {"b": (4,), "s": (1,), "h": (64,), "e": (128,), "t": (8192,), "top": (2048,)},
    "sparse_mla": {"b": (4,), "s": (1,), "h": (128,), "c": (512,), "e": (64,), "t": (8192,), "j": (2048,)},
    "sparse_attention": {
        "b": (4,), "s": (1,), "g": (8,), "r": (4,), "e": (128,), "f": (128,), "t": (8192,), "j": (2048,)
    },
    "block_indexer": {"b": (4,), "s": (1,), "g": (4,), "r": (16,), "e": (128,), "t": (8192,), "block": (128,)},
    "block_attention": {
        "b": (4,), "s": (1,), "g": (4,), "r": (16,), "e": (128,), "f": (128,), "t": (8192,), "j": (16,), "block": (128,)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_op_is_tiled_and_priced(name: str) -> None:
    found = price_op(name, SMALL[name], load_chip("ador"))
    assert found.candidates > 0 and 0 < found.compute_s <= found.latency_s
