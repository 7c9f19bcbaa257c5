"""Nodes, memories, watts and dollars: interpolation, efficiencies, yield and price against independent counts."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry
from dfcompiler.cli import main
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.economics import (
    Ownership,
    dies_per_wafer,
    good_die_usd,
    price,
    usd_per_million_tokens,
    working,
)
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.tech import load_tech, techs
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.power import peak_w, static_w
from dfcompiler.text.parse import parse_setting


def make(name: str, **axes: Any) -> Any:
    return registry.lookup("template", name)(**axes)


def chip(name: str = "ador", **settings: str) -> Any:
    given = {k.replace("__", "."): parse_setting(Source("--set", f"x = {v}")).value for k, v in settings.items()}
    return load_chip(name, given)


# ---- nodes -------------------------------------------------------------------------------------


def test_a_node_between_files_is_between_its_neighbours() -> None:
    low, mid, high = (load_tech(n) for n in (7, 8, 10))
    for table, key in (("logic", "mtr_per_mm2"), ("sram", "cell_um2"), ("wafer", "usd")):
        a, b, c = (t.value(table, key) for t in (low, mid, high))
        assert min(a, c) < b < max(a, c)
        part = math.log(8 / 7) / math.log(10 / 7)
        assert b == pytest.approx(a ** (1 - part) * c**part)
        assert mid.figure(table, key).between == (7, 10) and "between 7 nm and 10 nm" in mid.figure(table, key).source
    assert not low.interpolated and "logic.mtr_per_mm2" in mid.interpolated


def test_what_a_file_leaves_out_comes_from_the_nearest_that_have_it() -> None:
    ten = load_tech(10)
    assert ten.figure("logic", "mtr_per_mm2").between == ()
    assert ten.figure("pj_per_mac", "16").between == (7, 16)
    assert set(ten.tables) == set(load_tech(7).tables)
    assert ten.value("pj_per_mac", "16") == pytest.approx(
        math.exp(np.interp(math.log(10), np.log([7, 16]), np.log([0.59, 0.89])))
    )


@pytest.mark.parametrize("node", [2, 2.99, 45.1, 90])
def test_no_node_beyond_the_table(node: float) -> None:
    with pytest.raises(Diag) as caught:
        load_tech(node)
    assert (
        caught.value.code == "unknown-node" and "from 3 to 45 nm" in caught.value.hint and " 7, " in caught.value.hint
    )


def test_every_node_has_every_figure() -> None:
    every = {(t, k) for tech in techs().values() for t, entries in tech.tables.items() for k in entries}
    for tech in techs().values():
        assert {(t, k) for t, entries in tech.tables.items() for k in entries} == every


def test_smaller_nodes_are_denser_and_dearer() -> None:
    known = [load_tech(n) for n in sorted(techs())]
    for table, key, rises in (("logic", "mtr_per_mm2", False), ("wafer", "usd", False), ("sram", "cell_um2", True)):
        values = [t.value(table, key) for t in known]
        assert values == sorted(values, reverse=not rises), key


def test_the_report_says_what_is_interpolated(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compile", "llama3-8b", "--on", "ador", "--phase", "decode", "--context", "64", "--json"]
    for more, said in (((), False), (("--set", "node=8 nm"), True)):
        assert main([*argv, *more]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert any("interpolated" in note and "8 nm" in note for note in notes) == said


# ---- DRAM --------------------------------------------------------------------------------------


KINDS = "hbm2 hbm2e hbm3 hbm3e hbm4 gddr6 gddr6x gddr7 lpddr5 lpddr5x ddr5 cxl".split()


@pytest.mark.parametrize("kind", KINDS)
def test_refreshes_and_activations_of_every_kind(kind: str) -> None:
    """Time a channel's activations and refreshes one by one, and compare with the closed forms."""
    plain, dram = make("dram", kind=kind), make("dram", kind=kind, refresh="all-bank")
    trfc, trefi, tfaw = (float(dram.channel(f"{x}_ns")) for x in ("trfc", "trefi", "tfaw"))
    assert plain.refresh_efficiency() == 1
    blocked = sum(1 for ns in range(int(50 * trefi)) if ns % trefi < trfc)
    assert dram.refresh_efficiency() == pytest.approx(1 - blocked / int(50 * trefi), abs=1e-3)
    parts, per_ns = int(dram.channel("subchannels")), float(dram.channel("channel_gbps"))
    for run in (32, 64, 256, 1024):
        starts = [[0.0] for _ in range(parts)]
        busy = [0.0] * parts
        for i in range(400):
            for p in range(parts):
                four_ago = starts[p][-4] if len(starts[p]) > 3 else -tfaw
                at = max(starts[p][-1], four_ago + tfaw, busy[p] if i else 0.0)
                busy[p] = at + run / (per_ns / parts)
                starts[p].append(at)
        reached = 400 * parts * run / max(busy)
        claimed = float(make("dram", kind=kind, run=run).page_efficiency())
        assert claimed == pytest.approx(reached / per_ns, rel=0.02), run


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_every_figure_and_a_source(kind: str) -> None:
    dram = make("dram", kind=kind)
    for name in "channel_gbps channel_gb pj_per_bit idle_w phy_mm2 controller_mtr trfc_ns trefi_ns".split():
        assert float(dram.channel(name)) > 0, name
    assert float(dram.usd(load_tech(7))) > 0
    assert (float(dram.channel("footprint_mm2")) > 0) == kind.startswith("hbm")
    rate = {"refresh": "all-bank", "efficiency": 0.5, "run": 32}
    slow = make("dram", kind=kind, **rate)
    assert 0 < slow.read_bytes_per_cycle(1e9) < 0.5 * dram.read_bytes_per_cycle(1e9)


