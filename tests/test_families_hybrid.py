"""Families with latent or picked attention and with recurrent layers, run at small sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny import DEEPSEEK, LLAMA, check_steps, lower, states, tiny

from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.steps import step

V2 = {**DEEPSEEK, "topk_method": "greedy", "q_lora_rank": None, "routed_scaling_factor": 2.0}
GROUPED = {**DEEPSEEK, "n_routed_experts": 6, "n_group": 3, "topk_group": 2, "norm_topk_prob": 1}
V2_GROUPED = {**GROUPED, "topk_method": "group_limited_greedy"}
SPARSE = {**DEEPSEEK, "index_n_heads": 2, "index_head_dim": 4, "index_topk": 3}
SHARED = {
    **SPARSE,
    "num_hidden_layers": 5,
    "indexer_types": ["full", "shared", "shared", "full", "shared"],
}
MAMBA2 = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "vocab_size": 11,
    "num_heads": 4,
    "head_dim": 3,
    "n_groups": 2,
    "state_size": 5,
    "conv_kernel": 4,
}
NEMOTRON = {
    "hybrid_override_pattern": "ME*-ME",
    "hidden_size": 8,
    "vocab_size": 11,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 12,
    "mamba_num_heads": 4,
    "mamba_head_dim": 3,
    "n_groups": 2,
    "ssm_state_size": 5,
    "conv_kernel": 4,
    "n_routed_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 7,
    "moe_latent_size": 5,
    "n_shared_experts": 1,
    "moe_shared_expert_intermediate_size": 9,
    "n_group": 3,
    "topk_group": 2,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
JAMBA = {
    **LLAMA,
    "num_hidden_layers": 5,
    "attn_layer_period": 4,
    "attn_layer_offset": 2,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "mamba_expand": 2,
    "mamba_d_state": 3,
    "mamba_d_conv": 4,
    "mamba_dt_rank": 5,
}
QWEN = {
    **LLAMA,
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 3,
    "linear_value_head_dim": 5,
    "linear_conv_kernel_dim": 4,
    "partial_rotary_factor": 0.5,
}
QWEN_MOE = {
    **QWEN,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 7,
    "shared_expert_intermediate_size": 6,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "v3": ("deepseek", DEEPSEEK),
    "v3-groups": ("deepseek", GROUPED),
    "v2-lite": ("deepseek", V2),
    "v2": ("deepseek", V2_GROUPED),
    "v3.2": ("deepseek_sparse", SPARSE),
    "glm-5.2": ("deepseek_sparse", SHARED),
    "mamba2": ("mamba2", MAMBA2),
    "nemotron-h": ("nemotron_h", NEMOTRON),
    "jamba": ("jamba", JAMBA),
    "qwen3.5": ("qwen3_5", QWEN),
    "qwen3.5-moe": ("qwen3_5_moe", QWEN_MOE),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_steps_hand_on_their_states(name: str) -> None:
    family, fields = FAMILIES[name]
    check_steps(tiny(fields, family))
    check_steps(tiny(fields, family), cuts=(3, 4))


def ops_of(fields: dict[str, Any], family: str, new: int, past: int) -> set[str]:
    graph = lower(fields, step(prefill=[(new, past)]), family)
    return {n.op.name for n in graph.nodes.values()}


def test_latent_attention_expands_where_that_pays() -> None:
    """Per head and past token, S new tokens share C (EN + EV) products to expand, and save 2 C - EN - EV each."""
    fields = {**DEEPSEEK, "kv_lora_rank": 20, "qk_nope_head_dim": 8, "v_head_dim": 8}
    limit = 20 * 16 // (40 - 16)
    assert "mla" in ops_of(fields, "deepseek", limit, 3)
    assert "mla_expanded" in ops_of(fields, "deepseek", limit + 1, 3)
    check_steps(tiny(fields, "deepseek"), cuts=(limit + 1, 2))  # expanded once, then absorbed: the same numbers


def test_picked_attention_is_dense_where_all_is_picked() -> None:
    """With room for all tokens an indexer changes nothing: the same numbers as the family without one."""
    sparse = lower({**SPARSE, "index_topk": 99}, step(prefill=[(7, 0)]), "deepseek_sparse")
    dense = lower(DEEPSEEK, step(prefill=[(7, 0)]), "deepseek")
    inputs = random_inputs(sparse)
    found = run_graph(sparse, inputs)[sparse.outputs[0]]
    np.testing.assert_allclose(found, run_graph(dense, random_inputs(dense) | inputs)[dense.outputs[0]], atol=1e-9)
    few = lower({**SPARSE, "index_topk": 2}, step(prefill=[(7, 0)]), "deepseek_sparse")
    assert np.abs(found - run_graph(few, random_inputs(few) | inputs)[few.outputs[0]]).max() > 1e-6


# ---- whole layers in plain numpy ---------------------------------------------------------------


def silu(x: Any) -> Any:
    return x / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))


def rms(x: Any, gain: Any, eps: float) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def convolved(x: Any, taps: Any) -> Any:
    """Causal depth-wise convolution of x[t, c] with taps[c, j]; tap j weighs the input j tokens ago."""
    padded = np.concatenate([np.zeros((taps.shape[1] - 1, x.shape[1])), x])
    return sum(padded[taps.shape[1] - 1 - j :][: len(x)] * taps[:, j] for j in range(taps.shape[1]))


def only_layer(graph: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a model with one layer, without the axis over layers."""
    return {k: v[0] if v.ndim > len(graph.type_of(k).shape) else v for k, v in inputs.items()}


