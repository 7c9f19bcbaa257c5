"""Run the commands that README.md shows with their output, write what they print now, and draw its picture.

A block of README.md that is marked `console` holds a command behind `$ ` and then what it prints on a terminal of
`COLUMNS` columns. A last line `...` says that the rest is left out; as many lines are shown as were before.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from dfcompiler.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COLUMNS = 100
BLOCK = re.compile(r"(?<=^```console\n)\$ (dfc .*)\n((?:(?!```).*\n)*)(?=```$)", re.MULTILINE)
REST = "...\n"


def output(command: str) -> str:
    """What `dfc ...` prints, lines without blanks at their ends; raises RuntimeError where it fails."""
    printed = io.StringIO()
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ |= {"COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
    try:
        with contextlib.redirect_stdout(printed):
            code = main(shlex.split(command)[1:])
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    if code:
        raise RuntimeError(f"`{command}` ended with {code}")
    return "".join(f"{line.rstrip()}\n" for line in printed.getvalue().splitlines())


def shown(command: str, before: str) -> str:
    """The output of a command, cut where it was cut before."""
    lines = output(command).splitlines(keepends=True)
    if before.endswith(REST):
        lines = [*lines[: before.count("\n") - 1], REST]
    return "".join(lines)


def refresh() -> None:
    """Write README.md and docs/schedule.svg."""
    text = README.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda block: f"$ {block[1]}\n{shown(block[1], block[2])}", text)
    README.write_text(text, encoding="utf-8")
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "picture.py")], check=True)


if __name__ == "__main__":
    refresh()
