"""The reference cores under Verilator: values equal to numpy's, cycles equal to the templates' formulas."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtlrig import needs, rig, unit

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.template import Compute, Ports
from dfcompiler.rtl import simulators
from dfcompiler.rtl.loops import Product, check, model_cycles, simulate

# Shapes as b, m, n, k; tiles as m, n, k and the order of loops over them. The arrays have 4 rows and 3 columns, so all
# but the first are ragged somewhere; sums of the last two are carried from one tile of k to the next.
SHAPES = {
    "one fold": Product({"b": 1, "m": 8, "n": 3, "k": 4}, {}),
    "one row": Product({"b": 1, "m": 1, "n": 7, "k": 9}, {}),
    "fewer rows than the array": Product({"b": 2, "m": 3, "n": 4, "k": 11}, {}),
    "ragged everywhere": Product({"b": 1, "m": 13, "n": 10, "k": 23}, {}),
    "a single point": Product({"b": 1, "m": 1, "n": 1, "k": 1}, {}),
    "tiles, k outermost": Product({"b": 2, "m": 9, "n": 7, "k": 13}, {"m": 4, "n": 5, "k": 6}, ("k", "m", "n")),
    "tiles, k innermost": Product({"b": 1, "m": 11, "n": 8, "k": 17}, {"m": 5, "n": 3, "k": 8}, ("n", "m", "k")),
}
ARRAYS = {
    f"{flow} {reload}": {"rows": 4, "cols": 3, "dataflow": flow, "reload": reload, "operand_bits": 8, "acc_bits": 32}
    for flow in ("weight-stationary", "output-stationary")
    for reload in ("serial", "exposed", "double-buffered")
}
TREES = {
    "hold 1": {"width": 4, "trees": 3, "hold": 1, "operand_bits": 16, "acc_bits": 32},
    "hold 3": {"width": 5, "trees": 2, "hold": 3, "stages": 4, "operand_bits": 8, "acc_bits": 16},
}
UNITS = {name: ("systolic-array", axes) for name, axes in ARRAYS.items()}
UNITS |= {f"tree, {name}": ("mac-tree", axes) for name, axes in TREES.items()}
CASES = [(u, s) for u in UNITS for s in SHAPES]


def made(name: str) -> Compute:
    family, axes = UNITS[name]
    return unit(family, **axes)


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_rtl_and_model_agree(name: str, shape: str) -> None:
    needs("verilator")
    core = made(name)
    found = simulate(rig(core), core, SHAPES[shape])
    assert (found.wrong, found.cycles) == (0, found.model_cycles)
    assert found.results == np.prod([SHAPES[shape].extents[d] for d in "bmn"])


@pytest.mark.parametrize("name", UNITS)
def test_no_cycle_is_left_over_where_all_rows_and_columns_are_used(name: str) -> None:
    """The last sum is written in the last cycle that the formula counts."""
    needs("verilator")
    core = made(name)
    found = simulate(rig(core), core, SHAPES["one fold"])
    index = found.last_write if getattr(core, "reload", "") == "serial" else found.last_write + 1
    assert index == found.cycles  # serial counts as SCALE-Sim does, which gives the number of the last cycle from 0


@pytest.mark.parametrize("name", ["weight-stationary double-buffered", "output-stationary exposed", "tree, hold 3"])
def test_random_shapes_agree_in_icarus_too(name: str) -> None:
    """Another simulator, four-valued: what is never written would show as x."""
    needs("iverilog")
    core, rng = made(name), np.random.default_rng(3)
    for seed in range(6):
        b, m, n, k = (int(v) for v in (rng.integers(1, 3), *rng.integers(1, 15, 3)))
        tile = {d: int(rng.integers(1, 9)) for d in "mnk"}
        order = tuple(str(d) for d in rng.permutation(["m", "n", "k"]))
        product = Product({"b": b, "m": m, "n": n, "k": k}, tile, order)
        found = simulate(rig(core), core, product, seed=seed, tool="iverilog")
        assert (found.wrong, found.cycles) == (0, found.model_cycles), product


# Bytes per cycle of narrow ports: a word of an operand is one or two bytes, one of a sum two or four.
PORTS = {
    "inputs": Ports(input=1),
    "weights": Ports(weight=1),
    "sums": Ports(psum_write=4),
    "sums that are read": Ports(psum_read=2),
    "all": Ports(input=1, weight=1, psum_read=2, psum_write=4),
}


def narrowed(name: str, ports: str) -> Ports:
    """Those of the ports that the core of a unit can wait for."""
    paced = rig(made(name)).core.paced.values()
    return Ports(**{port: getattr(PORTS[ports], port) for port in paced})


WAITING = [(u, p) for u in UNITS for p in PORTS if rig(made(u)).core.paces(narrowed(u, p))]


@pytest.mark.parametrize(("name", "narrow"), WAITING)
def test_a_core_waits_for_its_ports_as_the_formula_says(name: str, narrow: str) -> None:
    needs("iverilog")
    core, bench = made(name), rig(made(name), narrowed(name, narrow))
    more = []
    for shape in ("ragged everywhere", "tiles, k innermost"):
        try:
            check(core, bench, SHAPES[shape], 8)
        except Infeasible:
            continue
        found = simulate(bench, core, SHAPES[shape], tool="iverilog")
        assert (found.wrong, found.cycles) == (0, found.model_cycles), shape
        more.append(found.cycles - model_cycles(core, SHAPES[shape], rig(core)))
    assert max(more) > 0


sizes = st.integers(1, 14)
arrays = st.fixed_dictionaries(
    {
        "rows": st.integers(2, 6),
        "cols": st.integers(1, 6),
        "dataflow": st.sampled_from(["weight-stationary", "output-stationary"]),
        "reload": st.sampled_from(["serial", "exposed", "double-buffered"]),
        "operand_bits": st.sampled_from([4, 8, 16]),
        "acc_bits": st.sampled_from([16, 32, 64]),
    }
)
trees = st.fixed_dictionaries(
    {
        "width": st.integers(1, 6),
        "trees": st.integers(1, 4),
        "hold": st.integers(1, 4),
        "stages": st.integers(2, 5),
        "operand_bits": st.sampled_from([4, 8]),
    }
)
products = st.builds(
    Product,
    st.fixed_dictionaries({"b": st.integers(1, 2), "m": sizes, "n": sizes, "k": sizes}),
    st.fixed_dictionaries({}, optional={"m": sizes, "n": sizes, "k": sizes}),
    st.permutations(["m", "n", "k"]).map(tuple),
)


@settings(max_examples=15, deadline=None)
@given(st.tuples(st.just("systolic-array"), arrays) | st.tuples(st.just("mac-tree"), trees), products)
def test_any_unit_and_shape_agree(drawn: tuple[str, dict[str, Any]], product: Product) -> None:
    needs("iverilog")
    core = unit(drawn[0], **drawn[1])
    found = simulate(rig(core), core, product, tool="iverilog")
    assert (found.wrong, found.cycles) == (0, found.model_cycles)


@pytest.mark.parametrize(
    ("file", "right", "wrong", "what"),
    [
        ("dfc_weight_stationary.sv", "line = LAST_ROW - t", "line = t", "values"),
        ("dfc_weight_stationary.sv", "t >= LAST_ROW)", "t > LAST_ROW)", "cycles"),
        ("dfc_weight_stationary.sv", "SKEW = ROWS + COLS - 2", "SKEW = ROWS + COLS - 1", "cycles"),
        ("dfc_sequencer.sv", "rest < step ? rest : step", "step", "values"),
    ],
)
def test_a_wrong_core_is_noticed(file: str, right: str, wrong: str, what: str) -> None:
    needs("iverilog")
    core = made("weight-stationary double-buffered")
    bench = rig(core)
    assert right in bench.files[file]
    broken = replace(bench, files={**bench.files, file: bench.files[file].replace(right, wrong)})
    product = Product({"b": 1, "m": 3, "n": 10, "k": 23}, {})
    found = simulate(broken, core, product, tool="iverilog")
    assert (found.wrong > 0) if what == "values" else (found.cycles != found.model_cycles)


def test_no_core_for_what_is_not_built() -> None:
    for family, axes, said in (
        ("systolic-array", {"sparsity": "two-of-four"}, "sparsity is two-of-four"),
        ("systolic-array", {"rows": 1}, "at least 2"),
        ("mac-tree", {"stages": 1}, "stages is 1"),
        ("vector-unit", {"lanes": 6}, "no multiple of exp_cycles"),
    ):
        with pytest.raises(Infeasible, match=said):
            rig(unit(family, **axes))


def test_a_shape_that_does_not_fit_the_bench_is_refused() -> None:
    core = made("tree, hold 1")
    with pytest.raises(Infeasible, match="lines"):
        simulate(rig(core), core, Product({"b": 1, "m": 5000, "n": 3, "k": 4}, {}))


def test_only_the_latest_programs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "PROGRAMS", 2)
    (tmp_path / "mine").mkdir()
    for age, name in enumerate("abcd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bench").touch()
        os.utime(tmp_path / name / "bench", (1000 - age, 1000 - age))
    simulators._forget(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "mine"}


def test_without_a_simulator_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Infeasible, match="not installed"):
        simulators.build({}, "top")
