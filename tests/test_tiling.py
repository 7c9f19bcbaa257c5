"""The tile search finds the best of its map space: compared with trying everything, one mapping at a time."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from nestcases import CASES, joined, machine, pinned

from dfcompiler import tiles as tiles_module
from dfcompiler import tiling
from dfcompiler.blocks import Block
from dfcompiler.compose import single
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import DtypeMap, parse_dtypes
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.moves import INNER, OUTER, Frame, Keep
from dfcompiler.nest import DRAM_READ, DRAM_WRITE, Nest, Tiles
from dfcompiler.problem import Problem, problem
from dfcompiler.residency import structures
from dfcompiler.tiles import splits, tile_sizes
from dfcompiler.tiling import Tiling, search

MASKED = ("causal", "window", "ragged", "fresh", "mla")

SHARES = (1.0, 0.5, 0.125)


def gemm(m: int, k: int, n: int, dtypes: DtypeMap) -> Problem:
    a, w = dtypes.activation, dtypes.weight
    text = f"input x: {a} [{m}, {k}]\nweight w: {w} [{n}, {k}]\ny: {a} [{m}, {n}] = linear(x, w)\noutput y"
    graph = parse_graph(Source("g", f"graph g {{\n{text}\n}}"), library())
    return problem(single(graph, graph.nodes["y"]), dtypes)


@cache
def tpu128() -> Chip:
    return load_chip("tpu128")


# ---- everything, one at a time -----------------------------------------------------------------


def subsets(nest: Nest, where: Sequence[str]) -> Iterator[tuple[Keep, ...]]:
    """Every way to keep operands: each nowhere, or at one level since one loop that it does not depend on."""
    each: list[list[Keep | None]] = []
    for o in nest.problem.operands:
        idle = [p for p, x in enumerate(nest.order) if x not in o.loops and set(nest.order[p + 1 :]) & o.loops]
        each.append([None, *(Keep(o.name, w, p) for p in idle for w in where if o.kind != "local")])
    for chosen in itertools.product(*each):
        yield tuple(k for k in chosen if k)


def one_tiling(p: Problem, unit: Unit, helper: Unit | None, size: dict[str, int], ways: dict[str, int]) -> Tiles:
    as_arrays = [{n: np.array([float(v)]) for n, v in d.items()} for d in (size, ways)]
    return tiles_module.tiles_of(p, unit, helper, *as_arrays)


def tilings(p: Problem, unit: Unit) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Every split over instances with every tile size."""
    parallel = [x for x in p.loops if not x.reduced]
    grain = tiles_module.granules(p, unit, p.loops)
    for chosen in splits([x.size for x in parallel], unit.instances, spread=unit.levels[-1].multicast):
        ways = {x.name: 1 for x in p.loops} | dict(zip((x.name for x in parallel), chosen, strict=True))
        each = [tile_sizes(ceil(x.size / ways[x.name]), grain[x.name]).tolist() for x in p.loops]
        for size in itertools.product(*each):
            yield dict(zip(ways, size, strict=True)), ways


def brute(p: Problem, unit: Unit, helper: Unit | None) -> dict[float, tuple[float, float]]:
    """The least (cycles, DRAM bytes) of the whole map space for each share: no pruning, all loops in all orders."""
    best: dict[float, tuple[float, float]] = {}
    levels = [INNER] if len(unit.levels) == 2 else [INNER, OUTER]
    above = unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else np.inf
    for size, ways in tilings(p, unit):
        tiles = one_tiling(p, unit, helper, size, ways)
        for order in itertools.permutations(x.name for x in p.loops):
            nest = Nest(p, unit, tiles, [x for x in order if tiles.trips[x][0] > 1])  # others do not move anything
            for keeps in subsets(nest, levels):
                traffic = nest.traffic(keeps)
                if np.any(traffic.room > unit.levels[-1].capacity_bytes) or np.any(traffic.room_above > above):
                    continue
                moved = nest.bytes(keeps)[:, 0]
                dram = float(moved[DRAM_READ] + moved[DRAM_WRITE])
                for share, cycles in zip(SHARES, nest.cycles(traffic, SHARES), strict=True):
                    best[share] = min(best.get(share, (np.inf, np.inf)), (float(cycles[0]), dram))
    return best


