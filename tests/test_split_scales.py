"""Weights with scales per group, split over devices: groups are those of the whole weight, whatever a device holds."""

from __future__ import annotations

from functools import cache

import pytest
from tiny import DEEPSEEK, LLAMA, lower

from dfcompiler.api import check_pass
from dfcompiler.cli.main import main
from dfcompiler.devices import run_devices
from dfcompiler.diagnostics import Source
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph, Node
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.steps import step
from dfcompiler.verify import compare, shrink

DENSE = {**LLAMA, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 96}
DENSE |= {"head_dim": 8, "vocab_size": 64, "num_hidden_layers": 1}
LATENT = {**DEEPSEEK, "hidden_size": 64, "num_attention_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32}
LATENT |= {"intermediate_size": 64, "moe_intermediate_size": 32, "n_routed_experts": 4, "v_head_dim": 8}
LATENT |= {"vocab_size": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "num_hidden_layers": 2}
FAMILIES = {"llama": DENSE, "deepseek": LATENT}
TYPES = ["int4-g8", "int4-g16-z", "int4-c", "fp8e4m3-b8x8", "mxfp8", "nvfp4"]
SHARDS = [("llama", "tp=2"), ("llama", "tp=4"), ("llama", "tp=4,sp=4"), ("llama", "tp=2,dp=2")]
SHARDS += [("deepseek", o) for o in ("tp=2", "tp=4", "ep=2", "ep=2,tp=2", "ep=4,tp=2,sp=2")]


def passed(graph: Graph, text: str) -> Graph:
    for one in parse_pipeline(Source("--pipeline", text)):
        graph = one.run(graph, Context())
    return graph


@cache
def quantised(family: str, dtype: str) -> Graph:
    whole = lower(FAMILIES[family], step(prefill=[(4, 2), (4, 0)], decode=[3, 1, 5, 2]), family)
    return passed(whole, f"quantize{{w={dtype},scales=explicit}}")


def grouped(graph: Graph, node: Node) -> list[str]:
    """Indices of a node that have a scale per group."""
    return [d.name.removesuffix("_group") for d in graph.shape(node).dims if d.name.endswith("_group")]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("family", "options"), SHARDS)
def test_scales_on_devices_are_those_of_the_whole(family: str, options: str, dtype: str) -> None:
    """At these sizes, and at the small ones that a pass is checked at."""
    whole = quantised(family, dtype)
    parts = passed(whole, f"shard{{{options}}}")
    inputs = random_inputs(whole)
    one, many = run_graph(whole, inputs), run_devices(parts, inputs)
    for a, b in zip(whole.outputs, parts.outputs, strict=True):
        assert compare(a, one[a], many[b], 1e-9) is None
    check_pass("shard", whole, parts)


@pytest.mark.parametrize("dtype", ["int4-g8", "fp8e4m3-b8x8"])
def test_groups_are_those_of_the_whole(dtype: str) -> None:
    """What a `dim` divides does not depend on how much of it one device has."""
    whole = quantised("deepseek", dtype)
    parts = passed(whole, "shard{tp=4}")
    asked = 0
    for node in (n for n in whole.nodes.values() if n.name in parts.nodes):
        before, after = whole.sizes(node), parts.sizes(parts.nodes[node.name])
        for k in grouped(whole, node):
            assert after[f"{k}_group"] == before[f"{k}_group"] > 1
            asked += k in dict(parts.nodes[node.name].over)
    assert asked


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_small_sizes_keep_groups_whole(devices: int) -> None:
    """Also where devices share what is grouped, or the groups."""
    whole = quantised("deepseek", "fp8e4m3-b8x8")
    weights = [n.args[1] for n in whole.nodes.values() if grouped(whole, n)]
    axes = [(w, k) for w in weights for k, size in enumerate(whole.type_of(w).shape) if size % devices == 0]
    scales = [(f"{w}_scale", k) for w, k in axes if whole.type_of(f"{w}_scale").shape[k] % devices == 0]
    assert axes and scales
    for multiples in ({}, dict.fromkeys(axes, devices), dict.fromkeys(scales, devices)):
        small = shrink(whole, multiples)
        assert all(small.type_of(name).shape[k] % n == 0 for (name, k), n in multiples.items())
        for node in small.nodes.values():
            sizes = small.sizes(node)
            assert all(sizes[f"{k}_group"] * sizes[f"{k}_groups"] == sizes[k] for k in grouped(small, node))
        run_graph(small, random_inputs(small))


@pytest.mark.parametrize(
    "what",
    [
        "deepseek-v3 --on h200 --tp 8 --batch 32",
        "llama3-8b --on ador --tp 2 --dtype w=int4-g128",
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_compiling_with_scales_on_devices_verifies(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    rest = "--phase decode --context 64 --pipeline greedy --verify"
    assert main(f"compile {what} {rest}".split()) == 0
    assert "verified" in capsys.readouterr().err
