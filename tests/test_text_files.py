"""Every shipped text parses, prints and parses to the same tree; the grammar has no hidden choices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lark
import pytest

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.text import parse
from dfcompiler.text.parse import parse_items, parse_setting, read_source
from dfcompiler.text.show import WIDTH, show
from dfcompiler.text.tree import (
    Access,
    BlockDecl,
    ConfigDecl,
    GraphDecl,
    Let,
    ModelDecl,
    Num,
    OpDecl,
    Pack,
    Quantity,
    Ref,
)

ROOT = content.root()
TEXTS = sorted([*ROOT.glob("ir/**/*.df*"), *ROOT.glob("templates/chips/*.chip")])
GRAPH = """graph "tiny \\"1\\"" {
  input ids: int32 [1, 8] in 128256
  x0: bf16 [1, 8, 64] = gather(table, ids)
  x9, k9 = repeat 32 (x1 = x0, k1 = k0) {
    weight g1: bf16 [64]
    h: bf16 [1, 8, 64] = rmsnorm(x1, g1) {eps = 1e-05}
    offer fuse-elementwise: h, x8
    place h, x8 on sa {m = 128, order = [m, n, [-1, -inf]], start = 0.0, how = weight-stationary}
    yield x8, k1
  }
  s: f32 [] = norm()
  p: bf16 [1, 2], id: int32 [1, 2] in 8 distinct = router(x9) {top = 2}
  output p
}
"""


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_shipped_file_round_trip(path: Path) -> None:
    items = parse_items(read_source(path))
    printed = "\n".join(map(show, items))
    assert parse_items(Source("printed", printed)) == items
    assert "\n".join(map(show, parse_items(Source("again", printed)))) == printed


def test_graph_prints_as_written() -> None:
    (graph,) = parse_items(Source("g", GRAPH))
    assert isinstance(graph, GraphDecl)
    assert graph.name == 'tiny "1"'
    assert show(graph) == GRAPH


def test_long_signature_wraps() -> None:
    params = ", ".join(f"operand{i}: [b, s, g, r, e]" for i in range(12))
    (op,) = parse_items(Source("s", f"op long({params}) -> (y: [b]) {{\n}}"))
    assert max(map(len, show(op).splitlines())) <= WIDTH + 2
    assert parse_items(Source("s", show(op))) == (op,)


@pytest.mark.parametrize("path", sorted(ROOT.glob("ir/configs/*.json")), ids=lambda p: p.name)
def test_config_belongs_to_a_family(path: Path) -> None:
    config = json.loads(path.read_text())
    families = [m for p in ROOT.glob("ir/models/*.dfm") for m in parse_items(read_source(p))]
    known = [r.name for m in families for r in getattr(m, "readers", ())]
    assert known.count(config["architectures"][0]) == 1


def test_names_of_ops_and_blocks_are_distinct() -> None:
    """What a model's text calls is an op or a block, so these share one space of names; other kinds have their own."""
    items = [item for p in ROOT.glob("ir/**/*.df*") for item in parse_items(read_source(p))]
    for kinds in ((OpDecl, BlockDecl), (ModelDecl,), (ConfigDecl,)):
        names = [item.name for item in items if isinstance(item, kinds)]
        assert names and len(names) == len(set(names))


def test_grammar_is_strict_lalr() -> None:
    """lark's strict mode refuses terminals of one state and priority that match the same text."""
    grammar = (ROOT / "ir" / "grammar.lark").read_text()
    lark.Lark(grammar, parser="lalr", start=["start", "one_setting"], strict=True)


def test_statement_words_are_names_elsewhere() -> None:
    text = "op f(state: [where], dim: [where]) -> (attr: [where]) {\n  attr[where] = state[where] + dim[where]\n}\n"
    (op,) = parse_items(Source("s", text))
    assert show(op) == text
    model = "model m {\n  state state: kv [B]\n  state = append(state, x)\n  repeat, if = f(each)\n  output output\n}\n"
    (item,) = parse_items(Source("s", model))
    assert show(item) == model
    body = "  input input: bf16 [1]\n  offer: bf16 [1] = f(place)\n  yield = repeat 2 () {\n    yield\n  }\n"
    graph = f'graph "g" {{\n{body}}}\n'
    (item,) = parse_items(Source("s", graph))
    assert show(item) == graph


