"""The lazy engine: its state is set up here, and read once everything has happened."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcompiler.serving import compiled
from dfcompiler.serving import layout as at
from dfcompiler.serving.cluster import ROLES, Cluster, Pool
from dfcompiler.serving.gaps import ALL_BINS, Gaps
from dfcompiler.serving.layout import State
from dfcompiler.serving.policy import Load
from dfcompiler.serving.requests import Floats, Requests
from dfcompiler.serving.served import COLUMNS, Series, Served, Totals, series_of
from dfcompiler.serving.table import flattened
from dfcompiler.serving.timeline import keys_of

ROWS = 1 << 16  # rows of the time series that are collected at once
RESERVES = {"chunk": at.BY_CHUNK, "prompt": at.BY_PROMPT, "all": at.ALL}


def play(requests: Requests, cluster: Cluster, *, series: bool, fast: bool) -> Served:
    """Serve the requests, by compiled functions or by those that are as they stand."""
    engine = compiled.functions(fast)
    state = initial(requests, cluster, series)
    if not fast:
        state = State(*(getattr(state, f.name).tolist() for f in fields(state)))
    handle = compiled.handle(state, fast)
    rows: list[Floats] = []
    low = 0
    while (reason := engine.drive(handle)) != at.ALL_DONE:
        if reason == at.FULL:
            rows.append(np.array(state.rows))
            state.now[at.ROWS] = 0
        elif reason == at.ROUTE:
            ask_router(engine, state, handle, requests, cluster)
        elif reason == at.NEW_KEYS:
            low = new_keys(engine, state, handle, requests, cluster, low)
        else:
            raise AssertionError("a replica with requests must always have something to do")
    rows.append(np.array(state.rows[: state.now[at.ROWS] * len(COLUMNS)]))
    return result(state, series_of(rows) if series else None)


def initial(requests: Requests, cluster: Cluster, series: bool) -> State:
    """The state before anything has happened, all in arrays."""
    n = len(requests)
    pools = [(i, p) for i, p in enumerate(cluster.pools) for _ in range(p.replicas)]
    count = len(pools)
    block = max(p.settings.block_tokens for p in cluster.pools)
    seats = max(p.settings.max_sequences for p in cluster.pools)
    caching = any(p.settings.prefix_caching for p in cluster.pools)
    prefixes = int(requests.prefix_id.max()) + 1 if caching and n else 0
    grid, shape, values = flattened(tuple(p.table for p in cluster.pools))
    made: Any = State  # of arrays, which are sequences to all but type checkers
    state: State = made(
        arrival=np.ascontiguousarray(requests.arrival_s),
        prompt=requests.prompt_tokens.astype(np.int32),
        output=requests.output_tokens.astype(np.int32),
        shared=requests.shared_tokens.astype(np.int32) if caching else small(1),
        prefix=requests.prefix_id.astype(np.int32) if caching else small(1),
        key=keys_of(cluster.policy, requests, requests.arrival_s, np.broadcast_to(np.int64(0), n)),
        first=np.full(n, math.nan),
        last=np.full(n, math.nan),
        worst=np.zeros(n),
        due=np.zeros(n if cluster.link else 1),
        generated=small(n),
        finish=small(n),
        joined=small(n),
        place=small(n),
        child=small(n),
        sibling=small(n),
        link=small(n),
        lent=small(n if caching else 1),
        replica=small(n, at.NONE),
        preemptions=small(n),
        status=np.zeros(n, dtype=np.int8),
        marks=np.zeros(n, dtype=np.int8),
        ints=_ints([p for _, p in pools]),
        floats=np.zeros(count * at.FLOATS),
        residue=large(count * block),
        seats=small(count * seats),
        group_from=large(count * (2 * seats + 2)),
        group_worst=np.zeros(count * (2 * seats + 2)),
        group_kept=small(count * (2 * seats + 2)),
        cached=small(count * prefixes),
        used=small(count * prefixes),
        users=small(count * prefixes),
        older=small(count * prefixes, at.OUT),
        newer=small(count * prefixes),
        sizes=np.array([x for i, p in pools for x in _sizes(i, p)], dtype=np.int64),
        rates=np.array([x for _, p in pools for x in (p.table.host_s, _price(cluster, p))]),
        fits=cluster.fitting(requests).astype(np.int8).reshape(-1),
        weights=_weights(cluster),
        grid=grid,
        shape=shape,
        values=values,
        now=_now(cluster, count, block, seats, prefixes, n, series),
        times=np.array([math.inf, cluster.policy.period_s]),
        gaps=large(ALL_BINS),
        rows=np.zeros(ROWS * len(COLUMNS) if series else 0),
    )
    return state


def small(length: int, value: int = 0) -> NDArray[np.int32]:
    """An array of 32-bit integers."""
    return np.full(length, value, dtype=np.int32)


def large(length: int, value: int = 0) -> NDArray[np.int64]:
    """An array of 64-bit integers."""
    return np.full(length, value, dtype=np.int64)


def _ints(pools: list[Pool]) -> NDArray[np.int64]:
    ints = np.zeros((len(pools), at.INTS), dtype=np.int64)
    ints[:, at.FREE] = [p.blocks for p in pools]
    for name in (at.PARTIAL, at.ROOT, at.FRESH, at.ENDING, at.OLDEST, at.NEWEST):
        ints[:, name] = at.NONE
    return ints.reshape(-1)


def _sizes(number: int, pool: Pool) -> list[int]:
    settings, rules = pool.settings, pool.settings.rules
    first = [pool.budget, settings.max_sequences, settings.block_tokens, pool.blocks, rules.mixed, rules.chunked]
    return [*first, RESERVES[rules.reserve], pool.watermark, settings.prefix_caching, ROLES[pool.role], number, number]


def _price(cluster: Cluster, pool: Pool) -> float:
    price = cluster.policy.insertion_price()
    return pool.settings.rules.price if price is None else price


def _weights(cluster: Cluster) -> Floats:
    weights = np.zeros(at.WEIGHTS)
    weights[:5] = cluster.router.weights.numbers()
    if cluster.link is not None:
        link = cluster.link
        token_s = link.bytes_per_token / link.bytes_per_s
        weights[at.TOKEN_S : at.SHARED_WIRE + 1] = token_s, link.latency_s, link.layers, link.shared
    if cluster.spill is not None:
        weights[at.SPILL_TOKENS], weights[at.SPILL_CACHE] = cluster.spill.tokens, cluster.spill.cache
    return weights


def _now(
    cluster: Cluster, count: int, block: int, seats: int, prefixes: int, requests: int, series: bool
) -> NDArray[np.int64]:
    now = np.zeros(at.NOWS, dtype=np.int64)
    now[at.REPLICAS], now[at.MOST_BLOCK], now[at.MOST_SEATS], now[at.PREFIXES] = count, block, seats, prefixes
    now[at.REQUESTS], now[at.MOST_ROWS], now[at.MOVING_ROOT] = requests, ROWS if series else 0, at.NONE
    now[at.LINEAR], now[at.LINKED] = cluster.router.linear, cluster.link is not None
    now[at.SPILLS] = cluster.spill is not None
    return now


def ask_router(engine: Any, s: State, handle: Any, requests: Requests, cluster: Cluster) -> None:
    """Let a router that is more than weights place the request that is pending."""
    r = s.now[at.PENDING]
    if not any(engine.able(handle, i, r, s.now[at.WAY]) for i in range(s.now[at.REPLICAS])):
        s.status[r] = at.REJECTED
        return
    chosen = choose(engine, s, handle, requests, cluster, s.now[at.WAY])
    if engine.spills(handle, r, chosen):
        chosen = engine.spilled(handle, chosen, choose(engine, s, handle, requests, cluster, at.CACHES))
    engine.land(handle, r, chosen)


def choose(engine: Any, s: State, handle: Any, requests: Requests, cluster: Cluster, way: int) -> int:
    """Which replica the router chooses for the pending request."""
    r = s.now[at.PENDING]
    able = [i for i in range(s.now[at.REPLICAS]) if engine.able(handle, i, r, way)]
    loads = [
        Load(
            i,
            int(s.ints[i * at.INTS + at.ASSIGNED]),
            int(engine.outstanding(handle, i)),
            int(engine.tokens(handle, i)),
            float(engine.load(handle, i)),
            int(engine.found(handle, i, r) * s.sizes[i * at.SIZES + at.BLOCK]),
        )
        for i in able
    ]
    return able[cluster.router.choose(requests, int(r), loads)]


def new_keys(engine: Any, s: State, handle: Any, requests: Requests, cluster: Cluster, low: int) -> int:
    """Give the requests that are not done new keys; those before the returned one are done."""
    high, now = int(s.now[at.NEXT]), s.times[at.REFRESH]
    while low < high and s.status[low] >= at.DONE:
        low += 1
    which = np.flatnonzero(np.asarray(s.status[low:high]) < at.DONE) + low
    s.times[at.REFRESH] = now + cluster.policy.period_s if len(which) else math.inf
    generated = np.array([engine.tokens_generated(handle, r) for r in which.tolist()], dtype=np.int64)
    keys = keys_of(cluster.policy, requests.take(which), np.full(len(which), now), generated)
    for r, key in zip(which.tolist(), keys.tolist(), strict=True):
        s.key[r] = key
    engine.queue_again(handle, low, high)
    return low


def result(s: State, series: Series | None) -> Served:
    """What has happened."""
    ints = np.asarray(s.ints).reshape(-1, at.INTS)
    rejected = np.asarray(s.status) == at.REJECTED
    worst = np.asarray(s.worst)
    worst[rejected] = math.nan
    totals = Totals(
        ints[:, at.STEPS],
        np.asarray(s.floats).reshape(-1, at.FLOATS)[:, at.BUSY],
        ints[:, at.PREFILLED],
        ints[:, at.DECODED],
        ints[:, at.FOUND],
    )
    return Served(
        np.asarray(s.first),
        np.asarray(s.last),
        worst,
        np.asarray(s.preemptions, dtype=np.int32),
        rejected,
        np.asarray(s.replica, dtype=np.int32),
        Gaps(np.asarray(s.gaps)),
        totals,
        series,
    )
