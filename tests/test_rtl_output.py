"""The same package gives the same bytes; folders that are not ours stay as they are; plug-ins' templates win."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.rtl import OpRow, Package, PartSpec, package, render, to_json, write

# A mapping with all its tables, from the text of a graph to the files.
SCRIPT = """
import hashlib
from dfcompiler.api import compile_graph
from dfcompiler.diagnostics import Source
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.outputs import rtl_package
from dfcompiler.rtl import render
text = '''graph "g" {
  input x: bf16 [1, 40, 1, 1, 64]
  state k: bf16 [1, 40, 1, 64]
  y: bf16 [1, 40, 1, 1, 64] = attention_full(x, k, k)
  z: bf16 [1, 40, 1, 1, 64] = add(x, y)
  output z
}
'''
done = compile_graph(parse_graph(Source("g", text), library()), load_chip("edge", {}, []), pipeline="list")
files = render(rtl_package(done.chip, done.report, "ador", done.graph))
print({n: hashlib.sha256(t.encode()).hexdigest() for n, t in files.items()})
"""


def made(rows: int = 4, name: str = "ador") -> Package:
    op = OpRow("a", "mm", "sa", 1, 0, 9, {"m": 2}, ("m",))
    return package(name, [PartSpec("sa", "array", 2, (("rows", rows, "PE", "rows of the array"),))], [op], 10**9)


def test_the_same_package_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    def rendered(seed: str, locale: str, cwd: Path) -> str:
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "LC_ALL": locale,
            "PYTHONPATH": str(Path(content.__file__).parents[1]),
        }
        return subprocess.run([sys.executable, "-c", SCRIPT], cwd=cwd, env=env, capture_output=True, check=True,
                              text=True).stdout  # fmt: skip

    first = rendered("0", "C", tmp_path)
    assert {"ador_pkg.sv", "ador_ops.memh", "ador_buffers.memh", "ador_desc.memh"} <= {*ast.literal_eval(first)}
    assert rendered("777", "tr_TR.UTF-8", Path("/")) == first


def test_the_generated_text_is_tidy() -> None:
    for name, text in render(made()).items():
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        assert "\n\n\n" not in text, name
        assert all(line == line.rstrip() for line in text.split("\n")), name
        assert "\t" not in text


def test_render_names_the_files_and_the_known_styles() -> None:
    assert [*render(made())] == [
        "ador_pkg.sv", "ador_params.vh", "ador_params.h", "ador_check.sv", "ador.f", "ador.md", "ador.xml",
        "ador_ops.memh", "params.json",
    ]  # fmt: skip
    assert render(made())["params.json"] == to_json(made())
    with pytest.raises(Diag, match="portable"):
        render(made(), "verbose")


def test_write_writes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "rtl"
    files = render(made())
    assert {p.name for p in write(files, out)} == {*files}
    assert {p.name: p.read_text(encoding="utf-8") for p in out.iterdir()} == files
    assert write(files, out) == ()
    assert "ador.f" not in {p.name for p in write(render(made(8)), out)}


@pytest.mark.parametrize("name", ["ador_pkg.sv", "params.json"])
def test_write_refuses_files_that_it_did_not_write(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(Diag) as caught:
        write(render(made()), tmp_path)
    assert caught.value.code == "rtl-output"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_write_refuses_a_folder_of_another_package(tmp_path: Path) -> None:
    write(render(made()), tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(Diag, match=r"ador\.f"):
        write(render(made(name="other")), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_write_refuses_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(Diag, match="not a folder"):
        write(render(made()), tmp_path / "out")


def test_other_files_in_the_folder_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "top.sv").write_text("module top; endmodule\n")
    write(render(made()), tmp_path)
    write(render(made()), tmp_path, check=True)


def test_check_says_what_is_out_of_date(tmp_path: Path) -> None:
    files = render(made())
    write(files, tmp_path)
    assert write(files, tmp_path, check=True) == ()
    (tmp_path / "ador.f").unlink()
    with pytest.raises(Infeasible) as caught:
        write(render(made(8)), tmp_path, check=True)
    assert caught.value.code == "out-of-date"
    assert "ador.f (missing)" in caught.value.message
    assert "ador_pkg.sv (differs)" in caught.value.message
    assert not (tmp_path / "ador.f").exists()


def test_check_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Infeasible, match="missing"):
        write(render(made()), tmp_path / "none", check=True)
    assert not (tmp_path / "none").exists()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "plug" / "templates" / "rtl"
    folder.mkdir(parents=True)
    monkeypatch.setenv(content.VARIABLE, str(tmp_path / "plug"))
    return folder


def test_a_template_of_a_plugin_wins(plugin: Path) -> None:
    (plugin / "files.f.j2").write_text("// {{ package }}\n{% for g in groups %}{{ g.name }};{% endfor %}\n")
    files = render(made())
    assert files["ador.f"] == "// ador\n;sa;\n"
    assert "package ador_pkg" in files["ador_pkg.sv"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [("a\n\n{{ nothing.here }}\n", 3, "nothing"), ("a\n{% for %}\n", 2, "fails"), ("{{ groups + 1 }}", 1, "fails")],
)
def test_a_template_that_fails_is_shown_with_its_line(text: str, line: int, said: str, plugin: Path) -> None:
    (plugin / "files.f.j2").write_text(text)
    with pytest.raises(Diag) as caught:
        render(made())
    assert caught.value.code == "rtl-template"
    assert said in caught.value.message
    assert caught.value.span is not None
    assert (caught.value.span.line, Path(caught.value.span.source.name)) == (line, plugin / "files.f.j2")


def test_a_template_that_asks_for_another_that_is_not_there(plugin: Path) -> None:
    (plugin / "files.f.j2").write_text('{% include "gone.j2" %}')
    with pytest.raises(Diag, match=r"gone\.j2"):
        render(made())
