"""Every answer about splitting an index is executed on simulated devices and compared with the whole op."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import DEEPSEEK, LLAMA, lower

from dfcompiler import registry
from dfcompiler.api import check_pass
from dfcompiler.collectives import Demand, Exchange, across, demands, exchange
from dfcompiler.devices import layouts, run_devices
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.elimination import Table, minimum
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.fabrics import Fabric
from dfcompiler.graph import AttrValue, Graph, Node, Tensor, TensorType
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import library, load_model
from dfcompiler.opshape import OpShape, bind, evaluate, extents, operand_axes
from dfcompiler.partition import Partition, Rates, partition
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.sharding import Split, choice, split
from dfcompiler.spreading import spread
from dfcompiler.steps import Step, step
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t

RATES = Rates(macs=5e14, memory=3e12, fabric=Fabric(4e11, 1e-6))
DTYPES = parse_dtypes("bf16")


def shape_of(name: str, ranks: tuple[int, ...] | None = None) -> OpShape:
    op = library().ops[name]
    return bind(op, ranks or tuple(len(p.type.dims) for p in op.params))


def one_op(name: str, ranks: tuple[int, ...], sizes: dict[str, int], attrs: dict[str, AttrValue]) -> Graph:
    """A graph of one op on operands of these sizes."""
    op = library().ops[name]
    shape = bind(op, ranks)
    defaults = {a.name: a.default for a in shape.attrs if a.default is not None}
    tensors = []
    for p in shape.params:
        axes = tuple(evaluate(d, sizes, {}, defaults) or 1 for d in p.dims)
        within = sizes.get(p.within or "") if p.within else None
        kind = {"w": "weight", "kv": "state"}.get(p.role or "", "input")
        tensors.append(Tensor(p.name, TensorType("bf16", axes, within, bool(p.distinct)), kind))
    known = extents(shape, [x.type.shape for x in tensors], attrs)
    tensors = [
        replace(x, type=replace(x.type, within=known[p.within])) if p.within else x
        for x, p in zip(tensors, shape.params, strict=True)
    ]
    types = [
        TensorType("bf16", operand_axes(o, known), known[o.within] if o.within else None, bool(o.distinct))
        for o in shape.results
    ]
    results = tuple(Tensor(f"r_{o.name}", ty) for o, ty in zip(shape.results, types, strict=True))
    node = Node(op, tuple(x.name for x in tensors), results, tuple(attrs.items()))
    return Graph("one", (*tensors, node), tuple(r.name for r in results))


def shard(graph: Graph, axis: str, ways: int, index: str | None = None) -> Graph:
    """The graph with one index of its nodes split over a new axis of the mesh."""
    chosen = partition(graph, ways, RATES, lambda n, i: i == index, lambda n, i: i == index)
    assert chosen is not None
    return spread(graph, axis, ways, chosen, layouts(graph))


def check(whole: Graph, parts: Graph, seed: int = 0) -> None:
    inputs = random_inputs(whole, seed)
    one, many = run_graph(whole, inputs), run_devices(parts, inputs)
    for old, new in zip(whole.outputs, parts.outputs, strict=True):
        np.testing.assert_allclose(many[new], one[old], rtol=1e-9, atol=1e-11)
    for name in one.keys() - set(whole.outputs):
        np.testing.assert_allclose(many[name], one[name], rtol=1e-9, atol=1e-11)
    assert parse_graph(Source("text", show_graph(parts)), library()) == parts


CASES = [
    (name, index)
    for name, op in library().ops.items()
    if not across(op)
    for shape in [shape_of(name)]
    for index in dict.fromkeys(d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref))
    if isinstance(choice(shape, index), Split)
]


def draw(name: str, index: str, ways: int, rng: random.Random) -> Graph | None:
    """A small graph of the op, the index a multiple of `ways`; None where the sizes drawn do not fit together."""
    op = library().ops[name]
    ranks = tuple(len(p.type.dims) for p in op.params)
    shape = bind(op, ranks)
    indices = dict.fromkeys(d.name for p in shape.params for d in p.dims if isinstance(d, t.Ref))
    sizes = {i: rng.choice([1, 2, 4, 4]) for i in indices} | {index: ways * rng.choice([1, 2])}
    names = {a.name for a in shape.attrs}
    attrs: dict[str, AttrValue] = {a.name: rng.choice([1, 2]) for a in shape.attrs if a.default is None}
    attrs |= {a: rng.randint(1, most) for a, most in (("window", 6), ("sink", 2), ("chunk", 4)) if a in names}
    if "past" in names:
        room = sizes["t"] - sizes["s"] if {"t", "s"} <= sizes.keys() else sizes.get("n", 5) - sizes.get("s", 0)
        if room < 0:
            return None
        attrs["past"] = rng.choice([rng.randint(0, room), tuple(rng.randint(0, room) for _ in range(sizes["b"]))])
    if any(a.name == "fresh" and a.dims for a in shape.attrs):
        attrs["fresh"] = tuple(rng.randint(1, sizes.get("s", 1)) for _ in range(sizes["b"]))
    try:
        graph = one_op(name, ranks, sizes, attrs)
        run_graph(graph, random_inputs(graph))
    except (Diag, ValueError):  # sizes that do not fit, or an axis of no elements
        return None
    return graph


# Ops whose operands depend on one another in more ways than sizes say, such as places that must be a permutation.
LINKED = {("conv1d_state", "b"), ("conv1d_state", "d"), ("block_attention", "j")}


@pytest.mark.parametrize(("name", "index"), CASES)
def test_a_split_op_equals_the_whole_op(name: str, index: str) -> None:
    done = 0
    for trial in range(100):
        rng = random.Random(f"{name} {index} {trial}")
        ways = rng.choice([2, 2, 3, 4])
        whole = draw(name, index, ways, rng)
        if whole is not None:
            check(whole, shard(whole, "p", ways, index))
            done += 1
        if done == 3:
            return
    assert done or (name, index) in LINKED


def test_two_indices_on_two_axes() -> None:
    """Heads over one axis, context over the other: combined by rescaling within each group."""
    whole = one_op("attention", (5, 4, 4), {"b": 2, "s": 2, "g": 2, "r": 2, "e": 4, "t": 8, "f": 4}, {"past": (6, 3)})
    check(whole, shard(shard(whole, "heads", 2, "g"), "context", 4, "t"))
    check(whole, shard(shard(whole, "batch", 2, "b"), "context", 2, "t"))
    check(whole, shard(shard(whole, "outer", 2, "t"), "inner", 2, "f"))


@pytest.mark.parametrize(
    ("name", "index", "why"),
    [
        ("rope", "e", "follows"),
        ("append", "s", "other elements"),
        ("router", "e", "needs all of it"),
        ("ssd", "t", "sequential"),
        ("ssd", "n", "every step"),
        ("conv1d", "t", "outside"),
        ("permute", "s", "other devices"),
    ],
)
def test_what_cannot_be_split_says_why(name: str, index: str, why: str) -> None:
    answer = split(shape_of(name), index)
    assert isinstance(answer, Blocked) and why in answer.why and answer.span is not None


def test_answers_for_well_known_ops() -> None:
    context = split(shape_of("attention"), "t")
    assert isinstance(context, Split) and context.rescaled
    assert {(c.tensor, c.fn) for c in context.inside} == {("m", "max"), ("z", "sum"), ("n", "sum")}
    experts = split(shape_of("expert_linear"), "e")
    assert isinstance(experts, Split) and experts.dispatch == ("id",) and experts.partial == (("y", "sum"),)
    norm = split(shape_of("rmsnorm"), "d")
    assert isinstance(norm, Split) and [c.tensor for c in norm.inside] == ["s"] and not norm.rescaled


# ---- search ------------------------------------------------------------------------------------


@given(st.data())
def test_elimination_finds_the_minimum(data: st.DataObject) -> None:
    sizes = {f"v{i}": data.draw(st.integers(1, 3)) for i in range(data.draw(st.integers(1, 5)))}
    cost = st.integers(0, 9).map(float) | st.just(np.inf)
    tables = []
    for _ in range(data.draw(st.integers(0, 6))):
        names = tuple(data.draw(st.lists(st.sampled_from(sorted(sizes)), unique=True, min_size=1, max_size=3)))
        shape = [sizes[n] for n in names]
        values = data.draw(st.lists(cost, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        tables.append(Table(names, np.reshape(values, shape)))

    def total(choice: dict[str, int]) -> float:
        return float(sum(x.costs[tuple(choice[v] for v in x.variables)] for x in tables))

    every = [dict(zip(sizes, at, strict=True)) for at in itertools.product(*(range(n) for n in sizes.values()))]
    found, chosen = minimum(sizes, tables)
    assert found == min(map(total, every)) == total(chosen)


# ---- exchanges ---------------------------------------------------------------------------------


def test_exchanges_that_the_library_has_are_those_it_declares() -> None:
    made = exchange(Exchange(fn="sum"))
    assert made == library().ops[made.name]


@pytest.mark.parametrize(
    ("what", "pattern", "message"),
    [
        (Exchange(fn="sum"), "all_reduce", 1024),
        (Exchange(fn="sum", cut=0), "reduce_scatter", 1024),
        (Exchange(join=0), "all_gather", 4096),
        (Exchange(join=0, cut=1), "all_to_all", 1024),
        (Exchange(cut=0), None, 0),
    ],
)
def test_pattern_of_an_exchange(what: Exchange, pattern: str | None, message: float) -> None:
    """Of 4 devices with 1024 bytes each."""
    op = exchange(what)
    made = 1024.0 * (4 if what.join is not None and what.cut is None else 1)
    made /= 4 if what.cut is not None and what.join is None else 1
    assert demands(op, bind(op, (3,)), 4, 1024.0, made) == ((Demand(pattern, message),) if pattern else ())


# ---- models ------------------------------------------------------------------------------------

LATENT = {**DEEPSEEK, "num_attention_heads": 4, "q_lora_rank": 8, "kv_lora_rank": 8, "intermediate_size": 8}
LATENT |= {"moe_intermediate_size": 8, "n_routed_experts": 4, "qk_rope_head_dim": 2, "v_head_dim": 4}
FAMILIES = {"llama": LLAMA, "qwen3": LLAMA, "deepseek": LATENT}
RAGGED = step(prefill=[(4, 2), (4, 0)], decode=[3, 1, 5, 2])


@cache
def lowered(family: str, ragged: bool = True) -> Graph:
    return lower(FAMILIES[family], RAGGED if ragged else step(prefill=[(4, 2), (4, 0)]), family)


def passed(graph: Graph, options: str) -> Graph:
    (shard_,) = parse_pipeline(Source("--pipeline", f"shard{{{options}}}"))
    return shard_.run(graph, Context())


DENSE = ["tp=2", "tp=4", "dp=2", "tp=2,sp=2", "tp=2,dp=2", "tp=4,sp=4,dp=2"]


@pytest.mark.parametrize(
    ("family", "options"),
    [(f, o) for f in ("llama", "qwen3", "deepseek") for o in DENSE]
    + [("deepseek", o) for o in ("ep=2", "ep=4", "ep=2,tp=2", "ep=2,dp=2", "ep=2,tp=2,sp=2,dp=2")],
)
def test_a_sharded_model_equals_the_whole_model(family: str, options: str) -> None:
    graph = lowered(family)
    check(graph, passed(graph, options))


def exchanges(graph: Graph, layer: bool = True) -> list[str]:
    return [n.op.name for n in graph.nodes.values() if across(n.op) and (graph.repeats[n.name] > 1) is layer]


def model(name: str, what: Step) -> Graph:
    context = Context(model=load_model(name), dtypes=DTYPES, step=what)
    return registry.lookup("pass", "lower-model")().run(Graph("g"), context)  # type: ignore[no-any-return]


def test_tensor_parallelism_is_two_reductions_per_layer() -> None:
    graph = model("llama3-8b", step(prefill=[(2048, 0)]))
    one = exchange(Exchange(fn="sum")).name
    assert exchanges(passed(graph, "tp=8")) == [one, one]
    tokens = passed(graph, "tp=8,sp=8")
    scatter, gather = exchange(Exchange(fn="sum", cut=1)).name, exchange(Exchange(join=1)).name
    assert exchanges(tokens) == [gather, scatter, gather, scatter]
    assert sum(x.type.bytes for x in tokens.tensors.values() if x.kind == "weight" and len(x.type.shape) > 1) == (
        sum(x.type.bytes for x in graph.tensors.values() if x.kind == "weight" and len(x.type.shape) > 1) / 8
    )


def test_fewer_heads_than_devices_still_divide_the_cache() -> None:
    graph = passed(model("llama3-8b", step(decode=[2048] * 16)), "tp=16")
    assert dict(graph.mesh) == {"tp": 8, "tpi": 2}
    assert {x.type.shape[2] for x in graph.tensors.values() if x.kind == "state"} == {1}


@pytest.mark.parametrize(
    ("name", "options"), [("llama3-8b", "tp=16"), ("llama3-8b", "tp=4,sp=4,dp=2"), ("mixtral-8x7b", "ep=4,tp=2,dp=2")]
)
def test_a_pass_on_a_large_graph_is_checked_on_a_small_one(name: str, options: str) -> None:
    graph = model(name, step(decode=[2048] * 16))
    after = passed(graph, options)
    check_pass("shard", graph, after)
    late = after.map_nodes(
        lambda n: replace(n, op=exchange(Exchange(fn="max"))) if n.op == exchange(Exchange(fn="sum")) else n
    )
    assert late != after or "reduce" not in show_graph(after)
    if late != after:
        with pytest.raises(Diag) as caught:
            check_pass("shard", graph, late)
        assert caught.value.code in ("wrong-pass", "bad-layout")


@pytest.mark.parametrize(
    ("family", "options", "code", "said"),
    [
        ("llama", "tp=7", "bad-shard", "does not divide"),
        ("llama", "dp=3", "bad-shard", "sequences"),
        ("deepseek", "ep=3", "bad-shard", "experts"),
        ("llama", "ep=2", "bad-shard", "no op picks"),
        ("llama", "tp=4,sp=2", "bad-option", "sp is 1 or 4"),
        ("llama", "tp=0", "bad-option", "at least 1"),
        ("llama", "tp=2,dp=2,devices=8", "bad-option", "does not make 8"),
        ("llama", "zp=2", "unknown-option", "known"),
    ],
)
def test_bad_numbers_of_devices(family: str, options: str, code: str, said: str) -> None:
    with pytest.raises(Diag) as caught:
        passed(lowered(family), options)
    assert caught.value.code == code and said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("mesh {p = 0}", "bad-mesh"),
        ("mesh {p = 2, q = word}", "bad-mesh"),
        ("mesh {p = 2}\n input x: bf16 [2, 4]\n y: bf16 [2, 4] = sigmoid(x) over t0 = q", "unknown-axis"),
        ("mesh {p = 2}\n input x: bf16 [2, 4]\n y: bf16 [2, 4] = sigmoid(x) over z = p", "unknown-index"),
        ("mesh {p = 2}\n input x: bf16 [2, 4]\n y: bf16 [2, 4] = sigmoid(x) over t0 = p, t0 = p", "bad-split"),
        ("mesh {p = 2}\n input x: bf16 [1, 2, 4]\n y: bf16 [1, 2, 4] = rope(x) over e = p", "bad-split"),
    ],
)
def test_faults_of_a_mesh_in_text(text: str, code: str) -> None:
    with pytest.raises(Diag) as caught:
        parse_graph(Source("text", f'graph "g" {{\n {text}\n}}'), library())
    assert caught.value.code == code and caught.value.span is not None


def test_devices_that_nothing_can_be_split_over_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A split that is found for none, or only for some, of the devices is no answer for all of them."""
    (pass_,) = parse_pipeline(Source("--pipeline", "shard{tp=4}"))
    real, asked = sys.modules[type(pass_).__module__].partition, list[int]()

    def none_for(ways: int) -> Callable[..., Partition | None]:
        return lambda graph, n, *rest: asked.append(n) or (None if n == ways else real(graph, n, *rest))

    monkeypatch.setattr(sys.modules[type(pass_).__module__], "partition", none_for(4))
    made = pass_.run(lowered("llama"), Context())
    assert asked == [4, 2, 2] and made.mesh == (("tp", 2), ("tpi", 2))
    monkeypatch.setattr(sys.modules[type(pass_).__module__], "partition", lambda *rest: None)
    with pytest.raises(Diag) as caught:
        pass_.run(lowered("llama"), Context())
    assert caught.value.code == "bad-shard" and "does not fit together" in caught.value.message
