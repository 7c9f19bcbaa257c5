"""Repeat the layers as densely as dependences and resources allow."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.columns import flow_of
from dfcompiler.goals import AREA_DELAY, LATENCY
from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import Layer, between_layers, columns_of, mapping_of, places, steady


class Schedule(Pass, name="schedule"):
    """Find each layer's steady state: the shortest period at which its schedule can start again. With `overlap` choose
    schedules for it where layers need not wait for each other: those of which all layers together take least."""

    overlap: bool = False
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.time_limit_s is not None and self.time_limit_s <= 0:
            raise ValueError("time-limit-s must be positive")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        mapping = mapping_of(graph)
        layers = [steady(graph, x, mapping.aim.limits) for x in mapping.layers]
        for_time = mapping.aim.objective in (LATENCY, AREA_DELAY) and mapping.aim.limits.quickest
        if self.overlap and for_time and (free := [x for x in layers if x.segment.repeat > 1 and not x.serial]):
            seconds = (self.time_limit_s or ctx.time_limit_s) / len(free)
            layers = [_overlapping(graph, x, seconds, ctx.seed) if x in free else x for x in layers]
        repeated = replace(mapping, layers=tuple(layers))
        return replace(graph, mapping=repeated, places=tuple(places(repeated)))


def _overlapping(graph: Graph, layer: Layer, seconds: float, seed: int) -> Layer:
    """The layer with the best schedule and period found for it."""
    from dfcompiler.repetition import Repeated, repeated  # the solver takes long to import: only who solves waits

    flow, columns = flow_of(graph, layer.segment), columns_of(graph).of(layer.segment)
    known, runs = Repeated(layer.solution, layer.period, 0), list(layer.segment.on.values())
    found = repeated(flow, columns, between_layers(graph, layer.segment), known, runs, seconds=seconds, seed=seed)
    return replace(layer, solution=found.solution, period=found.period, period_floor=found.floor, sought=True)
