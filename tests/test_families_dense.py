"""Dense families, run at small sizes: steps that hand on their caches, and what is special in plain numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import LLAMA, check_steps, lower, tiny

from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.semantics import run_op
from dfcompiler.steps import step

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 12, "vocab_size": 11}
GPT2 = {"n_layer": 2, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 11}
OPT = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "ffn_dim": 12,
    "vocab_size": 11,
    "max_position_embeddings": 16,
}
BLOOM = {"n_layer": 2, "hidden_size": 12, "n_head": 3, "vocab_size": 11}
FALCON = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "vocab_size": 11}
NEW_FALCON = {**FALCON, "new_decoder_architecture": 1, "num_kv_heads": 2}
GEMMA = {**LLAMA, "tie_word_embeddings": 1}
GEMMA2 = {
    **GEMMA,
    "num_hidden_layers": 4,
    "sliding_window": 3,
    "attn_logit_softcapping": 2.0,
    "query_pre_attn_scalar": 5,
}
GEMMA3 = {**GEMMA, "num_hidden_layers": 7, "sliding_window": 3, "rope_theta": 1e6}
LISTED = {**GEMMA3, "num_hidden_layers": 3, "layer_types": ["full_attention", "sliding_attention", "full_attention"]}
BERT = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "vocab_size": 11,
    "max_position_embeddings": 16,
}
LLADA = {"n_layers": 2, "d_model": 8, "n_heads": 2, "mlp_hidden_size": 12, "embedding_size": 11}


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {**LLAMA, "partial_rotary_factor": 0.5}),
        ("qwen2", {**LLAMA, "use_sliding_window": 1, "sliding_window": 3, "max_window_layers": 1}),
        ("qwen3", LLAMA),
        ("gpt2", GPT2),
        ("opt", OPT),
        ("bloom", BLOOM),
        ("falcon", FALCON),
        ("falcon", NEW_FALCON),
        ("gemma", GEMMA),
        ("gemma2", {**GEMMA2, "final_logit_softcapping": 0.5}),
        ("gemma3", GEMMA3),
        ("gemma3", LISTED),
    ],
)
def test_steps_hand_on_their_cache(family: str, fields: dict[str, Any]) -> None:
    check_steps(tiny(fields, family))
    check_steps(tiny(fields, family), cuts=(3, 4))


# ---- whole models in plain numpy ---------------------------------------------------------------


def layer(w: dict[str, Any], i: int) -> dict[str, Any]:
    return {name: value[i] for name, value in w.items()}


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(x: Any, gain: Any, bias: Any, eps: float) -> Any:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * gain + bias


def rms(x: Any, gain: Any, eps: float) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def turn(x: Any, theta: float) -> Any:
    """Rotary embedding of x[s, h, e], rotate-half form."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * c - b * s, b * c + a * s], -1)


def attend(q: Any, k: Any, v: Any, seen: Any, factor: float, cap: float | None = None, bias: Any = 0.0) -> Any:
    """q[s, h, e], k and v [t, g, e]: heads of a group are neighbours. `seen[s, t]` says what may be looked at."""
    per = q.shape[1] // k.shape[1]
    scores = np.einsum("she,the->hst", q, np.repeat(k, per, 1)) * factor
    scores = scores if cap is None else np.tanh(scores / cap) * cap
    p = softmax(np.where(seen, scores + bias, -np.inf))
    return np.einsum("hst,the->she", p, np.repeat(v, per, 1))


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


CAUSAL = np.tril(np.ones((7, 7), dtype=bool))


def test_gpt2_in_numpy() -> None:
    graph = lower(GPT2, step(prefill=[(7, 0)]), "gpt2")
    w = random_inputs(graph)
    x = w["table"][w["ids"][0]] + w["places"][:7]
    for i in range(2):
        h = norm(x, w["gain"][i], w["bias"][i], 1e-5)
        q, k, v = (np.einsum("sd,h...d->sh...", h, w[f"w{n}"][i]) + w[f"b{n}"][i] for n in "qkv")
        a = attend(q.reshape(7, 2, 4), k, v, CAUSAL, 0.5)
        x = x + np.einsum("she,dhe->sd", a, w["wo"][i].reshape(8, 2, 4)) + w["bo"][i]
        h = norm(x, w["gain_1"][i], w["bias_1"][i], 1e-5)
        x = x + gelu_tanh(h @ w["w1"][i].T + w["b1"][i]) @ w["w2"][i].T + w["b2"][i]
    logits = norm(x, w["gain_2"], w["bias_2"], 1e-5) @ w["table"].T
    np.testing.assert_allclose(run_graph(graph, w)[graph.outputs[0]][0], logits, atol=1e-10)


