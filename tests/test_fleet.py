"""Chips as arrays: what is elaborated for many designs at once is what a loop of single chips says."""

from __future__ import annotations

import numpy as np
import pytest

from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.figures import block, grid
from dfcompiler.explore.fleet import design_figures, kinds
from dfcompiler.explore.mapped import design_figure
from dfcompiler.explore.space import DESIGN, Pool, Space, load_space, resolve, space_names
from dfcompiler.text.parse import parse_items

POOLS = [(s, p) for s in space_names() for p in load_space(s).pools]
NAMED = """
space named {
  pool chip on ador {
    axis flow = weight-stationary, output-stationary
    axis reload = serial, exposed, double-buffered
    axis side = 32, 64
    axis stacks = hbm2e, hbm3
    axis clock = 1 GHz, 1.5 GHz
    axis cores = 8, 16
    axis part = 0.5, 0.6
    axis lanes = 16, 64
    axis helped = 0, 1
    set sa.dataflow = flow
    set sa.reload = reload
    set sa.rows = side
    set hbm.kind = stacks
    set clock = clock
    set core = cores
    set sa.share = part
    set vu.lanes = lanes
    drop mt where helped == 0
  }
  minimize area = area_mm2
}
"""


def space_of(text: str) -> Space:
    source = Source("named", text)
    (decl,) = parse_items(source)
    return resolve(decl, source)


def one_by_one(pool: Pool, rows: np.ndarray, name: str) -> list[float]:
    found = []
    for row in rows:
        values = {a.name: a.values[i] for a, i in zip(pool.axes, row, strict=True)}
        try:
            found.append(design_figure(chip_at(pool, values), name))
        except Infeasible:
            found.append(np.inf)
    return found


def random_rows(pool: Pool, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, n, count) for n in pool.shape], 1)


@pytest.mark.parametrize("space, name", POOLS)
@pytest.mark.parametrize("open_grid", [False, True])
def test_arrays_say_what_single_chips_say(space: str, name: str, open_grid: bool) -> None:
    pool = load_space(space).pools[name]
    rows = random_rows(pool, 24, seed=3)
    fleet = kinds(pool, grid(pool) if open_grid else block(pool, rows))
    for figure in DESIGN:
        found = design_figures(fleet, figure)
        if open_grid:
            at = tuple(row if n > 1 else 0 for row, n in zip(rows.T, np.shape(found), strict=False))
            found = found[at] if np.ndim(found) else found
        np.testing.assert_allclose(np.broadcast_to(found, len(rows)), one_by_one(pool, rows, figure), rtol=1e-12)


def test_names_counts_clocks_and_shares_are_axes_too() -> None:
    pool = space_of(NAMED).pools["chip"]
    rows = random_rows(pool, 60, seed=5)
    for figure in DESIGN:
        found = design_figures(kinds(pool, block(pool, rows)), figure)
        np.testing.assert_allclose(np.broadcast_to(found, len(rows)), one_by_one(pool, rows, figure), rtol=1e-12)


def test_designs_of_several_nodes_are_of_several_kinds() -> None:
    text = NAMED.replace("set clock = clock", "axis n = 5, 7\n    set node = n\n    set clock = clock")
    pool = space_of(text).pools["chip"]
    rows = random_rows(pool, 60, seed=7)
    fleet = kinds(pool, block(pool, rows))
    assert {(k.chip.node_nm, k.without) for k in fleet} == {
        (n, w) for n in (5, 7) for w in (frozenset(), frozenset({"mt"}))
    }
    for figure in DESIGN:
        found = design_figures(fleet, figure)
        np.testing.assert_allclose(np.broadcast_to(found, len(rows)), one_by_one(pool, rows, figure), rtol=1e-12)


def test_a_grid_is_small_along_axes_that_a_figure_does_not_read() -> None:
    pool = load_space("llmshare").pools["decode"]
    fleet = kinds(pool, grid(pool))
    read = {a.name for a, n in zip(pool.axes, design_figures(fleet, "dram_bytes").shape, strict=True) if n > 1}
    assert read == {"memory"}
    read = {a.name for a, n in zip(pool.axes, design_figures(fleet, "die_mm2").shape, strict=True) if n > 1}
    assert not read & {"servers", "devices", "sequences"} and {"cores", "height", "memory"} <= read


def test_an_illegal_value_of_some_design_has_its_place_in_the_space() -> None:
    pool = space_of(NAMED.replace("axis side = 32, 64", "axis side = 32, 0")).pools["chip"]
    with pytest.raises(Diag, match="`rows` of systolic-array cannot be 0") as caught:
        kinds(pool, grid(pool))
    assert caught.value.span is not None and caught.value.span.source.name == "named"
    single = {a.name: a.values[-1] for a in pool.axes}
    with pytest.raises(Diag, match="`rows` of systolic-array cannot be 0"):
        chip_at(pool, single)
