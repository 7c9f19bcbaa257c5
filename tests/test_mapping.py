"""Schedules are legal and as short as claimed: a checker that knows no solver, brute force, and bounds by hand."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from segments import check_resources, legal, shortest, small

from dfcompiler import ilp
from dfcompiler import quotes as pricing
from dfcompiler.api import compile_model
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph, Region
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.listing import first_schedule, greedy
from dfcompiler.models import Model, load_model
from dfcompiler.pipeline import Context, parse_pipeline, run_pipeline
from dfcompiler.problem import problem
from dfcompiler.schedule import mapping_of
from dfcompiler.steps import Step, phase, step
from dfcompiler.text.tree import Quantity

SIZES: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "vocab_size": 200,
    "torch_dtype": "bfloat16",
}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return llama(tmp_path_factory.mktemp("tiny"))


def llama(folder: Path, **sizes: int) -> Model:
    path = folder / "config.json"
    path.write_text(json.dumps(SIZES | sizes))
    return load_model(str(path))


@cache
def chip(name: str) -> Chip:
    return load_chip(name)


def mapped(model: Model, on: Chip, what: Step, pipeline: str = "default", **options: Any) -> Graph:
    return compile_model(model, on, what, pipeline=pipeline, **({"time_limit_s": 1.0} | options)).graph


# ---- the checker -------------------------------------------------------------------------------


def check(graph: Graph) -> int:
    """Cycles of the mapped graph, recounted; an AssertionError says what is illegal."""
    mapping = mapping_of(graph)
    made_by = {r.name: n.name for n in graph.nodes.values() for r in n.results}
    at, seen = 0, []
    for layer in mapping.layers:
        runs = layer.segment.repeat
        tasks = layer.solution.tasks
        seen += [v for t in tasks for v in t.column.nodes]
        assert {v for t in tasks for v in t.column.nodes} == set(layer.segment.nodes)
        for t in tasks:
            assert t.column.cycles >= t.column.tiling.cycles > t.column.cycles - 1
            assert t.end == t.start + t.column.cycles and t.start >= 0
            assert any(t.column is c for c in graph.columns.columns)  # type: ignore[union-attr]
            assert t.column.dram >= 16 * t.column.tiling.share - 1e-9
            assert t.column.beside * t.column.cycles >= 16 * t.column.tiling.helper_cycles - 1e-9
        task = {v: t for t in tasks for v in t.column.nodes}
        later = min(3, runs)
        for i in range(later):
            for v in layer.segment.nodes:
                for arg in graph.nodes[v].args:
                    back, source = _source(graph, arg, made_by)
                    u = task.get(source)
                    if u is None or (u is task[v] and back == 0) or i < back:
                        continue
                    assert u.end + (i - back) * layer.period <= task[v].start + i * layer.period, (source, v)
        check_resources([replace(t, start=t.start + i * layer.period) for i in range(later) for t in tasks])
        assert layer.solution.cycles == max(t.end for t in tasks)
        assert 0 <= layer.solution.bound <= layer.solution.cycles and layer.period_floor <= layer.period
        at += (runs - 1) * layer.period + max(t.end for t in tasks)
    assert sorted(seen) == sorted(graph.nodes)
    assert mapping.cycles == at >= mapping.bound
    return at


def _source(graph: Graph, arg: str, made_by: Mapping[str, str]) -> tuple[int, str]:
    """Which node makes an operand, and how many layers before."""
    for region in (i for i in graph.body if isinstance(i, Region)):
        for c in region.carries:
            if c.inner.name == arg:
                return 1, made_by.get(c.yielded, "")
    return 0, made_by.get(arg, "")


STEPS = {
    "prefill": step(prefill=[(24, 8)]),
    "decode": step(decode=[40, 40, 40]),
    "mixed": step(prefill=[(32, 0)], decode=[17, 30, 5]),
    "parts": step(prefill=[(16, 0), (9, 20)], decode=[50]),
}


@pytest.mark.parametrize("pipeline", ["default", "greedy"])
@pytest.mark.parametrize("on", ["ador", "tpu128"])
@pytest.mark.parametrize("what", STEPS)
def test_schedules_are_legal(tiny: Model, what: str, on: str, pipeline: str) -> None:
    assert check(mapped(tiny, chip(on), STEPS[what], pipeline)) > 0


@pytest.mark.parametrize("on", ["ador", "tpu128"])
@pytest.mark.parametrize("name", ["llama3-8b", "qwen3-8b"])
def test_decoding_a_whole_model_is_legal(name: str, on: str) -> None:
    assert check(mapped(load_model(name), chip(on), phase("decode", 4, 1, 600), time_limit_s=4)) > 0


def test_the_checker_finds_faults(tiny: Model) -> None:
    graph = mapped(tiny, chip("ador"), STEPS["mixed"])
    mapping = mapping_of(graph)
    first = mapping.layers[1]
    tasks = first.solution.tasks

    def changed(**what: Any) -> Graph:
        solution = replace(first.solution, **{k: v for k, v in what.items() if k == "tasks"})
        layer = replace(first, solution=solution, **{k: v for k, v in what.items() if k != "tasks"})
        return replace(graph, mapping=replace(mapping, layers=(mapping.layers[0], layer, *mapping.layers[2:])))

    check(changed())
    faults: list[dict[str, Any]] = [
        {"tasks": tasks[1:]},
        {"tasks": tuple(replace(t, start=0) for t in tasks)},
        {"tasks": (*tasks, tasks[0])},
        {"tasks": (*tasks[:-1], replace(tasks[-1], column=replace(tasks[-1].column, cycles=1)))},
        {"period": 1},
    ]
    for fault in faults:
        with pytest.raises(AssertionError):
            check(changed(**fault))


# ---- brute force -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", range(5))
def test_the_program_finds_the_shortest_of_all(block: int) -> None:
    for seed in range(12 * block, 12 * block + 12):
        flow, found = small(seed)
        hint = greedy(flow, found)
        solution = ilp.solve(flow, found, hint, seconds=20, seed=0)
        best = shortest(flow, found)
        assert legal(flow, hint) and legal(flow, solution)
        assert legal(flow, first_schedule(flow, found))
        assert solution.optimal and solution.cycles == best == solution.bound, seed
        assert first_schedule(flow, found).bound <= best <= hint.cycles


# ---- the solver as a pass ----------------------------------------------------------------------


def test_the_program_is_never_worse_than_lists(tiny: Model) -> None:
    for what, on in itertools.product((STEPS["decode"], STEPS["mixed"]), ("ador", "tpu128")):
        best, plain = (mapping_of(mapped(tiny, chip(on), what, p, time_limit_s=0.3)) for p in ("default", "greedy"))
        assert all(a.solution.cycles <= b.solution.cycles for a, b in zip(best.layers, plain.layers, strict=True))
        assert best.cycles <= plain.cycles


def test_the_same_seed_gives_the_same_schedule(tiny: Model) -> None:
    for what in ("prefill", "decode"):
        one, two = (mapped(tiny, chip("ador"), STEPS[what], seed=3, time_limit_s=30) for _ in range(2))
        assert one.places == two.places


def test_a_tiny_time_limit_is_kept() -> None:
    model, on, what = load_model("llama3-8b"), chip("ador"), step(prefill=[(128, 0)], decode=[300] * 4)
    context = Context(model=model, chip=on, step=what, dtypes=parse_dtypes("w16a16kv16"))
    priced, _ = run_pipeline(
        parse_pipeline(Source("p", "lower-model,fuse-elementwise,batch-parts,tile")), Graph("g"), context
    )
    start = time.perf_counter()
    graph, _ = run_pipeline(parse_pipeline(Source("p", "map-ilp{time-limit-s=0.05},schedule")), priced, context)
    assert time.perf_counter() - start < 6
    assert check(graph) == mapping_of(graph).cycles >= mapping_of(graph).bound > 0
    for layer in mapping_of(graph).layers:
        assert layer.solution.optimal == (layer.solution.bound == layer.solution.cycles)


# ---- what is left out cannot matter ------------------------------------------------------------


@pytest.mark.parametrize("on", ["ador", "tpu128"])
@pytest.mark.parametrize("what", ["prefill", "decode"])
def test_pruning_loses_nothing(tiny: Model, what: str, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pruned = mapped(tiny, chip(on), STEPS[what], time_limit_s=20)
    floor = pricing.floor_cycles
    monkeypatch.setattr(pricing, "floor_cycles", lambda *a: 0.0 if floor(*a) < float("inf") else float("inf"))
    monkeypatch.setattr(ilp, "within", lambda flow, columns, limit: list(columns))
    whole = mapped(tiny, chip(on), STEPS[what], time_limit_s=20)
    assert len(whole.columns.columns) >= len(pruned.columns.columns)  # type: ignore[union-attr]
    for a, b in zip(mapping_of(pruned).layers, mapping_of(whole).layers, strict=True):
        assert a.solution.optimal and b.solution.optimal
        assert a.solution.cycles == b.solution.cycles


# ---- physics -----------------------------------------------------------------------------------


def least_seconds(sizes: Mapping[str, int], on: Chip, what: Step, bytes_each: tuple[float, float]) -> float:
    """Multiply-accumulates at the peak of all units, or weights and cache once at the DRAM's bandwidth."""
    d, f, v, layers = (sizes[k] for k in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers"))
    heads, groups = sizes["num_attention_heads"], sizes["num_key_value_heads"]
    e = d // heads
    weights = d * e * (heads + 2 * groups) + d * heads * e + 3 * d * f
    seen = sum(past + i + 1 for p in what.parts for past in p.past for i in range(p.fresh))
    macs = layers * (weights * what.tokens + 2 * heads * e * seen) + what.tokens * d * v
    peak = sum(float(u.template.peak_macs_per_cycle()) * u.instances for u in on.units.values())
    reach = sum(past + p.fresh for p in what.parts for past in p.past)
    new = sum(p.tokens for p in what.parts)
    moved = bytes_each[0] * (layers * weights + d * v) + bytes_each[1] * layers * 2 * groups * e * (reach - new)
    return max(macs / peak / on.clock_hz, moved / on.dram_bytes_per_s)


CHIPS: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("ador", {}, ()),
    ("tpu128", {}, ()),
    ("ador", {"sa.rows": 16, "sa.cols": 32}, ()),
    ("ador", {"hbm.bandwidth": Quantity(50, "GB/s")}, ()),
    ("ador", {}, ("mt",)),
    ("ador", {}, ("sa",)),
    ("tpu128", {"dram.duplex": "half", "sa.reload": "double-buffered"}, ()),
    ("ador", {"noc.multicast": "no", "mt.width": 32}, ()),
]


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_faster_than_its_roofline(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    heads = rng.choice([2, 4, 8])
    sizes = SIZES | {
        "hidden_size": heads * 2 * rng.randint(2, 24),
        "intermediate_size": rng.randint(8, 500),
        "num_attention_heads": heads,
        "num_key_value_heads": rng.choice([n for n in (1, 2, heads) if heads % n == 0]),
        "num_hidden_layers": rng.randint(1, 4),
        "vocab_size": rng.randint(50, 3000),
    }
    name, overrides, without = CHIPS[seed % len(CHIPS)]
    given = {k: Quantity(x, "") if isinstance(x, int) else x for k, x in overrides.items()}
    on = load_chip(name, given, without)
    what = rng.choice([
        step(prefill=[(rng.randint(1, 200), rng.randint(0, 100))]),
        step(decode=[rng.randint(0, 300) for _ in range(rng.randint(1, 9))]),
        step(prefill=[(rng.randint(1, 90), 0)], decode=[rng.randint(0, 99) for _ in range(3)]),
    ])  # fmt: skip
    dtype, weight, kv = rng.choice([("w16a16kv16", 2, 2), ("w8a8kv8", 1, 1), ("w4a8kv8", 0.5, 1), ("w8a16kv16", 1, 2)])
    done = compile_model(llama(tmp_path, **sizes), on, what, dtype=dtype, time_limit_s=0.3)
    check(done.graph)
    assert done.report.latency_s >= least_seconds(sizes, on, what, (weight, kv))
    assert done.report.latency_s >= done.report.roofline_s * (1 - 1e-12)
    assert done.report.latency_s >= done.report.bound_s > 0


# ---- compulsory traffic ------------------------------------------------------------------------

# DRAM bits of AccelForge 1.0.467's fused search with an unlimited buffer, 16-bit operands: prefill without, decode
# with the new rows of the cache, which are 2 x 2048 x 8 x 128 x 16 bit in the prefill.
FUSED = {
    "prefill": (phase("prefill", 1, 2048, 0), 3_758_096_384 + 67_108_864),
    "decode": (phase("decode", 1, 1, 2048), 3_556_933_632),
}


@pytest.mark.parametrize("what", FUSED)
def test_compulsory_traffic_of_a_fused_layer(what: str) -> None:
    dtypes = parse_dtypes("w16a16kv16")
    model = load_model(str(Path(__file__).parent / "data" / "fused_layer.dfm"))
    context = Context(model=model, step=FUSED[what][0], dtypes=dtypes)
    graph, _ = run_pipeline(parse_pipeline(Source("p", "lower-model")), Graph("g"), context)
    whole = group(graph, list(graph.nodes))
    assert isinstance(whole, Group)
    assert problem(whole, dtypes).total_bytes * 8 == FUSED[what][1]
