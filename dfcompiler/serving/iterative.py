"""The engine as its specification: every step, and in it every running request, one after the other.

One step of a replica whose steps are mixed (vLLM V1):
1. Every decoding request gets a block where its next token needs one. While there is none, the running request with
   the largest key is preempted: it gives its blocks back and waits, to compute its prompt and what it has generated
   anew.
2. The request whose prompt is computed in part gets as much of the budget as it needs, with blocks in the same way.
3. Unless somebody was preempted, waiting requests are admitted in order of their keys, until the budget or the seats
   are used up, or there are no blocks for the next one: nobody overtakes.
4. The step takes what the table says. At its end every request whose known tokens are all computed has one more.
Where steps are not mixed, 3 comes first, and if it admits a prompt the step has nothing else.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field

from dfcompiler.serving.blocks import Blocks
from dfcompiler.serving.cluster import ROLES, Link, Pool
from dfcompiler.serving.layout import HANDS_ON
from dfcompiler.serving.ledger import Ledger


@dataclass
class Job:
    """A request on its way: `computed` tokens of it are in the cache of the replica that has it."""

    request: int
    prompt: int
    output: int
    prefix: int
    shared: int
    key: float = 0.0
    computed: int = 0
    generated: int = 0
    landed: bool = False  # its cache came from elsewhere and lacks only the latest token
    decoding: bool = False  # only its latest token is not computed, so that the next step gives the next one
    hands_on: bool = False
    due_s: float = 0.0  # when all of its cache that was sent has arrived

    @property
    def known(self) -> int:
        """Tokens that it has, computed or not."""
        return self.prompt + self.generated

    @property
    def final(self) -> int:
        """Tokens in the cache when it is done here."""
        return self.prompt if self.hands_on else self.prompt + self.output - 1

    @property
    def rank(self) -> tuple[float, int]:
        """Smaller is served first."""
        return self.key, self.request


@dataclass
class Wire:
    """A link, and when it is free again."""

    link: Link
    free_s: float = 0.0

    def send(self, job: Job, tokens: int, start_s: float, end_s: float) -> None:
        """Send what a step from `start_s` to `end_s` computed, layer by layer, after all that was sent before."""
        sending_s = tokens * self.link.bytes_per_token / self.link.bytes_per_s
        layer_s = (end_s - start_s) / self.link.layers
        begin = max(start_s + layer_s, self.free_s)
        self.free_s = max(begin + sending_s, end_s + sending_s / self.link.layers)
        job.due_s = self.free_s + self.link.latency_s


@dataclass
class Replica:
    """One replica: who runs (in order of admission) and who waits (in order of keys)."""

    number: int
    pool: Pool
    ledger: Ledger
    wire: Wire | None
    price: float
    clock: float = 0.0
    running: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    assigned: int = 0
    debt_s: float = 0.0  # what empty seats have cost since the last prefill, in seconds times seats
    handed_on: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings, self.rules, self.table = self.pool.settings, self.pool.settings.rules, self.pool.table
        self.blocks = Blocks(self.pool.blocks, self.settings.block_tokens)
        self.watermark, self.budget = self.pool.watermark, self.pool.budget

    # ---- what routers see

    @property
    def works(self) -> bool:
        """Whether it has a step to make."""
        return bool(self.running or self.waiting)

    @property
    def tokens(self) -> int:
        """Tokens of all requests that it has; of those whose cache came from elsewhere, all but the latest."""
        return self.waiting_tokens + sum(j.computed if j.decoding else j.known for j in self.running)

    @property
    def waiting_tokens(self) -> int:
        """Tokens of the requests that wait."""
        return sum(j.known for j in self.waiting)

    @property
    def cache_load(self) -> float:
        """Part of the blocks that are in use or asked for."""
        return (self.blocks.used + sum(self.blocks.of(j.known) for j in self.waiting)) / self.blocks.capacity

    def cached(self, job: Job) -> int:
        """Tokens of the job that are in the cache of prefixes."""
        return self.found(job) * self.settings.block_tokens

    def found(self, job: Job) -> int:
        """Blocks of the same."""
        if not self.settings.prefix_caching or job.prefix < 0 or job.landed:
            return 0
        return self.blocks.found(job.prefix, job.shared, job.known)

    # ---- coming and going

    def land(self, job: Job, now_s: float) -> None:
        """Take a request that has been sent here."""
        if not self.works:
            self.clock = max(self.clock, now_s)
        self.assigned += 1
        job.hands_on = bool(ROLES[self.pool.role] & HANDS_ON)
        self.wait(job)

    def wait(self, job: Job) -> None:
        """Put a request among those that wait."""
        bisect.insort(self.waiting, job, key=lambda j: j.rank)

    def preempt(self, job: Job) -> None:
        """Stop a running request; what it has computed is lost."""
        self.running.remove(job)
        self.blocks.release(job.request, job.prefix)
        self.ledger.preemptions[job.request] += 1
        job.computed, job.landed, job.decoding = 0, False, False
        self.wait(job)

    def leave(self, job: Job) -> None:
        """Take a request that needs this replica no more out of it."""
        self.running.remove(job)
        self.blocks.release(job.request, job.prefix)

    # ---- a step

    def step(self, horizon_s: float) -> None:
        """Make one step; `horizon_s` is for engines that make several at once."""
        batch, chunks = self.plan()
        assert batch or chunks, "a replica with requests must always have something to do"
        start = self.clock
        self.clock = start + self.seconds(batch, chunks)
        self.note(start, 1, batch, sum(new for _, new in chunks))
        self.finish(start, batch, chunks)

    def plan(self) -> tuple[list[Job], list[tuple[Job, int]]]:
        """Who decodes in the next step, and who computes how many prompt tokens."""
        if not self.rules.mixed:
            chunks = self.admit(self.budget, []) if self.inserts() else []
            if chunks:
                return [], chunks
            self.grow()
            return [j for j in self.running if j.decoding], []
        before = len(self.waiting)
        self.grow()
        left = self.budget - sum(j.decoding for j in self.running)
        chunks = self.go_on(left)
        if len(self.waiting) == before:
            chunks = self.admit(left - sum(new for _, new in chunks), chunks)
        return [j for j in self.running if j.decoding], chunks

    def grow(self) -> None:
        """Get every decoding request the block that its next token needs."""
        for job in [j for j in self.running if j.decoding]:
            if job in self.running and self.rules.reserve != "all":
                self.take(job, self.blocks.of(job.computed + 1) - self.blocks.of(job.computed))

    def take(self, job: Job, count: int) -> bool:
        """Get blocks for a running request, at the cost of others or of itself; whether it still runs."""
        while count > self.blocks.room():
            worst = max(self.running, key=lambda j: j.rank)
            self.preempt(worst)
            if worst is job:
                return False
        self.blocks.take(job.request, count)
        return True

    def go_on(self, left: int) -> list[tuple[Job, int]]:
        """Go on with the prompt that is computed in part, if there is one."""
        parts = [j for j in self.running if not j.decoding]
        assert len(parts) <= 1
        for job in parts:
            new = min(job.known - job.computed, left)
            more = self.blocks.of(job.computed + new) - self.blocks.of(job.computed)
            if self.take(job, more if self.rules.reserve == "chunk" else 0):
                self.publish(job, job.computed + new)
                return [(job, new)]
        return []

    def inserts(self) -> bool:
        """Whether prompts may stop the decoding requests."""
        if not self.running or self.price == 0:
            return True
        if self.price == math.inf or not self.waiting:
            return False
        tokens = min(self.waiting_tokens, self.budget)
        return self.debt_s >= self.price * len(self.running) * self.table.step_s(tokens, 0, 0, 0)

    def admit(self, left: int, chunks: list[tuple[Job, int]]) -> list[tuple[Job, int]]:
        """Admit waiting requests as far as budget, seats and blocks go; the chunks with theirs."""
        chunks = list(chunks)
        while self.waiting and left > 0 and len(self.running) < self.settings.max_sequences:
            job = self.waiting[0]
            hit = self.found(job)
            past = job.known - 1 if job.landed else hit * self.settings.block_tokens
            new = min(job.known - past, left)
            if new < job.known - past and not self.rules.chunked:
                break
            prefix = job.prefix if self.settings.prefix_caching and not job.landed else -1
            more = self.asks(job, past + new) - hit
            if more + self.watermark > self.blocks.room(prefix, hit):
                break
            self.running.append(self.waiting.pop(0))
            self.blocks.admit(job.request, prefix, hit)
            self.blocks.take(job.request, more)
            left -= new
            job.computed, job.decoding = past, job.landed
            if not job.landed:
                self.ledger.cached_tokens[self.number] += past
                self.publish(job, past + new)
                chunks.append((job, new))
        return chunks

    def asks(self, job: Job, computed: int) -> int:
        """Blocks that an admission takes, with those of the prefix, for so many tokens computed after the step."""
        if self.rules.reserve == "all":
            return self.blocks.of(job.final)
        if job.landed:  # in a mixed step it decodes at once
            return self.blocks.of(job.known if self.rules.mixed else job.known - 1)
        return self.blocks.of(job.known if self.rules.reserve == "prompt" else computed)

    def publish(self, job: Job, computed: int) -> None:
        """Let others find the part of the prefix that is computed by the end of this step."""
        if self.settings.prefix_caching and job.prefix >= 0:
            self.blocks.share(job.request, job.prefix, min(computed, job.shared))

    def seconds(self, batch: list[Job], chunks: list[tuple[Job, int]]) -> float:
        """What the step takes."""
        new = sum(n for _, n in chunks)
        past = 0.0
        if new:
            past = sum(n * j.computed for j, n in chunks) / new - (new * new - sum(n * n for _, n in chunks)) / (
                2 * new
            )
        return self.table.step_s(new, past, len(batch), sum(j.computed for j in batch)) + self.table.host_s

    def finish(self, start: float, batch: list[Job], chunks: list[tuple[Job, int]]) -> None:
        """What holds at the end of the step."""
        for job in sorted(batch, key=lambda j: j.request):
            self.compute(job, 1)
            self.generate(job)
        for job, new in chunks:
            self.compute(job, new)
            if job.hands_on and self.wire is not None:
                self.wire.send(job, new, start, self.clock)
            if job.computed == job.known:
                self.generate(job)

    def compute(self, job: Job, new: int) -> None:
        """So many more tokens of a request are in the cache."""
        job.computed += new
        assert self.blocks.size(job.request, job.prefix) >= self.blocks.of(job.computed)

    def generate(self, job: Job) -> None:
        """One more token of a request."""
        done = self.ledger.token(job.request, self.clock, self.number)
        job.generated += 1
        job.decoding = True
        if done:
            self.leave(job)
        elif job.hands_on and not self.keeps(job):
            self.leave(job)
            job.landed = True
            self.handed_on.append(job)
        else:
            job.hands_on = False

    def keeps(self, job: Job) -> bool:
        """Whether a request that should be handed on stays; replaced where pools spill."""
        return False

    def note(self, start: float, steps: int, batch: list[Job], prefill: int) -> None:
        """Write down what is done from `start` until now, and what seats cost that stay empty while somebody waits."""
        seats = min(len(self.waiting), self.settings.max_sequences - len(self.running))
        self.debt_s = 0.0 if prefill else self.debt_s + seats * (self.clock - start)
        ledger, n = self.ledger, self.number
        ledger.steps[n] += steps
        ledger.busy_s[n] += self.clock - start
        ledger.prefill_tokens[n] += prefill
        ledger.decode_tokens[n] += steps * len(batch)
        context = sum(j.computed for j in batch)
        used, waiting = self.blocks.used, len(self.waiting)
        ledger.rows.append((n, start, self.clock, steps, prefill, len(batch), context, used, waiting))
