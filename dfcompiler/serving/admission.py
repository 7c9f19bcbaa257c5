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
    CACHING,
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
    ints = s.ints
    b = i * INTS
    known = s.prompt[r] + s.generated[r]
    s.status[r] = WAITING
    ints[b + WAITERS] += 1
    ints[b + WAIT_TOKENS] += known
    ints[b + WAIT_BLOCKS] += blocks_of(known, s.sizes[i * SIZES + BLOCK])
    ints[b + ROOT] = push(ints[b + ROOT], r, s.key, s.child, s.sibling)


def call(s: State, i: int) -> int:
    """Take out of those that wait whose turn it is."""
    ints = s.ints
    b = i * INTS
    r = ints[b + ROOT]
    known = s.prompt[r] + s.generated[r]
    s.status[r] = RUNNING
    ints[b + WAITERS] -= 1
    ints[b + WAIT_TOKENS] -= known
    ints[b + WAIT_BLOCKS] -= blocks_of(known, s.sizes[i * SIZES + BLOCK])
    ints[b + ROOT] = pop(r, s.key, s.child, s.sibling)
    return r


# ---- decoding: the context of a request is its prompt and output less the steps until it is done, less one


def join(s: State, i: int, r: int) -> None:
    """A request decodes from the next decode step on; all its tokens but the latest are computed."""
    ints, finish, generated, now = s.ints, s.finish, s.generated, s.now
    b = i * INTS
    count, step = ints[b + BATCH], ints[b + DSTEP]
    finish[r] = step + s.output[r] - generated[r]
    s.residue[i * now[MOST_BLOCK] + remainder(s, i, r)] += 1
    rise(s.seats, s.place, finish, i * now[MOST_SEATS], count, r)
    ints[b + BATCH] = count + 1
    ints[b + CONTEXT] += s.prompt[r] + generated[r] - 1
    s.joined[r] = NONE
    s.link[r] = ints[b + FRESH]
    ints[b + FRESH] = r
    ints[b + FRESH_COUNT] += 1


def part(s: State, i: int, r: int) -> int:
    """A request stops decoding; its context then."""
    finish, ints, now, place, joined, worst = s.finish, s.ints, s.now, s.place, s.joined, s.worst
    b = i * INTS
    context = s.prompt[r] + s.output[r] - 1 - (finish[r] - ints[b + DSTEP])
    s.residue[i * now[MOST_BLOCK] + remainder(s, i, r)] -= 1
    unseat(s.seats, place, finish, i * now[MOST_SEATS], ints[b + BATCH], place[r])
    ints[b + BATCH] -= 1
    ints[b + CONTEXT] -= context
    if joined[r] == NONE:
        unfresh(s, i, r)
    else:
        base = i * (2 * now[MOST_SEATS] + 2)
        group = group_of(s.group_from, base, ints[b + DEPTH], joined[r])
        worst[r] = max(worst[r], s.group_worst[base + group])
        s.last[r] = s.floats[i * FLOATS + LAST_S]
    if ints[b + BATCH] == 0:
        ints[b + DEPTH] = 0
    return context


def remainder(s: State, i: int, r: int) -> int:
    """Decode steps with this remainder, over the tokens of a block, are those in which a request needs a block."""
    return (s.finish[r] + 1 - s.prompt[r] - s.output[r]) % s.sizes[i * SIZES + BLOCK]


def unfresh(s: State, i: int, r: int) -> None:
    """Take a request out of those that have not decoded yet."""
    ints, link = s.ints, s.link
    b = i * INTS
    ints[b + FRESH_COUNT] -= 1
    before = ints[b + FRESH]
    if before == r:
        ints[b + FRESH] = link[r]
        return
    while link[before] != r:
        before = link[before]
    link[before] = link[r]


# ---- preempting


def preempt(s: State, i: int, more: int) -> int:
    """Stop the request with the largest key; what it has computed is lost. `more` tokens have got blocks already."""
    ints, key, marks = s.ints, s.key, s.marks
    b, block = i * INTS, s.sizes[i * SIZES + BLOCK]
    r = ints[b + PARTIAL]
    for j in range(ints[b + BATCH]):
        other = s.seats[i * s.now[MOST_SEATS] + j]
        if r == NONE or key[other] > key[r] or (key[other] == key[r] and other > r):
            r = other
    if r == ints[b + PARTIAL]:
        ints[b + PARTIAL] = NONE
        release(s, i, r, ints[b + HELD])
    else:
        context = part(s, i, r)
        s.generated[r] = context + 1 - s.prompt[r]
        release(s, i, r, blocks_of(context + more, block))
    s.preemptions[r] += 1
    marks[r] = marks[r] & HANDS
    wait(s, i, r)
    return r