def zeroed(graph: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = dict(random_inputs(graph))
    return inputs | {x.name: np.zeros(inputs[x.name].shape) for x in states(graph.body)}


def test_mamba2_in_numpy() -> None:
    graph = lower({**MAMBA2, "num_hidden_layers": 1}, step(prefill=[(7, 0)]), "mamba2")
    w = {
        k: v[0] if k in graph.tensors and v.ndim > len(graph.type_of(k).shape) else v for k, v in zeroed(graph).items()
    }
    x = w["table"][w["ids"][0]]
    h = rms(x, w["g"], 1e-5)

    def path(name: str, tag: str = "") -> Any:
        flat = w[f"{name}{tag}"].reshape(-1, 8)
        taps = w[f"taps{tag}"].reshape(len(flat), 4)
        return silu(convolved(h @ flat.T, taps) + w[f"c{tag}"].reshape(-1))

    u, b, c = path("w").reshape(7, 4, 3), path("w", "_1").reshape(7, 2, 5), path("w", "_2").reshape(7, 2, 5)
    dt = softplus(h @ w["wd"].reshape(4, 8).T + w["bd"].reshape(4))
    state, out = np.zeros((4, 3, 5)), np.zeros((7, 4, 3))
    for t in range(7):
        for head in range(4):
            g = head // 2
            decay = np.exp(dt[t, head] * w["rate"].reshape(4)[head])
            state[head] = state[head] * decay + dt[t, head] * np.outer(u[t, head], b[t, g])
            out[t, head] = state[head] @ c[t, g] + w["share"].reshape(4)[head] * u[t, head]
    z = (h @ w["wz"].reshape(12, 8).T).reshape(7, 2, 6)
    y = out.reshape(7, 2, 6) * silu(z)
    y = rms(y, w["gain"].reshape(2, 6), 1e-5).reshape(7, 12)
    x = x + y @ w["wo"].reshape(8, 12).T
    logits = rms(x, w["gf"], 1e-5) @ w["head"].T
    np.testing.assert_allclose(run_graph(graph, zeroed(graph))[graph.outputs[0]][0], logits, atol=1e-9)


def test_gated_delta_layer_in_numpy() -> None:
    fields = {**QWEN, "num_hidden_layers": 1, "full_attention_interval": 4}
    graph = lower(fields, step(prefill=[(7, 0)]), "qwen3_5")
    given = zeroed(graph)
    w = only_layer(graph, given)
    x = w["table"][w["ids"][0]]
    h = rms(x, 1 + w["g1"], 1e-5)

    def path(name: str, taps: str, size: int) -> Any:
        flat = w[name].reshape(size, 8)
        return silu(convolved(h @ flat.T, w[taps].reshape(size, 4)))

    q, k = path("w", "taps", 6).reshape(7, 2, 3), path("w_1", "taps_1", 6).reshape(7, 2, 3)
    v = path("w_2", "taps_2", 20).reshape(7, 4, 5)
    q = q / np.sqrt((q * q).sum(-1, keepdims=True) + 1e-6) / np.sqrt(3)
    k = k / np.sqrt((k * k).sum(-1, keepdims=True) + 1e-6)
    beta = 1 / (1 + np.exp(-h @ w["wb"].reshape(4, 8).T))
    decay = np.exp(-np.exp(w["la"].reshape(4)) * softplus(h @ w["wa"].reshape(4, 8).T + w["ba"].reshape(4)))
    state, out = np.zeros((4, 3, 5)), np.zeros((7, 4, 5))
    for t in range(7):
        for head in range(4):
            key = k[t, head // 2]
            state[head] *= decay[t, head]
            state[head] += np.outer(key, beta[t, head] * (v[t, head] - key @ state[head]))
            out[t, head] = q[t, head // 2] @ state[head]
    z = (h @ w["wz"].reshape(20, 8).T).reshape(7, 4, 5)
    y = rms(out, w["gain"], 1e-5) * silu(z)
    x = x + y.reshape(7, 20) @ w["wo"].reshape(8, 20).T
    h = rms(x, 1 + w["g2"], 1e-5)
    x = x + (silu(h @ w["w1"].T) * (h @ w["w3"].T)) @ w["w2"].T
    logits = rms(x, 1 + w["gain_1"], 1e-5) @ w["head"].T
    np.testing.assert_allclose(run_graph(graph, given)[graph.outputs[0]][0], logits, atol=1e-9)


def test_latent_attention_in_numpy() -> None:
    """DeepSeek's attention as heads of keys and values made from the latent row, none of it absorbed."""
    fields = {**DEEPSEEK, "num_hidden_layers": 1, "first_k_dense_replace": 1}
    graph = lower(fields, step(prefill=[(7, 0)]), "deepseek")
    w = {
        k: v[0] if k in graph.tensors and v.ndim > len(graph.type_of(k).shape) else v for k, v in zeroed(graph).items()
    }
    x = w["table"][w["ids"][0]]
    h = rms(x, w["g1"], 1e-6)
    cq, c = rms(h @ w["wdq"].T, w["gq"], 1e-6), rms(h @ w["wdkv"].T, w["gkv"], 1e-6)

    def turn(a: Any) -> Any:
        t = np.arange(7).reshape(7, *[1] * (a.ndim - 2))
        return np.stack(
            [a[..., 0] * np.cos(t) - a[..., 1] * np.sin(t), a[..., 1] * np.cos(t) + a[..., 0] * np.sin(t)], -1
        )

    qn, qr = np.einsum("sc,hec->she", cq, w["wuq"]), turn(np.einsum("sc,hec->she", cq, w["wqr"]))
    kn, kr = np.einsum("tc,hec->the", c, w["wuk"]), turn(h @ w["wkr"].T)
    v = np.einsum("tc,hfc->thf", c, w["wuv"])
    scores = (np.einsum("she,the->hst", qn, kn) + np.einsum("she,te->hst", qr, kr)) / np.sqrt(6)
    p = np.exp(np.where(np.tril(np.ones((7, 7), dtype=bool)), scores, -np.inf))
    p /= p.sum(-1, keepdims=True)
    x = x + np.einsum("hst,thf,dhf->sd", p, v, w["wo"])
    h = rms(x, w["g2"], 1e-6)
    x = x + (silu(h @ w["w1"].T) * (h @ w["w3"].T)) @ w["w2"].T
    logits = rms(x, w["gf"], 1e-6) @ w["head"].T
    np.testing.assert_allclose(run_graph(graph, zeroed(graph))[graph.outputs[0]][0], logits, atol=1e-9)
