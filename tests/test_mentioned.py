"""Every `dfc` command that a page mentions is one: its options are those of the command, and its names are known.

Blocks marked `sh`, `console` and `pycon` are run (tests/test_readme.py, tests/test_docs.py). These are the others:
blocks of commands that take minutes, which `make pages` runs, and commands in running text, of which some stand for
many (`dfc compile MODEL`).
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfcompiler import names
from dfcompiler.cli import main
from dfcompiler.cli.arguments import COMMANDS, parse, parser_of
from dfcompiler.diagnostics import Diag

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`(dfc [^`\n]+)`")
ENDINGS = (".json", ".dfm", ".dfir", ".chip", ".space", ".csv", ".yaml", ".onnx", ".html")
# What a text puts in the place of something else: `dfc compile MODEL`, `-o ...`.
OPEN = re.compile(r"\b[A-Z]{2,}\b|\.\.\.|\bN\b")


TRACE = Path(os.environ.get("DFC_DATA", ROOT.parent / "shared" / "data"), "azure", "AzureLLMInferenceTrace_conv.csv")
MEASURED = "kernels.md"  # its commands read what a GPU was measured to take


def in_blocks(page: Path) -> list[str]:
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    return [line for kind, body in blocks if not kind for line in body.splitlines() if line.startswith("dfc ")]


def mentioned(page: Path) -> list[str]:
    return in_blocks(page) + CODE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


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


@pytest.mark.skipif("DFC_PAGES" not in os.environ, reason="these commands take minutes: `make pages`")
@pytest.mark.parametrize("page", [p for p in PAGES if in_blocks(p) and p.name != MEASURED], ids=lambda p: p.name)
def test_commands_that_take_minutes(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if TRACE.name in page.read_text(encoding="utf-8"):
        if not TRACE.is_file():
            pytest.skip(f"there is no {TRACE.name} in DFC_DATA")
        (tmp_path / TRACE.name).symlink_to(TRACE)
    for command in in_blocks(page):
        assert main(shlex.split(command, comments=True)[1:]) == 0, f"{command}\n{capsys.readouterr().err}"


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
