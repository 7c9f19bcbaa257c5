"""`make demo` ends with the answer, where the report is, and commands to try next, which there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pytest

from dfcompiler import content
from dfcompiler.cli.arguments import parse


def test_the_demo_ends_by_naming_three_things() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(
        ["make", "-n", "demo"], cwd=content.root(), check=True, capture_output=True, text=True
    ).stdout
    written = re.findall(r" -o (\S+)$| report (\S+)$", shown, re.MULTILINE)
    answer, told, after = shown.partition("echo 'The answer:")[2].partition("The report:")
    folder = next(report for _, report in reversed(written) if report)
    assert told and f"dfc show {folder}" in answer and f"{folder}/report.html" in after
    tried = re.findall(r"^echo '  dfc (.+?)(?:  .*)?'$", after, re.MULTILINE)
    assert len(tried) >= 3 and "What to try next" in after
    for command in tried:
        words = shlex.split(command)
        assert words == ["--help"] or parse(words) is not None


def test_what_the_demo_compiles_is_what_the_answer_names() -> None:
    text = (content.root() / "Makefile").read_text(encoding="utf-8")
    made = {m[1] for m in re.finditer(r"-o (out/demo/\w+)$", text, re.MULTILINE)}
    named = set(re.findall(r"out/demo/\w+", text))
    assert named == made and "out/demo/mixed" in made
