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
from dfcompiler.serving.queues import group_of, push

COLUMNS = 9  # of a row of `served.Series`


def step(s: State, i: int, horizon: float) -> bool:
    """Make the next step of a replica, and those after it that are alike and start before `horizon`.

    False where there is nothing to do, which is a fault of this engine.
    """
    ints, sizes, floats = s.ints, s.sizes, s.floats
    b, z, f = i * INTS, i * SIZES, i * FLOATS
    waiters = ints[b + WAITERS]
    mixed = sizes[z + MIXED] != 0
    tokens = weighted = squares = 0
    if mixed:
        settle(s, i)
        left = sizes[z + BUDGET] - ints[b + BATCH]
        if ints[b + PARTIAL] != NONE:
            past = ints[b + COMPUTED]
            tokens = go_on(s, i, left)
            weighted, squares = tokens * past, tokens * tokens
        if 0 < ints[b + WAITERS] == waiters:
            new, more, squared = admit(s, i, left - tokens)
            tokens, weighted, squares = tokens + new, weighted + more, squares + squared
    elif waiters > 0 and inserts(s, i):
        tokens, weighted, squares = admit(s, i, sizes[z + BUDGET])
    if tokens == 0:
        if not mixed:
            waiters = ints[b + WAITERS]
            settle(s, i)
        return decode(s, i, horizon, ints[b + WAITERS] == waiters)
    start = floats[f + CLOCK]
    batch = context = 0
    if mixed:
        batch, context = ints[b + BATCH], ints[b + CONTEXT]
    past_mean = weighted / tokens - (tokens * tokens - squares) / (2.0 * tokens)
    seconds = step_s(s.grid, s.shape, s.values, sizes[z + TABLE], tokens, past_mean, batch, context)
    end = start + (seconds + s.rates[i * RATES + HOST_S])
    if s.now[MOST_ROWS] > 0:
        note(s, i, start, end, 1, tokens, batch, context)
    ints[b + PREFILLED] += tokens
    floats[f + DEBT] = 0.0
    if batch > 0:
        advance(s, i, 1, end, 0.0, 0.0, end)
    ints[b + STEPS] += 1
    floats[f + BUSY] += end - start
    floats[f + CLOCK] = end
    end_prompts(s, i, start, end)
    return True