def squeezed(unit: Unit, rng: random.Random) -> Unit:
    """The unit with little memory, so that not everything fits."""
    inner = replace(unit.levels[-1], capacity_bytes=rng.choice([40, 80, 160, 1 << 20]))
    outer = [replace(x, capacity_bytes=rng.choice([60, 200, 1 << 20])) for x in unit.levels[1:-1]]
    return replace(unit, levels=(unit.levels[0], *outer, inner))


def drawn(name: str, seed: int, points: int = 400, *, pin: bool = False) -> tuple[Problem, Unit, Unit | None]:
    rng = random.Random(f"{name}/{seed}")
    drafts = (joined(CASES[name](rng)) for _ in itertools.count())
    p = next(q for q in drafts if prod(x.size for x in q.loops) <= points)
    unit, helper = machine(rng, rng.choice(["systolic-array", "mac-tree"]) if p.contractions else "vector-unit")
    p = pinned(p, rng) if pin and len(unit.levels) > 2 else p
    return p, squeezed(unit, rng), helper if p.contractions else None


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CASES)
def test_the_search_finds_the_best_of_all(name: str, seed: int) -> None:
    p, unit, helper = drawn(name, seed, 60, pin=True)
    result = search(p, unit, helper, SHARES)
    best = brute(p, unit, helper)
    assert {t.share for t in result.tilings} == set(best)
    for t in result.tilings:
        assert t.cycles == pytest.approx(best[t.share][0], rel=1e-12)
        assert t.dram_bytes >= best[t.share][1] * (1 - 1e-9)
    assert bool(result.why) == (not best)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [search(*drawn(n, 7), SHARES) for n in CASES]
    monkeypatch.setattr(tiling, "BLOCK", 5)
    monkeypatch.setattr(tiling, "FIRST", 1, raising=False)
    for name, before in zip(CASES, found, strict=True):
        after = search(*drawn(name, 7), SHARES)
        assert [t.cycles for t in after.tilings] == [t.cycles for t in before.tilings]
        assert after.candidates == before.candidates


