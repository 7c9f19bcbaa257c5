"""What no tiling can beat: templates against any cut of a tile, problems against searches, and the bound on traffic."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nestcases import CASES, any_sizes, joined, machine, operators

from dfcompiler import registry
from dfcompiler.compose import single
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.explore.floors import brought, floor, runs, site
from dfcompiler.explore.needs import needs, room_bytes
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import Compute, Contraction, KernelCompute, Ports, Tile
from dfcompiler.models import library
from dfcompiler.pricing import op_graph
from dfcompiler.problem import Problem, problem
from dfcompiler.tiling import search

CLASSES = {name: registry.lookup("template", name) for name in registry.names("template")}
UNITS = [n for n, c in CLASSES.items() if issubclass(c, Compute) and not issubclass(c, KernelCompute)]
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=3)


def some_unit(name: str, rng: random.Random) -> Compute:
    """A template with a few axes drawn from those that are legal."""
    cls = CLASSES[name]
    while True:
        chosen = {a.name: rng.choice(a.legal.values()) for a in cls.axes() if rng.random() < 0.4}
        small = {n: v for n, v in chosen.items() if isinstance(v, str) or v <= 64}
        try:
            return cls(**small)
        except Exception:
            continue


@pytest.mark.parametrize("name", UNITS)
@given(m=SIZES, n=SIZES, k=SIZES, seed=st.integers(0, 1 << 30))
def test_no_cut_of_a_tile_takes_less_than_its_least_cycles(
    name: str, m: list[int], n: list[int], k: list[int], seed: int
) -> None:
    rng = random.Random(seed)
    unit = some_unit(name, rng)
    ports = Ports(*(rng.choice([0.5, 3.0, 16.0, 64.0, float("inf")]) for _ in range(4)))
    bits = rng.choice([(8, 8, 32), (16, 16, 32), (16, 4, 32), (32, 16, 32)])
    kinds = {kind: rng.randint(1, 500) for kind in ("add", "exp", "max") if unit.runs(kind)}

    def tile(*sizes: float, part: float = 1.0) -> Tile:
        return Tile((Contraction(1, *sizes),), {x: count * part for x, count in kinds.items()}, *bits)

    count = len(m) * len(n) * len(k)
    whole = float(np.max(unit.least_cycles(tile(float(sum(m)), float(sum(n)), float(sum(k))), ports)))
    cut = sum(
        float(np.max(unit.cycles(tile(float(x), float(y), float(z), part=1 / count), ports)))
        for x in m
        for y in n
        for z in k
    )
    assert whole <= cut * (1 + 1e-9)
    assert whole > 0


def searched(p: Problem, unit: Unit, helper: Unit | None) -> float:
    found = search(p, unit, helper, (1.0,)).tilings
    return max(0.0, found[0].cycles) if found else np.inf  # in whole cycles: of a serial array a fill is a cycle less


@pytest.mark.parametrize("name", [*CASES, *operators()])
def test_no_tiling_takes_less_than_the_floor(name: str) -> None:
    for seed in range(3):
        rng = random.Random(f"{name} {seed}")
        p = joined(CASES[name](rng)) if name in CASES else any_sizes(name, rng)
        if all(o.kind == "local" for o in p.operands):  # a mask that leaves no point
            continue
        for family in ("systolic-array", "mac-tree", "vector-unit"):
            unit, helper = machine(rng, family)
            small = replace(unit.levels[-1], capacity_bytes=rng.choice([96, 256, 1024, 1 << 20]))
            unit = replace(unit, levels=(*unit.levels[:-1], small))
            beside = helper if family != "vector-unit" else None
            if not runs(p, unit, beside):
                assert searched(p, unit, beside) == np.inf
                continue
            found, bound = searched(p, unit, beside), floor(needs(p), site(unit, beside))
            assert bound.held <= found * (1 + 1e-9), (seed, family)
            assert bound.dram <= bound.held and bound.beside <= bound.held + 1  # a fill may be a cycle less


def product(m: int, k: int, n: int) -> Problem:
    graph, node = op_graph(library().ops["linear"], {"t": [m], "k": [k], "n": [n]}, parse_dtypes("w16a16kv16"))
    return problem(single(graph, node), parse_dtypes("w16a16kv16"))


@given(m=st.integers(8, 96), k=st.integers(8, 96), n=st.integers(8, 96), room=st.integers(200, 6000))
def test_products_bring_in_what_capacity_asks_for(m: int, k: int, n: int, room: int) -> None:
    """All ways of three nested tiles with any of them held: none that fits brings in less."""
    bound = brought(needs(product(m, k, n))[0], room, 1)
    least = np.inf
    for tm in range(1, m + 1):
        for tn in range(1, n + 1):
            tk = 1  # the thinnest tile along k leaves most room for the others
            if 2 * (tm * tk + tk * tn) + 4 * tm * tn <= room:  # sums are held
                least = min(least, 2 * (m * k * -(-n // tn) + k * n * -(-m // tm)))
    for tk in range(1, k + 1):
        for tn in range(1, n + 1):
            if 2 * tk * tn + 2 * tk + 4 * tn <= room:  # weights are held, sums come back
                back = 4 * m * n * (-(-k // tk) - 1)
                least = min(least, 2 * k * n + 2 * m * k * -(-n // tn) + back)
    assert bound <= least


def test_the_bound_on_traffic_is_near_what_a_search_finds() -> None:
    """A large product in a small memory behind a slow port."""
    rng = random.Random(1)
    unit, helper = machine(rng, "systolic-array")
    p, room = product(512, 512, 512), 16 << 10
    local = replace(
        unit.levels[-1], capacity_bytes=room, fill_bytes_per_cycle=1.0, instances=1, source_bytes_per_cycle=64.0
    )
    unit = replace(unit, levels=(unit.levels[0], local), instances=1)
    bound, found = floor(needs(p), site(unit, helper)).held, searched(p, unit, helper)
    compulsory = sum(o.total_bytes for o in p.operands if o.kind == "read")
    assert 0.45 * found <= bound <= found
    assert bound > 2 * compulsory


def test_a_memory_that_holds_no_tile_has_no_floor() -> None:
    p = joined(CASES["rmsnorm"](random.Random(4)))
    unit, _ = machine(random.Random(2), "vector-unit")
    needed = room_bytes(needs(p)[0], unit.instances)
    for room in (needed - 1, needed):
        small = replace(unit.levels[-1], capacity_bytes=int(room))
        here = replace(unit, levels=(*unit.levels[:-1], small))
        if room < needed:
            assert floor(needs(p), site(here, None)).held == np.inf == searched(p, here, None)
        else:
            assert floor(needs(p), site(here, None)).held < np.inf


@pytest.mark.parametrize("name", [*CASES, *operators()])
def test_room_is_what_buffers_of_a_point_take_or_all_that_an_instance_needs(name: str) -> None:
    rng = random.Random(name)
    p = joined(CASES[name](rng)) if name in CASES else any_sizes(name, rng)
    (need, *_), point = needs(p), {x.name: 1.0 for x in p.loops}
    for instances in (1, 3, 1000):
        part = {x.name: float(x.size) if x.reduced else float(np.ceil(x.size / instances)) for x in p.loops}
        room = 0.0
        for o in p.operands:
            each = p.elements(o.name, point) * max(o.bits, o.partial_bits) / 8
            alone = o.kind == "local" or bool(o.partial_bits)
            room += each if alone else min(2 * each, p.elements(o.name, part) * o.bits / 8)
        assert room_bytes(need, instances) == pytest.approx(float(room), rel=1e-12)
        assert room <= need.enough_bytes * (1 + 1e-12)


def test_floors_of_many_designs_are_those_of_each() -> None:
    rng = random.Random(7)
    p = product(48, 96, 64)
    unit, helper = machine(rng, "systolic-array")
    rows, cols = np.array([2, 4, 8])[:, None], np.array([2, 16])
    many = floor(
        needs(p), site(replace(unit, template=unit.template.with_axes({"rows": rows, "cols": cols})), helper)
    ).held
    for i, j in np.ndindex(3, 2):
        one = replace(unit, template=unit.template.with_axes({"rows": int(rows[i, 0]), "cols": int(cols[j])}))
        assert np.broadcast_to(many, (3, 2))[i, j] == pytest.approx(
            float(floor(needs(p), site(one, helper)).held), rel=1e-12
        )
