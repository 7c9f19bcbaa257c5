"""What `compile -o DIR` writes: a checker redoes the mapping from its JSON, tools read the rest."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from pyslang import DiagnosticEngine, SourceManager, ast, syntax

from dfcompiler.api import Compiled, compile_model
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library, load_model
from dfcompiler.outputs import gantt_svg, mapping_json, package_name, rtl_package, trace_json, write_outputs
from dfcompiler.rtl import render
from dfcompiler.rtl.params import number
from dfcompiler.rtl.schedule import OpRow, schedule
from dfcompiler.steps import phase

CASES = ("ador", "decode"), ("tpu128", "decode"), ("ador", "mixed")


@cache
def compiled(chip: str, name: str) -> Compiled:
    """A compiled step; the greedy mapper where only the outputs matter and the integer program takes long."""
    sizes = {"decode": (16, 1, 2048), "mixed": (16, 256, 2048)}[name]
    pipeline = "greedy" if name == "mixed" else "default"
    return compile_model(load_model("llama3-8b"), load_chip(chip), phase(name, *sizes), pipeline=pipeline)


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> Compiled:
    return compiled(*request.param)


@pytest.fixture
def written(case: Compiled, tmp_path: Path) -> Path:
    write_outputs(case, tmp_path / "out", "run")
    return tmp_path / "out"


# ---- the folder --------------------------------------------------------------------------------


def test_every_path_is_told_and_is_there(case: Compiled, tmp_path: Path) -> None:
    told = write_outputs(case, tmp_path / "a" / "b", "run")
    assert sorted(told) == sorted(p for p in (tmp_path / "a" / "b").rglob("*") if p.is_file())
    assert {p.name for p in told} >= {"mapping.json", "graph.dfir", "trace.json", "params.json"}


def test_the_same_input_gives_the_same_bytes(case: Compiled, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_outputs(case, tmp_path / name, "run")
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_another_compile_differs_in_its_seconds_only() -> None:
    model, chip, step = load_model("llama3-8b"), load_chip("tpu128"), phase("decode", 4, 1, 100)
    both = [compile_model(model, chip, step, pipeline="greedy") for _ in range(2)]
    one, two = (mapping_json(c, "run") for c in both)
    assert one.pop("seconds").keys() == two.pop("seconds").keys()
    assert one == two
    assert trace_json(both[0], "run") == trace_json(both[1], "run")
    assert gantt_svg(both[0]) == gantt_svg(both[1])


def test_the_same_folder_may_be_written_again(written: Path, case: Compiled) -> None:
    before = {p: p.read_bytes() for p in written.rglob("*") if p.is_file()}
    write_outputs(case, written, "run")
    assert before == {p: p.read_bytes() for p in written.rglob("*") if p.is_file()}


def _a_file(path: Path) -> Path:
    path.write_text("mine")
    return path


def _below_a_file(path: Path) -> Path:
    return _a_file(path) / "out"


def _a_folder_in_the_way(path: Path) -> Path:
    (path / "mapping.json").mkdir(parents=True)
    return path


@pytest.mark.parametrize("make", [_a_file, _below_a_file, _a_folder_in_the_way])
def test_a_folder_that_cannot_be_written_is_an_error(make: Callable[[Path], Path], tmp_path: Path) -> None:
    out = make(tmp_path / "out")
    with pytest.raises(Diag) as caught:
        write_outputs(compiled("tpu128", "decode"), out, "run")
    assert caught.value.code == "bad-output"
    assert str(out) in str(caught.value)


# ---- mapping.json ------------------------------------------------------------------------------


def test_a_checker_redoes_the_mapping(written: Path, case: Compiled) -> None:
    said = json.loads((written / "mapping.json").read_text())
    mapping, clock_hz = said["mapping"], said["hardware"]["clock_hz"]
    at = 0
    for segment in mapping["segments"]:
        assert segment["start"] == at
        check_segment(segment, mapping["resolution"])
        at = segment["end"]
    assert mapping["cycles"] == at
    assert said["latency_s"] == pytest.approx(at / clock_hz)
    assert mapping["bound_cycles"] == sum(s["bound"]["all"] for s in mapping["segments"]) <= at
    assert said["bound_s"] == pytest.approx(max(mapping["bound_cycles"] / clock_hz, said["roofline_s"]))
    runs = [(t, s["repeat"]) for s in mapping["segments"] for t in s["tasks"]]
    assert [t["id"] for t, _ in runs] == [*range(len(runs))]
    assert sorted(n for t, _ in runs for n in t["nodes"]) == sorted(case.graph.nodes)
    for level, moved in said["traffic_bytes"].items():
        assert moved == pytest.approx(sum(t["level_bytes"].get(level, 0) * times for t, times in runs))


def check_segment(segment: dict[str, Any], resolution: int) -> None:
    """Dependences, resources, and the period of one segment."""
    tasks = {t["id"]: t for t in segment["tasks"]}
    assert segment["cycles"] == max(t["end"] for t in tasks.values())
    assert segment["end"] == segment["start"] + segment["cycles"] + (segment["repeat"] - 1) * segment["period"]
    assert segment["bound"]["cycles"] <= segment["cycles"]
    for d in segment["depends"]:
        assert tasks[d["from"]]["end"] <= tasks[d["to"]]["start"], d
    for d in segment["next_run_depends"]:
        assert tasks[d["from"]]["end"] <= tasks[d["to"]]["start"] + segment["period"], d
    runs = range(min(segment["repeat"], 1 + -(-segment["cycles"] // segment["period"])))
    spans = [(i * segment["period"], t) for i in runs for t in tasks.values()]
    for now in {at + t["start"] for at, t in spans}:
        used: dict[str, int] = {}
        for at, t in spans:
            if at + t["start"] <= now < at + t["end"]:
                for resource, amount in held(t, resolution):
                    used[resource] = used.get(resource, 0) + amount
        assert all(v <= resolution for v in used.values()), used


def held(task: dict[str, Any], resolution: int) -> Iterator[tuple[str, int]]:
    yield task["unit"], resolution
    yield "the DRAM", task["dram"]
    if task["helper"]:
        yield task["helper"], task["beside"]


def test_it_holds_what_a_checker_needs(written: Path, case: Compiled) -> None:
    said = json.loads((written / "mapping.json").read_text())
    assert said["hardware"]["fingerprint"] == case.chip.fingerprint()
    assert {u["name"] for u in said["hardware"]["units"]} == set(case.chip.units)
    assert said["versions"].keys() == {"dfcompiler", "numpy", "ortools"}
    assert all(s["bound"]["proof"] for s in said["mapping"]["segments"])
    assert case.report.to_json().keys() <= said.keys()
    rooms = {u["name"]: u["levels"][-1]["capacity_bytes"] for u in said["hardware"]["units"]}
    for segment in said["mapping"]["segments"]:
        for task in segment["tasks"]:
            assert task["buffer_bytes"] <= rooms[task["unit"]]
            assert task["tile"].keys() >= set(task["order"])
        if segment["repeat"] > 1:
            assert segment["depends"] and segment["next_run_depends"]


# ---- the graph and the trace -------------------------------------------------------------------


def test_the_graph_is_read_back_equal(written: Path, case: Compiled) -> None:
    text = (written / "graph.dfir").read_text()
    assert parse_graph(Source("graph.dfir", text), library()) == case.graph
    assert "  offer " in text
    assert "  place " in text


def test_the_trace_shows_the_schedule(written: Path, case: Compiled) -> None:
    trace = json.loads((written / "trace.json").read_text())
    events = trace["traceEvents"]
    assert {e["pid"] for e in events} == {1}
    lanes = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(lanes.values()) == {"layers", *case.chip.units}
    slices = [e for e in events if e["ph"] == "X"]
    ops = [e for e in slices if lanes[e["tid"]] != "layers"]
    assert len(ops) == len(case.report.ops)
    for event, op in zip(ops, case.report.ops, strict=True):
        assert (lanes[event["tid"]], event["ts"]) == (op.unit, pytest.approx(op.start_s * 1e6, abs=1e-5))
        assert {"tile", f"{case.chip.dram.name}_bytes", "bound", "utilization"} <= event["args"].keys()
    layers = [e for e in slices if lanes[e["tid"]] == "layers"]
    assert len(layers) == max(x.repeat for x in case.report.layers)
    assert max(e["ts"] + e["dur"] for e in slices) == pytest.approx(case.report.latency_s * 1e6)
    for lane in lanes:  # slices of a lane follow each other: viewers nest what overlaps
        mine = sorted((e for e in slices if e["tid"] == lane), key=lambda e: e["ts"])
        assert all(a["ts"] + a["dur"] <= b["ts"] + 1e-5 for a, b in itertools.pairwise(mine))
    counters = {e["name"] for e in events if e["ph"] == "C"}
    assert counters == {"DRAM bandwidth", "vu busy"}
    for name in counters:
        mine = [e for e in events if e["name"] == name]
        assert [e["ts"] for e in mine] == sorted(e["ts"] for e in mine)
        assert all(0 <= e["args"]["percent"] <= 100 for e in mine)
        assert mine[-1]["args"]["percent"] == 0


# ---- registers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("chip", ["ador", "tpu128"])
def test_tools_take_the_package_of_a_chip(chip: str, mapped: bool, tmp_path: Path) -> None:
    done = compiled(chip, "decode")
    made = rtl_package(done.chip, done.report if mapped else None, chip)
    files = render(made)
    compilation, manager = ast.Compilation(), SourceManager()
    for name, text in files.items():
        if name.endswith(".sv"):
            compilation.addSyntaxTree(syntax.SyntaxTree.fromText(text, manager, name, name))
    compilation.getRoot()
    found = list(compilation.getAllDiagnostics())
    assert (DiagnosticEngine.reportAll(manager, found) if found else "") == ""
    members = [m for m in compilation.getPackage(f"{chip}_pkg") or () if isinstance(m, ast.ParameterSymbol)]
    read = {m.name: int(cast(Any, m.value.value)) for m in members}
    assert all(read[f"{chip}_{p.name}".upper()] == number(made, p) for p in made.parameters)
    lint_with_verilator(files, chip, tmp_path)


def lint_with_verilator(files: dict[str, str], name: str, folder: Path) -> None:
    if shutil.which("verilator") is None:
        if os.environ.get("DFC_REQUIRE_RTL") == "1":
            pytest.fail("verilator is required (DFC_REQUIRE_RTL=1) and not installed")
        return
    for file, text in files.items():
        (folder / file).write_text(text)
    command = ["verilator", "--lint-only", "-Wall", "--top-module", f"{name}_check", "-f", f"{name}.f"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_package_says_the_chip_and_the_mapping() -> None:
    done = compiled("ador", "decode")
    made = rtl_package(done.chip, done.report, "ador")
    values = {p.name: p for p in made.parameters}
    assert (values["sa_rows"].value, values["sa_rows"].unit) == (64, "PE")
    assert values["sa_instances"].value == 32
    assert values["sa_dataflow"].value == "dataflow.weight_stationary"
    assert values["clock_hz"].value == 1_500_000_000
    assert all(p.doc for p in made.parameters)
    (table,) = [t for t in made.tables if t.name == "ops"]
    names = [c.name for c in table.columns]
    assert len(table.rows) == len(done.report.ops)
    for row, op in zip(table.rows, done.report.ops, strict=True):
        said = dict(zip(names, row, strict=True))
        assert said["times"] == op.repeat
        assert said["start"] == round(op.start_s * done.chip.clock_hz)
        assert said["stop"] == round(op.end_s * done.chip.clock_hz)
        assert {d: said[f"tile_{d}"] for d in op.tile} == dict(op.tile)


@pytest.mark.parametrize(
    ("chip", "name"), [("My Chip-2", "my_chip_2"), ("3d", "chip_3d"), ("logic", "chip_logic"), ("µ", "chip")]
)
def test_every_chip_has_a_package_name(chip: str, name: str) -> None:
    assert package_name(chip) == name


def test_a_long_schedule_goes_on_in_another_table() -> None:
    ops = [OpRow(f"op{i}", "mm", "sa", 1, i, i + 1, {f"d{j}": 1 for j in range(40)}, ()) for i in range(100)]
    _, tables = schedule(ops, ["sa"])
    assert [t.name for t in tables] == ["ops", "ops_1", "ops_2"]
    assert sum(len(t.rows) for t in tables) == 100
    assert [label for t in tables for label in t.labels] == [op.name for op in ops]


# ---- the picture -------------------------------------------------------------------------------


def test_the_picture_is_one_svg_without_overlaps(case: Compiled) -> None:
    text = gantt_svg(case)
    root = ET.fromstring(text)
    width, height = (float(root.attrib[a]) for a in ("width", "height"))
    boxes = [b for e in root.iter() if (b := box(e)) is not None]
    assert all(min(x, y) >= 0 and x + w <= width + 0.5 and y + h <= height + 0.5 for x, y, w, h in boxes)
    labels = [label_box(e) for e in root.iter() if e.tag.endswith("}text")]
    for i, (x, y, w, h) in enumerate(labels):
        assert x >= 0 and x + w <= width
        for other in labels[i + 1 :]:
            apart = x + w <= other[0] or other[0] + other[2] <= x or y + h <= other[1] or other[1] + other[3] <= y
            assert apart, (labels[i], other)
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def box(e: ET.Element) -> tuple[float, float, float, float] | None:
    if not e.tag.endswith("}rect"):
        return None
    x, y, w, h = (float(e.attrib[a]) for a in ("x", "y", "width", "height"))
    return x, y, w, h


def label_box(e: ET.Element) -> tuple[float, float, float, float]:
    """Where a text is, at the width that common fonts have on average."""
    kinds = e.attrib.get("class", "").split()
    size = 16 if "title" in kinds else 11 if "label" in kinds else 12
    wide = sum(0.25 if c in "ijlftrI.,:;' |()" else 0.56 for c in e.text or "") * size
    x, y = float(e.attrib["x"]), float(e.attrib["y"])
    left = {"middle": x - wide / 2, "end": x - wide}.get(e.attrib.get("text-anchor", ""), x)
    return left, y - size * 0.8, wide, size


def test_the_picture_names_every_lane_and_group() -> None:
    text = gantt_svg(compiled("ador", "mixed"))
    for said in (
        "32 x systolic-array",
        "32 x mac-tree",
        "32 x vector-unit",
        ">prefill<",
        ">decode<",
        "of 2 TB/s",
        " µs<",
    ):
        assert said in text
