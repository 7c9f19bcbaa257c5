"""Who gets into a step of the lazy engine, and who is thrown out: the rules are those of `iterative.Replica.plan`."""

from __future__ import annotations

from dfcompiler.serving.interpolation import step_s
from dfcompiler.serving.layout import (
    ALL,
    BATCH,
    BLOCK,
    BUDGET,
    BY_CHUNK,
    BY_PROMPT,
    CHUNKED,
    COMPUTED,
    CONTEXT,
    DEBT,
    DEPTH,
    DSTEP,
    ENDING,
    ENDING_COUNT,
    ENDING_LAST,
    FLOATS,
    FOUND,
    FREE,
    FRESH,
    FRESH_COUNT,
    HANDS,
    HELD,
    IDLE,
    INTS,
    LANDED,
    LAST_S,
    MIXED,
    MOST_BLOCK,
    MOST_SEATS,
    NONE,
    PARTIAL,
    PRICE,
    RATES,
    RESERVE,
    ROOT,
    RUNNING,
    SEATS,
    SIZES,
    TABLE,
    WAIT_BLOCKS,
    WAIT_TOKENS,
    WAITERS,
    WAITING,
    WATERMARK,
    State,
)
from dfcompiler.serving.memory import blocks_of, forget_idle, found, release, room, share, take, use_prefix
from dfcompiler.serving.queues import group_of, pop, push, rise, unseat

# ---- waiting


def wait(s: State, i: int, r: int) -> None:
    """Put a request among those that wait."""
    b = i * INTS
    known = s.prompt[r] + s.generated[r]
    s.status[r] = WAITING
    s.ints[b + WAITERS] += 1
    s.ints[b + WAIT_TOKENS] += known
    s.ints[b + WAIT_BLOCKS] += blocks_of(known, s.sizes[i * SIZES + BLOCK])
    s.ints[b + ROOT] = push(s.ints[b + ROOT], r, s.key, s.child, s.sibling)


def call(s: State, i: int) -> int:
    """Take out of those that wait whose turn it is."""
    b = i * INTS
    r = s.ints[b + ROOT]
    known = s.prompt[r] + s.generated[r]
    s.status[r] = RUNNING
    s.ints[b + WAITERS] -= 1
    s.ints[b + WAIT_TOKENS] -= known
    s.ints[b + WAIT_BLOCKS] -= blocks_of(known, s.sizes[i * SIZES + BLOCK])
    s.ints[b + ROOT] = pop(r, s.key, s.child, s.sibling)
    return r


# ---- decoding: the context of a request is its prompt and output less the steps until it is done, less one


def join(s: State, i: int, r: int) -> None:
    """A request decodes from the next decode step on; all its tokens but the latest are computed."""
    b = i * INTS
    count, step = s.ints[b + BATCH], s.ints[b + DSTEP]
    s.finish[r] = step + s.output[r] - s.generated[r]
    s.residue[i * s.now[MOST_BLOCK] + remainder(s, i, r)] += 1
    rise(s.seats, s.place, s.finish, i * s.now[MOST_SEATS], count, r)
    s.ints[b + BATCH] = count + 1
    s.ints[b + CONTEXT] += s.prompt[r] + s.generated[r] - 1
    s.joined[r] = NONE
    s.link[r] = s.ints[b + FRESH]
    s.ints[b + FRESH] = r
    s.ints[b + FRESH_COUNT] += 1


def part(s: State, i: int, r: int) -> int:
    """A request stops decoding; its context then."""
    b = i * INTS
    context = s.prompt[r] + s.output[r] - 1 - (s.finish[r] - s.ints[b + DSTEP])
    s.residue[i * s.now[MOST_BLOCK] + remainder(s, i, r)] -= 1
    unseat(s.seats, s.place, s.finish, i * s.now[MOST_SEATS], s.ints[b + BATCH], s.place[r])
    s.ints[b + BATCH] -= 1
    s.ints[b + CONTEXT] -= context
    if s.joined[r] == NONE:
        unfresh(s, i, r)
    else:
        base = i * (2 * s.now[MOST_SEATS] + 2)
        group = group_of(s.group_from, base, s.ints[b + DEPTH], s.joined[r])
        s.worst[r] = max(s.worst[r], s.group_worst[base + group])
        s.last[r] = s.floats[i * FLOATS + LAST_S]
    if s.ints[b + BATCH] == 0:
        s.ints[b + DEPTH] = 0
    return context


def remainder(s: State, i: int, r: int) -> int:
    """Decode steps with this remainder, over the tokens of a block, are those in which a request needs a block."""
    return (s.finish[r] + 1 - s.prompt[r] - s.output[r]) % s.sizes[i * SIZES + BLOCK]


def unfresh(s: State, i: int, r: int) -> None:
    """Take a request out of those that have not decoded yet."""
    b = i * INTS
    s.ints[b + FRESH_COUNT] -= 1
    before = s.ints[b + FRESH]
    if before == r:
        s.ints[b + FRESH] = s.link[r]
        return
    while s.link[before] != r:
        before = s.link[before]
    s.link[before] = s.link[r]


# ---- preempting


