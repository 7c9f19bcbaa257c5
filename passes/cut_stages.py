"""Cut a mapped step into stages that run on devices of their own."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass
from dfcompiler.pipelining import cut
from dfcompiler.schedule import mapping_of


class CutStages(Pass, name="cut-stages"):
    """Cut the layers into `pp` stages such that the slowest, with what it hands over, is as fast as can be."""

    pp: int

    def __post_init__(self) -> None:
        if self.pp < 1:
            raise ValueError(f"pp must be at least 1, not {self.pp}")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        return replace(graph, mapping=replace(mapping_of(graph), stages=cut(graph, ctx.need("chip"), self.pp)))
