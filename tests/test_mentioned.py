"""Every `dfc` command that a page mentions is one: its options are those of the command, and its names are known.

Blocks marked `sh`, `console` and `pycon` are run (tests/test_readme.py, tests/test_docs.py). These are the others:
blocks of commands that take minutes, and commands in running text, of which some stand for many (`dfc compile MODEL`).
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfcompiler import names
from dfcompiler.cli.arguments import COMMANDS, parse, parser_of
from dfcompiler.diagnostics import Diag

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`(dfc [^`\n]+)`")
ENDINGS = (".json", ".dfm", ".dfir", ".chip", ".space", ".csv", ".yaml", ".onnx", ".html")
# What a text puts in the place of something else: `dfc compile MODEL`, `-o ...`.
OPEN = re.compile(r"\b[A-Z]{2,}\b|\.\.\.|\bN\b")


def mentioned(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    for kind, body in FENCE.findall(text):
        if not kind:
            yield from (line for line in body.splitlines() if line.startswith("dfc "))
    yield from CODE.findall(FENCE.sub("", text))


CASES = [(page, command) for page in PAGES for command in dict.fromkeys(mentioned(page))]


@pytest.mark.parametrize(("page", "command"), CASES, ids=[f"{page.stem}: {command}" for page, command in CASES])
def test_a_mentioned_command_can_be_typed(page: Path, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    if words[0].startswith("-") or words[0] == "COMMAND":
        return
    assert words[0] in COMMANDS
    known = {text for action in parser_of(words[0])._actions for text in action.option_strings}
    assert known.issuperset(w.partition("=")[0] for w in words if w.startswith("-") and w != "-"), command
    if OPEN.search(command) or "--help" in words:
        return
    try:
        args = parse(words)
    except Diag as error:
        if error.code != "usage":  # a command in running text may leave out what it is about
            raise
        return
    assert args is not None
    for name, of in wanted(args):
        assert name in names(of) or name.endswith(ENDINGS) or "/" in name, command


def wanted(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Names that must be known, with what they are names of."""
    for place, of in (("model", "models"), ("space", "spaces"), ("chip", "chips")):
        if isinstance(value := getattr(args, place, None), str):
            yield value, of
    for name in (getattr(args, "on", None) or "").split(","):
        if name:
            yield name, "chips"


def test_pages_mention_commands() -> None:
    """So that the cases above are some, and a wrong one is noticed."""
    assert len(CASES) > 60 and {page.name for page, _ in CASES} >= {"README.md", "serving.md", "explore.md"}
    for wrong in ("dfc explor ador", "dfc compile llama3-8b --on adorn", "dfc serve llama3-8b --on ador --posson 5"):
        with pytest.raises((AssertionError, Diag)):
            test_a_mentioned_command_can_be_typed(ROOT, wrong)
