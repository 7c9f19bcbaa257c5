"""A load as work that follows in turn: ops of the real step, equal ones once, and exchanges between devices."""

from __future__ import annotations

from dataclasses import dataclass

from dfcompiler.api import context
from dfcompiler.collectives import Demand, bytes_of, demands_of, exchanged
from dfcompiler.columns import segments
from dfcompiler.compose import single
from dfcompiler.cost import capacity
from dfcompiler.diagnostics import Source
from dfcompiler.explore.loads import Load
from dfcompiler.explore.prices.places import in_turn
from dfcompiler.explore.prices.products import product_of
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.likeness import content_key
from dfcompiler.models import load_model
from dfcompiler.pipeline import parse_pipeline, run_pipeline
from dfcompiler.problem import Problem, problem

PIPELINE = "lower-model,quantize"  # devices and stages come after these


@dataclass(frozen=True)
class Op:
    """A problem that runs so many times, on average; equal problems have equal keys."""

    times: float
    key: str
    problem: Problem


@dataclass(frozen=True)
class Exchange:
    """What so many equal exchanges ask of the links, among how many devices, and what they read and write."""

    times: int
    demands: tuple[Demand, ...]
    devices: int
    read_bytes: float
    written_bytes: float


@dataclass(frozen=True)
class StepWork:
    """All work of a step of one device, what its memory must hold, caches among that, new tokens and devices, working
    in so many stages."""

    ops: tuple[Op, ...]
    exchanges: tuple[Exchange, ...]
    needed_bytes: float
    kv_bytes: float
    tokens: int
    devices: int
    stages: int


def step_work(load: Load, chip: Chip) -> StepWork:
    """The work of a load on its devices, of which `chip` is one: it decides the types that quantisation leaves and how
    a step is split, which are the same for all designs of a pool.

    Raises what lowering and sharding raise.
    """
    model, asked = load_model(load.model), load.step
    ctx = context(model, chip, asked, load.dtype)
    passes = parse_pipeline(Source("static", load.parallel.inserted(PIPELINE)))
    graph, _ = run_pipeline(passes, Graph(model.name), ctx)
    ops: dict[str, Op] = {}
    exchanges: dict[Exchange, int] = {}
    for segment in segments(graph):
        for name in segment.nodes:
            node = graph.nodes[name]
            if exchanged(node):
                found = Exchange(1, *demands_of(graph, node), *bytes_of(graph, node))
                exchanges[found] = exchanges.get(found, 0) + segment.repeat
                continue
            p = problem(single(graph, node), ctx.need("dtypes"))
            key, (places, one) = content_key(p), in_turn(p) or (1.0, p)
            if product_of(one) is None:
                places, one = 1.0, p
            times = ops[key].times if key in ops else 0.0
            ops[key] = Op(times + places * segment.repeat, key, one)
    room = capacity(graph, chip)
    found_ = (Exchange(n, e.demands, e.devices, e.read_bytes, e.written_bytes) for e, n in exchanges.items())
    return StepWork(
        tuple(ops.values()),
        tuple(found_),
        room.needed_bytes,
        room.kv_bytes,
        asked.tokens,
        load.parallel.count,
        load.parallel.pp,
    )
