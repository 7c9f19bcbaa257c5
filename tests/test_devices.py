"""A step on several devices: what each holds, what the links carry, and how stages are cut."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import registry
from dfcompiler.api import Compiled, compile_model
from dfcompiler.collectives import bytes_of, exchanged
from dfcompiler.diagnostics import Diag, Infeasible, Note
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.economics import price
from dfcompiler.exchanges import links_of, price_exchange, taken_by
from dfcompiler.graph import Graph
from dfcompiler.hardware import load_chip
from dfcompiler.models import load_model
from dfcompiler.outputs.picture import gantt_svg
from dfcompiler.outputs.trace import trace_json
from dfcompiler.parallelism import Parallel
from dfcompiler.pipeline import Context
from dfcompiler.power import static_w
from dfcompiler.routing import distinct
from dfcompiler.schedule import columns_of, mapping_of
from dfcompiler.steps import Step, step
from dfcompiler.text.tree import Quantity
from tests.test_sharding import LATENT
from tests.tiny import LLAMA, tiny

FAST = "lower-model,fuse-elementwise,tile{shares=1},map-greedy,schedule"
CHIP = load_chip("ador")
DECODE = step(decode=[2048] * 16)


@cache
def compiled(model: str, parallel: Parallel = Parallel(), what: Step = DECODE) -> Compiled:
    return compile_model(load_model(model), CHIP, what, parallel=parallel, pipeline=FAST)


def lowered(model: str) -> Graph:
    context = Context(model=load_model(model), dtypes=parse_dtypes("w16a16kv16"), step=DECODE)
    return registry.lookup("pass", "lower-model")().run(Graph(model), context)  # type: ignore[no-any-return]


# ---- tensors -----------------------------------------------------------------------------------


def test_what_does_not_fit_one_device_fits_eight() -> None:
    with pytest.raises(Infeasible, match="needs"):
        compiled("llama3-70b")
    report = compiled("llama3-70b", Parallel(tp=8)).report
    assert report.devices == report.to_json()["devices"] == 8
    assert report.capacity.needed_bytes <= report.capacity.available_bytes
    assert report.latency_s > report.roofline_s > 0 and report.latency_s >= report.bound_s
    whole = lowered("llama3-70b")
    sizes = [
        (len(x.type.shape), x.type.bytes * whole.repeats[next(n for n, v in whole.nodes.items() if x.name in v.args)])
        for x in whole.tensors.values()
        if x.kind == "weight"
    ]
    split, same = (sum(b for rank, b in sizes if (rank > 1) is many) for many in (True, False))
    assert report.capacity.weights_bytes == pytest.approx(split / 8 + same)  # norms are on every device
    heads, layers, tokens = 8, 80, 2049
    assert report.capacity.kv_bytes == 16 * tokens * heads // 8 * 128 * 2 * 2 * layers


def test_every_reduction_is_charged_by_the_formula_of_a_ring() -> None:
    run = compiled("llama3-70b", Parallel(tp=8))
    found = [op for op in run.report.ops if op.unit == links_of(CHIP).part]
    size = 16 * 8192 * 2
    assert [op.repeat for op in found] == [1, 80, 80]
    for op in found:
        assert op.bytes["link"] == pytest.approx(2 * (8 - 1) / 8 * size)
        assert op.bytes["hbm"] == 2 * size
        least = op.bytes["link"] / CHIP.link_bytes_per_s
        assert least < op.end_s - op.start_s <= least + 2 * (8 - 1) * links_of(CHIP).fabric.latency_s + 1e-9
    total = 161 * 2 * 7 / 8 * size
    assert run.report.traffic_bytes["link"] == pytest.approx(total)
    assert run.report.roofline.link_s == pytest.approx(total / CHIP.link_bytes_per_s)


def test_one_device_is_what_it_was() -> None:
    one, plain = (compiled("llama3-8b", p).report for p in (Parallel(devices=1), Parallel()))
    assert replace(one, seconds={}) == replace(plain, seconds={})
    assert one.devices == 1 and "link" not in one.traffic_bytes and one.interval_s == one.latency_s


def test_devices_alone_are_for_tensors() -> None:
    assert Parallel(devices=8) == Parallel(devices=8, tp=8)
    assert Parallel(tp=2).inserted("default").startswith("lower-model,rewrite-same,quantize,shard{tp=2},fuse-")
    assert "quantize{w=int8},shard{ep=2,pp=3},tile" in Parallel(ep=2, pp=3).inserted("quantize{w=int8},tile")
    with pytest.raises(Diag, match="already"):
        Parallel(tp=2).inserted("lower-model,shard{tp=4},tile")


def test_work_is_shared_out() -> None:
    whole = compiled("llama3-8b").report
    for parallel in (Parallel(tp=4), Parallel(dp=4), Parallel(tp=2, dp=2)):
        assert compiled("llama3-8b", parallel).report.macs == pytest.approx(whole.macs / 4)


@pytest.mark.parametrize("parallel", [Parallel(), Parallel(tp=4), Parallel(pp=2), Parallel(dp=2, pp=3)])
def test_every_device_is_paid_for_and_takes_power_all_along(parallel: Parallel) -> None:
    report, devices = compiled("llama3-8b", parallel).report, parallel.tp * parallel.dp * parallel.pp
    assert report.devices == devices
    assert report.cost_usd == pytest.approx(devices * price(CHIP).usd)
    assert report.static_j == pytest.approx(devices * static_w(CHIP) * report.latency_s)
    work = devices / parallel.pp * sum(op.energy_j * op.repeat for op in report.ops)
    assert report.energy_j == pytest.approx(report.static_j + work)


def test_longest_sequences_are_priced() -> None:
    """Where devices have unlike sequences, the one with the most tokens stands for all."""
    uneven, long = step(decode=[64] * 8 + [2048] * 8), step(decode=[2048] * 16)
    one, two = (compiled("llama3-8b", Parallel(dp=2), w).report.macs for w in (uneven, long))
    assert one == two


# ---- exchanges ---------------------------------------------------------------------------------


def test_small_messages_take_few_steps_and_large_ones_few_bytes() -> None:
    run = compiled("llama3-70b", Parallel(tp=8))
    graph = run.graph
    node = next(n for n in graph.nodes.values() if exchanged(n))
    _, made = bytes_of(graph, node)
    for latency, algorithm, steps, share in ((1e-3, "one-shot", 1, 7), (1e-9, "direct", 2, 2 * 7 / 8)):
        chip = load_chip("ador", {"link.latency": Quantity(latency, "s")})
        found = price_exchange(graph, node, chip)
        assert taken_by(graph, node, links_of(chip).fabric)[2] == algorithm
        assert found.level_bytes["link"] == pytest.approx(share * made)
        linked = share * made / chip.link_bytes_per_s + steps * latency
        assert found.cycles == pytest.approx(linked * chip.clock_hz)
        busy = found.dram_bytes / chip.dram_bytes_per_s * chip.clock_hz
        assert found.memory_cycles == pytest.approx(busy) and busy / found.share <= found.cycles


def test_the_algorithm_of_an_exchange_is_reported() -> None:
    for run in (compiled("llama3-70b", Parallel(tp=8)), compiled("llama3-8b")):
        for op in run.report.ops:
            assert bool(op.algorithm) == (op.unit == "link")


def test_exchanges_take_turns_on_the_links_and_reserve_memory() -> None:
    run = compiled("llama3-8b", Parallel(tp=4), step(prefill=[(64, 0)], decode=[100] * 4))
    for layer in mapping_of(run.graph).layers:
        tasks = layer.solution.tasks
        mine = sorted((t.start, t.end) for t in tasks if t.column.unit == links_of(CHIP).part)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(mine))
        for at in {t.start for t in tasks}:
            assert sum(t.column.dram for t in tasks if t.start <= at < t.end) <= 16
    assert all(len(c.nodes) == 1 for c in columns_of(run.graph).columns if c.unit == links_of(CHIP).part)


def test_links_are_in_the_picture_and_in_the_trace() -> None:
    run = compiled("llama3-8b", Parallel(tp=2))
    svg = gantt_svg(run)
    assert "exchange" in svg and ">link<" in svg
    trace = trace_json(run, "llama3-8b")["traceEvents"]
    assert sum(e["ph"] == "X" and "all_reduce" in e["name"] for e in trace) == 3  # of the first layer, and before it


# ---- experts -----------------------------------------------------------------------------------


def test_experts_and_their_work_are_shared_out() -> None:
    model, chip, ways = load_model("mixtral-8x7b"), load_chip("h200"), (Parallel(tp=2), Parallel(tp=2, ep=2))
    one, two = (compile_model(model, chip, DECODE, parallel=p, pipeline=FAST).report for p in ways)
    assert two.macs == pytest.approx(one.macs / 2, rel=1e-3)
    assert two.capacity.weights_bytes < one.capacity.weights_bytes * 0.52 + 1e9  # all but experts is on both


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40))
def test_a_share_of_the_picks_touches_a_share_of_the_places(own: int, held: int, ways: int, rows: int) -> None:
    """What `own_rows` relies on: w devices with e / w places each and j / w picks per row touch e places in all."""
    held = max(own, held)
    whole = float(distinct(held * ways, rows, own * ways))
    assert whole == pytest.approx(ways * float(distinct(held, rows, own)))


# ---- stages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_stages_are_the_best_cuts_of_the_layers(stages: int) -> None:
    whole, cut = (compiled("llama3-8b", Parallel(tp=2, pp=n)).report for n in (1, stages))
    costs = [x.period_s for x in whole.layers for _ in range(x.repeat)]
    links, size = links_of(CHIP), 16 * 4096 * 2
    send = ceil((links.fabric.latency_s + size / links.fabric.bytes_per_s) * CHIP.clock_hz) / CHIP.clock_hz
    n = len(costs)
    longest = min(
        max(sum(costs[a:b]) + (send if b < n else 0) for a, b in itertools.pairwise([0, *cuts, n]))
        for cuts in itertools.combinations(range(1, n), stages - 1)
    )
    assert cut.interval_s == pytest.approx(longest)
    assert cut.latency_s == pytest.approx(whole.latency_s + (stages - 1) * send)
    assert cut.devices == 2 * stages and len(cut.stages) == stages
    assert [s.send_bytes for s in cut.stages] == [size] * (stages - 1) + [0]
    assert sum(n for s in cut.stages for _, n in s.layers) == n
    assert cut.capacity.weights_bytes < whole.capacity.weights_bytes
    assert cut.traffic_bytes["link"] == pytest.approx(whole.traffic_bytes["link"] + (stages - 1) * size)
    assert cut.energy_j >= whole.energy_j + 2 * (stages - 1) * size * links.pj_per_byte * 1e-12


def test_stages_hold_all_weights_between_them() -> None:
    """As many stages as layers: the fullest is then one layer, or an end of the model."""
    report = compiled("llama3-8b", Parallel(pp=34)).report
    ends = 128256 * 4096 * 2
    layer = (4096 * (4096 * 2 + 1024 * 2) + 3 * 4096 * 14336 + 2 * 4096) * 2
    assert report.capacity.weights_bytes == max(ends + 4096 * 2, layer)


# ---- verified ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "fields", "parallel"),
    [
        ("llama", LLAMA, Parallel(tp=2)),
        ("llama", LLAMA, Parallel(dp=2, pp=2)),
        ("deepseek", LATENT, Parallel(ep=2, tp=2)),
        ("deepseek", LATENT, Parallel(ep=2, dp=2)),
        ("deepseek", LATENT, Parallel(tp=2, dp=2, pp=3)),
    ],
)
def test_every_pass_is_verified_on_devices(family: str, fields: dict[str, object], parallel: Parallel) -> None:
    notes: list[Note] = []
    what = step(prefill=[(4, 2), (4, 0)])
    run = compile_model(
        tiny(fields, family), CHIP, what, parallel=parallel, pipeline=FAST, verify=True, on_note=notes.append
    )
    assert run.report.devices == parallel.count
    assert sum("verified" in n.message for n in notes) == 1


# ---- refused -----------------------------------------------------------------------------------


def test_a_chip_without_links_stands_alone() -> None:
    chip = load_chip("tpu128")
    for parallel in (Parallel(tp=2), Parallel(pp=2)):
        with pytest.raises(Diag) as caught:
            compile_model(load_model("llama3-8b"), chip, DECODE, parallel=parallel, pipeline=FAST)
        assert caught.value.code == "no-link" and caught.value.span is not None


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"tp": 0}, None),
        ({"devices": 0}, None),
        ({"devices": 8, "tp": 2}, "--tp 8"),
        ({"devices": 8, "tp": 2, "pp": 2}, "--tp 4"),
        ({"devices": 6, "dp": 4}, "for 4"),
    ],
)
def test_numbers_that_do_not_fit(given: dict[str, int], hint: str | None) -> None:
    with pytest.raises(Diag) as caught:
        Parallel(**given)
    assert caught.value.code == "bad-option" and (hint is None or hint in str(caught.value.hint))
