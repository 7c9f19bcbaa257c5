"""The reference cores through Yosys, beside what the area model counts: cells, flip-flops and transistors.

Without Yosys there is no table.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfcompiler import registry
from dfcompiler.hardware.axes import Names
from dfcompiler.hardware.tech import load_tech
from dfcompiler.hardware.template import Compute
from dfcompiler.rtl import Axis, PartSpec, package, render
from dfcompiler.rtl.benches import shared, wrapper

NODE_NM = 7
ARRAY: dict[str, Any] = {"rows": 4, "cols": 4, "operand_bits": 8, "acc_bits": 32}
DESIGNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "weight-stationary 4 x 4, exposed": ("systolic-array", {**ARRAY, "reload": "exposed"}),
    "weight-stationary 4 x 4, double-buffered": ("systolic-array", {**ARRAY, "reload": "double-buffered"}),
    "weight-stationary 8 x 8, double-buffered": ("systolic-array", {**ARRAY, "rows": 8, "cols": 8}),
    "output-stationary 4 x 4, exposed": (
        "systolic-array",
        {**ARRAY, "reload": "exposed", "dataflow": "output-stationary"},
    ),
    "output-stationary 4 x 4, double-buffered": ("systolic-array", {**ARRAY, "dataflow": "output-stationary"}),
    "MAC tree 8 x 2": ("mac-tree", {"width": 8, "trees": 2, "operand_bits": 8, "acc_bits": 32}),
    "vector unit, 4 lanes": ("vector-unit", {"lanes": 4}),
}
SHARED = {"sequencer": "dfc_sequencer", "scratchpad, 4 banks of 64 words": "dfc_scratchpad"}


def synthesised(files: Mapping[str, str], top: str) -> tuple[int, int, int]:
    """Cells, flip-flops and estimated transistors."""
    sources = sorted(files, key=lambda n: (not n.endswith("_pkg.sv"), n))
    with tempfile.TemporaryDirectory() as where:
        for name, text in files.items():
            Path(where, name).write_text(text, encoding="utf-8")
        script = f"read_verilog -sv {' '.join(sources)}; synth -flatten -top {top}; tee -o stat.txt stat -tech cmos"
        subprocess.run(["yosys", "-q", "-p", script], cwd=where, check=True, capture_output=True)
        text = Path(where, "stat.txt").read_text(encoding="utf-8")
    cells = int(re.findall(r"Number of cells:\s+(\d+)", text)[-1])
    flops = sum(int(n) for n in re.findall(r"\$_\w*DFF\w*_\s+(\d+)", text))
    return cells, flops, int(re.findall(r"Estimated number of transistors:\s+(\d+)", text)[-1])


def files_of(made: Compute) -> dict[str, str]:
    """The package of a unit alone, with its core."""
    axes = tuple(
        Axis(a.name, getattr(made, a.name), a.unit, a.doc, a.legal.names if isinstance(a.legal, Names) else ())
        for a in made.axes()
    )
    rig = package("rig", [PartSpec("u", made.template_name, 1, axes)], [], 10**9)
    return {"rig_pkg.sv": render(rig)["rig_pkg.sv"], **wrapper(rig, "u", made)}


def main() -> None:
    """Print the table."""
    print("## Reference cores: cells beside the area model (`benchmarks/cells.py`)\n")
    if shutil.which("yosys") is None:
        print("Yosys is not installed.")
        return
    version = " ".join(subprocess.check_output(["yosys", "-V"], text=True).split()[:2])
    print(
        f"{version}: its own cells, and the CMOS transistors that it estimates (`synth -flatten`, `stat -tech cmos`; a "
        "flip-flop is 16). The area model's transistors are its area at 7 nm over that of one of logic. Cores have "
        "control, skew and address registers that the model leaves to the rest of the chip; the model's multipliers "
        "are floating-point units scaled by their width; its lane of a vector unit is that of a GPU, with registers "
        "and control.\n"
    )
    tech = load_tech(NODE_NM)
    one = float(tech.logic_mm2(1.0))
    print("| core | cells | flip-flops | transistors | area model, transistors | core / model | s |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, (family, axes) in DESIGNS.items():
        start = time.perf_counter()
        made = registry.lookup("template", family)(**axes)
        cells, flops, count = synthesised(files_of(made), "rig_u")
        model = float(made.area_mm2(tech)) / one
        seconds = time.perf_counter() - start
        print(f"| {name} | {cells:,} | {flops:,} | {count:,} | {model:,.0f} | {count / model:.2f} | {seconds:.0f} |")
        sys.stdout.flush()
    for name, top in SHARED.items():
        start = time.perf_counter()
        cells, flops, count = synthesised(shared(), top)
        print(f"| {name} | {cells:,} | {flops:,} | {count:,} | | | {time.perf_counter() - start:.0f} |")


if __name__ == "__main__":
    main()
