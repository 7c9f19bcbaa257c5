"""Offers to fuse: what is found, that it computes the same, what it saves, and that it never costs anything."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.columns import candidates
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Note, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import random_inputs, trace
from dfcompiler.facts import facts
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import Library, extend, library, load_model, model_names
from dfcompiler.opshape import walk
from dfcompiler.pipeline import PIPELINES, Context, parse_pipeline, run_pipeline
from dfcompiler.problem import problem
from dfcompiler.quotes import price
from dfcompiler.semantics import run_op
from dfcompiler.steps import Step, phase, step
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import Ext, Ref
from dfcompiler.tiling import SHARES, search
from dfcompiler.verify import check_groups, equivalent, operand_value, shrink

FUSE = "fuse-elementwise,fuse-attention,fuse-norm"
EXPLAIN = ",".join(f"{name}{{explain=true}}" for name in FUSE.split(","))
DTYPES = parse_dtypes("bf16")
OPS = """
op by_row(x: [*t, n], s: [*t]) -> (y: [*t, n]) {
  y[*t, n] = x[*t, n] * s[*t]
}
op scaled(x: [*t], f: w [c]) -> (y: [*t]) {
  y[*t] = x[*t] * f[0]
}
op rows(x: [m, n]) -> (y: [m, n]) {
  u[m] = sum(n) x[m, n] / |n|
  y[m, n] = x[m, n] - u[m]
}
"""


@cache
def ops() -> Library:
    return extend(library(), parse_items(Source("ops", OPS)))


def fused(text: str, passes: str = EXPLAIN) -> tuple[Graph, list[str]]:
    """The graph with offers, all executed against their nodes; and what the passes note."""
    notes: list[Note] = []
    graph = parse_graph(Source("g", text), ops())
    after, _ = run_pipeline(parse_pipeline(Source("p", passes)), graph, Context(on_note=notes.append))
    assert check_groups(after) is None
    assert equivalent(graph, after) is None
    return after, [n.message for n in notes]


def offered(graph: Graph, names: str) -> bool:
    return any(set(o.nodes) == set(names.split()) for o in graph.offers)


def loops(graph: Graph, names: str) -> set[str]:
    """Indices of the nodes as one op that may be cut into tiles."""
    joined = group(graph, names.split())
    assert isinstance(joined, Group), joined
    known = facts(joined.shape)
    return set(known.indices) - set(known.whole)


# ---- attention ---------------------------------------------------------------------------------

ATTENTION = """graph g {{
  input q: bf16 [3, {s}, {e}]
  input k: bf16 [3, {e}, {t}]
  input v: bf16 [3, {t}, {e}]
  input mask: bf16 [3, {s}, {t}]
  weight f: bf16 [1]
  x: bf16 [3, {s}, {t}] = bmm(q, k)
  c: bf16 [3, {s}, {t}] = scaled(x, f)
  b: bf16 [3, {s}, {t}] = add(c, mask)
  p: bf16 [3, {s}, {t}] = {middle}(b)
  o: bf16 [3, {s}, {e}] = bmm(p, v)
  output o{more}
}}"""


def attention(middle: str = "softmax", s: int = 5, t: int = 7, e: int = 4, more: str = "") -> str:
    return ATTENTION.format(s=s, t=t, e=e, middle=middle, more=more)


def test_attention_in_pieces_is_offered_as_one_pass() -> None:
    graph, _ = fused(attention())
    assert offered(graph, "x c b p o")
    whole = group(graph, "x c b p o".split())
    assert isinstance(whole, Group)
    summed = facts(whole.shape).work.contractions[-1].k
    assert set(summed) <= loops(graph, "x c b p o")
    assert {o.name for o in whole.shape.operands} == {"q", "k", "v", "mask", "f", "o"}


def test_a_middle_without_a_sum_streams_too() -> None:
    graph, _ = fused(attention("silu"))
    assert offered(graph, "x c b p o")


def test_scores_that_are_needed_elsewhere_are_written_and_still_one_group() -> None:
    graph, _ = fused(attention(more=", x"))
    assert offered(graph, "x c b p o")


def test_what_cannot_run_in_one_pass_is_noted_with_its_reason() -> None:
    graph, notes = fused(attention(more=", p"))
    assert not offered(graph, "x c b p o")
    assert any("cannot run in one pass" in n and "`p` needs the whole of an earlier reduction" in n for n in notes)


def test_a_mean_taken_off_first_needs_the_whole_row() -> None:
    text = """graph g {
      input a: bf16 [5, 6]
      weight w: bf16 [7, 6]
      weight z: bf16 [4, 7]
      x: bf16 [5, 7] = linear(a, w)
      p: bf16 [5, 7] = rows(x)
      o: bf16 [5, 4] = linear(p, z)
      output o
    }"""
    graph, notes = fused(text)
    assert not offered(graph, "x p o")
    assert any("x, p, o cannot run in one pass" in n for n in notes)


def test_one_pass_moves_no_scores_and_takes_less_time() -> None:
    chip = load_chip("ador")
    graph, _ = fused(attention(s=6, t=8, e=4))
    large = parse_graph(Source("g", attention(s=2048, t=2048, e=128)), ops()).offer(*graph.offers)
    columns = price(large, chip, DTYPES, SHARES)
    whole = ("x", "c", "b", "p", "o")
    best = {k: min((c for c in columns.columns if c.nodes == k), key=lambda c: c.cycles) for k in columns.problems}
    parts = [best[v,] for v in whole]
    assert best[whole].cycles < 0.5 * sum(c.cycles for c in parts)
    assert best[whole].tiling.dram_bytes < 0.5 * sum(c.tiling.dram_bytes for c in parts)
    assert columns.problems[whole].total_bytes == sum(
        large.tensors[n].type.bytes for n in ("q", "k", "v", "mask", "f", "o")
    )


def test_a_rotation_runs_in_front_of_attention_and_a_write_in_place_does_not() -> None:
    graph = lowered("llama3-8b", phase("prefill", 1, 64, 0))
    made = {n.op.name: n.name for n in graph.nodes.values()}
    before = [o.nodes for o in graph.offers if o.nodes[-1] == made["attention"]]
    assert [[graph.nodes[n].op.name for n in g] for g in before] == [["rope", "attention"]]


# ---- contractions with what follows --------------------------------------------------------------

FEED = """graph g {
  input r: bf16 [6, 8]
  weight g1: bf16 [8]
  weight w1: bf16 [12, 8]
  weight w3: bf16 [12, 8]
  weight w2: bf16 [8, 12]
  h: bf16 [6, 8] = rmsnorm(r, g1)
  u: bf16 [6, 12] = linear(h, w1)
  g: bf16 [6, 12] = linear(h, w3)
  m: bf16 [6, 12] = silu_mul(u, g)
  y: bf16 [6, 8] = linear(m, w2)
  x: bf16 [6, 8] = add(r, y)
  z: bf16 [6, 8] = mul(x, r)
  output z, x
}"""


def test_gate_up_and_activation_are_one_nest() -> None:
    graph, _ = fused(FEED)
    for names in ("u m", "g m", "u g m", "u g m y", "h u g m", "h u g m y", "y x"):
        assert offered(graph, names), names
    assert len(loops(graph, "u g m")) == len(loops(graph, "u")) == 3
    assert len(loops(graph, "h u g m")) == 3  # the norm streams: its factor is applied to the sums


def test_a_residual_from_before_joins_though_it_is_used_elsewhere() -> None:
    graph, _ = fused(FEED)
    joined = group(graph, ("y", "x"))
    assert isinstance(joined, Group)
    assert [o.name for o in joined.shape.params] == ["m", "w2", "r"]
    joined = group(graph, ("y", "x", "z"))
    assert isinstance(joined, Group)
    assert [o.name for o in joined.shape.results] == ["x", "z"]  # `x` is needed elsewhere, so it is written


def test_a_carried_residual_joins() -> None:
    graph = lowered("llama3-8b", phase("prefill", 1, 64, 0))
    adds = [n for n in graph.nodes.values() if n.op.name == "add"]
    assert len(adds) == 2
    for n in adds:
        feeder = next(iter(u for u in graph.flow.predecessors(n.name) if n.name in graph.flow.succ[u]
                           and facts(graph.shape(graph.nodes[u])).work.contractions))  # fmt: skip
        assert offered(graph, f"{feeder} {n.name}")


def test_operands_that_are_spread_over_the_tile_join() -> None:
    text = """graph g {
      input a: bf16 [6, 8]
      input s: bf16 [6]
      weight w: bf16 [4, 2, 8]
      weight b: bf16 [4, 2]
      y: bf16 [6, 4, 2] = linear(a, w)
      z: bf16 [6, 4, 2] = bias_add(y, b)
      input s2: bf16 [6, 4]
      r: bf16 [6, 4, 2] = by_row(z, s2)
      output r
    }"""
    graph, _ = fused(text)
    assert offered(graph, "y z")
    assert offered(graph, "y z r")


def test_layernorm_needs_its_row_and_rmsnorm_does_not() -> None:
    text = """graph g {{
      input a: bf16 [6, 8]
      weight s: bf16 [8]
      {more}
      weight w: bf16 [12, 8]
      h: bf16 [6, 8] = {norm}
      y: bf16 [6, 12] = linear(h, w)
      output y
    }}"""
    rms, _ = fused(text.format(more="", norm="rmsnorm(a, s)"))
    layer, _ = fused(text.format(more="weight o: bf16 [8]", norm="layernorm(a, s, o)"))
    assert offered(rms, "h y")
    assert offered(layer, "h y")
    assert len(loops(rms, "h y")) == 3
    assert len(loops(layer, "h y")) == 2


def test_a_norm_joins_each_of_its_users_and_all_of_them() -> None:
    graph = lowered("llama3-8b", phase("prefill", 1, 64, 0))
    norm = next(n.name for n in graph.nodes.values() if n.op.name == "rmsnorm" and len(graph.flow.succ[n.name]) == 3)
    users = list(graph.flow.successors(norm))
    assert all(offered(graph, f"{norm} {u}") for u in users)
    assert offered(graph, " ".join((norm, *users)))
    assert len(loops(graph, " ".join((norm, *users)))) >= 3


# ---- all that is offered computes the same -----------------------------------------------------


@cache
def lowered(name: str, what: Step) -> Graph:
    context = Context(model=load_model(name), dtypes=DTYPES, step=what)
    return run_pipeline(parse_pipeline(Source("p", f"lower-model,{FUSE},batch-parts")), Graph("g"), context)[0]


MIXED = step(prefill=[(96, 300), (17, 0)], decode=[3, 1, 400])


@pytest.mark.parametrize("name", model_names())
def test_offers_of_models_compute_the_same(name: str) -> None:
    graph = lowered(name, MIXED)
    assert len(graph.offers) > 40
    assert check_groups(shrink(graph)) is None


CHAIN = {
    "add": "add({x}, {y})",
    "mul": "mul({x}, {x})",
    "silu": "silu({x})",
    "rmsnorm": "rmsnorm({x}, g1)",
    "layernorm": "layernorm({x}, g1, g2)",
    "softmax": "softmax({x})",
    "linear": "linear({x}, w)",
    "matmul": "matmul({x}, w)",
    "by_row": "by_row({x}, s)",
    "rows": "rows({x})",
}


DRAW = st.tuples(st.sampled_from(sorted(CHAIN)), st.integers(0, 3), st.integers(0, 3))


@given(st.lists(DRAW, min_size=2, max_size=7))
def test_offers_of_random_graphs_compute_the_same(draws: list[tuple[str, int, int]]) -> None:
    graph, _ = fused(random_graph(draws))
    for o in graph.offers:
        sliced(graph, o.nodes)


def random_graph(draws: Sequence[tuple[str, int, int]]) -> str:
    """Ops on square tensors; each reads one of the last four values."""
    names = ["a"]
    lines = []
    for op, x, y in draws:
        use = CHAIN[op].format(x=names[max(0, len(names) - 1 - x)], y=names[max(0, len(names) - 1 - y)])
        lines.append(f"v{len(names)}: bf16 [4, 4] = {use}")
        names.append(f"v{len(names)}")
    inputs = ["input a: bf16 [4, 4]", "input s: bf16 [4]"]
    inputs += ["weight w: bf16 [4, 4]", "weight g1: bf16 [4]", "weight g2: bf16 [4]"]
    used = {n for n in names if any(f"({n}," in x or f" {n})" in x or f"({n})" in x for x in lines)}
    output = f"output {', '.join(n for n in names[1:] if n not in used)}"
    return "\n".join(("graph g {", *inputs, *lines, output, "}"))


def sliced(graph: Graph, names: tuple[str, ...]) -> None:
    """A tile of an index that is no sum makes its part of every result from its part of every operand, whatever
    statements have no such index."""
    joined = group(graph, names)
    assert isinstance(joined, Group)
    known, shape = facts(joined.shape), joined.shape
    values = trace(graph, random_inputs(graph, 0))
    extents = {x.name for s in shape.body for x in walk(s.expr) if isinstance(x, Ext)}
    operands = {p.name: operand_value(joined, p.name, values) for p in shape.params}
    whole = run_op(shape, joined.sizes, joined.attrs, operands)
    for i in set(known.indices) - set(known.whole) - known.reduced - extents:
        part = {n: joined.sizes[n] if n != i else 2 for n in joined.sizes}
        cut = {p.name: _cut(operands[p.name], p.dims, i) for p in shape.params}
        found = run_op(shape, part, joined.attrs, cut)
        for o in shape.results:
            np.testing.assert_allclose(found[o.name], _cut(whole[o.name], o.dims, i), rtol=1e-9, atol=1e-12)


def _cut(value: np.ndarray, dims: Sequence[object], index: str) -> np.ndarray:  # type: ignore[type-arg]
    return value[tuple(slice(1, 3) if d == Ref(index) else slice(None) for d in dims)]


def test_a_tile_is_not_made_of_what_lies_beside_it() -> None:
    text = """graph g {
      input x: bf16 [2, 6, 4]
      weight w: bf16 [4, 3]
      a: bf16 [2, 6, 4] = silu(x)
      y: bf16 [2, 6, 4] = conv1d(a, w)
      output y
    }"""
    graph = parse_graph(Source("g", text), ops())
    time = facts(graph.shape(graph.nodes["y"])).indices[1]
    assert time in loops(graph, "y")
    joined = group(graph, ("a", "y"))
    assert isinstance(joined, Group)
    blocked = [b.why for b in facts(joined.shape).whole.values()]
    assert any("`a` is made by" in why for why in blocked)


# ---- prices ------------------------------------------------------------------------------------

STEPS = {
    "prefill": phase("prefill", 1, 512, 0),
    "decode": phase("decode", 16, 1, 1024),
    "mixed": phase("mixed", 16, 2048, 2048),
}


@pytest.mark.parametrize("what", STEPS)
def test_offers_never_cost_anything(what: str) -> None:
    cycles = {}
    for fuse in ("", f"{FUSE},"):
        context = Context(model=load_model("llama3-8b"), dtypes=DTYPES, step=STEPS[what], chip=load_chip("ador"))
        pipeline = parse_pipeline(Source("p", f"lower-model,{fuse}batch-parts,tile,map-ilp"))
        mapping = run_pipeline(pipeline, Graph("g"), context)[0].mapping
        assert mapping is not None
        assert all(x.solution.optimal for x in mapping.layers)
        cycles[fuse] = mapping.cycles
    assert cycles[f"{FUSE},"] < cycles[""]


def test_the_default_pipelines_offer_to_fuse() -> None:
    assert all("fuse-elementwise" in text and "fuse-norm" in text for text in PIPELINES.values())


TWICE = """graph g {
  input a: bf16 [64, 128]
  weight w1: bf16 [256, 128]
  weight w2: bf16 [256, 128]
  u: bf16 [64, 256] = linear(a, w1)
  m: bf16 [64, 256] = silu(u)
  v: bf16 [64, 256] = linear(a, w2)
  n: bf16 [64, 256] = silu(v)
  output m, n
}"""


def test_groups_that_differ_in_names_are_searched_once_and_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(p, *rest):  # type: ignore[no-untyped-def]
        asked.append((p.group.nodes, rest[0].name))
        return search(p, *rest)

    monkeypatch.setattr("dfcompiler.quotes.search", counted)
    graph, chip = fused(TWICE)[0], load_chip("ador")
    columns = price(graph, chip, DTYPES, SHARES)
    assert len({nodes for nodes, _ in asked if len(nodes) == 2}) == 1
    one, two = ([c for c in columns.columns if c.nodes == k] for k in (("u", "m"), ("v", "n")))
    assert one
    assert [c.cycles for c in one] == [c.cycles for c in two]
    p = columns.problems["v", "n"]
    for c in two:
        assert set(c.tiling.tile) == {x.name for x in p.loops}
        assert {k.operand for k in c.tiling.keeps} <= {o.name for o in p.operands}
        helper = chip.units.get(chip.units[c.unit].vector or "")
        direct = search(p, chip.units[c.unit], helper)
        assert c.tiling in direct.tilings


def test_a_group_that_is_no_faster_than_its_parts_has_no_column() -> None:
    chip: Chip = load_chip("ador")
    graph = lowered("llama3-8b", STEPS["decode"])
    columns = price(graph, chip, DTYPES, SHARES)
    for g in (g for g in candidates(graph) if len(g.nodes) > 1):
        for c in (c for c in columns.columns if c.nodes == g.nodes):
            less = [d for d in columns.columns if d.tiling.share <= c.tiling.share]
            parts = [[d for d in less if d.nodes == (v,)] for v in g.nodes]
            here = [[d.cycles for d in p if d.unit == c.unit] or [d.cycles for d in p] for p in parts]
            assert c.cycles < sum(map(min, here))


def test_a_limit_leaves_out_what_is_slower_and_nothing_else() -> None:
    chip = load_chip("ador")
    graph = fused(TWICE)[0]
    joined = group(graph, ("u", "m"))
    assert isinstance(joined, Group)
    p, unit = problem(joined, DTYPES), chip.units["sa"]
    free = search(p, unit, chip.units["vu"], (1.0,))
    cycles = free.tilings[0].cycles
    assert search(p, unit, chip.units["vu"], (1.0,), {1.0: cycles * 1.01}).tilings[0].cycles == cycles
    refused = search(p, unit, chip.units["vu"], (1.0,), {1.0: cycles * 0.99})
    assert not refused.tilings
    assert "shortens the schedule" in refused.why


def test_offers_do_not_depend_on_the_run(tmp_path: Path) -> None:
    """Two nodes that one reads are offered with it in the order of the program, however names are hashed."""
    path = tmp_path / "g.dfir"
    path.write_text(
        "graph g {\ninput x: bf16 [8, 8]\ninput g: bf16 [8]\na: bf16 [8, 8] = silu(x)\nb: bf16 [8] = silu(g)\n"
        "y: bf16 [8, 8] = rmsnorm(a, b)\noutput y\n}\n"
    )
    told = set()
    for seed in range(5):
        command = [sys.executable, "-m", "dfcompiler", "opt", str(path), "-p", "fuse-norm"]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        told.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    assert len(told) == 1 and "offer fuse-norm: a, y\n  offer fuse-norm: b, y\n" in told.pop()
