"""The highest rate under an objective: a bracketed search over the same requests, closer together or further apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.serving.answers import Answers, Objectives, answers, times
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served

Serve = Callable[[Requests], Served]
TOLERANCE = 0.01  # between the rate that is given and one that is known to be too high
ALONE = 1e-5  # of the rate at which all are served: requests then come one by one
DOUBLINGS = 40
RUNS = 12  # that a search takes at the least, as is known before it


@dataclass(frozen=True)
class Point:
    """What users feel at a rate."""

    rate_per_s: float
    answers: Answers


@dataclass(frozen=True)
class Rate:
    """`rate_per_s` keeps the objectives for the part `attained` of the requests, `too_high_per_s` does not; `points`
    are all rates that were tried, as they came."""

    rate_per_s: float
    attained: float
    too_high_per_s: float
    runs: int
    points: tuple[Point, ...] = ()


def rate_of(requests: Requests) -> float:
    """Requests per second from the first arrival to the last; inf where all come at once."""
    span = float(np.ptp(requests.arrival_s)) if len(requests) else 0.0
    return (len(requests) - 1) / span if span else math.inf


def at_rate(requests: Requests, rate_per_s: float) -> Requests:
    """The same requests in the same order, their gaps stretched alike. Raises Diag `bad-workload` where they all come
    at once."""
    now = rate_of(requests)
    if now == math.inf or not rate_per_s > 0:
        raise Diag("bad-workload", "requests that all come at once, or at no rate, have no rate to change")
    return replace(requests, arrival_s=(requests.arrival_s - requests.arrival_s[0]) * (now / rate_per_s))


def curve(requests: Requests, serve: Serve, wanted: Objectives, rates: Iterable[float]) -> tuple[Point, ...]:
    """The answers at each of the rates, to the same requests closer together or further apart."""
    return tuple(Point(r, answers(some := at_rate(requests, r), serve(some), wanted)) for r in rates)


def find_rate(requests: Requests, serve: Serve, wanted: Objectives, part: float, tolerance: float = TOLERANCE) -> Rate:
    """The highest rate at which at least `part` of the requests keep to the objectives, within `tolerance` of it.

    The attainment is taken to fall with the rate. Raises Diag `bad-slo` where there is no objective, Infeasible
    `slo-unmet` where requests that come one by one do not keep to it, with the best that can be had.
    """
    if not 0 < part <= 1:
        raise Diag("bad-slo", f"the part of requests that keeps to the objectives is from 0 to 1, got {part:g}")
    if not (wanted.given or np.isfinite(requests.ttft_slo_s).any() or np.isfinite(requests.tbt_slo_s).any()):
        raise Diag("bad-slo", "without an objective any rate will do", hint="give --slo ttft=SECONDS,tbt=SECONDS")
    points: list[Point] = []

    def attained(rate: float) -> float:
        points.extend(curve(requests, serve, wanted, [rate]))
        return points[-1].answers.slo_attainment

    start = _busiest(requests, serve)
    low, high = start, math.inf
    while (at_low := attained(low)) < part:
        high, low = low, low / 4
        if high < start * ALONE:
            raise _unmet(at_rate(requests, high), serve, wanted, part, at_low)
    for _ in range(DOUBLINGS):
        if high < math.inf:
            break
        if (found := attained(2 * low)) < part:
            high = 2 * low
        else:
            low, at_low = 2 * low, found
    else:
        return Rate(low, at_low, math.inf, len(points), tuple(points))
    while high > low * (1 + tolerance):
        middle = math.sqrt(low * high)
        if (found := attained(middle)) < part:
            high = middle
        else:
            low, at_low = middle, found
    return Rate(low, at_low, high, len(points), tuple(points))


def _busiest(requests: Requests, serve: Serve) -> float:
    """Requests per second where all come at once."""
    served = serve(replace(requests, arrival_s=np.zeros(len(requests))))
    done = served.done_s[~served.rejected]
    return len(done) / float(done.max()) if len(done) else 1.0


def _unmet(requests: Requests, serve: Serve, wanted: Objectives, part: float, best: float) -> Infeasible:
    """What requests that come one by one do keep to."""
    served = serve(requests)
    seen, done = times(requests, served), ~served.rejected
    reached = []
    for name, limit in wanted.given.items():
        values = getattr(seen, name)[done]
        values = values[np.isfinite(values)]
        if len(values):
            at = float(np.quantile(values, part, method="inverted_cdf"))
            reached.append(f"{name} {at:.4g} s where {limit:g} s is asked for")
    rejected = f"; {int((~done).sum())} requests are rejected" if not done.all() else ""
    message = f"no rate keeps to the objectives: one by one, {best:.1%} of the requests do, {part:.1%} should"
    return Infeasible("slo-unmet", message, hint=f"attainable for {part:.1%}: {', '.join(reached)}{rejected}")
