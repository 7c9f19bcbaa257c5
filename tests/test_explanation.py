"""Why an op is mapped as it is: every number that is told, against compiles of other chips and of fewer columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tiny import LLAMA, tiny

from dfcompiler import quotes
from dfcompiler.api import Compiled, compile_model
from dfcompiler.cli import main
from dfcompiler.columns import Column
from dfcompiler.compose import single
from dfcompiler.cost import check_capacity, check_resident
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.dtypes import DtypeMap
from dfcompiler.explanation import Explanation, Mapped, Worth, explain
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.elaboration import chip_names, elaborate, load_chip
from dfcompiler.hardware.growth import KIB, capacity_lever, least
from dfcompiler.hardware.revision import larger
from dfcompiler.models import library
from dfcompiler.outputs import write_outputs
from dfcompiler.outputs.recall import recalled
from dfcompiler.parallelism import Parallel
from dfcompiler.pricing import op_graph, price_op
from dfcompiler.problem import Problem, problem
from dfcompiler.steps import phase
from dfcompiler.text.parse import parse_items, parse_setting
from dfcompiler.text.show import show
from dfcompiler.tiling import Search, search

CHIP = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { bandwidth = 4 GB/s, capacity = 1 GB }
  part glob: sram { capacity = 16 KiB }
  part net: noc { bandwidth = 4 B/cycle }
  part link: link { bandwidth = 1 GB/s }
  group core x 2 {
    part mem: sram { capacity = 2 KiB }
    part sa: systolic-array { rows = 4, cols = 4, share = 40 % }
    part mt: mac-tree { width = 4, trees = 1, share = 20 % }
    part vu: vector-unit { lanes = 4, share = 40 % }
  }
  connect hbm - glob - net - mem - sa
  connect mem - mt
  connect mem - vu
  connect glob - link
}
"""
SIZES = {**LLAMA, "hidden_size": 16}
STEP = phase("prefill", 1, 5, 0)


def small(**values: str) -> Chip:
    (decl,) = parse_items(Source("small.chip", CHIP))
    settings = (parse_setting(Source("--set", f"{k.replace('__', '.')}={v}")) for k, v in values.items())
    return elaborate(decl, {s.name: s for s in settings})  # type: ignore[arg-type]


def compiled(chip: Chip, objective: str = "latency", parallel: Parallel = Parallel()) -> Compiled:
    return compile_model(tiny(SIZES), chip, STEP, objective=objective, parallel=parallel)


def base(objective: str = "latency") -> Compiled:
    return _base(objective)


@cache
def _base(objective: str) -> Compiled:
    return compiled(small(), objective)


def mapped(of: Compiled) -> Mapped:
    """What is explained, without a folder."""
    mapping, context = of.graph.mapping, of.context
    assert mapping is not None and context.dtypes is not None and of.graph.columns is not None
    shares = of.graph.columns.shares
    return Mapped(of.graph, of.chip, context.dtypes, shares, mapping.layers, context.objective)


@cache
def explained(name: str, objective: str = "latency") -> Explanation:
    return explain(mapped(base(objective)), name)


def tasks(of: Compiled) -> Iterator[Column]:
    assert of.graph.mapping is not None
    return (t.column for x in of.graph.mapping.layers for t in x.solution.tasks)


OPS = ("y", "x_2", "logits")  # by itself and in groups, with products and without


def cycles(of: Compiled) -> int:
    assert of.graph.mapping is not None
    return of.graph.mapping.cycles


# ---- the step without it -----------------------------------------------------------------------


def forbid(monkeypatch: pytest.MonkeyPatch, banned: Callable[[Problem, str], bool], column: Column | None) -> None:
    """Columns of what is banned are never found; of a column itself, that one alone."""
    found, floor = quotes._Pricer._found, quotes.floor_cycles

    def without(self: Any, content: str, p: Problem, unit: Unit, limits: Any = None, spent: bool = False) -> Search:
        result = found(self, content, p, unit, limits, spent)
        kept = tuple(
            t for t in result.tilings if not banned(p, unit.name) or (column and t.share != column.tiling.share)
        )
        return replace(result, tilings=kept)

    def higher(p: Problem, unit: Unit, helper: Unit | None) -> float:
        return float("inf") if banned(p, unit.name) and column is None else floor(p, unit, helper)

    monkeypatch.setattr(quotes._Pricer, "_found", without)
    monkeypatch.setattr(quotes, "floor_cycles", higher)


