"""The site: every page is in the reading order, every declaration has its page of reference, every link leads
somewhere, and MkDocs builds it without a warning."""

from __future__ import annotations

import importlib.util
import json
import posixpath
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from dfcompiler import registry
from dfcompiler.hardware.elaboration import chip_names
from dfcompiler.models import library
from dfcompiler.pipeline import PIPELINES, options

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"site_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses ask for it
    spec.loader.exec_module(module)
    return module


site, peers = load(DOCS / "site.py"), load(DOCS / "peers.py")
sys.path.insert(0, str(ROOT / "benchmarks"))
baseline = load(ROOT / "benchmarks" / "baseline.py")


@pytest.fixture(scope="module")
def extra() -> dict[str, str]:
    pages: dict[str, str] = site.extra_pages()
    return pages


def settings() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def order(nav: Any) -> list[str]:
    """The pages of a navigation, in reading order."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in order(part)]


def test_every_page_is_in_the_reading_order(extra: dict[str, str]) -> None:
    listed = order(settings()["nav"])
    assert len(set(listed)) == len(listed)
    ours = {p.name for p in DOCS.glob("*.md")}
    assert ours <= set(listed), f"add {sorted(ours - set(listed))} to nav of mkdocs.yml, where a reader can follow them"
    for page in listed:
        assert page in extra or (DOCS / page).is_file(), page


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    notes = [p for p in (DOCS / "decisions").glob("*.md") if p.name != "index.md"]
    assert notes
    for path in notes:
        text = path.read_text(encoding="utf-8")
        assert f"({path.name})" in listed
        assert "**Decided.**" in text and "**Held by.**" in text and text.count("\n") < 60


def test_no_page_names_a_machine(extra: dict[str, str]) -> None:
    own = {str(p): p.read_text(encoding="utf-8") for p in DOCS.rglob("*.md")}
    for path, text in (own | extra).items():
        assert not (found := re.search(r"(?<![\w.])/(?:tmp|root|home|usr)/\S*", text)), f"{path}: {found[0]}"


# ---- reference ---------------------------------------------------------------------------------


def test_every_declaration_has_its_page(extra: dict[str, str]) -> None:
    wanted = {f"reference/chips/{n}.md" for n in chip_names()}
    for kind, folder in (("template", "templates"), ("pass", "passes"), ("policy", "policies")):
        wanted |= {f"reference/{folder}/{n}.md" for n in registry.names(kind)}
    assert wanted <= set(extra)
    for path in wanted:
        assert f"({path.removeprefix('reference/')})" in extra["reference/index.md"]


@pytest.mark.parametrize("name", registry.names("template"))
def test_a_template_page_has_every_axis(extra: dict[str, str], name: str) -> None:
    page = extra[f"reference/templates/{name}.md"]
    for axis in registry.lookup("template", name).axes():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{axis.text_name}` |"))
        assert axis.doc.replace("|", "\\|") in row and axis.legal.describe() in row


@pytest.mark.parametrize("name", chip_names())
def test_a_chip_page_has_its_file(extra: dict[str, str], name: str) -> None:
    page = extra[f"reference/chips/{name}.md"]
    text = (ROOT / "templates" / "chips" / f"{name}.chip").read_text(encoding="utf-8")
    assert text.strip() in page and "| area |" in page


@pytest.mark.parametrize("name", registry.names("pass"))
def test_a_pass_page_has_every_option(extra: dict[str, str], name: str) -> None:
    page = extra[f"reference/passes/{name}.md"]
    for option, wants, default in options(registry.lookup("pass", name)):
        assert f"| `{option}` | {wants} | {default} |" in page


def test_operators_and_pipelines(extra: dict[str, str]) -> None:
    assert re.findall(r"^## (\w+)$", extra["reference/operators.md"], re.MULTILINE) == sorted(library().ops)
    assert all(text in extra["reference/pipelines.md"] for text in PIPELINES.values())


# ---- links -------------------------------------------------------------------------------------


def test_links_of_the_site_lead_somewhere(extra: dict[str, str]) -> None:
    own = {p.relative_to(DOCS).as_posix(): p.read_text(encoding="utf-8") for p in DOCS.rglob("*.md")}
    every, seen = own | extra, 0
    for path, text in every.items():
        made, sources = site.linked(text, site._place(path))
        for target in re.findall(r"\]\(([^)\s#]+)", made):
            if "://" in target:
                continue
            there = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            assert there in every or there in sources or (DOCS / there).is_file(), f"{path} -> {target}"
            seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    ("text", "at", "made"),
    [
        ("[a](mapping.md#certificates)", "docs/kernels.md", "[a](mapping.md#certificates)"),
        ("[a](../README.md)", "docs/index.md", "[a](source/README.md.txt)"),
        ("[a](../benchmarks/VALIDATION.md)", "docs/peers.md", "[a](validation.md)"),
        ("[a](../dfcompiler/nest.py)", "docs/cost-model.md", "[a](source/dfcompiler/nest.py.txt)"),
        ("[a](../language.md)", "docs/decisions/checker.md", "[a](../language.md)"),
        ("[a](docs/language.md)", "CONTRIBUTING.md", "[a](language.md)"),
        ("[a](https://example.org/x)", "docs/x.md", "[a](https://example.org/x)"),
        ("see [the folder](../dfcompiler/check).", "docs/x.md", "see the folder."),
    ],
)
def test_links_are_moved(text: str, at: str, made: str) -> None:
    assert site.linked(text, at)[0] == made


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="mkdocs is an extra")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    made = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.html")}
    assert {"index.html", "tutorial/index.html", "reference/chips/ador/index.html"} <= made
    outside = re.compile(r'(?:src|href)="https?://[^"]+\.(?:js|css)"')
    assert not any(outside.search(p.read_text(encoding="utf-8")) for p in tmp_path.rglob("*.html"))


def test_jobs_name_commands_that_are_there() -> None:
    jobs = tomllib.loads((ROOT / ".ci" / "jobs.toml").read_text(encoding="utf-8"))
    assert {"check", "newcomer"} <= set(jobs)
    for job in jobs.values():
        program, *targets = job["command"].split()
        if program == "make":
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            assert targets and all(re.search(rf"^{t}:", makefile, re.MULTILINE) for t in targets)
        else:
            assert (ROOT / program).stat().st_mode & 0o111, program


# ---- figures -----------------------------------------------------------------------------------


def test_the_comparison_of_steps_is_current() -> None:
    page = (DOCS / "peers.md").read_text(encoding="utf-8")
    for line in peers.rows(peers.CASES[0]):
        assert line in page, "docs/peers.md is out of date: `make docs`"
    assert page.count("| prefill 2048 |") == len(peers.CASES)


RESULTS = """\
# Results

