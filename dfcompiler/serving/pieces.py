"""Pieces of a schedule at other sizes: what a group of ops takes on the unit that a schedule put it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf

from dfcompiler.collectives import exchanged
from dfcompiler.columns import Column
from dfcompiler.compose import Group, group, single
from dfcompiler.dtypes import DtypeMap
from dfcompiler.exchanges import price_exchange
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.launches import Plan, plan
from dfcompiler.likeness import content_key
from dfcompiler.problem import Problem, problem
from dfcompiler.serving.outlines import Outline, Sizes
from dfcompiler.serving.stretching import Form, Rule, of_group, of_node, rule, with_form
from dfcompiler.tiling import SHARES, search, unable


@dataclass(frozen=True)
class Piece:
    """These nodes on a unit, with at most this share of the way to memory."""

    outline: Outline
    nodes: tuple[str, ...]
    unit: str
    share: float

    @staticmethod
    def of(outline: Outline, column: Column) -> Piece:
        """The piece that a column of an outline's sample is."""
        return Piece(outline, column.nodes, column.unit, column.tiling.share)

    def inside(self, other: Outline) -> Piece | None:
        """The same nodes in a step of another make, those of both parts as one; None where it lacks them."""
        there = {rank: name for name, rank in other.ranks.items()}
        names = [there.get(self.outline.ranks[n]) for n in self.nodes]
        if None in names:
            return None
        mine = set(names)
        return Piece(other, tuple(n for n in other.offered.nodes if n in mine), self.unit, self.share)

    def alone(self) -> tuple[Piece, ...]:
        """Its nodes one by one, where it is a group on the only unit of a chip; else nothing."""
        if len(self.nodes) == 1 or len(self.outline.setting.chip.units) > 1:
            return ()
        return tuple(replace(self, nodes=(n,)) for n in self.nodes)

    @property
    def is_exchange(self) -> bool:
        """Whether it runs on links."""
        return exchanged(self.outline.offered.nodes[self.nodes[0]])

    def other(self, name: str) -> Sizes:
        """Sizes that differ from the sample's in one."""
        base = self.outline.sizes
        return base._replace(**{name: 2 * getattr(base, name) + 64})

    def moved(self) -> frozenset[str]:
        """The sizes without which it would be the same problem."""
        base = self.outline.sizes
        there = [n for n in base._fields if (base.prefill if n in ("prefill", "past") else base.batch)]
        start = _leaves(_form(self, base))
        return frozenset(n for n in there if _leaves(_form(self, self.other(n))) != start)


class Pricer:
    """Cycles of pieces at any sizes; equal problems are searched once, for all shares."""

    def __init__(self, chip: Chip, dtypes: DtypeMap) -> None:
        self.chip, self.dtypes = chip, dtypes
        self.known: dict[object, dict[float, float]] = {}
        self.asked: dict[tuple[Piece, Sizes], float] = {}
        self.rules: dict[Piece, Rule | None] = {}

    def cycles(self, piece: Piece, sizes: Sizes) -> float:
        """Cycles of the best tiling within the piece's share; inf where there is none."""
        if (piece, sizes) not in self.asked:
            self.asked[piece, sizes] = self._cycles(piece, sizes)
        return self.asked[piece, sizes]

    def formula(self, piece: Piece, sizes: Sizes) -> Plan | None:
        """The kernels that run a piece, in cycles; None where its price is searched for, and where there is none."""
        unit = self.chip.units.get(piece.unit)
        if unit is None or not isinstance(unit.template, KernelCompute):
            return None
        p = self._problem(piece, sizes)
        if p is None or unable(p, unit, None):
            return None
        found = plan(p, unit)
        return None if isinstance(found, str) else found

    def content(self, piece: Piece, sizes: Sizes) -> object:
        """What a price is searched for: equal ones have equal prices. Of an exchange, and of nothing, the cycles."""
        p = None if piece.is_exchange else self._problem(piece, sizes)
        return content_key(p) if p else self.cycles(piece, sizes)

    def _cycles(self, piece: Piece, sizes: Sizes) -> float:
        if piece.is_exchange:
            return self._exchange(piece, sizes)
        p = self._problem(piece, sizes)
        if p is None:
            return inf
        key = content_key(p), piece.unit
        if key not in self.known:
            unit = self.chip.units[piece.unit]
            found = search(p, unit, self.chip.units.get(unit.vector or ""), sorted({*SHARES, piece.share}))
            self.known[key] = {t.share: t.cycles for t in found.tilings}
        return min((c for share, c in self.known[key].items() if share <= piece.share), default=inf)

    def _problem(self, piece: Piece, sizes: Sizes) -> Problem | None:
        joined = None if piece.is_exchange else self._group(piece, sizes)
        return problem(joined, self.dtypes) if joined else None

    def _exchange(self, piece: Piece, sizes: Sizes) -> float:
        known, (name,) = self._rule(piece), piece.nodes
        graph = piece.outline.offered if known else piece.outline.at(sizes)
        node = graph.nodes[name]
        if known:
            graph, node = with_form(graph, node, known.at(sizes))
        return float(price_exchange(graph, node, self.chip).cycles)

    def _group(self, piece: Piece, sizes: Sizes) -> Group | None:
        known, sample = self._rule(piece), _group(piece, piece.outline.sizes)
        if known is None or sample is None:
            return _group(piece, sizes)
        form = known.at(sizes)
        return replace(sample, sizes=form.sizes, attrs=form.attrs, types=form.types)

    def _rule(self, piece: Piece) -> Rule | None:
        if piece not in self.rules:
            others = {n: piece.other(n) for n in piece.moved()}
            self.rules[piece] = rule(lambda sizes: _form(piece, sizes), piece.outline.sizes, others)
        return self.rules[piece]


def _leaves(form: Form | None) -> object:
    return form.leaves() if form else None


@lru_cache(maxsize=4096)
def _group(piece: Piece, sizes: Sizes) -> Group | None:
    graph = piece.outline.at(sizes)
    if len(piece.nodes) == 1:
        return single(graph, graph.nodes[piece.nodes[0]])
    joined = group(graph, piece.nodes)
    return joined if isinstance(joined, Group) else None


@lru_cache(maxsize=4096)
def _form(piece: Piece, sizes: Sizes) -> Form | None:
    """All numbers that a piece's price depends on and that sizes may change; None where it is another program there."""
    graph = piece.outline.at(sizes)
    if piece.is_exchange:
        return of_node(graph, graph.nodes[piece.nodes[0]])
    joined, sample = _group(piece, sizes), _group(piece, piece.outline.sizes)
    if joined is None or sample is None or joined.shape != sample.shape:
        return None
    return of_group(joined)
