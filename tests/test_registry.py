"""Content folders, plug-ins and the registry."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.elaboration import find_chip
from dfcompiler.models import library, load_model

PASS = """
from dfcompiler.pipeline import Pass

class {cls}(Pass, name="{name}"):
    depth: int = 1

    def run(self, graph, ctx):
        return graph
"""

MakePlugin = Callable[..., Path]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    """Writes plug-in folders; what they register is forgotten after the test."""
    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setenv(content.VARIABLE, "")

    def make(folder: str, **files: str) -> Path:
        for where, text in files.items():
            path = tmp_path / folder / where.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            kinds = {"chips": ".chip", "ops": ".dfir", "models": ".dfm", "configs": ".json", "libraries": ".toml"}
            path.with_suffix(kinds.get(path.parent.name, ".py")).write_text(text)
        return tmp_path / folder

    return make


def test_our_content_is_that_of_the_checkout() -> None:
    assert content.root() == Path(__file__).resolve().parents[1]
    assert content.folders("templates")[0] == content.root() / "templates"


def test_importing_the_engine_imports_no_content() -> None:
    code = "import sys, dfcompiler.registry; print([m for m in sys.modules if m.startswith('dfcompiler.content.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_plugin_files_are_found_after_ours(plugin: MakePlugin) -> None:
    folder = plugin("p", templates__chips__my="chip my {}")
    content.use([folder])
    content.use([folder])
    assert content.plugins() == [folder]
    assert content.folders("templates", "chips")[-1] == folder / "templates/chips"
    assert content.find("templates/chips", "my.chip") == folder / "templates/chips/my.chip"
    assert content.find("templates/chips", "none.chip") is None


def test_plugin_class_is_registered_and_pickles_into_another_process(plugin: MakePlugin) -> None:
    content.use([plugin("p", passes__deepen=PASS.format(cls="Deepen", name="test-deepen"))])
    cls = registry.lookup("pass", "test-deepen")
    assert cls.__module__.startswith("dfcompiler.content.plugin_")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer))"
    sent = pickle.dumps(cls(depth=3))
    got = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, env=os.environ)
    assert got.stdout == b"Deepen(depth=3)\n"


def test_equal_file_names_in_two_plugins_do_not_shadow_each_other(plugin: MakePlugin) -> None:
    one = plugin("one", passes__same=PASS.format(cls="A", name="test-a"))
    two = plugin("two", passes__same=PASS.format(cls="B", name="test-b"))
    content.use([one, two])
    assert {"test-a", "test-b"} <= set(registry.names("pass"))


def test_duplicate_name_names_both_files(plugin: MakePlugin) -> None:
    text = PASS.format(cls="Same", name="test-same")
    content.use([plugin("one", passes__first=text), plugin("two", passes__second=text)])
    with pytest.raises(Diag) as caught:
        registry.load()
    assert caught.value.code == "duplicate-name"
    assert "one/passes/first.py:4:1" in str(caught.value) and "two/passes/second.py:4:1" in str(caught.value)


OP = "op {}(x: [n]) -> (y: [n]) {{\n  y[n] = {} * x[n]\n}}\n"
DUPLICATES = {
    "op": ("ir__ops__{}", OP.format("same", 2), OP.format("same", 3)),
    "model": ("ir__models__{}", "model same {\n  param L = 1\n}\n", "model same {\n  param L = 2\n}\n"),
    "block": ("ir__models__{}", "block same(x) -> x {\n}\n", "block same(y) -> y {\n}\n"),
    "chip": ("templates__chips__same", "chip same {}", "chip same {\n}"),
    "config": ("ir__configs__same", "{}", "{ }"),
}


@pytest.mark.parametrize("kind", DUPLICATES)
def test_duplicate_names_of_content_name_both_files(plugin: MakePlugin, kind: str) -> None:
    where, *texts = DUPLICATES[kind]
    folders = [plugin(n, **{where.format(f"in_{n}"): text}) for n, text in zip(("one", "two"), texts, strict=True)]
    content.use(folders)
    with pytest.raises(Diag) as caught:
        load_model("same") if kind == "config" else find_chip("same") if kind == "chip" else library()
    assert caught.value.code == "duplicate-name"
    assert all(str(folder / "") in str(caught.value) for folder in folders)


def test_registering_a_class_again_is_fine(plugin: MakePlugin) -> None:
    content.use([plugin("p", passes__again=PASS.format(cls="Again", name="test-again"))])
    cls = registry.lookup("pass", "test-again")
    registry.register("pass", "test-again", cls)
    importlib.reload(sys.modules[cls.__module__])
    assert registry.lookup("pass", "test-again") is not cls


def test_unknown_name_has_the_nearest_as_a_hint(plugin: MakePlugin) -> None:
    content.use([plugin("p", passes__near=PASS.format(cls="Near", name="test-nearest"))])
    with pytest.raises(Diag, match="test-nearst") as caught:
        registry.lookup("pass", "test-nearst")
    assert caught.value.code == "unknown-pass" and "`test-nearest`" in str(caught.value.hint)


def test_unknown_kind_is_a_bug() -> None:
    with pytest.raises(ValueError, match="no kind"):
        registry.register("chip", "x", int)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x = 1\nx = = 2\n", "broken.py:2:1"),
        ("import os\n\n\ndef f():\n    return 1 // 0\n\n\nf()\n", "broken.py:5:5"),
        ("import no_such_module_at_all\n", "broken.py:1:1"),
        ("from dfcompiler.pipeline import Pass\nclass X(Pass, name='test-x'):\n    a: list = 1\n", "broken.py:2:1"),
    ],
    ids=["syntax", "raises", "import", "option"],
)
def test_bad_plugin_names_file_and_line(plugin: MakePlugin, text: str, place: str) -> None:
    content.use([plugin("p", passes__broken=text)])
    with pytest.raises(Diag) as caught:
        registry.load()
    assert caught.value.code in ("bad-plugin", "bad-pass") and f"passes/{place}:" in str(caught.value)


def test_missing_and_empty_plugin_folders(plugin: MakePlugin, tmp_path: Path) -> None:
    for folder, said in ((tmp_path / "none", "does not exist"), (tmp_path, "holds no content")):
        with pytest.raises(Diag, match=said) as caught:
            content.use([folder])
        assert caught.value.code == "no-such-plugin"
    assert content.plugins() == []


def test_variable_with_a_missing_folder(plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(content.VARIABLE, "/no/such/folder")
    with pytest.raises(Diag, match=content.VARIABLE):
        content.plugins()


def test_entry_points(plugin: MakePlugin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = plugin("installed_dfc", passes__there=PASS.format(cls="There", name="test-there"))
    monkeypatch.syspath_prepend(tmp_path)
    entries = [EntryPoint("mine", "installed_dfc", content.ENTRY_POINTS)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)
    content._installed.cache_clear()
    try:
        assert content.plugins() == [folder]
        assert registry.lookup("pass", "test-there").__qualname__ == "There"
        entries[:] = [EntryPoint("gone", "no_such_package_dfc", content.ENTRY_POINTS)]
        content._installed.cache_clear()
        with pytest.raises(Diag, match="`gone = no_such_package_dfc` cannot be imported"):
            content.plugins()
    finally:
        content._installed.cache_clear()


def test_a_template_is_found_without_importing_passes() -> None:
    script = (
        "import sys\n"
        "from dfcompiler.hardware.elaboration import load_chip\n"
        "load_chip('h100_sxm')\n"
        "print([m for m in sys.modules if m.startswith('dfcompiler.content.passes.')])\n"
        "from dfcompiler import registry\n"
        "print('tile' in registry.names('pass'), 'gpu-sm' in registry.names('template'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["[]", "True True"]
