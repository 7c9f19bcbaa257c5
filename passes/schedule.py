"""Repeat the layers as densely as dependences and resources allow."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import mapping_of, places, steady


class Schedule(Pass, name="schedule"):
    """Find each layer's steady state: the shortest period at which its schedule can start again."""

    def run(self, graph: Graph, ctx: Context) -> Graph:
        mapping = mapping_of(graph)
        repeated = replace(mapping, layers=tuple(steady(graph, x, mapping.aim.limits) for x in mapping.layers))
        return replace(graph, mapping=repeated, places=tuple(places(repeated)))