def preempt(s: State, i: int, more: int) -> int:
    """Stop the request with the largest key; what it has computed is lost. `more` tokens have got blocks already."""
    b, block = i * INTS, s.sizes[i * SIZES + BLOCK]
    r = s.ints[b + PARTIAL]
    for j in range(s.ints[b + BATCH]):
        other = s.seats[i * s.now[MOST_SEATS] + j]
        if r == NONE or s.key[other] > s.key[r] or (s.key[other] == s.key[r] and other > r):
            r = other
    if r == s.ints[b + PARTIAL]:
        s.ints[b + PARTIAL] = NONE
        release(s, i, r, s.ints[b + HELD])
    else:
        context = part(s, i, r)
        s.generated[r] = context + 1 - s.prompt[r]
        release(s, i, r, blocks_of(context + more, block))
    s.preemptions[r] += 1
    s.marks[r] = s.marks[r] & HANDS
    wait(s, i, r)
    return r


def settle(s: State, i: int) -> None:
    """Get every decoding request the block that its next token needs, at the cost of those with the largest keys."""
    b, block = i * INTS, s.sizes[i * SIZES + BLOCK]
    at = i * s.now[MOST_BLOCK] + s.ints[b + DSTEP] % block
    while s.residue[at] > s.ints[b + FREE] + s.ints[b + IDLE]:
        if s.ints[b + IDLE] > 0:
            forget_idle(s, i)
        preempt(s, i, 0)
    take(s, i, s.residue[at])


# ---- prompts


def go_on(s: State, i: int, left: int) -> int:
    """Go on with the prompt that is computed in part; its tokens in this step, 0 where it is preempted instead."""
    b, block, r = i * INTS, s.sizes[i * SIZES + BLOCK], s.ints[i * INTS + PARTIAL]
    computed = s.ints[b + COMPUTED]
    new = min(s.prompt[r] + s.generated[r] - computed, left)
    if s.sizes[i * SIZES + RESERVE] == BY_CHUNK:
        count = blocks_of(computed + new, block) - s.ints[b + HELD]
        while count > s.ints[b + FREE] + s.ints[b + IDLE]:
            if preempt(s, i, 1) == r:
                return 0
        take(s, i, count)
        s.ints[b + HELD] += count
    share(s, i, r, computed + new)
    s.place[r] = new
    s.ints[b + COMPUTED] = computed + new
    if computed + new == s.prompt[r] + s.generated[r]:
        s.ints[b + PARTIAL] = NONE
        end_soon(s, i, r)
    return new


def end_soon(s: State, i: int, r: int) -> None:
    """The prompt of a request ends in this step."""
    b = i * INTS
    s.link[r] = NONE
    if s.ints[b + ENDING] == NONE:
        s.ints[b + ENDING] = r
    else:
        s.link[s.ints[b + ENDING_LAST]] = r
    s.ints[b + ENDING_LAST] = r
    s.ints[b + ENDING_COUNT] += 1


def inserts(s: State, i: int) -> bool:
    """Whether prompts may stop the decoding requests."""
    b, price = i * INTS, s.rates[i * RATES + PRICE]
    batch = s.ints[b + BATCH]
    if batch == 0 or price == 0.0:
        return True
    if price > 1e300:
        return False
    tokens = min(s.ints[b + WAIT_TOKENS], s.sizes[i * SIZES + BUDGET])
    cost = price * batch * step_s(s.grid, s.shape, s.values, s.sizes[i * SIZES + TABLE], tokens, 0.0, 0, 0)
    return s.floats[i * FLOATS + DEBT] >= cost


def admit(s: State, i: int, left: int) -> tuple[int, int, int]:
    """Admit waiting requests as far as budget, seats and blocks go: tokens, with their pasts, squared."""
    b, z = i * INTS, i * SIZES
    block, seats, reserve = s.sizes[z + BLOCK], s.sizes[z + SEATS], s.sizes[z + RESERVE]
    running = s.ints[b + BATCH] + s.ints[b + ENDING_COUNT] + (s.ints[b + PARTIAL] != NONE)
    tokens = weighted = squares = 0
    while s.ints[b + WAITERS] > 0 and left > 0 and running < seats:
        r = s.ints[b + ROOT]
        known = s.prompt[r] + s.generated[r]
        landed = s.marks[r] & LANDED
        hit = found(s, i, r)
        past = known - 1 if landed else hit * block
        new = min(known - past, left)
        if new < known - past and s.sizes[z + CHUNKED] == 0:
            break
        if reserve == ALL:
            held = blocks_of(s.prompt[r] if s.marks[r] & HANDS else s.prompt[r] + s.output[r] - 1, block)
        elif landed:
            held = blocks_of(known if s.sizes[z + MIXED] else past, block)
        else:
            held = blocks_of(known if reserve == BY_PROMPT else past + new, block)
        if held - hit + s.sizes[z + WATERMARK] > room(s, i, r, hit):
            break
        call(s, i)
        use_prefix(s, i, r, hit)
        take(s, i, held - hit)
        running += 1
        left -= new
        if landed:
            join(s, i, r)
            continue
        s.ints[b + FOUND] += past
        share(s, i, r, past + new)
        s.place[r] = new
        tokens += new
        weighted += new * past
        squares += new * new
        if past + new == known:
            end_soon(s, i, r)
        else:
            s.ints[b + PARTIAL] = r
            s.ints[b + COMPUTED] = past + new
            s.ints[b + HELD] = held
    return tokens, weighted, squares
