"""A load's graph, made once for all designs of a pool: lowered, quantized, shared out over devices, offers made.

How a load is shared out over devices is chosen by the rates of the pool's own chip, the same for all of its designs.
From the first pass on that prices tilings a pipeline is run for each design.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod

from dfcompiler.api import context
from dfcompiler.cost import Capacity, capacity, check_resident
from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.explore.loads import Load
from dfcompiler.explore.steps import StepWork, step_work
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import elaborate
from dfcompiler.models import load_model
from dfcompiler.pipeline import Context, Pipeline, parse_pipeline, run_pipeline
from dfcompiler.power import static_w
from dfcompiler.schedule import mapping_of
from dfcompiler.text.tree import ChipDecl

PIPELINE = "default"
REMEMBERED = 1024  # plans in one process


@dataclass(frozen=True)
class Figures:
    """What a step takes on the devices of a load."""

    latency_s: float
    energy_j: float
    tokens: float
    devices: float
    kv_bytes: float
    free_bytes: float


@dataclass(frozen=True, eq=False)
class Plan:
    """A graph that is ready to be priced on chips, and the passes that do it."""

    graph: Graph
    rest: Pipeline
    ctx: Context
    load: Load

    @cached_property
    def capacity(self) -> Capacity:
        """What the graph needs of a device's memory; what is there is the chip's of the plan."""
        return capacity(self.graph, self.ctx.need("chip"))

    @cached_property
    def work(self) -> StepWork:
        """What the graph asks of any chip."""
        return step_work(self.graph, self.ctx.need("dtypes"))

    @property
    def tokens(self) -> float:
        """Tokens of a step."""
        return float(self.ctx.need("step").tokens)

    @property
    def devices(self) -> int:
        """Devices that share a step."""
        return prod(n for _, n in self.graph.mesh)

    def on(self, chip: Chip, seed: int = 0) -> Figures:
        """The step on a chip. Raises Infeasible where it does not fit, or no unit can run an op."""
        free = chip.dram_capacity_bytes - self.capacity.needed_bytes
        if free < 0:
            message = f"`{self.graph.name}` needs {self.capacity.needed_bytes:,.0f} B; `{chip.name}` has not as much"
            raise Infeasible("does-not-fit", message, hint=f"{-free:,.0f} B too much")
        graph, _ = run_pipeline(self.rest, self.graph, replace(self.ctx, chip=chip, seed=seed))
        check_resident(graph, chip)
        mapping = mapping_of(graph)
        latency_s = mapping.cycles / chip.clock_hz
        busy_pj = sum(x.solution.pj * x.segment.repeat for x in mapping.layers)
        energy_j = self.devices * (busy_pj * 1e-12 / max(1, len(mapping.stages)) + static_w(chip) * latency_s)
        return Figures(latency_s, energy_j, self.tokens, self.devices, self.capacity.kv_bytes, free)


@lru_cache(maxsize=REMEMBERED)
def own_chip(decl: ChipDecl, without: frozenset[str]) -> Chip:
    """A pool's own chip, by whose rates loads are shared out, without what a design leaves out."""
    return elaborate(decl, {}, without)


@lru_cache(maxsize=REMEMBERED)
def plan(load: Load, chip: Chip, pipeline: str = PIPELINE) -> Plan:
    """The plan of a load by the rates of a chip. Raises Diag as `compile_model` does for what cannot be shared out."""
    ctx = context(load_model(load.model), chip, load.step, load.dtype)
    passes = parse_pipeline(Source("--pipeline", load.parallel.inserted(pipeline)))
    first = next((i for i, p in enumerate(passes) if p.prices), len(passes))
    graph, _ = run_pipeline(passes[:first], Graph(load.model), ctx)
    return Plan(graph, passes[first:], ctx, load)
