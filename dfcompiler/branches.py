"""A proof by cases: where one dual does not reach the bound, a column is chosen or not, or one node comes first.

Cases are taken where the relaxation's fractions are farthest from a schedule, until every case has a dual that reaches
the bound.
"""

from __future__ import annotations

import itertools
from typing import Any

from dfcompiler.listing import fits
from dfcompiler.relaxation import Dual, Edge, Relaxation

MOST = 40_000  # cases, times columns and sets of them: about a second
NEAR = 1e-6  # fractions that are whole


def tree(relaxation: Relaxation, out: frozenset[int]) -> dict[str, Any] | None:
    """Cases without the columns in `out`, each with a dual that reaches the relaxation's target; None where that takes
    too many, or no case can be seen that would help."""
    return _Tree(relaxation).grown(out, ())


class _Tree:
    def __init__(self, relaxation: Relaxation) -> None:
        self.relaxation, self.columns = relaxation, relaxation.columns
        self.left = MOST // max(1, len(self.columns) + relaxation.moments)

    def grown(self, out: frozenset[int], orders: tuple[Edge, ...]) -> dict[str, Any] | None:
        """A dual that reaches the target, or two cases; None where neither is found."""
        self.left -= 1
        found = self.relaxation.solve(out, orders)
        if found.bound >= self.relaxation.target:
            return found.to_json()
        if self.left < 0 or not found.chosen:
            return None
        some = self._partly(found)
        if some is None:
            pair = self._together(found)
            if pair is None:
                return None
            some = self._alone(pair[0], out) or self._alone(pair[1], out)
            if some is None:
                u, v = (self.columns[i].nodes[0] for i in pair)
                return self._in_order(out, orders, (u, v))
        return self._with_or_without(out, orders, some)

    def _with_or_without(
        self, out: frozenset[int], orders: tuple[Edge, ...], some: frozenset[int]
    ) -> dict[str, Any] | None:
        """One of some columns of a group is chosen, or none of them."""
        nodes = {v for i in some for v in self.columns[i].nodes}
        rest = {i for i, c in enumerate(self.columns) if i not in some and nodes & set(c.nodes)}
        if rest <= out:  # it is chosen already: no case of its own
            return None
        chosen = self.grown(out | rest, orders)
        left = self.grown(out | some, orders) if chosen else None
        return {"columns": sorted(some), "with": chosen, "without": left} if left else None

    def _in_order(self, out: frozenset[int], orders: tuple[Edge, ...], nodes: Edge) -> dict[str, Any] | None:
        """Of two nodes that cannot run at one moment one follows the other."""
        if nodes in orders or nodes[::-1] in orders:
            return None
        first = self.grown(out, (*orders, nodes))
        second = self.grown(out, (*orders, nodes[::-1])) if first else None
        return {"nodes": list(nodes), "first": first, "second": second} if second else None

    def _partly(self, found: Dual) -> frozenset[int] | None:
        """All columns of the group, or those of a unit or up to a length, nearest to being chosen half."""
        parts: dict[tuple[str, ...], dict[int, float]] = {}
        for i, x in found.chosen.items():
            parts.setdefault(self.columns[i].nodes, {})[i] = x
        halves = {g: abs(sum(d.values()) - 0.5) for g, d in parts.items() if sum(d.values()) < 1 - NEAR}
        if halves:
            return self._all(min(halves, key=lambda g: (halves[g], g)))
        split = {g: max(d.values()) for g, d in parts.items() if max(d.values()) < 1 - NEAR}
        if not split:
            return None
        g = min(split, key=lambda g: (split[g], g))
        unit = self.columns[max(parts[g], key=lambda i: parts[g][i])].unit
        here = frozenset(i for i in self._all(g) if self.columns[i].unit == unit)
        if not parts[g].keys() <= here:
            return here
        mean = sum(x * self.columns[i].cycles for i, x in parts[g].items())
        return frozenset(i for i in here if self.columns[i].cycles <= mean)

    def _all(self, g: tuple[str, ...]) -> frozenset[int]:
        return frozenset(i for i, c in enumerate(self.columns) if c.nodes == g)

    def _together(self, found: Dual) -> tuple[int, int] | None:
        """Two columns that run at one moment, and cannot: those that do so longest."""
        worst: tuple[float, tuple[int, int]] | None = None
        for i, j in itertools.combinations(sorted(found.chosen), 2):
            a, b = self._span(i, found), self._span(j, found)
            both = min(a[1], b[1]) - max(a[0], b[0])
            if both > NEAR and not fits([self.columns[i], self.columns[j]]) and (worst is None or both > worst[0]):
                worst = both, (i, j)
        return worst[1] if worst else None

    def _span(self, i: int, found: Dual) -> tuple[float, float]:
        start = found.start[self.columns[i].nodes[0]]
        return start, start + self.columns[i].cycles / self.relaxation.target

    def _alone(self, i: int, out: frozenset[int]) -> frozenset[int] | None:
        """The column alone, where others could still run its nodes."""
        nodes = set(self.columns[i].nodes)
        rest = any(j != i and j not in out and nodes & set(c.nodes) for j, c in enumerate(self.columns))
        return frozenset({i}) if rest else None
