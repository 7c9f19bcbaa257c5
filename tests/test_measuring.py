"""benchmarks/measure_gpu.py: fixed sizes, files that the commands read as they are, what a clock is made to show."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dfcompiler.cli.main import main
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.kernels.tables import KINDS, price_table
from dfcompiler.validation import kernel_unit, on_kernels

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "measure_gpu.py"
LEAST = {"gemm": 300, "prefill": 150, "decode": 150}
AROUND = ("softmax", "layernorm", "gelu")
# Of `--list`: who changes the sizes gives up comparing with what was measured before.
LOCKED = "c9e2ea1a17bf9e87"


def load(path: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> Any:
    return load(SCRIPT, "measure_gpu")


def test_the_kinds_are_those_that_are_modelled_with_their_columns(script: Any) -> None:
    assert set(script.COLUMNS) == set(KINDS) - {"moe"}
    for kind, columns in script.COLUMNS.items():
        assert columns == KINDS[kind].columns


def test_sizes_are_many_different_possible_and_locked(script: Any) -> None:
    for kind in script.COLUMNS:
        for sizes in (script.sizes_of(kind), script.TINY[kind]):
            assert len(set(sizes)) == len(sizes)
            assert all(len(s) == len(script.COLUMNS[kind]) and min(s) >= 1 for s in sizes)
    for kind, least in LEAST.items():
        assert len(script.sizes_of(kind)) >= least
    around = sum(len(script.sizes_of(kind)) for kind in AROUND)
    assert around >= 100
    gemm, prefill, decode = (len(script.sizes_of(kind)) for kind in LEAST)
    said = f"{gemm} products, {prefill} prefills, {decode} decodes, {around} of"
    assert said in (SCRIPT.parents[1] / "docs" / "kernels.md").read_text()
    for kind in ("prefill", "decode"):
        assert all(heads % groups == 0 for *_, heads, groups, _ in script.sizes_of(kind))
    listed = script.list_sizes(list(script.COLUMNS), "cuda")
    assert hashlib.sha256(listed.encode()).hexdigest()[:16] == LOCKED


def test_sizes_fit_a_device_of_16_gb(script: Any) -> None:
    """Operands and results of every size, with all copies, in bf16; attention as torch has it, copied at most once."""
    for kind in script.COLUMNS:
        for size in script.sizes_of(kind):
            if kind == "gemm":
                m, n, k = size
                elements = m * k + script.COPIES * n * k + m * n
            elif kind in ("prefill", "decode"):
                b, length, heads, groups, width = size
                new = length if kind == "prefill" else 1
                elements = 2 * b * width * (2 * heads * new + 3 * groups * length)
            else:
                elements = 2 * size[0] * (size[1] if len(size) > 1 else 1)
            assert 2 * elements + script.FLUSH_BYTES["cuda"] <= 16e9, (kind, size)


@pytest.mark.parametrize("kind", ["gemm", "prefill", "decode", "softmax", "layernorm", "gelu"])
def test_files_are_read_as_they_are(script: Any, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that takes as long as is modelled is validated without an error, and calibrated to what it was."""
    unit = kernel_unit(load_chip("l40s"))
    assert unit
    device, kernels = on_kernels(*unit, bits=16)

    def timed(kind: str, size: tuple[int, ...]) -> tuple[float, float, str]:
        columns = {n: [v] for n, v in zip(script.COLUMNS[kind], size, strict=True)}
        both = (price_table(kind, columns, device, kernels, warm=w).seconds[0] * 1e6 for w in (False, True))
        cold, warm = both
        return cold, warm, "torch 0 modelled, here"

    sizes = script.sizes_of(kind)[::9]
    assert script.write_kind(tmp_path, kind, sizes, timed) == len(sizes)
    for state, options in (("cold", ["--cold"]), ("warm", [])):
        path = str(tmp_path / f"{kind}_{state}.csv")
        assert main(["validate", path, "--op", kind, "--on", "l40s", "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["n"] == len(sizes) and found["max"] < 1e-5
        out = tmp_path / f"{state}.chip"
        if len(sizes) >= 5 and state == "cold":
            assert main(["calibrate", "l40s", path, "--op", kind, "-o", str(out), "--json", *options]) == 0
            found = json.loads(capsys.readouterr().out)
            assert found["rows"] == len(sizes) and all(s == 1 for s in found["scale"].values())


def test_a_size_that_does_not_run_is_said_and_left_out(
    script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def timed(kind: str, size: tuple[int, ...]) -> tuple[float, float, str]:
        if size == (2,):
            raise RuntimeError("out of memory\nand much more")
        return 2.0, 1.0, "x"

    assert script.write_kind(tmp_path, "gelu", [(1,), (2,), (3,)], timed) == 2
    assert capsys.readouterr().err == "gelu 2: left out, out of memory\n"
    assert (tmp_path / "gelu_cold.csv").read_text().splitlines()[1:] == ["1,2,x", "3,2,x"]
    assert (tmp_path / "gelu_warm.csv").read_text().splitlines()[1:] == ["1,1,x", "3,1,x"]


# ---- the GPU's clock ---------------------------------------------------------------------------


class Stand:
    """What the script asks of torch on a GPU, with a clock of its own: all that is called takes its µs."""

    FLUSH_US, LAUNCH_US = 400.0, 5.0

    def __init__(self) -> None:
        self.now, self.kept = 0.0, None
        self.calls: list[Any] = []
        stand = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                self.at = stand.now

            def synchronize(self) -> None: ...

            def elapsed_time(self, other: Event) -> float:
                return (other.at - self.at) / 1e3  # torch: in ms

        class Graph:
            def replay(self) -> None:
                stand.now += stand.LAUNCH_US
                for spent, _ in self.calls:
                    stand.now += spent

        def graph(made: Any) -> Any:
            made.calls = stand.calls = []
            return nullcontext()

        self.cuda = SimpleNamespace(Event=Event, CUDAGraph=Graph, graph=graph)

    def ones(self, count: int, device: str) -> Any:
        assert 4 * count >= 256e6 and device == "cuda"
        return SimpleNamespace(sum=lambda: self.spend(self.FLUSH_US, "flush"))

    def spend(self, us: float, what: object) -> None:
        self.calls.append((us, what))
        self.now += us


@pytest.mark.parametrize("us", [0.7, 40.0, 3000.0])
@pytest.mark.parametrize("copies", [1, 6])
def test_a_cold_call_follows_a_flush_that_is_not_timed_and_a_warm_one_is_among_many(
    script: Any, us: float, copies: int
) -> None:
    torch = Stand()
    clock = script.Cuda(torch)
    w = script.Work([lambda i=i: torch.spend(us, i) for i in range(copies)], "stand")
    cold = clock.cold_us(w)
    assert cold == pytest.approx(us)
    done = [what for _, what in torch.calls]
    assert done[::2] == ["flush"] * script.COLD_CALLS and "flush" not in done[1::2]
    assert clock.warm_us(w, cold) == pytest.approx(us, rel=0.01)
    done = [what for _, what in torch.calls]
    assert {done.count(i) for i in range(copies)} == {len(done) // copies}  # every copy as often as every other
    assert done[:copies] == list(range(copies)) and len(done) <= script.MOST_CALLS


def test_a_cpu_shows_that_it_runs(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: nothing runs the script's kernels")
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--device", "cpu", "-o", tmp_path], check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    module = load(SCRIPT, "measure_gpu")
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["device"] == "cpu" and about["sizes"] == {kind: len(s) for kind, s in module.TINY.items()}
    for kind, sizes in module.TINY.items():
        for state in ("cold", "warm"):
            with (tmp_path / f"{kind}_{state}.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [tuple(int(r[c]) for c in module.COLUMNS[kind]) for r in rows] == list(sizes)
            assert all(0 < float(r["latency_us"]) < 60e6 for r in rows)
        path = str(tmp_path / f"{kind}_warm.csv")
        assert main(["validate", path, "--op", kind, "--on", "h100_sxm", "--json"]) == 0


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--device", "tpu"], "`tpu` is unknown; known: cuda, cpu"),
        (["--kinds", "gemm,conv"], "`conv` is unknown; known: gemm, prefill"),
        (["--kinds", ""], "`` is unknown"),
        (["--sizes", "a.csv"], "of one kind"),
        (["--kinds", "gemm", "--sizes", "none.csv"], "cannot be read"),
        (["--kinds", "gemm", "--sizes", "head.csv"], "no sizes below"),
        (["--kinds", "gemm", "--sizes", "lacks.csv"], "no column `k`"),
        (["--kinds", "gelu", "--sizes", "nan.csv"], "line 3: `nan` is no size of `m`"),
        (["--kinds", "gelu", "--sizes", "zero.csv"], "line 2: `0` is no size of `m`"),
        (["--kinds", "gelu", "--sizes", "less.csv"], "line 2: `-4` is no size of `m`"),
        (["--kinds", "gelu", "--sizes", "half.csv"], "line 2: `1.5` is no size of `m`"),
        (["--kinds", "gelu", "--sizes", "inf.csv"], "line 2: `inf` is no size of `m`"),
        (["--kinds", "gelu", "--sizes", "word.csv"], "line 2: `large` is no size of `m`"),
    ],
)
def test_bad_input_is_refused_before_torch_is_asked_for(
    script: Any, argv: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    files = {"head": "m,n,k", "lacks": "m,n\n1,2", "nan": "m\n1\nnan", "zero": "m\n0", "less": "m\n-4",
             "half": "m\n1.5", "inf": "m\ninf", "word": "m\nlarge"}  # fmt: skip
    for name, text in files.items():
        Path(f"{name}.csv").write_text(text + "\n")
    assert script.main(argv) == 2
    said = capsys.readouterr()
    assert says in said.err and not said.out and not Path("measured").exists()


def test_without_torch_it_says_so(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert script.main(["--kinds", "gelu"]) == 2
    assert "torch is not installed" in capsys.readouterr().err


def test_proposed_sizes_are_taken(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "l40s", "--propose", "--op", "decode", "--rows", "7"]) == 0
    sizes = script.read_sizes(capsys.readouterr().out.splitlines(), "decode")
    assert len(sizes) == 7 and all(len(s) == 5 for s in sizes)


def test_it_needs_nothing_but_torch() -> None:
    """Copied somewhere else and run without what is installed beside it, it still lists its sizes."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, "--list", "--kinds", "gelu"], check=False, capture_output=True, text=True,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert ran.returncode == 0 and ran.stdout.splitlines()[:2] == ["# gelu", "m"]