CONTINUED = """op f(
  a: [*t, m],   # one

  b: [m]
)
    -> (c: [*t]) {
  # two
  where a < b
    # three
    or b < a,
    a > 1

  c[*t] = sum(m) a[*t, m]
    # four

    * b[m]
    - 1
}
"""


def test_lines_continue_at_operators() -> None:
    (op,) = parse_items(Source("s", CONTINUED))
    assert isinstance(op, OpDecl)
    assert [len(p.type.dims) for p in op.params] == [2, 1]
    assert [len(c) for c in op.body[0].clauses] == [2, 1]  # type: ignore[union-attr]
    assert len(op.body) == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_and_places(end: str) -> None:
    (op,) = parse_items(Source("s", end.join(["", "op f(a: [m]) -> (b: [m]) {", "  b[m] = a[m]", "}"])))
    assert isinstance(op, OpDecl)
    let = op.body[0]
    assert let == Let((Access("b", (Ref("m"),)),), None, Access("a", (Ref("m"),)))
    assert isinstance(let, Let) and isinstance(let.expr, Access)
    assert str(op.span) == "s:2:4"
    assert str(let.expr.span) == "s:3:10"
    assert let.expr.span is not None and let.expr.span.end == 11


def test_values_and_settings() -> None:
    values = {"1.5 GHz": Quantity(1.5, "GHz"), " 16GiB\n": Quantity(16, "GiB"), "-inf": Quantity(float("-inf"), "")}
    for text, value in {**values, "weight-stationary": "weight-stationary"}.items():
        assert parse_setting(Source("--set", f"x={text}")).value == value
    setting = parse_setting(Source("--set", "core.sa.rows=64"))
    assert (setting.name, setting.value) == ("core.sa.rows", Quantity(64, ""))
    assert parse_setting(Source("--set", "sa.operand-bits=8")).name == "sa.operand-bits"  # as `dfc show` writes it
    with pytest.raises(Diag, match="unexpected `,`, expected the end of the text"):
        parse_setting(Source("--set", "x = 64 , 3"))


def test_numbers() -> None:
    (op,) = parse_items(
        Source("s", "op f(a: [m]) -> (b: [m]) {\n  b[m] = 1 + 1.0 + 1e-5 + 1e999 + " + "9" * 18 + "\n}")
    )
    values = [n.value for n in _numbers(op.body[0].expr)]  # type: ignore[union-attr]
    assert values == [1, 1.0, 1e-5, float("inf"), 10**18 - 1]
    assert [type(v) for v in values] == [int, float, float, float, int]


def _numbers(e: object) -> list[Num]:
    return [e] if isinstance(e, Num) else [*_numbers(e.a), *_numbers(e.b)]  # type: ignore[attr-defined]


def test_empty_dims_and_packs() -> None:
    (op,) = parse_items(Source("s", "op f(a: []) -> (b: [@p, *t]) {\n  b[p, *t] = a[]\n}"))
    assert isinstance(op, OpDecl)
    assert op.params[0].type.dims == ()
    assert op.results[0].type.dims[1] == Pack("t")


def test_files_that_are_no_texts(tmp_path: Path) -> None:
    (tmp_path / "b.dfir").write_bytes(b"op \xff")
    for path, code in [("none", "no-such-file"), ("b.dfir", "not-text"), (".", "not-a-file"), ("a\0b", "not-a-file")]:
        with pytest.raises(Diag) as caught:
            read_source(f"{tmp_path}/{path}")
        assert caught.value.code == code


@pytest.mark.parametrize("state", ["absent", "damaged", "unwritable"])
def test_table_cache(tmp_path: Path, state: str) -> None:
    """A damaged or impossible cache costs time, never an error or a warning."""
    home = tmp_path / "cache"
    if state == "unwritable":
        home.write_text("a file, where a folder is needed")
    code = "from dfcompiler.text.parse import *; print(parse_setting(Source('v', 'x = 3 nm')).value)"
    env = {**os.environ, "XDG_CACHE_HOME": str(home)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], check=False, env=env, cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "Quantity(value=3, unit='nm')\n", "")
        if state == "damaged":
            (tables,) = (home / "dfcompiler").iterdir()
            tables.write_bytes(tables.read_bytes()[:2000])
    if state == "absent":
        assert len(list((home / "dfcompiler").iterdir())) == 1


def test_parser_is_built_once() -> None:
    path = ROOT / "ir" / "grammar.lark"
    assert parse._parser(path) is parse._parser(path)
