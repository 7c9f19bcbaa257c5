"""Weights with scales per group, split over devices: groups are those of the whole weight, whatever a device holds."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from test_sharding import RATES
from tiny import DEEPSEEK, LLAMA, lower

from dfcompiler.api import check_pass
from dfcompiler.cli.main import main
from dfcompiler.devices import layouts, run_devices
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph, Node
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import library
from dfcompiler.opshape import bind, extents
from dfcompiler.partition import partition
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.semantics import run_op
from dfcompiler.sharding import split
from dfcompiler.slices import Slice, sliced
from dfcompiler.spreading import spread
from dfcompiler.steps import step
from dfcompiler.stream import Blocked
from dfcompiler.verify import compare, shrink

DENSE = {**LLAMA, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 96}
DENSE |= {"head_dim": 8, "vocab_size": 64, "num_hidden_layers": 1}
LATENT = {**DEEPSEEK, "hidden_size": 64, "num_attention_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 32}
LATENT |= {"intermediate_size": 64, "moe_intermediate_size": 32, "n_routed_experts": 4, "v_head_dim": 8}
LATENT |= {"vocab_size": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "num_hidden_layers": 2}
FAMILIES = {"llama": DENSE, "deepseek": LATENT}
TYPES = ["int4-g8", "int4-g16-z", "fp8e4m3-b8x8", "mxfp8", "nvfp4"]
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
    assert parse_graph(Source("text", show_graph(parts)), library()) == parts


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


@pytest.mark.parametrize(("family", "options", "dtype"), [("llama", "tp=4", "int4-g8"), ("deepseek", "tp=2", "nvfp4")])
def test_scales_are_split_with_their_codes(family: str, options: str, dtype: str) -> None:
    """A device holds the scales of its codes, and no others."""
    whole = quantised(family, dtype)
    parts = passed(whole, f"shard{{{options}}}")
    ways, found = int(options[-1]), 0
    for name in (n for n in whole.tensors if f"{n}_scale" in whole.tensors):
        codes, scales = (whole.type_of(n).elements // parts.type_of(n).elements for n in (name, f"{name}_scale"))
        assert scales == codes in (1, ways), name
        found += scales > 1
    assert found > 5


def test_groups_that_devices_do_not_divide_stay_whole() -> None:
    """Two groups on four devices: each has half of a group, and needs its scale."""
    whole = parse_graph(
        Source(
            "g",
            """graph g {
              input x: bf16 [4, 64]
              weight w: int4 [8, 64]
              weight c: fp32 [8, 2]
              y: bf16 [4, 8] = qlinear(x, w, c)
              output y
            }""",
        ),
        library(),
    )
    chosen = partition(whole, 4, RATES, lambda n, i: i == "k", lambda n, i: i == "k")
    assert chosen is not None
    parts = spread(whole, "tp", 4, chosen, layouts(whole))
    assert parts.type_of("w").shape == (8, 16) and parts.type_of("c").shape == (8, 2)
    check_pass("shard", whole, parts)
    inputs = random_inputs(whole)
    assert compare("y", run_graph(whole, inputs)["y"], run_devices(parts, inputs)[parts.outputs[0]], 1e-9) is None


@pytest.mark.parametrize("groups", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("ways", [1, 2, 4])
def test_slices_of_groups_add_up(groups: int, ways: int) -> None:
    """Four slices of what is grouped, and groups in as many slices or fewer: parts of the sum make the whole."""
    shape = bind(library().ops["qlinear"], (2, 2, 2))
    rng = np.random.default_rng(0)
    x, w, c = rng.standard_normal((3, 16)), rng.standard_normal((5, 16)), rng.standard_normal((5, groups))
    expected = x @ (w * np.repeat(c, 16 // groups, axis=1)).T
    total = np.zeros_like(expected)
    for device in range(4):
        slices, cut = {"k": Slice(4 * device, 4, 16)}, slice(4 * device, 4 * device + 4)
        scales = c
        if ways > 1 and groups % ways == 0:
            held, start = groups // ways, device * ways // 4 * (groups // ways)
            slices["g"], scales = Slice(start, held, groups), c[:, start : start + held]
        mine = sliced(shape, slices)
        values = {"x": x[:, cut], "w": w[:, cut], "c": scales}
        total += run_op(mine, extents(mine, [v.shape for v in values.values()]), {}, values)["y"]
    np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_groups_go_with_what_they_group() -> None:
    shape = bind(library().ops["qlinear"], (2, 2, 2))
    answer = split(shape, "g")
    assert isinstance(answer, Blocked) and "numbers groups of `k`" in answer.why
    for slices in ({"g": Slice(0, 4, 8)}, {"k": Slice(0, 8, 16), "g": Slice(4, 4, 8)}):
        with pytest.raises(Diag, match="cannot be split") as caught:
            sliced(shape, slices)
        assert caught.value.code == "bad-split"


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
