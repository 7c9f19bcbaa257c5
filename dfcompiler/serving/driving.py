"""What happens next in a cluster of lazy replicas: the order is that of `timeline`."""

from __future__ import annotations

from dfcompiler.serving.admission import wait
from dfcompiler.serving.layout import (
    ALL_DONE,
    ARRIVALS,
    ASSIGNED,
    BATCH,
    BLOCK,
    CACHES,
    CLOCK,
    CONTEXT,
    DSTEP,
    FLOATS,
    FULL,
    HANDS,
    HANDS_ON,
    INTS,
    LANDED,
    LINEAR,
    LINKED,
    MOST_ROWS,
    MOVING_ROOT,
    NEW_KEYS,
    NEXT,
    NONE,
    PARTIAL,
    PENDING,
    PERIOD,
    POOL,
    REFRESH,
    REJECTED,
    REPLICAS,
    REQUESTS,
    ROLE,
    ROOT,
    ROUTE,
    ROWS,
    RUNNING,
    SIZES,
    SPILL_TOKENS,
    SPILLS,
    STUCK,
    TICK,
    WAIT_TOKENS,
    WAITERS,
    WAITING,
    WAY,
    State,
)
from dfcompiler.serving.memory import found
from dfcompiler.serving.queues import pop, push
from dfcompiler.serving.stepping import load, step

FOREVER = float("inf")


def drive(s: State) -> int:
    """Let everything happen until all is done, or until somebody else has to act: one of `layout`'s reasons."""
    linked = s.now[LINKED] != 0
    while True:
        i, start = first(s)
        event = next_event(s)
        if i == NONE and event == FOREVER:
            return ALL_DONE
        if event <= start + TICK:
            reason = happen(s)
            if reason != ALL_DONE:
                return reason
            continue
        horizon = min(event, next_start(s, i)) if linked else event
        while True:
            if not step(s, i, horizon):
                return STUCK
            if s.now[MOST_ROWS] > 0 and s.now[ROWS] == s.now[MOST_ROWS]:
                return FULL
            if linked or not works(s, i) or horizon <= s.floats[i * FLOATS + CLOCK] + TICK:
                break


def works(s: State, i: int) -> bool:
    """Whether a replica has a step to make."""
    b = i * INTS
    return s.ints[b + BATCH] > 0 or s.ints[b + WAITERS] > 0 or s.ints[b + PARTIAL] != NONE


def first(s: State) -> tuple[int, float]:
    """The replica whose step is next, and when that starts; NONE where there is none."""
    chosen, start = NONE, FOREVER
    for i in range(s.now[REPLICAS]):
        if works(s, i) and s.floats[i * FLOATS + CLOCK] < start - TICK:
            chosen, start = i, s.floats[i * FLOATS + CLOCK]
    return chosen, start


def next_start(s: State, chosen: int) -> float:
    """When the first step of all other replicas starts."""
    start = FOREVER
    for i in range(s.now[REPLICAS]):
        if i != chosen and works(s, i):
            start = min(start, s.floats[i * FLOATS + CLOCK])
    return start


def next_arrival(s: State) -> float:
    """When the next request comes."""
    return s.arrival[s.now[NEXT]] if s.now[NEXT] < s.now[REQUESTS] else FOREVER


def next_cache(s: State) -> float:
    """When the next cache arrives."""
    return s.due[s.now[MOVING_ROOT]] if s.now[MOVING_ROOT] != NONE else FOREVER


def next_event(s: State) -> float:
    """When something comes from outside of the replicas."""
    return min(next_arrival(s), next_cache(s), s.times[REFRESH])


def happen(s: State) -> int:
    """Let the next thing happen that comes from outside; a reason to return, or ALL_DONE to go on."""
    refresh, cache = s.times[REFRESH], next_cache(s)
    if next_arrival(s) <= min(cache, refresh) + TICK:
        r, way = s.now[NEXT], ARRIVALS
        s.now[NEXT] = r + 1
        if not any_able(s, r, ARRIVALS):
            s.status[r] = REJECTED
            return ALL_DONE
    elif cache <= refresh + TICK:
        r, way = s.now[MOVING_ROOT], CACHES
        s.now[MOVING_ROOT] = pop(r, s.due, s.child, s.sibling)
    else:
        return NEW_KEYS
    if s.now[LINEAR] == 0:
        s.now[PENDING], s.now[WAY] = r, way
        return ROUTE
    i = route(s, r, way)
    if spills(s, r, i):
        i = spilled(s, i, route(s, r, CACHES))
    land(s, r, i)
    return ALL_DONE


