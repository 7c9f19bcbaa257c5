"""Units in memories against small machines: a DRAM bank command by command, crossbars cycle by cycle."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import content, registry
from dfcompiler.cli import main
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.exchanges import price_exchange
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.template import Contraction, Ports, Tile
from dfcompiler.likeness import content_key
from dfcompiler.models import library
from dfcompiler.problem import problem
from dfcompiler.text.tree import Quantity
from dfcompiler.tiling import unable


def make(name: str, **axes: Any) -> Any:
    return registry.lookup("template", name)(**axes)


def tile(m: int, n: int, k: int, bits: tuple[int, int, int] = (16, 16, 32)) -> Tile:
    return Tile((Contraction(1, m, n, k),), {}, *bits)


# ---- a DRAM bank -------------------------------------------------------------------------------


class Bank:
    """One bank that obeys its timings: commands are issued as early as they may be."""

    def __init__(self, rcd: int, ras: int, rp: int, rfc: int = 0, refi: int = 0) -> None:
        self.rcd, self.ras, self.rp, self.rfc, self.refi = rcd, ras, rp, rfc, refi
        self.now, self.due, self.refreshes = 0, refi, 0

    def read_row(self, accesses: int, step: int) -> None:
        """Activate, read a column every `step` cycles, precharge; a refresh that is due comes before."""
        while self.rfc and self.now >= self.due:
            self.now, self.due, self.refreshes = self.now + self.rfc, self.due + self.refi, self.refreshes + 1
        opened = self.now
        self.now += self.rcd
        for _ in range(accesses):
            self.now += step
        self.now = max(self.now, opened + self.ras) + self.rp


def run_bank(bank: Bank, t: Tile, lanes: int, column: int, row: int, ccd: int, width: int) -> int:
    """Cycles in which a bank does a product, a column of weights at a time, for every row of the input."""
    (x,) = t.contractions
    per_column = max(1, column * 8 // t.b_bits)
    step = max(ccd, ceil(per_column / lanes) * ceil(t.a_bits / width) * ceil(t.b_bits / width))
    columns = sum(len(range(0, int(x.k), per_column)) for _ in range(int(x.n)))
    start = bank.now
    while columns > 0:
        here = min(columns, max(1, row // column))
        bank.read_row(here * int(x.m), step)
        columns -= here
    return bank.now - start


SIZES = st.integers(1, 70)
WIDTHS = st.sampled_from([4, 8, 16])


@given(SIZES, SIZES, SIZES, WIDTHS, WIDTHS, st.sampled_from([4, 16]), st.sampled_from([8, 32]), st.integers(0, 40))
def test_a_bank_takes_the_cycles_of_its_commands(
    m: int, n: int, k: int, a: int, b: int, lanes: int, column: int, ras: int
) -> None:
    t = tile(m, n, k, (a, b, 32))
    unit = make(
        "pim-bank", lanes=lanes, operand_bits=8, column=column, row=256, rcd=7.0, ras=float(ras), rp=5.0, ccd=2.0
    )
    assert unit.cycles(t, Ports()) == run_bank(Bank(7, ras, 5), t, lanes, column, 256, 2, 8)


@pytest.mark.parametrize("m", [1, 3])
def test_refreshes_take_their_part_of_a_long_run(m: int) -> None:
    t, times = tile(m, 64, 1024), 400
    unit = make("pim-bank", rcd=14.0, ras=34.0, rp=14.0, refresh=350 / 3900)
    bank = Bank(14, 34, 14, 350, 3900)
    simulated = sum(run_bank(bank, t, 16, 32, 2048, 1, 16) for _ in range(times))
    claimed = times * float(unit.cycles(t, Ports()))
    assert bank.refreshes > 100
    assert abs(simulated - claimed) <= 350 + 3900 * 0.05  # one refresh, and what is due late by a row


def test_inputs_that_come_slowly_hold_a_bank_up() -> None:
    t = tile(1, 64, 1024)
    assert make("pim-bank").cycles(t, Ports(input=1)) == 64 * 1024 * 2


# ---- crossbars ---------------------------------------------------------------------------------


def fold_cycles(unit: Any, t: Tile, r: int, w: int, ports: Ports) -> float:
    """One array with its weights, step by step: which rows drive, which columns each ADC still has to convert."""
    (x,) = t.contractions
    slices, steps = ceil(t.b_bits / unit.cell_bits), ceil(t.a_bits / unit.input_bits)
    worst, adcs = (2**unit.cell_bits - 1) * (2**unit.input_bits - 1), ceil(unit.cols / unit.per_adc)
    cycles = 0.0 if unit.resident == "yes" else max(r * unit.write, r * w * t.b_bits / 8 / ports.weight)
    for _ in range(int(x.m)):
        conversions, left = 0, steps * r
        for _ in range(steps):
            waiting = r
            while waiting:
                driving = 0
                while driving < min(waiting, unit.active) and (driving + 1) * worst < 2**unit.adc_bits:
                    driving += 1
                assert driving, "an ADC that cannot tell one row's sums apart"
                waiting, left = waiting - driving, left - driving
                columns = w * slices
                while columns > 0:
                    columns, conversions = columns - adcs, conversions + 1
        assert not left
        moved = max(r * t.a_bits / 8 / ports.input, w * t.acc_bits / 8 / ports.psum_write)
        cycles += max(conversions, moved)
    return cycles


def crossbar_cycles(unit: Any, t: Tile, ports: Ports) -> float:
    """All folds, slow ones first, `arrays` at a time."""
    (x,) = t.contractions
    wide = unit.cols // ceil(t.b_bits / unit.cell_bits)
    deep = [min(unit.rows, int(x.k) - i) for i in range(0, int(x.k), unit.rows)]
    across = [min(wide, int(x.n) - i) for i in range(0, int(x.n), wide)]
    folds = sorted((fold_cycles(unit, t, r, w, ports) for r in deep for w in across), reverse=True)
    return sum(folds[i] for i in range(0, len(folds), unit.arrays))


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.sampled_from([2, 4, 8]), st.sampled_from([2, 4, 8])),
    st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(6, 9), st.integers(1, 7), st.integers(1, 16)),
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.sampled_from(["yes", "no"])),
    st.sampled_from([1, 3, 1000]),
)
def test_crossbars_take_the_cycles_of_their_conversions(
    size: tuple[int, int, int],
    bits: tuple[int, int],
    analog: tuple[int, int, int, int, int],
    rest: tuple[int, int, str],
    port: int,
) -> None:
    names = ("cell_bits", "input_bits", "adc_bits", "per_adc", "active")
    axes = dict(zip(names, analog, strict=True)) | dict(zip(("write", "arrays", "resident"), rest, strict=True))
    unit = make("cim-crossbar", rows=16, cols=16, **axes)
    t, ports = tile(*size, (*bits, 32)), Ports(port, port, port, port)
    assert unit.cycles(t, ports) == pytest.approx(crossbar_cycles(unit, t, ports), rel=1e-12)


@given(st.integers(1, 4), st.integers(1, 2), st.integers(6, 12), st.integers(1, 64))
def test_an_adc_never_loses_a_sum(cell: int, inputs: int, adc: int, active: int) -> None:
    """The largest sum of the rows that drive at once fits, and one row more would not, or was not allowed."""
    unit = make("cim-crossbar", rows=64, cell_bits=cell, input_bits=inputs, adc_bits=adc, active=active)
    one, rows = (2**cell - 1) * (2**inputs - 1), int(unit.at_once())
    assert rows >= 1 and rows * one < 2**adc
    assert (rows + 1) * one >= 2**adc or rows in (active, 64)


def test_bit_serial_slices_multiply_exactly() -> None:
    """What the cycle count says is done is a whole product: cells and steps put together again."""
    rng, unit = np.random.default_rng(5), make("cim-crossbar", rows=32, cell_bits=2, input_bits=1, adc_bits=7)
    x, w = rng.integers(0, 256, 32), rng.integers(0, 256, (32, 5))
    total, rows = np.zeros(5, int), int(unit.at_once())
    for step in range(8):
        for piece in range(4):
            for start in range(0, 32, rows):
                here = slice(start, start + rows)
                current = (x[here] >> step & 1) @ (w[here] >> 2 * piece & 3)
                assert current.max() < 2**7  # the ADC's range
                total += current << (step + 2 * piece)
    assert np.array_equal(total, x @ w)


def test_no_unit_is_faster_than_its_peak() -> None:
    rng = np.random.default_rng(11)
    for name, bits in (("pim-bank", (8, 8, 32)), ("cim-crossbar", (2, 2, 32)), ("cim-crossbar", (8, 4, 32))):
        for _ in range(50):
            m, n, k = (int(v) for v in rng.integers(1, 3000, 3))
            arrays = {"arrays": int(rng.integers(1, 9)), "resident": "yes"} if name == "cim-crossbar" else {}
            unit = make(name, **arrays)
            assert m * n * k <= float(unit.cycles(tile(m, n, k, bits), Ports())) * float(unit.peak_macs_per_cycle())


# ---- chips with them ---------------------------------------------------------------------------


def test_a_bank_sees_all_banks_and_others_the_interface() -> None:
    chip = load_chip("pim_edge")
    inner, outer = chip.units["pim"].levels, chip.units["sa"].levels
    assert inner[1].source_bytes_per_cycle == pytest.approx(8192) and outer[1].source_bytes_per_cycle == 512
    assert inner[0].pj_per_byte < outer[0].pj_per_byte
    assert chip.die_mm2() == pytest.approx(chip.area_mm2()["total"] - chip.area_mm2()["pim"])


def compiled(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["compile", "qwen2-7b", "--phase", "decode", "--context", "512", "--json", *argv]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_decode_of_one_runs_in_the_banks(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--on", "pim_edge", "--dtype", "w8a16kv16")
    with_banks, without = compiled(capsys, *argv), compiled(capsys, *argv, "--without", "pim")
    assert {op["unit"] for op in with_banks["ops"] if "linear" in op["op"].split("+")} == {"pim"}
    assert with_banks["latency_s"] < without["latency_s"] / 3
    assert with_banks["latency_s"] >= with_banks["roofline_s"]


def test_crossbars_take_integers_only(capsys: pytest.CaptureFixture[str]) -> None:
    for dtype, units in (("w8a8kv8", {"cim"}), ("w8a16kv16", {"sa", "vu"})):
        ops = compiled(capsys, "--on", "cim_edge", "--dtype", dtype)["ops"]
        assert {op["unit"] for op in ops if "linear" in op["op"].split("+")} <= units
    assert main(["price", "linear", "t=1,16", "k=64", "n=64", "--on", "cim_edge", "--unit", "cim"]) == 1
    assert "`cim` does not multiply bf16" in capsys.readouterr().err


def test_a_search_depends_on_the_types_of_what_is_computed_on_the_way() -> None:
    """A crossbar takes an op whose products are of int8 and refuses it with fp8, though its operands are the same."""
    text = """graph g {
      input x: int8 [8, 64]
      weight w: int8 [32, 64]
      h: int8 [8, 64] = silu(x)
      y: int8 [8, 32] = linear(h, w)
      output y
    }"""
    joined = group(parse_graph(Source("g.dfir", text), library()), ("h", "y"))
    assert isinstance(joined, Group)
    unit = load_chip("cim_edge").units["cim"]
    whole, floats = (problem(joined, parse_dtypes(f"w=int8,a={a},kv=int8")) for a in ("int8", "fp8e4m3"))
    assert "does not multiply fp8e4m3" in unable(floats, unit, None)
    assert "does not multiply" not in unable(whole, unit, None)
    assert content_key(whole) != content_key(floats)


RESIDENT = ("--on", "cim_edge", "--dtype", "w8a8kv8", "--set", "cim.resident=yes")


def test_resident_weights_must_be_weights_and_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """An array holds what its cells do; a cache, which changes, is no weight; layers add up."""
    per_array = make("cim-crossbar", rows=256, cols=256, resident="yes").weights_held(8)
    assert per_array == 256 * 256 * 2 / 8 and make("cim-crossbar").weights_held(8) == float("inf")
    small = ["price", "linear", "t=1,16", *RESIDENT, "--unit", "cim", "--set", "cim.arrays=16"]
    assert main([*small, "k=512", "n=512"]) == 0
    capsys.readouterr()
    assert main([*small, "k=512", "n=513"]) == 1
    assert "has 262,656 weights, `cim` holds 262,144" in capsys.readouterr().err
    model = ["compile", "gpt2", "--phase", "decode", "--context", "64", *RESIDENT, "--set", "sa.rows=1"]
    assert main([*model, "--set", "cim.arrays=8192", "--json"]) == 0  # 134 million weights
    ops = json.loads(capsys.readouterr().out)["ops"]
    assert {op["unit"] for op in ops if "linear" in op["op"].split("+")} == {"cim"}
    assert {op["unit"] for op in ops if "attention" in op["op"].split("+")} <= {"sa", "vu"}
    assert main([*model, "--set", "cim.arrays=2048"]) == 1
    assert "times the weights on `cim` that it holds" in capsys.readouterr().err


# ---- on several devices ------------------------------------------------------------------------


def with_link(folder: Path, name: str) -> str:
    """A copy of a chip that has a link."""
    text = content.files("templates", ".chip", "chips")
    path = next(x for x in text if x.stem == name)
    linked = path.read_text().replace(
        "  connect", "  part link: link { bandwidth = 600 GB/s }\n  connect mem - link\n  connect", 1
    )
    (folder / f"{name}.chip").write_text(linked)
    return str(folder / f"{name}.chip")


def test_exchanges_pass_the_interface_of_the_memory(tmp_path: Path) -> None:
    """What units in the banks read at does not leave the memory."""
    text = """graph g {
      mesh {tp = 2}
      input x: bf16 [1024, 1024]
      y: bf16 [1024, 1024] = all_reduce(x) over p = tp, q = tp
      output y
    }"""
    graph = parse_graph(Source("g.dfir", text), library())
    path = with_link(tmp_path, "pim_edge")
    (node,) = graph.nodes.values()
    with_banks, without = (
        price_exchange(graph, node, load_chip(path, settings)) for settings in ({}, {"mem.inside": Quantity(0, "B/s")})
    )
    assert with_banks == without
    assert with_banks.memory_cycles == pytest.approx(with_banks.dram_bytes / 512)


def test_stages_hold_the_weights_of_their_own_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Arrays that are too few for all of gpt2's 124 million weights are enough for a third of its layers."""
    path = with_link(tmp_path, "cim_edge")
    argv = ["compile", "gpt2", "--on", path, "--phase", "decode", "--context", "64", "--dtype", "w8a8kv8"]
    argv += ["--set", "cim.resident=yes", "--set", "sa.rows=1", "--set", "cim.arrays=4096"]  # 67 million weights
    assert main(argv) == 1
    assert "times the weights on `cim` that it holds" in capsys.readouterr().err
    assert main([*argv, "--pp", "3", "--json"]) == 0
    ops = json.loads(capsys.readouterr().out)["ops"]
    assert {op["unit"] for op in ops if "linear" in op["op"].split("+")} == {"cim"}
