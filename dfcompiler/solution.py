"""Schedules of one segment, and what can be said of them without a solver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx

from dfcompiler import paths
from dfcompiler.columns import Column


@dataclass(frozen=True)
class Task:
    """A chosen column with its start, in cycles from the start of the segment."""

    column: Column
    start: int

    @property
    def end(self) -> int:
        """Cycles from the start of the segment."""
        return self.start + self.column.cycles


@dataclass(frozen=True)
class Solution:
    """A schedule of one segment. No schedule takes less than `bound` cycles; it is `optimal` where none is better by
    the measure that it was sought by, which comes to `least` at least. Parts of the segment that do not depend on each
    other take the cycles of `alone`, each scheduled by itself."""

    tasks: tuple[Task, ...]
    cycles: int
    bound: int
    optimal: bool
    least: float = 0.0
    alone: tuple[int, ...] = ()

    @property
    def pj(self) -> float:
        """Energy of the columns."""
        return sum(t.column.pj for t in self.tasks)


def unpinned(columns: Iterable[Column]) -> list[Column]:
    """The columns that find nothing on the chip: any of them go together."""
    return [c for c in columns if not c.pins]


def longest_path(flow: nx.DiGraph[str], columns: Iterable[Column]) -> int:
    """Cycles of the longest chain of dependent nodes on their fastest columns: a bound that needs no solver."""
    return int(paths.longest(flow, paths.costs(flow, shortest(columns))))


def shortest(columns: Iterable[Column]) -> dict[tuple[str, ...], float]:
    """Cycles of the fastest column of every group."""
    return {g: min(c.cycles for c in cs) for g, cs in by_group(columns).items()}


def within(flow: nx.DiGraph[str], columns: Sequence[Column], limit: int) -> list[Column]:
    """The columns that a schedule of at most `limit` cycles can use: those whose longest chain fits into it."""
    rest = paths.beside(flow, paths.costs(flow, shortest(columns)), by_group(columns))
    return [c for c in columns if rest[c.nodes] + c.cycles <= limit]


def by_group(columns: Iterable[Column]) -> dict[tuple[str, ...], list[Column]]:
    """Columns by the nodes that they cover."""
    found: dict[tuple[str, ...], list[Column]] = {}
    for c in columns:
        found.setdefault(c.nodes, []).append(c)
    return found
