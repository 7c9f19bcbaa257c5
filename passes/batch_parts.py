"""Offer to run the same op of several parts of a step as one."""

from __future__ import annotations

from dfcompiler.compose import Group, group
from dfcompiler.facts import facts
from dfcompiler.graph import Graph, Node, Offer
from dfcompiler.pipeline import Context, Pass


class BatchParts(Pass, name="batch-parts"):
    """Prefill chunks and decode sequences meet the same weights. Run together, the weights move once; run
    apart, they can be on different units at the same time. This offers the first for contractions, whose weights
    are worth it; the mapper decides."""

    def run(self, graph: Graph, ctx: Context) -> Graph:
        by_weights: dict[object, list[Node]] = {}
        for node in graph.nodes.values():
            weights = tuple(a for a in node.args if graph.tensors[a].kind == "weight")
            if weights and facts(graph.shape(node)).work.contractions:
                by_weights.setdefault((node.op, node.attrs, weights), []).append(node)
        offers = [
            Offer(self.name, tuple(n.name for n in nodes))
            for nodes in by_weights.values()
            if len(nodes) > 1 and isinstance(group(graph, [n.name for n in nodes]), Group)
        ]
        return graph.offer(*offers)
