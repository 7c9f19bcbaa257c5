"""Types and their bytes, the pass `quantize`, the ops that it derives, and what units make of sparsity."""

from __future__ import annotations

import random
from dataclasses import replace
from math import ceil
from typing import Any

import nestcases
import numpy as np
import pytest
import test_nest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry, scaling
from dfcompiler.api import check_pass
from dfcompiler.compose import single
from dfcompiler.cost import roofline
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import NAMES, DtypeMap, bits, parse_dtype, parse_dtypes, show_dtype, stored_bits
from dfcompiler.execution import random_inputs, run_graph, scale_name, zero_name
from dfcompiler.facts import facts
from dfcompiler.facts import groups as touched
from dfcompiler.graph import Graph, TensorType
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.template import Compute
from dfcompiler.models import library, load_model
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.pricing import op_graph
from dfcompiler.problem import problem
from dfcompiler.report import utilization
from dfcompiler.rounding import encode, round_to
from dfcompiler.scaling import Companion, with_scales
from dfcompiler.steps import step
from dfcompiler.text.show import show
from dfcompiler.tiling import search
from dfcompiler.verify import equivalent

# ---- types -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("bf16", 16),
        ("tf32", 32),
        ("mxfp8", 8 + 8 / 32),
        ("mxfp6", 6 + 8 / 32),
        ("mxfp4", 4 + 8 / 32),
        ("nvfp4", 4 + 8 / 16),
        ("int4-g128", 4 + 16 / 128),
        ("int4-g128-z", 4 + 20 / 128),
        ("int4-c", 4),
        ("fp8e4m3-b128x128", 8 + 32 / 128**2),
        ("int8-s24", (8 + 2) / 2),
        ("int8-d30", 8 * 0.3 + 1),
        ("int8-d30i4", (8 + 4) * 0.3),
        ("int4-g32-z-s24", (4 + 2) / 2 + 20 / 32),
    ],
)
def test_bits_of_types(name: str, each: float) -> None:
    assert bits(name) == pytest.approx(each)
    assert stored_bits(name, (256, 3200)) == pytest.approx(
        256 * 3200 * each + {"int4-c": 256 * 16, "nvfp4": 32}.get(name, 0)
    )


BASES = st.sampled_from(["int8", "int4", "int2", "fp8e4m3", "fp4"])
GROUPS = st.one_of(
    st.sampled_from(["", "-t", "-c"]),
    st.integers(1, 40).map("-g{}".format),
    st.tuples(st.integers(1, 9), st.integers(1, 40)).map(lambda b: f"-b{b[0]}x{b[1]}"),
)
SPARSE = st.sampled_from(["", "-s24", "-d30", "-d7i5"])


