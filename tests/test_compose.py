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
from dfcompiler.facts import facts
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


LAYER = "h q k v qr kr kc vc o a x_1 h_1 u g m y x_2"


@cache
def names_of(part: str) -> dict[str, str]:
    """Short names for the nodes of one part's layer, by what they read."""
    graph = lowered()
    mine = [n for n in graph.nodes.values() if graph.repeats[n.name] > 1 and part in n.name]
    return dict(zip(LAYER.split(), (n.name for n in mine), strict=True))


def nodes(text: str) -> tuple[str, ...]:
    """`q` is the prefill's, `q.decode` the decode's; what is in no layer goes by its own name."""
    return tuple(names_of(w.partition(".")[2] or "prefill").get(w.partition(".")[0], w) for w in text.split())


def check(names: tuple[str, ...]) -> Mismatch | None:
    graph = shrink(lowered())
    joined = group(graph, names)
    assert not isinstance(joined, Blocked), joined
    return check_group(graph, joined, trace(graph, random_inputs(graph)))


@pytest.mark.parametrize(
    "names",
    [
        "q",
        "u m",
        "y x_2",
        "u g",
        "u g m",
        "u g m y x_2",
        "h q",
        "q k v",
        "h q k v",
        "q qr",
        "kr kc",
        "k kr kc",
        "o a x_1",
        "a x_1 h_1",
        "kc vc o",
        LAYER,
        "q q.decode",
        "u u.decode g g.decode",
        "h h.decode",
        "x_prefill x_decode",
        "logits_prefill logits_decode",
    ],
)
def test_a_group_equals_its_nodes(names: str) -> None:
    assert check(nodes(names)) is None


def test_what_is_inside_is_no_operand() -> None:
    graph = lowered()
    joined = group(graph, nodes("u g m y"))
    assert not isinstance(joined, Blocked)
    norm = graph.nodes[nodes("u")[0]].args[0]
    assert [o.name for o in joined.shape.params] == [norm, "w1", "w3", "w2"]
    assert [o.name for o in joined.shape.results] == list(nodes("y"))
    assert joined.sizes["k"] == 4096


# ---- side by side ------------------------------------------------------------------------------


def test_projections_of_the_same_activations_are_one_wide_one() -> None:
    graph = lowered()
    joined, alone = group(graph, nodes("q k v")), group(graph, nodes("q"))
    assert not isinstance(joined, Blocked)
    assert not isinstance(alone, Blocked)
    assert joined.types["w"].elements == sum(graph.tensors[w].type.elements for w in ("wq", "wk", "wv"))
    assert joined.types["x"] == alone.types["x"]
    assert joined.parts["w"].tensors == ("wq", "wk", "wv")
    assert len(facts(joined.shape).work.contractions) == 1


def test_parts_of_a_step_are_one_long_one() -> None:
    graph = lowered()
    joined = group(graph, nodes("q q.decode"))
    assert not isinstance(joined, Blocked)
    rows = [graph.type_of(n).elements for n in nodes("h h.decode")]
    assert joined.types["x"].elements == sum(rows)
    assert joined.types["w"].elements == graph.type_of("wq").elements


SIDE = """graph g {{
  input a: bf16 [2, 5, 4]
  input b: bf16 [3, 5, 4]
  input k: bf16 [3, 5, 4]
  {nodes}
  output y, z
}}"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("y: bf16 [2, 5, 4] = rope(a)\n z: bf16 [3, 5, 4] = rope(b)", ""),
        ("y: bf16 [3, 5, 4] = add(b, k)\n z: bf16 [3, 5, 4] = add(k, b)", ""),
        ("weight w: bf16 [4]\n y: bf16 [2, 5, 4] = rmsnorm(a, w)\n z: bf16 [3, 5, 4] = rmsnorm(b, w)", "one"),
        ("y: bf16 [3, 5, 4] = add(k, b)\n z: bf16 [3, 5, 4] = add(k, y)", ""),
        (
            "weight w: bf16 [4]\nweight v: bf16 [4]\n{y} = rmsnorm(b, w)\n{z} = rmsnorm(b, v)",
            "",
        ),
        ("weight w: bf16 [4]\ny: bf16 [2, 5, 4] = rmsnorm(a, w) {eps = 1}\nz: bf16 [3, 5, 4] = rmsnorm(b, w)", ""),
    ],
    ids=["nothing shared", "exchanged", "one norm", "in turn", "no dimension left", "attributes"],
)
def test_only_what_nothing_tells_apart_is_put_side_by_side(text: str, why: str) -> None:
    graph = parse_graph(
        Source("g", SIDE.format(nodes=text.replace("{y}", "y: bf16 [3, 5, 4]").replace("{z}", "z: bf16 [3, 5, 4]"))),
        library(),
    )
    joined = group(graph, ("y", "z"))
    assert not isinstance(joined, Blocked)
    assert (len(joined.shape.results) == 1) is bool(why)
    assert check_group(graph, joined, trace(graph, random_inputs(graph))) is None


def test_a_scan_in_a_group_keeps_its_state() -> None:
    text = """graph g {
      input x: bf16 [2, 5, 3, 2, 4]
      input dt: bf16 [2, 5, 3, 2]
      weight a: bf16 [3, 2]
      input bb: bf16 [2, 5, 3, 6]
      input cc: bf16 [2, 5, 3, 6]
      state h0: bf16 [2, 3, 2, 4, 6]
      x1: bf16 [2, 5, 3, 2, 4] = silu(x)
      y: bf16 [2, 5, 3, 2, 4] = ssd(x1, dt, a, bb, cc, h0)
      z: bf16 [2, 5, 3, 2, 4] = add(y, x1)
      output z
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


def test_two_indices_of_one_op_stay_two() -> None:
    text = """graph g {
      input x: bf16 [4, 4]
      weight w: bf16 [4, 4]
      y: bf16 [4, 4] = linear(x, w)
      z: bf16 [4, 4] = add(x, y)
      output z
    }"""
    joined = group(parse_graph(Source("g", text), library()), ("y", "z"))
    assert isinstance(joined, Blocked)
    assert "would be one index" in joined.why


def test_a_group_with_a_gap_is_blocked() -> None:
    assert isinstance(group(lowered(), nodes("q o")), Blocked)


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
    good, beside = nodes("u m"), nodes("u g")
    assert check_groups(replace(graph, offers=(Offer("test", good),))) is None
    assert check_groups(replace(graph, places=(Place(good, "sa"), Place(nodes("y.decode"), "sa")))) is None
    assert check_groups(replace(graph, offers=(Offer("test", beside),))) is None


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
    assert attrs["past"] == dict(graph.nodes[nodes("qr.decode")[0]].attrs)["past"]
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
