"""What a family's text can ask of a configuration, and how layers that differ fold into loops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import LLAMA, lower

from dfcompiler.census import census
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.graph import Graph, Region, regions
from dfcompiler.layers import Fold, Loop, fold
from dfcompiler.models import bound, extend, library, load_model
from dfcompiler.parameters import Config, Names, read_config
from dfcompiler.steps import step
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

STEP = step(prefill=[(5, 0)])


# ---- folding -----------------------------------------------------------------------------------


def unfolded(folds: tuple[Fold, ...]) -> Iterator[int]:
    for f in folds:
        if isinstance(f, Loop):
            for _ in range(f.count):
                yield from unfolded(f.body)
        else:
            yield f


def leaves(folds: tuple[Fold, ...]) -> int:
    return sum(leaves(f.body) if isinstance(f, Loop) else 1 for f in folds)


@given(st.text("ab", max_size=24))
def test_folds_unfold(kinds: str) -> None:
    folds = fold(kinds)
    assert "".join(kinds[i] for i in unfolded(folds)) == kinds
    assert leaves(folds) <= max(1, len(kinds))


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("", ()),
        ("a", (0,)),
        ("aaaa", (Loop(4, (0,)),)),
        ("abab", (Loop(2, (0, 1)),)),
        ("aaaaab" * 3, (Loop(3, (Loop(5, (0,)), 5)),)),
        ("cc" + "ab" * 4 + "a", (Loop(2, (0,)), Loop(4, (2, 3)), 2)),
        ("aab" * 2 + "c", (Loop(2, (Loop(2, (0,)), 2)), 6)),
    ],
)
def test_folds_are_short(kinds: str, expected: tuple[Fold, ...]) -> None:
    assert fold(kinds) == expected


SLIDING = """
model sliding {
  read decoder
  read rotary
  read rms
  read swiglu
  input ids: int [N] in V
  weight table: w [V, D]
  x = gather(table, ids)
  repeat L as l {
    if layer_types[l] == "sliding" {
      param window = 3
    } else {
      param window = inf
    }
    weight g1: w [D]
    weight wq: w [G, H // G, E, D]
    weight wk: w [G, E, D]
    weight wv: w [G, E, D]
    h = rmsnorm(x, g1) {eps = eps}
    q = linear(h, wq)
    k = linear(h, wk)
    v = linear(h, wv)
    a = attend(q, k, v) {window = window}
    x = add(x, a)
    x = feed_forward(x)
  }
  logits = unembed(x, table)
  output logits
}
"""


def sliding(kinds: str) -> Graph:
    lib = extend(library(), iter(parse_items(Source("sliding.dfm", SLIDING))))
    names = {"s": "sliding", "g": "full"}
    fields = {**LLAMA, "num_hidden_layers": len(kinds), "layer_types": [names[k] for k in kinds]}
    model = bound("tiny", lib.models["sliding"], lib, Config(Source("tiny.json", ""), fields))
    return lower(model, STEP)


def windows(graph: Graph) -> list[float]:
    """The window of every layer's attention, in order, as the graph runs them."""

    def run(items: Any) -> Iterator[float]:
        for item in items:
            if isinstance(item, Region):
                for _ in range(item.count):
                    yield from run(item.body)
            elif isinstance(item, type(next(iter(graph.nodes.values())))) and "window" in dict(item.attrs):
                yield dict(item.attrs)["window"]

    return list(run(graph.body))


@pytest.mark.parametrize("kinds", ["ssgssg", "gs", "sssssgsssssgss", "gggg"])
def test_layers_that_differ_keep_their_order(kinds: str) -> None:
    graph = sliding(kinds)
    assert windows(graph) == [3 if k == "s" else float("inf") for k in kinds]
    uniform = lower({**LLAMA, "num_hidden_layers": len(kinds)}, STEP)
    assert census(graph) == census(uniform)


def test_equal_layers_are_one_body() -> None:
    graph = sliding("ssssgssssgssssg")
    assert [r.count for r in regions(graph.body)] == [3, 4]
    assert len(graph.nodes) == 2 * len(sliding("g" * 3).nodes) - 3  # two bodies; embedding, norm and head once


def test_a_layer_number_out_of_the_list_has_a_place() -> None:
    lib = extend(library(), iter(parse_items(Source("sliding.dfm", SLIDING))))
    source = Source("tiny.json", json.dumps({**LLAMA, "layer_types": ["sliding"]}, indent=1))
    model = bound("tiny", lib.models["sliding"], lib, read_config(source))
    with pytest.raises(Diag, match="`layer_types` has 1 entries, no entry 1") as error:
        lower(model, STEP)
    assert str(error.value.span) == "tiny.json:10:2"


# ---- values ------------------------------------------------------------------------------------

FIELDS = {"a": 3, "flag": True, "no": None, "list": [1, "x", {"deep": 7}], "o": {"p": {"q": 2.5}}, "text": "MEM*E"}


def value(text: str, **inner: Any) -> Any:
    (model,) = parse_items(Source("m.dfm", f"model m {{ param X = {text} }}"))
    assert isinstance(model, t.ModelDecl)
    names = Names(Config(Source("c.json", ""), {**FIELDS, **inner}))
    statement = model.body[0]
    assert isinstance(statement, t.MParam)
    names.bind(statement)
    return names.bound["X"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", 3),
        ("flag", 1),
        ("no else 4", 4),
        ("o.p.q", 2.5),
        ("o.x else o.p.z else a + 1", 4),
        ("list[1]", "x"),
        ("list[a - 1].deep", 7),
        ("text[3]", "*"),
        ("len(list)", 3),
        ('count(text, "M")', 2),
        ("a // 2 * 2 - -1", 3),
        ('"silu"', "silu"),
    ],
)
def test_values(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("missing", "the field `missing` is missing"),
        ("missing else gone", "the field `missing` is missing"),
        ("o.p.z", "the field `o.p.z` is missing"),
        ("text + 1", 'the field `text` must be a number, not "MEM'),
        ("list[3]", "`list` has 3 entries, no entry 3"),
        ("list[-1]", "no entry -1"),
        ("a[0]", "`a` must be a list or a text, not 3"),
        ("len(a)", "must be a list or a text"),
        ("a / 0", "division by zero"),
        ("|a|", "no arithmetic on parameters"),
        ("log(0 - a)", "is no number"),
    ],
)
def test_values_that_are_not_there(text: str, message: str) -> None:
    with pytest.raises(Diag) as error:
        value(text)
    assert message in error.value.message


