"""Counts against brute force and against numbers derived by hand; which reductions may be streamed."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler import registry
from dfcompiler.compose import group
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.facts import facts
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.masks import Mask
from dfcompiler.models import library, load_model
from dfcompiler.opshape import OpShape, bind, extents
from dfcompiler.pipeline import Context
from dfcompiler.scalars import attributes
from dfcompiler.steps import Step, phase, step
from dfcompiler.stream import Blocked, streamable
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

INDICES = ("b", "s", "g", "r", "t", "e", "f")


def bound(name: str, *shapes: tuple[int, ...], **attrs: Any) -> tuple[OpShape, dict[str, int], Mask]:
    shape = bind(library().ops[name], tuple(map(len, shapes)))
    sizes = extents(shape, shapes, attrs)
    return shape, sizes, Mask(shape, sizes, attributes(shape, sizes, attrs))


# ---- masks -------------------------------------------------------------------------------------


@st.composite
def attention_masks(draw: Any) -> tuple[dict[str, int], dict[str, Any]]:
    size = st.integers(1, 6)
    b, s, extra = draw(size), draw(size), draw(st.integers(0, 6))
    sizes = {"b": b, "s": s, "g": draw(st.integers(1, 2)), "r": draw(st.integers(1, 2)), "t": s + extra, "e": 2, "f": 3}
    attrs = {
        "past": tuple(draw(st.lists(st.integers(0, extra), min_size=b, max_size=b))),
        "fresh": tuple(draw(st.lists(st.integers(0, s), min_size=b, max_size=b))),
        "window": draw(st.one_of(st.just(float("inf")), st.integers(1, 9))),
        "sink": draw(st.integers(0, 4)),
    }
    return sizes, attrs


def points(sizes: dict[str, int], attrs: dict[str, Any], names: tuple[str, ...]) -> list[dict[str, int]]:
    """Points of an index set that exist: a clause counts where all its indices are there."""
    found = []
    for values in itertools.product(*(range(sizes[n]) for n in names)):
        p = dict(zip(names, values, strict=True))
        b, s, at = p.get("b"), p.get("s"), p.get("t")
        if b is not None and s is not None and s >= attrs["fresh"][b]:
            continue
        if b is not None and s is not None and at is not None:
            place = s + attrs["past"][b]
            if at > place or not (at > place - attrs["window"] or at < attrs["sink"]):
                continue
        found.append(p)
    return found


@settings(deadline=None, max_examples=int(os.environ.get("DFC_FUZZ", "300")))
@given(attention_masks(), st.sets(st.sampled_from(INDICES), min_size=1), st.sets(st.sampled_from(INDICES)))
def test_property_masked_counts_are_exact(
    case: tuple[dict[str, int], dict[str, Any]], chosen: set[str], seen: set[str]
) -> None:
    sizes, attrs = case
    shape = bind(library().ops["attention"], (5, 4, 4))
    mask = Mask(shape, sizes, attributes(shape, sizes, attrs))
    names = tuple(n for n in INDICES if n in chosen)
    wanted = tuple(n for n in names if n in seen)
    there = points(sizes, attrs, names)
    assert mask.count(names) == len(there)
    if wanted:
        assert mask.touched(names, wanted) == len({tuple(p[n] for n in wanted) for p in there})


@pytest.mark.parametrize("relation", ["<", "<=", "==", ">=", ">"])
@pytest.mark.parametrize(
    "form", ["i {} j", "i - j {} a", "2 - j {} i", "i {} a / 2", "j - i + 1 {} a / 3", "i + a {} inf"]
)
def test_every_relation_counts(relation: str, form: str) -> None:
    text = f"op f(x: [i, j]) -> (y: [i, j]) {{\n  attr a = 1\n  where {form.format(relation)}\n  y[i, j] = x[i, j]\n}}"
    (op,) = parse_items(Source("op", text))
    assert isinstance(op, t.OpDecl)
    shape = bind(op, (2,))
    clause = shape.where[0][0]
    for i, j, a in itertools.product((1, 4), (1, 5), (-3, 0, 1, 2, 3)):
        sizes = {"i": i, "j": j}
        mask = Mask(shape, sizes, attributes(shape, sizes, {"a": a}))
        holds = {
            (p, q)
            for p, q in itertools.product(range(i), range(j))
            if eval(
                f"{_python(clause.a)} {relation} {_python(clause.b)}", {"i": p, "j": q, "a": a, "inf": float("inf")}
            )
        }
        assert mask.count(("i", "j")) == len(holds), (i, j, a)
        assert mask.touched(("i", "j"), ("i",)) == len({p for p, _ in holds})


def _python(e: t.Expr) -> str:
    match e:
        case t.Num(value):
            return str(value)
        case t.Ref(name):
            return name
        case t.Bin(op, a, b):
            return f"({_python(a)} {op} {_python(b)})"
    raise AssertionError(e)


def test_a_ragged_decode_touches_only_its_own_rows() -> None:
    _, _, mask = bound("attention", (3, 1, 2, 4, 8), (3, 100, 2, 8), (3, 100, 2, 8), past=(99, 9, 0))
    assert mask.touched(INDICES[:6], ("b", "t")) == 100 + 10 + 1
    assert mask.touched(INDICES[:6], ("t",)) == 100


def test_a_large_causal_square_is_counted_in_closed_form() -> None:
    n = 1 << 17
    _, _, mask = bound("attention", (1, n, 8, 4, 128), (1, n, 8, 128), (1, n, 8, 128))
    assert mask.count(("b", "s", "g", "r", "t")) == 32 * n * (n + 1) // 2


# ---- work --------------------------------------------------------------------------------------


def counted(name: str, *shapes: tuple[int, ...], **attrs: Any) -> Counter[str]:
    """Scalar operations by kind; contractions are `mac`."""
    shape, _, mask = bound(name, *shapes, **attrs)
    work = facts(shape).work
    found: Counter[str] = Counter()
    for c in work.contractions:
        found["mac"] += mask.count(c.indices)
    for term in work.terms:
        found[term.kind] += mask.count(term.indices)
    return found


B, S, D = 2, 3, 10
ROWS = B * S


@pytest.mark.parametrize(
    ("name", "shapes", "attrs", "expected"),
    [
        ("linear", [(B, S, D), (4, 5, D)], {}, {"mac": ROWS * 20 * D}),
        ("merge", [(B, S, 4, 5), (D, 4, 5)], {}, {"mac": ROWS * 20 * D}),
        ("add", [(B, D), (B, D)], {}, {"add": B * D}),
        ("silu_mul", [(B, D), (B, D)], {}, {"exp": B * D, "add": B * D, "div": B * D, "mul": B * D}),
        # x * x summed; then per row one `/ |d|` (times a constant), one `+ eps`, one rsqrt; two products per element
        ("rmsnorm", [(ROWS, D), (D,)], {}, {"mac": ROWS * D, "mul": ROWS + 2 * ROWS * D, "add": ROWS, "rsqrt": ROWS}),
        ("softmax", [(ROWS, D)], {}, dict.fromkeys(("max", "exp", "div"), ROWS * D) | {"add": 2 * ROWS * D}),
        ("qlinear", [(ROWS, 8), (5, 8), (5, 2)], {}, {"mul": 5 * 8, "mac": ROWS * 5 * 8}),
        ("expert_linear", [(ROWS, D), (7, 5, D), (ROWS, 2)], {}, {"mac": ROWS * 2 * 5 * D}),
        # the router's weight leaves the sum over k: one more mac per (token, expert, output)
        ("expert_merge", [(ROWS, 2, D), (7, 5, D), (ROWS, 2), (ROWS, 2)], {}, {"mac": ROWS * 2 * 5 * (D + 1)}),
        ("gather", [(9, D), (ROWS,)], {}, {}),
        ("append", [(B, 9, 4), (B, S, 4)], {"past": 5}, {}),
        ("all_reduce", [(4, D)], {}, {"add": 4 * D}),  # once for all devices: their sums are equal
    ],
)
def test_work_by_hand(
    name: str, shapes: list[tuple[int, ...]], attrs: dict[str, Any], expected: dict[str, int]
) -> None:
    assert {k: v for k, v in counted(name, *shapes, **attrs).items() if v} == expected


def test_attention_work_by_hand() -> None:
    b, s, g, r, e, f, past = 2, 3, 2, 4, 8, 6, (5, 0)
    seen = sum(i + p + 1 for i in range(s) for p in past) * g * r
    rows = b * s * g * r
    found = counted("attention", (b, s, g, r, e), (b, 8, g, e), (b, 8, g, f), past=past)
    assert found["mac"] == seen * (e + f)
    assert found["exp"] == found["max"] == seen
    assert found["mul"] == seen  # the scale, once per score
    assert found["add"] == 2 * seen  # x - m, and the sum of p
    assert found["div"] == rows * f


def test_conv1d_counts_the_taps_that_exist() -> None:
    assert counted("conv1d", (2, 5, 3), (3, 4))["mac"] == 2 * 3 * (1 + 2 + 3 + 4 + 4)


# ---- a whole model -----------------------------------------------------------------------------


def lower(name: str, what: Step) -> Graph:
    context = Context(model=load_model(name), dtypes=parse_dtypes("bf16"), step=what)
    lower_model = registry.lookup("pass", "lower-model")
    return lower_model().run(Graph("g"), context)  # type: ignore[no-any-return]


def macs(graph: Graph) -> tuple[int, int]:
    """Multiply-accumulates of contractions with weights, and of those with the cache."""
    weights = cache = 0
    for node in graph.nodes.values():
        shape, sizes = graph.shape(node), graph.sizes(node)
        mask = Mask(shape, sizes, attributes(shape, sizes, dict(node.attrs)))
        total = sum(mask.count(c.indices) for c in facts(shape).work.contractions) * graph.repeats[node.name]
        if any(graph.tensors[a].kind == "weight" for a in node.args):
            weights += total
        else:
            cache += total
    return weights, cache


def test_llama3_70b() -> None:
    graph = lower("llama3-70b", phase("prefill", 1, 2048, 0))
    weights, attention = macs(graph)
    per_layer = 8192 * (8192 + 2 * 1024 + 8192 + 3 * 28672)
    assert weights == 2048 * (80 * per_layer + 8192 * 128256)
    assert attention == 80 * 64 * 128 * 2 * (2048 * 2049 // 2)
    assert round(weights / 1e12, 1) == 142.3
    assert round(attention / 1e12, 2) == 2.75
    assert round((weights + attention) / 1e12, 2) == 145.09
    stored = 80 * (per_layer + 2 * 8192) + 2 * 8192 * 128256 + 8192
    assert round(2 * stored / 1e9, 2) == 141.11
    declared = sum(graph.type_of(a).bytes * graph.repeats[n.name] for n, a in _weights(graph))
    assert declared == 2 * stored


def _weights(graph: Graph) -> list[tuple[Any, str]]:
    """Every weight with its first user."""
    first: dict[str, Any] = {}
    for node in graph.nodes.values():
        for a in node.args:
            if graph.tensors[a].kind == "weight":
                first.setdefault(a, node)
    return [(n, a) for a, n in first.items()]


def test_a_mixed_step_is_the_sum_of_its_parts() -> None:
    mixed = macs(lower("llama3-8b", step(prefill=[(128, 64)], decode=[5, 900])))
    parts = [macs(lower("llama3-8b", s)) for s in (step(prefill=[(128, 64)]), step(decode=[5, 900]))]
    assert mixed == tuple(np.sum(parts, axis=0))


# ---- one pass ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ranks", "index", "yes"),
    [
        ("attention", (5, 4, 4), "t", True),
        ("mla", (4, 4, 3, 3), "t", True),
        ("linear", (2, 2), "k", True),
        ("qlinear", (2, 2, 2), "k", True),
        ("expert_merge", (3, 3, 2, 2), "k", True),
        ("softmax", (2,), "d", False),
        ("rmsnorm", (2, 1), "d", False),
        ("layernorm", (2, 1, 1), "d", False),
        ("router", (2,), "e", False),
        ("ssd", (5, 4, 2, 4, 4, 5), "t", False),
    ],
)
def test_what_streams(name: str, ranks: tuple[int, ...], index: str, yes: bool) -> None:
    found = streamable(bind(library().ops[name], ranks), index)
    assert (found is None) == yes
    assert found is None or found.span is not None


SCALED = {  # what scales the second sum, and whether it is one factor for all of t
    "  y[b, n] = sum(t) u[b, n] * w[n, t]": True,
    "  y[b, n] = sum(t) u[b, t] * w[n, t]": False,
    "  y[b, n] = sum(t) u[b, t % |n|] * w[n, t]": False,
    "  p[b, n, t] = exp(x[b, n, t] - m[b, n])\n  y[b, n] = sum(t) p[b, n, t] * w[n, t]": True,
    "  p[b, n, t] = exp(x[b, n, t] - m[b, n])\n  y[b, n] = sum(t) p[b, t, t] * w[n, t]": False,
    "  p[b, n, 0, t] = u[b, n] * w[n, t]\n  p[b, n, 1, t] = w[n, t]\n  y[b, n] = sum(t) p[b, n, 0, t]": True,
    "  p[b, n, 0, t] = 1 + u[b, n]\n  p[b, n, 1, t] = 1\n  y[b, n] = sum(t) exp(p[b, n, 0, t] * w[n, t])": False,
}


@pytest.mark.parametrize("second", SCALED)
def test_a_sum_streams_where_earlier_ones_scale_it_as_a_whole(second: str) -> None:
    text = f"""op o(x: [b, n, t], w: [n, t]) -> (y: [b, n]) {{
  m[b, n] = max(t) x[b, n, t]
  u[b, n] = sum(t) x[b, n, t]
{second}
}}"""
    (decl,) = parse_items(Source("o", text))
    assert isinstance(decl, t.OpDecl)
    assert (streamable(bind(decl, (3, 2)), "t") is None) == SCALED[second]


CHAIN = """graph g {{
  input x: bf16 [6, 8]
  weight g1: bf16 [8]
  weight w: bf16 [5, 8]
  h: bf16 [6, 8] = {first}
  y: bf16 [6, 5] = linear(h, w)
  output y
}}"""


@pytest.mark.parametrize("first", ["rmsnorm(x, g1)", "softmax(x)"])
def test_a_norm_streams_into_the_projection_behind_it(first: str) -> None:
    graph = parse_graph(Source("g", CHAIN.format(first=first)), library())
    joined = group(graph, ("h", "y"))
    assert not isinstance(joined, Blocked)
    assert streamable(joined.shape, "d") is None


def test_a_norm_that_subtracts_its_mean_does_not() -> None:
    text = CHAIN.format(first="layernorm(x, g1, g2)").replace("  weight w:", "  weight g2: bf16 [8]\n  weight w:")
    joined = group(parse_graph(Source("g", text), library()), ("h", "y"))
    assert not isinstance(joined, Blocked)
    found = streamable(joined.shape, "d")
    assert found is not None
    assert str(found.span).split(":")[0].endswith("dense.dfir")


def test_work_is_of_all_points() -> None:
    shape, sizes, mask = bound("linear", (3, 4), (5, 4))
    (c,) = facts(shape).work.contractions
    assert (c.a, c.b, c.k) == ("x", "w", ("k",))
    assert mask.count(c.indices) == prod(sizes[i] for i in c.indices)
