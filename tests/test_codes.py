"""Every code that can be raised is explained, nothing else is, and an example raises what it is an example of."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest
from raised import Codes, opened, sources
from test_bad_input import CHIP, GRAPH, config
from test_files import TESTS, codes_told

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.cli.filetest import PLAIN
from dfcompiler.codes import Explanation, explanations, read
from dfcompiler.diagnostics import Diag, Source

FOUND = Codes(sources(content.root()))
VERDICTS = Codes(sources(content.root()), ["verdict"])
TOLD = explanations()
# Codes without an example, by the reason for that.
ALONE = {
    "more than one file, or a file that is changed by hand": {"failed-tests", "wrong-mapping"},
    "bytes, which no text shows": {"not-text"},
    "made in Python, of parts that take many lines": {
        "duplicate-part", "duplicate-setting", "bad-axes", "bad-operand", "no-replay", "wrong-nest", "over-limit",
        "bad-layout", "bad-policy", "bad-step-table", "not-separable", "bad-bound",
    },
    "a package is not installed": {
        "no-numba", "no-pyarrow", "no-pandas", "no-polars", "no-simulator", "no-yaml", "no-onnx",
    },
    "files of ours, which are right": {"bad-kernels", "bad-core", "rtl-template"},
    "packages for RTL are made by us": {
        "rtl-collision", "rtl-value", "rtl-unit", "rtl-enum", "rtl-table", "rtl-map", "rtl-relation", "rtl-json",
        "rtl-output", "rtl-build", "rtl-run", "rtl-differs", "too-large",
    },
    "studies in folders that others began, changed or hold": {
        "study-exists", "no-such-study", "study-in-use", "study-of-another-format", "study-of-another-version",
        "study-of-another-space", "study-differs", "damaged-study", "study-not-written", "study-not-read",
        "worker-died", "bad-study", "no-cluster", "cluster-differs", "missing-extra",
    },
    "searches of many designs, made in Python": {
        "too-many-systems", "unlike-pools", "unlike-designs", "no-bound", "wrong-front",
        "bad-goals", "no-design",
    },
    "files of other tools, of many lines: tests/test_interchange*.py": {
        "unknown-data-type", "unknown-operand", "unknown-memory", "not-expressible",
    },
    "faults of a mapping, which are told one by one": set(VERDICTS.found),
}  # fmt: skip
WITHOUT = {code for held in ALONE.values() for code in held}
SPACE = """space s {
  pool chip on "small.chip" {
    axis side = 8, 16
    set sa.rows = side
  }
  minimize area = die_mm2
}
"""
TWO = """space s {
  prices = static
  pool a, b on "small.chip" {
    axis side = 8, 16
    set sa.rows = side
    load chat: "config.json" { phase = decode, batch = 1 }
  }
  minimize area = a.die_mm2
}
"""
# Files that commands of examples name.
FILES = {
    "config.json": config(),
    "heads.json": config(num_key_value_heads=3),
    "graph.dfir": GRAPH,
    "empty.dfir": "",
    "small.chip": CHIP,
    "clockless.chip": CHIP.replace("  clock = 1 GHz\n", ""),
    "nodeless.chip": CHIP.replace("  node = 7 nm\n", ""),
    "empty.chip": "",
    "wide.toml": '["wafer.usd"]\nlow = 1.5\nhigh = 2\nsource = "none"\n',
    "gold.toml": '["wafer.gold"]\nlow = 0.5\nhigh = 2\nsource = "none"\n',
    "empty.space": "",
    "unset.space": SPACE.replace("sa.rows", "rows"),
    "array.yaml": "memories: [1]\noperational_array: 3\n",
    "bare.yaml": "memories: {}\noperational_array: {}\n",
    "broken.json": "[",
    "small.space": SPACE,
    "twice.space": SPACE.replace("8, 16", "8, 8"),
    "poolless.space": "space s {\n  minimize area = area_mm2\n}\n",
    "axisless.space": SPACE.replace("    axis side = 8, 16\n    set sa.rows = side\n", ""),
    "chipless.space": SPACE.replace(' on "small.chip"', ""),
    "goalless.space": SPACE.replace("  minimize area = die_mm2\n", ""),
    "misread.space": SPACE.replace("die_mm2", "die_size"),
    "cyclic.space": SPACE.replace("    set", "    let a = b\n    let b = a\n    set"),
    "tight.space": SPACE.replace("    set", "    limit die_mm2 <= 0.001\n    set"),
    "mixed.space": TWO.replace("area = a.die_mm2", "x = a.usd * b.usd"),
    "unused.space": TWO,
    "rates.space": TWO.replace("batch = 1 }", 'batch = 1, lengths = "azure-code", requests = 8 }').replace(
        "area = a.die_mm2", "x = a.chat.max_rate_req_s + b.chat.max_rate_req_s"
    ),
    "loose.chip": CHIP.replace("  connect mem - vu\n", ""),
    "dramless.chip": CHIP.replace("  part hbm: dram { bandwidth = 100 GB/s, capacity = 1 GB }\n", "").replace(
        "hbm - ", ""
    ),
}


def test_every_code_is_followed_to_its_text() -> None:
    assert not FOUND.lost and not VERDICTS.lost, "\n".join([*FOUND.lost, *VERDICTS.lost])
    assert len(FOUND.found) > 150 and len(VERDICTS.found) > 15


def test_what_can_be_raised_is_explained_and_nothing_else() -> None:
    raised = FOUND.found | VERDICTS.found
    missing = {code: places[0] for code, places in raised.items() if code not in TOLD}
    assert not missing, f"explain in explanations/*.md: {missing}"
    assert not (left := set(TOLD) - set(raised)), f"nothing raises {sorted(left)}: take them out of explanations/"
    assert not FOUND.found.keys() & VERDICTS.found.keys()


@pytest.mark.parametrize("one", TOLD.values(), ids=lambda one: one.code)
def test_an_explanation_is_short(one: Explanation) -> None:
    assert len(one.meaning) <= 3 * 120 and len(one.change) <= 2 * 120 and one.example.count("\n") < 4
    assert one.meaning.endswith(".") and one.change.endswith(".")
    assert bool(one.example) != (one.code in WITHOUT)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that examples name; plug-ins are forgotten afterwards."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name, value in PLAIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("one", [x for x in TOLD.values() if x.example], ids=lambda one: one.code)
def test_an_example_raises_its_code(one: Explanation, folder: Path) -> None:
    """A command is run, unless a file test runs it; a session is run; other lines are in a file test of the code."""
    tests = [test for test in TESTS.values() if one.code in codes_told(test)]
    lines = one.example.splitlines()
    if one.example.startswith(">>> "):
        with pytest.raises(Diag) as caught:
            exec("\n".join(line.removeprefix(">>> ") for line in lines), {})
        assert caught.value.code == one.code
    elif not one.example.startswith("dfc "):
        files = [file.splitlines() for test in tests for file in (*test.files.values(), test.expected)]
        shown = [{line.strip() for line in file} for file in files]
        assert any({line.strip() for line in lines} <= file for file in shown), f"no file test has {lines}"
    elif shlex.split(one.example)[1:] not in [test.command for test in tests]:
        out, err = io.StringIO(), io.StringIO()
        with registry.apart(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(shlex.split(one.example)[1:]) in (1, 2)
        assert f"[{one.code}]" in err.getvalue(), err.getvalue()


# ---- the command -------------------------------------------------------------------------------


def test_explain_tells_one_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "bad-share"]) == 0
    one = TOLD["bad-share"]
    told = " ".join(capsys.readouterr().out.split())
    assert all(" ".join(text.split()) in told for text in (one.meaning, one.example, one.change))
    assert main(["explain"]) == 0
    listed = capsys.readouterr().out
    assert all(one.code in listed and one.group in listed for one in TOLD.values())
    assert main(["explain", "--json"]) == 0
    assert [x["code"] for x in json.loads(capsys.readouterr().out)] == list(TOLD)


def test_a_plug_in_explains_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(content.VARIABLE, "")
    page = tmp_path / "explanations" / "mine.md"
    page.parent.mkdir()
    page.write_text("# Mine\n\n## too-odd\n\nA size is odd.\n\n    y: [3]\n\nChange: an even one.\n", encoding="utf-8")
    assert main(["explain", "too-odd", "--plugins", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "too-odd\nA size is odd.\n\n    y: [3]\n\nChange: an even one.\n"
    page.write_text("# Mine\n## usage\nIt is mine.\nChange: nothing.\n", encoding="utf-8")
    assert main(["explain", "usage", "--plugins", str(tmp_path)]) == 2
    assert "error[duplicate-name]: `usage` is explained twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("# Mine\nThe chip.\n", 2, "belongs to no code"),
        ("## odd\nIt is odd.\nChange: an even one.\n", 1, "`odd` has no group"),
        ("# Mine\n## odd\nIt is odd.\n", 2, "`odd` has no `Change: ...`"),
        ("# Mine\n## odd\nChange: an even one.\n", 2, "`odd` has no meaning"),
        ("# Mine\n## Too odd\nIt is.\nChange: it.\n", 2, "`Too odd` is no code"),
    ],
)
def test_a_wrong_file_is_told(text: str, line: int, said: str) -> None:
    with pytest.raises(Diag) as caught:
        list(read(Source("mine.md", text)))
    assert caught.value.code == "bad-explanation" and said in caught.value.message
    assert caught.value.span and caught.value.span.line == line


# ---- the test of the test ----------------------------------------------------------------------

WAYS = {
    "raise Diag('a', 'x')": {"a"},
    "raise d.Infeasible('b', m)": {"b"},
    "raise Diag(message='x', code='c')": {"c"},
    "raise Diag('d' if x else 'e', 'x')": {"d", "e"},
    "for n in ('f', 'g'):\n    raise Diag(f'no-{n}', 'x')": {"no-f", "no-g"},
    "def f(code, m):\n    raise Diag(code, m)\nf('h', 1)\nf(m=2, code='i')": {"h", "i"},
    "class A:\n def f(self, code='j'):\n  raise Diag(code, m)\n def g(self):\n  self.f('k')": {"j", "k"},
    "T = {1: 'l', 2: 'm'}\nraise Diag(T[x], 'x')": {"l", "m"},
    "def f():\n    code, message = ('n', 1) if x else ('o', 2)\n    raise Diag(code, message)": {"n", "o"},
    "def f(kind):\n    return Diag('-'.join(('unknown', *kind.partition(' of ')[0].split())), 'x')\n"
    "f('a kind')\nf(f'value of {n}')": {"unknown-a-kind", "unknown-value"},
    "try:\n    f()\nexcept Diag as error:\n    raise Diag(error.code, 'x')": set(),
}
LOST = [
    "raise Diag(f'no-{n}', 'x')",
    "raise Diag(error.code, 'x')",
    "def f(code):\n    raise Diag(code, 'x')",
    "def f(code):\n    raise Diag(code, 'x')\nf(g())",
    "raise Diag(make('x'), 'x')",
    "raise Diag(*parts)",
    "try:\n    f()\nexcept OSError as error:\n    raise Diag(error.code, 'x')",
    "def unknown(kind):\n    return Diag(kind, 'x')\nother.unknown('a')",
]


@pytest.mark.parametrize("text", WAYS)
def test_codes_are_found_in_every_form(text: str) -> None:
    found = Codes([opened(Path("dfcompiler/a.py"), text)])
    assert (set(found.found), found.lost) == (WAYS[text], [])


@pytest.mark.parametrize("text", LOST)
def test_what_cannot_be_followed_is_told(text: str) -> None:
    found = Codes([opened(Path("dfcompiler/a.py"), text)])
    assert found.lost and not found.found
