"""What the pages of docs/ need to be a site: pages of reference, pages that lie elsewhere, and links to sources.

MkDocs calls the functions `on_...` (`hooks` of mkdocs.yml). A link that leads out of docs/ leads to a copy of the file
in the site, as text; one that leads to a folder, to a page of reference or to nowhere, and then only its words stay.
"""

from __future__ import annotations

import importlib.util
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie beside docs/, by their path in the site.
BESIDE = {
    "validation.md": "benchmarks/VALIDATION.md",
    "validation-serving.md": "benchmarks/SERVING.md",
    "results.md": "benchmarks/RESULTS.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
FOLDERS = {"templates/chips": "reference/index.md", "ir/models": "models.md", "ir/ops": "reference/operators.md"}
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")


def reference() -> Any:
    """The module that writes pages of reference."""
    spec = importlib.util.spec_from_file_location("docs_reference", ROOT / "docs" / "reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def extra_pages() -> dict[str, str]:
    """Path in the site -> text, of every page that is not a file of docs/."""
    beside = {ours: (ROOT / path).read_text(encoding="utf-8") for ours, path in BESIDE.items()}
    return beside | {f"reference/{path}": text for path, text in reference().pages()}


def linked(text: str, at: str) -> tuple[str, dict[str, Path]]:
    """The text of the page that lies at `at` in the project, with links that work in the site; and the files that they
    lead to, by their path in the site."""
    sources: dict[str, Path] = {}
    home = next((ours for ours, path in BESIDE.items() if path == at), at.removeprefix("docs/"))

    def target(match: re.Match[str]) -> str:
        there, anchor = match[1], match[2] or ""
        if "://" in there or there.startswith("mailto:"):
            return match[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(at), there))
        ours = _in_site(inside, sources)
        if ours is None:
            return "]()"
        return f"]({posixpath.relpath(ours, posixpath.dirname(home) or '.')}{anchor})"

    made = LINK.sub(target, text)
    return re.sub(r"\[([^\]]*)\]\(\)", r"\1", made), sources


def _in_site(inside: str, sources: dict[str, Path]) -> str | None:
    """Where a file of the project is in the site."""
    for ours, path in BESIDE.items():
        if path == inside:
            return ours
    if inside in FOLDERS:
        return FOLDERS[inside]
    if inside.startswith("docs/"):
        return inside.removeprefix("docs/")
    path = ROOT / inside
    if not path.is_file():
        return None
    name = f"source/{inside}.txt"
    sources[name] = path
    return name


# ---- called by MkDocs --------------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    """Add pages and sources to what the site is made of."""
    from mkdocs.structure.files import File

    pages = {path: (text, _place(path)) for path, text in extra_pages().items()}
    written = {f.src_uri: (f.content_string, f"docs/{f.src_uri}") for f in files if f.src_uri.endswith(".md")}
    sources: dict[str, Path] = {}
    for text, at in (*pages.values(), *written.values()):
        sources |= linked(text, at)[1]
    for path, (text, _) in pages.items():
        files.append(File.generated(config, path, content=text))
    for name, path in sources.items():
        files.append(File.generated(config, name, content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to where files are in the site."""
    return linked(markdown, _place(page.file.src_uri))[0]


def _place(path: str) -> str:
    """Where the text of a page of the site lies in the project; a page of reference lies in docs/."""
    return BESIDE.get(path, str(PurePosixPath("docs") / path))
