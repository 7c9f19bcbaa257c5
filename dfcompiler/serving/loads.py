"""What is asked of a system: requests of a trace or at a rate, with a line that says which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.rates import at_rate, rate_of
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.traces import read_trace
from dfcompiler.serving.workloads import Sharing, lengths, synthetic

REQUESTS, SPREAD = 2000, 2.0
LENGTHS = "azure-conversation"


@dataclass(frozen=True)
class Load:
    """Requests, and what they are in words."""

    requests: Requests
    title: str


def of(requests: Requests) -> Load:
    """Requests that are made in Python."""
    return Load(requests, f"{len(requests):,} requests, {rate_of(requests):.3g}/s")


def drawn(
    rate_per_s: float = 1.0,
    *,
    arrivals: str = "poisson",
    lengths_of: str = LENGTHS,
    count: int = REQUESTS,
    spread: float | None = None,
    prefixes: Sharing | None = None,
    seed: int = 0,
) -> Load:
    """`count` requests at a rate that come evenly at random (`poisson`), less evenly (`gamma`) or in bursts (`bursty`),
    with lengths as `workloads.lengths` reads them.

    Raises Diag `bad-workload`, `unknown-workload`, `unknown-arrivals`.
    """
    if count < 1:
        raise Diag("bad-workload", f"--requests must be at least 1, got {count}")
    if spread is not None and arrivals == "poisson":
        raise Diag("bad-workload", "--spread is for --gamma and --bursty")
    varied = 1.0 if arrivals == "poisson" else SPREAD if spread is None else spread
    made = synthetic(Arrivals(arrivals, rate_per_s, varied), lengths(lengths_of), count, seed)
    made, shared = _sharing(made, prefixes, seed)
    return Load(made, f"{len(made):,} requests, {arrivals} {rate_per_s:g}/s, {lengths_of}{shared}")


def _sharing(requests: Requests, prefixes: Sharing | None, seed: int) -> tuple[Requests, str]:
    return (requests, "") if prefixes is None else (prefixes.of(requests, seed), f", {prefixes}")


def recorded(
    path: Path,
    *,
    sort: bool = False,
    count: int | None = None,
    rate_per_s: float | None = None,
    prefixes: Sharing | None = None,
    seed: int = 0,
) -> Load:
    """The requests of a trace, the first `count` of them, stretched to a rate; with `prefixes` their prompts share
    these. Raises Diag `bad-trace`, and `bad-workload` where there is no request or no rate."""
    if count is not None and count < 1:
        raise Diag("bad-workload", f"--requests must be at least 1, got {count}")
    trace = read_trace(path, sort=sort)
    if not trace.timed:
        hint = f"draw from it: --poisson RATE --lengths {path}"
        raise Diag("bad-trace", f"`{path}` has lengths only: it does not say when requests come", hint=hint)
    found = trace.requests if count is None else trace.requests.take(np.arange(min(count, len(trace.requests))))
    found = found if rate_per_s is None else at_rate(found, rate_per_s)
    found, shared = _sharing(found, prefixes, seed)
    return Load(found, f"{len(found):,} requests of {path}, {rate_of(found):.3g}/s{shared}")