Written by `make bench`. Python 3.13, on a machine.

## One

| what  | size | CPU s | gap    | verdict |
|-------|------|-------|--------|---------|
| a b   | 10   | 1.50  | 0.00%  | holds   |
| c     | 20   | 2,000 | 1.25 % | holds   |
"""


def test_figures_of_a_page() -> None:
    assert baseline.figures(RESULTS) == {
        "One / a b / size": 10,
        "One / a b / CPU s": 1.5,
        "One / a b / gap": 0,
        "One / c / size": 20,
        "One / c / CPU s": 2000,
        "One / c / gap": 1.25,
    }
    assert baseline.machine(RESULTS) == "Python 3.13, on a machine."


def test_a_page_is_compared_with_a_baseline() -> None:
    kept = {"machine": "m.", "figures": baseline.figures(RESULTS)}
    now = RESULTS.replace("1.50", "3.00").replace("| c ", "| d ")
    told = baseline.compared(now, kept)
    (row,) = (line for line in told.splitlines() if "CPU s" in line)
    assert [c.strip() for c in row.strip("|").split("|")] == ["One: a b: CPU s", "1.5", "3", "2.00"]
    assert "3 are new, 3 are gone" in told
    assert baseline.figures(now + told) == baseline.figures(now)


def test_the_baseline_is_one() -> None:
    kept = json.loads(baseline.BASELINE.read_text(encoding="utf-8"))
    assert kept["machine"].startswith("Python 3.") and len(kept["figures"]) > 100
    common = kept["figures"].keys() & baseline.figures(baseline.RESULTS.read_text(encoding="utf-8")).keys()
    assert len(common) > len(kept["figures"]) / 2, "the tables of RESULTS.md have other names: `make baseline`"
