"""What a user adds: an operator and a model without a line of Python, and an installed package with everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import run_graph
from dfcompiler.graph import Graph
from dfcompiler.models import load_model
from dfcompiler.pipeline import Context, parse_pipeline, run_pipeline
from dfcompiler.steps import step

OPS = """# a gate with a squared relu, and a norm by the mean magnitude
op relu2_gate(a: [*t], b: [*t]) -> (y: [*t]) {
  r[*t] = maximum(a[*t], 0)
  y[*t] = r[*t] * r[*t] * b[*t]
}
op mean_norm(x: [*t, d], g: w [d]) -> (y: [*t, d]) {
  attr eps = 1e-6
  s[*t] = sum(d) maximum(x[*t, d], -x[*t, d])
  y[*t, d] = x[*t, d] / (s[*t] / |d| + eps) * g[d]
}
"""
MODEL = """model mine {
  param L = 3
  param D = 64
  param F = 96
  param V = 128
  input ids: int [N] in V
  weight table: w [V, D]
  x = gather(table, ids)
  repeat L {
    weight g: w [D]
    weight w1: w [F, D]
    weight w2: w [F, D]
    weight w3: w [D, F]
    h = mean_norm(x, g)
    u = linear(h, w1)
    v = linear(h, w2)
    m = relu2_gate(v, u)
    y = linear(m, w3)
    x = add(x, y)
  }
  output x
}
"""
PASS = """from dfcompiler.pipeline import Pass


