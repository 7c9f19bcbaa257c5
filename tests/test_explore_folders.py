"""`dfc explore` on folders that are not its own: every wrong one is refused in words, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_bad_input import CHIP

from dfcompiler.cli import main

SPACE = """space s {
  pool chip on "small.chip" {
    axis side = 8, 16, 32
    set sa.rows = side
    limit die_mm2 <= 1000
  }
  minimize area = die_mm2
}
"""
HOLD = """import sys
from pathlib import Path
from dfcompiler.explore.occupancy import Occupancy
Occupancy(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a space, and a study of it in `out`; nothing is mapped for an area."""
    (tmp_path / "small.chip").write_text(CHIP)
    (tmp_path / "s.space").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    assert explored() == 0
    capsys.readouterr()
    return tmp_path


def explored(*more: str, out: str = "out") -> int:
    return main(["explore", "s.space", "--workers", "1", "-o", out, *more])


def results(out: Path) -> list[Any]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_study_that_is_done_evaluates_nothing_again(here: Path) -> None:
    before = results(here / "out")
    assert explored("--resume") == 0
    assert results(here / "out") == before and sum("point" in r for r in before) == 3


@pytest.mark.parametrize(
    ("change", "more", "code", "words"),
    [
        ("16, 32", ["--resume"], "study-of-another-space", "only there: axis side = 8, 16, 32"),
        ("program", ["--resume"], "study-of-another-version", "0.0.1"),
        ("format", ["--resume"], "study-of-another-format", "99"),
        ("", ["--resume", "--seed", "3"], "study-differs", "seed 0, not 3"),
        ("", ["--resume", "--sampler", "random"], "study-differs", "sampler"),
        ("", [], "study-exists", "holds a study already"),
    ],
)
def test_a_folder_of_another_study_is_refused(
    here: Path, change: str, more: list[str], code: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (here / "out" / "results.jsonl").read_bytes()
    if change in ("program", "format"):
        path = here / "out" / "study.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {change: "0.0.1" if change == "program" else 99}))
    elif change:
        (here / "s.space").write_text(SPACE.replace(change, "16, 64"))
    assert explored(*more) == 2
    told = capsys.readouterr().err
    assert f"[{code}]" in told and words in told
    assert (here / "out" / "results.jsonl").read_bytes() == before


def test_two_processes_do_not_work_on_one_study(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-c", HOLD, str(here / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert explored("--resume") == 2
        told = capsys.readouterr().err
        assert "[study-in-use]" in told and str(other.pid) in told
        other.communicate("")
    assert explored("--resume") == 0, "what a process held goes with it"


def full(*args: object, **rest: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_ends_a_study_that_can_be_resumed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, write = [2], os.pwrite

    def filling(file: int, data: bytes, at: int) -> int:
        if b'"point":' in data:
            kept[0] -= 1
            if kept[0] < 1:
                full()
        return write(file, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["dfcompiler.explore.evaluation"], "SLICE_S", 0.0)  # an answer at a time
        patch.setattr(os, "pwrite", filling)
        assert explored(out="new") == 2
    told = capsys.readouterr().err
    assert "[study-not-written]" in told and "No space left on device" in told and "--resume" in told
    assert sum("point" in r for r in results(here / "new")) == 1
    assert explored("--resume", out="new") == 0
    assert sum("point" in r for r in results(here / "new")) == 3
    fronts = [json.loads((here / name / "front.json").read_text())["front"] for name in ("out", "new")]
    assert fronts[0] == fronts[1]


def test_a_disk_too_full_for_the_front_is_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert explored("--resume") == 2
    told = capsys.readouterr().err
    assert "[bad-output]" in told and "No space left on device" in told
