"""Collective exchanges message by message: what each device holds, when each port is busy, when all is done.

The oracle of `dfcompiler.algorithms`. A device has one port out and one port in; a message leaves as soon as the port
and its data are there, and is in after the latency and the time of its bytes. A chunk is held as the set of devices
whose part is in it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil, log2


@dataclass(frozen=True)
class Message:
    """Chunks from a device to another; the receiver adds to them or takes them as they are."""

    source: int
    target: int
    chunks: tuple[int, ...]
    add: bool = False


@dataclass
class Network:
    """`held[d][c]`: whose parts device d has of chunk c. Chunks are of `size` seconds on a port."""

    held: list[list[frozenset[int]]]
    size: float
    latency: float
    ready: list[float] = field(init=False)  # when a device has all that was sent to it in rounds before
    out_free: Counter[int] = field(default_factory=Counter)
    in_free: Counter[int] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)
    received: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.ready = [0.0] * len(self.held)

    def round(self, messages: list[Message]) -> None:
        """All send what they hold at the beginning of the round."""
        values = [[self.held[m.source][c] for c in m.chunks] for m in messages]
        arrived = list(self.ready)
        for m, parts in zip(messages, values, strict=True):
            took = self.size * len(m.chunks)
            start = max(self.ready[m.source], self.out_free[m.source], self.in_free[m.target] - self.latency)
            self.out_free[m.source] = start + took
            self.in_free[m.target] = start + self.latency + took
            arrived[m.target] = max(arrived[m.target], start + self.latency + took)
            self.sent[m.source] += len(m.chunks)
            self.received[m.target] += len(m.chunks)
            for c, part in zip(m.chunks, parts, strict=True):
                self.held[m.target][c] = self.held[m.target][c] | part if m.add else part
        self.ready = arrived

    @property
    def seconds(self) -> float:
        """When the last message is in."""
        return max(self.ready)


def apart(n: int) -> list[list[frozenset[int]]]:
    """Everyone has a part of every chunk."""
    return [[frozenset({d})] * n for d in range(n)]


def own(n: int) -> list[list[frozenset[int]]]:
    """Everyone has its own chunk, whole."""
    return [[frozenset(range(n)) if c == d else frozenset() for c in range(n)] for d in range(n)]


Rounds = Iterator[list[Message]]


def ring_reduce(n: int) -> Rounds:
    for k in range(n - 1):
        yield [Message(d, (d + 1) % n, ((d - k - 1) % n,), add=True) for d in range(n)]


def ring_gather(n: int) -> Rounds:
    for k in range(n - 1):
        yield [Message(d, (d + 1) % n, ((d - k) % n,)) for d in range(n)]


def direct_reduce(n: int) -> Rounds:
    yield [Message(d, (d + k) % n, ((d + k) % n,), add=True) for k in range(1, n) for d in range(n)]


def direct_gather(n: int) -> Rounds:
    yield [Message(d, (d + k) % n, (d,)) for k in range(1, n) for d in range(n)]


def one_shot(n: int) -> Rounds:
    yield [Message(d, (d + k) % n, tuple(range(n)), add=True) for k in range(1, n) for d in range(n)]


def bruck_gather(n: int) -> Rounds:
    """After round k device d has the 2^(k+1) chunks from d on."""
    for k in range(ceil(log2(n))):
        has = 2**k
        yield [Message(d, (d - has) % n, tuple((d + i) % n for i in range(min(has, n - has)))) for d in range(n)]


def bruck_reduce(n: int) -> Rounds:
    """The rounds of the gather backwards: what was copied is added up."""
    for messages in reversed(list(bruck_gather(n))):
        yield [Message(m.target, m.source, m.chunks, add=True) for m in messages]


def doubling(n: int) -> Rounds:
    """Whole messages; those beyond the power of two hand in before and get the sum after."""
    power, all_ = 2 ** int(log2(n)), tuple(range(n))
    if n > power:
        yield [Message(d, d - power, all_, add=True) for d in range(power, n)]
    for k in range(int(log2(n))):
        yield [Message(d, d ^ (1 << k), all_, add=True) for d in range(power)]
    if n > power:
        yield [Message(d - power, d, all_) for d in range(power, n)]


def then(*parts: Callable[[int], Rounds]) -> Callable[[int], Rounds]:
    """One after the other."""
    return lambda n: (messages for part in parts for messages in part(n))


def binomial(n: int) -> Rounds:
    """A broadcast from device 0, all chunks together."""
    for k in range(ceil(log2(n))):
        yield [Message(d, d + 2**k, tuple(range(n))) for d in range(min(2**k, n - 2**k))]


def fan_out(n: int) -> Rounds:
    yield [Message(0, d, tuple(range(n))) for d in range(1, n)]


REDUCED = {
    "ring": then(ring_reduce, ring_gather),
    "direct": then(direct_reduce, direct_gather),
    "one-shot": one_shot,
    "doubling": doubling,
    "halving": then(bruck_reduce, bruck_gather),
}
SCATTERED = {"ring": ring_reduce, "direct": direct_reduce, "halving": bruck_reduce}
GATHERED = {"ring": ring_gather, "direct": direct_gather, "doubling": bruck_gather}
BROADCAST = {"tree": binomial, "one-shot": fan_out}


# ---- in pieces -----------------------------------------------------------------------------------

Task = tuple[object, ...]


@dataclass
class Ports:
    """Tasks that take a port for a time, in the order in which they may begin. A piece leaves by one task and comes in
    by another, which may begin a latency after the first has begun: nothing waits for the end of a piece in between."""

    latency: float
    tasks: dict[Task, tuple[object, float, list[Task]]] = field(default_factory=dict)  # port, seconds, what it needs

    def send(self, name: Task, source: int, target: int, seconds: float, needs: list[Task]) -> Task:
        """A piece from device to device; what depends on it needs the task that is returned."""
        self.tasks["out", *name] = (("out", source), seconds, needs)
        self.tasks["in", *name] = (("in", target), seconds, [("out", *name)])
        return ("in", *name)

    def run(self) -> tuple[float, float]:
        """When all is done, and the seconds of the busiest port."""
        users: dict[Task, list[Task]] = {}
        missing = {t: len(needs) for t, (_, _, needs) in self.tasks.items()}
        for t, (_, _, needs) in self.tasks.items():
            for need in needs:
                users.setdefault(need, []).append(t)
        order = {t: i for i, t in enumerate(self.tasks)}
        ready = dict.fromkeys(self.tasks, 0.0)
        heap = [(0.0, order[t], t) for t, n in missing.items() if not n]
        free: dict[object, float] = {}
        busy: dict[object, float] = {}
        while heap:
            at, _, t = heapq.heappop(heap)
            port, seconds, _ = self.tasks[t]
            start = max(at, free.get(port, 0.0))
            free[port] = start + seconds
            busy[port] = busy.get(port, 0.0) + seconds
            for user in users.get(t, ()):
                ready[user] = max(ready[user], start + self.latency if t[0] == "out" else start + seconds)
                missing[user] -= 1
                if not missing[user]:
                    heapq.heappush(heap, (ready[user], order[user], user))
        assert not any(missing.values())
        return max(free.values()), max(busy.values())


def chain_run(n: int, pieces: int, latency: float, whole: float) -> tuple[float, float]:
    """A broadcast handed on along a chain."""
    ports = Ports(latency)
    for i in range(pieces):
        before: list[Task] = []
        for d in range(n - 1):
            before = [ports.send((i, d), d, d + 1, whole / pieces, before)]
    return ports.run()


def two_trees(n: int) -> tuple[list[int], list[int]]:
    """Parents in two binary trees over n devices; who is inside of one is a leaf of the other (n even): the second is
    the first with devices shifted by one. The root's parent is itself."""

    def build(low: int, high: int, parent: int | None, to: list[int]) -> None:
        if low >= high:
            return
        mid = low + (1 << ((high - low).bit_length() - 1)) - 1 if high - low > 1 else low
        mid = min(mid, high - 1)
        to[mid] = mid if parent is None else parent
        build(low, mid, mid, to)
        build(mid + 1, high, mid, to)

    first = [0] * n
    build(0, n, None, first)
    second = [(first[(d - 1) % n] + 1) % n for d in range(n)]
    return first, second


