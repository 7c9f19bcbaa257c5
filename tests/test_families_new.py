"""DeepSeek-V4, Kimi Linear and Kimi K3: steps that hand on their states, whole models in plain numpy, and real files.

The models in numpy are written from public descriptions, one token after the other over all earlier ones, without
caches. Configurations come from the distribution `aiconfigurator-core` where that is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published import counted, served
from tiny import check_steps, lower, states, tiny

from dfcompiler.census import declared
from dfcompiler.checkpoint import read_quantization
from dfcompiler.diagnostics import Diag
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph
from dfcompiler.models import Model, load_model
from dfcompiler.steps import step

CSA, HCA, LOCAL = "compressed_sparse_attention", "heavily_compressed_attention", "sliding_attention"
V4: dict[str, Any] = {
    "num_hidden_layers": 5,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "o_groups": 2,
    "o_lora_rank": 3,
    "head_dim": 6,
    "q_lora_rank": 5,
    "qk_rope_head_dim": 4,
    "sliding_window": 3,
    "index_n_heads": 2,
    "index_head_dim": 6,
    "index_topk": 2,
    "hc_mult": 3,
    "hc_sinkhorn_iters": 4,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 7,
    "n_shared_experts": 1,
    "num_hash_layers": 2,
    "vocab_size": 11,
    "swiglu_limit": 0.5,
    "layer_types": [LOCAL, CSA, HCA, CSA, HCA],
    "compress_rates": {CSA: 2, HCA: 3},
}
RATIOS = {k: v for k, v in V4.items() if k not in ("layer_types", "compress_rates")} | {
    "compress_ratios": [0, 4, 128, 4, 0, 0]  # one more, for the layer that predicts further tokens
}
LINEAR: dict[str, Any] = {
    "num_hidden_layers": 4,
    "first_k_dense_replace": 1,
    "hidden_size": 8,
    "num_attention_heads": 3,
    "kv_lora_rank": 5,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
    "mla_use_nope": True,
    "intermediate_size": 9,
    "moe_intermediate_size": 7,
    "num_experts": 5,
    "num_experts_per_token": 2,
    "num_shared_experts": 1,
    "routed_scaling_factor": 2.5,
    "vocab_size": 11,
    "linear_attn_config": {
        "full_attn_layers": [3],
        "kda_layers": [1, 2, 4],
        "head_dim": 4,
        "num_heads": 2,
        "short_conv_kernel_size": 4,
    },
}
K3: dict[str, Any] = {
    **LINEAR,
    "num_hidden_layers": 7,
    "q_lora_rank": 6,
    "mla_use_output_gate": True,
    "attn_res_block_size": 3,
    "routed_expert_hidden_size": 5,
    "latent_moe_use_norm": True,
    "hidden_act": "situ",
    "activation_situ_beta": 0.5,
    "activation_situ_linear_beta": 0.25,
    "num_shared_experts": 2,
    "linear_attn_config": {
        **LINEAR["linear_attn_config"],
        "full_attn_layers": [3, 6, 7],
        "kda_layers": [1, 2, 4, 5],
        "gate_lower_bound": -5.0,
        "use_full_rank_gate": True,
    },
}
FAMILIES = {
    "v4": ("deepseek_v4", V4),
    "kimi-linear": ("kimi_linear", LINEAR),
    "k3": ("kimi_k3", K3),
}


@pytest.mark.parametrize("cuts", [(5, 1, 1), (3, 4), (1,) * 8, (9, 7, 1, 1, 1, 6)], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_steps_hand_on_their_states(name: str, cuts: tuple[int, ...]) -> None:
    family, fields = FAMILIES[name]
    check_steps(tiny(fields, family), cuts)


def test_windows_of_the_real_ratios_close_in_the_middle_of_steps() -> None:
    check_steps(tiny(RATIOS, "deepseek_v4"), (126, 1, 1, 1, 131))


# ---- whole models in plain numpy ---------------------------------------------------------------


class Weights:
    """Weights of a graph without repeated layers, taken by name in the order in which they are declared."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.inputs = graph, dict(random_inputs(graph))
        self.inputs |= {x.name: np.zeros(x.type.shape) for x in states(graph.body)}
        self.left = [n for n, x in graph.tensors.items() if x.kind == "weight"]

    def __getitem__(self, name: str) -> Any:
        found = next(n for n in self.left if re.fullmatch(rf"{name}(_\d+)?", n))
        self.left.remove(found)
        assert self.inputs[found].shape == self.graph.type_of(found).shape, "a layer of its own"
        return self.inputs[found]

    def check(self, logits: Any) -> None:
        """Assert that all weights were used, and that the graph gives these scores of its one sequence."""
        assert not self.left
        found = run_graph(self.graph, self.inputs)[self.graph.outputs[0]][0]
        np.testing.assert_allclose(found, logits, rtol=0, atol=1e-9)
        assert np.abs(logits).max() > 1e-2


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def rms(x: Any, gain: Any = 1, eps: float = 1e-6) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def turned(x: Any, at: int, theta: float, n: int = 4) -> Any:
    """The last n elements of every row as complex numbers, turned by position `at`."""
    z = (x[..., -n::2] + 1j * x[..., 1 - n :: 2]) * np.exp(1j * at * theta ** (-2 * np.arange(n // 2) / n))
    return np.concatenate([x[..., :-n], np.stack([z.real, z.imag], -1).reshape(*x.shape[:-1], n)], -1)


def mixed(w: Weights, x: Any, last: bool = False) -> tuple[Any, Any, Any]:
    """Hyper-connections of x[t, m, d]: input of a half layer, how its output is shared out, how the copies mix."""
    fn, base, scale = w["w"], w["c"], w["g"]
    flat = rms(x.reshape(len(x), -1))
    y = np.einsum("tx,kmx->tkm", flat, fn.reshape(*fn.shape[:2], -1))
    pre = sigmoid(y[:, 0] * scale[0] + base[0]) + 1e-6
    h = np.einsum("tm,tmd->td", pre, x)
    if last:
        return h, None, None
    comb = softmax(y[:, 2:] * scale[2] + base[2:]) + 1e-6
    comb = comb / (comb.sum(1, keepdims=True) + 1e-6)
    for _ in range(V4["hc_sinkhorn_iters"] - 1):
        comb = comb / (comb.sum(2, keepdims=True) + 1e-6)
        comb = comb / (comb.sum(1, keepdims=True) + 1e-6)
    return h, 2 * sigmoid(y[:, 1] * scale[1] + base[1]), comb


def shared(x: Any, a: Any, post: Any, comb: Any) -> Any:
    return np.einsum("trm,trd->tmd", comb, x) + post[:, :, None] * a[:, None, :]


def pooled(w: Weights, h: Any, ratio: int) -> list[Any]:
    """One row for every whole window of the tokens h[t, d]."""
    wk, wg, place, gain = w["wk"], w["wg"], w["place"], w["gain"]
    rows = []
    for start in range(0, len(h) - ratio + 1, ratio):
        keys, gates = [], []
        for series in range(len(wk)):  # the last series is of the window itself, one before it of the window before
            first = start - (len(wk) - 1 - series) * ratio
            for r in range(ratio if first >= 0 else 0):
                keys.append(wk[series] @ h[first + r])
                gates.append(wg[series] @ h[first + r] + place[r, series])
        row = (softmax(np.stack(gates).T) * np.stack(keys).T).sum(-1)
        rows.append(turned(rms(row, gain), start, 160000))
    return rows


def v4_attention(w: Weights, h: Any, kind: str) -> Any:
    theta = 10000 if kind == LOCAL else 160000
    ratio = V4["compress_rates"].get(kind, 0)
    cq = rms(h @ w["wdq"].T, w["gq"])
    q, x = rms(np.einsum("tc,grec->tgre", cq, w["wq"])), rms(h @ w["wx"].T, w["gx"])
    sinks, wa, wb = w["sinks"], w["wa"], w["wb"]
    keys: list[Any] = []
    if kind == CSA:
        qi, zi = np.einsum("tc,hec->the", cq, w["wq"]), h @ w["wz"].T
        keys = pooled(w, h, ratio)
    rows = pooled(w, h, ratio) if ratio else []
    out = []
    for t in range(len(h)):
        seen = [turned(x[s], s, theta) for s in range(max(0, t - V4["sliding_window"] + 1), t + 1)]
        whole = range((t + 1) // ratio) if ratio else range(0)
        if kind == CSA:
            score = [np.maximum(turned(qi[t], t, theta) @ keys[i], 0) @ zi[t] for i in whole]
            whole = sorted(whole, key=lambda i: -score[i])[: V4["index_topk"]]  # type: ignore[assignment]
        values = np.stack(seen + [rows[i] for i in whole])
        scores = turned(q[t], t, theta) @ values.T / np.sqrt(V4["head_dim"])
        share = softmax(np.concatenate([scores, sinks[..., None]], -1))[..., :-1]
        out.append(turned(share @ values, -t, theta))
    return np.einsum("tgn,dgn->td", np.einsum("tgre,gnre->tgn", np.stack(out), wa), wb)


def v4_experts(w: Weights, h: Any, ids: Any, listed: bool) -> Any:
    wr, e1, e3, e2 = w["wr"], w["e1"], w["e3"], w["e2"]
    score = np.sqrt(np.log1p(np.exp(h @ wr.T)))
    picks = w["list"][ids] if listed else np.argsort(-(score + w["correction"]), -1, kind="stable")[:, :2]
    s1, s3, s2 = w["s1"], w["s3"], w["s2"]

    def gated(u: Any, g: Any) -> Any:
        u = np.minimum(u, V4["swiglu_limit"])
        return u * sigmoid(u) * np.clip(g, -V4["swiglu_limit"], V4["swiglu_limit"])

    out = []
    for t in range(len(h)):
        share = score[t, picks[t]] / score[t, picks[t]].sum() * 1.5
        parts = [p * (e2[e] @ gated(e1[e] @ h[t], e3[e] @ h[t])) for p, e in zip(share, picks[t], strict=True)]
        out.append(sum(parts) + s2 @ gated(s1 @ h[t], s3 @ h[t]))
    return np.stack(out)


@pytest.mark.parametrize("kind", [LOCAL, CSA, HCA])
@pytest.mark.parametrize("listed", [0, 1], ids=["scored", "listed"])
def test_deepseek_v4_in_numpy(kind: str, listed: int) -> None:
    fields = {**V4, "num_hidden_layers": 1, "layer_types": [kind], "num_hash_layers": listed}
    w = Weights(lower(fields, step(prefill=[(9, 0)]), "deepseek_v4"))
    ids = w.inputs["ids"][0]
    x = np.repeat(w["table"][ids][:, None], V4["hc_mult"], 1)
    h, post, comb = mixed(w, x)
    x = shared(x, v4_attention(w, rms(h, w["g1"]), kind), post, comb)
    h, post, comb = mixed(w, x)
    x = shared(x, v4_experts(w, rms(h, w["g2"]), ids, bool(listed)), post, comb)
    h, _, _ = mixed(w, x, last=True)
    w.check(rms(h, w["gf"]) @ w["head"].T)


def kda(w: Weights, h: Any, fields: dict[str, Any]) -> Any:
    c = fields["linear_attn_config"]
    heads, size, bound = c["num_heads"], c["head_dim"], c.get("gate_lower_bound")
    beta, gain, wo = sigmoid(h @ w["wb"].T), w["gain"], w["wo"]
    paths = [np.einsum("td,hed->the", h, w[n]) for n in ("wq", "wk", "wv")]
    taps = [w[n] for n in ("tq", "tk", "tv")]
    back = [[p[t - j] if t >= j else 0 * p[0] for j in range(4)] for p in paths for t in range(len(h))]
    flat = [np.einsum("jhe,hej->he", np.stack(b), taps[i // len(h)]) for i, b in enumerate(back)]
    q, k, v = (np.stack(flat[i * len(h) : (i + 1) * len(h)]) for i in range(3))
    q, k, v = (a * sigmoid(a) for a in (q, k, v))
    q, k = (a / np.sqrt((a * a).sum(-1, keepdims=True) + 1e-6) for a in (q, k))
    forget = np.einsum("ta,hea->the", h @ w["wa"].T, w["wb"]) + w["c"]
    rate = np.exp(w["rate"])[:, None]
    log = -rate * np.log1p(np.exp(forget)) if bound is None else bound * sigmoid(rate * forget)
    z = (
        np.einsum("td,hed->the", h, w["w"])
        if c.get("use_full_rank_gate")
        else np.einsum("ta,hea->the", h @ w["wa"].T, w["wb"])
    )
    state, out = np.zeros((heads, size, size)), []
    for t in range(len(h)):
        state = state * np.exp(log[t])[:, :, None]
        move = beta[t][:, None] * (v[t] - np.einsum("hkv,hk->hv", state, k[t]))
        state = state + np.einsum("hk,hv->hkv", k[t], move)
        out.append(np.einsum("hkv,hk->hv", state, q[t]) / np.sqrt(size))
    return np.einsum("the,dhe->td", rms(np.stack(out), gain) * sigmoid(z), wo)


def placeless(w: Weights, h: Any, fields: dict[str, Any]) -> Any:
    """Heads of keys and values made from the latent row, none of it absorbed, no position turned."""
    wuk, wuv, wo = w["wuk"], w["wuv"], w["wo"]
    cq = rms(h @ w["wdq"].T, w["gq"]) if fields.get("q_lora_rank") else h
    qn, qr = np.einsum("sc,hec->she", cq, w["wuq"]), np.einsum("sc,hec->she", cq, w["wqr"])
    c, kr = rms(h @ w["wdkv"].T, w["gkv"]), h @ w["wkr"].T
    k = np.concatenate([np.einsum("tc,hec->the", c, wuk), np.repeat(kr[:, None], len(wuk), 1)], -1)
    scores = np.einsum("she,the->hst", np.concatenate([qn, qr], -1), k) / np.sqrt(k.shape[-1])
    p = softmax(np.where(np.tril(np.ones((len(h), len(h)), dtype=bool)), scores, -np.inf))
    o = np.einsum("hst,thf->shf", p, np.einsum("tc,hfc->thf", c, wuv))
    if fields.get("mla_use_output_gate"):
        o = o * sigmoid(np.einsum("td,hfd->thf", h, w["wg"]))
    return np.einsum("shf,dhf->sd", o, wo)


def kimi_gated(u: Any, g: Any, fields: dict[str, Any]) -> Any:
    if fields.get("hidden_act") != "situ":
        return u * sigmoid(u) * g
    beta, linear = fields["activation_situ_beta"], fields["activation_situ_linear_beta"]
    return beta * np.tanh(u / beta) * sigmoid(u) * linear * np.tanh(g / linear)


def kimi_experts(w: Weights, h: Any, fields: dict[str, Any]) -> Any:
    score = sigmoid(h @ w["wr"].T)
    picks = np.argsort(-(score + w["correction"]), -1, kind="stable")[:, :2]
    narrow = fields.get("routed_expert_hidden_size")
    down, up = (w["down"], w["up"]) if narrow else (np.eye(8), np.eye(8))
    e1, e3, e2 = w["e1"], w["e3"], w["e2"]
    gain = w["gain"] if narrow else None
    s1, s3, s2 = w["s1"], w["s3"], w["s2"]
    out = []
    for t in range(len(h)):
        x, share = down @ h[t], score[t, picks[t]] / score[t, picks[t]].sum() * fields["routed_scaling_factor"]
        y = sum(p * (e2[e] @ kimi_gated(e1[e] @ x, e3[e] @ x, fields)) for p, e in zip(share, picks[t], strict=True))
        y = up @ (y if gain is None else rms(y, gain))
        out.append(y + s2 @ kimi_gated(s1 @ h[t], s3 @ h[t], fields))
    return np.stack(out)


def kimi_dense(w: Weights, h: Any, fields: dict[str, Any]) -> Any:
    w1, w3, w2 = w["w1"], w["w3"], w["w2"]
    return kimi_gated(h @ w1.T, h @ w3.T, fields) @ w2.T


def halves(w: Weights, fields: dict[str, Any]) -> Iterator[tuple[int, Any, Any]]:
    """Of every layer its number, and its two halves as functions of their inputs."""
    for layer in range(fields["num_hidden_layers"]):
        attention = placeless if layer + 1 in fields["linear_attn_config"]["full_attn_layers"] else kda
        forward = kimi_dense if layer < fields["first_k_dense_replace"] else kimi_experts

        def first(x: Any, of: Any = attention) -> Any:
            return of(w, rms(x, w["g1"]), fields)

        def second(x: Any, of: Any = forward) -> Any:
            return of(w, rms(x, w["g2"]), fields)

        yield layer, first, second


def test_kimi_linear_in_numpy() -> None:
    fields = {**LINEAR, "num_hidden_layers": 3}
    w = Weights(lower(fields, step(prefill=[(7, 0)]), "kimi_linear"))
    x = w["table"][w.inputs["ids"][0]]
    for _, attend, forward in halves(w, fields):
        x = x + attend(x)
        x = x + forward(x)
    w.check(rms(x, w["gf"]) @ w["head"].T)


def test_kimi_k3_in_numpy() -> None:
    lists = {"full_attn_layers": [2, 5], "kda_layers": [1, 3, 4]}
    fields = {**K3, "num_hidden_layers": 5, "attn_res_block_size": 2}
    fields["linear_attn_config"] = {**K3["linear_attn_config"], **lists}
    w = Weights(lower(fields, step(prefill=[(7, 0)]), "kimi_k3"))
    x, bank = w["table"][w.inputs["ids"][0]], list[Any]()

    def mean(x: Any) -> Any:
        if not bank:
            return x
        gain, query = w["gain"], w["query"]
        every = np.stack([*bank, x], 1)
        return np.einsum("tk,tkd->td", softmax(rms(every, gain) @ query), every)

    for layer, attend, forward in halves(w, fields):
        h = mean(x)
        if layer % 2 == 0:
            bank.append(x)
            x = attend(h)
        else:
            x = x + attend(h)
        x = x + forward(mean(x))
    assert len(bank) == 3
    w.check(rms(mean(x), w["gf"]) @ w["head"].T)


# ---- checkpoints and files ---------------------------------------------------------------------

FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def test_routed_experts_have_a_type_of_their_own() -> None:
    found = read_quantization({**FP8, "expert_dtype": "fp4"})
    assert found.weight_format("ffn.experts.w1", 0) == "mxfp4"
    for module in ("ffn.shared_experts.w1", "attn.wq_b"):
        assert found.weight_format(module, 0) == "fp8e4m3-b128x128"
    assert found.format("ffn.experts.w1", 0).activation == found.default.activation
    assert read_quantization({**FP8, "expert_dtype": "fp8"}) == read_quantization(FP8)
    with pytest.raises(Diag, match="`expert_dtype` is 'fp5'"):
        read_quantization({**FP8, "expert_dtype": "fp5"})


def test_layers_that_were_converted_again_come_before_that_type() -> None:
    again = {"quant_algo": "MIXED_PRECISION", "quantized_layers": {"layers.0.ffn.experts": "NVFP4"}}
    found = read_quantization({**FP8, "expert_dtype": "fp4", **again})
    assert [found.weight_format("ffn.experts.w2", layer) for layer in (0, 1)] == ["nvfp4", "mxfp4"]


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("deepseek_v4", {**RATIOS, "compress_ratios": [0, 4, 8, 4, 0]}, "pools 4 or 128 tokens"),
        ("deepseek_v4", {**V4, "layer_types": ["full_attention"] * 5}, "kind of attention is not known"),
        ("deepseek_v4", {**V4, "mlp_layer_types": ["dense"] * 5}, "kind of layer is not known"),
        ("deepseek_v4", {**V4, "num_key_value_heads": 2}, "share one latent row"),
        ("deepseek_v4", {**V4, "attention_bias": True}, "cannot express `attention_bias`"),
        ("deepseek_v4", {**V4, "scoring_func": "softmax"}, "square root of softplus"),
        ("kimi_linear", {**LINEAR, "attn_res_block_size": 12}, "cannot express `attn_res_block_size`"),
        ("kimi_linear", {**LINEAR, "mla_use_nope": False}, "has no positions"),
        ("kimi_linear", {**LINEAR, "hidden_act": "gelu"}, "SiLU or SiTU"),
        ("kimi_k3", {k: v for k, v in K3.items() if k != "attn_res_block_size"}, "`attn_res_block_size` is missing"),
        ("kimi_k3", {k: v for k, v in K3.items() if k != "activation_situ_beta"}, "activation_situ_beta"),
    ],
)
def test_what_is_not_expressed_is_refused(family: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Diag, match=message):
        lower(fields, step(decode=[3]), family)


def real(name: str) -> Model:
    """A model that people serve; the test is skipped where the files are not installed."""
    folder = served()
    if folder is None:
        pytest.skip("aiconfigurator-core, whose configurations are read, is not installed")
    return load_model(str(folder / f"{name}_config.json"))


# Parameters, and billions of active ones, as the cards of the models on Hugging Face round them: with the scores, but
# without the embedding, of which a token reads a row.
@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("deepseek-ai--DeepSeek-V4-Flash", "0.284", 13),
        ("deepseek-ai--DeepSeek-V4-Pro", "1.6", 49),
        ("moonshotai--Kimi-K3", "2.8", 104),
    ],
)
def test_published_counts(name: str, total: str, active: int) -> None:
    found = counted(real(name))
    assert f"{found.total / 1e12:.{len(total) - 2}f}" == total
    assert round((found.active - found.looked_up) / 1e9) == active


def test_kimi_linear_counts() -> None:
    """The page of moonshotai/Kimi-Linear-48B-A3B-Instruct says 49 billion; 3 are active, both tables left out."""
    full = [4, 8, 12, 16, 20, 24, 27]
    sizes = {
        "num_hidden_layers": 27,
        "hidden_size": 2304,
        "num_attention_heads": 32,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "intermediate_size": 9216,
        "moe_intermediate_size": 1024,
        "num_experts": 256,
        "num_experts_per_token": 8,
        "vocab_size": 163840,
        "linear_attn_config": {
            "full_attn_layers": full,
            "kda_layers": [n for n in range(1, 28) if n not in full],
            "head_dim": 128,
            "num_heads": 32,
            "short_conv_kernel_size": 4,
        },
    }
    found = counted(tiny({**LINEAR, **sizes}, "kimi_linear"))
    assert round(found.total / 1e9) == 49
    assert round((found.active - 2 * found.looked_up) / 1e9) == 3


def weighs(model: Model) -> float:
    """Bytes of a checkpoint's weights."""
    graph = lower(model, step(decode=[9]), stored=True)
    return sum(x.type.bytes * n for x, n in declared(graph.body, 1) if x.kind == "weight")


def test_kimi_k3_is_stored_in_four_bits_where_its_checkpoint_is() -> None:
    """The checkpoint has 1.56 TB, as those report who hold it; its tower for images is not a thousandth of it."""
    assert f"{weighs(real('moonshotai--Kimi-K3')) / 1e12:.2f}" == "1.56"


def test_experts_of_deepseek_v4_are_stored_in_four_bits_or_eight() -> None:
    small, large = (weighs(real(n)) for n in ("deepseek-ai--DeepSeek-V4-Flash", "sgl-project--DeepSeek-V4-Flash-FP8"))
    routed = 43 * 256 * 3 * 4096 * 2048
    assert large - small == pytest.approx(routed * (1 + 4 / 128**2 - 0.5 - 1 / 32), rel=1e-6)  # with their scales


@settings(max_examples=10)
@given(blocks=st.integers(128, 8192))
def test_deepseek_v4_keeps_little_of_the_past(blocks: int) -> None:
    """States grow by a row per 4 tokens and one of the indexer, or by a row per 128; windows do not grow."""
    model = real("deepseek-ai--DeepSeek-V4-Flash")

    def held(tokens: int) -> float:
        graph = lower(model, step(decode=[tokens - 1]))
        return sum(x.type.bytes * n for x, n in declared(graph.body, 1) if x.kind == "state")

    rows = 21 * (512 + 128) / 4 + 20 * 512 / 128
    assert held(256 * blocks) - held(128 * blocks) == pytest.approx(128 * blocks * 2 * rows)
