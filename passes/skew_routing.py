"""Say how unlike in popularity the places are that routers pick."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.graph import Graph, Node
from dfcompiler.pipeline import Context, Pass


class SkewRouting(Pass, name="skew-routing"):
    """Place x of those that a router picks from, in order of popularity, has the weight (x + 1) ** -by. It changes
    what is expected to be touched, not what is computed."""

    by: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.by <= 10:
            raise ValueError("by must be between 0 and 10")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        return graph.map_nodes(lambda node: self._skewed(graph, node))

    def _skewed(self, graph: Graph, node: Node) -> Node:
        results = graph.shape(node).results
        attrs = dict(node.attrs) | {o.skewed: self.by for o in results if o.skewed}
        types = [replace(r.type, skew=self.by if o.skewed else 0.0) for o, r in zip(results, node.results, strict=True)]
        made = tuple(replace(r, type=ty) for r, ty in zip(node.results, types, strict=True))
        return replace(node, attrs=tuple(attrs.items()), results=made)
