"""File tests: input, command and expected text side by side in one file.

    RUN dfc opt graph.dfir -p fuse-elementwise      the command, in a folder that holds the files below
    --- graph.dfir                                  a file, up to the next line that begins so
    ...
    === stdout                                      what the command prints; `=== stderr` follows where it is
    ...                                             not empty, and `=== exit 2` where it does not end with 0

The whole text counts. `...` in an expected line stands for any text on that line. An update writes what is printed
now, and keeps the lines with `...` that still fit.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag, Span
from dfcompiler.text.parse import read_source

Main: TypeAlias = Callable[[list[str]], int]

REST = "..."
SECTION = re.compile(r"^(---|===) (.+)\n", re.MULTILINE)
GROWS = re.compile(r"(?<=\bknown: ).+|(?<=^ir/)[\w/.]+:\d+:\d+")  # lists of content, and places in ours
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "FORCE_COLOR": "", content.VARIABLE: "", "DFC_DEBUG": ""}


@dataclass(frozen=True)
class FileTest:
    """A file test; `expected` is everything from the first `===` on."""

    command: list[str]
    files: dict[str, str]
    expected: str

    @property
    def head(self) -> str:
        return f"RUN dfc {shlex.join(self.command)}\n" + "".join(f"--- {n}\n{t}" for n, t in self.files.items())


def read(path: Path) -> FileTest:
    """The test in a file; raises Diag `bad-test` where it is none, and what `read_source` raises."""
    source = read_source(path)
    start = source.text.find("\n=== ") + 1 or len(source.text)
    head, *pieces = SECTION.split(source.text[:start])
    try:
        command = shlex.split(head)
    except ValueError as error:
        raise Diag("bad-test", f"the command cannot be read: {error}", Span(source, 1, 1, 2)) from None
    if command[:2] != ["RUN", "dfc"] or pieces[::3] != ["---"] * (len(pieces) // 3):
        hint = "after it come files, each behind `--- NAME`, and what is expected, behind `=== stdout`"
        raise Diag("bad-test", "a file test begins with `RUN dfc ...`", Span(source, 1, 1, 2), hint=hint)
    return FileTest(command[2:], dict(zip(pieces[1::3], pieces[2::3], strict=True)), source.text[start:])


def outcome(test: FileTest, main: Main, base: Path) -> str:
    """What the command of a test prints, and how it ends, in the words of a test file.

    `main` runs a command. Paths below `base`, the folder of the test, may be named in it by `{here}`.
    """
    out, err = io.StringIO(), io.StringIO()
    with _inside() as folder, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name, text in test.files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(text, encoding="utf-8")
        code = main([word.replace("{here}", str(base)) for word in test.command])
    errors = err.getvalue()
    told = f"=== stdout\n{out.getvalue()}" if out.getvalue() else ""
    told += f"=== stderr\n{errors}" if errors else ""
    told += f"=== exit {code}\n" if code else ""
    for place, said in ((f"{folder}{os.sep}", ""), (str(base), "{here}")):
        told = told.replace(place, said)
    return "".join(f"{line.rstrip()}\n" for line in told.splitlines())


@contextlib.contextmanager
def _inside() -> Iterator[Path]:
    """Work in a new folder, in an environment that changes no output; plug-ins that come in are forgotten."""
    before, kept = Path.cwd(), {name: os.environ.get(name) for name in PLAIN}
    with tempfile.TemporaryDirectory() as made, registry.apart():
        folder = Path(os.path.realpath(made), "test")  # a model is called like its folder
        folder.mkdir()
        os.chdir(folder)
        os.environ.update(PLAIN)
        try:
            yield folder
        finally:
            os.chdir(before)
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def agrees(expected: str, printed: str) -> bool:
    """Whether a text is what is expected, line by line."""
    lines = expected.splitlines(), printed.splitlines()
    return len(lines[0]) == len(lines[1]) and all(map(fits, *lines))


def fits(expected: str, line: str) -> bool:
    """Whether a line is what is expected; `...` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.split(REST)))
    return line == expected or bool(re.fullmatch(pattern, line))


def updated(test: FileTest, printed: str) -> str:
    """The text of the test that expects what is printed now."""
    loose = [line for line in test.expected.splitlines() if REST in line]
    lines = (next((x for x in loose if fits(x, line)), GROWS.sub(REST, line)) for line in printed.splitlines())
    return test.head + "".join(f"{line}\n" for line in lines)