# ---- dies and their price ----------------------------------------------------------------------


@pytest.mark.parametrize("mm2", [25, 100, 400, 800])
def test_dies_of_a_wafer_against_a_count_of_them(mm2: int) -> None:
    """Squares on a grid that lie inside the circle, at the best of many offsets: the formula stays below."""
    pitch, radius, most = math.sqrt(mm2) + 0.1, 150.0, 0
    steps = np.linspace(0, 1, 12, endpoint=False)
    line = np.arange(-40, 41) * pitch
    for dx in steps:
        for dy in steps:
            x, y = np.meshgrid(line + dx * pitch, line + dy * pitch)
            far = np.maximum(abs(x), abs(x + pitch)) ** 2 + np.maximum(abs(y), abs(y + pitch)) ** 2
            most = max(most, int((far <= radius**2).sum()))
    assert 0.9 * most <= float(dies_per_wafer(mm2)) <= most


def test_yield_is_that_of_clustered_defects() -> None:
    """Dies without a defect, where each has Poisson many and the mean is gamma distributed over dies."""
    rng, mm2, density, cluster = np.random.default_rng(2), 600.0, 0.1, 3.0
    mean = rng.gamma(cluster, mm2 / 100 * density / cluster, 400_000)
    none = float((rng.poisson(mean) == 0).mean())
    assert float(working(mm2, density, cluster)) == pytest.approx(none, abs=4e-3)


@given(st.floats(10, 800), st.floats(0.01, 0.5))
def test_larger_dies_cost_more_than_in_proportion(mm2: float, density: float) -> None:
    one, two = (float(good_die_usd(a, 10_000, density, load_tech(7))) for a in (mm2, 1.05 * mm2))
    assert two > one
    good = [a * float(dies_per_wafer(a, scribe_mm=0) * working(a, density, 3)) for a in (mm2, 1.05 * mm2)]
    assert good[1] < good[0]  # mm2 of a wafer that can be used
    assert float(working(mm2, 0.0, 3)) == 1


def test_a_die_that_no_wafer_holds_costs_infinitely_much() -> None:
    assert float(good_die_usd(1e5, 10_000, 0.1, load_tech(7))) == math.inf


def test_a_price_is_its_parts() -> None:
    made, tech = price(chip()), chip().tech
    assert made.memory == 80 * 7  # hbm2e
    assert made.usd == pytest.approx(made.die + made.interposer + made.assembly + made.memory)
    assert made.die == pytest.approx(float(good_die_usd(chip().die_mm2(), 9346, 0.09, tech)))
    board = price(chip(hbm__kind="gddr6"))
    assert board.interposer == 0 and board.assembly < made.assembly
    assert price(chip(node="5 nm")).die > 0
    with pytest.raises(Infeasible, match="one exposure has 858"):
        price(chip(uncore="600 mm2"))


