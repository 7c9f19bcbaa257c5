"""Mixtures of experts: expected loads against Monte Carlo, and the loop form by experts against routings walked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.energy import energy_pj
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.facts import facts
from dfcompiler.fronts import Best
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.grouping import form_of as named
from dfcompiler.grouping import grouped, grouping
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.hardware.template import Contraction, Ports, Tile
from dfcompiler.models import library
from dfcompiler.moves import INNER, Keep
from dfcompiler.nest import DRAM_READ, DRAM_WRITE, Nest
from dfcompiler.opshape import bind
from dfcompiler.pricing import price_op
from dfcompiler.problem import Problem, problem
from dfcompiler.routing import crowd, distinct, inclusion, max_load, popularity
from dfcompiler.semantics import run_op
from dfcompiler.tiles import HALVES, tiles_of
from dfcompiler.tiling import _search, search
from dfcompiler.verify import equivalent, shrink

Floats = np.ndarray[Any, np.dtype[Any]]
DTYPES = parse_dtypes("w16a16kv16acc32")


def draw(rng: np.random.Generator, places: int, rows: int, picked: int, skew: float, draws: int) -> Floats:
    """Picks `[draw, row, pick]`: one after another by weight, as the top of log-weights with Gumbel noise."""
    noisy = np.log(popularity(places, skew)) + rng.gumbel(size=(draws, rows, places))
    return np.asarray(np.argsort(-noisy, axis=-1)[..., :picked])


def loads(ids: Floats, places: int) -> Floats:
    """Rows of every place, `[draw, place]`."""
    return np.stack([np.bincount(i.ravel(), minlength=places) for i in ids])


def close(expected: float, seen: Floats, rtol: float = 0.0) -> None:
    """Within four standard errors of the mean of what was seen, and `rtol` of it."""
    error = 4 * seen.std() / len(seen) ** 0.5 + rtol * seen.mean() + 1e-9
    assert abs(expected - seen.mean()) <= error, f"{expected} is not {seen.mean()} +- {error}"


# ---- expectations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("places", "picked", "skew"), [(6, 2, 1.0), (8, 3, 0.5), (7, 4, 2.0), (5, 4, 1.5), (6, 6, 1.0)]
)
def test_inclusion_is_that_of_all_sequences_of_picks(places: int, picked: int, skew: float) -> None:
    weights, expected = popularity(places, skew), np.zeros(places)
    for sequence in itertools.permutations(range(places), picked):
        left, chance = 1.0, 1.0
        for x in sequence:
            chance *= weights[x] / left
            left -= weights[x]
        expected[list(sequence)] += chance
    np.testing.assert_allclose(inclusion(places, picked, skew), expected, atol=1e-12)


def test_inclusion_of_many_places_is_close_to_the_exact_one() -> None:
    import dfcompiler.routing as routing

    exact = inclusion(256, 8, 1.0)
    weights = popularity(256, 1.0)
    near = -np.expm1(-weights * routing._until(weights, 8))
    assert near.sum() == pytest.approx(8)
    assert abs(near - exact).max() < 0.02
    assert distinct(256, 64, 8, 8, 1.0) == pytest.approx((1 - (1 - near) ** 64).sum(), rel=5e-3)


ROUTINGS = [
    (256, 64, 8, 0.0),
    (256, 64, 8, 0.5),
    (256, 64, 8, 1.0),
    (8, 3, 2, 0.0),
    (8, 3, 2, 1.0),
    (64, 128, 6, 0.8),
    (128, 16, 4, 1.2),
    (100, 300, 1, 0.7),
]


@pytest.mark.parametrize(("places", "rows", "picked", "skew"), ROUTINGS)
def test_expected_loads_are_those_of_random_routings(places: int, rows: int, picked: int, skew: float) -> None:
    """Distinct places and their tiles of rows exactly; the most loaded of all places and of groups within 3 %."""
    seen = loads(draw(np.random.default_rng(5), places, rows, picked, skew, 500), places)
    close(float(distinct(places, rows, picked, picked, skew)), (seen > 0).sum(1))
    more = crowd(places, rows, picked, skew)
    assert more.sum() == pytest.approx(rows * picked)
    for tile in (1, 2, 5):
        close(more[::tile].sum(), -(-seen // tile).sum(1))
    for groups in (2, 4, places):
        of = np.stack([seen[:, g::groups].sum(1) for g in range(groups)], 1).max(1)
        close(max_load(places, rows, picked, groups, skew), of, rtol=0.03)


def test_loads_at_the_ends() -> None:
    assert max_load(8, 5, 8, 8) == pytest.approx(5)
    assert max_load(8, 5, 8, 4) == pytest.approx(5 * 8 / 4)
    assert max_load(8, 5, 2, 1) == pytest.approx(10)
    assert crowd(8, 1, 3).tolist() == pytest.approx([3.0])
    assert distinct(256, 64, 8, 8) == pytest.approx(222.44, abs=0.005)


@given(st.integers(2, 40), st.integers(1, 50), st.integers(1, 40), st.floats(0, 3))
def test_distinct_places_grow_with_rows_and_shrink_with_skew(places: int, rows: int, picked: int, skew: float) -> None:
    picked = min(picked, places)
    one = float(distinct(places, rows, picked, picked, skew))
    assert picked - 1e-6 <= one <= min(places, rows * picked) + 1e-6
    assert one <= float(distinct(places, rows + 1, picked, picked, skew)) + 1e-9
    assert one <= float(distinct(places, rows, picked, picked, 0.0)) + 1e-6


# ---- small problems ----------------------------------------------------------------------------


def moe(t: int, j: int, e: int, n: int, k: int, skew: float = 0.0) -> Graph:
    """Experts from routed tokens to their sum."""
    of = f"{e} distinct" + (f" skew {float(skew)!r}" if skew else "")
    text = f"""graph g {{
      input x: bf16 [{t}, {k}]
      input id: int32 [{t}, {j}] in {of}
      input p: bf16 [{t}, {j}]
      weight w1: bf16 [{e}, {n}, {k}]
      weight w3: bf16 [{e}, {n}, {k}]
      weight w2: bf16 [{e}, {k}, {n}]
      weight c: bf16 [{e}, {n}]
      u: bf16 [{t}, {j}, {n}] = expert_linear(x, w1, id)
      b: bf16 [{t}, {j}, {n}] = expert_bias(u, c, id)
      g: bf16 [{t}, {j}, {n}] = expert_linear(x, w3, id)
      m: bf16 [{t}, {j}, {n}] = silu_mul(b, g)
      d: bf16 [{t}, {j}, {k}] = expert_each(m, w2, id)
      y: bf16 [{t}, {k}] = expert_merge(m, w2, id, p)
      output d, y
    }}"""
    return parse_graph(Source("g.dfir", text), library())


def nest_of(graph: Graph, *names: str) -> Problem:
    joined = group(graph, names)
    assert isinstance(joined, Group), joined
    return problem(joined, DTYPES)


def form_of(graph: Graph, *names: str) -> Problem:
    form = grouped(nest_of(graph, *names))
    assert form is not None
    return form


# ---- the derivation ----------------------------------------------------------------------------


def test_the_form_by_experts_follows_from_the_text() -> None:
    form = grouping(bind(library().ops["expert_linear"], (3, 3, 3)))
    assert form is not None
    assert (form.ids.name, form.by, form.row, form.chosen) == ("id", "e", "tj", ("t0", "t1", "j"))
    (c,) = facts(form.shape).work.contractions
    assert (c.batch, c.m, c.n, c.k) == (("e",), ("tj",), ("n",), ("k",))


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("linear", (2, 2)), ("gather", (2, 1)), ("expert_bias", (3, 2, 2)), ("unpermute", (2, 1, 3)), ("router", (2,))],
)
def test_what_looks_up_no_weights_has_no_such_form(name: str, ranks: tuple[int, ...]) -> None:
    assert grouping(bind(library().ops[name], ranks)) is None


GROUPS = [("u",), ("d",), ("y",), ("u", "b"), ("g", "m"), ("u", "b", "g", "m"), ("u", "b", "g", "m", "y")]


@pytest.mark.parametrize("names", GROUPS)
@pytest.mark.parametrize("seed", range(4))
def test_rows_by_expert_give_the_values_of_rows_by_token(names: tuple[str, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    t, j, e, n, k = (int(rng.integers(1, 6)) for _ in range(5))
    j = min(j, e)
    joined = group(moe(t, j, e, n, k), names)
    assert isinstance(joined, Group)
    ids = draw(rng, e, t, j, 0.0, 1)[0]
    operands: dict[str, Floats] = {
        o.name: ids if o.within else rng.standard_normal(joined.types[o.name].shape) for o in joined.shape.params
    }
    form = grouping(joined.shape)
    assert form is not None
    most = int(loads(ids[None], e).max())
    sizes = {**joined.sizes, form.row: most}
    mine = [[(a, b) for a in range(t) for b in range(j) if ids[a, b] == x] for x in range(e)]
    gathered: dict[str, Floats] = {}
    for o in form.shape.params:
        whole, old = operands[o.name], joined.shape.operand(o.name)
        assert old is not None
        axes = [d for d in old.dims if getattr(d, "name", "") in form.chosen]
        if not axes:
            gathered[o.name] = whole
            continue
        gathered[o.name] = np.zeros((e, most, *whole.shape[len(axes) :]))
        for x, rows in enumerate(mine):
            for r, at in enumerate(rows):
                gathered[o.name][x, r] = whole[at[: len(axes)]]
    found = run_op(form.shape, sizes, joined.attrs, gathered)
    expected = run_op(joined.shape, joined.sizes, joined.attrs, operands)
    for o in joined.shape.results:
        back = np.zeros_like(expected[o.name])
        all_of = {getattr(d, "name", "") for d in o.dims} >= set(form.chosen)
        for x, rows in enumerate(mine):
            for r, (a, b) in enumerate(rows):
                back[(a, b) if all_of else (a,)] += found[o.name][x, r]
        np.testing.assert_allclose(back, expected[o.name], atol=1e-12)


# ---- walked ------------------------------------------------------------------------------------


def machine(name: str = "mac-tree", instances: int = 1, **axes: Any) -> Unit:
    def level(part: str, count: int = 1, **fixed: Any) -> Level:
        values: dict[str, Any] = dict(  # noqa: C408
            part=part, instances=count, capacity_bytes=1 << 24, fill_bytes_per_cycle=64, drain_bytes_per_cycle=64,
            source_bytes_per_cycle=64, sink_bytes_per_cycle=64, multicast=True, half_duplex=False, latency_cycles=0,
            pj_per_byte=1.0, wire_pj_per_byte=0.0,
        )  # fmt: skip
        return Level(**(values | fixed))

    template: Any = registry.lookup("template", name)(**axes)
    return Unit("u", template, instances, (level("dram"), level("local", instances)), Ports(64, 64, 64, 64), None, 1e9)


def walk(
    form: Problem, size: Mapping[str, int], order: Sequence[str], keeps: Mapping[str, int], rows: Sequence[int]
) -> tuple[int, dict[str, float], dict[str, float]]:
    """(tiles run, bytes by way, the same as prices count them) of one routing with these rows per touched place.

    An operand is moved when its tile changes; one that is kept since a loop, the first time in each turn of that loop.
    Prices take all places to have several tiles of rows where some have: then a pass over them moves all of them again.
    """
    extent = {x.name: x.size for x in form.loops} | {"e": len(rows)}
    count = {n: ceil(extent[n] / size[n]) for n in extent} | {"tj": ceil(max(rows) / size["tj"])}
    steps, moved = 0, {"read": 0.0, "write": 0.0}
    charged = dict(moved)
    last: dict[Any, Any] = {}
    seen: dict[Any, set[Any]] = {}
    for at in itertools.product(*(range(count[n]) for n in order)):
        tile = dict.fromkeys(extent, 0) | dict(zip(order, at, strict=True))
        left = rows[tile["e"]] - tile["tj"] * size["tj"]
        if left <= 0:
            continue
        steps += 1
        points = {n: min(size[n], extent[n] - tile[n] * size[n]) for n in extent} | {
            "e": 1,
            "tj": min(size["tj"], left),
        }
        for o in form.operands:
            if o.kind == "local":
                continue
            elements = np.prod([points[n] for n in o.loops])
            key = tuple(tile[n] for n in sorted(o.loops))
            passes = tuple(tile[n] for p, n in enumerate(order) if o.loops & set(order[p + 1 :]))
            for total, now in ((moved, key), (charged, (key, passes))):
                name = (id(total), o.name, o.kind)
                if o.name in keeps:
                    turn = tuple(tile[n] for n in order[: keeps[o.name]])
                    if last.get(name) != turn:
                        last[name], seen[name] = turn, set()
                    fresh = key not in seen[name]
                    seen[name].add(key)
                else:
                    fresh = last.get(name) != now
                    last[name] = now
                total[o.kind] += fresh * elements * o.bits / 8
    return steps, moved, charged


ORDERS = ["e tj n k", "e n tj k", "n e tj k", "tj e n k", "tj n e k", "n k e tj", "n k tj e", "e n k tj"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("t", "j", "e", "skew", "tile"),
    [(16, 2, 12, 0.0, 2), (12, 3, 14, 0.0, 64), (30, 2, 8, 0.5, 5)],
)
def test_bytes_and_tiles_are_those_of_routings_that_are_walked(
    order: str, t: int, j: int, e: int, skew: float, tile: int
) -> None:
    """The mean over 400 routings. The loop over places has whole points: at most one more than touched is charged."""
    form = form_of(moe(t, j, e, 6, 4, skew), "u")
    full = {x.name: x.size for x in form.loops}
    size = full | {"e": 1, "tj": min(tile, full["tj"]), "n": 3, "k": 4}
    names = tuple(n for n in order.split() if ceil(full[n] / size[n]) > 1)
    one = {n: np.asarray([float(v)]) for n, v in size.items()}
    unit = machine()
    tiles = tiles_of(form, unit, None, one, {n: np.ones(1) for n in one})
    keeps: list[tuple[Keep, ...]] = [()]
    keeps += [(Keep("w", INNER, names.index("tj")),)] if "tj" in names and order in ("e tj n k",) else []
    keeps += [(Keep("x", INNER, names.index("n")),)] if order.startswith("n e") else []
    seen = loads(draw(np.random.default_rng(3), e, t, j, skew, 400), e)
    touched = crowd(e, t, j, skew)[0]
    whole = ceil(touched) / touched
    for kept in keeps:
        nest = Nest(form, unit, tiles, names)
        walked = [walk(form, size, names, {x.operand: x.since for x in kept}, [r for r in d if r]) for d in seen]
        steps = float(nest.counts.sum(0)[0])
        close(steps, np.asarray([w[0] for w in walked]), rtol=whole - 1)
        moved = nest.bytes(kept)[:, 0]
        for row, kind in ((DRAM_READ, "read"), (DRAM_WRITE, "write")):
            close(float(moved[row]), np.asarray([w[2][kind] for w in walked]), rtol=whole - 1)
            really = np.asarray([w[1][kind] for w in walked])
            assert moved[row] >= really.mean() * (1 - 1e-9) - 4 * really.std() / len(really) ** 0.5


def test_steps_of_several_instances_last_as_long_as_the_fullest_place() -> None:
    form = form_of(moe(64, 8, 64, 4, 4), "u")
    seen = loads(draw(np.random.default_rng(2), 64, 64, 8, 0.0, 400), 64)
    assert form.crowd is not None
    for ways, tile in [(4, 2), (8, 4), (16, 3)]:
        blocks = [[d[d > 0][i : i + ways].max() for i in range(0, (d > 0).sum(), ways)] for d in seen]
        walked = np.asarray([sum(-(-b // tile) for b in x) for x in blocks], dtype=float)
        close(form.crowd.pairs(ways, tile, ()), walked, rtol=0.02)


# ---- what it changes ---------------------------------------------------------------------------


def test_decode_of_deepseek_v3_reads_each_touched_expert_once() -> None:
    """64 tokens x 8 of 256: 222.4 experts of 7168 x 2048."""
    form = form_of(moe(64, 8, 256, 2048, 7168), "u")
    w = next(o for o in form.operands if o.name == "w")
    assert w.total_bytes == pytest.approx(256 * (1 - (1 - 8 / 256) ** 64) * 2048 * 7168 * 2)
    assert {x.name: x.size for x in form.loops}["e"] == 223
    assert form.crowd is not None
    assert form.crowd.pairs(1, 64, ()) == pytest.approx(222.44, abs=0.01)
    assert form.crowd.pairs(1, 1, ()) == pytest.approx(512)


def test_few_rows_leave_an_array_idle() -> None:
    """A systolic array loads 64 x 64 weights for 2.3 rows: the fold takes as long as its load."""
    unit = machine("systolic-array", rows=64, cols=64, reload="double-buffered")
    form = form_of(moe(64, 8, 256, 64, 64), "u")
    size = {x.name: x.size for x in form.loops} | {"e": 1}
    one = {n: np.asarray([float(v)]) for n, v in size.items()}
    tiles = tiles_of(form, unit, None, one, {n: np.ones(1) for n in one})
    weights = 64 * 64 * 2 / 64  # cycles to load a fold's weights by a port of 64 B
    assert tiles.compute[0] == pytest.approx(weights)
    nest = Nest(form, unit, tiles, ("e",))
    touched = 256 * (1 - (1 - 8 / 256) ** 64)  # experts; a few rare ones have more rows than a tile takes
    assert touched <= nest.counts.sum() <= touched * (1 + 1e-4)


@pytest.mark.parametrize(("tile", "ways"), [(1, 1), (3, 1), (8, 1), (4, 2)])
def test_tiles_with_few_rows_take_less_time(tile: int, ways: int) -> None:
    """A MAC tree takes a cycle per row and chunk: rows are charged up to the next half, quarter or eighth of a tile."""
    form = form_of(moe(64, 8, 128, 8, 8), "u")
    one = {x.name: np.ones(1) for x in form.loops} | {"tj": np.asarray([float(tile)]), "k": np.asarray([8.0])}
    unit = machine("mac-tree", instances=ways, width=8, trees=1, hold=1)
    tiles = tiles_of(form, unit, None, one, {n: np.asarray([float(ways if n == "tj" else 1)]) for n in one})
    assert sum(often for often, _ in tiles.partly)[0] == pytest.approx(1)
    ends = [ceil(tile / part) for part in HALVES]
    seen = loads(draw(np.random.default_rng(4), 128, 64, 8, 0.0, 400), 128)
    fullest = [[min(tile, r - i) for r in d if r for i in range(0, r, tile * ways)] for d in seen]
    charged = np.asarray([float(sum(min(e for e in ends if e >= rows) for rows in d)) for d in fullest])
    steps = float(tiles.pairs[0]) if tiles.pairs is not None else 0.0
    close(steps * float(tiles.compute[0]), charged)
    assert steps * tiles.compute[0] <= 1.5 * np.mean([sum(d) for d in fullest])


@pytest.mark.parametrize("names", GROUPS)
def test_search_takes_the_better_form(names: tuple[str, ...]) -> None:
    p = nest_of(moe(16, 2, 8, 64, 64), *names)
    unit, helper = machine("systolic-array", rows=16, cols=16), machine("vector-unit", lanes=16)
    both = search(p, unit, helper, (1.0,)).tilings[0]
    assert set(both.tile) == {x.name for x in named(p, both.tile).loops}
    alone = grouped(p)
    assert alone is not None
    found = Best()
    _search(p, unit, helper, (1.0,), found)
    assert both.cycles <= found.found[1.0].cycles


def test_energy_of_tiles_by_expert_is_that_of_their_products() -> None:
    chip, (t, j, e, n, k) = load_chip("ador"), (256, 2, 4, 512, 256)
    p, unit = nest_of(moe(t, j, e, n, k), "u"), chip.units["sa"]
    found = search(p, unit, None, (1.0,)).tilings[0]
    assert "e" in found.tile
    size = {"tj": t * j, "n": n, "k": k} | dict(found.tile)
    one = Contraction(size["e"], size["tj"], size["n"], size["k"])
    tiles = t * j * n * k / float(one.macs)
    moved = tiles * float(unit.template.local_bytes(Tile((one,), {}, 16, 16, 32))) * unit.levels[-1].pj_per_byte
    macs = t * j * n * k * float(unit.template.pj_per_mac(chip.tech, 16))
    levels = sum(found.level_bytes[x.part] * (x.pj_per_byte + x.wire_pj_per_byte) for x in unit.levels)
    assert energy_pj(p, "sa", None, found, chip) == pytest.approx(macs + moved + levels)


def test_a_prefill_shares_the_weights_of_an_expert_between_its_tokens() -> None:
    sizes = {"t": [1024], "j": [2], "k": [512], "n": [512], "e": [16]}
    found = price_op("expert_linear", sizes, load_chip("ador"), unit="sa")
    assert "e" in found.tile
    assert found.utilization > 0.3


# ---- skew in types -----------------------------------------------------------------------------


def test_skew_goes_from_the_router_to_the_bytes_of_the_experts() -> None:
    text = """graph g {
      input r: bf16 [64, 256]
      input x: bf16 [64, 8]
      weight w: bf16 [256, 4, 8]
      p: bf16 [64, 8], id: int32 [64, 8] in 256 distinct SKEW = router(r) {top = 8, skew = 0.5}
      u: bf16 [64, 8, 4] = expert_linear(x, w, id)
      output u, p
    }"""
    graph = parse_graph(Source("g.dfir", text.replace("SKEW", "skew 0.5")), library())
    assert parse_graph(Source("again", show_graph(graph)), library()) == graph
    w = next(o for o in nest_of(graph, "u").operands if o.name == "w")
    assert w.total_bytes == pytest.approx(float(distinct(256, 64, 8, 8, 0.5)) * 4 * 8 * 2)
    with pytest.raises(Diag) as error:
        parse_graph(Source("g.dfir", text.replace("SKEW", "")), library())
    assert error.value.code == "op-size"
    assert "skew 0.5" in error.value.message


@pytest.mark.parametrize("value", ["-1", "inf"])
def test_a_skew_must_be_a_number_that_is_not_negative(value: str) -> None:
    text = f"""graph g {{
      input r: bf16 [4, 8]
      p: bf16 [4, 2], id: int32 [4, 2] in 8 distinct = router(r) {{top = 2, skew = {value}}}
      output p
    }}"""
    with pytest.raises(Diag) as error:
        parse_graph(Source("g.dfir", text), library())
    assert error.value.code == "bad-attribute"


def test_the_pass_that_skews_routers_changes_types_only() -> None:
    text = """graph g {
      input r: bf16 [64, 256]
      input c: bf16 [256]
      p: bf16 [64, 8], id: int32 [64, 8] in 256 distinct = pick_grouped(r, c) {top = 8, groups = 8, kept = 4}
      output p
    }"""
    graph = parse_graph(Source("g.dfir", text), library())
    skewed = registry.lookup("pass", "skew-routing")(by=0.5).run(graph, None)
    assert skewed.type_of("id").skew == 0.5
    assert skewed.type_of("p") == graph.type_of("p")
    assert parse_graph(Source("again", show_graph(skewed)), library()) == skewed
    assert equivalent(shrink(graph), shrink(skewed)) is None
    even = registry.lookup("pass", "skew-routing")(by=0).run(skewed, None)
    assert even.type_of("id") == graph.type_of("id")


def test_small_stand_ins_of_routers_keep_whole_groups() -> None:
    """Experts of a layer with routers of every kind, made small, still run."""
    text = """graph g {
      input x: bf16 [2, 40, 64]
      weight wr: bf16 [256, 64]
      weight c: bf16 [256]
      weight w: bf16 [256, 32, 64]
      r: bf16 [2, 40, 256] = linear(x, wr)
      s: bf16 [2, 40, 256] = sigmoid(r)
      p: bf16 [2, 40, 8], id: int32 [2, 40, 8] in 256 distinct = pick_grouped(s, c) {top = 8, groups = 8, kept = 4}
      q: bf16 [2, 40, 8] = normalise(p) {scale = 2.5}
      u: bf16 [2, 40, 8, 32] = expert_linear(x, w, id)
      y: bf16 [2, 40, 32] = expert_sum(u, q)
      rows: bf16 [640, 64], on: int32 [640] in 256, from: int32 [640] in 640 = permute(x, id) {experts = 256}
      v: bf16 [640, 32] = expert_rows(rows, w, on)
      z: bf16 [2, 40, 32] = unpermute(v, from, q)
      output y, z
    }"""
    small = shrink(parse_graph(Source("g.dfir", text), library()))
    found = run_graph(small, random_inputs(small))
    np.testing.assert_allclose(found["y"], found["z"], rtol=1e-12, atol=1e-12)
    assert small.type_of("w").shape[0] % dict(small.nodes["p"].attrs)["groups"] == 0


def test_a_group_with_its_router_inside_touches_as_many_experts() -> None:
    text = """graph g {
      input r: bf16 [64, 256]
      input x: bf16 [64, 8]
      weight w: bf16 [256, 4, 8]
      p: bf16 [64, 8], id: int32 [64, 8] in 256 distinct skew 0.5 = router(r) {top = 8, skew = 0.5}
      u: bf16 [64, 8, 4] = expert_linear(x, w, id)
      y: bf16 [64, 4] = expert_sum(u, p)
      output y
    }"""
    graph = parse_graph(Source("g.dfir", text), library())
    whole, alone = nest_of(graph, "p", "u", "y"), nest_of(graph, "u")
    (one,), (two,) = ([o.total_bytes for o in p.operands if o.name == "w"] for p in (whole, alone))
    assert one == pytest.approx(two)
