"""Stages of devices: how layers are dealt out, what is handed on, and that the result is that of the whole graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.algorithms import way
from dfcompiler.api import check_pass
from dfcompiler.collectives import Demand, across, bytes_of, demands, hands_on, send
from dfcompiler.columns import segments
from dfcompiler.cost import capacity, peak_bytes
from dfcompiler.devices import layouts, run_devices
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.exchanges import taken_by
from dfcompiler.execution import random_inputs
from dfcompiler.graph import Graph, regions
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.chip import Chip
from dfcompiler.layers import layer_count
from dfcompiler.models import extend, library
from dfcompiler.opshape import bind
from dfcompiler.pipelining import into_stages, stage_bytes, stage_seconds
from dfcompiler.stages import balance, chain, longest
from dfcompiler.staging import cut, pieces, staged
from dfcompiler.steps import step
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import OpDecl, Quantity
from tests.test_sharding import RATES, check, lowered, model, passed
from tests.tiny import DEEPSEEK, LLAMA, lower, tiny

CHIP = load_chip("ador")

# ---- balance -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_stages_are_balanced(costs: list[int], data: st.DataObject) -> None:
    n = len(costs)
    stages = data.draw(st.integers(1, n))
    extra = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))

    def slowest(cuts: Sequence[int]) -> int:
        ends = [*cuts, n]
        return max(sum(costs[a:b]) + (extra[b] if b < n else 0) for a, b in zip([0, *cuts], ends, strict=True))

    found = balance(chain(costs, extra), stages)
    assert len(found) == stages - 1 and found == sorted(set(found)) and all(0 < c < n for c in found)
    assert (
        longest(chain(costs, extra), found)
        == slowest(found)
        == min(map(slowest, itertools.combinations(range(1, n), stages - 1)))
    )


def test_more_stages_than_layers_is_refused() -> None:
    with pytest.raises(Diag, match="do not make") as caught:
        balance(chain([1, 2]), 3)
    assert caught.value.code == "bad-stages"


@given(st.integers(2, 6), st.data())
def test_stages_that_cannot_be_are_not_taken(n: int, data: st.DataObject) -> None:
    """Any cost of a run of items, infinite ones included, against all cuts."""
    stages = data.draw(st.integers(1, n))
    some = st.integers(0, 9) | st.just(np.inf)
    cost = np.array(data.draw(st.lists(some, min_size=(n + 1) ** 2, max_size=(n + 1) ** 2)), float).reshape(n + 1, -1)
    every = [longest(cost, cuts) for cuts in itertools.combinations(range(1, n), stages - 1)]
    if np.isfinite(min(every)):
        assert longest(cost, balance(cost, stages)) == min(every)


# ---- the graph ---------------------------------------------------------------------------------


def cut_at(graph: Graph, *starts: int) -> Graph:
    return cut(graph, "pp", starts, layouts(graph))


@pytest.mark.parametrize("family", ["llama", "qwen3", "deepseek"])
def test_every_cut_leaves_the_graph_what_it_was(family: str) -> None:
    graph = lowered(family)
    for many in (1, 2, 3):
        for starts in itertools.combinations(range(1, len(pieces(graph))), many):
            parts = cut_at(graph, *starts)
            check(graph, parts)
            on = [(x.item, n) for x in staged(parts) for n in x.runs if not x.sends]
            assert (
                sum(n for _, n in on) >= len(pieces(graph))
                and len({s for x in staged(parts) for s in x.on}) == many + 1
            )


@pytest.mark.parametrize(
    ("family", "options"),
    [(f, o) for f in ("llama", "deepseek") for o in ("pp=2", "pp=3", "tp=2,pp=2", "tp=2,pp=3,dp=2", "tp=2,sp=2,pp=2")]
    + [("deepseek", o) for o in ("ep=2,pp=3", "ep=2,tp=2,pp=2,dp=2")],
)
def test_stages_go_with_all_other_ways(family: str, options: str) -> None:
    graph = lowered(family)
    parts = passed(graph, options)
    check(graph, parts)
    assert dict(parts.mesh)["pp"] == int(options.split("pp=")[1][0])


def test_values_made_early_travel_with_those_that_are_carried() -> None:
    """A value from before the layers that each of them reads, and one that is read after them only."""
    text = """graph "g" {
      input x: bf16 [2, 4]
      a: bf16 [2, 4] = sigmoid(x)
      b: bf16 [2, 4] = sigmoid(a)
      y = repeat 4 (h = b) {
        weight g: bf16 [4]
        n: bf16 [2, 4] = rmsnorm(h, g)
        m: bf16 [2, 4] = add(n, a)
        yield m
      }
      z: bf16 [2, 4] = add(y, b)
      output z, a
    }"""
    graph = parse_graph(Source("text", text), library())
    for starts in itertools.combinations(range(1, 6), 3):
        check(graph, cut_at(graph, *starts))
    parts = cut_at(graph, 2, 3)
    (region,) = regions(parts.body)
    assert region.runs == (1, 1, 2) and len(region.carries) == 3
    (sends,) = region.between
    assert parts.repeats[sends.name] == 2 and bytes_of(parts, sends) == (3 * 2 * 4 * 2, 3 * 2 * 4 * 2)
    assert [s.on for s in segments(parts)] == [{0: 1}, {0: 1, 1: 1, 2: 2}, {0: 1, 1: 1}, {2: 1}]


def test_what_is_not_handed_on_is_missed() -> None:
    graph = lowered("llama")
    parts = cut_at(graph, 1)
    sends = next(n for n in parts.nodes.values() if hands_on(n))
    lost = replace(
        parts,
        body=tuple(
            replace(i, carries=tuple(replace(c, init=sends.args[0]) for c in i.carries))
            if i in regions(parts.body)
            else i
            for i in parts.body
        ),
    )
    with pytest.raises(Diag, match="runs on stage 1, where") as caught:
        run_devices(lost, random_inputs(graph))
    assert caught.value.code == "bad-layout"


def test_a_pass_that_deals_layers_out_is_checked_on_a_small_graph() -> None:
    graph = model("llama3-8b", step(decode=[2048] * 16))
    after = passed(graph, "tp=4,pp=3,dp=2")
    check_pass("shard", graph, after)
    broken = after.map_nodes(lambda n: replace(n, op=send_back()) if hands_on(n) else n)
    with pytest.raises(Diag) as caught:
        check_pass("shard", graph, broken)
    assert caught.value.code in ("wrong-pass", "bad-layout")


def send_back() -> OpDecl:
    """A message to the device before: what a wrong pass might write."""
    text = "op back(x: [@p, *n]) -> (y: [@q, *n]) {\n dim q = |p|\n y[q, *n] = x[(q + 1) % |p|, *n]\n}"
    return extend(library(), iter(parse_items(Source("text", text)))).ops["back"]


# ---- time and memory ---------------------------------------------------------------------------


def test_a_message_is_one_step_of_its_bytes() -> None:
    assert library().ops["send"] == send(1)
    for many in (1, 3):
        op = send(many)
        assert demands(op, bind(op, (2,) * many), 4, 60.0, 60.0) == (Demand("send", 60.0),)
        assert across(op) == ("p", "q")
    alone = way("send", "direct", "switch", np.array(4.0))
    assert alone and (float(alone.steps), float(alone.share)) == (1, 1)


def test_what_stages_hold_is_what_their_capacity_says() -> None:
    graph = passed(model("mixtral-8x7b", step(decode=[2048] * 16)), "tp=2")
    found = pieces(graph)
    sizes = stage_bytes(graph, found)
    for starts in ((1,), (9, 20), (3, 12, 33)):
        parts = cut_at(graph, *starts)
        ends = [0, *starts, len(found)]
        c = capacity(parts, CHIP)
        assert c.weights_bytes + c.kv_bytes == max(sizes[a, b] for a, b in itertools.pairwise(ends))


def test_cuts_give_way_to_memory() -> None:
    """Where the fastest cuts do not fit, the fastest of those that do are taken; where none do, it says by how much."""
    graph = model("llama3-8b", step(decode=[32000] * 4))
    found = pieces(graph)
    seconds, sizes, peak = stage_seconds(graph, found, RATES, 3), stage_bytes(graph, found), peak_bytes(graph)

    def fullest(starts: Sequence[int]) -> float:
        return max(float(sizes[a, b]) for a, b in itertools.pairwise([0, *starts, len(found)]))

    every = list(itertools.combinations(range(1, len(found)), 2))
    best = min(every, key=lambda s: longest(seconds, s))
    least = min(map(fullest, every))
    assert least < fullest(best)
    for room in (least, (least + fullest(best)) / 2):
        chip = with_capacity(peak + room)
        parts = into_stages(graph, 3, RATES, chip)
        assert capacity(parts, chip).needed_bytes <= chip.dram_capacity_bytes
        fits = min(longest(seconds, s) for s in every if fullest(s) <= chip.dram_capacity_bytes - peak)
        assert fits == pytest.approx(longest(seconds, starts_of(parts)))
    with pytest.raises(Infeasible, match=r"stage \d of 3 .* layers \d+ to \d+ of 34") as caught:
        into_stages(graph, 3, RATES, with_capacity(peak + least - 1e9))
    assert caught.value.code == "does-not-fit" and "1.00 GB too much" in str(caught.value.hint)


@pytest.mark.parametrize("topology", ["switch", "ring", "mesh"])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_stages_send_at_the_price_that_the_message_has_then(topology: str, stages: int) -> None:
    graph, fabric = lowered("llama"), replace(RATES.fabric, topology=topology)
    found, starts = pieces(graph), range(1, stages)
    with_links, alone = (
        stage_seconds(graph, found, replace(RATES, fabric=f), stages)
        for f in (fabric, replace(fabric, bytes_per_s=1e30, latency_s=0))
    )
    sends = [n for n in cut_at(graph, *starts).nodes.values() if hands_on(n)]
    assert [with_links[s - 1, s] - alone[s - 1, s] for s in starts] == pytest.approx(
        [taken_by(cut_at(graph, *starts), n, fabric)[0] for n in sends]
    )


def with_capacity(size: float) -> Chip:
    return load_chip("ador", {"hbm.capacity": Quantity(int(size), "B")})


def starts_of(parts: Graph) -> list[int]:
    counts: dict[int, int] = {}
    for s in segments(parts):
        for stage, n in s.on.items():
            counts[stage] = counts.get(stage, 0) + (0 if s.sends else n)
    return list(itertools.accumulate(counts[s] for s in sorted(counts)))[:-1]


# ---- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mesh", "runs", "between", "code", "said"),
    [
        ("pp = 3", "2, 2", "m_1: bf16 [2, 4] = send(m) over p = pp, q = pp", "bad-mesh", "has 2 stages, axis `pp` 3"),
        ("pp = 2", "2, 2", "m_1: bf16 [2, 4] = sigmoid(m)", "bad-repeat", "handed on"),
        ("pp = 2", "2, 2", "m_1: bf16 [2, 4] = send(h) over p = pp, q = pp", "bad-repeat", "handed on"),
        ("pp = 2", "2, 0", "m_1: bf16 [2, 4] = send(m) over p = pp, q = pp", "bad-repeat", "at least once"),
        ("pp = 2", "4", "m_1: bf16 [2, 4] = send(m) over p = pp, q = pp", "bad-repeat", "hands nothing on"),
    ],
)
def test_faults_of_stages_in_text(mesh: str, runs: str, between: str, code: str, said: str) -> None:
    text = f"""graph "g" {{
      mesh {{{mesh}}}
      input x: bf16 [2, 4]
      y = repeat {runs} (h = x) {{
        m: bf16 [2, 4] = sigmoid(h)
        yield m
      }} between {{
        {between}
      }}
      output y
    }}"""
    with pytest.raises(Diag) as caught:
        parse_graph(Source("text", text), library())
    assert caught.value.code == code and said in str(caught.value) and caught.value.span is not None


def test_too_many_stages_are_refused() -> None:
    with pytest.raises(Diag, match="4 layers, the first and last ops included") as caught:
        passed(lower(LLAMA, step(decode=[2]), "llama"), "pp=5")
    assert caught.value.code == "bad-stages"


def test_layers_are_counted_in_the_model() -> None:
    """Not in the regions that they fold into, of which some stand for several layers and some layers for none."""
    for family, fields in (("llama", LLAMA), ("deepseek", DEEPSEEK)):
        assert layer_count(tiny(fields, family)) == fields["num_hidden_layers"]
    assert max(r.count for r in regions(lower(DEEPSEEK, step(decode=[2]), "deepseek").body)) < 3
