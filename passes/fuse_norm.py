"""Offer to fuse reductions along rows, such as norms, with what feeds them and with the contractions behind them."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from dfcompiler.columns import flow_of, segments
from dfcompiler.compose import offer
from dfcompiler.facts import facts
from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass


class FuseNorm(Pass, name="fuse-norm"):
    """A norm can be done on the tile of what makes its row, and by the contractions that read it: with each, with
    all of them, and with the groups that earlier passes offer. Whether its row must then lie whole in a tile or
    streams through it follows from its text. With `explain` the pass says why not."""

    explain: bool = False

    def run(self, graph: Graph, ctx: Context) -> Graph:
        groups: list[tuple[str, ...]] = []
        offers = [o.nodes for o in graph.offers]
        for segment in segments(graph):
            flow = flow_of(graph, segment)
            known = {v: facts(graph.shape(graph.nodes[v])) for v in segment.nodes}
            contractions = {v for v, f in known.items() if f.work.contractions}
            apart = {v for v, f in known.items() if v not in contractions and not f.sequential}
            for v in segment.nodes:
                if v in apart and known[v].reduced:
                    alone = [(u,) for u in segment.nodes if u in apart | contractions]
                    groups += _behind(flow, v, alone + offers, apart)
                    groups += _before(flow, v, contractions, offers)
        return offer(graph, self.name, groups, ctx.note if self.explain else None)


def _behind(
    flow: nx.DiGraph[str], norm: str, groups: list[tuple[str, ...]], apart: set[str]
) -> Iterator[tuple[str, ...]]:
    """Each group that ends in what the norm reads, with the norm, then with what follows the norm alone."""
    for g in groups:
        if g[-1] in flow.pred[norm]:
            chain = (*g, norm)
            yield chain
            while len(users := list(flow.successors(chain[-1]))) == 1 and users[0] in apart:
                chain = (*chain, users[0])
                yield chain


def _before(
    flow: nx.DiGraph[str], norm: str, contractions: set[str], offers: list[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    """The norm with each of the contractions that read it, and with every group that holds all that read it."""
    users = set(flow.successors(norm))
    yield from ((norm, u) for u in sorted(users & contractions))
    all_ = [g for g in offers if users <= set(g)]
    if not all_ and len(users) > 1 and users <= contractions:
        all_ = [tuple(sorted(users))]
    yield from ((norm, *g) for g in all_ if users)
