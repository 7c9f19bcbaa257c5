"""README.md and CONTRIBUTING.md tell the truth: commands run, outputs are what is printed, files exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.cli.arguments import COMMANDS
from dfcompiler.diagnostics import Diag

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# What a text puts in the place of something else: `dfc compile MODEL`, `-o ...`.
PLACEHOLDER = re.compile(r"\b[A-Z]{2,}\b|\.\.\.")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh = load(ROOT / "docs" / "refresh.py")
CONSOLE: list[tuple[str, str]] = [(m[1], m[2]) for m in refresh.BLOCK.finditer(TEXTS["README.md"])]


def scripts(page: str) -> list[str]:
    """The lines of the blocks marked `sh`, without comments."""
    blocks = (body for kind, body in FENCE.findall(TEXTS[page]) if kind == "sh")
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def mentioned(page: str, program: str) -> Iterator[str]:
    """Commands in running text and in blocks."""
    yield from (c for c in CODE.findall(FENCE.sub("", TEXTS[page])) if c.split()[0] == program)
    yield from (line for line in scripts(page) if line.split()[0] == program)


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user in which the files of CONTRIBUTING.md are in `mine/`; plug-ins are forgotten afterwards."""
    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setenv(content.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    for name, body in whole_files().items():
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")
    return tmp_path


def whole_files() -> dict[str, str]:
    """The files that CONTRIBUTING.md prints: a line with the path alone, then a block."""
    found = re.findall(r"^`([\w/.]+)`\n```\w*\n(.*?)^```$", TEXTS["CONTRIBUTING.md"], re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_in_the_order_of_the_page(page: str, user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [shlex.split(line, comments=True) for line in scripts(page)]
    ours = [c[1:] for c in commands if c[0] == "dfc"]
    assert ours and all(c[0] in ("dfc", "make") for c in commands)
    for command in ours:
        assert main(command) == 0, f"dfc {shlex.join(command)}\n{capsys.readouterr().err}"


@pytest.mark.parametrize("command", [c for page in PAGES for c in mentioned(page, "dfc")])
def test_a_mentioned_command_is_one(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert not words or words[0] in COMMANDS or words[0].startswith("-") or PLACEHOLDER.search(command)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("command", sorted({c.partition("#")[0] for page in PAGES for c in mentioned(page, "make")}))
def test_a_mentioned_target_is_one(command: str) -> None:
    subprocess.run(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize(("command", "printed"), CONSOLE, ids=[c for c, _ in CONSOLE])
def test_an_output_is_what_is_printed(command: str, printed: str) -> None:
    def lasting(text: str) -> list[str]:
        return re.sub(r"^search .*\n(?: +.*\n)*", "", f"{text}\n", flags=re.MULTILINE).splitlines()

    assert lasting(printed) == lasting(refresh.shown(command, printed)), "README.md is out of date: `make docs`"


def test_every_output_is_compared() -> None:
    assert len(CONSOLE) == TEXTS["README.md"].count("```console") > 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    for target in LINK.findall(TEXTS[page]):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_text_exist(page: str) -> None:
    tops = ("dfcompiler", "ir", "templates", "passes", "policies", "explanations", "tests", "benchmarks", "docs", ".ci")
    # Written by a command, there in a wheel only, or written by the reader.
    theirs = {"benchmarks/RESULTS.md", "dfcompiler/_content/", *whole_files()}
    for word in CODE.findall(FENCE.sub("", TEXTS[page])):
        if word.split("/")[0] in tops and "/" in word and word not in theirs:
            assert (ROOT / word).exists() or list(ROOT.glob(word)), word


def test_the_example_pass_does_what_it_says(user: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = ("compile", "llama3-8b", "--on", "ador", "--phase", "decode", "--plugins", "mine", "--print-after-all")
    for kept, passes in ((True, ""), (False, ",keep-apart{op=silu_mul}")):
        assert main([*start, "--pipeline", f"lower-model,fuse-elementwise{passes},tile,map-greedy"]) == 0
        printed = capsys.readouterr().err
        assert ("offer fuse-elementwise: u, m" in printed.rpartition("# after tile")[2]) is kept


def test_a_bad_example_would_be_noticed(user: Path) -> None:
    path = user / "mine" / "passes" / "keep_apart.py"
    path.write_text(path.read_text(encoding="utf-8").replace("Graph:", "Graf:"), encoding="utf-8")
    content.use([user / "mine"])
    with pytest.raises(Diag):
        registry.load()
