"""A short run of tests/fuzz/run.py, and whether it would see what it is there to see. `make fuzz` runs it for long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfcompiler.diagnostics import Diag

FOLDER = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(FOLDER))

import run  # noqa: E402
import targets  # noqa: E402
import texts  # noqa: E402


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_a_short_run(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "run.py"), "--seconds", "12", "--inputs", "400", "--seed", "short"]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inputs of seed short, all well" in done.stdout


def test_equal_seeds_give_equal_texts_of_every_kind() -> None:
    inputs = [run.draw("seed", n) for n in range(300)]
    assert inputs == [run.draw("seed", n) for n in range(300)]
    assert inputs != [run.draw("other", n) for n in range(300)]
    assert {kind for kind, _ in inputs} == set(targets.TARGETS) == set(targets.WEIGHTS)


@pytest.mark.parametrize("start", ["op", "model", "graph", "chip", "one_setting"])
def test_the_grammar_grows_texts_that_parse(start: str) -> None:
    """Most of what is grown parses, so that later stages see it too."""
    good = 0
    for seed in range(60):
        try:
            if start == "one_setting":
                targets.parse_setting(targets.Source("t", texts.grown(start, texts.Random(seed))))
            else:
                targets.parse_items(targets.Source("t", texts.grown(start, texts.Random(seed))))
            good += 1
        except Diag as error:
            assert error.code in ("syntax", "duplicate-name")
    assert good >= 10


def test_shipped_texts_are_well(here: Path) -> None:
    for graph in targets.GRAPHS:
        targets.graph(graph)
    for text in texts.shipped("op"):
        targets.op(text)
    targets.chip(targets.CHIP)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda text: 1 // 0, "ZeroDivisionError"),
        (lambda text: exec("while True: pass"), "more than"),
        (lambda text: [].__getitem__(0), "IndexError"),
        (lambda text: __import__("warnings").warn("odd", stacklevel=1), "UserWarning"),
        (lambda text: (lambda f: f(f))(lambda f: f(f)), "RecursionError"),
    ],
    ids=["error", "hang", "index", "warning", "recursion"],
)
def test_what_is_wrong_is_seen(fault: object, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "INPUT_S", 0.3)
    monkeypatch.setitem(targets.TARGETS, "op", fault)
    assert said in (run.attempt("op", "") or "")


def test_our_own_errors_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(text: str) -> None:
        raise Diag("syntax", "no")

    monkeypatch.setitem(targets.TARGETS, "op", refused)
    assert run.attempt("op", "") is None


@pytest.mark.parametrize(
    ("fault", "said"), [("bytearray(1 << 40)", "MemoryError"), ("os.kill(os.getpid(), 9)", "dies")]
)
def test_a_process_that_grows_or_dies_is_seen(tmp_path: Path, fault: str, said: str) -> None:
    (tmp_path / "broken.py").write_text(
        f"import os, sys\nsys.path.insert(0, {str(FOLDER)!r})\nimport run, targets\n"
        f"run.__file__ = __file__\ntargets.TARGETS = {{k: lambda text: {fault} for k in targets.TARGETS}}\n"
        "run.MOST_FAILURES = 3\nsys.exit(run.main())\n"
    )
    command = [sys.executable, str(tmp_path / "broken.py"), "--seconds", "20", "--inputs", "3", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and said in done.stdout and "--only 0" in done.stdout
