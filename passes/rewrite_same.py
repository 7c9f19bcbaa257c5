"""Replace ops by others that are declared to be the same."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.diagnostics import unknown
from dfcompiler.execution import bound
from dfcompiler.graph import Graph, Node
from dfcompiler.models import library
from dfcompiler.pipeline import Context, Pass
from dfcompiler.text.tree import Attr, OpDecl


class RewriteSame(Pass, name="rewrite-same"):
    """An op may say `same as` another. Of those that are the same this takes the one with the fewest sequential
    steps, so a long prefill runs chunk by chunk and a decode token by token; with `to`, that one wherever it fits."""

    to: str = ""

    def run(self, graph: Graph, ctx: Context) -> Graph:
        if not self.to and all(_steps(graph, node) <= 1 for node in graph.nodes.values()):
            return graph
        ops = ctx.model.library.ops if ctx.model else library().ops
        if self.to and self.to not in ops:
            raise unknown("op", self.to, ops)
        for op in (x for x in ops.values() if x.same and x.same not in ops):
            raise unknown("op", op.same or "", ops, op.span)
        return graph.map_nodes(lambda node: self._best(graph, node, list(ops.values())))

    def _best(self, graph: Graph, node: Node, ops: list[OpDecl]) -> Node:
        root = node.op.same or node.op.name
        forms = [op for op in ops if root in (op.name, op.same) and self.to in ("", op.name)]
        found = min((node, *(_as(node, op) for op in forms)), key=lambda n: _steps(graph, n))
        return _as(node, forms[0]) if self.to and forms else found


def _as(node: Node, op: OpDecl) -> Node:
    """The node with this op, and those attributes that it knows."""
    known = {a.name for a in op.body if isinstance(a, Attr)}
    return replace(node, op=op, attrs=tuple((name, value) for name, value in node.attrs if name in known))


def _steps(graph: Graph, node: Node) -> int:
    """Sequential steps that a node takes: 0 where it has no scan."""
    shape, sizes = bound(node, [graph.type_of(a).shape for a in node.args])
    return sum(sizes[i] for i in dict.fromkeys(s.scan[0] for s in shape.body if s.scan))