def test_gemma2_in_numpy() -> None:
    graph = lower({**GEMMA2, "final_logit_softcapping": 0.5}, step(prefill=[(7, 0)]), "gemma2")
    w = random_inputs(graph)
    near = CAUSAL & ~np.tril(np.ones((7, 7), dtype=bool), -3)
    x = w["table"][w["ids"][0]] * np.sqrt(8)
    gains = ["gain", "gain_1", "gain_2", "gain_3"]
    for i in range(4):
        tag, seen = (("", near), ("_1", CAUSAL))[i % 2]
        g = [w[n if i % 2 == 0 else f"gain_{j + 4}"][i // 2] for j, n in enumerate(gains)]
        h = rms(x, 1 + g[0], 1e-5)
        q, k, v = (np.einsum("sd,...ed->s...e", h, w[f"w{n}{tag}"][i // 2]) for n in "qkv")
        a = attend(turn(q.reshape(7, 4, 4), 1e4), turn(k, 1e4), v, seen, 5**-0.5, 2.0)
        a = np.einsum("she,dhe->sd", a, w[f"wo{tag}"][i // 2].reshape(8, 4, 4))
        x = x + rms(a, 1 + g[1], 1e-5)
        h = rms(x, 1 + g[2], 1e-5)
        y = (gelu_tanh(h @ w[f"w1{tag}"][i // 2].T) * (h @ w[f"w3{tag}"][i // 2].T)) @ w[f"w2{tag}"][i // 2].T
        x = x + rms(y, 1 + g[3], 1e-5)
    logits = rms(x, 1 + w["gain_8"], 1e-5) @ w["table"].T
    np.testing.assert_allclose(run_graph(graph, w)[graph.outputs[0]][0], np.tanh(logits / 0.5) * 0.5, atol=1e-9)


@pytest.mark.parametrize("heads", [2, 3, 4, 6, 12])
def test_slopes_of_alibi(heads: int) -> None:
    """As the paper has them: a geometric series for powers of two, every other of the next series for the rest."""

    def series(n: int) -> list[float]:
        return [2.0 ** (-8 * (i + 1) / n) for i in range(n)]

    near = 1 << (heads.bit_length() - 1)
    slopes = np.array([*series(near), *series(2 * near)[::2][: heads - near]])
    op, rng = library().ops["attention_alibi"], np.random.default_rng(heads)
    q, k, v = (rng.standard_normal((7, heads, 4)) for _ in range(3))
    shape = bind(op, (5, 4, 4))
    operands = {"q": q[None, :, :, None], "k": k[None], "v": v[None]}
    sizes = extents(shape, [x.shape for x in operands.values()], {"near": near})
    found = run_op(shape, sizes, {"near": near}, operands)["o"][0, :, :, 0]
    distance = np.arange(7)[:, None] - np.arange(7)
    expected = attend(q, k, v, CAUSAL, 0.5, bias=-slopes[:, None, None] * distance)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bert_sees_both_ways() -> None:
    graph = lower(BERT, step(prefill=[(7, 0)]), "bert")
    w = random_inputs(graph)
    before = run_graph(graph, w)[graph.outputs[0]]
    w["ids"][0, -1] = (w["ids"][0, -1] + 1) % 11
    assert np.abs(run_graph(graph, w)[graph.outputs[0]] - before)[0, 0].max() > 1e-6


def test_partial_diffusion_step_sees_the_whole_cache() -> None:
    """Tokens 5 and 6 are new, keys and values of all others are in the cache, as they are after a full step."""
    model = tiny(LLADA, "llada")
    whole, part = lower(model, step(prefill=[(7, 0)])), lower(model, step(prefill=[(2, 5)]))
    w = random_inputs(whole)
    w |= {s: np.zeros(w[s].shape) for s in ("kc", "vc")}
    full = run_graph(whole, w)
    again = run_graph(part, {**w, "ids": w["ids"][:, 5:], "kc": full["kc"], "vc": full["vc"]})
    np.testing.assert_allclose(again["logits"], full["logits"][:, 5:], atol=1e-10)


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 112])
def test_bloom_knows_the_nearest_power_of_two(heads: int) -> None:
    graph = lower({**BLOOM, "hidden_size": 2 * heads, "n_head": heads}, step(decode=[3]), "bloom")
    near = [dict(n.attrs)["near"] for n in graph.nodes.values() if "near" in dict(n.attrs)]
    assert near == [1 << (heads.bit_length() - 1)]
