"""Contiguous stages of a chain, such as layers over groups of devices: the longest stage as short as can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag

Costs = npt.NDArray[np.float64]


def chain(costs: Sequence[float], hand_over: Sequence[float] = ()) -> Costs:
    """`[a, b]`: the cost of a stage of items a to b - 1 that costs what its items do, and what a cut before item b adds
    to it, `hand_over[b]` (0 where not given)."""
    total = np.concatenate([[0.0], np.cumsum(costs)])
    cut = np.array([*(hand_over or [0.0] * len(costs)), 0.0])  # nothing is handed on after the last item
    return np.asarray(total[None, :] - total[:, None] + cut[None, :])


def balance(cost: Costs, stages: int) -> list[int]:
    """Where each stage but the first starts, such that the most expensive stage costs least.

    `cost[a, b]` is that of a stage of items a to b - 1, infinite where it cannot be. Exact, by dynamic programming in
    O(stages * n^2); ties cut early. Raises Diag `bad-stages` for fewer items than stages.
    """
    n = len(cost) - 1
    if not 1 <= stages <= n:
        raise Diag("bad-stages", f"{n} layers do not make {stages} stages", hint=f"at most {n} stages")
    cost = np.where(np.tri(n + 1, dtype=bool), np.inf, cost)  # a stage has an item at least
    best, starts = cost[0], list[npt.NDArray[np.int64]]()  # best[i]: of the first i items in as many stages as rounds
    for _ in range(1, stages):
        worst = np.maximum(best[:, None], cost)
        starts.append(worst.argmin(0))
        best = worst.min(0)
    found, end = list[int](), n
    for start in reversed(starts):
        end = int(start[end])
        found.append(end)
    return found[::-1]


def longest(cost: Costs, starts: Sequence[int]) -> float:
    """The cost of the most expensive stage of these starts."""
    ends = [*starts, len(cost) - 1]
    return max(float(cost[a, b]) for a, b in zip([0, *starts], ends, strict=True))
