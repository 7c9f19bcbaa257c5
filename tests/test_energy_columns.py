"""Where energy counts, the search finds all tilings that no other beats: compared with trying everything."""

from __future__ import annotations

import itertools
from math import ceil

import numpy as np
import pytest
from nestcases import CASES
from test_tiling import SHARES, drawn, one_tiling, subsets, tilings

from dfcompiler.consumption import Consumption
from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.moves import INNER, OUTER
from dfcompiler.nest import Nest
from dfcompiler.problem import Problem
from dfcompiler.tiling import search

TECH = load_chip("ador").tech


def brute(p: Problem, unit: Unit, helper: Unit | None) -> dict[float, list[tuple[int, float]]]:
    """Whole cycles and energy of all tilings that no other beats, for each share: no pruning, all orders, all keeps."""
    found: dict[float, set[tuple[int, float]]] = {s: set() for s in SHARES}
    levels = [INNER] if len(unit.levels) == 2 else [INNER, OUTER]
    above = unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else np.inf
    used = Consumption.of(p, unit, helper, TECH)
    for form in filter(None, (p, grouped(p))):
        for size, ways in tilings(form, unit):
            tiles = one_tiling(form, unit, helper, size, ways)
            own = float(np.sum(used.of_tiles(form, size)))
            for order in itertools.permutations(x for x in size if tiles.trips[x][0] > 1):
                nest = Nest(form, unit, tiles, order)
                for keeps in subsets(nest, levels):
                    traffic = nest.traffic(keeps)
                    if np.any(traffic.room > unit.levels[-1].capacity_bytes) or np.any(traffic.room_above > above):
                        continue
                    pj = own + float(used.of_bytes(nest.bytes(keeps))[0])
                    for share, cycles in zip(SHARES, nest.cycles(traffic, SHARES), strict=True):
                        found[share].add((ceil(cycles[0] * (1 - 1e-12)), pj))
    return {s: undominated(sorted(points)) for s, points in found.items() if points}


def undominated(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    kept: list[tuple[int, float]] = []
    for cycles, pj in points:
        if not kept or pj < kept[-1][1] * (1 - 1e-9):
            kept.append((cycles, pj))
    return kept


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_no_tiling_is_better_in_time_and_energy(name: str, seed: int) -> None:
    p, unit, helper = drawn(name, 400 + seed, 60)
    used = Consumption.of(p, unit, helper, TECH)
    fronts: dict[float, list[tuple[int, float]]] = {}
    for t in search(p, unit, helper, SHARES, tech=TECH).tilings:
        form = next(f for f in (p, grouped(p)) if f and {x.name for x in f.loops} == set(t.tile))
        moved = sum(t.level_bytes[x.part] * pj for x, pj in zip(unit.levels, used.byte_pj, strict=True))
        point = ceil(t.cycles * (1 - 1e-12)), float(np.sum(used.of_tiles(form, t.tile))) + moved
        fronts.setdefault(t.share, []).append(point)
    best = brute(p, unit, helper)
    assert fronts.keys() == best.keys()
    for share, front in fronts.items():
        assert [c for c, _ in front] == [c for c, _ in best[share]], (share, front, best[share])
        assert [e for _, e in front] == pytest.approx([e for _, e in best[share]], rel=1e-9)
