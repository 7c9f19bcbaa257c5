"""Queues of requests, by number, inside of arrays: who waits, who is done next, and which prefix was used last."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from dfcompiler.serving.layout import NONE, Wholes

# ---- a pairing heap: the smallest key first, of equal keys the smallest number; NONE is the empty heap


def meld(a: int, b: int, key: Sequence[float], child: Wholes, sibling: Wholes) -> int:
    """The root of two heaps, whose roots have no siblings, made one."""
    if a == NONE:
        return b
    if b == NONE:
        return a
    if key[b] < key[a] or (key[b] == key[a] and b < a):
        a, b = b, a
    sibling[b] = child[a]
    child[a] = b
    return a


def push(root: int, item: int, key: Sequence[float], child: Wholes, sibling: Wholes) -> int:
    """The root after an item came in."""
    child[item] = sibling[item] = NONE
    return meld(root, item, key, child, sibling)


def pop(root: int, key: Sequence[float], child: Wholes, sibling: Wholes) -> int:
    """The root after the first item, which is the root, went out."""
    pairs, rest = NONE, child[root]
    while rest != NONE:
        a, b = rest, sibling[rest]
        if b == NONE:
            rest = NONE
        else:
            rest = sibling[b]
            sibling[b] = NONE
        sibling[a] = NONE
        pair = meld(a, b, key, child, sibling)
        sibling[pair] = pairs
        pairs = pair
    root = NONE
    while pairs != NONE:
        rest = sibling[pairs]
        sibling[pairs] = NONE
        root = meld(root, pairs, key, child, sibling)
        pairs = rest
    return root


# ---- a binary heap of decoding requests, from `base` on, by the step in which they are done and by their number


def unseat(seats: Wholes, place: Wholes, finish: Wholes, base: int, count: int, at: int) -> None:
    """Take the item at a place out of a heap of `count`."""
    last = count - 1
    moved = seats[base + last]
    if at == last:
        return
    below = 2 * at + 1
    while below < last:  # the gap sinks to the bottom, where the last item comes from, and rises but little
        item = seats[base + below]
        if below + 1 < last:
            other = seats[base + below + 1]
            step, then = finish[item], finish[other]
            if then < step or (then == step and other < item):
                below, item = below + 1, other
        seats[base + at] = item
        place[item] = at
        at, below = below, 2 * below + 1
    rise(seats, place, finish, base, at, moved)


def rise(seats: Wholes, place: Wholes, finish: Wholes, base: int, at: int, item: int) -> None:
    """Put an item at a place, the end for a new one, or as far above it as it belongs."""
    step = finish[item]
    while at > 0:
        above = (at - 1) >> 1
        other = seats[base + above]
        then = finish[other]
        if then < step or (then == step and other < item):
            break
        seats[base + at] = other
        place[other] = at
        at = above
    seats[base + at] = item
    place[item] = at


# ---- groups of requests that have seen the same gaps: a stack by age, with the longest gap of each


def group_of(start: Sequence[int], base: int, depth: int, step: int) -> int:
    """Which group a request is in that joined after this step."""
    return bisect_right(start, step, base + 1, base + depth) - 1 - base