def tree_run(n: int, pieces: int, latency: float, whole: float) -> tuple[float, float]:
    """An all-reduce by two trees, half of the message each: up to the root, and down."""
    ports, size = Ports(latency), whole / 2 / pieces

    def up(tree: int, d: int, parent: list[int], i: int) -> list[Task]:
        """What a device waits for before it hands its sum on."""
        below = [c for c in range(n) if parent[c] == d and c != d]
        return [ports.send((tree, i, c, "up"), c, d, size, up(tree, c, parent, i)) for c in below]

    def down(tree: int, d: int, parent: list[int], i: int, before: list[Task]) -> None:
        for c in (c for c in range(n) if parent[c] == d and c != d):
            down(tree, c, parent, i, [ports.send((tree, i, c, "down"), d, c, size, before)])

    for i in range(pieces):
        for tree, parent in enumerate(two_trees(n)):
            root = next(d for d in range(n) if parent[d] == d)
            down(tree, root, parent, i, up(tree, root, parent, i))
    return ports.run()


def switch_run(n: int, pieces: int, latency: float, whole: float) -> tuple[float, float]:
    """An all-reduce by a switch that adds and copies: everyone sends every chunk up, gets the sum of its own, sends it
    up, and all get it. A step is from a device through the switch to devices; two pieces are on their way."""
    ports, size = Ports(latency), whole / n / pieces
    for i in range(pieces):
        for o in range(n):
            for d in range(n):
                ports.tasks["out", i, o, d] = (("out", d), size, [("out", i - 2, d)] if i > 1 else [])
            ports.tasks["in", i, o] = (("in", o), size, [("out", i, o, d) for d in range(n)])
            ports.tasks["out", i, o] = (("out", o), size, [("in", i, o)])
            for d in range(n):
                ports.tasks["in", i, o, d] = (("in", d), size, [("out", i, o)])
    return ports.run()
