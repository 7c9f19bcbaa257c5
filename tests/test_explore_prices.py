"""Prices of many designs at once: products against brute force and the compiler's search, others against one design."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler import cache
from dfcompiler.compose import single
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.figures import cut, part
from dfcompiler.explore.mapped import compiled, design_figure, load_at
from dfcompiler.explore.prices import compiled as compiled_sweep
from dfcompiler.explore.prices.compiled import available, lower
from dfcompiler.explore.prices.places import in_turn
from dfcompiler.explore.prices.pricing import Pricing
from dfcompiler.explore.prices.products import product_of, structures_of
from dfcompiler.explore.prices.protocol import protocol_points, values_at
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.prices.steps import step_work
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.space import DESIGN, Pool, load_space
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.elaboration import find_chip
from dfcompiler.models import library
from dfcompiler.moves import Frame, Keep, Moves
from dfcompiler.nest import Nest
from dfcompiler.pricing import op_graph
from dfcompiler.problem import NestOperand, Problem, problem
from dfcompiler.residency import structures
from dfcompiler.text import tree as t
from dfcompiler.tiles import axes, by_pattern, select, tiles_of
from dfcompiler.tiling import search
from dfcompiler.traffic import NEAR

SMALL = """chip small {
  node = 7 nm
  clock = 1 GHz
  part hbm: dram { kind = hbm2e, capacity = 8 GB, bandwidth = 100 GB/sDUPLEX }
  part global: sram { capacity = 64 KiB, dma_read = 64 B/cycle, dma_write = 64 B/cycle }
  part noc: noc { bandwidth = 16 B/cycle, multicast = MULTICAST }
  part link: link { count = 1 }
  group core x 4 {
    part local: sram { capacity = 8 KiB, dma_read = 16 B/cycle, dma_write = 12 B/cycle }
    part sa: systolic-array { rows = 8, cols = 8, reload = RELOAD, share = 80 % }
    part vu: vector-unit { lanes = 16, share = 20 % }
  }
  connect hbm - global - noc - local - sa
  connect local - vu
  connect global - link
}
"""
SPACE = """space little {
  pool one on llmcompass {
    axis cores = 3, 4, 6
    axis side = 4, 8
    axis local = 256 B, 2 KiB, 16 KiB
    axis global = 2 KiB, 8 KiB, 64 KiB
    axis memory = 10 GB/s, 100 GB/s, 1000 GB/s
    axis width = 8, 64
    axis batch = 1, 3
    set core = cores
    set sa.rows = side
    set sa.cols = side
    set local.capacity = local
    set global.capacity = global
    set global.dma_read = width * cores
    set hbm.bandwidth = memory
    load chat: llama3-8b { phase = decode, batch = batch, context = 64 }
  }
  minimize s = chat.latency_s
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the space and the chips of these tests lie."""
    found = tmp_path_factory.mktemp("spaces")
    (found / "little.space").write_text(SPACE)
    return found


def little(folder: Path, multicast: str = "yes", reload: str = "double-buffered", duplex: str = "half") -> Pool:
    """The pool of the little space on a chip of these settings; its parts are called as those of `llmcompass`."""
    chip = folder / f"{multicast}-{reload}-{duplex}.chip"
    text = SMALL.replace("MULTICAST", multicast).replace("RELOAD", reload)
    chip.write_text(text.replace("DUPLEX", f", duplex = {duplex}"))
    (pool,) = load_space(str(folder / "little.space")).pools.values()
    return replace(pool, chip=find_chip(str(chip)))


def linear(t: int, k: int, n: int, dtype: str = "w16a16kv16") -> Problem:
    """A linear layer."""
    return op("linear", dtype, t=t, k=k, n=n)


def op(name: str, dtype: str = "w16a16kv16", **dims: int) -> Problem:
    """An op of these sizes."""
    dtypes = parse_dtypes(dtype)
    graph, node = op_graph(library().ops[name], {i: (n,) for i, n in dims.items()}, dtypes)
    return problem(single(graph, node), dtypes)


def cycles(pool: Pool, p: Problem, *, compiled: bool) -> np.ndarray:
    """Cycles of a product in all designs of a pool."""
    prices = Pricing(pool, compiled, workers=1)
    (kind,), x = prices.kinds, product_of(p)
    assert x is not None
    return np.asarray(prices.products(kind, [x])[x.key] * kind.chip.clock_hz)


def alone(pool: Pool, design: tuple[int, ...]) -> Pool:
    """A pool of one design."""
    return replace(pool, axes=tuple(replace(a, values=(a.values[i],)) for a, i in zip(pool.axes, design, strict=True)))


def chip_of(pool: Pool, design: tuple[int, ...]) -> Chip:
    return chip_at(pool, {a.name: a.values[i] for a, i in zip(pool.axes, design, strict=True)})


def pick(a: np.ndarray, design: tuple[int, ...]) -> float:
    """What an array over designs has for one of them."""
    a = np.asarray(a)
    a = a.reshape((1,) * (len(design) - a.ndim) + a.shape)
    return float(a[tuple(i if n > 1 else 0 for i, n in zip(design, a.shape, strict=True))])


def brute(p: Problem, unit: Unit) -> float:
    """The least price of any tiling in any order with anything kept anywhere, from the compiler's classes of steps."""
    best, names = np.inf, [x.name for x in p.loops]
    inner, outer = (x.capacity_bytes for x in (unit.levels[-1], unit.levels[-2]))
    for sizes, ways in axes(p, unit):
        every = np.array([*itertools.product(*sizes)], dtype=np.float64).T
        size = dict(zip(names, every, strict=True))
        split = {n: np.full(every.shape[1], float(w)) for n, w in zip(names, ways, strict=True)}
        tiles = tiles_of(p, unit, None, size, split)
        for live, at in by_pattern(p, tiles):
            for order in itertools.permutations(live):
                moves = Moves(Frame.of(p), order)
                options = [
                    [None, *(Keep(o.name, w, i, o.kind) for i in moves.idle_positions(o) for w in ("inner", "outer"))]
                    for o in p.operands
                ]
                for keeps in itertools.product(*options):
                    nest = Nest(p, unit, select(tiles, at), moves)
                    found = nest.traffic([k for k in keeps if k])
                    price = pipeline(nest, found.terms)
                    fits = (found.room <= inner) & (found.room_above <= outer)
                    best = min(best, float(np.where(fits, price, np.inf).min()))
    return best


def pipeline(nest: Nest, terms: object) -> np.ndarray:
    """Compute after the first load and before the last store, or the busiest port and one tile."""
    one, busiest, first = nest.tiles.compute, 0.0, 0.0
    for port in nest.ports:
        bits, elements = terms.at(port.level)  # type: ignore[attr-defined]
        moved = (port.weigh(bits) * elements[:, None]).sum(0)
        busiest = np.maximum(busiest, (nest.counts * moved).sum(0) + port.out * nest.last[port.level != NEAR])
        first = np.maximum(first, moved[0])
    return np.asarray(np.maximum(nest.counts.sum(0) * one + first + nest.store, busiest + one) + nest.waits)


def walked(order: tuple[str, ...], trips: dict[str, int], o: NestOperand, since: int | None) -> tuple[int, int]:
    """How often a tile of an operand comes to where it stays from a position of the loops inwards, or only passes; and
    how many of these have been there before: by walking all steps."""
    held: set[tuple[int, ...]] = set()
    seen: set[tuple[int, ...]] = set()
    outside, comes, again = None, 0, 0
    for at in itertools.product(*(range(trips[x]) for x in order)):
        tile = tuple(i for x, i in zip(order, at, strict=True) if x in o.loops)
        if since is not None and at[:since] != outside:
            held, outside = set(), at[:since]
        if tile in held:
            continue
        comes, again = comes + 1, again + (tile in seen)
        held = {tile} if since is None else held | {tile}
        seen.add(tile)
    return comes, again


@pytest.mark.parametrize("trips", [(2, 3, 4), (4, 2, 2), (3, 5, 2)])
def test_moves_are_what_walking_the_loops_counts(trips: tuple[int, int, int]) -> None:
    p = linear(8, 8, 8)
    x = product_of(p)
    assert x is not None
    often = dict(zip(x.names, trips, strict=True))
    (found,) = structures(Frame.of(p), x.names, ("inner", "outer"))
    packed = structures_of(x, 3)
    times = [int(np.prod([n for i, n in enumerate(trips) if mask >> i & 1])) for mask in range(8)]
    rows = packed.rows[packed.row_of[7] : packed.row_of[8]]
    assert len(rows) == len(found.rows)
    for number, row in enumerate(rows):
        moves, keeps = found.mapping(number)
        for o, choice in zip(p.operands, row.tolist(), strict=True):
            keep = next((k for k in keeps if (k.operand, k.kind) == (o.name, o.kind)), None)
            near, far = (
                keep.since if keep and keep.where in which else None for which in (("inner",), ("inner", "outer"))
            )
            counts = [walked(moves.order, often, o, since) for since in (near, far)]
            wide = o.partial_bits if counts[0][1] else o.bits
            if o.kind == "read":
                expected = [counts[0][0] * o.bits, 0, counts[1][0] * o.bits, 0]
            else:
                outs = [(comes - 1) * wide + o.bits for comes, _ in counts]
                expected = [counts[0][1] * o.partial_bits, outs[0], counts[1][1] * o.partial_bits, outs[1]]
            weights, masks = packed.weight[choice], packed.over[choice]
            got = [sum(w * times[m] for w, m in zip(weights[k], masks[k], strict=True)) for k in (0, 1, 2, 3)]
            assert got == expected, (moves.order, keep, o.name)


SHAPES = [(3, 16, 20), (1, 24, 16), (10, 9, 12), (5, 40, 1)]
CHIPS = [("yes", "double-buffered", "half"), ("no", "serial", "full"), ("yes", "exposed", "full")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("chip", CHIPS)
def test_a_product_costs_what_brute_force_finds(folder: Path, shape: tuple[int, ...], chip: tuple[str, ...]) -> None:
    pool, p = little(folder, *chip), linear(*shape)
    found, rng = cycles(pool, p, compiled=False), np.random.default_rng(len(chip[1]) + sum(shape))
    for _ in range(4):
        design = tuple(int(rng.integers(n)) for n in pool.shape)
        assert pick(found, design) == pytest.approx(brute(p, chip_of(pool, design).units["sa"]), rel=1e-12)


@settings(max_examples=12)
@given(
    shape=st.tuples(*(st.integers(1, 70) for _ in range(3))),
    dtype=st.sampled_from(["w16a16kv16", "w4a8kv4"]),
    seed=st.integers(0, 99),
)
def test_a_product_is_never_dearer_than_the_compilers_tiling(
    folder: Path, shape: tuple[int, int, int], dtype: str, seed: int
) -> None:
    pool, p, rng = little(folder), linear(*shape, dtype), np.random.default_rng(seed)
    found = cycles(pool, p, compiled=False)
    design = tuple(int(rng.integers(n)) for n in pool.shape)
    result = search(p, chip_of(pool, design).units["sa"], None, (1.0,))
    if not result.tilings:
        assert pick(found, design) == np.inf
        return
    assert 0.4 * result.tilings[0].cycles < pick(found, design) <= result.tilings[0].cycles * (1 + 1e-12)


@pytest.mark.skipif(not available(), reason="numba is not installed")
@pytest.mark.parametrize("shape", [(37, 96, 120), (1, 250, 64), (64, 64, 1)])
@pytest.mark.parametrize("chip", CHIPS)
def test_the_compiled_sweep_gives_the_same_numbers(folder: Path, shape: tuple[int, ...], chip: tuple[str, ...]) -> None:
    pool, p = little(folder, *chip), linear(*shape)
    assert np.array_equal(cycles(pool, p, compiled=True), cycles(pool, p, compiled=False))
    assert len(lower(True).signatures) == 1  # type: ignore[attr-defined]  # nothing is compiled in mid-run


@pytest.mark.skipif(not available(), reason="numba is not installed")
def test_what_cannot_be_kept_is_compiled_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    monkeypatch.setattr(compiled_sweep.cache, "folder", lambda: tmp_path)

    def gone(*, keep: bool) -> object:
        made.append(keep)
        if keep:
            raise FileNotFoundError
        return lower(False)

    monkeypatch.setattr(compiled_sweep, "_made", gone)
    assert compiled_sweep._kept() is lower(False)
    assert made == [True, False]


def test_larger_memories_are_never_slower(folder: Path) -> None:
    pool = little(folder)
    found = cycles(pool, linear(29, 96, 120), compiled=False)
    for name in ("local", "global", "memory"):
        axis = [a.name for a in pool.axes].index(name)
        first, rest = (
            np.take(found, range(found.shape[axis] - 1), axis),
            np.take(found, range(1, found.shape[axis]), axis),
        )
        assert np.all(rest <= first)
    assert np.isinf(found).any()
    assert not np.isinf(found).all()


def test_many_designs_cost_what_each_costs_alone(folder: Path) -> None:
    pool, rng = little(folder), np.random.default_rng(3)
    prices = StaticPrices(pool, compile_it=False)
    figures = [
        ("chat", "latency_s"),
        ("chat", "free_bytes"),
        ("chat", "tokens"),
        ("chat", "kv_bytes"),
        ("usd",),
        ("area_mm2",),
    ]
    many = [prices.price(path) for path in figures]
    for _ in range(4):
        design = tuple(int(rng.integers(n)) for n in pool.shape)
        one = StaticPrices(alone(pool, design), compile_it=False)
        for path, found in zip(figures, many, strict=True):
            assert one.price(path).item() == pytest.approx(pick(found, design), rel=1e-12), path


@pytest.mark.parametrize("name", ["llmshare", "ador"])
def test_figures_of_a_device_are_those_of_its_chip(name: str) -> None:
    pool, rng = next(iter(load_space(name).pools.values())), np.random.default_rng(11)
    prices = StaticPrices(pool)
    for _ in range(6):
        design = tuple(int(rng.integers(n)) for n in pool.shape)
        chip = chip_of(pool, design)
        for figure in DESIGN:
            try:
                wanted = design_figure(chip, figure)
            except Infeasible:
                wanted = np.inf
            assert pick(prices.price((figure,)), design) == pytest.approx(wanted, rel=1e-12), figure


def test_designs_without_a_unit_are_priced_without_it() -> None:
    pool = load_space("ador").pools["chip"]
    names = [a.name for a in pool.axes]
    few = {"cores": 2, "side": 2, "width": 1, "lanes": 1, "local": 2, "global": 2}
    pool = replace(
        pool,
        axes=tuple(
            replace(a, values=a.values[few[a.name] : few[a.name] + 1]) if a.name in few else a for a in pool.axes
        ),
    )
    prices = StaticPrices(pool, compile_it=False)
    assert [len(k.chip.units) for k in prices.pricing.kinds] == [3, 2]
    axis, found = names.index("trees"), prices.price(("chat", "latency_s"))
    for i in range(pool.shape[axis]):
        design = tuple(i if j == axis else 0 for j in range(len(names)))
        one = StaticPrices(alone(pool, design), compile_it=False).price(("chat", "latency_s"))
        assert one.item() == pytest.approx(pick(found, design), rel=1e-12)


def test_what_the_model_does_not_say_is_refused(folder: Path) -> None:
    with pytest.raises(Diag, match="no `max_rate_req_s`"):
        StaticPrices(little(folder)).price(("chat", "max_rate_req_s"))


def test_places_run_as_products_of_their_own(folder: Path) -> None:
    whole = op("expert_linear", t=60, j=2, k=24, n=16, e=8)
    assert product_of(whole) is None
    found = in_turn(whole)
    assert found is not None
    places, one = found
    weights = {o.name: o.total_bytes for o in whole.operands}
    assert places == pytest.approx(8, rel=1e-3)
    assert {o.name: o.total_bytes * places for o in one.operands}["w"] == pytest.approx(weights["w"])
    pool = little(folder)
    rows = one.loops[0].size
    assert 0 <= rows * places - 60 * 2 < places  # the mean, rounded up
    assert np.array_equal(cycles(pool, one, compiled=False), cycles(pool, linear(rows, 24, 16), compiled=False))
    assert in_turn(linear(15, 24, 16)) is None


def test_scales_of_groups_count_as_their_mean(folder: Path) -> None:
    pool = alone(little(folder), (1, 1, 2, 2, 1, 1, 0))
    (kind,) = Pricing(pool).kinds
    said = pool.loads["chat"]
    said = replace(said, options=(*said.options, t.Opt("dtype", t.Text("w=int4-g128,a=bf16,kv=bf16"))))
    load = load_at(said, {a.name: a.values[0] for a in pool.axes})
    work, unit = step_work(load, kind.one), kind.one.units["sa"]
    scaled = [op for op in work.ops if (x := product_of(op.problem)) and (x.operands.base < 1).any()]
    assert scaled
    for one in scaled[:1]:
        found = cycles(pool, one.problem, compiled=False).item()
        result = search(one.problem, unit, kind.one.units["vu"], (1.0,))
        assert 0.4 * result.tilings[0].cycles < found <= result.tilings[0].cycles * (1 + 1e-12)


def test_a_block_of_designs_and_what_is_refused(folder: Path) -> None:
    pool = replace(little(folder), axes=little(folder).axes)
    prices = StaticPrices(pool, compile_it=False)
    whole = prices.price(("chat", "latency_s"))
    corner = (slice(0, 1), *(slice(0, n) for n in pool.shape[1:-1]), slice(1, pool.shape[-1]))
    assert np.array_equal(part(prices, ("chat", "latency_s"), corner), cut(whole, corner))
    assert cut(whole, corner).shape[-1] == pool.shape[-1] - 1
    slow = np.isinf(np.broadcast_to(whole, pool.shape)).sum()
    assert prices.refused("chat") == {"does-not-fit": pool.designs, "no-tiling": 0, "no-room": 0}
    assert slow == pool.designs
    larger = replace(pool, chip=find_chip(str(larger_chip(folder))))
    prices = StaticPrices(larger, compile_it=False)
    refused = prices.refused("chat")
    assert refused["does-not-fit"] == 0
    assert refused["no-tiling"] == np.isinf(np.broadcast_to(prices.price(("chat", "latency_s")), pool.shape)).sum() > 0
    assert prices.price(("chat", "free_bytes")).min() > 0


def test_designs_without_room_for_a_row_have_a_price_and_are_marked(folder: Path) -> None:
    pool = little(folder)
    pool = replace(pool, chip=find_chip(str(larger_chip(folder))))
    local = next(a for a in pool.axes if a.name == "local")
    wider = replace(local, values=(16 << 10, 256 << 10))
    pool = replace(pool, axes=tuple(wider if a is local else replace(a, values=a.values[-1:]) for a in pool.axes))
    prices = StaticPrices(pool, compile_it=False)
    marked = np.broadcast_to(prices.unheld("chat"), pool.shape).ravel()
    assert marked.tolist() == [True, False]  # of 20 % of these, as the vector unit has them
    bound = Screen(pool).price(("chat", "latency_s"))
    assert np.isinf(np.broadcast_to(bound, pool.shape)).ravel().tolist() == marked.tolist()
    assert np.isfinite(prices.price(("chat", "latency_s"))).all() and prices.refused("chat")["no-room"] == 1
    values = {a.name: a.values[0] for a in pool.axes}
    with pytest.raises(Infeasible):
        compiled(load_at(pool.loads["chat"], values), chip_of(pool, (0,) * len(pool.axes)))


def larger_chip(folder: Path) -> Path:
    """The little chip with memory for the model."""
    found = folder / "larger.chip"
    text = (folder / "yes-double-buffered-half.chip").read_text()
    found.write_text(text.replace("capacity = 8 GB", "capacity = 80 GB"))
    return found


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of kept values for one test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache.folder.cache_clear()
    yield
    monkeypatch.undo()
    cache.folder.cache_clear()


@pytest.mark.usefixtures("own_cache")
def test_what_was_found_is_read_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = little(folder)
    first = StaticPrices(pool, compile_it=False).price(("chat", "latency_s"))
    monkeypatch.setattr(Pricing, "answer", lambda *_: pytest.fail("priced again"))
    assert np.array_equal(StaticPrices(pool, compile_it=False).price(("chat", "latency_s")), first)
    other = alone(pool, (0,) * len(pool.axes))
    with pytest.raises(pytest.fail.Exception, match="priced again"):
        StaticPrices(other, compile_it=False).price(("chat", "latency_s"))


def test_a_design_that_does_not_fit_is_infeasible_for_the_compiler(folder: Path) -> None:
    pool = little(folder)
    values = {a.name: a.values[0] for a in pool.axes}
    with pytest.raises(Infeasible) as fault:
        compiled(load_at(pool.loads["chat"], values), chip_of(pool, (0,) * len(pool.axes)))
    assert fault.value.code == "does-not-fit"


def test_random_systems_have_the_values_of_their_designs(folder: Path) -> None:
    text = SPACE.replace("pool one on llmcompass", "pool one, two on llmcompass")
    text = text.replace(
        "minimize s = chat.latency_s",
        "minimize s = one.chat.latency_s + two.chat.latency_s\n  minimize mm2 = one.area_mm2",
    )
    (folder / "pair.space").write_text(text)
    little(folder)
    chip = find_chip(str(larger_chip(folder)))
    space = load_space(str(folder / "pair.space"))
    space = replace(space, pools={n: replace(p, chip=chip) for n, p in space.pools.items()})
    found = protocol_points(space, 5, 40, lambda pool: StaticPrices(pool, compile_it=False))
    again = protocol_points(space, 5, 40, lambda pool: StaticPrices(pool, compile_it=False))
    assert np.array_equal(found.points, again.points)
    assert len({*map(tuple, found.points.tolist())}) == 40
    assert np.isfinite(found.values).all()
    prices = {n: StaticPrices(p, compile_it=False) for n, p in space.pools.items()}
    for point, row in zip(found.points[:5].tolist(), found.values[:5], strict=True):
        one, two = tuple(point[:7]), tuple(point[7:])
        seconds = sum(pick(prices[n].price(("chat", "latency_s")), d) for n, d in (("one", one), ("two", two)))
        assert row[0] == pytest.approx(seconds, rel=1e-12)
        assert row[1] == pytest.approx(chip_of(space.pools["one"], one).area_mm2()["total"], rel=1e-12)
    roofs = {n: StaticPrices(p, roofs=True) for n, p in space.pools.items()}
    below, _ = values_at(space, found.points, roofs)
    assert (below <= found.values).all() and np.median(below[:, 0] / found.values[:, 0]) > 0.3
    exact, bound = (np.broadcast_arrays(p["one"].price(("chat", "latency_s")), 0.0)[0] for p in (prices, roofs))
    assert (bound <= exact).all(), "rooflines that a product beats"


def test_systems_that_are_too_rare_are_infeasible(folder: Path) -> None:
    space = load_space(str(folder / "little.space"))
    pool = alone(little(folder), (0,) * 7)
    space = replace(space, pools={"one": pool})
    with pytest.raises(Infeasible, match="run all loads"):
        protocol_points(space, 0, 3, lambda p: StaticPrices(p, compile_it=False))
