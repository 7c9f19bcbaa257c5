"""Exact minimum of a sum of small tables: variables leave one by one, those that tie up the fewest others first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from dfcompiler.scalars import Floats


@dataclass(frozen=True)
class Table:
    """Cost of every combination of values of some variables; infinite where a combination is not possible."""

    variables: tuple[str, ...]
    costs: Floats


def minimum(sizes: Mapping[str, int], tables: Sequence[Table]) -> tuple[float, dict[str, int]]:
    """The least total cost and a choice that has it: of several, one that depends on nothing but the input.

    `sizes` gives the number of values of each variable. The work grows with the product of the sizes of variables
    that are tied together at once (the treewidth of the problem).
    """
    tied: dict[str, dict[int, Table]] = {name: {} for name in sizes}  # the tables that each variable is in
    solved: list[tuple[str, Table]] = []
    total = 0.0
    for number, x in enumerate(tables):
        for name in x.variables:
            tied[name][number] = x
    weights = {name: _weight(x.values(), sizes) for name, x in tied.items()}
    while weights:
        name = min(weights, key=lambda v: (weights[v], v))
        mine = tied[name]
        scope = (*sorted({v for x in mine.values() for v in x.variables} - {name}), name)
        joined = np.zeros([sizes[v] for v in scope])
        for x in mine.values():
            joined = joined + _spread(x, scope)
        solved.append((name, Table(scope, joined)))
        rest = Table(scope[:-1], joined.min(axis=-1))
        del weights[name]
        for v in rest.variables:
            tied[v] = {k: x for k, x in tied[v].items() if k not in mine} | {len(tables) + len(solved): rest}
            weights[v] = _weight(tied[v].values(), sizes)
        total += 0.0 if rest.variables else float(rest.costs)
    total += sum(float(x.costs) for x in tables if not x.variables)
    chosen: dict[str, int] = {}
    for name, x in reversed(solved):
        chosen[name] = int(x.costs[tuple(chosen[v] for v in x.variables[:-1])].argmin())
    return total, chosen


def _weight(tables: Iterable[Table], sizes: Mapping[str, int]) -> int:
    """Entries of the table that eliminating a variable makes."""
    return prod(sizes[v] for v in {v for x in tables for v in x.variables})


def _spread(x: Table, scope: tuple[str, ...]) -> Floats:
    """The table with an axis for every variable of the scope."""
    order = sorted(range(len(x.variables)), key=lambda k: scope.index(x.variables[k]))
    costs = x.costs.transpose(order)
    extents = iter(costs.shape)
    return costs.reshape([next(extents) if v in x.variables else 1 for v in scope])