def test_a_device_that_cannot_be_made_has_no_cost(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compile", "llama3-8b", "--on", "ador", "--phase", "decode", "--context", "64", "--pipeline", "greedy"]
    assert main([*argv, "--set", "uncore=600 mm2", "--json"]) == 0
    r = json.loads(capsys.readouterr().out)
    assert r["cost_usd"] is None and any("one exposure has 858" in note for note in r["notes"])


def test_dearer_in_every_direction() -> None:
    base = price(chip()).usd
    for axis, value in {"hbm__capacity": "160 GB", "sa__rows": "128", "uncore": "100 mm2"}.items():
        assert price(chip(**{axis: value})).usd > base, axis


YEARS = Ownership(years=4, utilisation=0.6, usd_per_kwh=0.1, pue=1.2, busy_w=400, idle_w=50, share=0.5)


def test_ownership_hour_by_hour() -> None:
    hours, spent, tokens = int(YEARS.years * 8766), 10_000 * 1.5, 0.0
    for hour in range(hours):
        works = hour * 6 % 10 + 6 >= 10  # six of ten hours
        watts = 400 if works else 50
        spent += watts / 1000 * 1.2 * 0.1
        tokens += 3600 * 1000 * works
    assert float(usd_per_million_tokens(10_000, 1000, YEARS)) == pytest.approx(spent / tokens * 1e6, rel=1e-3)


def test_ownership_broadcasts_over_designs() -> None:
    usd, rate = np.array([1e3, 2e4]), np.array([100.0, 5e3])
    both = usd_per_million_tokens(usd, rate, YEARS)
    assert list(both) == [usd_per_million_tokens(u, r, YEARS) for u, r in zip(usd, rate, strict=True)]


# ---- watts -------------------------------------------------------------------------------------


def test_watts() -> None:
    one = chip()
    assert static_w(one) == pytest.approx(one.die_mm2() * 0.13 + 5 * 0.8)  # 7 nm; five stacks of HBM2e
    assert static_w(one) < peak_w(one) < 1000
    assert peak_w(chip(clock="750 MHz")) < peak_w(one)


def test_energy_has_every_share(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["compile", "llama3-8b", "--on", "ador", "--phase", "decode", "--context", "64", "--json"]
    assert main(argv) == 0
    r = json.loads(capsys.readouterr().out)
    assert r["static_j"] == pytest.approx(static_w(chip()) * r["latency_s"])
    assert r["cost_usd"] == pytest.approx(price(chip()).usd)
    dram = r["traffic_bytes"]["hbm"] * 8 * 3.9e-12
    assert r["energy_j"] - r["static_j"] > dram


def test_bytes_beside_a_unit_are_counted_move_by_move() -> None:
    """Walk the folds of an array and the groups of a tree, and count what each reads and writes."""
    rng = np.random.default_rng(4)
    for _ in range(60):
        m, n, k = (int(v) for v in rng.integers(1, 40, 3))
        t = Tile((Contraction(1, m, n, k),), {}, 16, 8, 32)
        array = make("systolic-array", rows=8, cols=4)
        moved = 0.0
        for k0 in range(0, k, 8):
            for n0 in range(0, n, 4):
                r, c = min(8, k - k0), min(4, n - n0)
                moved += r * c * 1 + m * r * 2 + m * c * 4 * (2 if k0 else 1)
        assert float(array.local_bytes(t)) == moved
        flipped = make("systolic-array", rows=8, cols=4, dataflow="output-stationary")
        moved = sum(
            k * min(8, m - m0) * 2 + k * min(4, n - n0) + min(8, m - m0) * min(4, n - n0) * 4
            for m0 in range(0, m, 8)
            for n0 in range(0, n, 4)
        )
        assert float(flipped.local_bytes(t)) == moved
        tree = make("mac-tree", width=4, trees=4, hold=2)
        moved = m * n * 4.0
        for m0 in range(0, m, 2):
            for n0 in range(0, n, 4):
                moved += k * min(4, n - n0) + k * min(2, m - m0) * 2
        assert float(tree.local_bytes(t)) == moved


def test_floats_of_eight_bits_take_more_than_integers(capsys: pytest.CaptureFixture[str]) -> None:
    joules = []
    for dtype in ("w=int8,a=int8,kv=int8", "w=fp8e4m3,a=fp8e4m3,kv=fp8e4m3"):
        argv = [
            "compile",
            "llama3-8b",
            "--on",
            "tpu128",
            "--phase",
            "prefill",
            "--seq",
            "64",
            "--dtype",
            dtype,
            "--json",
        ]
        assert main(argv) == 0
        ops = json.loads(capsys.readouterr().out)["ops"]
        joules.append(sum(op["energy_j"] for op in ops if op["op"].endswith("linear")))
    assert joules[1] > joules[0] > 0
