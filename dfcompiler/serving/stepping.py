"""A step of the lazy engine, or a run of equal ones: work that does not grow with the requests that run."""

from __future__ import annotations

from dfcompiler.serving.admission import admit, go_on, inserts, join, part, settle
from dfcompiler.serving.gaps import bin_of, count_run
from dfcompiler.serving.interpolation import decode_line, run_s, step_s, steps_until
from dfcompiler.serving.layout import (
    ALL,
    BATCH,
    BLOCK,
    BUDGET,
    BUSY,
    CACHES,
    CAPACITY,
    CHUNKED,
    CLOCK,
    COMPUTED,
    CONTEXT,
    DEBT,
    DECODED,
    DEPTH,
    DONE,
    DSTEP,
    ENDING,
    ENDING_COUNT,
    FLOATS,
    FREE,
    FRESH,
    FRESH_COUNT,
    HANDS,
    HOST_S,
    IDLE,
    INTS,
    LANDED,
    LAST_S,
    LATENCY_S,
    LAYERS,
    MIXED,
    MOST_BLOCK,
    MOST_ROWS,
    MOST_SEATS,
    MOVING,
    MOVING_ROOT,
    NONE,
    PARTIAL,
    POOL,
    PREFILLED,
    PRICE,
    RATES,
    REPLICAS,
    REQUESTS,
    RESERVE,
    ROLE,
    ROWS,
    SEATS,
    SHARED_WIRE,
    SIZES,
    SPILL_CACHE,
    SPILLS,
    STEPS,
    TABLE,
    TICK,
    TOKEN_S,
    WAIT_BLOCKS,
    WAITERS,
    WATERMARK,
    WIRE,
    State,
)
from dfcompiler.serving.memory import blocks_of, release
from dfcompiler.serving.queues import group_of, push, widen

COLUMNS = 9  # of a row of `served.Series`


def step(s: State, i: int, horizon: float) -> bool:
    """Make the next step of a replica, and those after it that are alike and start before `horizon`.

    False where there is nothing to do, which is a fault of this engine.
    """
    b, z = i * INTS, i * SIZES
    waiters = s.ints[b + WAITERS]
    mixed = s.sizes[z + MIXED] != 0
    tokens = weighted = squares = 0
    if mixed:
        if s.ints[b + BATCH] > 0 and s.sizes[z + RESERVE] != ALL:
            settle(s, i)
        left = s.sizes[z + BUDGET] - s.ints[b + BATCH]
        if s.ints[b + PARTIAL] != NONE:
            past = s.ints[b + COMPUTED]
            tokens = go_on(s, i, left)
            weighted, squares = tokens * past, tokens * tokens
        if 0 < s.ints[b + WAITERS] == waiters:
            new, more, squared = admit(s, i, left - tokens)
            tokens, weighted, squares = tokens + new, weighted + more, squares + squared
    elif waiters > 0 and inserts(s, i):
        tokens, weighted, squares = admit(s, i, s.sizes[z + BUDGET])
    if tokens == 0:
        before = s.ints[b + WAITERS]
        if not mixed and s.sizes[z + RESERVE] != ALL:
            settle(s, i)
        alike = s.ints[b + WAITERS] == (waiters if mixed else before)
        return decode(s, i, horizon, alike)
    start = s.floats[i * FLOATS + CLOCK]
    batch = s.ints[b + BATCH] if mixed else 0
    context = s.ints[b + CONTEXT] if mixed else 0
    past_mean = weighted / tokens - (tokens * tokens - squares) / (2.0 * tokens)
    seconds = step_s(s.grid, s.shape, s.values, s.sizes[z + TABLE], tokens, past_mean, batch, context)
    end = start + (seconds + s.rates[i * RATES + HOST_S])
    note(s, i, start, end, 1, tokens, batch, context)
    s.ints[b + PREFILLED] += tokens
    s.floats[i * FLOATS + DEBT] = 0.0
    if batch > 0:
        first_gaps(s, i, end)
        advance(s, i, 1, end)
    s.ints[b + STEPS] += 1
    s.floats[i * FLOATS + BUSY] += end - start
    s.floats[i * FLOATS + CLOCK] = end
    end_prompts(s, i, start, end)
    return True


