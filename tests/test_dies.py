"""Areas of known dies from their parameters, and the laws that areas of parts must obey."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry
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