# ---- fields that nobody knows ------------------------------------------------------------------


def config(path: Path, **fields: Any) -> str:
    file = path / "config.json"
    file.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **LLAMA, **fields}, indent=1))
    return str(path)


def test_unknown_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(Diag) as error:
        load_model(config(tmp_path, hiden_act="silu", rope_parameters={"rope_theta": 1e4, "turn": 2}))
    assert error.value.code == "unknown-field"
    assert "`hiden_act` nor `rope_parameters.turn`" in error.value.message
    assert error.value.hint and error.value.hint.startswith("did you mean `hidden_act`? ")
    assert error.value.span and error.value.span.line == 13


def test_fields_that_say_nothing_may_be_unknown(tmp_path: Path) -> None:
    model = load_model(config(tmp_path, foo=None, bar=False, baz=[], more={"a": {"b": 0}}, rope_scaling={"type": "x"}))
    assert model.params["L"] == 2


def test_rejected_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(Diag, match="cannot express `attention_bias`"):
        load_model(config(tmp_path, attention_bias=True))
    assert load_model(config(tmp_path, attention_bias=False)).params["L"] == 2


def test_sizes_may_lie_inside(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    inner = {**LLAMA, "rms_norm_eps": 1e-6}
    outer = {"architectures": ["Qwen3VLForConditionalGeneration"], "tie_word_embeddings": True, "hidden_size": 3}
    file.write_text(json.dumps({**outer, "text_config": inner}, indent=1))
    assert load_model(str(file)).params["D"] == LLAMA["hidden_size"]
    assert load_model(str(file)).params["tie"] == 1
    file.write_text(json.dumps(outer, indent=1))
    with pytest.raises(Diag, match="wants its sizes in the field `text_config`"):
        load_model(str(file))
