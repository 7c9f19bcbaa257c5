"""Every file test holds, every pass has one, and so has every message that an input can cause."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from raised import Codes, sources

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.cli.filetest import FileTest, agrees, fits, outcome, read, updated
from dfcompiler.diagnostics import Diag

ROOT = content.root()
FILES = sorted((Path(__file__).parent / "files").rglob("*.test"))
TESTS = {path: read(path) for path in FILES}

# Codes that no file test can show, each with the reason.
EXEMPT = {
    "bad-test": "of the file tests themselves: below",
    "failed-tests": "of the file tests themselves: below",
    "bad-axes": "arrays of sizes are given from Python: tests/test_counting.py",
    "bad-operand": "values of tensors are given from Python: tests/test_semantics.py",
    "duplicate-part": "for chips made in Python; of a text the parser says `duplicate-name`",
    "duplicate-setting": "for chips made in Python; of a text the parser says `duplicate-name`",
    "bad-link": "for links made in Python; in a chip the axis refuses: tests/test_collectives.py",
    "bad-layout": "only a pass that splits wrongly makes such a graph: tests/test_sharding.py",
    "beyond-reticle": "a report then has no price, and a note: tests/test_economics.py",
    "bad-kernels": "files of templates/kernels are data of ours: tests/test_kernels.py",
    "unknown-kernels": "an axis refuses the name first: tests/test_kernels.py",
    "unknown-library": "an axis refuses the name first: tests/test_collectives.py",
    "unknown-topology": "an axis refuses the name first: tests/test_collectives.py",
    "no-replay": "it is caught where a tiling is audited, and counted there",
    "wrong-nest": "only a wrong price makes it: tests/test_nest.py",
    "not-text": "a file test is text: tests/test_text_files.py",
    **dict.fromkeys(
        ("bad-requests", "bad-step-table", "bad-engine", "bad-cluster", "bad-policy", "bad-bound", "no-numba"),
        "requests, tables and clusters are made in Python: tests/test_serving_input.py",
    ),
    **dict.fromkeys(("unknown-semantics",), "settings are made in Python: tests/test_serving_input.py"),
    "wrong-mapping": "only a file changed by hand is wrong: tests/test_check.py",
    "over-limit": "a limit of energy is given from Python: tests/test_objectives.py",
    "not-separable": "only an operator that no table could be made of: tests/test_serving_latency.py",
    **dict.fromkeys(("no-pyarrow", "no-pandas", "no-polars"), "a package is not there: tests/test_public.py"),
    **dict.fromkeys(("no-yaml", "no-onnx"), "it asks for a package that is not there"),
    **dict.fromkeys(
        ("unknown-data-type", "unknown-memory", "unknown-operand"), "files of other tools: tests/test_interchange*.py"
    ),
    **dict.fromkeys(
        (
            "bad-study",
            "cluster-differs",
            "damaged-study",
            "missing-extra",
            "no-cluster",
            "no-such-study",
            "study-differs",
            "study-exists",
            "study-in-use",
            "study-not-read",
            "study-not-written",
            "study-of-another-format",
            "study-of-another-space",
            "study-of-another-version",
            "worker-died",
        ),
        "of studies that others began, changed or hold: tests/test_studies.py, tests/test_cluster.py",
    ),
    **dict.fromkeys(
        (
            "bad-goals",
            "no-bound",
            "no-design",
            "too-many-systems",
            "unlike-designs",
            "unlike-pools",
            "wrong-front",
        ),
        "searches are made in Python: tests/test_samplers.py, test_perturbation.py, test_explore*.py, ...",
    ),
    "unknown-arrivals": "arrivals are named from Python, by an option each from the command line",
    "bad-core": "files of templates/rtl/cores are data of ours: tests/test_rtl_cores.py",
    **dict.fromkeys(("no-simulator", "too-large"), "it asks for Verilator: tests/test_rtl_mapping.py"),
    "rtl-*": "parameter packages are not written in text of ours: tests/test_rtl_*.py",
}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_file(path: Path, request: pytest.FixtureRequest) -> None:
    test = TESTS[path]
    printed = outcome(test, main, path.parent)
    assert not printed.endswith("=== exit 3\n"), printed
    if request.config.getoption("--update-files") and not agrees(test.expected, printed):
        path.write_text(updated(test, printed), encoding="utf-8")
        return
    if not agrees(test.expected, printed):
        assert printed == test.expected, f"{path} is out of date; `pytest --update-files` writes what is printed now"


# ---- completeness ------------------------------------------------------------------------------


def test_every_pass_has_a_file_test() -> None:
    ours = {n for n in registry.names("pass") if registry.lookup("pass", n).__module__.startswith(content.__name__)}
    missing = ours - {name for test in TESTS.values() for name in passes_named(test)}
    assert not missing, (
        f"no file test names the passes {sorted(missing)}: add tests/files/passes/NAME.test that begins with\n"
        "RUN dfc opt graph.dfir -p NAME\n--- graph.dfir\n... and run pytest --update-files tests/test_files.py"
    )


def passes_named(test: FileTest) -> Iterator[str]:
    """The passes that the command names itself."""
    options = ("-p", "--pipeline")
    texts = [b for a, b in zip(test.command, test.command[1:], strict=False) if a in options]
    yield from (name for text in texts for name in re.findall(r"[a-z][\w-]*", re.sub(r"\{[^}]*\}", "", text)))


def codes_told(test: FileTest) -> set[str]:
    """The codes of the messages that the test expects."""
    return set(re.findall(r"^(?:\S+: )?(?:error|infeasible)\[([\w-]+)\]", test.expected, re.MULTILINE))


@functools.cache
def codes() -> dict[str, str]:
    """Every code that the sources raise, and where."""
    return {code: places[0] for code, places in Codes(sources(ROOT)).found.items()}


def uncovered() -> dict[str, str]:
    """Codes without a file test and without a reason for that."""
    told = {code for test in TESTS.values() for code in codes_told(test)}
    return {
        code: where
        for code, where in codes().items()
        if code not in told and not any(fnmatchcase(code, x) for x in EXEMPT)
    }


def test_every_code_has_a_file_test() -> None:
    missing = uncovered()
    assert not missing, (
        "no file test shows these codes; add tests/files/errors/CODE.test and run pytest --update-files, or say in\n"
        "EXEMPT why there can be none:\n" + "\n".join(f"  {where}: {code}" for code, where in sorted(missing.items()))
    )


def test_no_exemption_is_left_over() -> None:
    told = {code for test in TESTS.values() for code in codes_told(test)}
    for exempt in EXEMPT:
        held = {code for code in codes() if fnmatchcase(code, exempt)}
        assert held, f"`{exempt}` exempts nothing"
        assert not held & told, f"`{exempt}` is exempt, but has a file test"


# ---- the tests of the tests --------------------------------------------------------------------

GRAPH = 'graph "g" {\n  input x: bf16 [4]\n  output x\n}\n'


def a_test(expected: str) -> FileTest:
    return FileTest(["opt", "g.dfir", "-p", "fuse-elementwise{max-chain=2}"], {"g.dfir": GRAPH}, expected)


def test_a_test_reads_as_it_is_written(tmp_path: Path) -> None:
    test = a_test(f"=== stdout\n{GRAPH}=== exit 1\n")
    (tmp_path / "a.test").write_text(test.head + test.expected)
    assert read(tmp_path / "a.test") == test
    (tmp_path / "b.test").write_text(test.head)
    assert read(tmp_path / "b.test") == a_test("")
    for text in ("dfc list", "RUN dfc 'list", ""):
        (tmp_path / "c.test").write_text(text)
        with pytest.raises(Diag) as caught:
            read(tmp_path / "c.test")
        assert caught.value.code == "bad-test"


def test_what_is_wrong_is_seen_and_can_be_updated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = a_test(f"=== stdout\n{GRAPH}")
    assert outcome(test, main, tmp_path) == test.expected
    path = tmp_path / "wrong.test"
    path.write_text(test.head + test.expected.replace("[4]", "[5]"))
    assert main(["test", str(path)]) == 1
    told = capsys.readouterr()
    assert "-  input x: bf16 [5]\n+  input x: bf16 [4]" in told.out and "[failed-tests]" in told.err
    assert main(["test", str(tmp_path), "--update"]) == 0
    assert path.read_text() == test.head + test.expected
    assert main(["test", str(path)]) == 0
    assert "1 of 1 file tests hold" in capsys.readouterr().out
    assert list(passes_named(test)) == ["fuse-elementwise"]


def test_dots_stand_for_any_text_of_a_line() -> None:
    assert fits("a ... c", "a  c") and fits("hint: known: ...", "hint: known: b") and not fits("a...", "b")
    assert agrees("a\n...\n", "a\nb\n") and not agrees("a\n...\n", "a\nb\nc\n") and not agrees("a.c\n", "abc\n")
    loose = a_test("=== stderr\nx ... z\n")
    assert updated(loose, "=== stderr\nx 2 z\nhint: known: p, q\n").endswith("\nx ... z\nhint: known: ...\n")


def test_codes_of_messages_are_seen() -> None:
    assert codes_told(a_test("=== stderr\ng:1:2: error[x-y]: z\ninfeasible[no]: z\nerror: [none]\n")) == {"x-y", "no"}
