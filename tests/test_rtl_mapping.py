"""From what the compiler chose to tables and to RTL: rooms add up, strides walk every tile once, a core runs it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rtlrig import needs

from dfcompiler import content
from dfcompiler.api import Compiled, compile_model
from dfcompiler.audit import chosen
from dfcompiler.cli.inputs import dims_of
from dfcompiler.cli.main import main
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.hardware.template import Ports
from dfcompiler.models import load_model
from dfcompiler.outputs import descriptors, rtl_package
from dfcompiler.outputs.descriptors import END, OUTSIDE, placed
from dfcompiler.pricing import map_op
from dfcompiler.rtl import loops
from dfcompiler.rtl.benches import bench
from dfcompiler.rtl.cores import core_of
from dfcompiler.rtl.nests import DIMS, Blocks, nest, tiles
from dfcompiler.rtl.params import Table
from dfcompiler.rtl.products import product_of
from dfcompiler.schedule import columns_of
from dfcompiler.steps import phase

SMALL = ("sa.rows=6", "sa.cols=5", "mt.width=6", "mt.trees=3", "local.capacity=24 KiB", "sa.acc_bits=32")


@pytest.fixture(scope="module", params=["lower-model,tile,map-greedy,schedule", "list"])
def mapped(request: pytest.FixtureRequest) -> Compiled:
    step = phase("mixed", 4, 128, 128)
    return compile_model(load_model("gpt2"), load_chip("ador"), step, pipeline=request.param, time_limit_s=5)


def rows(found: tuple[Table, ...], name: str) -> list[dict[str, int]]:
    some = [t for t in found if t.name == name or t.name.startswith(f"{name}_")]
    return [dict(zip((c.name for c in t.columns), row, strict=True)) for t in some for row in t.rows]


def test_rooms_add_up_to_what_the_mapper_counted(mapped: Compiled) -> None:
    problems = columns_of(mapped.graph).problems
    seen = 0
    for c in chosen(mapped.graph):
        unit = mapped.chip.units[c.unit]
        some = placed(problems[c.nodes], unit, mapped.chip.units.get(unit.vector or ""), c)
        assert 0 <= sum(o.room_bytes for o in some) - c.tiling.room_bytes < len(some)
        end = max(o.base + o.room_bytes for o in some)
        assert end <= unit.levels[-1].capacity_bytes + 64 * len(some)
        for one, other in itertools.pairwise(some):
            assert other.base % 64 == 0 and other.base >= one.base + one.room_bytes
        seen += 1
    assert seen > 5


def test_tables_follow_the_mapping(mapped: Compiled) -> None:
    found = descriptors.tables(mapped.graph, mapped.chip)
    by_loop, by_buffer = rows(found, "loops"), rows(found, "buffers")
    problems = columns_of(mapped.graph).problems
    for number, c in enumerate(chosen(mapped.graph)):
        mine = [r for r in by_loop if r["op"] == number]
        sizes = {x.name: x.size for x in problems[c.nodes].loops}
        assert [r["position"] for r in mine] == [*range(len(c.tiling.order))]
        for r, name in zip(mine, c.tiling.order, strict=True):
            share = -(-sizes[name] // r["ways"])
            assert (r["trips"] - 1) * r["tile"] + r["last"] == share
            assert 0 < r["last"] <= r["tile"]
        operands = [r for r in by_buffer if r["op"] == number]
        assert len(operands) == len(problems[c.nodes].operands)
        for r, o in zip(operands, problems[c.nodes].operands, strict=True):
            strides = [r[f"stride_{i}"] for i in range(len(mine))]
            trips = [x["trips"] for x in mine]
            own = [i for i, name in enumerate(c.tiling.order) if name in o.loops]
            assert all((s > 0) == (i in own) for i, s in enumerate(strides))
            if all(trips[i] <= 6 for i in own):  # every tile of the operand has a place of its own, without gaps
                at = {sum(t * strides[i] for t, i in zip(turn, own, strict=True))
                      for turn in itertools.product(*(range(trips[i]) for i in own))}  # fmt: skip
                assert at == {i * r["tile"] for i in range(len(at))}
            assert r["since"] == OUTSIDE or r["since"] < len(mine)


def test_pointers_lead_through_the_rows_of_an_op(mapped: Compiled) -> None:
    found = descriptors.tables(mapped.graph, mapped.chip)
    for name in ("loops", "buffers"):
        some = rows(found, name)
        for number in {r["op"] for r in some}:
            at, walked = next(i for i, r in enumerate(some) if r["op"] == number), []
            while at != END:
                walked.append(at)
                at = some[at]["following"]
            assert walked == [i for i, r in enumerate(some) if r["op"] == number]


OPS = {
    "a linear on an array": ("linear", "t=2,9 k=50 n=37", "sa", ()),
    "without buffers for weights, behind a narrow port": (
        "matmul",
        "m=31 k=23 n=41",
        "sa",
        ("sa.reload=exposed", "local.input=2 B/cycle"),
    ),
    "sums that stay": ("matmul", "m=31 k=53 n=41", "sa", ("sa.dataflow=output-stationary",)),
    "products of a batch": ("bmm", "z=5 m=17 k=19 n=13", "sa", ("sa.reload=serial",)),
    "a vector times a matrix": ("gemm", "m=1 k=200 n=61", "mt", ()),
    "rows that share weights": ("gemm", "m=9 k=70 n=40", "mt", ("mt.hold=4",)),
}


@pytest.mark.parametrize("name", OPS)
def test_what_the_compiler_chose_runs_as_it_says(name: str) -> None:
    needs("verilator")
    op, dims, unit, changes = OPS[name]
    chip = load_chip("ador", overrides([*SMALL, *changes]), [])
    found = map_op(op, dims_of(dims.split()), chip, unit=unit)
    product = product_of(found.problem, found.tiling.tile, found.tiling.ways, found.tiling.order)
    made = bench(rtl_package(chip, None, "npu"), unit, found.unit.template, 1 << 12, found.unit.ports)
    loops.check(found.unit.template, made, product, 16)
    outcome = loops.simulate(made, found.unit.template, product)
    assert (outcome.wrong, outcome.cycles) == (0, outcome.model_cycles)
    free = loops.model_cycles(found.unit.template, product, replace(made, ports=Ports()))
    assert (outcome.cycles > free) == ("narrow" in name)
    priced = found.tiling.compute_cycles + float(found.unit.template.fill_cycles())
    assert outcome.cycles <= priced  # which charges ragged tiles as whole ones


def test_the_command_simulates(capsys: Any) -> None:
    needs("verilator")
    words = ["rtl", "--on", "ador", "--simulate", "matmul", "m=12", "k=40", "n=30", "--unit", "sa"]
    assert main([*words, *(x for s in SMALL for x in ("--set", s))]) == 0
    said = capsys.readouterr().out
    assert "results are numpy's" in said and "in RTL" in said
    assert main([*words, *(x for s in SMALL for x in ("--set", s)), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["wrong"], told["cycles"]) == (0, told["model_cycles"])
    assert told["cycles"] <= told["priced_cycles"]


def test_a_descriptor_of_the_package_is_what_the_core_runs() -> None:
    """A row of the table, as `$readmemh` reads it, over operands that lie as the mapping says."""
    needs("verilator")
    chip = load_chip("ador", overrides([*SMALL, "local.capacity=96 KiB", "vu.lanes=4"]), [])
    done = compile_model(
        load_model("gpt2"), chip, phase("prefill", 1, 7, 0), pipeline="lower-model,tile,map-greedy,schedule"
    )
    package = rtl_package(chip, done.report, "npu", done.graph)
    held = next(t for t in package.tables if t.name == "desc")
    number, label = next(
        (i, x)
        for i, x in enumerate(held.labels)
        if dict(zip((c.name for c in held.columns), held.rows[i], strict=True))["extent_k"] == 768
    )
    column = chosen(done.graph)[int(label.split()[1].rstrip(":"))]
    unit = chip.units[column.unit]
    product = product_of(
        columns_of(done.graph).problems[column.nodes], column.tiling.tile, column.tiling.ways, column.tiling.order
    )
    at = [c.name for c in held.columns].index("following")
    row = held.rows[number]
    alone = replace(held, rows=((*row[:at], END, *row[at + 1 :]),), labels=())
    found = loops.simulate(bench(package, column.unit, unit.template), unit.template, product, rows=alone)
    assert (found.wrong, found.cycles) == (0, found.model_cycles)
    assert found.cycles > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rmsnorm", "t=1,5", "d=70"], "one contraction"),
        (["matmul", "m=9", "k=9", "n=9", "--set", "sa.operand_bits=8", "--unit", "sa"], "several passes"),
        (["matmul", "m=9", "k=90", "n=90", "--set", "local.weight=2 B/cycle", "--unit", "sa"], "waits for the port"),
        (
            ["matmul", "m=1", "k=90", "n=90", "--set", "local.psum_write=8 B/cycle", "--unit", "mt"],
            "waits for the port",
        ),
        (
            "matmul m=1 k=64 n=9 --set local.input=96B/cycle --set sa.reload=exposed --unit sa".split(),
            "takes 65.3333 cycles",
        ),
        (["matmul", "m=9", "k=9", "n=9", "--set", "sa.sparsity=two-of-four", "--unit", "sa"], "no reference core"),
        (["matmul", "m=9", "k=9", "n=9", "--unit", "vu"], "does not multiply matrices"),
        (["matmul", "m=9", "k=9", "n=9", "--on", "h100_sxm"], "no reference core builds this `gpu-sm`"),
    ],
)
def test_what_no_core_does_is_an_answer(words: list[str], said: str, capsys: Any) -> None:
    assert main(["rtl", *([] if "--on" in words else ["--on", "ador"]), "--simulate", *words]) == 1
    assert said in capsys.readouterr().err


def test_masked_points_are_no_product() -> None:
    chip = load_chip("ador", {}, [])
    found = map_op("attention", dims_of("b=1 s=16 t=16 g=1 r=1 e=8 f=8".split()), chip)
    with pytest.raises(Infeasible, match="one contraction"):
        product_of(found.problem, found.tiling.tile, found.tiling.ways, found.tiling.order)


def test_lines_of_a_nest_are_visited_in_their_places() -> None:
    """Walked by hand: the address of every fold is that of its first element."""
    core = core_of(load_chip("ador", overrides(SMALL), []).units["sa"].template)
    extents, tile = {"b": 2, "m": 7, "n": 13, "k": 17}, {"m": 4, "n": 7, "k": 9}
    walked = nest(core, extents, tile, ("k", "n", "m"))
    x = Blocks(core.ports["x"], extents, tile)
    at = lambda b, m, k: loops.lines.places(x, ("b", "m", "k"))[0][b, m, k]  # noqa: E731
    turns = {t.dim: t for t in walked.turns[:4]}
    assert turns["b"].strides["x"] == at(1, 0, 0)
    assert turns["m"].strides["x"] == at(0, 4, 0)
    assert turns["k"].strides["x"] == at(0, 0, 9)
    assert walked.turns[-1].strides["x"] == at(0, 0, 6)
    assert sum(n * size["m"] * size["n"] * size["k"] for n, size in tiles(extents, {**tile, "b": 1})) == 2 * 7 * 13 * 17
    assert [t.dim for t in walked.turns] == ["b", "k", "n", "m", "n", "k"] and {*extents} == {*DIMS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[core]]\n", "no module"),
        ("[[core", "not TOML"),
        ('[[core]]\nmodule = "m"\ncolour = 1\n', "colour"),
        (
            '[[core]]\nmodule = "m"\nsources = ["gone.sv"]\nparameters = {}\nfolds = {}\n'
            "x = { dims = [], line = {}, bits = 8 }\nw = { dims = [], line = {}, bits = 8 }\n"
            "y = { dims = [], line = {}, bits = 8 }\n",
            "gone.sv",
        ),
        (
            '[[core]]\nmodule = "m"\nsources = []\nparameters = {}\nfolds = {}\npaced.X = { port = "side" }\n'
            "x = { dims = [], line = {}, bits = 8 }\nw = { dims = [], line = {}, bits = 8 }\n"
            "y = { dims = [], line = {}, bits = 8 }\n",
            "waits for",
        ),
    ],
)
def test_a_core_that_is_wrongly_declared(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plug" / "templates" / "rtl" / "cores"
    folder.mkdir(parents=True)
    (folder / "mine.toml").write_text(f'template = "mac-tree"\n{text}')
    monkeypatch.setenv(content.VARIABLE, str(tmp_path / "plug"))
    with pytest.raises(Diag, match=said) as caught:
        core_of(load_chip("ador", {}, []).units["mt"].template)
    assert caught.value.code == "bad-core"


def test_a_plugins_core_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plug" / "templates" / "rtl" / "cores"
    folder.mkdir(parents=True)
    ours = Path(content.root(), "templates/rtl/cores")
    text = (
        (ours / "mac_tree.toml").read_text().replace('"dfc_mac_tree"', '"mine"').replace("dfc_mac_tree.sv", "mine.sv")
    )
    (folder / "mac_tree.toml").write_text(text.replace('"dfc_skew.sv", "dfc_pace.sv", ', ""))
    (folder / "mine.sv").write_text("module mine; endmodule\n")
    monkeypatch.setenv(content.VARIABLE, str(tmp_path / "plug"))
    assert core_of(load_chip("ador", {}, []).units["mt"].template).module == "mine"
