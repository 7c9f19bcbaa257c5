"""Areas of known dies from their parameters, and the laws that areas of parts must obey."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.tech import load_tech

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "validate_area.py"


@pytest.fixture(scope="module")
def dies() -> Any:
    spec = importlib.util.spec_from_file_location("validate_area", PATH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make(name: str, **axes: Any) -> Any:
    return registry.lookup("template", name)(**axes)


def test_constants_are_those_that_aldebaran_gives(dies: Any) -> None:
    for name, transistors in dies.constants().items():
        assert load_tech(7).value("logic", name) == pytest.approx(transistors, rel=1e-3), name


def test_ga100_without_a_constant_of_its_own(dies: Any) -> None:
    """3 % in total, 15 % in every part that a photograph shows; what it lumps together as `other` is no part."""
    die, found = dies.DIES["GA100"], dies.parts_of(dies.DIES["GA100"])
    assert found["total"] == pytest.approx(die.published["total"], rel=0.03)
    for part in dies.PARTS:
        assert found[part] == pytest.approx(die.published[part], rel=0.15), part
    assert found["total"] == pytest.approx(sum(mm2 for part, mm2 in found.items() if part != "total"))


def test_interfaces_part_into_phy_and_logic(dies: Any) -> None:
    dram = make("dram", kind="hbm2e", bandwidth=460.8e9, capacity=16 * 10**9)
    phy, logic = dies.split(dram, 7)
    assert phy == pytest.approx(dram.channel("phy_mm2"))
    assert logic == pytest.approx(load_tech(7).logic_mm2(dram.channel("controller_mtr") * 1e6))


def test_lanes_with_what_is_left_over_make_every_die_right(dies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put into the model, the control of a lane that is said to be right gives the published area of each die."""
    for name, die in dies.DIES_BY_NAME.items():
        wanted = dies.lane_control(die)
        tech = load_tech(die.node_nm)
        logic = dict(tech.tables["logic"])
        key = "transistors_per_vector_lane"
        logic[key] = replace(logic[key], value=wanted)
        other = replace(tech, tables={**tech.tables, "logic": logic})
        with monkeypatch.context() as patch:
            patch.setattr(dies, "load_tech", lambda node, other=other: other if node != 28 else load_tech(28))
            assert dies.parts_of(die)["total"] == pytest.approx(die.published["total"], rel=1e-6), name


def test_which_part_of_the_dies_is_off(dies: Any) -> None:
    """Old cores have less around a lane, and cores with more lanes less per lane; that order is what the text says."""
    control = {name: dies.lane_control(die) for name, die in dies.DIES.items()}
    assert control["GV100"] < 0.4 * control["GA100"] and control["GH100"] < 0.8 * control["GA100"]
    for name in ("GV100", "GH100"):
        die = dies.DIES[name]
        found, off = dies.parts_of(die), dies.parts_of(die)["total"] - die.published["total"]
        assert off > 0 and all(mm2 < off for part, mm2 in found.items() if part not in ("cores", "total"))


def test_transistors_are_counted_part_by_part(dies: Any) -> None:
    """Of GV100 by hand: 84 cores of 64 lanes, 64 and 32 beside, 512 products; 384 KiB each, and 6 MiB."""
    found, lane = dies.transistors(dies.DIES["GV100"]), load_tech(12).value("logic", "transistors_per_vector_lane")
    assert found["control of lanes"] == 84 * 64 * lane
    assert found["arithmetic"] == 84 * (64 * 134072 + 64 * 177690 + 32 * 685300 + 512 * 25344)
    assert found["cells"] == 48 * (84 * 384 * 1024 + 6 * 2**20)
    assert found["network"] == 84 * 512 * 64 * 32 * 8 * 2
    assert found["total"] == sum(n for part, n in found.items() if part != "total")


def test_adors_table_adds_up(dies: Any) -> None:
    chip, found = load_chip("ador"), dies.ador()
    parts = [row for name, row in found.items() if name not in ("parts", "beside them", "not explained", "published")]
    for i in (0, 1):
        assert sum(row[i] for row in parts) == pytest.approx(found["parts"][i])
        rest = ("parts", "beside them", "not explained")
        assert sum(found[name][i] for name in rest) == pytest.approx(516) == found["published"][i]
        share = found["beside them"][i] / (found["parts"][i] + found["beside them"][i])
        assert share == pytest.approx(dies.beside(dies.ALDEBARAN)) and share < 0.2
    assert found["parts"][0] == pytest.approx(chip.area_mm2()["total"])
    assert found["hbm PHY"][0] + found["hbm controllers"][0] == pytest.approx(chip.area_mm2()["hbm"])


# ---- laws --------------------------------------------------------------------------------------


@given(st.integers(12, 32), st.integers(0, 10), st.sampled_from([3, 4, 5, 6, 7, 8.5, 16, 28, 45]))
def test_more_memory_is_larger_and_more_ports_are_too(size: int, banks: int, node: float) -> None:
    tech = load_tech(node)
    area = [float(make("sram", capacity=2**s, banks=2**banks).area_mm2(tech)) for s in (size, size + 1)]
    assert area[0] < area[1]
    ports = [float(make("sram", capacity=2**size, cell_ports=p).area_mm2(tech)) for p in (1, 2, 3, 4)]
    assert np.diff(ports).min() > 0
    assert np.diff(ports, 2).min() > 0  # a port adds to both sides of a cell: faster than in proportion


def test_cells_are_never_larger_than_their_memory() -> None:
    for node in (3, 7, 28):
        tech = load_tech(node)
        cells = 8 * 2**24 * tech.value("sram", "cell_um2") / 1e6
        for banks in (1, 16, 256, 4096):
            assert float(tech.sram_mm2(2**24, banks)) > 2 * cells


def test_a_cell_with_ports_by_its_tracks() -> None:
    tech = load_tech(7)
    one = float(tech.sram_mm2(2**16))
    high, wide, track_um = 0.114, 0.027 / 0.114, 0.04  # TSMC N7, in um
    for ports in (2, 4):
        cell = (high + (ports - 1) * track_um) * (wide + 2 * (ports - 1) * track_um)
        assert float(tech.sram_mm2(2**16, 1, ports)) / one == pytest.approx(cell / 0.027, rel=2e-3)


def test_cache_slices_are_paid_for_one_by_one() -> None:
    tech = load_tech(7)
    plain, cache = (
        [float(make("sram", capacity=2**23, banks=b, cache=c).area_mm2(tech)) for b in (8, 32)] for c in ("no", "yes")
    )
    logic = float(tech.logic_mm2(tech.value("logic", "transistors_per_cache_slice")))
    assert [c - p for c, p in zip(cache, plain, strict=True)] == pytest.approx([8 * logic, 32 * logic])


def test_a_crossbar_grows_with_both_sides() -> None:
    tech = load_tech(7)
    one, wide, long = (
        float(make("noc", bandwidth=b, trunk=t).area_mm2(tech))
        for b, t in ((64.0, 512.0), (128.0, 512.0), (64.0, 2048.0))
    )
    assert (wide, long) == pytest.approx((2 * one, 4 * one))
    assert one == pytest.approx(64 * 8 * 512 * 8 * 2 / 96.3e6)


def test_a_channel_is_there_for_bandwidth_or_for_capacity() -> None:
    fast = make("dram", kind="hbm3", bandwidth=3e12, capacity=10**9)
    large = make("dram", kind="hbm3", bandwidth=1e9, capacity=100 * 10**9)
    assert (int(fast.channels()), int(large.channels())) == (4, 5)  # of 819.2 GB/s, of 24 GB
