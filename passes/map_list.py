"""Choose groups, units, tilings and times by list scheduling, without a solver."""

from __future__ import annotations

from dfcompiler.columns import flow_of
from dfcompiler.graph import Graph
from dfcompiler.listing import first_schedule, require_columns
from dfcompiler.pipeline import Context, Pass
from dfcompiler.schedule import columns_of, with_mapping


class MapList(Pass, name="map-list"):
    """The best of several list schedules, with and without fusion: what `map-ilp` starts from. It proves nothing beyond
    the longest chain, and is done in a fraction of a second: what serving asks of a mapper, which wants many steps."""

    maps = True

    def run(self, graph: Graph, ctx: Context) -> Graph:
        columns = columns_of(graph)
        for segment in columns.segments:
            require_columns(graph, columns, segment)
        return with_mapping(
            graph, self.name, [first_schedule(flow_of(graph, s), columns.of(s)) for s in columns.segments]
        )
