"""Ceilings: rates that no schedule of steps can reach, by the work that a table says there is.

A step takes no less than the line `tokens * (floor + slope * context)` that lies below all knots of its row, and a step
of both parts no less than either by itself. So the requests that keep their objectives need so many seconds of steps at
the least, and there are only the seconds from the first arrival until the last of them must be done.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.serving.answers import Objectives
from dfcompiler.serving.cluster import Pool
from dfcompiler.serving.requests import Floats, Requests
from dfcompiler.serving.table import Rows

DEADLINES = 33  # of which each is a bound as well
SLOPES = 40  # lines that are tried; every one is a bound, the best is taken


@dataclass(frozen=True)
class Work:
    """Seconds of a replica that each request takes at the least: of steps with its prompt, of steps that decode it."""

    prefill_s: Floats
    decode_s: Floats


def work(pool: Pool, requests: Requests) -> Work:
    """What requests take on replicas of a pool, 0 where a table has no rows to tell it."""
    table, n = pool.table, len(requests)
    if table.chunks is None or table.decodes is None:
        return Work(np.zeros(n), np.zeros(n))
    prompt, output = (x.astype(np.float64) for x in (requests.prompt_tokens, requests.output_tokens))
    longest = float((prompt + output).max(initial=1.0))
    shared = requests.shared_tokens if pool.settings.prefix_caching else np.zeros(n)
    fresh = np.maximum(prompt - shared, 1.0)
    # pairs of a token and those that it sees are counted by the middle of a chunk, whatever requests it is of
    chunk = _line(table.chunks, table.stages, table.host_s, longest, 0.5 if pool.settings.rules.budgeted else math.inf)
    decode = _line(table.decodes, table.stages, table.host_s, longest, 0.0)
    later = output - 1
    seen = later * prompt + later * (later - 1) / 2
    pairs = fresh * (prompt - fresh / 2)
    return Work(_least(chunk, fresh, pairs), _least(decode, later, seen))


def _line(rows: Rows, stages: int, host_s: float, longest: float, middle: float) -> list[tuple[float, float]]:
    """Pairs of a floor and a slope: seconds per token at no context, and more per token of it, below all knots."""
    none = int(rows.starts[1])  # knots of the row of nothing
    number = np.repeat(np.arange(1.0, len(rows.starts) - 1), np.diff(rows.starts)[1:])
    knots, values = rows.knots[none:].astype(np.float64), rows.values[none:]
    # a round has up to `stages` times as many, and takes so many times as long; the host is in it once
    each = (values + host_s / stages) / number
    if math.isinf(middle):  # a step of any number of prompts, which the rows do not reach
        return [(0.0, 0.0)]
    firsts, lasts = rows.starts[1:-1] - none, rows.starts[2:] - 1 - none
    n = np.arange(1.0, len(rows.starts) - 1)
    ends = [_reach(each, knots, firsts, np.minimum(firsts + 1, lasts), -middle * n)]
    ends.append(_reach(each, knots, np.maximum(lasts - 1, firsts), lasts, np.full(len(n), longest)))
    x = np.concatenate([knots + middle * number, np.zeros(len(n)), ends[1][0] + middle * n])
    y = np.concatenate([each, ends[0][1], ends[1][1]])
    steepest = float(np.max(y)) / max(1.0, longest)
    return [(float(np.min(y - s * x)), s) for s in (0.0, *np.geomspace(steepest * 1e-6, steepest, SLOPES).tolist())]


def _reach(
    each: Floats, knots: Floats, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64], x: Floats
) -> tuple[Floats, Floats]:
    """Rows as they go on, straight from knots `a` to `b`, at `x`."""
    run = np.where(b > a, knots[b] - knots[a], 1.0)
    return x, each[a] + np.where(b > a, (each[b] - each[a]) / run * (x - knots[a]), 0.0)


def _least(lines: list[tuple[float, float]], tokens: Floats, context: Floats) -> Floats:
    """What each request takes by the line that says most of all of them."""
    floor, slope = max(lines, key=lambda x: x[0] * tokens.sum() + x[1] * context.sum())
    return np.maximum(floor * tokens + slope * context, 0.0)


def ceiling(requests: Requests, pools: tuple[Pool, ...], wanted: Objectives, part: float) -> float:
    """Requests per second above which the part that is asked for cannot keep its objectives; inf where nothing says."""
    if len(requests) < 2:
        return math.inf
    late, later = len(requests) - math.ceil(part * len(requests)), requests.output_tokens - 1
    first = np.minimum(wanted.ttft, requests.ttft_slo_s)
    gap = np.minimum(min(wanted.tbt, wanted.tpot), requests.tbt_slo_s)
    end = np.minimum(wanted.e2e, first + np.multiply(later, gap, where=later > 0, out=np.zeros(len(requests))))
    found = math.inf
    for role, due in (("prefill", np.minimum(first, end)), ("decode", end)):
        mine = [p for p in pools if p.role in (role, "both")]
        each = np.min([getattr(work(p, requests), f"{role}_s") for p in mine], axis=0)
        needed_s = _after_the_last(each / sum(p.replicas for p in mine), due, late)
        found = min(found, (len(requests) - 1) / needed_s if needed_s > 0 else math.inf)
    return found


def _after_the_last(each: Floats, due: Floats, late: int) -> float:
    """Seconds from the first arrival to the last that work needs: whatever is due so long after an arrival is done so
    long after the last one, but for as many requests as may be late."""
    most = 0.0
    for x in np.unique(np.quantile(due, np.linspace(0, 1, DEADLINES), method="inverted_cdf")):
        mine = np.sort(each[due <= x])
        most = max(most, float(mine[: max(0, len(mine) - late)].sum()) - float(x)) if math.isfinite(x) else most
    return most
