"""Completion: the words that may come next, and that each shell asks for them."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfcompiler import names
from dfcompiler.cli import main
from dfcompiler.cli.arguments import COMMANDS, parser_of
from dfcompiler.cli.completion import SCRIPTS, VALUES, next_words

CASES = {
    "ser": {"serve"},
    "--v": {"--version"},
    "nothing ": set(),
    "compile llama3-8": {"llama3-8b"},
    "compile llama3-8b --on ado": {"ador"},
    "compile llama3-8b --on ador --ph": {"--phase"},
    "compile llama3-8b --phase ": {"prefill", "decode", "mixed"},
    "compile --phase decode llama3-8": {"llama3-8b"},
    "compile llama3-8b --verify --on ado": {"ador"},
    "compile llama3-8b --pipeline tile,map-i": {"tile,map-ilp"},
    "compile llama3-8b --on ador --set hbm.cap": {"hbm.capacity="},
    "compile llama3-8b --on ador --without m": {"mt"},
    "compile llama3-8b --on nothing --set hbm": set(),
    "compile llama3-8b -o ": set(),
    "compile llama3-8b --objective ed": {"edp"},
    "show matmu": {"matmul"},
    "price linea": {"linear"},
    "serve llama3-8b --policy fc": {"fcfs"},
    "serve llama3-8b --router round": {"round-robin"},
    "rtl --style t": {"typed"},
    "explore llms": {"llmshare"},
    "explore ador --prices s": {"static"},
    "explore ador --sampler rand": {"random"},
    "explore ador --engine r": {"ray"},
    "serve llama3-8b --semantics or": {"orca"},
    "serve llama3-8b --simulator j": {"jump"},
    "show ador --kind sp": {"spaces"},
    "explain no-map": {"no-mapping"},
    "list chi": {"chips"},
    "completion f": {"fish"},
}


@pytest.mark.parametrize("line", CASES)
def test_what_may_come_next(line: str) -> None:
    assert set(next_words(line.split(" "))) == CASES[line]


def test_every_command_and_name_is_offered() -> None:
    assert set(next_words([""])) == set(COMMANDS)
    assert set(next_words(["compile", ""])) == set(names("models"))
    assert set(next_words(["compile", "x", "--on", ""])) == set(names("chips"))
    assert set(next_words(["opt", "x", "-p", ""])) == {*names("passes"), *names("pipelines")}
    assert {*names("ops"), *names("templates"), *names("chips")} <= set(next_words(["show", ""]))


def test_values_are_those_of_options() -> None:
    known = {action.dest for name in COMMANDS for action in parser_of(name)._actions}
    assert set(VALUES) <= known


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fsh"]) == 2
    assert "did you mean `fish`?" in capsys.readouterr().err


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment with `dfc` on its path."""
    path = tmp_path / "dfc"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dfcompiler "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    roots = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[1]))))
    return os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": roots}


# What a shell runs to complete `dfc compile llama3-8b --on ado`, and `dfc comple`.
ASKED = {
    "bash": 'eval "$(dfc completion bash)"; for line in "compile llama3-8b --on ado" comple; do'
    ' COMP_WORDS=(dfc $line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _dfc; echo "${COMPREPLY[@]}"; done',
    "zsh": "compdef() { }; source <(dfc completion zsh); _describe() { print -l -- ${(P)3} }; _files() { };"
    " words=(dfc compile llama3-8b --on ado); CURRENT=5; _dfc; words=(dfc comple); CURRENT=2; _dfc",
    "fish": 'dfc completion fish | source; complete -C "dfc compile llama3-8b --on ado"; complete -C "dfc comple"',
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_completes(shell: str, program: dict[str, str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, "-c", ASKED[shell]], env=program, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ador") and lines[1].startswith("completion") and len(lines) == 2, done
    assert ("GB" in lines[0]) == (shell != "bash")  # the others show a line about each
