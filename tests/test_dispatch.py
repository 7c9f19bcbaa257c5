"""Rows to the devices that hold what they pick, and back: values, bytes of random routings, and when it is done."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import comb

import numpy as np
import pytest

from dfcompiler.api import check_pass
from dfcompiler.collectives import Exchange, bytes_of, chosen, demands_of, exchange, rows_of
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.exchanges import links_of
from dfcompiler.fabrics import Fabric, fewest_bytes
from dfcompiler.graph import Graph, Node, TensorType
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.opshape import bind, extents
from dfcompiler.partition import Rates, work_seconds
from dfcompiler.pipeline import Context, parse_pipeline
from dfcompiler.routing import reach
from dfcompiler.scalars import Floats
from dfcompiler.semantics import run_op
from dfcompiler.steps import Step, step
from dfcompiler.text import tree as t
from dfcompiler.text.tree import OpDecl
from tests.test_moe import draw
from tests.test_sharding import check, exchanges, lowered, model, passed

OTHERS = ["", ",tp=2", ",dp=2", ",tp=2,sp=2,dp=2", ",pp=2", ",tp=2,dp=2,pp=2"]


def dealt(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes.values() if rows_of(n)]


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("how", ["ep=2,ep-exchange=dispatch", "ep=4,ep-exchange=dispatch", "ep=4,ep-exchange=gather"])
def test_experts_with_their_own_tokens_give_what_one_device_gives(how: str, others: str) -> None:
    graph = lowered("deepseek", ragged="ep=4" not in how or "dp" not in others)
    try:
        parts = passed(graph, how + others)
    except Diag as error:  # more devices than sequences and tokens have rows to split
        assert "does not fit together" in str(error) or "do not fit together" in str(error)
        return
    check(graph, parts)
    assert bool(dealt(parts)) is how.endswith("dispatch")


@pytest.mark.parametrize("options", ["ep=4,tp=2,pp=2", "ep=8,tp=2,dp=2"])
def test_a_dispatch_on_a_large_graph_is_checked_on_a_small_one(options: str) -> None:
    graph = model("mixtral-8x7b", step(prefill=[(4096, 0)] * 32))
    parts = passed(graph, options)
    check_pass("shard", graph, parts)
    assert len(dealt(parts)) >= 2


def test_rows_for_the_wrong_devices_are_found() -> None:
    graph = model("mixtral-8x7b", step(decode=[2048] * 16))
    parts = passed(graph, "ep=4,ep-exchange=dispatch")
    swapped = exchange(Exchange(join=0)), exchange(Exchange(fn="sum", cut=0))
    assert {n.op for n in dealt(parts)} & set(swapped) == set()
    late = parts.map_nodes(lambda n: n if not rows_of(n) else _off_by_one(n))
    with pytest.raises(Diag) as caught:
        check_pass("shard", graph, late)
    assert caught.value.code in ("wrong-pass", "bad-layout")


def _off_by_one(node: Node) -> Node:
    """Places counted as if there were twice as many."""
    twice = tuple(
        t.DimDef(s.name, t.Bin("*", t.Num(2), s.expr)) if isinstance(s, t.DimDef) and s.name == "l" else s
        for s in node.op.body
    )
    return replace(node, op=replace(node.op, body=twice))


# ---- bytes -------------------------------------------------------------------------------------


def brought(ids: Floats, places: int, devices: int) -> Floats:
    """Rows that each device gets from each, `[to, from]`, by running the dispatch on numbers that are not 0."""
    op = exchange(Exchange(join=0, leads=1))
    given = {"x": np.ones((devices, len(ids) // devices, 1)), "id": ids}
    got = executed(op, given, places).reshape(devices, devices, -1)
    return np.asarray(np.count_nonzero(got, axis=-1))


def given_back(ids: Floats, places: int, devices: int) -> Floats:
    """Rows that each device must get from each to sum its own up, `[to, from]`: on which parts they hang."""
    op = exchange(Exchange(fn="sum", cut=0, leads=1))
    found = []
    for p in range(devices):
        parts = np.zeros((devices, len(ids), 1))
        parts[p] = 1
        found.append(np.count_nonzero(executed(op, {"x": parts, "id": ids}, places), axis=(1, 2)))
    return np.stack(found, axis=-1)


def executed(op: OpDecl, given: dict[str, Floats], places: int) -> Floats:
    shape = bind(op, (3, 2))
    sizes = extents(shape, [v.shape for v in given.values()], {"places": places})
    return np.asarray(run_op(shape, sizes, {"places": places}, given)["y"])


@pytest.mark.parametrize(
    ("places", "picked", "devices", "skew"),
    [(8, 2, 4, 0.0), (8, 2, 8, 0.0), (16, 4, 2, 0.0), (32, 8, 16, 0.0), (16, 4, 4, 0.8), (64, 6, 8, 1.2)],
)
def test_bytes_are_those_of_random_routings(places: int, picked: int, devices: int, skew: float) -> None:
    """Bytes of the device that has most, counted in what is executed, in the mean over routings."""
    rows, draws = 4 * devices, 80
    rng = np.random.default_rng(7)
    home = np.arange(places) % devices * (places // devices) + np.arange(places) // devices  # dealt by popularity
    there = []
    for ids in home[draw(rng, places, rows, picked, skew, draws)]:
        there.append(brought(ids, places, devices))
        np.testing.assert_array_equal(there[-1], given_back(ids, places, devices).T)
    others = ~np.eye(devices, dtype=bool)
    most = 0 if skew else slice(None)  # all have the same without skew
    counted = np.stack(there)[:, most][..., others[most]].reshape(draws, -1).sum(-1) / (1 if skew else devices)
    kind = TensorType("int32", (rows, picked), places, True, skew)
    expected = (devices - 1) / devices * rows * chosen(kind, devices)
    assert abs(counted.mean() - expected) <= 4 * counted.std() / draws**0.5 + 0.02 * expected * bool(skew)


@pytest.mark.parametrize(("places", "picked", "groups"), [(8, 2, 4), (8, 8, 2), (6, 3, 3), (9, 2, 9), (4, 1, 2)])
def test_groups_that_a_row_reaches(places: int, picked: int, groups: int) -> None:
    """Balanced: all sets of picks are alike likely. Skewed: the group with the most popular places has more."""
    each = places // groups
    every = list(itertools.combinations(range(places), picked))
    mean = sum(min(picks) < each for picks in every) / len(every)
    assert reach(places, picked, groups) == pytest.approx(mean)
    assert mean - 1e-9 <= reach(places, picked, groups, 1.0) <= reach(places, picked, groups, 2.0) <= 1 + 1e-9


# ---- the choice --------------------------------------------------------------------------------


def linked(graph: Graph) -> float:
    """Bytes that a device takes in for exchanges in one layer."""
    found = [n for n in graph.nodes.values() if graph.repeats[n.name] > 1]
    return sum(taken_in(graph, n) for n in found if n.op.name in exchanges(graph))


def taken_in(graph: Graph, node: Node) -> float:
    """The fewest bytes that a device takes in for an exchange, over a switch."""
    found, devices = demands_of(graph, node)
    return sum(fewest_bytes(d.pattern, devices, d.bytes, Fabric(1.0)) for d in found)


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_tokens_go_where_their_experts_are_where_that_moves_less(devices: int) -> None:
    """A long prefill is a matter of bytes: tokens are dispatched, each once to a device, and their results combined."""
    graph = model("mixtral-8x7b", step(prefill=[(2048, 0)] * 8))
    auto, gather = (passed(graph, f"ep={devices},ep-exchange={how}") for how in ("auto", "gather"))
    share = 1 - comb(8 - 8 // devices, 2) / comb(8, 2)
    whole = 8 * 2048 * 4096 * 2
    both = {n.op.name.split("_")[0]: n for n in dealt(auto)}
    assert both.keys() == {"dispatch", "combine"} and len(dealt(auto)) == 2
    for n in both.values():
        assert taken_in(auto, n) == pytest.approx((devices - 1) / devices * whole * share)
    assert bytes_of(auto, both["dispatch"]) == pytest.approx((whole / devices, whole * share))
    assert linked(gather) == pytest.approx(2 * (devices - 1) / devices * whole, rel=1e-3)
    assert linked(auto) == pytest.approx(share * linked(gather), rel=0.01)


@pytest.mark.parametrize("topology", ["switch", "ring", "mesh"])
@pytest.mark.parametrize("what", [step(decode=[2048] * 8), step(prefill=[(2048, 0)] * 8)], ids=["few", "many"])
def test_what_takes_less_time_is_chosen(what: Step, topology: str) -> None:
    """Over a ring tokens pass devices on their way, which makes dispatching them dearer."""
    graph, chip = model("mixtral-8x7b", what), load_chip("ador", {"link.topology": topology})
    rates = Rates(1e15, chip.dram_bytes_per_s, links_of(chip).fabric)
    seconds = {}
    for how in ("auto", "dispatch", "gather"):
        (shard,) = parse_pipeline(Source("--pipeline", f"shard{{ep=8,ep-exchange={how}}}"))
        found = shard.run(graph, Context(chip=chip))
        seconds[how] = sum(work_seconds(found, n, rates) * found.repeats[n.name] for n in found.nodes.values())
    assert seconds["auto"] <= min(seconds.values()) * (1 + 1e-9)
    assert seconds["dispatch"] != seconds["gather"]


def test_tokens_that_cannot_be_spread_cannot_be_dispatched() -> None:
    graph = model("mixtral-8x7b", step(decode=[2048]))
    with pytest.raises(Diag) as caught:
        passed(graph, "ep=2,ep-exchange=dispatch")
    assert caught.value.code == "bad-shard"
    assert not dealt(passed(graph, "ep=2"))