@given(
    base=BASES,
    scales=GROUPS,
    zero=st.booleans(),
    sparse=SPARSE,
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3),
)
def test_bytes_count_every_ragged_group(base: str, scales: str, zero: bool, sparse: str, shape: list[int]) -> None:
    z = "-z" if zero and scales and base.startswith("int") else ""
    name = f"{base}{scales}{z}{sparse}"
    kind, width = parse_dtype(name), {"int8": 8, "int4": 4, "int2": 2, "fp8e4m3": 8, "fp4": 4}[base]
    assert parse_dtype(show_dtype(kind)) == kind
    rows, cols = int(np.prod(shape[:-1])), shape[-1]
    mine = {
        (r // (s.rows or rows), c // (s.cols or cols)) for s in kind.scales for r in range(rows) for c in range(cols)
    }
    scale = (16 if base.startswith("int") else 32) + (width if z else 0)
    elements = rows * cols
    if sparse == "-s24":
        kept = sum(min(2, len(range(c, min(cols, c + 4)))) for _ in range(rows) for c in range(0, cols, 4))
        body = kept * (width + 2)
    elif sparse:
        kept = ceil(round(elements * int(sparse[2:].split("i")[0]) / 100, 6))
        body = kept * (width + 5) if "i" in sparse else kept * width + elements
    else:
        body = elements * width
    assert TensorType(name, tuple(shape)).bytes * 8 == body + len(mine) * scale


@given(
    rows=st.integers(1, 9),
    block=st.tuples(st.integers(1, 40), st.integers(1, 9)),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_cells_hold_what_shares_a_scale(rows: int, block: tuple[int, int], shape: tuple[int, ...]) -> None:
    level = parse_dtype(f"int8-b{block[0]}x{block[1]}").scales[0]
    cell, cols = level.cell(shape), shape[-1]
    places = np.indices(shape).reshape(3, -1).T
    flat = np.arange(len(places))
    group = {(int(f) // cols // block[0], int(f) % cols // block[1]) for f in flat}
    if cell is None:
        return
    own = {tuple(p // cell) for p in places}
    assert len(own) == len(group) == level.count(shape[0] * shape[1], cols)
    same = {
        (tuple(p // cell), (int(f) // cols // block[0], int(f) % cols // block[1]))
        for p, f in zip(places, flat, strict=True)
    }
    assert len(same) == len(group), "both divide the tensor alike"


def test_types_by_role() -> None:
    assert parse_dtypes("w=int4-g128,a=bf16,kv=fp8e4m3") == DtypeMap("int4-g128", "bf16", "fp8e4m3", "fp32")
    assert parse_dtypes("w=int8-c,a=int8-c") == DtypeMap("int8-c", "int8-c", "int8-c", "int32")
    assert parse_dtypes("kv=mxfp8,acc=fp16") == DtypeMap("bf16", "bf16", "mxfp8", "fp16")
    assert parse_dtypes("w4a16kv8") == DtypeMap("int4", "bf16", "int8", "fp32")
    assert parse_dtypes("nvfp4") == DtypeMap("nvfp4", "nvfp4", "nvfp4", "fp32")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bf17", ["bf17", "w4a8kv4", *NAMES]),
        ("w=int5", ["int5", "did you mean"]),
        ("q=int4", ["`q`", "a, acc, kv, w"]),
        ("w=int4,w=int8", ["twice"]),
        ("w=int4-g0", ["-g0", "-g128"]),
        ("w=bf16-g32", ["-g32"]),
        ("w=fp8e4m3-c-z", ["-z"]),
        ("w=mxfp4-g32", ["-g32"]),
        ("w=int4-s24-g32", ["-g32", "in this order"]),
        ("acc=int8", ["int8", "accumulator"]),
        ("w=", ["unknown dtype"]),
    ],
)
def test_types_that_are_not_known(text: str, words: list[str]) -> None:
    with pytest.raises(Diag) as caught:
        parse_dtypes(text)
    assert caught.value.code == "unknown-dtype"
    assert all(w in str(caught.value) for w in words), str(caught.value)


def test_random_inputs_have_the_zeros_of_their_type() -> None:
    text = "graph g {\n weight a: int4-g8-s24 [6, 16]\n weight b: bf16-d30 [5, 8]\n weight c: int4-s24 [3, 8]\n}"
    found = random_inputs(parse_graph(Source("g", text), library()))
    assert np.count_nonzero(found["a"].reshape(-1, 4), axis=1).tolist() == [2] * 24
    assert np.count_nonzero(found["b"]) == 12
    assert np.all(np.count_nonzero(found["c"].reshape(-1, 4), axis=1) <= 2) and np.array_equal(
        found["c"], np.rint(found["c"])
    )


# ---- the derived op ----------------------------------------------------------------------------


def test_a_linear_with_group_scales_is_qlinear() -> None:
    ops = library().ops
    derived = with_scales(ops["linear"], "w", (5, 3, 32), [Companion("c", (1, 1, 8))])
    assert derived is not None
    text = show(derived).replace("linear_w_ig", "qlinear").replace("k_groups", "g").replace("k_group", "group")
    assert text == show(ops["qlinear"])


def test_scales_that_are_constant_in_a_sum_are_taken_out_of_it() -> None:
    """Work in the derived op: per weight where scales change along the sum, per result where they do not."""
    linear, t, n, k = library().ops["linear"], 7, 5, 32
    mul = {}
    for name, cell in (("group", (1, 8)), ("channel", (1, 32)), ("tensor", None)):
        op = with_scales(linear, "w", (n, k), [Companion("c", cell)])
        assert op is not None
        graph, node = op_graph(
            op, {"t": [t], "n": [n], "k": [k], **({"k_groups": [4]} if name == "group" else {})}, DtypeMap()
        )
        mul[name] = problem(single(graph, node), DtypeMap()).vector
    assert mul == {"group": {"mul": n * k}, "channel": {"mul": t * n}, "tensor": {"mul": t * n}}


def test_what_the_text_does_not_allow_is_no_derived_op() -> None:
    ops = library().ops
    assert with_scales(ops["append"], "cache", (2, 9, 4), [Companion("c", (1, 1, 2))]) is None


# ---- the pass ----------------------------------------------------------------------------------

SMALL = """
graph small {
  input x: bf16 [6, 32]
  input id: int32 [6, 2] in 3 distinct
  input p: bf16 [6, 2]
  weight g: bf16 [32]
  weight u: bf16 [2, 4, 8, 32]
  weight o: bf16 [32, 2, 4, 8]
  weight e1: bf16 [3, 16, 32]
  weight e2: bf16 [3, 32, 16]
  weight table: bf16 [40, 32]
  input ids: int32 [6] in 40
  h: bf16 [6, 32] = rmsnorm(x, g)
  a: bf16 [6, 2, 4, 8] = linear(h, u)
  b: bf16 [6, 32] = merge(a, o)
  m: bf16 [6, 2, 16] = expert_linear(b, e1, id)
  n: bf16 [6, 32] = expert_merge(m, e2, id, p)
  t: bf16 [6, 32] = gather(table, ids)
  y: bf16 [6, 32] = add(n, t)
  logits: bf16 [6, 40] = linear(y, table)
  output logits
}"""
FORMATS = ["int4-g8", "int4-g8-z", "int8-c", "int8-c-z", "fp8e4m3-t", "fp8e4m3-b8x8", "nvfp4", "mxfp4", "int4-g8-s24"]


def small(text: str = SMALL) -> Graph:
    return parse_graph(Source("small", text), library())


def apply(text: str, graph: Graph, **more: Any) -> Graph:
    (found,) = parse_pipeline(Source("p", text))
    return found.run(graph, Context(**more))


def model(steps: Any = None) -> Graph:
    context = Context(
        model=load_model("llama3-8b"), dtypes=parse_dtypes("bf16"), step=steps or step(prefill=[(64, 0)], decode=[5, 9])
    )
    return registry.lookup("pass", "lower-model")().run(Graph("g"), context)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FORMATS)
def test_codes_and_scales_are_what_the_weight_was_rounded_to(name: str) -> None:
    """The graph as it was with rounded weights, against the rewritten one with their codes and scales."""
    before = small()
    after = apply(f"quantize{{w={name}}}", before)
    plain = random_inputs(before, seed=3)
    stored: dict[str, Any] = {n: v for n, v in plain.items() if n in after.tensors}
    rounded = dict(plain)
    for weight in ("u", "o", "e1", "e2"):
        made, kind = encode(plain[weight].astype(float), name), parse_dtype(name)
        rounded[weight], stored[weight] = made.values, made.codes
        for i, values in enumerate(made.scales):
            stored[scale_name(weight, i)] = values.reshape(after.type_of(scale_name(weight, i)).shape)
        if kind.zero:
            shape, axes = after.type_of(zero_name(weight)).shape, before.type_of(weight).shape
            first = tuple(slice(None, None, n // m) for n, m in zip(axes, shape, strict=True))
            stored[zero_name(weight)] = made.zero[first]
    one, two = run_graph(before, rounded)["logits"], run_graph(after, stored)["logits"]
    assert two == pytest.approx(one, rel=1e-9, abs=1e-12)
    assert abs(one - run_graph(before, plain)["logits"]).max() > 1e-4


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_of_codes_and_scales_are_those_of_the_type(name: str) -> None:
    before = small()
    native = apply(f"quantize{{w={name},scales=native}}", before)
    explicit = apply(f"quantize{{w={name}}}", before)
    for weight in ("u", "o", "e1", "e2"):
        assert native.type_of(weight).dtype == name
        assert not parse_dtype(explicit.type_of(weight).dtype).scales, "never counted twice"
        parts = [x for x in explicit.tensors if x == weight or x.startswith((f"{weight}_scale", f"{weight}_zero"))]
        assert sum(explicit.type_of(x).bytes for x in parts) == native.type_of(weight).bytes
    assert explicit.type_of("g").dtype == explicit.type_of("table").dtype == "bf16"
    assert native.nodes.keys() == explicit.nodes.keys() == before.nodes.keys()


@pytest.mark.parametrize("name", [*FORMATS, "int4-g128", "fp8e4m3-b128x128"])
def test_every_format_verifies_and_is_read_back(name: str) -> None:
    for before in (small(), model()):
        for scales in ("explicit", "native"):
            after = apply(f"quantize{{w={name},a=int8,kv=fp8e4m3,scales={scales}}}", before)
            assert parse_graph(Source("again", show_graph(after)), library()) == after
            check_pass("quantize", before, after)


def test_a_wrong_scale_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    before = small()
    right = scaling._Made.read

    def shifted(self: Any, codes: Any) -> Any:
        found = right(self, codes)
        return scaling.t.Access(found.name, (*found.subs[:-1], scaling.t.Num(0)))

    monkeypatch.setattr(scaling._Made, "read", shifted)
    with pytest.raises(Diag, match="changed what the graph computes"):
        check_pass("quantize", before, apply("quantize{w=int4-g8}", before))


def test_a_forgotten_zero_point_is_caught() -> None:
    before = small()
    after = apply("quantize{w=int4-g8-z}", before)
    text = show_graph(after).replace("(w[*n, k] - w_zero[*n, k // |k_group|])", "w[*n, k]")
    wrong = parse_graph(Source("wrong", text), library())
    assert equivalent(before, after) is None
    assert equivalent(before, wrong) is not None


def test_activations_caches_and_carried_values_change_together() -> None:
    after = apply("quantize{a=fp8e4m3,kv=int8-c}", model())
    kinds = {t.kind: {x.type.dtype for x in after.tensors.values() if x.kind == t.kind} for t in after.tensors.values()}
    assert kinds["weight"] == {"bf16"} and kinds["state"] == {"int8-c"}
    assert kinds["input"] == {"int32"} and kinds["value"] == {"fp8e4m3", "int8-c"}
    assert parse_graph(Source("again", show_graph(after)), library()) == after


def test_types_that_stand_in_the_graph_are_made_explicit_too() -> None:
    """`quantize` without options on a graph of `--dtype w=int4-g8`: tables and gains as well."""
    text = SMALL.replace("weight g: bf16", "weight g: int4-g8").replace("weight table: bf16", "weight table: int4-g8")
    after = apply("quantize", small(text))
    assert {"g_scale", "table_scale"} <= set(after.tensors)
    assert after.nodes["t"].op.name == "gather_table_ig" and after.nodes["logits"].op.name == "linear_w_ig"
    check_pass("quantize", small(text), after)
    assert apply("quantize", after) == after


def test_ragged_groups_stay_in_the_type_with_a_note() -> None:
    notes: list[Any] = []
    after = apply("quantize{w=int4-g12}", small(), on_note=notes.append)
    assert after.type_of("u").dtype == "int4-g12" and after.nodes["a"].op.name == "linear"
    assert after.type_of("o").dtype == "int4" and after.nodes["b"].op.name == "merge_w_iiio"
    assert any("`u` of [2, 4, 8, 32]" in n.message and "ragged" in n.message for n in notes)


def test_a_chip_whose_units_apply_scales_keeps_them_in_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = load_chip("ador")
    assert apply("quantize{w=int4-g8}", small(), chip=chip).nodes["a"].op.name == "linear_w_ig"
    monkeypatch.setattr(Compute, "applies_scales", lambda self, dtype: dtype == "int4-g8")
    assert apply("quantize{w=int4-g8}", small(), chip=chip).nodes["a"].op.name == "linear"
    assert apply("quantize{w=int8-c}", small(), chip=chip).nodes["a"].op.name == "linear_w_io"


@pytest.mark.parametrize("option", ["w=int5", "sparsity=s25", "a=bf16-g3", "kv=fp"])
def test_options_name_types(option: str) -> None:
    with pytest.raises(Diag) as caught:
        parse_pipeline(Source("p", f"quantize{{{option}}}"))
    assert caught.value.code == "bad-option"


def test_a_name_that_is_taken_is_refused() -> None:
    text = SMALL.replace("weight u: bf16", "weight u_scale: bf16 [3]\n  weight u: int4-g8")
    with pytest.raises(Diag, match="`u_scale`"):
        apply("quantize", small(text))


# ---- prices ------------------------------------------------------------------------------------


@given(size=st.integers(1, 60), group=st.integers(1, 20), tile=st.integers(1, 60))
def test_groups_that_a_tile_touches(size: int, group: int, tile: int) -> None:
    tile = min(tile, size)
    groups = ceil(size / group)
    most = max(len({i // group for i in range(s, min(size, s + tile))}) for s in range(0, size, tile))
    claimed = float(min(touched(float(tile), float(group)), groups))
    assert claimed >= most
    if tile % group == 0 or group % tile == 0:
        assert claimed == most
    assert claimed <= most + 1


def test_groups_do_not_keep_a_sum_from_being_tiled() -> None:
    graph, node = op_graph(library().ops["qlinear"], {"t": [4], "n": [8], "k": [64], "g": [4]}, DtypeMap())
    assert "k" not in facts(graph.shape(node)).whole


def scaled(r: random.Random) -> tuple[str, str]:
    t, groups, group, n = r.randint(1, 6), r.randint(1, 4), r.choice([1, 2, 4]), r.randint(2, 6)
    k = groups * group
    kinds = f"input x: bf16 [{t}, {k}]\nweight w: int8 [{n}, {k}]\nweight c: fp16 [{n}, {groups}]"
    return f"{kinds}\ny: bf16 [{t}, {n}] = qlinear(x, w, c)", "y"


@pytest.mark.parametrize("seed", range(60))
def test_prices_of_scaled_ops_against_an_execution(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, bytes and time of random tilings, run tile by tile."""
    monkeypatch.setitem(nestcases.CASES, "scaled", scaled)
    test_nest.holds("scaled", seed)


def priced(weight: str, sparsity: str, k: int = 64) -> Any:
    array = registry.lookup("template", "systolic-array")
    unit, helper = nestcases.machine(random.Random(1), "systolic-array")
    unit = replace(unit, template=array(rows=8, cols=8, sparsity=sparsity), instances=1)
    operands = f"input x: bf16 [64, {k}]\n weight w: {weight} [64, {k}]"
    text = f"graph g {{ {operands}\n y: bf16 [64, 64] = linear(x, w)\n output y\n}}"
    graph = parse_graph(Source("g", text), library())
    p = problem(single(graph, graph.nodes["y"]), DtypeMap())
    return p, unit, helper


def test_only_a_unit_that_skips_zeros_gains_from_two_of_four() -> None:
    p, unit, _ = priced("int8-s24", "two-of-four")
    dense, plain = priced("int8", "two-of-four"), priced("int8-s24", "none")
    assert p.macs_on(unit.template) == p.macs / 2 == dense[0].macs_on(dense[1].template) / 2
    assert plain[0].macs_on(plain[1].template) == p.macs
    (c,) = p.contractions
    assert float(p.depth_on(c, {x.name: float(x.size) for x in p.loops}, unit.template)) == 32
    cycles = [
        search(a, b, h, (1.0,)).tilings[0].compute_cycles
        for a, b, h in (priced("int8-s24", s) for s in ("two-of-four", "none"))
    ]
    assert cycles[0] == pytest.approx(cycles[1] / 2, rel=0.1)


def test_the_pattern_must_run_along_the_sum() -> None:
    text = "graph g { input x: bf16 [8, 16]\n weight w: int8-s24 [16, 8]\n y: bf16 [8, 8] = matmul(x, w)\n output y\n}"
    graph = parse_graph(Source("g", text), library())
    p = problem(single(graph, graph.nodes["y"]), DtypeMap())
    assert p.macs_on(priced("int8", "two-of-four")[1].template) == p.macs


@given(size=st.integers(1, 40), tile=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_tile_never_holds_more_than_it_is_charged(size: int, tile: int, seed: int) -> None:
    p, unit, _ = priced("int8-s24", "two-of-four", max(2, size))
    kept = round_to(np.random.default_rng(seed).standard_normal((1, max(2, size))), "int8-s24")[0] != 0
    tile = min(tile, max(2, size))
    most = max(int(kept[s : s + tile].sum()) for s in range(0, len(kept), tile))
    (c,) = p.contractions
    assert float(p.depth_on(c, {**{x.name: float(x.size) for x in p.loops}, "k": float(tile)}, unit.template)) >= most


def test_dequantised_weights_are_as_wide_as_activations() -> None:
    for op, wide in (("linear", 4), ("qlinear", 16)):
        sizes = {"t": [4], "n": [8], "k": [64], **({"g": [4]} if op == "qlinear" else {})}
        graph, node = op_graph(library().ops[op], sizes, parse_dtypes("w=int4,a=bf16"))
        assert problem(single(graph, node), DtypeMap()).b_bits == wide


def test_narrower_weights_move_fewer_bytes_and_cost_dequantise_work() -> None:
    chip, before = load_chip("ador"), model()
    dtypes = parse_dtypes("bf16")
    after = apply("quantize{w=int4-g128}", before, chip=chip)
    one, two = roofline(before, chip, dtypes), roofline(after, chip, dtypes)
    assert two.macs == one.macs
    weights = [
        sum(x.type.bytes * before_repeats(g, x.name) for x in g.tensors.values() if x.kind == "weight")
        for g in (before, after)
    ]
    assert one.compulsory_bytes - two.compulsory_bytes == pytest.approx(weights[0] - weights[1])
    assert two.memory_s < 0.5 * one.memory_s
    name = "q_prefill"
    extra = problem(single(after, after.nodes[name]), dtypes).vector["mul"]
    assert extra == before.type_of("wq").elements
    assert utilization(problem(single(after, after.nodes[name]), dtypes), chip.units["sa"], None, 1e9) > 0


def before_repeats(graph: Graph, name: str) -> int:
    """How many layers have this tensor."""
    users = [n for n, node in graph.nodes.items() if name in node.args]
    return graph.repeats[users[0]]
