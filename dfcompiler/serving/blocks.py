"""The cache of one replica, block by block: who holds which, and which prefixes can be found in it."""

from __future__ import annotations

CHECKED = 600  # a cache of no more blocks is checked as a whole after every change


class Blocks:
    """`capacity` blocks, each free, held by one request, or part of one prefix.

    A prefix is as long as the longest part of it that any request has computed here. Admitted requests use the part
    that they found or computed; what lies beyond the longest of these parts can be had by others, from its end. The
    prefix that has been touched by no coming, going or computing of its requests for longest loses blocks first.
    """

    def __init__(self, capacity: int, block_tokens: int) -> None:
        self.capacity = capacity
        self.block_tokens = block_tokens
        self.free = list(range(capacity))
        self.held: dict[int, list[int]] = {}  # blocks that are a request's own
        self.prefixes: dict[int, list[int]] = {}
        self.users: dict[int, dict[int, int]] = {}  # of each prefix, with the length of the part that each uses
        self.idle: dict[int, None] = {}  # prefixes of which blocks can be had, the longest untouched first

    def of(self, tokens: int) -> int:
        """Blocks for so many tokens."""
        return -(-tokens // self.block_tokens)

    def used_part(self, prefix: int) -> int:
        """Blocks of a prefix that requests use."""
        return max(self.users.get(prefix, {}).values(), default=0)

    @property
    def idle_blocks(self) -> int:
        """Blocks that can be had by forgetting parts of prefixes."""
        return sum(len(self.prefixes[p]) - self.used_part(p) for p in self.idle)

    @property
    def used(self) -> int:
        """Blocks that are neither free nor to be had."""
        return self.capacity - len(self.free) - self.idle_blocks

    def found(self, prefix: int, shared: int, known: int) -> int:
        """Blocks of the prefix that a request with so many shared and known tokens need not compute.

        At least one token is computed, as that gives the next one.
        """
        return min(len(self.prefixes.get(prefix, ())), shared // self.block_tokens, (known - 1) // self.block_tokens)

    def room(self, prefix: int = -1, found: int = 0) -> int:
        """Blocks that a request could get once it uses so many of its prefix."""
        return len(self.free) + self.idle_blocks - max(0, found - self.used_part(prefix))

    def admit(self, request: int, prefix: int, found: int) -> None:
        """Begin to hold blocks for a request, which uses so many of its prefix; -1 for one that has none."""
        assert request not in self.held
        self.held[request] = []
        if prefix >= 0:
            self.prefixes.setdefault(prefix, [])
            self.users.setdefault(prefix, {})[request] = found
            self.touch(prefix)

    def take(self, request: int, count: int) -> None:
        """Give a request more blocks, of which there must be enough."""
        while len(self.free) < count:
            oldest = next(iter(self.idle))
            self.free.append(self.prefixes[oldest].pop())
            if len(self.prefixes[oldest]) == self.used_part(oldest):
                del self.idle[oldest]
        self.held[request] += [self.free.pop() for _ in range(count)]
        self.check()

    def size(self, request: int, prefix: int) -> int:
        """Blocks of a request, with those of its prefix that it uses."""
        return len(self.held[request]) + self.users.get(prefix, {}).get(request, 0)

    def share(self, request: int, prefix: int, shared: int) -> None:
        """The request has computed the first `shared` tokens of its prompt, which are of its prefix."""
        blocks, more = self.prefixes[prefix], shared // self.block_tokens - len(self.prefixes[prefix])
        if more > 0:
            assert self.users[prefix][request] == len(blocks)
            blocks += self.held[request][:more]
            del self.held[request][:more]
            self.users[prefix][request] = len(blocks)
            self.touch(prefix)
        self.check()

    def release(self, request: int, prefix: int) -> None:
        """Take all blocks of a request back; its prefix stays until others need the room."""
        self.free += self.held.pop(request)
        if request in self.users.get(prefix, ()):
            del self.users[prefix][request]
            self.touch(prefix)
        self.check()

    def touch(self, prefix: int) -> None:
        """Note that a prefix has just been in use."""
        self.idle.pop(prefix, None)
        if len(self.prefixes[prefix]) > self.used_part(prefix):
            self.idle[prefix] = None

    def check(self) -> None:
        """Every block is in exactly one place."""
        own, shared = self.held.values(), self.prefixes.values()
        assert len(self.free) + sum(map(len, own)) + sum(map(len, shared)) == self.capacity
        if self.capacity <= CHECKED:
            assert {*self.free, *(b for x in (*own, *shared) for b in x)} == set(range(self.capacity))
