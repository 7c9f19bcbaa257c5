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
    if s.sizes[i * SIZES + CACHING] == 0 or s.prefix[r] < 0 or s.marks[r] & LANDED:
        return 0
    block = s.sizes[i * SIZES + BLOCK]
    most = s.cached[i * s.now[PREFIXES] + s.prefix[r]]
    return min(most, s.shared[r] // block, (s.prompt[r] + s.generated[r] - 1) // block)


def room(s: State, i: int, r: int, hit: int) -> int:
    """Blocks that a request could get once it uses so many of its prefix."""
    blocks = s.ints[i * INTS + FREE] + s.ints[i * INTS + IDLE]
    if hit > 0:
        blocks -= max(0, hit - s.used[i * s.now[PREFIXES] + s.prefix[r]])
    return blocks


def take(s: State, i: int, count: int) -> None:
    """Take blocks, of which there are enough; prefixes lose theirs from the end, the longest untouched first."""
    b = i * INTS
    s.ints[b + FREE] -= count
    while s.ints[b + FREE] < 0:
        p = s.ints[b + OLDEST]
        at = i * s.now[PREFIXES] + p
        lost = min(-s.ints[b + FREE], s.cached[at] - s.used[at])
        s.cached[at] -= lost
        s.ints[b + IDLE] -= lost
        s.ints[b + FREE] += lost
        if s.cached[at] == s.used[at]:
            unlist(s, i, p)


def forget_idle(s: State, i: int) -> None:
    """Free all blocks of prefixes that nobody uses."""
    blocks = s.ints[i * INTS + FREE] + s.ints[i * INTS + IDLE]
    take(s, i, blocks)
    s.ints[i * INTS + FREE] += blocks


def use_prefix(s: State, i: int, r: int, hit: int) -> None:
    """An admitted request uses so many blocks of its prefix."""
    s.lent[r] = hit
    if s.sizes[i * SIZES + CACHING] == 0 or s.prefix[r] < 0 or s.marks[r] & LANDED:
        return
    at = i * s.now[PREFIXES] + s.prefix[r]
    s.marks[r] |= USES
    s.users[at] += 1
    set_prefix(s, i, s.prefix[r], s.cached[at], max(s.used[at], hit))


def share(s: State, i: int, r: int, computed: int) -> None:
    """A request has computed so many tokens: what is of its prefix can be found by others."""
    if s.marks[r] & USES == 0:
        return
    blocks = min(computed, s.shared[r]) // s.sizes[i * SIZES + BLOCK]
    if blocks > s.cached[i * s.now[PREFIXES] + s.prefix[r]]:
        s.lent[r] = blocks
        set_prefix(s, i, s.prefix[r], blocks, blocks)


def release(s: State, i: int, r: int, blocks: int) -> None:
    """Take so many blocks of a request back, less those of its prefix."""
    s.ints[i * INTS + FREE] += blocks - s.lent[r]
    if s.marks[r] & USES == 0:
        return
    s.marks[r] -= USES
    at = i * s.now[PREFIXES] + s.prefix[r]
    s.users[at] -= 1
    part = s.used[at]
    if s.lent[r] == part and part > 0:
        part = used_part(s, i, s.prefix[r], part) if s.users[at] > 0 else 0
    s.lent[r] = 0
    set_prefix(s, i, s.prefix[r], s.cached[at], part)


def used_part(s: State, i: int, p: int, most: int) -> int:
    """The longest part of a prefix that a request on the replica uses, `most` or less."""
    longest = 0
    for j in range(s.ints[i * INTS + BATCH]):
        r = s.seats[i * s.now[MOST_SEATS] + j]
        if s.prefix[r] == p and s.marks[r] & USES and s.lent[r] > longest:
            longest = s.lent[r]
            if longest == most:
                return most
    r = s.ints[i * INTS + PARTIAL]
    if r != NONE and s.prefix[r] == p:
        longest = max(longest, s.lent[r])
    r = s.ints[i * INTS + ENDING]
    while r != NONE:
        if s.prefix[r] == p and s.marks[r] & USES:
            longest = max(longest, s.lent[r])
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
    first, b = i * s.now[PREFIXES], i * INTS
    last = s.ints[b + NEWEST]
    s.older[first + p] = last
    s.newer[first + p] = NONE
    if last == NONE:
        s.ints[b + OLDEST] = p
    else:
        s.newer[first + last] = p
    s.ints[b + NEWEST] = p


def unlist(s: State, i: int, p: int) -> None:
    """Take a prefix out of that list."""
    first, b = i * s.now[PREFIXES], i * INTS
    before, after = s.older[first + p], s.newer[first + p]
    if before == NONE:
        s.ints[b + OLDEST] = after
    else:
        s.newer[first + before] = after
    if after == NONE:
        s.ints[b + NEWEST] = before
    else:
        s.older[first + after] = before
    s.older[first + p] = OUT
