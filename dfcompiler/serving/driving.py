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
    now, floats = s.now, s.floats
    linked = now[LINKED] != 0
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
            if now[MOST_ROWS] > 0 and now[ROWS] == now[MOST_ROWS]:
                return FULL
            if linked or horizon <= floats[i * FLOATS + CLOCK] + TICK or not works(s, i):
                break


def works(s: State, i: int) -> bool:
    """Whether a replica has a step to make."""
    ints = s.ints
    b = i * INTS
    return ints[b + BATCH] > 0 or ints[b + WAITERS] > 0 or ints[b + PARTIAL] != NONE


def first(s: State) -> tuple[int, float]:
    """The replica whose step is next, and when that starts; NONE where there is none."""
    ints, floats = s.ints, s.floats
    chosen, start = NONE, FOREVER
    for i in range(s.now[REPLICAS]):
        b, clock = i * INTS, floats[i * FLOATS + CLOCK]
        if clock < start - TICK and (ints[b + BATCH] > 0 or ints[b + WAITERS] > 0 or ints[b + PARTIAL] != NONE):
            chosen, start = i, clock
    return chosen, start


def next_start(s: State, chosen: int) -> float:
    """When the first step of another replica starts that may concern this one: only those that hand caches on do, but
    where caches may stay, as it depends on what all others do."""
    start = FOREVER
    for i in range(s.now[REPLICAS]):
        clock = s.floats[i * FLOATS + CLOCK]
        if i != chosen and clock < start and (s.sizes[i * SIZES + ROLE] & HANDS_ON or s.now[SPILLS]) and works(s, i):
            start = clock
    return start


def next_event(s: State) -> float:
    """When something comes from outside of the replicas."""
    now = s.now
    event = s.times[REFRESH]
    if now[NEXT] < now[REQUESTS] and s.arrival[now[NEXT]] < event:
        event = s.arrival[now[NEXT]]
    if now[MOVING_ROOT] != NONE and s.due[now[MOVING_ROOT]] < event:
        event = s.due[now[MOVING_ROOT]]
    return event


def happen(s: State) -> int:
    """Let the next thing happen that comes from outside; a reason to return, or ALL_DONE to go on."""
    now = s.now
    arrival = s.arrival[now[NEXT]] if now[NEXT] < now[REQUESTS] else FOREVER
    cache = s.due[now[MOVING_ROOT]] if now[MOVING_ROOT] != NONE else FOREVER
    refresh = s.times[REFRESH]
    if arrival <= cache + TICK and arrival <= refresh + TICK:
        r, way = now[NEXT], ARRIVALS
        now[NEXT] = r + 1
    elif cache <= refresh + TICK:
        r, way = now[MOVING_ROOT], CACHES
        now[MOVING_ROOT] = pop(r, s.due, s.child, s.sibling)
    else:
        return NEW_KEYS
    if now[LINEAR] == 0:
        now[PENDING], now[WAY] = r, way
        return ROUTE
    i = route(s, r, way)
    if i == NONE:
        s.status[r] = REJECTED
        return ALL_DONE
    if spills(s, r, i):
        i = spilled(s, i, route(s, r, CACHES))
    land(s, r, i)
    return ALL_DONE


def able(s: State, i: int, r: int, way: int) -> bool:
    """Whether this replica can take a request that comes this way."""
    sizes = s.sizes
    z = i * SIZES
    return sizes[z + ROLE] & way != 0 and s.fits[sizes[z + POOL] * s.now[REQUESTS] + r] != 0


def tokens(s: State, i: int) -> int:
    """Tokens of all requests of a replica."""
    ints = s.ints
    b = i * INTS
    r = ints[b + PARTIAL]
    partial = s.prompt[r] + s.generated[r] if r != NONE else 0
    return ints[b + WAIT_TOKENS] + ints[b + CONTEXT] + partial


def outstanding(s: State, i: int) -> int:
    """Requests of a replica."""
    ints = s.ints
    b = i * INTS
    return ints[b + WAITERS] + ints[b + BATCH] + (1 if ints[b + PARTIAL] != NONE else 0)


def route(s: State, r: int, way: int) -> int:
    """The replica that a router of weights chooses for a request; NONE where none can take it."""
    chosen, least = NONE, FOREVER
    w = s.weights
    if s.now[REPLICAS] == 1:
        return 0 if able(s, 0, r, way) else NONE
    for i in range(s.now[REPLICAS]):
        if not able(s, i, r, way):
            continue
        cost = w[0] * s.ints[i * INTS + ASSIGNED] + w[1] * outstanding(s, i) + w[2] * tokens(s, i)
        if w[3] != 0.0:
            cost += w[3] * load(s, i)
        if w[4] != 0.0:
            cost += w[4] * (found(s, i, r) * s.sizes[i * SIZES + BLOCK])
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
    ints = s.ints
    return other if ints[other * INTS + WAIT_TOKENS] < ints[i * INTS + WAIT_TOKENS] else i


def land(s: State, r: int, i: int) -> None:
    """A request, or its cache, comes to a replica."""
    marks, floats, times = s.marks, s.floats, s.times
    now = s.due[r] if marks[r] & LANDED else s.arrival[r]
    if not works(s, i):
        floats[i * FLOATS + CLOCK] = max(floats[i * FLOATS + CLOCK], now)
    s.ints[i * INTS + ASSIGNED] += 1
    if s.sizes[i * SIZES + ROLE] & HANDS_ON:
        marks[r] |= HANDS
    s.replica[r] = i
    wait(s, i, r)
    if times[REFRESH] == FOREVER and marks[r] & LANDED == 0:
        times[REFRESH] = now + times[PERIOD]


def tokens_generated(s: State, r: int) -> int:
    """Tokens that a request has, also while it decodes."""
    ints = s.ints
    b = s.replica[r] * INTS
    if s.status[r] != RUNNING or ints[b + PARTIAL] == r:
        return s.generated[r]
    return s.output[r] - (s.finish[r] - ints[b + DSTEP])


def queue_again(s: State, low: int, high: int) -> None:
    """Put those of the requests `low` to `high` that wait, or whose caches move, in order of new keys."""
    ints = s.ints
    for i in range(s.now[REPLICAS]):
        ints[i * INTS + ROOT] = NONE
    for r in range(low, high):
        if s.status[r] == WAITING:
            at = s.replica[r] * INTS + ROOT
            ints[at] = push(ints[at], r, s.key, s.child, s.sibling)
