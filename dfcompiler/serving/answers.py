"""Answers: what became of requests, in the numbers by which serving is judged.

TTFT is from arrival to the first token. TBT is every single gap between two tokens of a request. TPOT is the mean gap
of a request, (finish - first token) / (tokens - 1), of those with two tokens or more. Throughput counts from the first
arrival to the last token. Goodput counts the requests that met their objectives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag, Source, unknown
from dfcompiler.serving.requests import Floats, Requests
from dfcompiler.serving.served import Served

Flags = npt.NDArray[np.bool_]
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Objectives:
    """Seconds that a request must keep to: to its first token, in each gap, in the mean gap, to its end."""

    ttft: float = math.inf
    tbt: float = math.inf
    tpot: float = math.inf
    e2e: float = math.inf

    @property
    def given(self) -> Mapping[str, float]:
        """Those that limit something."""
        return {f.name: x for f in fields(self) if (x := getattr(self, f.name)) < math.inf}


def objectives(text: str) -> Objectives:
    """`ttft=2,tbt=0.1` in seconds. Raises Diag `bad-slo`."""
    names = [f.name for f in fields(Objectives)]
    found: dict[str, float] = {}
    for item in text.split(","):
        name, sign, value = item.partition("=")
        if name not in names:
            raise unknown("objective", name, names)
        if name in found:
            raise Diag("bad-slo", f"`{name}` is given twice")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not sign or not found[name] > 0:
            source = Source("--slo", text)
            raise Diag("bad-slo", f"`{item}` in `{source.text}` is no time", hint="write ttft=SECONDS,tbt=SECONDS")
    return Objectives(**found)


@dataclass(frozen=True)
class Spread:
    """Mean and quantiles in seconds; nan where there is nothing to count. A quantile is the smallest value that so many
    do not exceed."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float

    @staticmethod
    def of(values: Floats) -> Spread:
        """Of values, one each."""
        if not len(values):
            return Spread(*[math.nan] * 5)
        quantiles = np.quantile(values, list(QUANTILES.values()), method="inverted_cdf")
        return Spread(float(values.mean()), *map(float, quantiles))


@dataclass(frozen=True)
class Answers:
    """What users felt. `slo_attainment` is over all requests, those rejected with them."""

    requests: int
    completed: int
    rejected: int
    ttft_s: Spread
    tbt_s: Spread
    tpot_s: Spread
    e2e_s: Spread
    duration_s: float
    throughput_tok_s: float
    throughput_req_s: float
    goodput_req_s: float
    slo_attainment: float
    preemptions: int
    steps: int


@dataclass(frozen=True)
class Times:
    """Of every request, nan where it was rejected; `tpot` is nan where there is one token."""

    ttft: Floats
    tbt: Floats  # the longest gap
    tpot: Floats
    e2e: Floats


def times(requests: Requests, served: Served) -> Times:
    """What each request saw."""
    gaps = requests.output_tokens - 1
    tpot = np.full(len(requests), math.nan)
    np.divide(served.done_s - served.first_token_s, gaps, out=tpot, where=gaps > 0)
    return Times(served.first_token_s - requests.arrival_s, served.max_gap_s, tpot, served.done_s - requests.arrival_s)


def met(requests: Requests, served: Served, wanted: Objectives) -> Flags:
    """Which requests kept to all objectives, those that they bring along with them; a rejected one never does."""
    seen = times(requests, served)
    good = ~served.rejected & (seen.ttft <= requests.ttft_slo_s) & (seen.tbt <= requests.tbt_slo_s)
    for name, limit in wanted.given.items():
        values = getattr(seen, name)
        good &= (values <= limit) | ((name == "tpot") & (requests.output_tokens == 1))
    return np.asarray(good)


def answers(requests: Requests, served: Served, wanted: Objectives = Objectives()) -> Answers:
    """All numbers of a run."""
    done = ~served.rejected
    seen = times(requests, served)
    count, completed = len(requests), int(done.sum())
    start = float(requests.arrival_s[0]) if count else 0.0
    end = float(served.done_s[done].max()) if completed else start
    good = int(met(requests, served, wanted).sum())
    each = (lambda n: n / (end - start)) if end > start else (lambda _: 0.0)
    return Answers(
        requests=count,
        completed=completed,
        rejected=count - completed,
        ttft_s=Spread.of(seen.ttft[done]),
        tbt_s=gaps_of(served, done),
        tpot_s=Spread.of(seen.tpot[done & (requests.output_tokens > 1)]),
        e2e_s=Spread.of(seen.e2e[done]),
        duration_s=end - start,
        throughput_tok_s=each(int(requests.output_tokens[done].sum())),
        throughput_req_s=each(completed),
        goodput_req_s=each(good),
        slo_attainment=good / count if count else math.nan,
        preemptions=int(served.preemptions.sum()),
        steps=served.steps,
    )


def gaps_of(served: Served, done: Flags) -> Spread:
    """Of all gaps between tokens: the mean is exact, quantiles are those of their fine bins."""
    total = served.gaps.total
    mean = float(served.sum_gap_s[done].sum()) / total if total else math.nan
    return Spread(mean, *(served.gaps.quantile(q) for q in QUANTILES.values()))
