"""Contiguous stages of a chain, such as layers over groups of devices: the longest stage as short as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from dfcompiler.diagnostics import Diag


@dataclass(frozen=True)
class Stage:
    """A run of layers on devices of its own: pairs of a segment's number and how many of its layers are in it. After
    `cycles` it sends `send_bytes` to the next stage, which takes `send_cycles`."""

    layers: tuple[tuple[int, int], ...]
    cycles: int
    send_cycles: int
    send_bytes: float


def balance(costs: Sequence[float], stages: int, hand_over: Sequence[float] = ()) -> list[int]:
    """Where each stage but the first starts, such that the most expensive stage costs least.

    `hand_over[i]` is what a cut before item i adds to the stage that ends there (0 where not given). Exact, by
    dynamic programming in O(stages * n^2). Raises Diag `bad-stages` for fewer items than stages.
    """
    n = len(costs)
    if not 1 <= stages <= n:
        raise Diag("bad-stages", f"{n} layers do not make {stages} stages", hint=f"at most {n} stages")
    total = [0.0, *accumulate(costs)]
    cut = [*(hand_over or [0.0] * n), 0.0]  # nothing is handed on after the last item
    # best[i]: the least longest stage of the first i items in as many stages as rounds so far; ties cut early.
    best = [float("inf"), *(total[i] + cut[i] for i in range(1, n + 1))]
    starts: list[list[int]] = []
    for _ in range(1, stages):
        longest, start = [float("inf")] * (n + 1), [0] * (n + 1)
        for end in range(1, n + 1):
            for k in range(1, end):
                worst = max(best[k], total[end] - total[k] + cut[end])
                if worst < longest[end]:
                    longest[end], start[end] = worst, k
        best = longest
        starts.append(start)
    found, end = [], n
    for start in reversed(starts):
        end = start[end]
        found.append(end)
    return found[::-1]