def decode(s: State, i: int, horizon: float, alike: bool) -> bool:
    """One step of decodes alone; where the next ones are alike, as many as start before `horizon`."""
    b, z, f = i * INTS, i * SIZES, i * FLOATS
    batch, context, at = s.ints[b + BATCH], s.ints[b + CONTEXT], s.ints[b + DSTEP]
    if batch == 0:
        return False
    start, price = s.floats[f + CLOCK], s.rates[i * RATES + PRICE]
    seconds, slope, last = decode_line(s.grid, s.shape, s.values, s.sizes[z + TABLE], batch, context)
    growth = slope * batch
    first = max(seconds, 0.0) + s.rates[i * RATES + HOST_S]
    paying = 0.0 < price < 1e300 and s.ints[b + WAITERS] > 0
    steps = 1
    end = start + first
    if alike and not paying and seconds >= 0.0 and end + TICK < horizon:
        most = s.finish[s.seats[i * s.now[MOST_SEATS]]] - at
        if last >= 0:
            most = min(most, (last - context) // batch + 1)
        if s.sizes[z + RESERVE] != ALL:
            most = min(most, s.ints[b + FREE] // batch * s.sizes[z + BLOCK] + 1)
        if most > 1 and seconds + growth * (most - 1) >= 0.0:
            steps = steps_until(first, growth, most, horizon - TICK - start)
    if steps > 1:
        end = start + run_s(first, growth, steps)
    note(s, i, start, end, steps, 0, batch, context)
    if paying:
        s.floats[f + DEBT] += min(s.ints[b + WAITERS], s.sizes[z + SEATS] - batch) * (end - start)
    first_gaps(s, i, start + first)
    if steps > 1:
        more_gaps(s, i, first + growth, growth, steps - 1)
        if s.sizes[z + RESERVE] != ALL:
            grow(s, i, at + 1, steps - 1)
    advance(s, i, steps, end)
    s.ints[b + STEPS] += steps
    s.floats[f + BUSY] += end - start
    s.floats[f + CLOCK] = end
    return True


def grow(s: State, i: int, at: int, steps: int) -> None:
    """Take the free blocks that all decoding requests need in so many steps from step `at` on."""
    block, first = s.sizes[i * SIZES + BLOCK], i * s.now[MOST_BLOCK]
    count = steps // block * s.ints[i * INTS + BATCH]
    for j in range(at, at + steps % block):
        count += s.residue[first + j % block]
    s.ints[i * INTS + FREE] -= count


def note(s: State, i: int, start: float, end: float, steps: int, tokens: int, batch: int, context: int) -> None:
    """Write a row of the time series, where there is to be one."""
    if s.now[MOST_ROWS] == 0:
        return
    b, at = i * INTS, s.now[ROWS] * COLUMNS
    s.now[ROWS] += 1
    used = s.sizes[i * SIZES + CAPACITY] - s.ints[b + FREE] - s.ints[b + IDLE]
    s.rows[at] = i
    s.rows[at + 1] = start
    s.rows[at + 2] = end
    s.rows[at + 3] = steps
    s.rows[at + 4] = tokens
    s.rows[at + 5] = batch
    s.rows[at + 6] = context
    s.rows[at + 7] = used
    s.rows[at + 8] = s.ints[b + WAITERS]


# ---- tokens


def first_gaps(s: State, i: int, end: float) -> None:
    """Every decoding request gets a token at `end`; those that are fresh had their latest each at its own time."""
    b = i * INTS
    base = i * (2 * s.now[MOST_SEATS] + 2)
    old = s.ints[b + BATCH] - s.ints[b + FRESH_COUNT]
    if old > 0:
        gap = end - s.floats[i * FLOATS + LAST_S]
        s.gaps[bin_of(gap)] += old
        s.ints[b + DEPTH] = widen(s.group_worst, base, s.ints[b + DEPTH], gap)
    r = s.ints[b + FRESH]
    if r == NONE:
        return
    after = s.ints[b + DSTEP] + 1
    while r != NONE:
        own_gap(s, r, end)
        s.joined[r] = after
        r = s.link[r]
    s.ints[b + FRESH] = NONE
    s.ints[b + FRESH_COUNT] = 0
    if s.ints[b + DEPTH] == 2 * s.now[MOST_SEATS] + 2:
        drop_groups(s, i)
    depth = s.ints[b + DEPTH]
    s.group_from[base + depth] = after
    s.group_worst[base + depth] = 0.0
    s.ints[b + DEPTH] = depth + 1


def own_gap(s: State, r: int, end: float) -> None:
    """Count a gap that a request does not share with others."""
    gap = end - s.last[r]
    s.gaps[bin_of(gap)] += 1
    s.worst[r] = max(s.worst[r], gap)


def more_gaps(s: State, i: int, first: float, growth: float, steps: int) -> None:
    """Every decoding request gets tokens after steps of which each takes `growth` more than the one before."""
    b = i * INTS
    count_run(s.gaps, first, growth, steps, s.ints[b + BATCH])
    longest = max(first, first + growth * (steps - 1))
    base = i * (2 * s.now[MOST_SEATS] + 2)
    s.ints[b + DEPTH] = widen(s.group_worst, base, s.ints[b + DEPTH], longest)


def drop_groups(s: State, i: int) -> None:
    """Forget groups of requests that are all done; at most as many stay as there are seats."""
    b, depth = i * INTS, s.ints[i * INTS + DEPTH]
    base = i * (2 * s.now[MOST_SEATS] + 2)
    for j in range(depth):
        s.group_kept[base + j] = 0
    for j in range(s.ints[b + BATCH]):
        joined = s.joined[s.seats[i * s.now[MOST_SEATS] + j]]
        s.group_kept[base + group_of(s.group_from, base, depth, joined)] = 1
    kept = 0
    for j in range(depth):
        if s.group_kept[base + j]:
            s.group_from[base + kept] = s.group_from[base + j]
            s.group_worst[base + kept] = s.group_worst[base + j]
            kept += 1
    s.ints[b + DEPTH] = kept


def advance(s: State, i: int, steps: int, end: float) -> None:
    """All that decode have so many tokens more; those that have all leave."""
    b, base = i * INTS, i * s.now[MOST_SEATS]
    batch = s.ints[b + BATCH]
    step = s.ints[b + DSTEP] + steps
    s.ints[b + DSTEP] = step
    s.ints[b + CONTEXT] += steps * batch
    s.ints[b + DECODED] += steps * batch
    s.floats[i * FLOATS + LAST_S] = end
    while s.ints[b + BATCH] > 0:
        r = s.seats[base]
        if s.finish[r] > step:
            return
        context = part(s, i, r)
        finish(s, i, r, end)
        release(s, i, r, blocks_of(context, s.sizes[i * SIZES + BLOCK]))


def finish(s: State, i: int, r: int, end: float) -> None:
    """A request has all its tokens."""
    s.generated[r] = s.output[r]
    s.last[r] = end
    s.replica[r] = i
    s.status[r] = DONE


# ---- prompts that end


def end_prompts(s: State, i: int, start: float, end: float) -> None:
    """At the end of a step with prompts: what was computed is sent where it is to go, and prompts that ended count."""
    b = i * INTS
    r = s.ints[b + ENDING]
    while r != NONE:
        after = s.link[r]
        s.ints[b + ENDING] = after
        s.ints[b + ENDING_COUNT] -= 1
        if s.marks[r] & HANDS:
            send(s, i, r, start, end)
        end_prompt(s, i, r, end)
        r = after
    r = s.ints[b + PARTIAL]
    if r != NONE and s.marks[r] & HANDS:
        send(s, i, r, start, end)


def end_prompt(s: State, i: int, r: int, end: float) -> None:
    """A request has computed all it knows, and gets a token."""
    known = s.prompt[r] + s.generated[r]
    if s.generated[r] == 0:
        s.first[r] = end
    else:
        own_gap(s, r, end)
    s.generated[r] += 1
    s.last[r] = end
    moves = s.marks[r] & HANDS != 0 and s.generated[r] == 1 and s.output[r] > 1 and not keeps(s, i, r)
    if s.generated[r] < s.output[r] and not moves:
        s.marks[r] &= ~HANDS
        join(s, i, r)
        return
    release(s, i, r, blocks_of(known, s.sizes[i * SIZES + BLOCK]))
    if moves:
        s.marks[r] = LANDED
        s.status[r] = MOVING
        s.now[MOVING_ROOT] = push(s.now[MOVING_ROOT], r, s.due, s.child, s.sibling)
    else:
        finish(s, i, r, end)


def send(s: State, i: int, r: int, start: float, end: float) -> None:
    """Send what a step computed of a request over its wire, layer by layer, after all that was sent before."""
    wire = (0 if s.weights[SHARED_WIRE] > 0.0 else i) * FLOATS + WIRE
    seconds, layers = s.place[r] * s.weights[TOKEN_S], s.weights[LAYERS]
    begin = max(start + (end - start) / layers, s.floats[wire])
    s.floats[wire] = max(begin + seconds, end + seconds / layers)
    s.due[r] = s.floats[wire] + s.weights[LATENCY_S]


def load(s: State, i: int) -> float:
    """Part of a replica's blocks that are in use or asked for."""
    b = i * INTS
    capacity = s.sizes[i * SIZES + CAPACITY]
    return (capacity - s.ints[b + FREE] - s.ints[b + IDLE] + s.ints[b + WAIT_BLOCKS]) / capacity


def keeps(s: State, i: int, r: int) -> bool:
    """Whether a cache stays because every replica that could take it is too full."""
    z = i * SIZES
    if s.now[SPILLS] == 0 or s.sizes[z + RESERVE] == ALL:
        return False
    final = s.prompt[r] + s.output[r] - 1
    if blocks_of(final, s.sizes[z + BLOCK]) > s.sizes[z + CAPACITY] - s.sizes[z + WATERMARK]:
        return False
    if s.sizes[z + CHUNKED] == 0 and final > s.sizes[z + BUDGET]:
        return False
    for j in range(s.now[REPLICAS]):
        able = s.sizes[j * SIZES + ROLE] & CACHES and s.fits[s.sizes[j * SIZES + POOL] * s.now[REQUESTS] + r]
        if able and load(s, j) <= s.weights[SPILL_CACHE]:
            return False
    return True
