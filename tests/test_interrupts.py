"""Ctrl-C and refusing file systems: one line, an exit code, and no file that is half written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfcompiler.diagnostics import Diag
from dfcompiler.writing import check_writable, make_folder, whole, write_text

# A program that never ends by itself: pigeons that do not fit, without what would see it at once.
SOLVE = """
from ortools.sat.python import cp_model
from dfcompiler.ilp import _run
model = cp_model.CpModel()
bits = [[model.new_bool_var('') for _ in range(13)] for _ in range(14)]
for pigeon in bits:
    model.add_bool_or(pigeon)
for hole in zip(*bits):
    for i, a in enumerate(hole):
        for b in hole[:i]:
            model.add_bool_or(a.negated(), b.negated())
solver = cp_model.CpSolver()
solver.parameters.num_workers = 1
solver.parameters.cp_model_presolve = False
solver.parameters.symmetry_level = 0
solver.parameters.max_time_in_seconds = 300
print('begun', flush=True)
_run(solver, model)
"""
NAP = """
import sys, time
from dfcompiler.cli import main, opt
def run(args):
    print('begun', flush=True)
    time.sleep(300)
opt.run = run
sys.exit(main(['opt', 'x', '-p', 'tile']))
"""


def interrupted(code: str, after_s: float) -> tuple[int, str, float]:
    """Exit code, stderr, and the seconds from Ctrl-C to the end."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(after_s)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        error = process.communicate(timeout=100)[1]
    return process.returncode, error, time.monotonic() - start


def test_a_command_ends_with_one_line() -> None:
    code, error, _ = interrupted(NAP, 0.2)
    assert (code, error) == (130, "dfc: interrupted\n")


def test_the_solver_is_stopped() -> None:
    code, error, took_s = interrupted(SOLVE, 2.0)
    assert code != 0 and error.rstrip().endswith("KeyboardInterrupt") and took_s < 60


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_cut_off_leaves_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_text(path, "old\n")
    with pytest.raises(error), whole(path) as partial:
        partial.write_text("half", encoding="utf-8")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"] and path.read_text(encoding="utf-8") == "old\n"
    write_text(path, "new\n")
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"] and path.read_text(encoding="utf-8") == "new\n"


def test_a_file_system_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for refused in (
        lambda: write_text(tmp_path / "nowhere" / "x", ""),
        lambda: make_folder(tmp_path / "file"),
        lambda: make_folder(tmp_path / "file" / "x"),
        lambda: check_writable(tmp_path / "file" / "x"),
    ):
        with pytest.raises(Diag) as caught:
            refused()
        assert caught.value.code == "bad-output" and caught.value.hint
    make_folder(tmp_path / "a" / "b")
    check_writable(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b").is_dir()
