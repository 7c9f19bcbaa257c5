"""Where the lazy engine keeps its state: flat arrays, or lists where nothing is compiled.

Arrays of the first group have one entry per request; those of the second have a stretch for each replica: `ints` at
`replica * INTS + NAME`, `floats` at `replica * FLOATS + NAME`, and so on.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import TypeAlias

Wholes: TypeAlias = MutableSequence[int]
Bits: TypeAlias = Wholes  # in arrays of 8 bits,
Small: TypeAlias = Wholes  # of 32 bits,
Large: TypeAlias = Wholes  # of 64 bits
Reals: TypeAlias = MutableSequence[float]

TICK = 1e-9  # s; what comes so late after a step's start is in time for it, as engines round differently
NONE = -1
OUT = -2

# Status of a request.
COMING, WAITING, RUNNING, MOVING, DONE, REJECTED = 0, 1, 2, 3, 4, 5


@dataclass(slots=True)
class State:
    """All that the lazy engine reads and writes; its fields stay, what is in them changes."""

    # Per request.
    arrival: Reals
    prompt: Small
    output: Small
    shared: Small
    prefix: Small
    key: Reals
    first: Reals  # first_token_s
    last: Reals  # when its latest token came; while it decodes, only known of its first step (see `fresh`)
    worst: Reals  # max_gap_s as far as it is not in `groups`
    due: Reals  # when its cache arrives where it is sent; one entry where none is
    generated: Small  # while it decodes, as it was before: see `finish`
    finish: Small  # decode step of its replica after which it has all its tokens
    joined: Small  # decode step after which its gaps are in `groups`; NONE while it is fresh
    place: Small  # where it is in `seats`; while its prompt is computed, tokens of it in this step
    child: Small  # pairing heap of those that wait, or whose caches move
    sibling: Small
    link: Small  # next of those that are fresh, or that end their prompts in this step
    lent: Small  # blocks of it that belong to its prefix
    replica: Small
    preemptions: Small
    status: Bits
    marks: Bits  # bits: LANDED, HANDS, USES
    # Per replica.
    ints: Large
    floats: Reals
    residue: Large  # by remainder: decoding requests that need a block in a step with this remainder
    seats: Small  # heap of decoding requests by `finish`
    group_from: Large  # stack of groups by age: the step from which on its requests have been in it
    group_worst: Reals  # and the longest gap since then, falling from group to group
    group_kept: Small  # scratch
    cached: Small  # per prefix: blocks that can be found, ...
    used: Small  # ... those of them that requests use, ...
    users: Small  # ... how many requests do
    older: Small  # list of prefixes of which blocks can be had, longest untouched first; OUT for others
    newer: Small
    # Of the cluster, never written.
    sizes: Large  # per replica: MAX_TOKENS and so on
    rates: Reals  # per replica: HOST_S and so on
    fits: Bits  # per pool and request
    weights: Reals  # of the router, then of link and spill
    grid: Large
    shape: Large
    values: Reals
    # Of all replicas.
    now: Large
    times: Reals
    gaps: Large
    rows: Reals


# Of `ints`.
DSTEP, BATCH, CONTEXT, FREE, IDLE, PARTIAL, COMPUTED, HELD = 0, 1, 2, 3, 4, 5, 6, 7
ROOT, WAITERS, WAIT_TOKENS, WAIT_BLOCKS, FRESH, FRESH_COUNT, ENDING, ENDING_LAST = 8, 9, 10, 11, 12, 13, 14, 15
DEPTH, ASSIGNED, OLDEST, NEWEST, STEPS, PREFILLED, DECODED, FOUND = 16, 17, 18, 19, 20, 21, 22, 23
ENDING_COUNT = 24
INTS = 25

# Of `floats`.
CLOCK, LAST_S, DEBT, BUSY, WIRE = 0, 1, 2, 3, 4
FLOATS = 5

# Of `sizes`.
BUDGET, SEATS, BLOCK, CAPACITY, MIXED, CHUNKED, RESERVE, WATERMARK = 0, 1, 2, 3, 4, 5, 6, 7
CACHING, ROLE, TABLE, POOL = 8, 9, 10, 11
SIZES = 12
BY_CHUNK, BY_PROMPT, ALL = 0, 1, 2
ARRIVALS, CACHES, HANDS_ON = 1, 2, 4  # bits of a role: takes requests from outside, takes caches, hands caches on

# Of `rates`.
HOST_S, PRICE = 0, 1
RATES = 2

# Of `weights`, after the router's five.
TOKEN_S, LATENCY_S, LAYERS, SHARED_WIRE, SPILL_TOKENS, SPILL_CACHE = 5, 6, 7, 8, 9, 10
WEIGHTS = 11

# Of `now`.
REPLICAS, NEXT, MOVING_ROOT, ROWS, MOST_ROWS, PENDING, WAY, LINEAR = 0, 1, 2, 3, 4, 5, 6, 7
LINKED, SPILLS, MOST_BLOCK, MOST_SEATS, PREFIXES, REQUESTS = 8, 9, 10, 11, 12, 13
NOWS = 14

# Of `times`.
REFRESH, PERIOD = 0, 1

# Of `marks`: its cache came from elsewhere; it is to be handed on; it uses its prefix.
LANDED, HANDS, USES = 1, 2, 4

# Why `drive` returns.
ALL_DONE, FULL, ROUTE, NEW_KEYS, STUCK = 0, 1, 2, 3, 4
