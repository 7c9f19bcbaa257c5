"""The baseline: every node on its fastest unit, as early as possible."""

from __future__ import annotations

from dfcompiler.columns import flow_of
from dfcompiler.graph import Graph
from dfcompiler.listing import greedy, require_columns
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import columns_of, with_mapping


class MapGreedy(Pass, name="map-greedy"):
    """List scheduling without fusion and without choice: what a mapper must beat."""

    maps = True

    def run(self, graph: Graph, ctx: Context) -> Graph:
        columns = columns_of(graph)
        for segment in columns.segments:
            require_columns(graph, columns, segment)
        return with_mapping(graph, self.name, [greedy(flow_of(graph, s), columns.of(s)) for s in columns.segments])
