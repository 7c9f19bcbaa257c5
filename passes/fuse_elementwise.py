"""Offer to fuse elementwise ops into the contraction that feeds them."""

from __future__ import annotations

from dfcompiler.compose import Group, group
from dfcompiler.facts import facts
from dfcompiler.graph import Graph, Node, Offer
from dfcompiler.pipeline import Context, Pass


class FuseElementwise(Pass, name="fuse-elementwise"):
    """An elementwise op that follows a contraction can be done on the contraction's tile before it is written.
    Every chain of up to `max_chain` such ops is offered, never forced."""

    max_chain: int = 4

    def __post_init__(self) -> None:
        if self.max_chain < 1:
            raise ValueError("max-chain must be at least 1")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        offers: list[Offer] = []
        for node in graph.nodes.values():
            if facts(graph.shape(node)).work.contractions:
                offers += self._chains(graph, node, ctx)
        return graph.offer(*offers)

    def _chains(self, graph: Graph, node: Node, ctx: Context) -> list[Offer]:
        chain, offers = [node], []
        while len(chain) <= self.max_chain:
            users = list(graph.flow.successors(chain[-1].name))
            if len(users) != 1 or graph.repeats[users[0]] != graph.repeats[node.name]:
                break
            follower = graph.nodes[users[0]]
            same_shape = follower.results[0].type.shape == chain[-1].results[0].type.shape
            if (
                follower.name in {n.name for n in chain}
                or not same_shape
                or not facts(graph.shape(follower)).elementwise
            ):
                break
            chain.append(follower)
            names = tuple(n.name for n in chain)
            joined = group(graph, names)
            if not isinstance(joined, Group):
                ctx.note(joined.why, joined.span)
                break
            offers.append(Offer(self.name, names))
        return offers
