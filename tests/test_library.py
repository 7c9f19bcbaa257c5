"""Declarations are known by name without parsing, and parsed file by file when they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_registry import MakePlugin, plugin
from test_text_trees import block, chip, graph, model, op, shared

from dfcompiler import content, models
from dfcompiler.cli import main
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.graphtext import parse_graph
from dfcompiler.models import Library, extend, library, load_model
from dfcompiler.text import shelf
from dfcompiler.text import tree as t
from dfcompiler.text.outline import heading, outline
from dfcompiler.text.parse import parse_items
from dfcompiler.text.show import show

__all__ = ["plugin"]  # the fixture

OP = "op {}(x: [n]) -> (y: [n]) {{\n  y[n] = {} * x[n]\n}}\n"
FILES = [
    *content.files("ir", ".dfir", "ops"),
    *content.files("ir", ".dfm", "models"),
    *content.files("templates", ".chip", "chips"),
]


# ---- headings


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_the_outline_of_our_files_is_what_they_declare(path: Path) -> None:
    source = models.content_source(path)
    assert outline(source) == tuple(map(heading, parse_items(source)))


between = st.sampled_from(["\n", "\r\n", "  ", "\n\n\t", ' # } "\n', "\n#{ op f\n  "])


@given(st.lists(st.tuples(st.one_of(op(), model, block, shared, graph, chip()), between), max_size=4), between)
def test_property_the_outline_is_what_a_source_declares(items: list[tuple[t.Item, str]], before: str) -> None:
    source = Source("s", before + "".join(show(item) + space for item, space in items))
    assert outline(source) == tuple(map(heading, parse_items(source)))


ODD = [
    "op # why\n  f # {\n (model: [op] in op distinct\nblock) -> () {\n} op g() -> () {}",
    'model m # "A" {\n for "{", # }\n "\\"}" in x {\n require a == 1, "}{"\n}',
    'opf() -> () {}graph"g {" {\n}',
    "block\nblock(x) -> x {\nx = f(x) {a = 1,\nb = 2\n}\n}\nconfig config {\n}",
    "",
]


@pytest.mark.parametrize("text", ODD)
def test_the_outline_does_not_hang_on_the_layout(text: str) -> None:
    source = Source("s", text)
    assert outline(source) == tuple(map(heading, parse_items(source)))


@pytest.mark.parametrize(
    "text", ["op f", "op f() -> () {", "x", "op f() -> () {}}", "op f() -> () } {}", 'model m for "\\x" {}']
)
def test_what_is_no_row_of_items_has_no_outline(text: str) -> None:
    source = Source("s", text)
    assert outline(source) is None
    with pytest.raises(Diag) as caught:
        parse_items(source)
    assert caught.value.code == "syntax"


# ---- files


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are parsed from now on."""
    names: list[str] = []
    parse = shelf.parse_content

    def counting(source: Source) -> tuple[t.Item, ...]:
        names.append(source.name)
        return parse(source)

    monkeypatch.setattr(shelf, "parse_content", counting)
    models._library.cache_clear()
    return names


def test_names_are_known_without_parsing(parsed: list[str]) -> None:
    lib = extend(library(), parse_items(Source("mine", OP.format("mine", 2))))
    assert {"linear", "mine"} <= set(lib.ops) and "deepseek" in lib.models and "rotate" in lib.blocks
    assert "rotate" not in lib.ops and "no-such" not in lib.ops and lib.ops.get("no-such") is None
    assert len(lib.ops) == len(library().ops) + 1
    assert lib.ops["mine"].name == "mine" and parsed == []


def test_a_file_is_parsed_once_when_one_of_its_items_is_asked_for(parsed: list[str]) -> None:
    ops = library().ops
    assert ops["linear"].name == "linear" and ops["matmul"].name == "matmul"
    assert ops["linear"].span and ops["linear"].span.source.name == "ir/ops/dense.dfir"
    assert parsed == ["ir/ops/dense.dfir"]


def test_a_model_parses_what_it_reads(parsed: list[str]) -> None:
    load_model("llama3-8b")
    assert sorted(parsed) == ["ir/models/common.dfm", "ir/models/llama.dfm"]


