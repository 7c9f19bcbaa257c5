"""The pages of docs/ are true: files are written, commands run, examples parsed and executed, models counted again.

A block below a line with a path alone is a file. Of the others, `console` holds commands behind `$ ` and what they
print, `pycon` a session of Python, `dfir` and `dfm` are texts of the language. Everything runs in the order of its
page, in one folder. `pytest --update-files tests/test_docs.py` writes what the commands print now.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from published import served

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.cli.filetest import PLAIN, fits
from dfcompiler.declarations import check
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import NAMES
from dfcompiler.models import library
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items
from dfcompiler.text.show import show

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^(?:`([\w/.-]+)`\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (dfc .*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
KINDS = {"console", "pycon", "dfir", "dfm", "json", "python", "chip", "space", ""}
WRONG = {"nested.dfir", "wrong.dfir"}  # what a page shows the error of
# What a page says of a file that a command of it wrote.
WRITTEN = {"write-a-pass": ("mine/tests/fuse_pairs.test", "offer fuse-pairs: u, y")}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: str) -> list[str]:
    """The lines that a command prints: notes, or its error, and then what it is for."""
    out, err = io.StringIO(), io.StringIO()
    with registry.apart(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(shlex.split(command)[1:])
    assert code < 3, err.getvalue()
    return [line.rstrip() for line in (err.getvalue() + out.getvalue()).splitlines()]


def same(shown: list[str], printed: list[str]) -> bool:
    """Whether the lines are those shown; a last line `...` stands for any that follow."""
    if shown[-1:] == ["..."]:
        shown, printed = shown[:-1], printed[: len(shown) - 1]
    return len(shown) == len(printed) and all(map(fits, shown, printed))


def refreshed(shown: list[str], printed: list[str]) -> list[str]:
    """The lines printed, cut where they were cut, with those shown that hold `...` and still fit."""
    loose = [line for line in shown if "..." in line and line != "..."]
    lines = [next((x for x in loose if fits(x, line)), line) for line in printed]
    return [*lines[: len(shown) - 1], "..."] if shown[-1:] == ["..."] else lines


def session(text: str, names: dict[str, Any], page: Path) -> None:
    said: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), 0)
    doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    names |= test.globs
    assert test.examples and not said, "".join(said)


def parsed(text: str, page: Path) -> None:
    """A text of the language reads back as it is shown, and its ops name only what is there."""
    items = parse_items(Source(page.name, text))
    again = parse_items(Source(page.name, "\n\n".join(map(show, items))))
    assert items and again == items
    for op in items:
        if isinstance(op, t.OpDecl):
            check(op)


def commands(body: str, page: Path, update: bool) -> None:
    """Commands print what is shown; with `update` the page is made to show it."""
    for command, shown in COMMAND.findall(body):
        os.environ[content.VARIABLE] = ""
        printed = run(command)
        if same(shown.splitlines(), printed):
            continue
        assert update, "\n".join([command, *printed])
        lines = "".join(f"{x}\n" for x in refreshed(shown.splitlines(), printed))
        old, new = f"$ {command}\n{shown}", f"$ {command}\n{lines}"
        page.write_text(page.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    text, names = page.read_text(encoding="utf-8"), dict[str, Any]()
    blocks = BLOCK.findall(text)
    assert 2 * len(blocks) == text.count("\n```") and KINDS.issuperset(kind for _, kind, _ in blocks)
    shown = sum(len(COMMAND.findall(body)) for _, kind, body in blocks if kind == "console")
    assert shown == len(re.findall(r"^\$ ", text, re.MULTILINE))
    with registry.apart():  # what a session of a page registers is forgotten
        told(blocks, page, names, update=request.config.getoption("--update-files"))
    if page.stem in WRITTEN:
        path, said = WRITTEN[page.stem]
        assert said in Path(path).read_text(encoding="utf-8")


def told(blocks: list[tuple[str, str, str]], page: Path, names: dict[str, Any], update: bool) -> None:
    """Files are written, examples parsed and run, outputs compared, in the order of the page."""
    for path, kind, body in blocks:
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(body, encoding="utf-8")
        if (kind or Path(path).suffix[1:]) in ("dfir", "dfm") and path not in WRONG:
            parsed(body, page)
        if kind == "pycon":
            session(body, names, page)
        if kind == "console":
            commands(body, page, update)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_to_files(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_pass_is_as_short_as_promised() -> None:
    files = {path: body for path, _, body in BLOCK.findall((DOCS / "write-a-pass.md").read_text(encoding="utf-8"))}
    assert files["mine/passes/fuse_pairs.py"].count("\n") < 20


def test_lines_are_compared() -> None:
    assert same(["a", "b ... d", "..."], ["a", "b c d", "e"]) and same([], [])
    assert not same(["a"], ["b"]) and not same(["a", "b"], ["a"]) and not same(["a"], ["a", "b"])
    assert refreshed(["a", "b ...", "..."], ["x", "b c", "e"]) == ["x", "b ...", "..."]


def test_a_wrong_example_would_be_noticed() -> None:
    page = Path("page.md")
    with pytest.raises(AssertionError, match="Got"):
        session(">>> 1 + 1\n3\n", {}, page)
    with pytest.raises(Exception, match="no value here"):
        parsed("op f(x: [n]) -> (y: [n]) {\n  y[n] = z[n]\n}\n", page)


# ---- models ------------------------------------------------------------------------------------

MODELS = (DOCS / "models.md").read_text(encoding="utf-8")
README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def cells(line: str) -> list[str]:
    return [c.strip() for c in line.strip("|\n").split("|")]


def test_every_family_and_architecture_is_in_the_table() -> None:
    rows = [cells(line) for line in MODELS.partition("## Families")[2].partition("\n## ")[0].splitlines()]
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows if row[0].startswith("`")}
    assert told == {m.name: {r.name for r in m.readers} for m in library().models.values()}
    assert f"| {len(told)} families (" in README


def test_the_readme_names_every_pass_and_format() -> None:
    table = README.partition("## Passes")[2].partition("\n## ")[0]
    ours = {n for n in registry.names("pass") if registry.lookup("pass", n).__module__.startswith(content.__name__)}
    assert ours == set(
        re.findall(r"`([a-z-]+)`", "".join(x.split("|")[1] for x in table.splitlines() if "| `" in x[:3]))
    )
    formats = next(x for x in README.splitlines() if x.startswith("Formats are "))
    assert set(NAMES) <= set(re.findall(r"\w+", formats))


@pytest.mark.parametrize("source", ["name", "hand", "file"])
def test_counts_are_current(source: str) -> None:
    if source == "file" and served() is None:
        pytest.skip("aiconfigurator-core, whose configurations are counted, is not installed")
    script = load(DOCS / "models.py")
    found = next(x[0] for x in script.TABLES.finditer(MODELS) if x[2] == source)
    assert found == f"<!-- {source} -->\n{script.HEAD}" + "".join(script.SOURCES[source]()), "run docs/models.py"


def test_families_without_a_count() -> None:
    """They are named in the text."""
    counted = {cells(line)[1].strip("`") for line in MODELS.partition("## Parameters")[2].splitlines() if "|" in line}
    said = re.search(r"^Of (.*) no configuration", MODELS, re.MULTILINE)
    assert said and set(re.findall(r"`(\w+)`", said[1])) == set(library().models) - counted
    assert len(re.findall(r"^\| [\w./-]+ \| `\w+` \| [\d,]+ \|", MODELS, re.MULTILINE)) >= 40
