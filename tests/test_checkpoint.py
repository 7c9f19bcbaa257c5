"""Quantisation configurations as they stand in public checkpoints, shortened: what each says of each module."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.checkpoint import Quantization, read_quantization
from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import NAMES, parse_dtype

FLOAT4 = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
FLOAT8 = {"dynamic": False, "num_bits": 8, "type": "float"}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def grouped(**groups: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}


def modelopt(algo: str, **more: Any) -> dict[str, Any]:
    return {"quant_method": "modelopt", "quant_algo": algo, "producer": {"name": "modelopt"}, **more}


DEFAULTS = [
    ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}, "int4-g128", None),
    ({"quant_method": "gptq", "bits": 8, "group_size": -1, "sym": False}, "int8-c-z", None),
    ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}, "int4-g128-z", None),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": False}, "int4-g64", None),
    (FP8, "fp8e4m3-b128x128", "fp8e4m3-g128"),
    ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8e4m3-t", "fp8e4m3-t"),
    ({"quant_method": "fp8", "fmt": "e5m2"}, "fp8e5m2-t", "fp8e5m2-t"),
    ({"quant_method": "mxfp4"}, "mxfp4", None),
    (modelopt("NVFP4", group_size=16), "nvfp4", "nvfp4"),
    (modelopt("FP8"), "fp8e4m3-t", "fp8e4m3-t"),
    (modelopt("W4A16_AWQ", group_size=64), "int4-g64", None),
    ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}, "nvfp4", "nvfp4"),
    ({"quant_algo": "FP8", "config_groups": {"group_0": {"weights": FLOAT8}}}, "fp8e4m3-t", "fp8e4m3-t"),
    (grouped(a={"targets": ["Linear"], "weights": INT4, "input_activations": None}), "int4-g32", None),
    (grouped(a={"targets": ["Linear"], "weights": INT4 | {"symmetric": False}}), "int4-g32-z", None),
    (
        grouped(
            a={
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "strategy": "channel"},
                "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
            }
        ),
        "int8-c",
        "int8-c",
    ),
    (
        grouped(a={"targets": ["Linear"], "weights": FLOAT8 | {"strategy": "block", "block_structure": [64, 32]}}),
        "fp8e4m3-b64x32",
        None,
    ),
    (
        grouped(a={"targets": ["Linear"], "weights": FLOAT4 | {"group_size": 32, "scale_dtype": "torch.uint8"}}),
        "mxfp4",
        None,
    ),
    (grouped(a={"targets": ["Linear"], "weights": FLOAT4, "input_activations": FLOAT4}), "nvfp4", "nvfp4"),
    (
        grouped(a={"targets": ["Linear"], "weights": FLOAT8 | {"strategy": "channel"}})
        | {"sparsity_config": {"format": "sparse-24-bitmask", "sparsity_structure": "2:4"}},
        "fp8e4m3-c-s24",
        None,
    ),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}, "int8-c", "int8-c"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "fp4-g64", None),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4-g64", None),
    (
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
        },
        "nf4dq",
        None,
    ),
]


@pytest.mark.parametrize(("config", "weight", "activation"), DEFAULTS, ids=[str(i) for i in range(len(DEFAULTS))])
def test_the_default_of_every_method(config: dict[str, Any], weight: str, activation: str | None) -> None:
    found = read_quantization(config)
    assert found.weight_format("self_attn.q_proj", 3) == weight
    assert found.format("mlp.experts.gate_up_proj", 0).activation == activation
    for name in ("input_layernorm", "mlp.gate", "self_attn.q_norm", "post_attention_layernorm"):
        assert found.weight_format(name, 3) is None, name
    for name in ("lm_head", "model.embed_tokens", "embed_tokens", "model.norm", "norm"):
        assert found.weight_format(name) is None, name


def formats(found: Quantization, *modules: str, layers: int = 3) -> dict[str, list[str | None]]:
    return {m: [found.weight_format(m, layer) for layer in range(layers)] for m in modules}


@pytest.mark.parametrize(
    ("field", "pattern", "excluded", "kept"),
    [
        ("modules_to_not_convert", "model.layers.1.mlp.gate_proj", "mlp.gate_proj", "mlp.up_proj"),
        ("modules_to_not_convert", "model.layers.1.self_attn", "self_attn.q_proj", "mlp.up_proj"),
        ("exclude_modules", "model.layers.1*", "mlp.up_proj", None),
        ("exclude_modules", "model.layers.1.mlp.shared_experts*", "mlp.shared_experts.up_proj", "mlp.experts"),
        ("ignore", "language_model.model.layers.1.self_attn*", "self_attn.o_proj", "mlp.experts"),
        ("ignore", "backbone.layers.1.mixer.in_proj", "mixer.in_proj", "mixer.out_proj"),
        (
            "ignore",
            r"re:.*layers\.1\.mlp\.(gate|up|gate_up|down)_proj.*",
            "mlp.gate_up_proj",
            "mlp.experts.gate_up_proj",
        ),
        ("ignore", "model.layers.1.mlp.experts.17.down_proj", "mlp.experts.down_proj", "mlp.experts.up_proj"),
        ("exclude_modules", "model.layers.1.mlp.gate_proj", "mlp.gate_up_proj", "mlp.experts.down_proj"),
    ],
)
def test_a_pattern_with_a_layer_is_for_that_layer(field: str, pattern: str, excluded: str, kept: str | None) -> None:
    method = {"modules_to_not_convert": FP8, "exclude_modules": modelopt("FP8")}.get(
        field, grouped(a={"targets": ["Linear"], "weights": INT4})
    )
    found = read_quantization({**method, field: [pattern]})
    default = found.default.weight
    assert formats(found, excluded) == {excluded: [default, None, default]}
    if kept:
        assert formats(found, kept) == {kept: [default] * 3}


@pytest.mark.parametrize(
    ("pattern", "excluded", "kept"),
    [
        ("gate", "block_sparse_moe.gate", "mlp.gate_proj"),
        ("model.layers.*.self_attn", "self_attn.q_proj", "mlp.experts"),
        ("*.attn.*", "attn.wq_b", "ffn.experts.w1"),
        ("*.mlp.shared_expert.*", "mlp.shared_expert.up_proj", "mlp.experts"),
        ("mlp.shared_expert_gate", "mlp.shared_expert_gate", "mlp.shared_expert.gate_proj"),
        ("self_attn", "self_attn.kv_b_proj", "mlp.experts"),
        ("re:.*self_attn.*", "self_attn.q_proj", "mlp.up_proj"),
    ],
)
def test_a_pattern_without_a_layer_is_for_all(pattern: str, excluded: str, kept: str) -> None:
    found = read_quantization({**modelopt("NVFP4"), "ignore": [pattern]})
    assert formats(found, excluded, kept) == {excluded: [None] * 3, kept: ["nvfp4"] * 3}


def test_a_layer_is_a_number_and_not_a_beginning() -> None:
    found = read_quantization(modelopt("NVFP4", exclude_modules=["model.layers.1.*"]))
    assert found.weight_format("mlp.up_proj", 1) is None
    assert found.weight_format("mlp.up_proj", 11) == "nvfp4"


def test_mixed_precision_names_layers() -> None:
    layers = {
        "model.layers.0.mlp.experts": {"quant_algo": "NVFP4", "group_size": 16},
        "model.layers.1.mlp.experts.0.down_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
        "model.layers.1.mlp.experts.1.down_proj": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
        "model.layers.1.self_attn.q_proj": {"quant_algo": "MXFP8"},
        "lm_head": {"quant_algo": "FP8"},
    }
    found = read_quantization(
        modelopt("MIXED_PRECISION", kv_cache_quant_algo="FP8", quantized_layers=layers, exclude_modules=["lm_head"])
    )
    assert found.kv == "fp8e4m3"
    assert formats(found, "mlp.experts.gate_up_proj", "mlp.experts.down_proj", "self_attn.q_proj") == {
        "mlp.experts.gate_up_proj": ["nvfp4", None, None],
        "mlp.experts.down_proj": ["nvfp4", "nvfp4", None],
        "self_attn.q_proj": [None, "mxfp8", None],
    }
    assert found.format("mlp.experts.down_proj", 0).activation == "nvfp4"
    assert found.format("mlp.experts.down_proj", 1).activation is None
    assert found.weight_format("lm_head") == "fp8e4m3-t", "what is named with a type comes before what is excluded"


def test_experts_that_were_converted_again_leave_the_others_as_they_were() -> None:
    more = {
        "quant_algo": "MIXED_PRECISION",
        "moe_quant_algo": "NVFP4",
        "quantized_layers": {"layers.0.ffn.experts": {"quant_algo": "NVFP4", "group_size": 16}},
        "ignore": ["*.attn.*", "head"],
        "scale_fmt": "ue8m0",
        "producer": {"name": "modelopt"},
    }
    found = read_quantization(FP8 | more)
    assert formats(found, "ffn.experts.w1", "attn.wq_b") == {
        "ffn.experts.w1": ["nvfp4", "fp8e4m3-b128x128", "fp8e4m3-b128x128"],
        "attn.wq_b": ["fp8e4m3-b128x128"] * 3,
    }


def test_groups_have_targets() -> None:
    groups = {
        "group_0": {"weights": FLOAT8, "input_activations": FLOAT8, "targets": ["model.layers.0.mlp.up_proj"]},
        "group_1": {"weights": FLOAT4, "targets": [r"re:.*down_proj$", "lm_head"]},
    }
    found = read_quantization(grouped(**groups))
    assert formats(found, "mlp.up_proj", "mlp.down_proj", "mlp.gate_proj") == {
        "mlp.up_proj": ["fp8e4m3-t", None, None],
        "mlp.down_proj": ["nvfp4"] * 3,
        "mlp.gate_proj": [None] * 3,
    }
    assert found.weight_format("lm_head") == "nvfp4"


def test_gptq_has_overrides_and_a_head() -> None:
    dynamic = {
        r"-:.*\.mlp\.down_proj": {},
        r"+:.*\.(?:0|2)\.self_attn.*": {"bits": 8, "group_size": 64},
        ".*x_proj": {},
    }
    found = read_quantization(
        {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "dynamic": dynamic, "lm_head": True}
    )
    assert formats(found, "self_attn.q_proj", "mlp.down_proj", "mlp.up_proj") == {
        "self_attn.q_proj": ["int8-g64", "int4-g32", "int8-g64"],
        "mlp.down_proj": [None] * 3,
        "mlp.up_proj": ["int4-g32"] * 3,
    }
    assert found.weight_format("lm_head") == "int4-g32"


@pytest.mark.parametrize(
    ("more", "kv"),
    [
        ({"kv_cache_quant_algo": "FP8"}, "fp8e4m3"),
        ({"kv_cache_scheme": "FP8"}, "fp8e4m3"),
        ({"kv_cache_scheme": FLOAT8}, "fp8e4m3"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "int", "strategy": "channel"}}, "int8-c"),
        ({"kv_cache_quant_algo": None, "kv_cache_scheme": None}, None),
        ({}, None),
    ],
)
def test_the_cache_has_its_own_type(more: dict[str, Any], kv: str | None) -> None:
    assert read_quantization(modelopt("NVFP4", **more)).kv == kv


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"quant_method": "quip#"}, "unknown-quantization", ["`quant_method`", "quip#", "gptq"]),
        ({"quant_method": ["gptq"]}, "unknown-quantization", ["`quant_method`"]),
        ({"bits": 4, "group_size": 128}, "unknown-quantization", ["`quant_method`"]),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "bad-quantization", ["int3"]),
        ({"quant_method": "gptq", "bits": "4"}, "bad-quantization", ["`bits`", "whole number"]),
        ({"quant_method": "gptq", "bits": 4, "lattice": "e8"}, "bad-quantization", ["`lattice`", "gptq"]),
        ({"quant_method": "awq", "bits": 4, "group_size": 0}, "bad-quantization", ["int4-g0"]),
        ({"quant_method": "fp8", "fmt": "e3m4"}, "bad-quantization", ["`fmt`", "e3m4", "e4m3"]),
        ({"quant_method": "fp8", "activation_scheme": "odd"}, "bad-quantization", ["`activation_scheme`"]),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "bad-quantization", ["`weight_block_size`"]),
        ({"quant_method": "bitsandbytes"}, "bad-quantization", ["load_in_4bit"]),
        (modelopt("NVFP5"), "bad-quantization", ["`quant_algo`", "NVFP5", "did you mean"]),
        (modelopt("NVFP4", group_size=32), "bad-quantization", ["`group_size`", "16"]),
        (modelopt("MIXED_PRECISION"), "bad-quantization", ["`quantized_layers`"]),
        (modelopt("FP8", kv_cache_quant_algo="FP6"), "bad-quantization", ["`kv_cache_quant_algo`", "FP8"]),
        (modelopt("FP8", ignore="lm_head"), "bad-quantization", ["`ignore`"]),
        (modelopt("FP8", ignore=["re:("]), "bad-quantization", ["regular expression"]),
        (modelopt("MIXED_PRECISION", quantized_layers={"a.b": {}}), "bad-quantization", ["quantized_layers.a.b"]),
        (
            grouped(a={"weights": {"num_bits": 8, "strategy": "row"}}),
            "bad-quantization",
            ["config_groups.a.weights.strategy"],
        ),
        (
            grouped(a={"weights": {"num_bits": 6, "type": "float"}}),
            "bad-quantization",
            ["config_groups.a.weights", "6 bits"],
        ),
        (grouped(a=1), "bad-quantization", ["config_groups.a"]),
        (grouped() | {"sparsity_config": {"format": "odd"}}, "bad-quantization", ["`sparsity_config`"]),
    ],
)
def test_what_is_not_understood_is_named(config: dict[str, Any], code: str, words: list[str]) -> None:
    with pytest.raises(Diag) as caught:
        read_quantization(config)
    assert caught.value.code == code
    text = str(caught.value)
    assert all(w in text for w in words), text


SCALARS = st.none() | st.booleans() | st.integers(-2, 300) | st.text(max_size=5) | st.floats(allow_nan=False)
WORDS = st.sampled_from(
    "quant_method quant_algo bits group_size sym dynamic config_groups targets weights type num_bits strategy float "
    "int "
    "symmetric quantized_layers ignore kv_cache_scheme NVFP4 FP8 MIXED_PRECISION Linear fmt weight_block_size g".split()
)
VALUES = st.recursive(
    SCALARS | WORDS, lambda x: st.lists(x, max_size=3) | st.dictionaries(WORDS, x, max_size=4), max_leaves=12
)
METHODS = st.sampled_from("gptq awq fp8 mxfp4 bitsandbytes compressed-tensors modelopt".split())


@given(config=st.dictionaries(WORDS, VALUES, max_size=6), method=METHODS)
def test_anything_is_read_or_refused(config: dict[str, Any], method: str) -> None:
    try:
        found = read_quantization({**config, "quant_method": method})
    except Diag as error:
        assert error.code in ("bad-quantization", "unknown-quantization") and json.dumps(error.message)
        return
    for layer in (None, 0, 7):
        weight = found.weight_format("mlp.experts.gate_up_proj", layer)
        assert weight is None or parse_dtype(weight).element in (*NAMES, "fp4")
