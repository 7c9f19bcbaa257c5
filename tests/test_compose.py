"""Groups of nodes as one op equal the chain of ops; graphs before and after a change are told apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dfcompiler import registry
from dfcompiler.compose import group
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import random_inputs, run_graph, trace
from dfcompiler.graph import Graph, Node, Offer, Place, regions
from dfcompiler.graphtext import parse_graph
from dfcompiler.models import library, load_model
from dfcompiler.pipeline import Context
from dfcompiler.steps import step
from dfcompiler.stream import Blocked
from dfcompiler.verify import Mismatch, check_group, check_groups, compare, equivalent, shrink, small


@cache
def lowered(name: str = "llama3-8b") -> Graph:
    what = step(prefill=[(160, 1000), (160, 0)], decode=[3, 1, 4000])
    context = Context(model=load_model(name), dtypes=parse_dtypes("bf16"), step=what)
    lower_model = registry.lookup("pass", "lower-model")
    return lower_model().run(Graph("g"), context)  # type: ignore[no-any-return]


LAYER = "h q k v qr kr kc_1 vc_1 o a x_1 h_1 u g m y x_2"


def prefill(text: str) -> tuple[str, ...]:
    """Names of one part: `x_1` is `x_prefill_1`."""
    return tuple("_prefill_".join(n.split("_")) if "_" in n else f"{n}_prefill" for n in text.split())


def check(names: tuple[str, ...]) -> Mismatch | None:
    graph = shrink(lowered())
    joined = group(graph, names)
    assert not isinstance(joined, Blocked), joined
    return check_group(graph, joined, trace(graph, random_inputs(graph)))


@pytest.mark.parametrize(
    "names",
    [
        prefill("u m"),
        prefill("y x_2"),
        prefill("u g m"),
        prefill("u g m y x_2"),
        prefill("h q"),
        prefill("q qr"),
        prefill("kr kc_1"),
        prefill("o a x_1"),
        prefill("kc_1 vc_1 o"),
        prefill(LAYER),
        ("q_prefill", "q_decode"),
        ("x_prefill", "x_decode"),
        ("logits_prefill", "logits_decode"),
    ],
    ids=" ".join,
)
def test_a_group_equals_its_nodes(names: tuple[str, ...]) -> None:
    assert check(names) is None


def test_a_single_node_is_a_group() -> None:
    assert check(("q_prefill",)) is None


def test_what_is_inside_is_no_operand() -> None:
    graph = lowered()
    joined = group(graph, prefill("u g m y"))
    assert not isinstance(joined, Blocked)
    assert [o.name for o in joined.shape.params] == ["h_prefill_1", "w1", "w3", "w2"]
    assert [o.name for o in joined.shape.results] == ["y_prefill"]
    assert joined.sizes["k"] == 4096


def test_a_scan_in_a_group_keeps_its_state() -> None:
    text = """graph g {
      input x: bf16 [2, 5, 3, 4]
      input dt: bf16 [2, 5, 3]
      weight a: bf16 [3]
      input bb: bf16 [2, 5, 6]
      input cc: bf16 [2, 5, 6]
      input h0: bf16 [2, 3, 4, 6]
      x1: bf16 [2, 5, 3, 4] = silu(x)
      y: bf16 [2, 5, 3, 4], h1: bf16 [2, 3, 4, 6] = ssd(x1, dt, a, bb, cc, h0)
      z: bf16 [2, 5, 3, 4] = add(y, x1)
      output z, h1
    }"""
    graph = parse_graph(Source("g", text), library()).offer(Offer("test", ("x1", "y", "z")))
    assert check_groups(graph) is None


def test_locals_do_not_take_the_names_of_tensors() -> None:
    text = """graph g {
      input x: bf16 [2, 8]
      input s_1: bf16 [2, 8]
      weight g1: bf16 [8]
      y: bf16 [2, 8] = add(x, s_1)
      z: bf16 [2, 8] = rmsnorm(y, g1)
      out: bf16 [2, 8] = add(z, s_1)
      output out
    }"""
    graph = parse_graph(Source("g", text), library())
    assert check_groups(replace(graph, offers=(Offer("test", ("y", "z", "out")),))) is None


def test_a_group_with_a_gap_is_blocked() -> None:
    assert isinstance(group(lowered(), prefill("q o")), Blocked)


# ---- before and after --------------------------------------------------------------------------


def change(graph: Graph, op: str, to: str) -> Graph:
    ops = library().ops
    return graph.map_nodes(lambda n: replace(n, op=ops[to]) if n.op.name == op else n)


@pytest.mark.parametrize("name", ["llama3-8b", "qwen3-8b", "qwen2-7b", "mistral-7b"])
def test_a_graph_equals_itself_and_no_other(name: str) -> None:
    graph = shrink(lowered(name))
    assert equivalent(graph, graph) is None
    assert equivalent(graph, change(graph, "silu_mul", "mul")) is not None


def test_a_change_of_an_attribute_or_an_output_is_found() -> None:
    graph = shrink(lowered())

    def late(n: Node) -> Node:
        return replace(n, attrs=(("past", 0),)) if n.name == "kc_decode_1" else n

    found = equivalent(graph, graph.map_nodes(late))
    assert found is not None
    assert "before and" in str(found)
    assert equivalent(graph, replace(graph, outputs=graph.outputs[:1])) is not None
    assert equivalent(graph, replace(graph, outputs=graph.outputs[::-1])) is not None


def test_states_count() -> None:
    text = """graph g {{
      state c: bf16 [1, 4]
      input x: bf16 [1, 2]
      y: bf16 [1, 4] = append(c, x) {{past = {past}}}
      z: bf16 [1, 2] = add(x, x)
      output z
    }}"""
    one, two = (parse_graph(Source("g", text.format(past=p)), library()) for p in (1, 2))
    found = equivalent(one, two)
    assert found is not None
    assert found.name == "c"
    assert run_graph(one, random_inputs(one))["c"].shape == (1, 4)


def test_comparison() -> None:
    a = np.array([1.0, np.nan, np.inf, -np.inf])
    assert compare("a", a, a.copy(), 0.0) is None
    assert compare("a", a, np.nan_to_num(a), 1e-9) is not None
    assert compare("a", np.array([1.0, 1e-20]), np.array([1.0, 0.0]), 1e-12) is None
    found = compare("a", np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), 1e-9)
    assert found == Mismatch("a", "element [0, 1] is 2.0 before and 3.0 after", (0, 1), 2.0, 3.0)


def test_offers_and_places_are_run() -> None:
    graph = shrink(lowered())
    good, bad = prefill("u m"), prefill("u g")
    assert check_groups(replace(graph, offers=(Offer("test", good),))) is None
    assert check_groups(replace(graph, places=(Place(good, "sa"), Place(("y_decode",), "sa")))) is None
    assert check_groups(replace(graph, offers=(Offer("test", bad),))) is None


# ---- small sizes -------------------------------------------------------------------------------


def test_small_sizes_grow_and_stay_even() -> None:
    sizes = [small(n) for n in range(1, 5000)]
    assert sizes == sorted(sizes)
    assert sizes[:4] == [1, 2, 3, 4]
    assert all(s % 2 == 0 for s in sizes[4:])


def test_shrinking_keeps_what_belongs_together() -> None:
    graph = shrink(lowered())
    assert all(graph.sizes(n) for n in graph.nodes.values())
    assert [r.count for r in regions(graph.body)] == [2]
    attrs = dict(graph.nodes["o_decode"].attrs)
    sizes = graph.sizes(graph.nodes["o_decode"])
    past = attrs["past"]
    assert isinstance(past, tuple)
    assert sizes["t"] == sizes["s"] + max(past)
    assert len(past) == sizes["b"] == 3
    assert attrs["past"] == dict(graph.nodes["qr_decode"].attrs)["past"]
    assert graph.type_of("ids_decode").within == graph.type_of("table").shape[0]
    assert shrink(lowered()) == graph


def test_shrinking_ops_with_derived_extents() -> None:
    text = """graph g {
      input x: bf16 [64, 4096]
      weight w: int4 [512, 4096]
      weight c: fp32 [512, 32]
      weight wr: bf16 [256, 512]
      y: bf16 [64, 512] = qlinear(x, w, c)
      r: bf16 [64, 256] = linear(y, wr)
      p: bf16 [64, 8], id: int32 [64, 8] in 256 distinct = router(r) {top = 8}
      output p, id
    }"""
    graph = shrink(parse_graph(Source("g", text), library()))
    sizes = graph.sizes(graph.nodes["y"])
    assert sizes["k"] % sizes["g"] == 0
    assert dict(graph.nodes["p"].attrs)["top"] == graph.type_of("p").shape[1] == 4
    found = run_graph(graph, random_inputs(graph))
    assert found["id"].max() < (graph.type_of("id").within or 0)
