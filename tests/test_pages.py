"""What pages say is what results hold: areas, lives of values, rates, roofs and factors against other ways to them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagecases import compiled, explored, report, served

from dfcompiler import content
from dfcompiler.cli import main
from dfcompiler.cost import updated_in_place
from dfcompiler.diagnostics import Diag
from dfcompiler.graph import Region
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.outputs.remarks import remarks
from dfcompiler.pages import KINDS, Result, page, results
from dfcompiler.pages.floor import Box, beside, grid, placed, squarified
from dfcompiler.pages.front_chapter import factors, parallel
from dfcompiler.pages.lanes import schedule
from dfcompiler.pages.lives import lives
from dfcompiler.pages.memory import levels, shares
from dfcompiler.pages.ops import op_table
from dfcompiler.pages.replicas import binned
from dfcompiler.pages.roofline import bandwidths, place_of, roofs
from dfcompiler.pages.step import Step, read_step
from dfcompiler.pages.tables import table_in
from dfcompiler.pages.trust import measured, trust_blocks
from dfcompiler.serving.records import write_columns

ROOT = content.root()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def step(folder: Path) -> Step:
    (result,) = results(folder)
    return read_step(result)


# ---- the floor plan ----------------------------------------------------------------------------


def overlap(a: Box, b: Box) -> float:
    wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    return max(0.0, wide) * max(0.0, high)


def fill(boxes: list[Box], inside: Box) -> None:
    """They lie inside, apart from one another, and leave nothing."""
    whole = inside.area
    assert sum(b.area for b in boxes) == pytest.approx(whole)
    for b in boxes:
        assert overlap(b, inside) == pytest.approx(b.area, abs=1e-9 * whole)
    assert all(overlap(a, b) <= 1e-9 * whole for a, b in itertools.combinations(boxes, 2))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9), st.floats(0.2, 5))
def test_a_treemap_has_the_areas_and_fills_the_whole(areas: list[float], aspect: float) -> None:
    inside = Box(1.0, 2.0, (sum(areas) * aspect) ** 0.5, (sum(areas) / aspect) ** 0.5)
    boxes = squarified(areas, inside)
    assert [b.area for b in boxes] == pytest.approx(areas)
    fill(boxes, inside)


@given(st.integers(1, 140), st.floats(0.2, 5))
def test_a_grid_has_equal_cells_and_fills_the_whole(many: int, aspect: float) -> None:
    inside = Box(0.0, 0.0, aspect, 1.0)
    cells = grid(many, inside)
    assert [c.area for c in cells] == pytest.approx([aspect / many] * many)
    fill(cells, inside)


@pytest.mark.parametrize("name", ["ador", "h200", "tpu128", "cim_edge", "pim_edge", "gaudi3"])
def test_the_floor_plan_has_every_part_at_its_area(name: str) -> None:
    chip = load_chip(name)
    inside, cores, die = placed(chip)
    outside = beside(chip, die)
    area = chip.area_mm2()
    drawn: dict[str, float] = {}
    for p in (*inside, *(x for x in outside if x.kind == "compute")):
        drawn[p.name] = drawn.get(p.name, 0.0) + sum(b.area for b in p.boxes)
    assert drawn == pytest.approx({n: a for n, a in area.items() if a and n != "total"})
    assert die.area == pytest.approx(chip.die_mm2())
    fill([b for p in inside for b in p.boxes], die)
    for p in outside:
        if p.kind == "DRAM":
            assert p.boxes[0].area == pytest.approx(float(chip.parts[p.name].template.footprint_mm2()))  # type: ignore[attr-defined]
        assert p.boxes[0].x > die.width
    for core in (b for p in cores for b in p.boxes):
        assert overlap(core, die) == pytest.approx(core.area, rel=1e-6)


# ---- the schedule and the roofline --------------------------------------------------------------


def test_the_bars_are_the_ops_and_the_bandwidth_is_the_traffic(step: Step) -> None:
    figure = schedule(step)
    bars = [t for t in figure.data if t["type"] == "bar" and t["name"] in step.colours]
    drawn = sorted((b, d, n) for t in bars for b, d, n in zip(t["base"], t["x"], t["customdata"], strict=True))
    assert drawn == sorted((op["start_s"], op["end_s"] - op["start_s"], op["name"]) for op in step.ops)
    used = [t for t in figure.data if t.get("stackgroup") == "used by"]
    area = sum(float(np.dot(t["y"][:-1], np.diff(t["x"]))) for t in used)
    moved = area * step.mapped.chip.dram_bytes_per_s
    assert moved == pytest.approx(step.said["traffic_bytes"][step.mapped.chip.dram.name], rel=1e-3)
    reserved = [t for t in figure.data if t.get("stackgroup") == "reserved for"]
    assert max(map(sum, zip(*(t["y"] for t in reserved), strict=True))) <= 1 + 1e-6
    assert {t["name"] for t in bars} == {step.group(op) for op in step.ops} >= {"prefill", "decode"}


def test_no_op_is_above_its_roofs(step: Step) -> None:
    chip, tops = step.mapped.chip, {r.unit: r.rate for r in roofs(step)}
    on = [(op, at) for op in step.ops if (at := place_of(op, chip.dram.name))]
    assert len(on) > 10
    for op, (intensity, rate) in on:
        assert rate <= intensity * chip.dram_bytes_per_s * (1 + 1e-9)
        # A helper works beside its unit: both together bound what they do.
        assert rate <= (tops[op["unit"]] + tops.get(op["helper"], 0.0)) * (1 + 1e-9)
    peak = chip.units["sa"]
    assert tops["sa"] == 2 * float(peak.template.peak_macs_per_cycle()) * peak.instances * chip.clock_hz


def test_a_dram_with_units_in_its_banks_has_two_roofs() -> None:
    chip = load_chip("pim_edge")
    found = bandwidths(chip)
    assert list(found) == ["mem from within", "mem"] and found["mem from within"] == chip.dram_bytes_per_s
    assert found["mem"] == chip.settings["mem.bandwidth"].value < chip.dram_bytes_per_s
    assert bandwidths(load_chip("h200")) == {"hbm": pytest.approx(4.8e12)}


def test_every_op_has_its_row_and_its_reason(step: Step) -> None:
    table = op_table(step)
    titles = [c.title for c in table.columns]
    assert len(table.rows) == len(step.ops)
    for row, op in zip(table.rows, step.ops, strict=True):
        cells = dict(zip(titles, row, strict=True))
        assert cells["name"].text == op["name"] and cells["bound"].text == op["bound"]
        assert cells["time µs"].key == op["end_s"] - op["start_s"]
        assert len(cells["why"].text) > 20


# ---- the memory --------------------------------------------------------------------------------


def unrolled(step: Step) -> list[tuple[str, float, int, int]]:
    """(value, bytes, start, end) of all values, by running through the ops one by one with every layer written out."""
    graph, layers = step.mapped.graph, step.mapped.layers
    when: dict[str, tuple[int, int, int, int]] = {}  # node -> start, end, period, task
    start, number = 0, 0
    for layer in layers:
        for task in layer.solution.tasks:
            number += 1
            when |= dict.fromkeys(task.column.nodes, (start + task.start, start + task.end, layer.period, number))
        start += layer.cycles
    sizes: dict[str, float] = {}
    born: dict[str, tuple[int, int, int]] = {}  # value -> start, end of its op, task
    reads: dict[str, list[tuple[int, int]]] = {}  # value -> (end, task)
    names: dict[str, str] = {t.name: t.name for t in graph.tensors.values()}

    def run(body: Any, inside: dict[str, str], turn: int) -> None:
        for item in body:
            if isinstance(item, Region):
                held = {c.inner.name: inside.get(c.init, c.init) for c in item.carries}
                for k in range(item.count):
                    now = dict(inside) | held
                    run(item.body, now, k)
                    held = {c.inner.name: now.get(c.yielded, c.yielded) for c in item.carries}
                inside |= {c.result.name: held[c.inner.name] for c in item.carries}
            elif hasattr(item, "results"):
                a, b, period, task = when[item.name]
                for arg in item.args:
                    reads.setdefault(inside.get(arg, arg), []).append((b + turn * period, turn * 10_000 + task))
                for r in item.results:
                    inside[r.name] = f"{r.name}#{turn}"
                    names[inside[r.name]] = r.name
                    sizes[inside[r.name]] = r.type.bytes
                    born[inside[r.name]] = (a + turn * period, b + turn * period, turn * 10_000 + task)

    top: dict[str, str] = {}
    run(graph.body, top, 0)
    last = max(b for _, b, _ in born.values())
    kept = {top.get(o, o) for o in graph.outputs}
    found = []
    for value, (a, b, task) in born.items():
        users = reads.get(value, [])
        if names[value] in updated_in_place(graph) or (value not in kept and users and {t for _, t in users} == {task}):
            continue
        end = max([b, *(e for e, _ in users), *([last] if value in kept else [])])
        found.append((names[value], sizes[value], a, end))
    inputs = (t for t in graph.tensors.values() if t.kind == "input" and t.name in reads)
    found += [(t.name, t.type.bytes, 0, max(e for e, _ in reads[t.name])) for t in inputs]
    return sorted(found, key=lambda x: (x[2], x[3], x[0]))


def test_values_live_as_long_as_a_walk_through_all_layers_says(step: Step) -> None:
    found = [(x.name, x.bytes, x.start, x.end) for x in lives(step.mapped.graph, step.mapped.layers)]
    assert found == unrolled(step) and len(found) > 40
    at = levels(lives(step.mapped.graph, step.mapped.layers))
    for cycle, total in list(at.items())[::7]:
        assert total == pytest.approx(sum(b for _, b, a, e in found if a <= cycle < e))
    assert list(at.values())[-1] == pytest.approx(0.0, abs=1e-6)


def test_values_never_take_more_than_program_order_would_with_parts_at_once(step: Step) -> None:
    """Capacity counts what lives in program order, fused values too; parts that overlap may keep more alive at once,
    but not more than twice that."""
    peak = max(levels(lives(step.mapped.graph, step.mapped.layers)).values())
    assert 0 < peak <= 2 * step.said["capacity"]["activation_bytes"]


def test_units_share_the_memories_on_the_chip(step: Step) -> None:
    found = shares(step)
    assert {s.unit for s in found} <= set(step.mapped.chip.units) and found
    for s in found:
        used = [t[s.used] for t in step.tasks if t["unit"] == s.unit]
        assert 0 < max(used) <= s.bytes and 0 < s.part <= 1


# ---- serving and studies -------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 3), st.floats(0, 5)), min_size=1, max_size=8))
def test_bins_are_time_averages(spans: list[tuple[float, float, float]]) -> None:
    start = np.array([a for a, _, _ in spans])
    end, values = start + np.array([d for _, d, _ in spans]), np.array([v for _, _, v in spans])
    edges = np.linspace(-1, 14, 11)
    for i, mean in enumerate(binned(start, end, values, edges)):
        low, high = edges[i], edges[i + 1]
        inside = np.maximum(0, np.minimum(end, high) - np.maximum(start, low))
        assert mean == pytest.approx(float((inside * values).sum() / (high - low)), abs=1e-9)


def test_factors_are_those_of_a_search_through_the_front() -> None:
    points = [
        {"axes": {"cores": c, "kind": k}, "objectives": {"time": t, "rate": r}}
        for c, k, t, r in ((1, "a", 4.0, 8.0), (2, "a", 2.0, 6.0), (2, "b", 1.0, 2.0), (4, "b", 3.0, 9.0))
    ]
    found = factors(points, {"time": "min", "rate": "max"})
    assert found == {
        "cores": {"time": {1: 4.0, 2: 1.0, 4: 3.0}, "rate": {1: 9 / 8, 2: 9 / 6, 4: 1.0}},
        "kind": {"time": {"a": 2.0, "b": 1.0}, "rate": {"a": 9 / 8, "b": 1.0}},
    }


@pytest.mark.parametrize("axes, turned", [(3, False), (22, True)])
def test_names_of_many_parallel_axes_are_turned(axes: int, turned: bool) -> None:
    points = [{"axes": {f"pool.axis{i}": v for i in range(axes)}, "objectives": {"s": float(v)}} for v in (1, 2)]
    (trace,) = parallel(points, {"s": "min"}, {}).data
    assert len(trace["dimensions"]) == axes + 1 and (trace["labelangle"] != 0) == turned


def test_a_run_keeps_every_rate_that_was_tried(tmp_path: Path) -> None:
    told = json.loads((served(tmp_path) / "serve.json").read_text())
    rates = [p["rate_req_s"] for p in told["curve"]]
    assert rates == sorted(rates) and len(rates) == told["max_rate"]["runs"] + 8
    assert told["slo"] == {"ttft": 0.5, "tbt": 0.2} and told["attain"] == 0.99
    (best,) = (p for p in told["curve"] if p["rate_req_s"] == told["max_rate_req_s"])
    assert all(best[key] == told[key] for key in ("ttft_s", "tpot_s", "goodput_req_s", "slo_attainment"))
    assert max(rates) >= 1.25 * told["max_rate_req_s"] * (1 - 1e-9)
    said = page(results(tmp_path / "served"))
    assert "Over the rate" in said and "keep the objective for 99.0 %" in said
    assert ("<b>any</b>" in said) == (told["max_rate"]["too_high_per_s"] is None)


def test_tables_are_read_alike_from_both_kinds_of_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="it writes and reads Parquet files")
    columns = {"start_s": np.array([0.0, 1.5]), "ttft_s": np.array([0.25, np.nan])}
    read = []
    for kind in ("csv", "parquet"):
        folder = tmp_path / kind
        folder.mkdir()
        write_columns(columns, folder / f"series.{kind}")
        read.append(table_in(Result(KINDS[1], folder / "serve.json", {}, ""), "series"))
        assert table_in(Result(KINDS[1], folder / "serve.json", {}, ""), "requests") is None
    for found in read:
        assert found is not None and list(found) == list(columns)
        assert all(np.array_equal(found[n], columns[n], equal_nan=True) for n in columns)
    (tmp_path / "csv" / "series.csv").write_text("start_s\nsoon\n")
    with pytest.raises(Diag, match="is no table of numbers"):
        table_in(Result(KINDS[1], tmp_path / "csv" / "serve.json", {}, ""), "series")


# ---- pages as files -------------------------------------------------------------------------------


def test_the_same_result_gives_the_same_bytes_and_links_what_is_there(folder: Path) -> None:
    first = report(folder).read_bytes()
    assert report(folder).read_bytes() == first
    text = first.decode()
    before = text.partition("<script>/*!")[0]
    assert 'href="trace.json"' in before and "src=" not in before and "http" not in before
    assert before.count("<section") == 9


def test_running_times_change_no_hash(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    said = json.loads((copy / "mapping.json").read_text())
    said["seconds"] = dict.fromkeys(said["seconds"], 1.0)
    (copy / "mapping.json").write_text(json.dumps(said))
    (a,), (b,) = results(folder), results(copy)
    assert a.sha256 == b.sha256
    said["seed"] = 1
    (copy / "mapping.json").write_text(json.dumps(said))
    assert results(copy)[0].sha256 != a.sha256


def test_one_page_tells_of_everything_in_a_folder(folder: Path, tmp_path: Path) -> None:
    both = shutil.copytree(folder, tmp_path / "both")
    shutil.copy(explored(tmp_path) / "front.json", both)
    found = results(both)
    assert [r.kind.name for r in found] == ["compile", "explore"]
    text = page(found)
    ids = re.findall(r' id="([^"]+)"', text.partition("<script>/*!")[0])
    assert text.count("<header>") == 2 and len(ids) == len(set(ids)) > 20


@pytest.mark.parametrize("name", ["segments", "tasks", "bound"])
def test_a_damaged_mapping_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "mapping.json"
    path.write_text(path.read_text().replace(f'"{name}"', '"else"'))
    with pytest.raises(Diag) as caught:
        page(results(copy))
    assert caught.value.code in ("bad-mapping", "bad-result") and str(path) in caught.value.message


def test_stages_and_a_step_of_one_part_make_pages(tmp_path: Path) -> None:
    out = compiled(tmp_path, "--phase", "prefill", "--seq", "64", "--batch", "1", "--context", "0", "--devices", "2",
                   "--pp", "2")  # fmt: skip
    (result,) = results(out)
    text = page([result])
    assert "Devices are in stages" in text and set(read_step(result).colours) <= {
        "compute",
        "memory",
        "vector",
        "network",
        "link",
    }


# ---- where numbers come from ----------------------------------------------------------------------


def test_the_chip_says_where_its_numbers_come_from() -> None:
    said = remarks(load_chip("ador"))
    assert said["global.banks"] == "assumed" and said["uncore"].startswith("assumed: a PCIe 5")
    assert said["sa.share"].startswith("assumed") and said["hbm.capacity"] == ""
    assert "hbm.efficiency" not in said  # a default: the template says it


def test_errors_are_those_of_the_validation() -> None:
    spec = importlib.util.spec_from_file_location("measured", ROOT / "benchmarks" / "measured.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.measured(), "run benchmarks/measured.py"


def test_a_chip_that_nobody_measured_says_so() -> None:
    (said,) = trust_blocks("ador", False, "here")
    assert "has never been measured" in said.text  # type: ignore[union-attr]
    rows, runs = measured("h200")
    assert {x["operator"] for x in rows} >= {"gemm", "prefill", "decode", "moe", "all_reduce"} and not runs
    assert measured("rtx_pro_6000")[1] and not measured("rtx_pro_6000")[0]
    changed = list(trust_blocks("h200", True, "here"))
    assert "were changed" in changed[0].text  # type: ignore[union-attr]


def test_a_folder_cannot_be_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder), "-o", str(folder)]) == 2
    assert "[bad-output]" in capsys.readouterr().err


def test_a_result_that_is_changed_has_another_page(step: Step) -> None:
    """Figures are functions of the step alone."""
    later = replace(step, said={**step.said, "ops": [op | {"end_s": op["end_s"] * 2} for op in step.ops]})
    assert schedule(later).data != schedule(step).data and schedule(step).data == schedule(step).data
