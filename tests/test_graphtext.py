"""Graphs as text: what is written is read back, and every fault has its place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import DEEPSEEK, tiny

from dfcompiler import registry
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Carry, Graph, Offer, Place, Region, Tensor
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import Library, Model, library, load_model
from dfcompiler.pipeline import Context
from dfcompiler.steps import Step, step
from dfcompiler.verify import equivalent, shrink

STEPS = [
    step(prefill=[(2048, 0)]),
    step(decode=[5, 900, 17]),
    step(prefill=[(5, 2), (7, 0), (5, 9)], decode=[3, 1, 8]),
]


def lower(model: Model, what: Step) -> Graph:
    context = Context(model=model, dtypes=parse_dtypes("w4a16kv8"), step=what)
    lower_model = registry.lookup("pass", "lower-model")
    return lower_model().run(Graph("g"), context)  # type: ignore[no-any-return]


def again(graph: Graph, lib: Library) -> Graph:
    return parse_graph(Source("graph.dfir", show_graph(graph)), lib)


@pytest.mark.parametrize("what", STEPS, ids=["prefill", "decode", "mixed"])
@pytest.mark.parametrize("name", ["llama3-8b", "qwen3-8b", "qwen2-7b", "mistral-7b"])
def test_round_trip_of_models(name: str, what: Step) -> None:
    graph = lower(load_model(name), what)
    assert again(graph, library()) == graph


@pytest.mark.parametrize("what", STEPS, ids=["prefill", "decode", "mixed"])
def test_round_trip_of_a_mixture_of_experts(what: Step) -> None:
    lib = library()
    graph = lower(tiny(DEEPSEEK, "deepseek"), what)
    assert again(graph, lib) == graph
    little = shrink(graph)
    assert again(little, lib) == little
    assert equivalent(little, little) is None


def test_round_trip_of_offers_places_and_odd_values() -> None:
    graph = lower(load_model("llama3-8b"), STEPS[2])
    first, second, *_ = graph.nodes
    settings = (("m", 128), ("start", -1e-9), ("end", float("inf")), ("order", ("m", "n", ("k",))), ("why", "a b"))
    marked = replace(
        graph,
        name='odd "name"',
        offers=(Offer("fuse-elementwise", (first, second)),),
        places=(Place((first,), "sa", settings), Place((second,), "vu")),
    )
    assert again(marked, library()) == marked


def test_round_trip_of_graphs_without_much() -> None:
    assert again(Graph("empty"), library()) == Graph("empty")
    x = Tensor("x", lower(load_model("llama3-8b"), STEPS[0]).type_of("g1"), "input")
    inner, result = (replace(x, name=n, kind="value") for n in ("y", "z"))
    nested = Region(3, (Carry(inner, "x", "y", result),), ())
    deep = Region(2, (), (replace(x, name="w", kind="weight"), replace(nested)))
    graph = Graph("nested", (x, deep))
    assert again(graph, library()) == graph


def test_ops_of_the_same_text_are_known() -> None:
    op = "op twice(x: [n]) -> (y: [n]) {\n  y[n] = 2 * x[n]\n}\n"
    text = op + "graph g {\n  input x: bf16 [3]\n  y: bf16 [3] = twice(x)\n}"
    assert parse_graph(Source("g", text), library()).nodes["y"].op.name == "twice"


GOOD = """graph g {
  input x: bf16 [2, 8]
  weight w: bf16 [5, 8]
  input ids: int32 [2, 3] in 5
  y: bf16 [2, 5] = linear(x, w)
  z = repeat 2 (a = x) {
    weight g1: bf16 [8]
    b: bf16 [2, 8] = rmsnorm(a, g1) {eps = 0.001}
    yield b
  }
  output y
  offer fuse: y
  place y on sa {m = 2}
}
"""


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "says"),
    [
        ("= linear", "= linaer", "unknown-op", "5:20", "did you mean `linear`"),
        ("(x, w)", "(x, q)", "unknown-tensor", "5:30", "known: ids, w, x"),
        ("(x, w)", "(x)", "op-arity", "5:20", "takes 2 operands, got 1"),
        ("(x, w)", "(w, g1)", "unknown-tensor", "5:30", "unknown tensor"),
        ("y: bf16 [2, 5] = linear", "y: bf16 [2, 5], u: bf16 [2] = linear", "op-arity", "5:33", "gives 1 results"),
        ("[5, 8]\n", "[5, 9]\n", "op-size", "5:30", "`k` is 8 in `x` but 9 in `w`"),
        ("y: bf16 [2, 5]", "y: bf16 [2, 6]", "op-size", "5:6", "`y` must be bf16 [2, 5]"),
        ("y: bf16 [2, 5]", "y: bf17 [2, 5]", "unknown-dtype", "5:6", "bf17"),
        ("y: bf16", "x: bf16", "duplicate-name", "5:3", "first declared here"),
        ("input ids", "input w", "duplicate-name", "4:9", "declared twice"),
        ("bf16 [2, 8]\n  weight", "bf16 [0, 8]\n  weight", "bad-type", "2:12", "at least 1"),
        ("linear(x, w)", "gather(x, ids)", "op-size", "5:30", "points into 5 elements, but `v` is 2"),
        ("rmsnorm(a, g1)", "rmsnorm(a, a)", "op-rank", "8:33", "has 2 dimensions, wants 1"),
        ("eps = 0.001", "esp = 0.001", "bad-attribute", "8:38", "did you mean `eps`"),
        ("eps = 0.001", "eps = much", "bad-attribute", "8:38", "must be a number"),
        ("eps = 0.001", "eps = [1, 2]", "bad-attribute", "8:38", "has shape (2,), wants ()"),
        ("repeat 2", "repeat 0", "bad-repeat", "6:7", "at least once"),
        ("yield b", "yield", "bad-repeat", "6:7", "0 yielded"),
        ("yield b", "yield g1", "bad-repeat", "6:17", "`g1` bf16 [8]"),
        ("(a = x)", "(a = xx)", "unknown-tensor", "6:17", "did you mean `x`"),
        ("output y", "output b", "unknown-tensor", "11:10", "declared inside this repeat only"),
        ("fuse: y", "fuse: z", "unknown-node", "12:9", "known: b, y"),
        ("place y", "place yy", "unknown-node", "13:15", "did you mean `y`"),
    ],
)  # fmt: skip
def test_faults_have_a_place(old: str, new: str, code: str, place: str, says: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(Diag) as error:
        parse_graph(Source("g", GOOD.replace(old, new)), library())
    assert error.value.code == code
    assert str(error.value.span) == f"g:{place}"
    assert says in str(error.value)


def test_the_good_one_is_good() -> None:
    graph = parse_graph(Source("g", GOOD), library())
    assert again(graph, library()) == graph


def test_one_graph_is_wanted() -> None:
    for text, place in (("", "g:1:1"), (GOOD + GOOD, "g:15:7")):
        with pytest.raises(Diag, match="wants one") as error:
            parse_graph(Source("g", text), library())
        assert str(error.value.span) == place
