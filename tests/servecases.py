"""Random requests, tables and clusters, small enough for the engine that goes step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from dfcompiler.serving.cluster import Cluster, Link, Pool, Spill
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import SEMANTICS, Settings
from dfcompiler.serving.table import Rows, StepTable

ROUTERS = ("round-robin", "least-outstanding", "shortest-queue", "freest-cache", "prefix-aware")
POLICIES = ("fcfs", "priority", "edf", "longest-first", "rising-value")


def table(seed: int = 0, capacity: int = 4096, *, host_s: float = 1e-4, coarse: bool = False) -> StepTable:
    """Latencies of a device that reads its weights in 10 ms, bent so that cells differ."""
    grids: list[Any] = [[0, 32, 512, 4096], [0, 256, 4096], [0, 1, 4, 16, 64], [0, 64, 640, 8192]]
    if coarse:
        grids = [[0, 4096], [0], [0, 64], [0, 1 << 16]]
    q, p, b, c = np.meshgrid(*(np.array(g, dtype=float) for g in grids), indexing="ij")
    bend = np.random.default_rng(seed).uniform(1, 1.3, q.shape) if seed else 1.0
    values = (0.01 + 1e-4 * q + 1e-7 * q * (p + q / 2) + 1e-4 * b + 1e-6 * c) * bend
    made = StepTable(*map(np.array, grids), values, host_s=host_s, tokens_capacity=capacity)
    return by_rows(made, seed) if seed % 2 else made


def by_rows(table: StepTable, seed: int) -> StepTable:
    """The same with jagged rows for steps of one part, and for steps of both as well where the seed is large."""
    rng = np.random.default_rng(seed)
    beside = seed > 2

    def rows(most: int, furthest: int, seconds: Any) -> Rows:
        knots = [np.unique(rng.integers(0, furthest, 6)) for _ in range(most + 1)]
        values = [seconds(n, k) * rng.uniform(1, 1.2, len(k)) for n, k in enumerate(knots)]
        lengths = np.cumsum([0, *map(len, knots)])
        return Rows(
            lengths, np.concatenate(knots), np.concatenate(values), np.full(most + 1, 0.004) if beside else None
        )

    chunks = rows(48, 90, lambda n, k: 0.01 + 1e-4 * n + 1e-7 * n * k)
    decodes = rows(6, 180, lambda n, k: 0.01 + 1e-4 * n + 1e-6 * n * k)
    tokens = 1e-5 * np.arange(40.0)
    values = np.full((1, 1, 1, 1), 0.001) if beside else table.values
    axes = [np.zeros(1, dtype=np.int64)] * 4 if beside else [table.prefill, table.past, table.batch, table.context]
    return StepTable(*axes, values, table.host_s, table.tokens_capacity, tokens, chunks, decodes)


@st.composite
def requests(draw: st.DrawFn, *, most: int = 16, longest: int = 90) -> Requests:
    """Bursts, equal arrivals, arrivals at 0, outputs of one token; no request at all."""
    n = draw(st.integers(0, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrival = rng.choice([0.0, 0.01, 0.05, 0.5], n) * rng.integers(0, draw(st.sampled_from([1, 3, 40])) + 1, n)
    if draw(st.booleans()):
        arrival = arrival + rng.exponential(0.05, n)
    prompt = rng.integers(1, draw(st.sampled_from([2, 40, longest])) + 1, n)
    output = np.where(rng.random(n) < draw(st.sampled_from([0, 0.3, 1])), 1, rng.integers(1, longest + 1, n))
    prefix = np.minimum(rng.integers(-1, 3, n), max(n - 1, -1))
    return Requests.of(
        arrival,
        prompt,
        output,
        priority=rng.integers(0, 3, n),
        ttft_slo_s=rng.choice([0.05, 0.5, np.inf], n),
        shared_tokens=np.where(prefix < 0, 0, (prompt * rng.random(n)).astype(int)),
        prefix_id=prefix,
    )


@st.composite
def settings(draw: st.DrawFn, semantics: tuple[str, ...] = tuple(SEMANTICS)) -> Settings:
    name = draw(st.sampled_from(semantics))
    seats = draw(st.sampled_from([1, 2, 5, 16]))
    return Settings(
        semantics=name,
        max_batched_tokens=draw(st.sampled_from([16, 48, 256, 2048])),
        max_sequences=seats,
        block_tokens=draw(st.sampled_from([1, 4, 16])),
        prefix_caching=draw(st.booleans()),
    )


@st.composite
def pool(draw: st.DrawFn, role: Any = "both") -> Pool:
    capacity = draw(st.sampled_from([48, 160, 260, 512, 4096]))
    step = table(draw(st.integers(0, 3)), capacity, coarse=draw(st.booleans()))
    return Pool(step, draw(settings()), draw(st.integers(1, 3)), role)


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """One replica, several, pools that differ, prefill and decode apart, mixed."""
    shape = draw(st.sampled_from(["one", "pool", "pools", "apart", "spill"]))
    order = policy(draw(st.sampled_from(POLICIES)))
    choice = router(draw(st.sampled_from(ROUTERS)))
    if shape == "one":
        one = draw(pool())
        return Cluster((Pool(one.table, one.settings),), order, choice)
    if shape in ("pool", "pools"):
        return Cluster(tuple(draw(pool()) for _ in range(1 + (shape == "pools"))), order, choice)
    rate = draw(st.sampled_from([1e5, 1e7]))
    link = Link(rate, 100.0, draw(st.sampled_from([0.0, 1e-3])), draw(st.sampled_from([1, 4])), draw(st.booleans()))
    spill = Spill(draw(st.sampled_from([0, 50])), draw(st.sampled_from([0.0, 0.5]))) if shape == "spill" else None
    return Cluster((draw(pool("prefill")), draw(pool("decode"))), order, choice, link, spill)
