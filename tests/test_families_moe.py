"""Families with experts and their relatives: steps that hand on their caches, whole models in plain numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from plain import (
    Floats,
    Weights,
    attend,
    back,
    causal,
    check,
    gelu_tanh,
    heads,
    mixture,
    rms,
    sigmoid,
    silu,
    softmax,
    top,
    turn,
)
from tiny import check_steps, lower, tiny

from dfcompiler.diagnostics import Diag
from dfcompiler.steps import step

S = 7  # tokens of a prefill here
BASE = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 6,
    "vocab_size": 11,
}
MOE = {**BASE, "num_local_experts": 5, "num_experts_per_tok": 2}
TURNS = ["sliding_attention", "full_attention"]

MIXTRAL = {**MOE, "num_hidden_layers": 2}
QWEN3_MOE = {
    **BASE,
    "num_hidden_layers": 4,
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 5,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [3],
    "norm_topk_prob": True,
}
GPT_OSS = {**MOE, "num_hidden_layers": 4, "layer_types": TURNS * 2, "sliding_window": 3, "swiglu_limit": 0.5}
LLAMA4 = {
    **MOE,
    "num_hidden_layers": 4,
    "num_experts_per_tok": 1,
    "intermediate_size_mlp": 7,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 3,
    "floor_scale": 2,
    "use_qk_norm": True,
}
MINIMAX_M2 = {**MOE, "num_hidden_layers": 2, "rotary_dim": 2}
MINIMAX_M3 = {
    **MOE,
    "num_hidden_layers": 4,
    "dense_intermediate_size": 7,
    "shared_intermediate_size": 5,
    "moe_layer_freq": [0, 1, 1, 1],
    "rotary_dim": 2,
    "routed_scaling_factor": 2.0,
    "swiglu_limit": 0.5,
    "sparse_attention_config": {
        "use_sparse_attention": True,
        "sparse_attention_freq": [0, 0, 1, 1],
        "sparse_disable_index_value": [0, 0, 1, 1],
        "sparse_index_dim": 6,
        "sparse_num_index_heads": 2,
        "sparse_block_size": 2,
        "sparse_topk_blocks": 2,
        "sparse_init_block": 0,
        "sparse_local_block": 1,
        "sparse_score_type": "max",
    },
}
MIMO_V2 = {
    **BASE,
    "num_hidden_layers": 4,
    "head_dim": 6,
    "v_head_dim": 3,
    "swa_num_attention_heads": 6,
    "swa_num_key_value_heads": 3,
    "swa_head_dim": 4,
    "swa_v_head_dim": 2,
    "swa_rope_theta": 100,
    "partial_rotary_factor": 0.67,
    "hybrid_layer_pattern": [0, 1, 1, 0],
    "moe_layer_freq": [0, 1, 1, 1],
    "sliding_window": 3,
    "attention_value_scale": 0.7,
    "add_swa_attention_sink_bias": True,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 5,
}
GEMMA4 = {
    **BASE,
    "num_hidden_layers": 4,
    "num_global_key_value_heads": 1,
    "global_head_dim": 8,
    "attention_k_eq_v": True,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    "sliding_window": 3,
    "rope_parameters": {
        "full_attention": {"partial_rotary_factor": 0.5, "rope_theta": 1000.0, "rope_type": "proportional"},
        "sliding_attention": {"rope_theta": 100.0, "rope_type": "default"},
    },
    "final_logit_softcapping": 0.5,
    "tie_word_embeddings": True,
}
GEMMA4_MOE = {**GEMMA4, "enable_moe_block": True, "num_experts": 5, "top_k_experts": 2, "moe_intermediate_size": 5}
STEP = {
    **BASE,
    "num_hidden_layers": 4,
    "num_attention_groups": 2,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "sliding_window": 3,
    "attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": 6},
    "use_head_wise_attn_gate": True,
    "rope_theta": [1000.0, 100.0, 100.0, 1000.0],
    "partial_rotary_factors": [0.5, 1.0, 1.0, 0.5],
    "use_rope_layers": [1, 1, 0, 1],
    "moe_layers_enum": [1, 2, 3],
    "moe_num_experts": 5,
    "moe_top_k": 2,
    "moe_intermediate_size": 5,
    "share_expert_dim": 4,
    "moe_router_scaling_factor": 3.0,
    "swiglu_limits": [None, None, 0.2, 0.1],
    "swiglu_limits_shared": [0.1, None, None, 0.3],
}


def block(attention: dict[str, Any], ffn: dict[str, Any]) -> dict[str, Any]:
    return {"attention": attention, "ffn": ffn}


DECILM = {
    **BASE,
    "num_key_value_heads": None,
    "num_hidden_layers": 5,
    "hidden_size": 16,
    "block_configs": [
        block({"n_heads_in_group": 2}, {"ffn_mult": 0.5}),
        block({"no_op": True}, {"ffn_mult": 30.0}),
        block({"n_heads_in_group": 4, "window_length": 3}, {"no_op": True}),
        block({"replace_with_linear": True}, {"replace_with_linear": True}),
        block({"no_op": True}, {"no_op": True}),
    ],
}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("mixtral", MIXTRAL),
    ("mixtral", {**MIXTRAL, "sliding_window": 3}),
    ("qwen3_moe", QWEN3_MOE),
    ("qwen3_moe", {**QWEN3_MOE, "norm_topk_prob": False}),
    ("gpt_oss", GPT_OSS),
    ("llama4", LLAMA4),
    ("llama4", {**LLAMA4, "use_qk_norm": False, "attn_temperature_tuning": False}),
    ("minimax_m2", MINIMAX_M2),
    ("minimax_m3", MINIMAX_M3),
    ("mimo_v2", MIMO_V2),
    ("gemma4", GEMMA4),
    ("gemma4", GEMMA4_MOE),
    ("step", STEP),
    ("decilm", DECILM),
]


@pytest.mark.parametrize(("family", "fields"), FAMILIES)
@pytest.mark.parametrize("cuts", [(5, 2), (5, 1, 1)])
def test_steps_hand_on_their_cache(family: str, fields: dict[str, Any], cuts: tuple[int, ...]) -> None:
    check_steps(tiny(fields, family), cuts)


# ---- whole models in plain numpy ---------------------------------------------------------------


def run(family: str, fields: dict[str, Any], layer: Callable[[Weights, Floats, int], Floats], **ends: Any) -> None:
    """Compare a family with `layer(weights, x, number)` between an embedding and an RMS norm with a table."""

    def forward(w: Weights, ids: Any) -> Floats:
        table = w("table")
        x = table[ids] * ends.get("embedded", 1)
        for i in range(fields["num_hidden_layers"]):
            x = layer(w, x, i)
        h = rms(x, 1 + w("gain") if "offset" in ends else w("gf"))
        return ends.get("logits", lambda y: y)(h @ (table if ends.get("tied") else w("head")).T)

    check(lower(tiny(fields, family), step(prefill=[(S, 0)])), forward)


def gated(h: Floats, w: Weights, names: str = "w1 w3 w2", gate: Callable[..., Floats] | None = None) -> Floats:
    w1, w3, w2 = (w(n) for n in names.split())
    act = gate or (lambda a, b: silu(a) * b)
    return act(h @ w1.T, h @ w3.T) @ w2.T


def experts(h: Floats, picks: Any, w: Weights, gate: Callable[..., Floats] | None = None) -> Floats:
    w1, w3, w2 = w("e1"), w("e3"), w("e2")
    act = gate or (lambda a, b: silu(a) * b)
    return mixture(h, picks, lambda e, x: w2[e] @ act(w1[e] @ x, w3[e] @ x))


def by_softmax(r: Floats, count: int, normal: bool = True) -> list[list[tuple[int, float]]]:
    """Softmax over all experts, then the best of them, brought to sum 1."""
    found = []
    for p in softmax(r):
        ids = top(p, count)
        found.append([(e, p[e] / (sum(p[ids]) if normal else 1)) for e in ids])
    return found


def by_sigmoid(r: Floats, correction: Floats, count: int, factor: float = 1.0) -> list[list[tuple[int, float]]]:
    """The best by sigmoid plus correction, weighed by the sigmoids alone, brought to sum `factor`."""
    found = []
    for p in sigmoid(r):
        ids = top(p + correction, count)
        found.append([(e, p[e] / sum(p[ids]) * factor) for e in ids])
    return found


def test_mixtral_in_numpy() -> None:
    def layer(w: Weights, x: Floats, _: int) -> Floats:
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        x = x + back(attend(turn(q, 1e4), turn(k, 1e4), v, causal(S), 0.5), w("wo"))
        h = rms(x, w("g2"))
        return x + experts(h, by_softmax(h @ w("wr").T, 2), w)

    run("mixtral", MIXTRAL, layer)


@pytest.mark.parametrize("normal", [True, False])
def test_qwen3_moe_in_numpy(normal: bool) -> None:
    def layer(w: Weights, x: Floats, i: int) -> Floats:
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        q, k = rms(q, w("gq")), rms(k, w("gk"))
        x = x + back(attend(turn(q, 1e4), turn(k, 1e4), v, causal(S), 0.5), w("wo"))
        h = rms(x, w("g2"))
        if i != 1:  # every second layer but the last, which is listed as dense
            return x + gated(h, w)
        return x + experts(h, by_softmax(h @ w("wr").T, 2, normal), w)

    run("qwen3_moe", {**QWEN3_MOE, "norm_topk_prob": normal}, layer)


def limited(limit: float, alpha: float = 1.702) -> Callable[[Floats, Floats], Floats]:
    """The gate of gpt-oss: both sides clamped, a sigmoid of slope alpha, and 1 added to the linear side."""

    def gate(a: Floats, b: Floats) -> Floats:
        a = np.minimum(a, limit)
        return a * sigmoid(alpha * a) * (np.clip(b, -limit, limit) + 1)

    return gate


def test_gpt_oss_in_numpy() -> None:
    def layer(w: Weights, x: Floats, i: int) -> Floats:
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(f"w{n}")) + w(f"b{n}").reshape(-1, 4) for n in "qkv")
        seen = causal(S, np.inf if i % 2 else 3)
        o = attend(turn(q, 1e4), turn(k, 1e4), v, seen, 0.5, w("sink").reshape(-1))
        x = x + back(o, w("wo")) + w("bo")
        h = rms(x, w("g2"))
        r = h @ w("wr").T + w("br")
        (w1, c1), (w3, c3), (w2, c2) = ((w(f"e{n}"), w(f"c{n}")) for n in (1, 3, 2))
        act = limited(0.5)
        return x + mixture(h, by_softmax(r, 2), lambda e, y: w2[e] @ act(w1[e] @ y + c1[e], w3[e] @ y + c3[e]) + c2[e])

    run("gpt_oss", GPT_OSS, layer)


def neighbours(x: Floats, theta: float) -> Floats:
    """Rotary embedding of pairs of neighbours, as complex numbers."""
    pairs = x[..., ::2] + 1j * x[..., 1::2]
    half = pairs.shape[-1]
    pairs = pairs * np.exp(1j * np.arange(len(x))[:, None] * theta ** (-np.arange(half) / half))[:, None]
    return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("normed", [True, False])
def test_llama4_in_numpy(normed: bool, tuned: bool) -> None:
    place = np.arange(S)
    chunks = causal(S) & (place[:, None] // 3 == place[None] // 3)
    order = np.array([0, 2, 1, 3])  # rows of the public checkpoints, where neighbours are pairs

    def layer(w: Weights, x: Floats, i: int) -> Floats:
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        if i == 3:
            sharp = np.log(np.floor((place + 1) / 2) + 1) * 0.1 + 1 if tuned else np.ones(S)
            o = attend(q * sharp[:, None, None], k, v, causal(S), 0.5)
        else:
            q, k = neighbours(q[..., order], 1e4), neighbours(k[..., order], 1e4)
            q, k = (rms(q, 1), rms(k, 1)) if normed else (q, k)
            o = attend(q, k, v, chunks, 0.5)
        x = x + back(o, w("wo"))
        h = rms(x, w("g2"))
        if i % 2 == 0:
            return x + gated(h, w)
        r = h @ w("wr").T
        w1, w3, w2 = w("e1"), w("e3"), w("e2")
        best = [top(s, 1)[0] for s in r]
        y = np.array([sigmoid(s[e]) * t for s, e, t in zip(r, best, h, strict=True)])
        routed = np.array([w2[e] @ (silu(w1[e] @ t) * (w3[e] @ t)) for e, t in zip(best, y, strict=True)])
        return x + routed + gated(h, w, "s1 s3 s2")

    run("llama4", {**LLAMA4, "use_qk_norm": normed, "attn_temperature_tuning": tuned}, layer)


def test_minimax_m2_in_numpy() -> None:
    def layer(w: Weights, x: Floats, _: int) -> Floats:
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        q = rms(q.reshape(S, -1), w("gq").reshape(-1)).reshape(q.shape)
        k = rms(k.reshape(S, -1), w("gk").reshape(-1)).reshape(k.shape)
        x = x + back(attend(turn(q, 1e4, 2), turn(k, 1e4, 2), v, causal(S), 0.5), w("wo"))
        h = rms(x, w("g2"))
        return x + experts(h, by_sigmoid(h @ w("wr").T, w("correction"), 2), w)

    run("minimax_m2", MINIMAX_M2, layer)


def blocks(qi: Floats, ki: Floats, size: int, count: int) -> Floats:
    """seen[g, s, t] of index heads qi[s, g, e] on keys ki[t, e]: the newest block and the best of those before it."""
    seen = np.zeros((qi.shape[1], S, S), dtype=bool)
    for s, g in np.ndindex(S, qi.shape[1]):
        own, match = s // size, ki @ qi[s, g]
        best = sorted(range(own), key=lambda n: -max(match[n * size : n * size + size]))[: count - 1]
        for n in (own, *best):
            seen[g, s, n * size : min(n * size + size, s + 1)] = True
    return seen


def test_minimax_m3_in_numpy() -> None:
    def layer(w: Weights, x: Floats, i: int) -> Floats:
        h = rms(x, 1 + w("gain"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        q, k = rms(q, 1 + w("gain")), rms(k, 1 + w("gain"))
        seen = causal(S)
        if i >= 2:
            qi, ki = heads(h, w("wiq")), h @ w("wik").T
            qi, ki = turn(rms(qi, 1 + w("gain")), 1e4, 2), turn(rms(ki, 1 + w("gain"))[:, None], 1e4, 2)
            seen = blocks(qi, ki[:, 0], 2, 2)
            assert (seen != causal(S)).any()
        x = x + back(attend(turn(q, 1e4, 2), turn(k, 1e4, 2), v, seen, 0.5), w("wo"))
        h = rms(x, 1 + w("gain"))
        if i == 0:
            return x + gated(h, w, gate=limited(0.5))
        picks = by_sigmoid(h @ w("wr").T, w("correction"), 2, 2.0)
        return x + experts(h, picks, w, limited(0.5)) + gated(h, w, "s1 s3 s2", limited(0.5))

    run("minimax_m3", MINIMAX_M3, layer, offset=1)


def test_mimo_v2_in_numpy() -> None:
    def layer(w: Weights, x: Floats, i: int) -> Floats:
        slides = i in (1, 2)
        h = rms(x, w("g1"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        theta, turned = (100.0, 2) if slides else (1e4, 4)
        q, k = turn(q, theta, turned), turn(k, theta, turned)
        seen, scale = causal(S, 3 if slides else np.inf), (4 if slides else 6) ** -0.5
        o = attend(q, k, v * 0.7, seen, scale, w("sink").reshape(-1) if slides else None)
        x = x + back(o, w("wo"))
        h = rms(x, w("g2"))
        if i == 0:
            return x + gated(h, w)
        return x + experts(h, by_sigmoid(h @ w("wr").T, w("correction"), 2), w)

    run("mimo_v2", MIMO_V2, layer)


@pytest.mark.parametrize("fields", [GEMMA4, GEMMA4_MOE])
def test_gemma4_in_numpy(fields: dict[str, Any]) -> None:
    def geglu(a: Floats, b: Floats) -> Floats:
        return gelu_tanh(a) * b

    def layer(w: Weights, x: Floats, i: int) -> Floats:
        h = rms(x, w("gain"))
        q, k = heads(h, w("wq")), heads(h, w("wk"))
        v = rms(k if i == 2 else heads(h, w("wv")), 1)
        q, k = rms(q, w("gain")), rms(k, w("gain"))
        if i == 2:  # pairs 0 and 1 of the 4 of a head, at the angles of a whole head
            q, k = (turn(y, 1000.0, 4, exponent=8, reach=4) for y in (q, k))
        else:
            q, k = turn(q, 100.0), turn(k, 100.0)
        o = attend(q, k, v, causal(S, np.inf if i == 2 else 3), 1.0)
        x = x + rms(back(o, w("wo")), w("gain"))
        y = gated(rms(x, w("gain")), w, gate=geglu)
        if "num_experts" in fields:
            y, h = rms(y, w("gain")), rms(x, w("gain"))
            r = rms(x, w("gr")) * 8**-0.5 @ w("wr").T
            factor = w("factor")
            picks = [[(e, p * factor[e]) for e, p in chosen] for chosen in by_softmax(r, 2)]
            y = y + rms(experts(h, picks, w, geglu), w("gain"))
        return (x + rms(y, w("gain"))) * w("factor")

    ends = {"embedded": np.sqrt(8), "tied": True, "logits": lambda y: np.tanh(y / 0.5) * 0.5}
    run("gemma4", fields, layer, **ends)


def test_step_in_numpy() -> None:
    def gate(limit: float | None) -> Callable[[Floats, Floats], Floats]:
        if not limit:
            return lambda a, b: silu(a) * b
        return lambda a, b: np.minimum(silu(a), limit) * np.clip(b, -limit, limit)

    def layer(w: Weights, x: Floats, i: int) -> Floats:
        slides = i in (1, 2)
        h = rms(x, 1 + w("gain"))
        q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
        q, k = rms(q, 1 + w("gain")), rms(k, 1 + w("gain"))
        assert q.shape[1] == (6 if slides else 4)
        if i != 2:
            q, k = (turn(y, *((100.0, 4) if slides else (1000.0, 2))) for y in (q, k))
        o = attend(q, k, v, causal(S, 3 if slides else np.inf), 0.5)
        o = o * sigmoid(h @ w("wg").reshape(-1, 8).T)[..., None]
        x = x + back(o, w("wo"))
        h = rms(x, 1 + w("gain"))
        own, shared = STEP["swiglu_limits"][i], STEP["swiglu_limits_shared"][i]  # type: ignore[index]
        if i == 0:
            return x + gated(h, w, gate=gate(shared))
        picks = by_sigmoid(h @ w("wr").T, w("correction"), 2, 3.0)
        return x + experts(h, picks, w, gate(own)) + gated(h, w, "s1 s3 s2", gate(shared))

    run("step", STEP, layer, offset=1)


def test_decilm_in_numpy() -> None:
    def layer(w: Weights, x: Floats, i: int) -> Floats:
        if i in (0, 2):
            h = rms(x, w("g1"))
            q, k, v = (heads(h, w(n)) for n in ("wq", "wk", "wv"))
            assert k.shape[1] == (2 if i == 0 else 1)
            seen = causal(S, 3 if i == 2 else np.inf)
            x = x + back(attend(turn(q, 1e4), turn(k, 1e4), v, seen, 0.5), w("wo"))
        elif i == 3:
            x = x + rms(x, w("g1")) @ w("wa").T
        if i in (0, 1):
            wide = w.queues["w1"][0].shape[0]
            assert wide == (256 if i == 0 else 512)  # 2/3 of 0.5 and of 30 times 16, up to multiples of 256
            x = x + gated(rms(x, w("g2")), w)
        elif i == 3:
            x = x + rms(x, w("g2")) @ w("wf").T
        return x

    run("decilm", DECILM, layer)


# ---- what a family cannot express has a place --------------------------------------------------


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("gpt_oss", {**GPT_OSS, "layer_types": ["linear_attention"] * 4}, "a layer slides or is full"),
        ("gpt_oss", {**GPT_OSS, "attention_bias": False}, "biases on its projections"),
        ("minimax_m2", {**MINIMAX_M2, "attn_type_list": [1, 0]}, "a layer has full attention"),
        ("minimax_m2", {**MINIMAX_M2, "shared_intermediate_size": 4}, "cannot express `shared_intermediate_size`"),
        ("gemma4", {**GEMMA4, "hidden_size_per_layer_input": 4}, "cannot express `hidden_size_per_layer_input`"),
        ("gemma4", {**GEMMA4, "num_kv_shared_layers": 2}, "cannot express `num_kv_shared_layers`"),
        ("step", {**STEP, "moe_layers_enum": "1,2,3"}, "moe_layers_enum is a list of numbers"),
        ("mimo_v2", {**MIMO_V2, "n_group": 2}, "this family picks among all experts"),
        ("mixtral", {**MIXTRAL, "num_local_experts": 1}, "at most the number of experts"),
        ("decilm", {**DECILM, "num_hidden_layers": 4}, "block_configs has an entry per layer"),
    ],
)
def test_what_a_family_cannot_express(family: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Diag) as error:
        lower(tiny(fields, family), step(decode=[3]))
    assert message in error.value.message


@pytest.mark.parametrize("field", ["num_sink_tokens", "unshifted_sink", "sparsify"])
def test_blocks_of_decilm_with_sinks_are_rejected(field: str) -> None:
    blocks = [*DECILM["block_configs"]]
    blocks[2] = block({"n_heads_in_group": 4, field: 2}, {"no_op": True})
    with pytest.raises(Diag, match=f"cannot express `block_configs.*{field}`"):
        lower(tiny({**DECILM, "block_configs": blocks}, "decilm"), step(decode=[3]))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sparse_init_block", 1, "no block is picked for being first"),
        ("sparse_local_block", 2, "the newest block is always picked"),
        ("sparse_num_index_heads", 4, "an index head per key-value head"),
        ("sparse_score_type", "mean", "as good as its best token"),
        ("sparse_disable_index_value", [0, 0, 1, 0], "the indexer has no values"),
    ],
)
def test_indexers_of_another_kind_are_rejected(field: str, value: Any, message: str) -> None:
    config = {**MINIMAX_M3["sparse_attention_config"], field: value}  # type: ignore[dict-item]
    with pytest.raises(Diag, match=message):
        lower(tiny({**MINIMAX_M3, "sparse_attention_config": config}, "minimax_m3"), step(decode=[3]))