@pytest.mark.parametrize(("name", "objective"), [*((n, "latency") for n in OPS), ("x_2", "energy")])
def test_the_step_without_a_unit_is_that_of_a_compile_without_its_columns(
    name: str, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = explained(name, objective)
    (runner,) = (r for r in why.runners_up if r.without == "unit")
    forbid(monkeypatch, lambda p, unit: unit == why.column.unit and bool(set(p.group.nodes) & set(why.nodes)), None)
    if runner.step_cycles is None:
        with pytest.raises(Infeasible, match=f"no unit can run `{runner.why.split('`')[1]}`"):
            compiled(small(), objective)
    else:
        assert runner.step_cycles == cycles(compiled(small(), objective))
        assert runner.gap == pytest.approx(0, abs=1e-9)
        assert all(c.unit != why.column.unit for c in runner.instead)


@pytest.mark.parametrize("name", OPS[1:])
def test_the_step_without_a_column_is_that_of_a_compile_without_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    why = explained(name)
    (runner,) = (r for r in why.runners_up if r.without == "column")
    forbid(monkeypatch, lambda p, unit: (p.group.nodes, unit) == (why.nodes, why.column.unit), why.column)
    assert runner.step_cycles == cycles(compiled(small()))
    assert runner.step_cycles >= why.step_cycles == cycles(base())


def test_every_unit_has_a_column_or_a_reason() -> None:
    refused = 0
    for name in OPS:
        why = explained(name)
        assert {c.unit for c in why.choices} == set(base().chip.units)
        assert why.choices[0].unit == why.column.unit and why.choices[0].column is not None
        assert all((c.column is None) == bool(c.why) for c in why.choices)
        refused += sum(c.column is None for c in why.choices)
    assert refused


# ---- what more would be worth ------------------------------------------------------------------


def price_on(chip: Chip, why: Explanation) -> tuple[float, float]:
    """Cycles and DRAM bytes of the op's best tiling with its share, of all that its unit may reserve."""
    priced = base().graph.columns
    assert priced is not None
    unit = chip.units[why.column.unit]
    found = search(priced.problems[why.nodes], unit, chip.units.get(unit.vector or ""))
    (one,) = (t for t in found.tilings if t.share == why.column.tiling.share)
    return one.cycles, one.dram_bytes


def told(w: Worth) -> tuple[Any, Any]:
    return pytest.approx(w.cycles, abs=1e-6), pytest.approx(w.dram_bytes, abs=1e-6)


def changed(part: str, axis: str, now: float, more: float, unit: str) -> Chip:
    if axis == "count":
        return elaborate(larger(base().chip.decl, part, int(more)))
    return small(**{f"{part}__{axis}": f"{int(now + more)}{unit}"})


@pytest.mark.parametrize("name", OPS)
def test_a_shadow_price_is_the_difference_of_two_prices(name: str) -> None:
    why, now = explained(name), {"mem": 2 * KIB, "glob": 16 * KIB, "hbm": 4e9, "net": 4, "core": 2}
    before = price_on(base().chip, why)
    assert {p.part for p in why.shadow_prices} == set(now)
    for p in why.shadow_prices:
        for w in filter(None, (p.one, p.least)):
            after = price_on(changed(p.part, p.axis, now[p.part], w.more, p.unit), why)
            assert (after[0] - before[0], after[1] - before[1]) == told(w), (p.part, w)


@pytest.mark.parametrize("start", [4, 6])
def test_less_than_the_least_changes_nothing(start: int) -> None:
    on, unit = f"{start}KiB", "sa"
    graph, node = op_graph(library().ops["linear"], {"t": (24.0,), "k": (64.0,), "n": (48.0,)}, DtypeMap())
    p = problem(single(graph, node), DtypeMap())

    def cycles_on(chip: Chip) -> tuple[float, float]:
        (found,) = search(p, chip.units[unit], chip.units["vu"], (1.0,)).tilings
        return found.cycles, found.dram_bytes

    chip, now = small(mem__capacity=on), cycles_on(small(mem__capacity=on))
    lever = capacity_lever(chip, "mem")
    assert lever is not None
    more = least(chip, lever, KIB, lambda c: cycles_on(c) != now)
    assert more is not None and more > KIB
    sizes = range(start + 1, start + more // KIB)
    assert all(cycles_on(small(mem__capacity=f"{n}KiB")) == now for n in (sizes[0], sizes[-1]))
    assert cycles_on(small(mem__capacity=f"{start + more // KIB}KiB")) < now


def test_an_op_of_a_compile_changes_by_its_shadow_price() -> None:
    slower, seen = compiled(small(hbm__bandwidth="5GB/s")), 0
    for after in tasks(slower):
        for before in (c for c in tasks(base()) if c.nodes[-1] in OPS):
            if (after.nodes, after.unit, after.dram) == (before.nodes, before.unit, before.dram):
                (price,) = (p for p in explained(before.nodes[-1]).shadow_prices if p.part == "hbm")
                assert after.tiling.cycles - before.tiling.cycles == pytest.approx(price.one.cycles)
                seen += price.one.cycles < 0
    assert seen


# ---- the smallest change -----------------------------------------------------------------------


def offered(text: str) -> tuple[str, str, int, str]:
    """Part, axis, value and unit that a hint sets."""
    part, axis, value, unit = re.search(r"--set (\w+)\.(\w+)=(\d+)(\w*)`", text).groups()  # type: ignore[union-attr]
    return part, axis, int(value), unit


@pytest.mark.parametrize("op", ["linear t=8 k=64 n=64", "rmsnorm t=1 d=4096", "softmax t=4 d=3000"])
def test_the_smallest_memory_is_enough_and_less_is_not(op: str) -> None:
    name, *sizes = op.split()
    dims = {k: (float(v),) for k, v in (x.split("=") for x in sizes)}
    with pytest.raises(Infeasible) as failed:
        price_op(name, dims, small(mem__capacity="64B"))
    assert failed.value.code == "no-mapping" and failed.value.hint is not None
    remedies = re.findall(r"--set [^`]*`\), then on `\w+`", failed.value.hint)
    assert remedies
    for said in remedies:
        part, axis, value, unit = offered(said)
        bytes_ = value * {"B": 1, "KiB": KIB}[unit]
        on = said.split("`")[-2]
        assert price_op(name, dims, small(**{f"{part}__{axis}": f"{value}{unit}"}), unit=on).cycles > 0
        with pytest.raises(Infeasible):
            price_op(name, dims, small(**{f"{part}__{axis}": f"{bytes_ - KIB}B"}), unit=on)


def test_the_smallest_dram_is_enough_and_less_is_not() -> None:
    graph, tight = base().graph, small(hbm__capacity="2MiB")
    big = compile_model(tiny({**SIZES, "intermediate_size": 65536}), small(), phase("decode", 1, 1, 4)).graph
    assert check_capacity(graph, tight).available_bytes == 2 << 20
    with pytest.raises(Infeasible) as failed:
        check_capacity(big, tight)
    _, _, value, unit = offered(failed.value.hint or "")
    assert unit == "MiB"
    assert check_capacity(big, small(hbm__capacity=f"{value}MiB"))
    with pytest.raises(Infeasible):
        check_capacity(big, small(hbm__capacity=f"{value - 1}MiB"))


CROSSBAR = """chip held {
  node = 28 nm
  clock = 1 GHz
  part dram: dram { bandwidth = 100 GB/s, capacity = 1 GB }
  part local: sram { capacity = 256 KiB }
  part cim: cim-crossbar { rows = 64, cols = 64, arrays = ARRAYS, resident = yes }
  part vu: vector-unit { lanes = 8 }
  connect dram - local - cim
  connect local - vu
}
"""


def test_the_smallest_crossbars_hold_all_weights_and_less_do_not() -> None:
    def chip(**values: str) -> Chip:
        (decl,) = parse_items(Source("held.chip", CROSSBAR.replace("ARRAYS", "8")))
        settings = (parse_setting(Source("--set", f"cim.{k}={v}")) for k, v in values.items())
        return elaborate(decl, {s.name: s for s in settings})  # type: ignore[arg-type]

    model, step = tiny({**SIZES, "hidden_size": 64}), phase("decode", 1, 1, 4)
    with pytest.raises(Infeasible) as failed:
        compile_model(model, chip(), step, dtype="w8a8kv8")
    assert failed.value.code == "not-resident"
    _, axis, value, _ = offered(failed.value.hint or "")
    graph = compile_model(model, chip(arrays="64"), step, dtype="w8a8kv8").graph
    with pytest.raises(Infeasible, match="times the weights"):
        check_resident(graph, chip())
    check_resident(graph, chip(**{axis: str(value)}))
    with pytest.raises(Infeasible, match="times the weights"):
        check_resident(graph, chip(**{axis: str(value - 1)}))


# ---- the folder --------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_outputs(base(), tmp_path / "out", "run")
    return tmp_path / "out"


def test_a_folder_is_enough_to_explain_an_op(out: Path) -> None:
    found = recalled(json.loads((out / "mapping.json").read_text(encoding="utf-8")), out)
    assert found.cycles == cycles(base())
    again, before = explain(found, OPS[0]), explained(OPS[0])
    assert again.shadow_prices == before.shadow_prices
    steps = ([(r.without, r.step_cycles, r.gap, r.why) for r in e.runners_up] for e in (again, before))
    assert next(steps) == next(steps)
    assert again.column.pj == pytest.approx(before.column.pj)


def test_it_is_printed_and_written_as_json(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = OPS[0]
    assert main(["show", str(out), "--op", name]) == 0
    printed = capsys.readouterr().out
    assert all(
        word in printed for word in ("without this unit", "without this column", "mem.capacity", *base().chip.units)
    )
    assert main(["show", str(out), "--op", name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["step_cycles"] == cycles(base()) and said["nodes"] == list(explained(name).nodes)
    (unit,) = (r for r in said["runners_up"] if r["without"] == "unit")
    assert unit["step_cycles"] == explained(name).runners_up[1].step_cycles


def test_a_node_of_a_group_means_the_group() -> None:
    group = next(c for c in tasks(base()) if len(c.nodes) > 1)
    assert explain(mapped(base()), group.nodes[0]).column is group


def test_an_exchange_has_prices_of_its_links(tmp_path: Path) -> None:
    of = compiled(small(), parallel=Parallel(tp=2))
    name = next(c.nodes[0] for c in tasks(of) if c.unit == "link")
    write_outputs(of, tmp_path / "two", "run")
    path = tmp_path / "two"
    why = explain(recalled(json.loads((path / "mapping.json").read_text(encoding="utf-8")), path), name)
    assert {p.part for p in why.shadow_prices} == {"hbm", "link"}
    assert all(r.step_cycles is None and name in r.why for r in why.runners_up)


@pytest.mark.parametrize("name", chip_names())
def test_the_text_of_a_chip_is_the_chip(name: str) -> None:
    chip = load_chip(name)
    units = list(chip.units)
    for other in (chip, load_chip(name, {}, units[1:]), elaborate(chip.decl)):
        (decl,) = parse_items(Source("text", show(other.decl)))
        assert elaborate(decl) == other  # type: ignore[arg-type]


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = json.loads(path.read_text(encoding="utf-8"))
    change(said)
    path.write_text(json.dumps(said), encoding="utf-8")


SPOILED: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("written by dfcompiler 0.0.1; this is", lambda x: x["versions"].update(dfcompiler="0.0.1")),
    ("written by an earlier dfcompiler", lambda x: x.pop("request")),
    ("KeyError", lambda x: x["mapping"]["segments"][0]["tasks"][0].pop("start")),
    ("ValueError", lambda x: x["mapping"]["segments"].pop()),
    ("TypeError", lambda x: x["request"].update(dtypes={"weights": "bf16"})),
    ("is not the chip of", lambda x: x["hardware"].update(fingerprint="0")),
    ("its tasks are not those of", lambda x: x["mapping"]["segments"][0]["tasks"].pop()),
]


@pytest.mark.parametrize(("message", "change"), SPOILED, ids=[m for m, _ in SPOILED])
def test_a_folder_that_does_not_belong_together_is_refused(
    message: str, change: Callable[[dict[str, Any]], object], out: Path
) -> None:
    edit(out / "mapping.json", change)
    with pytest.raises(Diag) as failed:
        recalled(json.loads((out / "mapping.json").read_text(encoding="utf-8")), out)
    assert failed.value.code == "bad-mapping" and message in failed.value.message


def test_an_op_that_is_priced_otherwise_is_refused(out: Path) -> None:
    edit(out / "mapping.json", lambda x: x["mapping"]["segments"][0]["tasks"][0].update(end=10**7))
    found = recalled(json.loads((out / "mapping.json").read_text(encoding="utf-8")), out)
    with pytest.raises(Diag, match="priced otherwise"):
        explain(found, found.layers[0].solution.tasks[0].column.nodes[0])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("show OUT --op nothing", "unknown-node"),
        ("show EMPTY --op x", "bad-mapping"),
        ("show ador --op x", "bad-mapping"),
        ("show OUT --json", "bad-option"),
    ],
)
def test_bad_input(line: str, said: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.replace("OUT", str(out)).replace("EMPTY", str(tmp_path)).split()
    assert main(words) == 2
    assert f"error[{said}]" in capsys.readouterr().err
