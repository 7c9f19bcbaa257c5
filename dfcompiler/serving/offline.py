"""How fast any schedule could be: a bound on the time to serve requests that are all there at the start.

The hybrid schedule of arXiv 2502.15763 packs requests onto seats offline, which is bin packing for the shortest
longest bin, and compares with its bound. Here the packing bounds the number of steps, and a plane below the table of
step latencies turns steps and tokens, whose sums no schedule can lower, into seconds. A table that tells steps of one
part by rows is asked for the least that each request takes, as `ceilings` are.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.ceilings import work
from dfcompiler.serving.cluster import Pool
from dfcompiler.serving.requests import Floats, Ints, Requests
from dfcompiler.serving.table import StepTable

MOST_ITEMS = 200  # requests that the exact packing takes; beyond that the sum of all lengths is as good
SCALE = 1e9  # GLOP's tolerances are absolute: the plane is sought in nanoseconds


@dataclass(frozen=True)
class Bound:
    """No engine with these seats serves the requests in fewer steps, or less time.

    `steps` is proven; `packed` is what a packing that was found needs, so that the bound is tight where they are equal.
    """

    steps: int
    packed: int
    makespan_s: float


def lower_bound(requests: Requests, pool: Pool, *, time_limit_s: float = 5.0) -> Bound:
    """The bound for one replica of a pool, whatever its rules; requests that it must reject are left out.

    Preempting makes nothing shorter: it only adds tokens to compute. Raises Diag `bad-bound` where prefixes are
    found in the cache, as tokens are then not computed.
    """
    if pool.settings.prefix_caching:
        raise Diag("bad-bound", "the bound holds only without a cache of prefixes")
    requests = requests.take(pool.holds(requests.prompt_tokens + requests.output_tokens - 1))
    if not len(requests):
        return Bound(0, 0, 0.0)
    # A request has a seat for each of its tokens' steps; its first token ends as many as its prompt needs.
    chunks = -(-requests.prompt_tokens // pool.budget)
    lengths = chunks + requests.output_tokens - 1
    packed = longest_first(lengths.tolist(), pool.settings.max_sequences)
    steps = packing_bound(lengths, pool.settings.max_sequences, packed, time_limit_s)
    tokens = int(requests.prompt_tokens.sum() + (requests.output_tokens - 1).sum())
    steps = max(steps, -(-tokens // pool.budget))
    return Bound(steps, max(packed, steps), least_s(pool, steps, requests))


def longest_first(lengths: Sequence[int], seats: int) -> int:
    """Steps of the longest seat when each request, longest first, goes to the seat that is free first."""
    loads = [0] * seats
    for length in sorted(lengths, reverse=True):
        heapq.heapreplace(loads, loads[0] + length)
    return max(loads)


def packing_bound(lengths: Ints, seats: int, packed: int, time_limit_s: float) -> int:
    """No packing of these lengths onto so many seats has a longest seat that is shorter; `packed` is one's."""
    total = int(lengths.sum())
    least = max(int(lengths.max()), -(-total // seats))
    if least == packed or len(lengths) > MOST_ITEMS or len(lengths) * seats > MOST_ITEMS * MOST_ITEMS:
        return least
    model = cp_model.CpModel()
    longest = model.new_int_var(least, packed, "longest")
    on = [[model.new_bool_var("") for _ in range(seats)] for _ in lengths]
    for i, row in enumerate(on):
        model.add_exactly_one(row[: i + 1])  # seats are alike: request i is on one of the first i + 1
        for never in row[i + 1 :]:
            model.add(never == 0)
    for seat in range(seats):
        model.add(sum(int(n) * row[seat] for n, row in zip(lengths, on, strict=True)) <= longest)
    model.minimize(longest)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = time_limit_s
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return least
    return max(least, int(np.ceil(solver.best_objective_bound - 1e-6)))


def least_s(pool: Pool, steps: int, requests: Requests) -> float:
    """Seconds of so many steps and all their tokens, at the least."""
    if pool.table.chunks is None:
        return plane_s(pool.table, steps, requests)
    each = work(pool, requests)
    blocks = -(-(requests.prompt_tokens + requests.output_tokens) // pool.settings.block_tokens)
    kept = pool.settings.rules.reserve == "all" or int(blocks.sum()) + pool.watermark <= pool.blocks
    # who is preempted computes anew, and has its next token from that step: only prompts are sure to be computed
    return max(float(each.prefill_s.sum()), float(each.decode_s.sum()) if kept else 0.0, steps * pool.table.host_s)


def plane_s(table: StepTable, steps: int, requests: Requests) -> float:
    """The least time of all steps together, by the best plane that is nowhere above the table.

    A plane `a + b * prefill + c * batch + d * context` below every step is, summed over all steps, `a` times their
    number and `b`, `c`, `d` times tokens that every schedule has. Where a request is computed anew, a decoded token
    becomes more prefilled ones: so `b` must be at least `c` and `d`. What is outside of the grid is not covered: the
    table must reach over all steps that the settings allow.
    """
    output = requests.output_tokens - 1
    prefilled, decoded = int(requests.prompt_tokens.sum()), int(output.sum())
    context = int((output * requests.prompt_tokens + output * (output - 1) // 2).sum())
    lowest = lowest_s(table)
    solver = pywraplp.Solver.CreateSolver("GLOP")
    a, b, c, d = (solver.NumVar(0, solver.infinity(), name) for name in "abcd")
    for i, q in enumerate(table.prefill.tolist()):
        for k, n in enumerate(table.batch.tolist()):
            for m, x in enumerate(table.context.tolist()):
                solver.Add(a + b * q + c * n + d * x <= SCALE * float(lowest[i, k, m]))
    solver.Add(b >= c)
    solver.Add(b >= d)
    solver.Maximize(a * steps + b * prefilled + c * decoded + d * context)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return 0.0
    return float(solver.Objective().Value()) / SCALE * (1 - 1e-9)


def lowest_s(table: StepTable) -> Floats:
    """Seconds that no step takes less than, whatever lies before its prompts; shape `[prefill, batch, context]`.

    Several prompts in a step count as one whose past may be negative, down to minus half of their tokens. Where the
    seconds per token of past do not fall as prompts grow, the least between two points of the grid is at one of them.
    """
    lowest = table.values.min(axis=1)
    if len(table.past) > 1:
        per_past = np.maximum(table.values[:, 1] - table.values[:, 0], 0) / table.past[1]
        rising = np.maximum.accumulate(per_past, axis=0)
        lowest = np.minimum(lowest, table.values[:, 0] - table.prefill[:, None, None] / 2 * rising)
    return np.asarray(np.maximum(lowest, 0.0) + table.host_s)
