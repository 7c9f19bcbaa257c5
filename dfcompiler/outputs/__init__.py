"""What `compile -o DIR` leaves: the mapping, the final IR, the chip, a trace, registers for the RTL team, a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfcompiler.api import Compiled
from dfcompiler.graphtext import show_graph
from dfcompiler.outputs.mapping import mapping_json
from dfcompiler.outputs.picture import gantt_svg
from dfcompiler.outputs.registers import package_name, rtl_package
from dfcompiler.outputs.trace import trace_json
from dfcompiler.rtl import render, write
from dfcompiler.text.show import show
from dfcompiler.writing import make_folder, write_text

__all__ = ["gantt_svg", "json_text", "mapping_json", "package_name", "rtl_package", "trace_json", "write_outputs"]


def write_outputs(compiled: Compiled, out: Path, name: str) -> list[Path]:
    """Write `mapping.json`, `graph.dfir`, `trace.json` and the folder `rtl` into `out`; returns all their paths.

    `name` is how the run is called in these files. The same input gives the same bytes, but for `seconds` in
    `mapping.json`. Raises Diag `bad-output` where the folder cannot be written, and `rtl-output` where its `rtl`
    holds files that are not ours.
    """
    files = {
        "mapping.json": json_text(mapping_json(compiled, name)),
        "graph.dfir": show_graph(compiled.graph),
        "chip.chip": show(compiled.chip.decl) + "\n",
        "trace.json": json_text(trace_json(compiled, name), indent=None),
    }
    registers = render(rtl_package(compiled.chip, compiled.report, package_name(compiled.chip.name), compiled.graph))
    make_folder(out)
    write(registers, out / "rtl")
    for file, text in files.items():
        write_text(out / file, text)
    return [*(out / f for f in files), *(out / "rtl" / f for f in registers)]


def json_text(value: Any, indent: int | None = 2) -> str:
    """JSON that every reader takes: numbers that are not finite become null. Ends in a newline."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
