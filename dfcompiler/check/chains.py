"""Chains of nodes that wait for each other, on their fastest columns: a length below which no schedule can be."""

from __future__ import annotations

from collections.abc import Mapping

from dfcompiler.check.contents import Column, Segment


class Chains:
    """What each node adds at least to every chain through it, and the longest chains around nodes.

    A group's cycles may count once in a chain: at the member that takes longest alone, or at each of them where no
    two can be in one chain. Of all groups that a node could be in, the one that adds least counts."""

    def __init__(self, s: Segment) -> None:
        self.segment = s
        fastest = {g: min(c.cycles for c in cs) for g, cs in s.groups.items()}
        alone = {g[0]: n for g, n in fastest.items() if len(g) == 1}
        self.least: dict[str, int] = {}
        for v in s.nodes:
            adds = [n for g, n in fastest.items() if v in g and (len(g) == 1 or self._bears(g, v, alone))]
            others = [0 for g in fastest if v in g and len(g) > 1 and not self._bears(g, v, alone)]
            self.least[v] = min(adds + others, default=0)
        self.until = self._lengths(s.before, {v: [u for u, w in s.flow if w == v] for v in s.nodes})
        self.since = self._lengths(s.after, {v: [w for u, w in s.flow if u == v] for v in s.nodes})

    def _bears(self, g: tuple[str, ...], v: str, alone: Mapping[str, int]) -> bool:
        after = self.segment.after
        apart = not any(u in after[w] for u in g for w in g)
        return apart or v == max(g, key=lambda u: alone.get(u, 0))

    def _lengths(self, all_near: Mapping[str, frozenset[str]], near: Mapping[str, list[str]]) -> dict[str, int]:
        """The longest chain that ends with each node, itself included, coming from one side."""
        found: dict[str, int] = {}
        for v in sorted(self.segment.nodes, key=lambda v: len(all_near[v])):
            found[v] = self.least[v] + max((found[u] for u in near[v]), default=0)
        return found

    def through(self, c: Column) -> int:
        """Cycles that no schedule with this column can undercut."""
        flow = self.segment.flow
        head = max((self.until[u] for u, v in flow if v in c.nodes and u not in c.nodes), default=0)
        tail = max((self.since[w] for v, w in flow if v in c.nodes and w not in c.nodes), default=0)
        return head + c.cycles + tail
