"""A baseline that knows fusion, but nothing that runs beside anything."""

from __future__ import annotations

from dfcompiler.columns import flow_of
from dfcompiler.graph import Graph
from dfcompiler.listing import require_columns
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import columns_of, with_mapping
from dfcompiler.serial import in_turn


class MapDp(Pass, name="map-dp"):
    """Groups one after another on their fastest units, the best sequence by dynamic programming, moved forward where
    units are idle: shortest where every op needs the one before."""

    maps = True

    def run(self, graph: Graph, ctx: Context) -> Graph:
        columns = columns_of(graph)
        for segment in columns.segments:
            require_columns(graph, columns, segment)
        return with_mapping(graph, self.name, [in_turn(flow_of(graph, s), columns.of(s)) for s in columns.segments])
