"""Offer to fuse what works point by point into the contractions that feed it."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from dfcompiler.columns import flow_of, segments
from dfcompiler.compose import offer
from dfcompiler.facts import facts
from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass


class FuseElementwise(Pass, name="fuse-elementwise"):
    """An op without a sum that follows a contraction, or several, can be done on their tile before it is written:
    activations, residuals, biases, rotations, writes to a cache. Every chain of up to `max_chain` such ops is
    offered, never forced. With `explain` it says why not."""

    max_chain: int = 4
    explain: bool = False

    def __post_init__(self) -> None:
        if self.max_chain < 1:
            raise ValueError("max-chain must be at least 1")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        groups: list[tuple[str, ...]] = []
        for segment in segments(graph):
            known = {v: facts(graph.shape(graph.nodes[v])) for v in segment.nodes}
            pointwise = {v for v, f in known.items() if f.pointwise}
            contractions = {v for v, f in known.items() if f.work.contractions}
            flow = flow_of(graph, segment)
            for v in segment.nodes:
                if v in contractions:
                    groups += self._chains(flow, (v,), pointwise)
                feeding = [u for u in flow.predecessors(v) if u in contractions and list(flow.successors(u)) == [v]]
                if v in pointwise and len(feeding) > 1:
                    groups += [(*feeding, v), *self._chains(flow, (*feeding, v), pointwise)]
        return offer(graph, self.name, groups, ctx.note if self.explain else None)

    def _chains(self, flow: nx.DiGraph[str], first: tuple[str, ...], pointwise: set[str]) -> Iterator[tuple[str, ...]]:
        """The nodes with one, two, ... of those that follow, as long as each is the last one's only user."""
        chain = first
        while len(chain) < len(first) + self.max_chain:
            users = list(flow.successors(chain[-1]))
            if len(users) != 1 or users[0] not in pointwise:
                return
            chain = (*chain, users[0])
            yield chain
