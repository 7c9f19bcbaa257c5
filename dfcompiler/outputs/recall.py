"""A mapped step from the folder that it was written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dfcompiler
from dfcompiler.columns import Column, Segment, segments
from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import DtypeMap
from dfcompiler.explanation import Mapped
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.moves import Keep
from dfcompiler.pins import Pin
from dfcompiler.schedule import Layer
from dfcompiler.solution import Solution, Task
from dfcompiler.text.parse import read_source
from dfcompiler.tiling import Tiling

AGAIN = "`dfc compile -o DIR` writes it anew"


def recalled(found: Mapping[str, Any], folder: Path) -> Mapped:
    """The mapping in a folder of `write_outputs`, whose `mapping.json` holds `found`.

    Raises Diag `bad-mapping` where another version wrote it, or its files do not belong together.
    """
    wrote = found.get("versions", {}).get("dfcompiler") if isinstance(found.get("versions"), Mapping) else None
    if wrote != dfcompiler.__version__ or "request" not in found:
        by = f"dfcompiler {wrote}" if wrote not in (None, dfcompiler.__version__) else "an earlier dfcompiler"
        raise Diag("bad-mapping", f"`{folder}` was written by {by}; this is {dfcompiler.__version__}", hint=AGAIN)
    graph = parse_graph(read_source(folder / "graph.dfir"), library())
    chip, parts, request = load_chip(str(folder / "chip.chip")), segments(graph), found["request"]
    try:
        if chip.fingerprint() != found["hardware"]["fingerprint"]:
            message = f"`{folder / 'chip.chip'}` is not the chip of its `mapping.json`, or templates have changed"
            raise Diag("bad-mapping", message, hint=AGAIN)
        ops = iter(found["ops"])
        layers = tuple(
            _layer(segment, said, serial["serial"], ops)
            for segment, said, serial in zip(parts, found["mapping"]["segments"], found["layers"], strict=True)
        )
        dtypes, shares = DtypeMap(**request["dtypes"]), tuple(request["shares"])
        return Mapped(graph, chip, dtypes, shares, layers, found["objective"], request["power_w"], request["seed"])
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise Diag("bad-mapping", f"`{folder / 'mapping.json'}` is damaged: {error!r}", hint=AGAIN) from None


def _layer(segment: Segment, said: Mapping[str, Any], serial: bool, ops: Any) -> Layer:
    every = [Pin(**{**pin, "readers": tuple(pin["readers"])}) for pin in said["pins"]]
    pins = [tuple(every[i] for i in said["columns"][t["column"]]["pins"]) for t in said["tasks"]]
    tasks = tuple(
        Task(replace(_column(t, next(ops)), pins=some), t["start"]) for t, some in zip(said["tasks"], pins, strict=True)
    )
    bound = said["bound"]["cycles"]
    solution = Solution(tasks, said["cycles"], bound, said["cycles"] <= bound, float(bound))
    if {n for t in tasks for n in t.column.nodes} != set(segment.nodes):
        raise ValueError("its tasks are not those of `graph.dfir`")
    return Layer(segment, solution, said["period"], said["bound"]["period"], serial)


def _column(task: Mapping[str, Any], op: Mapping[str, Any]) -> Column:
    cycles = task["end"] - task["start"]
    tiling = Tiling(
        share=op["dram_share"],
        cycles=cycles,
        compute_cycles=task["compute_cycles"],
        helper_cycles=task["helper_cycles"],
        memory_cycles=task["memory_cycles"],
        dram_bytes=task["dram_bytes"],
        level_bytes=dict(task["level_bytes"]),
        tile=dict(task["tile"]),
        ways=dict(task["ways"]),
        order=tuple(task["order"]),
        keeps=tuple(Keep(**k) for k in task["keeps"]),
        room_bytes=task["buffer_bytes"],
        room_above_bytes=task["buffer_above_bytes"],
    )
    nodes, dram, beside = tuple(task["nodes"]), task["dram"], task["beside"]
    return Column(nodes, task["unit"], task["helper"], cycles, dram, beside, tiling, op["energy_j"] * 1e12)