class Nothing(Pass, name="test-nothing"):
    \"\"\"Change nothing.\"\"\"

    def run(self, graph, ctx):
        return graph
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user, in use as a plug-in, with an operator and a model."""
    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setenv(content.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    ops = tmp_path / "mine" / "ir" / "ops"
    ops.mkdir(parents=True)
    (ops / "mine.dfir").write_text(OPS)
    (tmp_path / "mine.dfm").write_text(MODEL)
    return tmp_path / "mine"


def dfc(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """stdout of a command that succeeds."""
    code = main(argv)
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


@pytest.mark.parametrize("chip", ["ador", "tpu128"])
def test_an_op_of_a_user_is_tiled_fused_mapped_priced_and_verified(
    mine: Path, chip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("compile", "mine.dfm", "--on", chip, "--seq", "256", "--verify", "--plugins", "mine", "--json")
    found = json.loads(dfc(capsys, *argv))
    assert found["status"] == "OPTIMAL"
    ops = {op["op"]: op for op in found["ops"]}
    fused = next(op for name, op in ops.items() if "relu2_gate" in name)
    assert "linear+relu2_gate" in fused["op"] and fused["repeat"] == 3 and fused["tile"]
    norm = next(op for name, op in ops.items() if "mean_norm" in name)
    assert norm["tile"] and min(norm["bytes"].values()) > 0 and norm["end_s"] > norm["start_s"]
    # what follows from the text: one multiply-accumulate per weight and token, whatever else is around it
    assert sum(op["flops"] * op["repeat"] for op in found["ops"]) >= 2 * 3 * 3 * 64 * 96 * 256
    priced = json.loads(dfc(capsys, "price", "mean_norm", "t=256", "d=64", "--on", chip, "--json"))
    assert priced["cycles"] > 0 and min(priced["bytes"].values()) >= 2 * (2 * 256 * 64 + 64)
    assert "elementwise" in dfc(capsys, "show", "relu2_gate") and "reduced" in dfc(capsys, "show", "mean_norm")
    assert not list(mine.rglob("*.py"))


def test_an_op_of_a_user_computes_what_its_text_says(mine: Path) -> None:
    content.use([mine])
    context = Context(model=load_model("mine.dfm"), dtypes=parse_dtypes("bf16"), step=step(prefill=[(5, 0)]))
    graph, _ = run_pipeline(parse_pipeline(Source("p", "lower-model")), Graph("g"), context)
    rng = np.random.default_rng(7)
    w = {x.name: rng.normal(size=(3, *x.type.shape) if x.name != "table" else x.type.shape) for x in declared(graph)}
    w["ids"] = rng.integers(0, 128, size=(1, 5))
    x = w["table"][w["ids"]]
    for i in range(3):
        h = x / (np.abs(x).mean(-1, keepdims=True) + 1e-6) * w["g"][i]
        x = x + (np.maximum(h @ w["w2"][i].T, 0) ** 2 * (h @ w["w1"][i].T)) @ w["w3"][i].T
    (found,) = (run_graph(graph, w)[name] for name in graph.outputs)
    np.testing.assert_allclose(found, x, rtol=1e-9)


def declared(graph: Graph) -> list:  # type: ignore[type-arg]
    return [x for x in graph.tensors.values() if x.kind in ("weight", "input")]


# ---- an installed package ----------------------------------------------------------------------

PROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "my-dfcompiler-content"
version = "1"

[project.entry-points."dfcompiler.plugins"]
mine = "my_content"

[tool.setuptools]
packages = ["my_content"]
package-data = { my_content = ["**/*"] }
"""
FILES = {
    "ir/ops/mine.dfir": OPS,
    "ir/models/mine.dfm": MODEL.replace("model mine", "model mine_by_name"),
    "passes/nothing.py": PASS,
    "__init__.py": "",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of a plug-in package installed."""
    source = tmp_path_factory.mktemp("source")
    (source / "pyproject.toml").write_text(PROJECT)
    for name, text in FILES.items():
        path = source / "my_content" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pip = [sys.executable, "-m", "pip", "-q", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", "dist", "."], cwd=source, check=True)
    (wheel,) = (source / "dist").glob("*.whl")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([*pip, "install", *offline, "--target", str(folder), str(wheel)], check=True)
    return folder


def installed(site: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A `dfc` that finds the package."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONSAFEPATH", content.VARIABLE)}
    command = [sys.executable, "-m", "dfcompiler", *argv]
    done = subprocess.run(
        command, env=env | {"PYTHONPATH": str(site)}, cwd=site, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


def test_an_installed_package_is_found(site: Path) -> None:
    listed = {k: [e["name"] for e in v] for k, v in json.loads(installed(site, "list", "--json").stdout).items()}
    assert {"relu2_gate", "mean_norm"} <= set(listed["ops"]) and "test-nothing" in listed["passes"]
    (site / "mine.dfm").write_text(MODEL)
    line = "lower-model,test-nothing,fuse-elementwise,tile,map-greedy"
    done = installed(
        site, "compile", "mine.dfm", "--on", "ador", "--seq", "64", "--pipeline", line, "--json", "--verify"
    )
    assert done.returncode == 0, done.stderr
    assert "mean_norm" in {op["op"] for op in json.loads(done.stdout)["ops"]}


def test_a_name_that_a_package_and_a_folder_have_names_both_files(site: Path, tmp_path: Path) -> None:
    (tmp_path / "ir" / "ops").mkdir(parents=True)
    (tmp_path / "ir" / "ops" / "again.dfir").write_text(OPS.replace("maximum(a[*t], 0)", "maximum(a[*t], 1)"))
    done = installed(site, "list", "ops", "--plugins", str(tmp_path))
    assert done.returncode == 2 and "[duplicate-name]" in done.stderr
    assert (
        str(tmp_path / "ir/ops/again.dfir") in done.stderr and str(site / "my_content/ir/ops/mine.dfir") in done.stderr
    )
    (tmp_path / "passes").mkdir()
    (tmp_path / "passes" / "again.py").write_text(PASS)
    done = installed(site, "list", "passes", "--plugins", str(tmp_path))
    assert done.returncode == 2 and "[duplicate-name]" in done.stderr
    assert "passes/again.py" in done.stderr and "my_content/passes/nothing.py" in done.stderr