def decode(s: State, i: int, horizon: float, alike: bool) -> bool:
    """One step of decodes alone; where the next ones are alike, as many as start before `horizon`."""
    ints, floats, rates, sizes = s.ints, s.floats, s.rates, s.sizes
    b, z, f = i * INTS, i * SIZES, i * FLOATS
    batch, context, at = ints[b + BATCH], ints[b + CONTEXT], ints[b + DSTEP]
    if batch == 0:
        return False
    start, price = floats[f + CLOCK], rates[i * RATES + PRICE]
    seconds, slope, last = decode_line(s.grid, s.shape, s.values, sizes[z + TABLE], batch, context)
    growth = slope * batch
    first = max(seconds, 0.0) + rates[i * RATES + HOST_S]
    paying = 0.0 < price < 1e300 and ints[b + WAITERS] > 0
    steps = 1
    end = start + first
    if alike and not paying and seconds >= 0.0 and end + TICK < horizon:
        most = s.finish[s.seats[i * s.now[MOST_SEATS]]] - at
        if last >= 0 and context + most * batch > last:
            most = min(most, (last - context) // batch + 1)
        if sizes[z + RESERVE] != ALL:
            most = min(most, ints[b + FREE] // batch * sizes[z + BLOCK] + 1)
        if most > 1 and seconds + growth * (most - 1) >= 0.0:
            steps = steps_until(first, growth, most, horizon - TICK - start)
    if steps > 1:
        end = start + run_s(first, growth, steps)
    if s.now[MOST_ROWS] > 0:
        note(s, i, start, end, steps, 0, batch, context)
    if paying:
        floats[f + DEBT] += min(ints[b + WAITERS], sizes[z + SEATS] - batch) * (end - start)
    advance(s, i, steps, start + first, first + growth, growth, end)
    ints[b + STEPS] += steps
    floats[f + BUSY] += end - start
    floats[f + CLOCK] = end
    return True


def grow(s: State, i: int, at: int, steps: int) -> None:
    """Take the free blocks that all decoding requests need in so many steps from step `at` on."""
    residue, block, first = s.residue, s.sizes[i * SIZES + BLOCK], i * s.now[MOST_BLOCK]
    if s.sizes[i * SIZES + RESERVE] == ALL:
        return
    count = steps // block * s.ints[i * INTS + BATCH]
    for j in range(at, at + steps % block):
        count += residue[first + j % block]
    s.ints[i * INTS + FREE] -= count


def note(s: State, i: int, start: float, end: float, steps: int, tokens: int, batch: int, context: int) -> None:
    """Write a row of the time series."""
    now, ints, rows = s.now, s.ints, s.rows
    b, at = i * INTS, now[ROWS] * COLUMNS
    now[ROWS] += 1
    used = s.sizes[i * SIZES + CAPACITY] - ints[b + FREE] - ints[b + IDLE]
    rows[at] = i
    rows[at + 1] = start
    rows[at + 2] = end
    rows[at + 3] = steps
    rows[at + 4] = tokens
    rows[at + 5] = batch
    rows[at + 6] = context
    rows[at + 7] = used
    rows[at + 8] = ints[b + WAITERS]


# ---- tokens


def settle_in(s: State, i: int, end: float) -> None:
    """Those that are fresh have a gap each of its own, and from now on the same as all others."""
    ints, group_worst = s.ints, s.group_worst
    b, most = i * INTS, 2 * s.now[MOST_SEATS] + 2
    base, after, r = i * most, ints[b + DSTEP] + 1, ints[b + FRESH]
    while r != NONE:
        own_gap(s, r, end)
        s.joined[r] = after
        r = s.link[r]
    ints[b + FRESH] = NONE
    ints[b + FRESH_COUNT] = 0
    if ints[b + DEPTH] == most:
        drop_groups(s, i)
    depth = ints[b + DEPTH]
    s.group_from[base + depth] = after
    group_worst[base + depth] = 0.0
    ints[b + DEPTH] = depth + 1


def own_gap(s: State, r: int, end: float) -> None:
    """Count a gap that a request does not share with others."""
    gap = end - s.last[r]
    s.gaps[bin_of(gap)] += 1
    if gap > s.worst[r]:
        s.worst[r] = gap


def widen(s: State, i: int, gap: float) -> None:
    """All that decode have seen a gap: groups whose longest it is become one."""
    worst, depth, base = s.group_worst, s.ints[i * INTS + DEPTH], i * (2 * s.now[MOST_SEATS] + 2)
    if worst[base + depth - 1] >= gap:
        return
    while depth > 1 and worst[base + depth - 2] <= gap:
        depth -= 1
    worst[base + depth - 1] = gap
    s.ints[i * INTS + DEPTH] = depth


def drop_groups(s: State, i: int) -> None:
    """Forget groups of requests that are all done; at most as many stay as there are seats."""
    ints, now, group_kept, group_from, group_worst = s.ints, s.now, s.group_kept, s.group_from, s.group_worst
    b, depth = i * INTS, ints[i * INTS + DEPTH]
    base = i * (2 * now[MOST_SEATS] + 2)
    for j in range(depth):
        group_kept[base + j] = 0
    for j in range(ints[b + BATCH]):
        joined = s.joined[s.seats[i * now[MOST_SEATS] + j]]
        group_kept[base + group_of(group_from, base, depth, joined)] = 1
    kept = 0
    for j in range(depth):
        if group_kept[base + j]:
            group_from[base + kept] = group_from[base + j]
            group_worst[base + kept] = group_worst[base + j]
            kept += 1
    ints[b + DEPTH] = kept


def advance(s: State, i: int, steps: int, first_end: float, second: float, growth: float, end: float) -> None:
    """All that decode get a token at `first_end`, then one after `second` seconds, each more after `growth` seconds
    more than the one before, the last at `end`; those that have all leave."""
    ints, floats, seats = s.ints, s.floats, s.seats
    b, f, base = i * INTS, i * FLOATS, i * s.now[MOST_SEATS]
    batch = ints[b + BATCH]
    old = batch - ints[b + FRESH_COUNT]
    if old > 0:
        gap = first_end - floats[f + LAST_S]
        s.gaps[bin_of(gap)] += old
        widen(s, i, gap)
    if old < batch:
        settle_in(s, i, first_end)
    step = ints[b + DSTEP] + steps
    if steps > 1:
        count_run(s.gaps, second, growth, steps - 1, batch)
        widen(s, i, second + growth * (steps - 2) if growth > 0.0 else second)
        grow(s, i, step - steps + 1, steps - 1)
    ints[b + DSTEP] = step
    ints[b + CONTEXT] += steps * batch
    ints[b + DECODED] += steps * batch
    floats[f + LAST_S] = end
    while ints[b + BATCH] > 0:
        r = seats[base]
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
    ints, marks = s.ints, s.marks
    b = i * INTS
    r = ints[b + ENDING]
    while r != NONE:
        after = s.link[r]
        ints[b + ENDING] = after
        ints[b + ENDING_COUNT] -= 1
        if marks[r] & HANDS:
            send(s, i, r, start, end)
        end_prompt(s, i, r, end)
        r = after
    r = ints[b + PARTIAL]
    if r != NONE and marks[r] & HANDS:
        send(s, i, r, start, end)


def end_prompt(s: State, i: int, r: int, end: float) -> None:
    """A request has computed all it knows, and gets a token."""
    generated, marks, output, now = s.generated, s.marks, s.output, s.now
    known = s.prompt[r] + generated[r]
    if generated[r] == 0:
        s.first[r] = end
    else:
        own_gap(s, r, end)
    generated[r] += 1
    s.last[r] = end
    moves = marks[r] & HANDS != 0 and generated[r] == 1 and output[r] > 1 and not keeps(s, i, r)
    if generated[r] < output[r] and not moves:
        marks[r] &= ~HANDS
        join(s, i, r)
        return
    release(s, i, r, blocks_of(known, s.sizes[i * SIZES + BLOCK]))
    if moves:
        marks[r] = LANDED
        s.status[r] = MOVING
        now[MOVING_ROOT] = push(now[MOVING_ROOT], r, s.due, s.child, s.sibling)
    else:
        finish(s, i, r, end)


def send(s: State, i: int, r: int, start: float, end: float) -> None:
    """Send what a step computed of a request over its wire, layer by layer, after all that was sent before."""
    weights, floats = s.weights, s.floats
    wire = (0 if weights[SHARED_WIRE] > 0.0 else i) * FLOATS + WIRE
    seconds, layers = s.place[r] * weights[TOKEN_S], weights[LAYERS]
    begin = max(start + (end - start) / layers, floats[wire])
    floats[wire] = max(begin + seconds, end + seconds / layers)
    s.due[r] = floats[wire] + weights[LATENCY_S]


def load(s: State, i: int) -> float:
    """Part of a replica's blocks that are in use or asked for."""
    ints = s.ints
    b = i * INTS
    capacity = s.sizes[i * SIZES + CAPACITY]
    return (capacity - ints[b + FREE] - ints[b + IDLE] + ints[b + WAIT_BLOCKS]) / capacity


def keeps(s: State, i: int, r: int) -> bool:
    """Whether a cache stays because every replica that could take it is too full."""
    now, sizes = s.now, s.sizes
    z = i * SIZES
    if now[SPILLS] == 0 or sizes[z + RESERVE] == ALL:
        return False
    final = s.prompt[r] + s.output[r] - 1
    if blocks_of(final, sizes[z + BLOCK]) > sizes[z + CAPACITY] - sizes[z + WATERMARK]:
        return False
    if sizes[z + CHUNKED] == 0 and final > sizes[z + BUDGET]:
        return False
    for j in range(now[REPLICAS]):
        able = sizes[j * SIZES + ROLE] & CACHES and s.fits[sizes[j * SIZES + POOL] * now[REQUESTS] + r]
        if able and load(s, j) <= s.weights[SPILL_CACHE]:
            return False
    return True
