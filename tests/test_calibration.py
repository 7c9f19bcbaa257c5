"""Calibration: factors that a chip was given are found again, the gain is that of rows not seen, files read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.calibration import GRIDS, calibrate, calibrated, propose
from dfcompiler.cli.main import main
from dfcompiler.diagnostics import Diag
from dfcompiler.exchanges import links_of
from dfcompiler.fabrics import collective_latency_s
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.kernels import Scale
from dfcompiler.kernels.tables import price_table
from dfcompiler.validation import Measured, kernel_unit, on_kernels, read_measured, validate

FACTORS = st.floats(0.6, 1.6)


def measured(chip: Chip, kind: str, scale: Scale, count: int = 20) -> Measured:
    """What a device with these factors would show, for the sizes that are proposed."""
    found = kernel_unit(chip)
    assert found
    device, kernels = on_kernels(*found, bits=16)
    sizes = propose(kind, chip, count)
    seconds = price_table(kind, sizes, device, kernels.scaled(scale)).seconds
    return Measured("made.csv", sizes, seconds)


@settings(max_examples=10)
@given(launch=FACTORS, tensor=FACTORS, dram=FACTORS)
def test_factors_are_found_again(launch: float, tensor: float, dram: float) -> None:
    chip = load_chip("l40s")
    found = calibrate(measured(chip, "gemm", Scale(launch, tensor, dram)), "gemm", chip)
    assert found.fitted < 0.04 and found.left_out < 0.08
    assert found.fitted <= found.before + 1e-9


def test_a_device_as_expected_is_left_as_it_is() -> None:
    chip = load_chip("a100_sxm")
    found = calibrate(measured(chip, "decode", Scale()), "decode", chip)
    assert found.scale == Scale() and found.before == 0 == found.left_out


@pytest.mark.parametrize("kind", GRIDS)
def test_proposals_spread_over_latencies(kind: str) -> None:
    chip = load_chip("h100_sxm")
    us = propose(kind, chip, 20)["predicted_us"]
    assert len(us) == 20 and np.all(np.diff(us) > 0) and us[-1] > 50 * us[0]


def test_a_calibrated_chip_reads_back_and_fits(tmp_path: Path) -> None:
    chip, scale = load_chip("a100_sxm"), Scale(1.3, 0.8, 0.9)
    table = measured(chip, "gemm", scale)
    found = calibrate(table, "gemm", chip)
    path = tmp_path / "mine.chip"
    path.write_text(calibrated(chip, found, "mine", "made.csv"))
    own = load_chip(str(path))
    assert own.name == "mine" and "made.csv" in path.read_text()
    assert validate(table, "gemm", own).mape == pytest.approx(found.fitted, rel=0.05)
    again = calibrate(table, "gemm", own)
    path.write_text(calibrated(own, again, "twice", "made.csv"))
    assert path.read_text().count("launch_scale") == 1 and load_chip(str(path)).name == "twice"


def test_the_command_proposes_fits_and_validates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "l40s", "--propose", "--rows", "8"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "m,n,k,predicted_us" and len(rows) == 8
    path, out = tmp_path / "rows.csv", tmp_path / "own.chip"
    path.write_text("\n".join([head.replace("predicted_us", "latency_us"), *rows]))
    assert main(["calibrate", "l40s", str(path), "-o", str(out), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["rows"] == 8 and found["left_out"] < 1e-4
    plot = tmp_path / "plot.svg"
    assert main(["validate", str(path), "--op", "gemm", "--on", str(out), "--json", "--plot", str(plot)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["n"] == 8 and set(answer) == {"n", "mape", "median", "p90", "max", "bias", "rows"}
    assert plot.read_text().count("<circle") == 8
    assert main(["validate", str(path), "--op", "gemm", "--on", "l40s"]) == 0
    assert "rows   8" in capsys.readouterr().out


def test_other_chips_are_validated_by_operator(tmp_path: Path) -> None:
    chip, path = load_chip("tpu128"), tmp_path / "t.csv"
    path.write_text("m,k,n,cycles\n64,256,256,5000\n64,256,256,6000\n")
    found = validate(read_measured(path, chip.clock_hz), "matmul", chip)
    assert found.n == 2 and found.rows[0].modelled_s == found.rows[1].modelled_s


def test_tables_of_exchanges_are_validated_by_their_links(tmp_path: Path) -> None:
    """Rows of other exchanges are left out; what is modelled is what the links of the chip say."""
    chip = load_chip("h100_sxm")
    devices, sizes = np.array([2.0, 4.0, 8.0]), np.array([1e3, 1e6, 1e9])
    seconds, algorithms = collective_latency_s("all_reduce", devices, sizes, links_of(chip).fabric)
    rows = [f"all_reduce,{n},{b},{1e3 * s / 1.25}" for n, b, s in zip(devices, sizes, seconds, strict=True)]
    file = tmp_path / "nccl.csv"
    file.write_text("\n".join(["op_name,num_gpus,message_bytes,latency_ms", *rows, "all_gather,2,1e6,1"]))
    found = validate(read_measured(file, chip.clock_hz), "all_reduce", chip)
    assert found.n == 3 and found.mape == found.bias == pytest.approx(0.25)
    assert {r.bound for r in found.rows} == set(algorithms.tolist())
    with pytest.raises(Diag) as caught:
        validate(read_measured(file, chip.clock_hz), "reduce_scatter", chip)
    assert caught.value.code == "bad-table" and "reduce_scatter" in caught.value.message


@pytest.mark.parametrize(
    ("chip", "kind", "count", "code"),
    [
        ("ador", "gemm", 20, "no-kernels"),
        ("a100_sxm", "gem", 20, "no-kernels"),
        ("a100_sxm", "prefill", 20, "bad-table"),
        ("a100_sxm", "gemm", 4, "bad-table"),
    ],
)
def test_what_cannot_be_calibrated_is_said(chip: str, kind: str, count: int, code: str) -> None:
    with pytest.raises(Diag) as caught:
        calibrate(measured(load_chip("a100_sxm"), "gemm", Scale(), count), kind, load_chip(chip))
    assert caught.value.code == code
