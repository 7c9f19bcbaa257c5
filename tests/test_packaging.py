"""The wheel holds everything, and what is installed from it reads its own content and no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONTENT = ("ir", "templates", "passes", "policies", "explanations")
MODEL = {
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 64,
    "head_dim": 16,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}
SOURCES = ("dfcompiler", *CONTENT, "pyproject.toml", "setup.py", "LICENSE", "README.md")
JUNK = shutil.ignore_patterns("__pycache__", "*.pyc", "_content")


def pip(*args: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--isolated", "--no-cache-dir", "--disable-pip-version-check", *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that neither an old `build/` nor a running test sees it."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=JUNK)
        elif path.exists():
            shutil.copy(path, source / name)
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", "dist", ".", cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed; what it depends on comes from the running environment."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-index", "--no-deps", "--target", str(folder), str(wheel), cwd=folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's folder whose own `ir/`, `passes/` and `templates/` must not be read."""
    for kind in CONTENT:
        (tmp_path / kind).mkdir()
        for name in ("trap.py", "__init__.py"):
            (tmp_path / kind / name).write_text("raise SystemExit('a file of the current folder was imported')\n")
    traps = ("ir/grammar.lark", "ir/ops/dense.dfir", "ir/models/qwen3.dfm", "ir/configs/qwen3-8b.json")
    for name in (*traps, "templates/chips/tpu128.chip", "templates/chips/trap.chip", "templates/rtl/package.sv.j2"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("nothing that can be read: {{ trap")
    return tmp_path


def run(site: Path, cwd: Path, *command: str) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", "DFCOMPILER_PLUGINS")}
    done = subprocess.run(
        command, cwd=cwd, env={**env, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc" and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix() for p in found}


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    engine = {f"dfcompiler/{name}" for name in files(ROOT / "dfcompiler")}
    content = {f"dfcompiler/_content/{kind}/{name}" for kind in CONTENT for name in files(ROOT / kind)}
    assert inside == engine | content


def test_content_comes_from_the_wheel(site: Path, elsewhere: Path) -> None:
    code = "from dfcompiler import content, registry as r; r.load(); print(content.root(), *r.names('pass'))"
    root, *passes = run(site, elsewhere, sys.executable, "-c", code).split()
    assert Path(root) == site / "dfcompiler/_content"
    assert len(passes) >= len(list((ROOT / "passes").glob("*.py")))


@pytest.mark.parametrize("how", ["script", "module"])
def test_the_command_lists_chips_of_the_wheel(site: Path, elsewhere: Path, how: str) -> None:
    start = [str(site / "bin/dfc")] if how == "script" else [sys.executable, "-m", "dfcompiler"]
    listed = run(site, elsewhere, *start, "list", "chips")
    assert "ador" in listed and "trap" not in listed


def test_a_shipped_model_compiles_from_the_wheel(site: Path, elsewhere: Path) -> None:
    step = ("--phase", "decode", "--batch", "1", "--context", "128")
    said = json.loads(
        run(site, elsewhere, str(site / "bin/dfc"), "compile", "qwen3-8b", "--on", "tpu128", *step, "--json")
    )
    assert (said["model"], said["chip"]) == ("qwen3-8b", "tpu128")
    assert said["roofline_s"] <= said["bound_s"] * (1 + 1e-9) <= said["latency_s"] * (1 + 2e-9)
    assert {op["unit"] for op in said["ops"]} <= {"sa", "vu"}
    assert sum(op["repeat"] == 36 for op in said["ops"]) >= 10


def test_a_model_of_the_user_compiles_with_all_outputs_from_the_wheel(site: Path, elsewhere: Path) -> None:
    (elsewhere / "config.json").write_text(json.dumps(MODEL))
    run(site, elsewhere, str(site / "bin/dfc"), "compile", "config.json", "--on", "ador", "--seq", "16", "-o", "out")
    written = files(elsewhere / "out")
    assert {"mapping.json", "graph.dfir", "trace.json", "rtl/params.json", "rtl/ador_pkg.sv"} <= written
    assert "qwen3" in json.dumps(json.loads((elsewhere / "out/mapping.json").read_text()))
    run(site, elsewhere, str(site / "bin/dfc"), "report", "out")
    assert "Plotly" in (elsewhere / "out/report.html").read_text(encoding="utf-8")


SPACE = """\
space two {
  pool chip on ador {
    axis side = 32, 64
    set sa.rows = side
    set sa.cols = side
    load prompt: "config.json" { phase = prefill, batch = 1, seq = 16 }
  }
  minimize ttft_s = prompt.latency_s
  minimize area_mm2 = area_mm2
}
"""


def test_a_space_is_explored_and_messages_are_explained_from_the_wheel(site: Path, elsewhere: Path) -> None:
    """Spaces, explanations and what pages are made of are in the wheel; workers find the same content."""
    (elsewhere / "config.json").write_text(json.dumps(MODEL))
    (elsewhere / "two.space").write_text(SPACE, encoding="utf-8")
    dfc = str(site / "bin/dfc")
    assert "llmshare" in run(site, elsewhere, dfc, "list", "spaces")
    assert "no-mapping" in run(site, elsewhere, dfc, "explain", "no-mapping")
    found = json.loads(run(site, elsewhere, dfc, "explore", "two.space", "--workers", "2", "-o", "study", "--json"))
    assert (found["proof"], found["evaluated"]) == ("exhaustive", 2) and found["front"]
    run(site, elsewhere, dfc, "report", "study")
    assert "Plotly" in (elsewhere / "study/report.html").read_text(encoding="utf-8")
