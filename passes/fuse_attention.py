"""Offer to run two contractions in one pass, with all that lies between them."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from dfcompiler.columns import flow_of, segments
from dfcompiler.compose import Group, group, offer
from dfcompiler.facts import Facts, facts
from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass


class FuseAttention(Pass, name="fuse-attention"):
    """Where a contraction sums over what another makes, and all that lies between them can run in one pass over it,
    both and what lies between are offered as one: attention written as scores, softmax and weighted sum, or a whole
    feed-forward layer. An op that is such a pass already is offered with what works point by point before it, such
    as rotations. With `explain` the pass says why not."""

    explain: bool = False

    def run(self, graph: Graph, ctx: Context) -> Graph:
        groups: list[tuple[str, ...]] = []
        for segment in segments(graph):
            flow = flow_of(graph, segment)
            known = {v: facts(graph.shape(graph.nodes[v])) for v in segment.nodes}
            heads = [v for v in segment.nodes if known[v].work.contractions]
            for first in heads:
                groups += [g for g in _between(flow, known, first) if self._streams(graph, first, g, ctx)]
            for last in heads:
                if _one_pass(known[last]):
                    groups += _in_front(flow, known, last)
        return offer(graph, self.name, groups, ctx.note if self.explain else None)

    def _streams(self, graph: Graph, first: str, names: tuple[str, ...], ctx: Context) -> bool:
        """Whether some index that the first contraction makes and the last one sums can be cut into tiles."""
        joined = group(graph, names)
        if not isinstance(joined, Group):
            return True  # `offer` says why not
        known, last = facts(joined.shape), len(graph.shape(graph.nodes[names[-1]]).body)
        made = {i for s in joined.shape.body if any(a.name == first for a in s.targets) for i in s.free}
        shared = [i for s in joined.shape.body[-last:] for i in s.over if i in made]
        if any(i not in known.whole for i in shared):
            return True
        for i in shared if self.explain else ():
            ctx.note(f"{', '.join(names)} cannot run in one pass: {known.whole[i].why}", known.whole[i].span)
        return False


def _between(flow: nx.DiGraph[str], known: dict[str, Facts], first: str) -> Iterator[tuple[str, ...]]:
    """The contraction with every next one behind it and all that lies between, and with further contractions that
    feed only what lies between."""
    contractions = [v for v, f in known.items() if f.work.contractions]  # in the order of the program
    plain = flow.subgraph([v for v in flow if v not in contractions] + [first])
    reached = nx.descendants(plain, first)
    for last in (v for v in contractions if v != first):
        before = nx.ancestors(flow.subgraph([*(v for v in flow if v not in contractions), last]), last)
        inside = reached & before
        if inside or last in flow.succ[first]:
            beside = [
                u for u in contractions if u not in (first, last) and flow.succ[u] and set(flow.succ[u]) <= inside
            ]
            yield (first, *inside, *beside, last)


def _one_pass(f: Facts) -> bool:
    """Whether an index that one contraction makes and a later one sums can be cut into tiles."""
    made = [set(c.indices) - set(c.k) for c in f.work.contractions]
    return any(
        i in made[a] and i not in f.whole for b, c in enumerate(f.work.contractions) for i in c.k for a in range(b)
    )


def _in_front(flow: nx.DiGraph[str], known: dict[str, Facts], last: str) -> Iterator[tuple[str, ...]]:
    """The op with what works point by point before each operand, and before all of them. A write in place stays
    before the pass that reads what it wrote."""
    fresh = [v for v in flow if known[v].pointwise and not any(o.inout for o in known[v].shape.params)]
    pointwise = flow.subgraph([*fresh, last])
    cones = [(*nx.ancestors(pointwise, v), v) for v in pointwise.predecessors(last)]
    yield from ((*cone, last) for cone in cones)
    if len(cones) > 1:
        yield (*(v for cone in cones for v in cone), last)
