"""Static energy: no tiling takes less, arrays say what single designs say, and steps that are mapped come near."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nestcases import CASES
from test_fleet import space_of
from test_tiling import drawn

from dfcompiler.consumption import Consumption
from dfcompiler.energy import energy_pj
from dfcompiler.exchanges import links_of
from dfcompiler.expenses import floor_pj
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.energies import least_pj, unit_pj
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.prices.steps import step_work
from dfcompiler.fabrics import exchange_time
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.template import Contraction, Memory, Tile
from dfcompiler.power import static_w
from dfcompiler.tiling import SHARES, search

SPACE = """
space joules {
  pool chip on ador {
    axis side = 32, 64
    axis global = 2 MiB, 16 MiB
    axis trees = 0, 16
    set sa.rows = side
    set sa.cols = side
    set global.capacity = global
    drop mt where trees == 0
    load chat: llama3-8b { phase = decode, batch = 16, context = 1024, tp = 2 }
    load prompt: llama3-8b { phase = prefill, batch = 1, seq = 512, pp = 2 }
  }
  minimize j = chat.energy_j
}
"""


@pytest.mark.parametrize("name", CASES)
def test_no_tiling_takes_less_energy(name: str) -> None:
    tech = load_chip("ador").tech
    for seed in range(2):
        p, unit, helper = drawn(name, 900 + seed)
        floor = unit_pj(p, unit, Consumption.of(p, unit, helper, tech))
        assert floor >= floor_pj(p, unit, helper, tech) * (1 - 1e-9), "what is beside a unit is in it too"
        chip: Any = replace(load_chip("ador"), units={u.name: u for u in (unit, helper) if u})
        for t in search(p, unit, helper, SHARES, tech=tech).tilings:
            assert floor <= energy_pj(p, unit.name, helper.name if helper else None, t, chip) * (1 + 1e-9)


SIZES = st.integers(1, 400)


@given(st.sampled_from(["ador", "pim_edge", "cim_edge"]), SIZES, SIZES, SIZES, st.lists(SIZES, min_size=3, max_size=3))
def test_whole_tiles_and_full_ones_move_least_beside_a_unit(chip: str, m: int, n: int, k: int, cut: list[int]) -> None:
    for unit in load_chip(chip).units.values():
        grain = unit.template.granule()

        def each(m: float, n: float, k: float, unit: Any = unit) -> float:
            one = Contraction(1.0, m, n, k)
            return float(unit.template.local_bytes(Tile((one,), {}, 16, 16, 32))) / one.macs

        corners = product(*((x, min(x, grain.get(role, 1))) for role, x in zip("mnk", (m, n, k), strict=True)))
        tile = [min(c, x) for c, x in zip(cut, (m, n, k), strict=True)]
        assert min(each(*c) for c in corners) <= each(*tile) * (1 + 1e-12)


def test_energies_of_many_designs_are_those_of_each() -> None:
    pool = space_of(SPACE).pools["chip"]
    prices = StaticPrices(pool, roofs=True)  # the energy is the same, and no tiling is looked at
    for load, devices, stages in (("chat", 2, 1), ("prompt", 2, 2)):
        found = np.broadcast_to(prices.price((load, "energy_j")), pool.shape)
        latency = np.broadcast_to(prices.price((load, "latency_s")), pool.shape)
        for at in np.ndindex(*pool.shape):
            values = {a.name: a.values[i] for a, i in zip(pool.axes, at, strict=True)}
            chip = chip_at(pool, values)
            work = step_work(load_at(pool.loads[load], values), chip)
            pj = sum(op.times * float(least_pj(op.problem, chip)) for op in work.ops)
            links, dram = links_of(chip), chip.dram.template
            assert isinstance(dram, Memory)
            for e in work.exchanges:
                crossing = sum(exchange_time(d.pattern, e.devices, d.bytes, links.fabric)[2] for d in e.demands)
                stored = (e.read_bytes + e.written_bytes) * float(dram.pj_per_byte(chip.tech))
                pj += e.times * (stored + crossing * links.pj_per_byte)
            expected = devices * (pj * 1e-12 / stages + static_w(chip) * latency[at])
            assert found[at] == pytest.approx(expected, rel=1e-9)


def test_steps_that_are_mapped_come_near() -> None:
    """Fusion saves a part, tiles cost more than they must, and what goes at rest is in both."""
    pool = space_of(SPACE).pools["chip"]
    pool = replace(pool, axes=tuple(replace(a, values=a.values[-1:]) for a in pool.axes))
    mapped = Mapped(pool, {a.name: a.values[0] for a in pool.axes}).figure(("chat", "energy_j"))
    assert 0.8 < StaticPrices(pool, roofs=True).price(("chat", "energy_j")).item() / float(mapped) < 1.05
