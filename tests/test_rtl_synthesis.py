"""Four tools take the reference cores without a word, and Yosys synthesises each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rtlrig import alone, unit
from test_rtl_tools import elaborate, run, tool

from dfcompiler.hardware.template import Ports
from dfcompiler.rtl import render
from dfcompiler.rtl.benches import shared, tile, wrapper

SMALL: dict[str, Any] = {"rows": 2, "cols": 3, "operand_bits": 4, "acc_bits": 16}
DESIGNS = {
    f"{flow}, {reload}": ("systolic-array", {**SMALL, "dataflow": flow, "reload": reload})
    for flow in ("weight-stationary", "output-stationary")
    for reload in ("serial", "exposed", "double-buffered")
}
DESIGNS |= {
    "an array of one column": ("systolic-array", {**SMALL, "cols": 1}),
    "trees": ("mac-tree", {"width": 3, "trees": 2, "hold": 2, "operand_bits": 4, "acc_bits": 16}),
    "one lane and one tree": ("mac-tree", {"width": 1, "trees": 1, "operand_bits": 4, "acc_bits": 16}),
    "lanes": ("vector-unit", {"lanes": 4}),
}
# Behind ports that are narrower than their lines.
NARROW = {
    "arrays that wait": ("systolic-array", {**SMALL, "reload": "exposed"}),
    "arrays that wait under loads": ("systolic-array", SMALL),
    "arrays of sums that wait": ("systolic-array", {**SMALL, "dataflow": "output-stationary"}),
    "trees that wait": ("mac-tree", {"width": 3, "trees": 2, "operand_bits": 4, "acc_bits": 16}),
}
DESIGNS |= NARROW
COARSE = ("lanes", *[*NARROW][1:])  # whose multipliers take a minute, and those that others are almost
SHARED = ("dfc_sequencer", "dfc_scratchpad")
# Fewer levels and lines than a chip has: gates of the same text in a tenth of the time.
FEWER = {"dfc_sequencer": "-chparam LEVELS 3", "dfc_scratchpad": "-chparam DEPTH 16"}


def sources(name: str) -> tuple[dict[str, str], str]:
    """Files and the top of a design, or of what designs share."""
    if name in SHARED:
        return shared(), name
    family, axes = DESIGNS[name]
    made = unit(family, **axes)
    rig = alone(made)
    return {
        "rig_pkg.sv": render(rig)["rig_pkg.sv"],
        **wrapper(rig, "u", made, Ports(input=1, weight=1, psum_read=2, psum_write=2) if name in NARROW else Ports()),
    }, "rig_u"


def written(files: dict[str, str], folder: Path) -> list[str]:
    for name, text in files.items():
        (folder / name).write_text(text)
    return sorted(files, key=lambda n: (not n.endswith("_pkg.sv"), n))


@pytest.mark.parametrize("name", [*DESIGNS, *SHARED])
def test_slang_has_nothing_to_say(name: str) -> None:
    assert elaborate(sources(name)[0])[1] == ""


@pytest.mark.parametrize("name", [*DESIGNS, *SHARED])
@pytest.mark.parametrize("linter", ["verilator", "iverilog"])
def test_linters_have_nothing_to_say(linter: str, name: str, tmp_path: Path) -> None:
    files, top = sources(name)
    listed = written(files, tmp_path)
    words = {
        "verilator": ["--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", top],  # two modules in some files
        "iverilog": ["-g2012", "-Wall", "-Wno-timescale", "-tnull", "-s", top],
    }
    done = run([tool(linter), *words[linter], *listed], tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", [*DESIGNS, *SHARED])
def test_yosys_synthesises(name: str, tmp_path: Path) -> None:
    """To gates, without latches, loops or undriven wires."""
    files, top = sources(name)
    listed = written(files, tmp_path)
    steps = f"hierarchy -check -top {top} {FEWER.get(name, '')}; proc; check -assert"
    steps += "; select -assert-none t:$dlatch t:$_DLATCH*"
    if name not in COARSE:
        steps += f"; synth -noabc -run coarse: -top {top}; check -assert; tee -o stat.txt stat"
    done = run([tool("yosys"), "-q", "-p", f"read_verilog -sv {' '.join(listed)}; {steps}"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    if name not in COARSE:
        cells = re.findall(r"Number of cells:\s+(\d+)", (tmp_path / "stat.txt").read_text())
        assert int(cells[-1]) > 20


def test_a_tile_of_several_units_is_taken_too(tmp_path: Path) -> None:
    from test_rtl_head import small

    from dfcompiler.outputs import rtl_package

    chip = small()
    made = tile(rtl_package(chip, None, "head"), {u: chip.units[u].template for u in ("sa", "vu")})
    files = {n: x for n, x in made.files.items() if "bench" not in n}
    assert elaborate(files)[1] == ""
    listed = written(files, tmp_path)
    lint = ["--lint-only", "-Wall", "-Wno-DECLFILENAME", "--top-module", "head_tile"]
    done = run([tool("verilator"), *lint, *(n for n in listed if n != "head_check.sv")], tmp_path)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