def settle(s: State, i: int) -> None:
    """Get every decoding request the block that its next token needs, at the cost of those with the largest keys."""
    ints, residue, b, z = s.ints, s.residue, i * INTS, i * SIZES
    if ints[b + BATCH] == 0 or s.sizes[z + RESERVE] == ALL:
        return
    at = i * s.now[MOST_BLOCK] + ints[b + DSTEP] % s.sizes[z + BLOCK]
    count = residue[at]
    if count <= ints[b + FREE]:
        ints[b + FREE] -= count
        return
    while residue[at] > ints[b + FREE] + ints[b + IDLE]:
        if ints[b + IDLE] > 0:
            forget_idle(s, i)
        preempt(s, i, 0)
    take(s, i, residue[at])


# ---- prompts


def go_on(s: State, i: int, left: int) -> int:
    """Go on with the prompt that is computed in part; its tokens in this step, 0 where it is preempted instead."""
    sizes, ints, prompt, generated = s.sizes, s.ints, s.prompt, s.generated
    b, block, r = i * INTS, sizes[i * SIZES + BLOCK], ints[i * INTS + PARTIAL]
    computed = ints[b + COMPUTED]
    new = min(prompt[r] + generated[r] - computed, left)
    if sizes[i * SIZES + RESERVE] == BY_CHUNK:
        count = blocks_of(computed + new, block) - ints[b + HELD]
        while count > ints[b + FREE] + ints[b + IDLE]:
            if preempt(s, i, 1) == r:
                return 0
        take(s, i, count)
        ints[b + HELD] += count
    share(s, i, r, computed + new)
    s.place[r] = new
    ints[b + COMPUTED] = computed + new
    if computed + new == prompt[r] + generated[r]:
        ints[b + PARTIAL] = NONE
        end_soon(s, i, r)
    return new


def end_soon(s: State, i: int, r: int) -> None:
    """The prompt of a request ends in this step."""
    link, ints = s.link, s.ints
    b = i * INTS
    link[r] = NONE
    if ints[b + ENDING] == NONE:
        ints[b + ENDING] = r
    else:
        link[ints[b + ENDING_LAST]] = r
    ints[b + ENDING_LAST] = r
    ints[b + ENDING_COUNT] += 1


def inserts(s: State, i: int) -> bool:
    """Whether prompts may stop the decoding requests."""
    ints, sizes = s.ints, s.sizes
    b, price = i * INTS, s.rates[i * RATES + PRICE]
    batch = ints[b + BATCH]
    if batch == 0 or price == 0.0:
        return True
    if price > 1e300:
        return False
    tokens = min(ints[b + WAIT_TOKENS], sizes[i * SIZES + BUDGET])
    cost = price * batch * step_s(s.grid, s.shape, s.values, sizes[i * SIZES + TABLE], tokens, 0.0, 0, 0)
    return s.floats[i * FLOATS + DEBT] >= cost


def admit(s: State, i: int, left: int) -> tuple[int, int, int]:
    """Admit waiting requests as far as budget, seats and blocks go: tokens, with their pasts, squared."""
    sizes, ints, prompt, marks = s.sizes, s.ints, s.prompt, s.marks
    b, z = i * INTS, i * SIZES
    block, seats, reserve, caching = sizes[z + BLOCK], sizes[z + SEATS], sizes[z + RESERVE], sizes[z + CACHING]
    running = ints[b + BATCH] + ints[b + ENDING_COUNT] + (ints[b + PARTIAL] != NONE)
    tokens = weighted = squares = 0
    while ints[b + WAITERS] > 0 and left > 0 and running < seats:
        r = ints[b + ROOT]
        known = prompt[r] + s.generated[r]
        landed = marks[r] & LANDED
        hit = found(s, i, r) if caching else 0
        past = known - 1 if landed else hit * block
        new = min(known - past, left)
        if new < known - past and sizes[z + CHUNKED] == 0:
            break
        if reserve == ALL:
            held = blocks_of(prompt[r] if marks[r] & HANDS else prompt[r] + s.output[r] - 1, block)
        elif landed:
            held = blocks_of(known if sizes[z + MIXED] else past, block)
        else:
            held = blocks_of(known if reserve == BY_PROMPT else past + new, block)
        if held - hit + sizes[z + WATERMARK] > room(s, i, r, hit):
            break
        call(s, i)
        if caching:
            use_prefix(s, i, r, hit)
        take(s, i, held - hit)
        running += 1
        left -= new
        if landed:
            join(s, i, r)
            continue
        ints[b + FOUND] += past
        if caching:
            share(s, i, r, past + new)
        s.place[r] = new
        tokens += new
        weighted += new * past
        squares += new * new
        if past + new == known:
            end_soon(s, i, r)
        else:
            ints[b + PARTIAL] = r
            ints[b + COMPUTED] = past + new
            ints[b + HELD] = held
    return tokens, weighted, squares
