"""Blocks of the lazy engine's replicas, counted instead of listed: the rules are those of `blocks.Blocks`."""

from __future__ import annotations

from dfcompiler.serving.layout import (
    BATCH,
    BLOCK,
    CACHING,
    ENDING,
    FREE,
    IDLE,
    INTS,
    LANDED,
    MOST_SEATS,
    NEWEST,
    NONE,
    OLDEST,
    OUT,
    PARTIAL,
    PREFIXES,
    SIZES,
    USES,
    State,
)


def blocks_of(tokens: int, block: int) -> int:
    """Blocks for so many tokens."""
    return (tokens + block - 1) // block


def found(s: State, i: int, r: int) -> int:
    """Blocks that request `r` need not compute on replica `i`, as they are in its cache of prefixes."""
    sizes, prefix = s.sizes, s.prefix
    if sizes[i * SIZES + CACHING] == 0 or prefix[r] < 0 or s.marks[r] & LANDED:
        return 0
    block = sizes[i * SIZES + BLOCK]
    most = s.cached[i * s.now[PREFIXES] + prefix[r]]
    return min(most, s.shared[r] // block, (s.prompt[r] + s.generated[r] - 1) // block)


def room(s: State, i: int, r: int, hit: int) -> int:
    """Blocks that a request could get once it uses so many of its prefix."""
    ints = s.ints
    blocks = ints[i * INTS + FREE] + ints[i * INTS + IDLE]
    if hit > 0:
        blocks -= max(0, hit - s.used[i * s.now[PREFIXES] + s.prefix[r]])
    return blocks


def take(s: State, i: int, count: int) -> None:
    """Take blocks, of which there are enough; prefixes lose theirs from the end, the longest untouched first."""
    ints, cached, used = s.ints, s.cached, s.used
    b = i * INTS
    ints[b + FREE] -= count
    while ints[b + FREE] < 0:
        p = ints[b + OLDEST]
        at = i * s.now[PREFIXES] + p
        lost = min(-ints[b + FREE], cached[at] - used[at])
        cached[at] -= lost
        ints[b + IDLE] -= lost
        ints[b + FREE] += lost
        if cached[at] == used[at]:
            unlist(s, i, p)


def forget_idle(s: State, i: int) -> None:
    """Free all blocks of prefixes that nobody uses."""
    ints = s.ints
    blocks = ints[i * INTS + FREE] + ints[i * INTS + IDLE]
    take(s, i, blocks)
    ints[i * INTS + FREE] += blocks


def use_prefix(s: State, i: int, r: int, hit: int) -> None:
    """An admitted request uses so many blocks of its prefix."""
    prefix, marks = s.prefix, s.marks
    if s.sizes[i * SIZES + CACHING] == 0 or prefix[r] < 0 or marks[r] & LANDED:
        return
    s.lent[r] = hit
    at = i * s.now[PREFIXES] + prefix[r]
    marks[r] |= USES
    s.users[at] += 1
    set_prefix(s, i, prefix[r], s.cached[at], max(s.used[at], hit))


def share(s: State, i: int, r: int, computed: int) -> None:
    """A request has computed so many tokens: what is of its prefix can be found by others."""
    prefix = s.prefix
    if s.marks[r] & USES == 0:
        return
    blocks = min(computed, s.shared[r]) // s.sizes[i * SIZES + BLOCK]
    if blocks > s.cached[i * s.now[PREFIXES] + prefix[r]]:
        s.lent[r] = blocks
        set_prefix(s, i, prefix[r], blocks, blocks)


def release(s: State, i: int, r: int, blocks: int) -> None:
    """Take so many blocks of a request back, less those of its prefix."""
    lent, marks, prefix, users = s.lent, s.marks, s.prefix, s.users
    s.ints[i * INTS + FREE] += blocks
    if marks[r] & USES == 0:
        return
    s.ints[i * INTS + FREE] -= lent[r]
    marks[r] -= USES
    at = i * s.now[PREFIXES] + prefix[r]
    users[at] -= 1
    part = s.used[at]
    if lent[r] == part and part > 0:
        part = used_part(s, i, prefix[r], part) if users[at] > 0 else 0
    lent[r] = 0
    set_prefix(s, i, prefix[r], s.cached[at], part)


def used_part(s: State, i: int, p: int, most: int) -> int:
    """The longest part of a prefix that a request on the replica uses, `most` or less."""
    ints, prefix, marks, lent = s.ints, s.prefix, s.marks, s.lent
    longest = 0
    for j in range(ints[i * INTS + BATCH]):
        r = s.seats[i * s.now[MOST_SEATS] + j]
        if prefix[r] == p and marks[r] & USES and lent[r] > longest:
            longest = lent[r]
            if longest == most:
                return most
    r = ints[i * INTS + PARTIAL]
    if r != NONE and prefix[r] == p:
        longest = max(longest, lent[r])
    r = ints[i * INTS + ENDING]
    while r != NONE:
        if prefix[r] == p and marks[r] & USES:
            longest = max(longest, lent[r])
        r = s.link[r]
    return longest


def set_prefix(s: State, i: int, p: int, cached: int, used: int) -> None:
    """Set the blocks of a prefix that can be found and that are used; it has just been touched."""
    at = i * s.now[PREFIXES] + p
    s.ints[i * INTS + IDLE] += (cached - used) - (s.cached[at] - s.used[at])
    s.cached[at] = cached
    s.used[at] = used
    if s.older[at] != OUT:
        unlist(s, i, p)
    if cached > used:
        enlist(s, i, p)


def enlist(s: State, i: int, p: int) -> None:
    """Put a prefix at the end of the list of those of which blocks can be had."""
    ints, newer = s.ints, s.newer
    first, b = i * s.now[PREFIXES], i * INTS
    last = ints[b + NEWEST]
    s.older[first + p] = last
    newer[first + p] = NONE
    if last == NONE:
        ints[b + OLDEST] = p
    else:
        newer[first + last] = p
    ints[b + NEWEST] = p


def unlist(s: State, i: int, p: int) -> None:
    """Take a prefix out of that list."""
    older, newer, ints = s.older, s.newer, s.ints
    first, b = i * s.now[PREFIXES], i * INTS
    before, after = older[first + p], newer[first + p]
    if before == NONE:
        ints[b + OLDEST] = after
    else:
        newer[first + before] = after
    if after == NONE:
        ints[b + NEWEST] = before
    else:
        older[first + after] = before
    older[first + p] = OUT