def test_a_graph_parses_the_ops_that_it_has(parsed: list[str]) -> None:
    text = "graph g {\n  input a: bf16 [2]\n  b: bf16 [2] = add(a, a)\n  output b\n}\n"
    assert parse_graph(Source("g", text), library()).nodes["b"].op.name == "add"
    assert parsed == ["ir/ops/dense.dfir"]


def test_values_are_those_of_all_files(parsed: list[str]) -> None:
    lib = library()
    whole = [i for p in FILES if p.suffix != ".chip" for i in parse_items(models.content_source(p))]
    shelves = {t.OpDecl: lib.ops, t.ModelDecl: lib.models, t.BlockDecl: lib.blocks, t.ConfigDecl: lib.configs}
    for kind, found in shelves.items():
        assert list(found.values()) == [i for i in whole if isinstance(i, kind)]
        assert found.headings() == [heading(i) for i in found.values()]
    assert len(parsed) == len(set(parsed)) == sum(p.suffix != ".chip" for p in FILES)


def test_a_fault_in_a_body_is_told_to_who_asks(plugin: MakePlugin) -> None:
    content.use([plugin("p", ir__ops__bad="op bad(x: [n]) -> (y: [n]) {\n  y[n] = * x[n]\n}\n")])
    assert "bad" in library().ops and library().ops["linear"].name == "linear"
    for _ in range(2):
        with pytest.raises(Diag, match="syntax") as caught:
            library().ops["bad"]
        assert str(caught.value.span).endswith("bad.dfir:2:10")


def test_a_fault_between_items_is_told_at_once(plugin: MakePlugin) -> None:
    content.use([plugin("p", ir__ops__bad="op bad(x: [n]) -> (y: [n]) {\n")])
    with pytest.raises(Diag, match="syntax"):
        library()


# ---- the same name twice


def test_equal_texts_under_one_name_are_two_declarations(plugin: MakePlugin) -> None:
    content.use([plugin(n, **{f"ir__ops__{n}": OP.format("same", 2)}) for n in ("one", "two")])
    with pytest.raises(Diag) as caught:
        library()
    assert caught.value.code == "duplicate-name"
    assert all(f"/{n}/ir/ops/{n}.dfir:1:4" in str(caught.value) for n in ("one", "two"))


@pytest.mark.parametrize("name", ["mine", "linear"])
def test_a_name_twice_in_a_text_or_in_the_library(name: str) -> None:
    text = OP.format("mine", 2) + OP.format(name, 2)
    with pytest.raises(Diag, match=f"op `{name}` is declared twice") as caught:
        extend(library(), parse_items(Source("text", text)))
    assert caught.value.code == "duplicate-name" and "text:4:4" in str(caught.value)
    first = "text:1:4" if name == "mine" else "ir/ops/dense.dfir:14:4"
    assert first in str(caught.value)


def test_one_file_read_twice_is_one_declaration(plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family of a plug-in folder, named by its path too, however that is written."""
    text = OP.format("mine", 2) + "model m {\n  input x: [N]\n  y = mine(x)\n  output y\n}\n"
    folder = plugin("p", ir__models__mine=text)
    content.use([folder])
    monkeypatch.chdir(folder / "ir")
    for spec in ("models/mine.dfm", "../ir/models/mine.dfm", str(folder / "ir/models/mine.dfm")):
        assert load_model(spec).library.ops["mine"].name == "mine"
    (folder / "copy.dfm").write_text(text)
    with pytest.raises(Diag, match="declared twice"):
        load_model(str(folder / "copy.dfm"))


def test_two_families_for_one_architecture(plugin: MakePlugin) -> None:
    content.use([plugin("p", ir__models__mine='model mine for "MineForCausalLM", "LlamaForCausalLM" {\n}\n')])
    with pytest.raises(Diag, match="a second family reads `LlamaForCausalLM`") as caught:
        load_model("llama3-8b")
    assert caught.value.code == "duplicate-name"
    assert "mine.dfm:1:7" in str(caught.value) and "ir/models/llama.dfm:" in str(caught.value)


def test_listing_ops_shows_every_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "ops"]) == 0
    listed = capsys.readouterr().out
    lib: Library = library()
    assert all(name in listed for name in lib.ops)