# ---- its parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(1, 130), 1000, 2049, 4096, 14336])
def test_tile_sizes_have_all_distinct_trip_counts(size: int) -> None:
    found = tile_sizes(size, 1)
    assert {-(-size // int(n)) for n in found} == {-(-size // n) for n in range(1, size + 1)}
    assert len(found) == len({-(-size // int(n)) for n in found})
    assert all(size > 4 and -(-size // (int(n) - 1)) > -(-size // int(n)) for n in found if n > 1 and size > 4)


@pytest.mark.parametrize(("size", "grain"), [(7, 4), (128, 128), (130, 128), (14336, 128), (100, 16), (5, 8)])
def test_tile_sizes_are_aligned_or_whole(size: int, grain: int) -> None:
    found = tile_sizes(size, grain).tolist()
    assert found == sorted(set(found)) and found[-1] == size
    assert all(n % grain == 0 or n == size for n in found)
    every = {-(-n // grain) * grain for n in tile_sizes(size, 1).tolist()}
    assert {min(n, size) for n in every} == set(found)


@pytest.mark.parametrize(("sizes", "instances"), [((8, 8), 4), ((3, 5), 8), ((1, 1), 32), ((100,), 6), ((), 4)])
def test_splits_use_more_than_half_of_what_can_be_used(sizes: tuple[int, ...], instances: int) -> None:
    found = splits(sizes, instances)
    assert found and all(prod(c) <= instances and all(s <= n for s, n in zip(c, sizes, strict=True)) for c in found)
    assert len({prod(c) for c in found}) <= instances
    assert all(2 * prod(c) > max(prod(d) for d in found) for c in found)


@pytest.mark.parametrize("name", CASES)
def test_bounds_never_exceed_prices(name: str) -> None:
    """Not those of a tiling, and not what passes a port; and a pair of a structure and a tiling costs what the order
    and the residency that it stands for do."""
    for seed in range(4):
        p, unit, helper = drawn(name, 100 + seed, pin=True)
        every = list(zip(*tilings(p, unit), strict=True))
        columns = [{x.name: np.array([float(d[x.name]) for d in ds]) for x in p.loops} for ds in every]
        tiles = tiles_module.tiles_of(p, unit, helper, *columns)
        rng = np.random.default_rng(seed)
        for live, here in tiles_module.by_pattern(p, tiles):
            piece = tiles_module.select(tiles, here)
            bounds = tiles_module.lower_bounds(p, unit, piece, SHARES)
            for some in structures(Frame.of(p), live, (INNER, OUTER) if len(unit.levels) > 2 else (INNER,)):
                block = Block(p, unit, piece, some)
                pairs = rng.integers(0, [[len(some.rows)], [len(piece.compute)]], (2, 40))
                nest, traffic = block.traffic(*pairs)
                passing = [block.all_of(x, some.rows)[tuple(pairs)] for x in block.passing]
                fits = np.ones(block.passing[0].shape, dtype=bool)
                for each, least in zip(passing, (block.least_of(x, fits) for x in block.passing), strict=True):
                    assert np.all(least[pairs[1]] <= each * (1 + 1e-9)), (name, seed, live)
                for room, each in zip((traffic.room, traffic.room_above), block.rooms, strict=True):
                    limit = float(np.median(room))
                    within = block.within(each, limit)[some.rows[pairs[0]].T, pairs[1]].all(0)
                    assert np.all(within[room <= limit]), (name, seed, live)
                busy = np.max(passing[:-1], 0)
                for share, low, cycles in zip(SHARES, bounds, nest.cycles(traffic, SHARES), strict=True):
                    assert np.all(low[pairs[1]] <= cycles * (1 + 1e-9)), (name, seed, live)
                    assert np.all(busy / share <= cycles * (1 + 1e-9)), (name, seed, live)
                    for i, (structure, at) in enumerate(pairs.T[:5].tolist()):
                        moves, keeps = some.mapping(structure)
                        alone = Nest(p, unit, tiles_module.select(piece, np.array([at])), moves)
                        assert alone.cycles(alone.traffic(keeps), [share])[0][0] == pytest.approx(cycles[i], rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_structures_left_out_are_no_better(name: str) -> None:
    """Every order with every residency is matched by a structure that is left, in time and in room, for all tilings."""
    for seed in range(2):
        p, unit, helper = drawn(name, 300 + seed, pin=True)
        every = list(zip(*tilings(p, unit), strict=True))
        columns = [{x.name: np.array([float(d[x.name]) for d in ds]) for x in p.loops} for ds in every]
        tiles = tiles_module.tiles_of(p, unit, helper, *columns)
        levels = (INNER, OUTER) if len(unit.levels) > 2 else (INNER,)
        for live, at in tiles_module.by_pattern(p, tiles):
            piece = tiles_module.select(tiles, at[:3])
            left = [priced(Block(p, unit, piece, some)) for some in structures(Frame.of(p), live, levels)]
            best = np.concatenate(left, 1)
            for order in itertools.islice(itertools.permutations(live), 6):
                nest = Nest(p, unit, piece, order)
                for keeps in itertools.islice(subsets(nest, levels), 20):
                    traffic = nest.traffic(keeps)
                    mine = np.stack(
                        [nest.cycles(traffic, [1.0])[0], *np.broadcast_arrays(traffic.room, traffic.room_above)]
                    )
                    assert (best <= mine[:, None] * (1 + 1e-9)).all(0).any(0).all(), (name, seed, order, keeps)


def test_nests_that_differ_in_names_share_structures() -> None:
    frame = Frame.of(joined(CASES["linear"](random.Random(0))))
    names = {"t": "a", "n": "c", "k": "b"}
    operands = [replace(o, name=f"{o.name}_", loops=frozenset(names[x] for x in o.loops)) for o in frame.operands]
    other = replace(frame, operands=tuple(operands), reduced=frozenset(names[x] for x in frame.reduced))
    (one,), (two,) = structures(frame, ("n", "k"), (INNER,)), structures(other, ("c", "b"), (INNER,))
    assert one.choices is two.choices and len(one.rows) == len(two.rows) > 1
    for i in range(len(one.rows)):
        (moves, keeps), (same, kept) = one.mapping(i), two.mapping(i)
        assert same.order == tuple(names[x] for x in moves.order)
        assert kept == tuple(replace(k, operand=f"{k.operand}_") for k in keeps)


def priced(block: Block) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Cycles, room and room above of all pairs, `[3, structure, tiling]`."""
    shape = len(block.structures.rows), len(block.tiles.compute)
    nest, traffic = block.traffic(*(x.ravel() for x in np.indices(shape)))
    found = nest.cycles(traffic, [1.0])[0], traffic.room, traffic.room_above
    return np.stack([np.broadcast_to(x, prod(shape)).reshape(shape) for x in found])


@pytest.mark.parametrize("name", ["linear", "gate_up_act", "gather", *MASKED])
def test_a_batch_is_a_loop_of_single_ones(name: str) -> None:
    for seed in range(2):
        p, unit, helper = drawn(name, 200 + seed)
        every = list(tilings(p, unit))[:60]
        columns = [
            {x.name: np.array([float(d[x.name]) for d in ds]) for x in p.loops} for ds in zip(*every, strict=True)
        ]
        batch = tiles_module.tiles_of(p, unit, helper, *columns)
        pieces = {live: tiles_module.select(batch, at) for live, at in tiles_module.by_pattern(p, batch)}
        met = dict.fromkeys(pieces, 0)
        for size, ways in every:
            alone = one_tiling(p, unit, helper, size, ways)
            live = tuple(n for n, trips in alone.trips.items() if trips[0] > 1)
            piece, i = pieces[live], met[live]
            met[live] += 1
            for order in itertools.islice(itertools.permutations(live), 3):
                many, one = Nest(p, unit, piece, order), Nest(p, unit, alone, order)
                keeps = list(subsets(one, [INNER]))[-1]
                a, b = (n.cycles(n.traffic(keeps), SHARES) for n in (many, one))
                assert [float(x[i]) for x in a] == pytest.approx([float(x[0]) for x in b], rel=1e-12)
                assert many.bytes(keeps)[:, i] == pytest.approx(one.bytes(keeps)[:, 0], rel=1e-12)


def test_what_cannot_fit_says_by_how_much() -> None:
    p = gemm(16, 64, 64, parse_dtypes("w16a16kv16"))
    unit = tpu128().units["sa"]
    tiny = replace(unit, levels=(*unit.levels[:-1], replace(unit.levels[-1], capacity_bytes=100)))
    result = search(p, tiny, None)
    assert not result.tilings and "100 B" in result.why and "buffer" in result.why
    needed = min(_needs(p, tiny))
    assert f"{needed:,.0f} B" in result.why
    roomy = replace(unit, levels=(*unit.levels[:-1], replace(unit.levels[-1], capacity_bytes=20_000)))
    assert all(t.room_bytes <= 20_000 for t in search(p, roomy, None).tilings)


def _needs(p: Problem, unit: Unit) -> list[float]:
    bits = {o.name: o.bits for o in p.operands}
    every = [one_tiling(p, unit, None, *x) for x in tilings(p, unit)]
    return [sum(float(e[0]) * bits[o] / 8 for o, e in t.elements.items()) for t in every]


def test_a_unit_that_cannot_run_it_says_what() -> None:
    p = joined(CASES["rmsnorm"](random.Random(0)))
    result = search(p, tpu128().units["sa"], None)
    assert result.why.startswith("`sa` cannot run") and result.candidates == 0


# ---- against another mapper --------------------------------------------------------------------

# ZigZag 3.9.1 (LOMA), 8-bit operands, 16-bit sums, on the same core: cycles it reports.
ZIGZAG = {2048: 7_844_480, 16: 543_616, 1: 491_888}


@pytest.mark.parametrize("m", ZIGZAG)
def test_gemms_on_tpu128_are_at_or_below_zigzag(m: int) -> None:
    p = gemm(m, 4096, 14336, parse_dtypes("w8a8kv8acc16"))
    start = time.process_time()
    result = search(p, tpu128().units["sa"], None, (1.0,))
    assert time.process_time() - start < 3.0  # ten times what it takes
    best: Tiling = result.tilings[0]
    macs = m * 4096 * 14336
    assert macs / (128 * 128) <= best.cycles <= ZIGZAG[m]
    assert best.dram_bytes >= m * 4096 + 4096 * 14336 + m * 14336
    assert best.room_bytes <= tpu128().units["sa"].levels[-1].capacity_bytes


def test_candidates_count_the_whole_space() -> None:
    p, unit, helper = drawn("linear", 3)
    result: Any = search(
        p, replace(unit, levels=(*unit.levels[:-1], replace(unit.levels[-1], capacity_bytes=1 << 30))), helper
    )
    assert result.candidates >= len(list(tilings(p, unit)))
