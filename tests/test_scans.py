"""Ops that say they are the same as another, run beside it; states that a longer step leaves as shorter ones do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.content import VARIABLE
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.models import library
from dfcompiler.opshape import OpShape, bind, extents
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.semantics import run_op
from dfcompiler.text import tree as t

Floats = npt.NDArray[np.float64]
FUZZ = int(os.environ.get("DFC_FUZZ", "40"))
SAME = sorted(op.name for op in library().ops.values() if op.same)
CARRIED = ["ssd", "ssd_chunked", "gated_delta", "gated_delta_chunked", "channel_delta", "channel_delta_chunked"]


def shape_of(name: str) -> OpShape:
    decl = library().ops[name]
    return bind(decl, tuple(len(p.type.dims) for p in decl.params))


def draw(shape: OpShape, sizes: dict[str, int], seed: int) -> dict[str, Floats]:
    """Positive values, none far from 1, as decays and steps have."""
    rng = np.random.default_rng(seed)
    return {
        p.name: rng.uniform(0.2, 1.0, tuple(sizes[d.name] for d in p.dims if isinstance(d, t.Ref)))
        for p in shape.params
    }


def run(name: str, operands: dict[str, Floats], **attrs: float) -> dict[str, Floats]:
    shape = shape_of(name)
    return run_op(shape, extents(shape, [operands[p.name].shape for p in shape.params], attrs), attrs, operands)


def agree(one: dict[str, Floats], two: dict[str, Floats], rtol: float = 1e-9) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert np.allclose(two[name], value, rtol=rtol, atol=rtol * np.abs(value).max()), name


def indices(shape: OpShape) -> list[str]:
    return list(dict.fromkeys(d.name for p in shape.params for d in p.dims if isinstance(d, t.Ref)))


@pytest.mark.parametrize("name", SAME)
@settings(deadline=None, max_examples=FUZZ)
@given(data=st.data())
def test_property_an_op_is_the_same_as_it_says(name: str, data: st.DataObject) -> None:
    other = library().ops[name].same or ""
    shape = shape_of(name)
    assert [o.dims for o in shape.operands] == [o.dims for o in shape_of(other).operands]
    sizes = {i: data.draw(st.integers(1, 3), label=i) for i in indices(shape)}
    sizes["t"] = data.draw(st.integers(1, 13), label="t")
    operands = draw(shape, sizes, data.draw(st.integers(0, 99)))
    agree(run(other, operands), run(name, operands, chunk=data.draw(st.integers(1, 6), label="chunk")))


@pytest.mark.parametrize("name", SAME)
def test_a_whole_chunk_by_default(name: str) -> None:
    shape = shape_of(name)
    operands = draw(shape, dict.fromkeys(indices(shape), 2) | {"t": 150}, 0)
    if "a" in operands:
        operands["a"] = -operands["a"]
    for key in ("q", "kk"):  # of length 1, as these layers have them: the delta rule must not overshoot
        if key in operands:
            operands[key] /= np.linalg.norm(operands[key], axis=-1, keepdims=True)
    agree(run(library().ops[name].same or "", operands), run(name, operands), rtol=1e-8)


@pytest.mark.parametrize("name", CARRIED)
@pytest.mark.parametrize("first", [1, 4, 8])
def test_two_steps_are_one(name: str, first: int) -> None:
    shape = shape_of(name)
    operands = draw(shape, dict.fromkeys(indices(shape), 2) | {"t": 9}, 1)
    timed = [p.name for p in shape.params if t.Ref("t") in p.dims]
    state = next(p.name for p in shape.params if p.inout)
    (result,) = (o.name for o in shape.results)
    attrs = {"chunk": 4} if any(a.name == "chunk" for a in shape.attrs) else {}
    whole = run(name, operands, **attrs)
    one = run(name, operands | {n: operands[n][:, :first] for n in timed}, **attrs)
    two = run(name, operands | {n: operands[n][:, first:] for n in timed} | {state: one[state]}, **attrs)
    assert np.allclose(np.concatenate([one[result], two[result]], 1), whole[result], rtol=1e-10)
    assert np.allclose(two[state], whole[state], rtol=1e-10)


@pytest.mark.parametrize("steps", [(9,), (1,) * 9, (2, 1, 6)])
def test_a_convolution_goes_on_where_it_stopped(steps: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, w, last = rng.standard_normal((2, 9, 3)), rng.standard_normal((3, 4)), rng.standard_normal((2, 3, 3))
    longer = np.concatenate([last, x], 1)
    expected = [sum(longer[:, 3 + i - j] * w[:, j] for j in range(4)) for i in range(9)]
    found, at = [], 0
    for n in steps:
        one = run("conv1d_state", {"last": last, "x": x[:, at : at + n], "w": w})
        found.append(one["y"])
        last, at = one["last"], at + n
    assert np.allclose(np.concatenate(found, 1), np.stack(expected, 1), rtol=1e-12)
    assert np.array_equal(last, longer[:, -3:])


def test_a_convolution_without_a_past_is_the_plain_one() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 7, 3)), rng.standard_normal((3, 4))
    found = run("conv1d_state", {"last": np.zeros((2, 3, 3)), "x": x, "w": w})
    assert np.allclose(found["y"], run("conv1d", {"x": x, "w": w})["y"], rtol=1e-12)


# ---- the pass that takes another form ----------------------------------------------------------


def delta(tokens: int, extra: str = "") -> Graph:
    text = f"""graph g {{
      input q: bf16 [2, {tokens}, 3, 4]
      input k: bf16 [2, {tokens}, 3, 4]
      input v: bf16 [2, {tokens}, 3, 2, 5]
      input al: bf16 [2, {tokens}, 3, 2]
      input be: bf16 [2, {tokens}, 3, 2]
      state s: bf16 [2, 3, 2, 4, 5]
      o: bf16 [2, {tokens}, 3, 2, 5] = gated_delta{extra}(q, k, v, al, be, s)
      output o
    }}"""
    return parse_graph(Source("g", text), library())


def rewritten(graph: Graph, text: str = "rewrite-same") -> str:
    (step,) = parse_pipeline(Source("--pipeline", text))
    return step.run(graph, Context()).nodes["o"].op.name


def test_a_prefill_runs_in_chunks_and_a_decode_token_by_token() -> None:
    assert rewritten(delta(100)) == "gated_delta_chunked"
    assert rewritten(delta(1)) == "gated_delta"
    assert rewritten(delta(100, "_chunked")) == "gated_delta_chunked"
    assert rewritten(delta(100, "_chunked"), "rewrite-same{to=gated_delta}") == "gated_delta"
    assert rewritten(delta(1), "rewrite-same{to=gated_delta_chunked}") == "gated_delta_chunked"
    assert rewritten(delta(1), "rewrite-same{to=ssd_chunked}") == "gated_delta"
    with pytest.raises(Diag, match="unknown op `gated`"):
        rewritten(delta(1), "rewrite-same{to=gated}")


def test_the_graph_computes_the_same_and_carries_its_state() -> None:
    before = delta(7)
    (step,) = parse_pipeline(Source("--pipeline", "rewrite-same"))
    after = step.run(before, Context())
    inputs = {n: np.abs(x) + 0.1 for n, x in random_inputs(before, 3).items()}
    one, two = run_graph(before, inputs), run_graph(after, inputs)
    assert before != after and set(one) == {"o", "s"}
    agree(one, two)
    assert not np.allclose(one["s"], inputs["s"])


def test_the_same_as_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ir" / "ops").mkdir(parents=True)
    (tmp_path / "ir" / "ops" / "mine.dfir").write_text(
        "op mine(x: [*t]) -> (y: [*t]) same as ssdd {\n  y[*t] = x[*t]\n}\n"
    )
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(Diag, match="unknown op `ssdd`") as error:
        rewritten(delta(3))
    assert error.value.span and error.value.span.line == 1