def any_able(s: State, r: int, way: int) -> bool:
    """Whether a replica can take a request that comes this way."""
    for i in range(s.now[REPLICAS]):  # noqa: SIM110, as numba does not know generators
        if able(s, i, r, way):
            return True
    return False


def able(s: State, i: int, r: int, way: int) -> bool:
    """Whether this replica can take a request that comes this way."""
    z = i * SIZES
    return s.sizes[z + ROLE] & way != 0 and s.fits[s.sizes[z + POOL] * s.now[REQUESTS] + r] != 0


def tokens(s: State, i: int) -> int:
    """Tokens of all requests of a replica."""
    b = i * INTS
    r = s.ints[b + PARTIAL]
    partial = s.prompt[r] + s.generated[r] if r != NONE else 0
    return s.ints[b + WAIT_TOKENS] + s.ints[b + CONTEXT] + partial


def outstanding(s: State, i: int) -> int:
    """Requests of a replica."""
    b = i * INTS
    return s.ints[b + WAITERS] + s.ints[b + BATCH] + (1 if s.ints[b + PARTIAL] != NONE else 0)


def route(s: State, r: int, way: int) -> int:
    """The replica that a router of weights chooses for a request."""
    chosen, least = NONE, FOREVER
    w = s.weights
    for i in range(s.now[REPLICAS]):
        if not able(s, i, r, way):
            continue
        cost = w[0] * s.ints[i * INTS + ASSIGNED] + w[1] * outstanding(s, i) + w[2] * tokens(s, i)
        cost = cost + w[3] * load(s, i) + w[4] * (found(s, i, r) * s.sizes[i * SIZES + BLOCK])
        if chosen == NONE or cost < least:
            chosen, least = i, cost
    return chosen


def spills(s: State, r: int, i: int) -> bool:
    """Whether a replica has so much before it that a request that came to it may go elsewhere."""
    if s.now[SPILLS] == 0 or s.marks[r] & LANDED or s.sizes[i * SIZES + ROLE] & HANDS_ON == 0:
        return False
    return s.ints[i * INTS + WAIT_TOKENS] > s.weights[SPILL_TOKENS]


def spilled(s: State, i: int, other: int) -> int:
    """Of two replicas the one with less before it, the first where they are equal."""
    return other if s.ints[other * INTS + WAIT_TOKENS] < s.ints[i * INTS + WAIT_TOKENS] else i


def land(s: State, r: int, i: int) -> None:
    """A request, or its cache, comes to a replica."""
    now = s.due[r] if s.marks[r] & LANDED else s.arrival[r]
    if not works(s, i):
        s.floats[i * FLOATS + CLOCK] = max(s.floats[i * FLOATS + CLOCK], now)
    s.ints[i * INTS + ASSIGNED] += 1
    if s.sizes[i * SIZES + ROLE] & HANDS_ON:
        s.marks[r] |= HANDS
    s.replica[r] = i
    wait(s, i, r)
    if s.times[REFRESH] == FOREVER and s.marks[r] & LANDED == 0:
        s.times[REFRESH] = now + s.times[PERIOD]


def tokens_generated(s: State, r: int) -> int:
    """Tokens that a request has, also while it decodes."""
    b = s.replica[r] * INTS
    if s.status[r] != RUNNING or s.ints[b + PARTIAL] == r:
        return s.generated[r]
    return s.output[r] - (s.finish[r] - s.ints[b + DSTEP])


def queue_again(s: State, low: int, high: int) -> None:
    """Put those of the requests `low` to `high` that wait, or whose caches move, in order of new keys."""
    for i in range(s.now[REPLICAS]):
        s.ints[i * INTS + ROOT] = NONE
    for r in range(low, high):
        if s.status[r] == WAITING:
            at = s.replica[r] * INTS + ROOT
            s.ints[at] = push(s.ints[at], r, s.key, s.child, s.sibling)
