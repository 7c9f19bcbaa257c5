"""The engine that jumps: runs of steps in which the same requests decode and nothing else happens, in closed form."""

from __future__ import annotations

from dfcompiler.serving.interpolation import decode_line, run_s, steps_until
from dfcompiler.serving.iterative import Replica
from dfcompiler.serving.layout import TICK


class JumpingReplica(Replica):
    """A replica whose steps are those of `Replica`, some of them made at once.

    After a step in which all that run decode, and nobody came, went or was preempted, the next one is the same: who
    waits for blocks or seats still does. That ends with the first request that is done, when somebody may come, when
    blocks run short, and where the table's cell ends. Until then each step takes equally much more than the last.
    """

    def step(self, horizon_s: float) -> None:
        before, computed = self.state(), self.ledger.prefill_tokens[self.number]
        super().step(horizon_s)
        if self.running and self.state() == before and self.ledger.prefill_tokens[self.number] == computed:
            self.leap(horizon_s)

    def state(self) -> tuple[list[int], int]:
        """Who runs, and how many wait."""
        return [j.request for j in self.running], len(self.waiting)

    def leap(self, horizon_s: float) -> None:
        """Make as many steps at once as are alike, if any."""
        if self.clock + TICK >= horizon_s or (self.waiting and 0 < self.price < float("inf")):
            return
        batch, flat = len(self.running), self.table.flat
        context = sum(j.computed for j in self.running)
        first, slope, end = decode_line(*flat, 0, batch, context)
        most = min(j.output - j.generated for j in self.running) - 1
        if end >= 0:
            most = min(most, (end - context) // batch + 1)
        first, growth = first + self.table.host_s, slope * batch
        if most < 1 or first + growth * (most - 1) < self.table.host_s or first < self.table.host_s:
            return
        steps = steps_until(first, growth, most, horizon_s - TICK - self.clock)
        more = [self.blocks.of(j.computed + steps) - self.blocks.of(j.computed) for j in self.running]
        if self.rules.reserve != "all" and sum(more) > len(self.blocks.free):
            return
        for job, count in zip(self.running, more, strict=True):
            self.blocks.take(job.request, count if self.rules.reserve != "all" else 0)
        start, self.clock = self.clock, self.clock + run_s(first, growth, steps)
        self.note(start, steps, self.running, 0)
        durations = [first + growth * i for i in range(steps)]
        self.ledger.tokens([j.request for j in self.running], durations, self.clock)
        for job in self.running:
            self.compute(job, steps)
            job.generated += steps
