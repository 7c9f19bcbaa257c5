"""Strategies: every way to put a model on so many devices, ranked by the rate that keeps the objectives.

A strategy is a chip, devices per replica (`tp` side by side, `pp` stages), and replicas that serve requests to the end,
or some that prefill and some that decode. Those that cannot win are not simulated: a ceiling proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.chip import Chip
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.answers import Objectives
from dfcompiler.serving.ceilings import ceiling
from dfcompiler.serving.cluster import Cluster, Role
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.policy import Policy, Router
from dfcompiler.serving.rates import RUNS, TOLERANCE, Rate, find_rate
from dfcompiler.serving.replicas import Replicas, link_of
from dfcompiler.serving.requests import Requests

REFUSED = ("bad-shard", "bad-stages", "no-link")  # of what a strategy asks for, not of what people ask


@dataclass(frozen=True)
class Strategy:
    """Replicas of `tp * pp` devices of a chip: `both` serve requests to the end, or `prefill` and `decode` share them
    out."""

    chip: str
    tp: int
    pp: int
    both: int = 0
    prefill: int = 0
    decode: int = 0

    @property
    def roles(self) -> dict[Role, int]:
        """Replicas by role."""
        every: dict[Role, int] = {"both": self.both, "prefill": self.prefill, "decode": self.decode}
        return {role: n for role, n in every.items() if n}

    @property
    def devices(self) -> int:
        """Devices that it takes."""
        return self.tp * self.pp * (self.both + self.prefill + self.decode)


@dataclass(frozen=True)
class Outcome:
    """What became of a strategy: its rate, or why it has none. `ceiling_per_s` is what it cannot exceed, None where it
    was not asked; `proven` says that it was skipped as another one is better than that."""

    strategy: Strategy
    rate: Rate | None = None
    ceiling_per_s: float | None = None
    why: str = ""
    proven: bool = False

    @property
    def goodput_per_s(self) -> float:
        """Requests per second that keep to the objectives."""
        return self.rate.rate_per_s * self.rate.attained if self.rate else 0.0


@dataclass(frozen=True)
class Question:
    """What strategies are judged by."""

    requests: Requests
    wanted: Objectives
    part: float
    policy: Policy
    router: Router
    tolerance: float = TOLERANCE


Made = Callable[[Chip, Parallel], Replicas]


def strategies(chip: str, parallel: Parallel, devices: int) -> Iterator[Strategy]:
    """All that so many devices of a chip allow with replicas of these: as many as fit, together or apart."""
    many = devices // parallel.count
    one = Strategy(chip, parallel.tp, parallel.pp)
    if many:
        yield replace(one, both=many)
    yield from (replace(one, prefill=n, decode=many - n) for n in range(1, many))


def ways(devices: int) -> list[Parallel]:
    """Replicas of so many devices at the most; with some, devices are left over."""
    return [Parallel(tp=t, pp=p) for t in range(1, devices + 1) for p in range(1, devices // t + 1)]


def rank(chips: Sequence[Chip], devices: int, made: Made, asked: Question, *, prove: bool = True) -> list[Outcome]:
    """Every strategy on up to so many devices, the best first; then those that were skipped. Without `prove` each is
    simulated.

    Raises what `find_rate` raises but for objectives that a strategy cannot keep.
    """
    found: list[Outcome] = []
    waiting: list[tuple[Outcome, Cluster]] = []
    for chip in chips:
        for parallel in ways(devices):
            try:
                base = made(chip, parallel)
            except Diag as error:
                if not isinstance(error, Infeasible) and error.code not in REFUSED:
                    raise
                whole = Strategy(chip.name, parallel.tp, parallel.pp, devices // parallel.count)
                found.append(Outcome(whole, why=error.message.splitlines()[0]))
                continue
            for s in strategies(chip.name, parallel, devices):
                cluster = cluster_of(base, s, asked)
                most = ceiling(asked.requests, cluster.pools, asked.wanted, asked.part)
                waiting.append((Outcome(s, ceiling_per_s=most), cluster))
    best: Outcome | None = None
    for outcome, cluster in sorted(waiting, key=lambda x: -(x[0].ceiling_per_s or 0.0)):
        most = outcome.ceiling_per_s or 0.0
        if prove and best is not None and best.rate is not None and most <= best.rate.rate_per_s:
            why = f"at most {most:.4g} requests/s, less than the best"
            found.append(replace(outcome, why=why, proven=True))
            continue
        tried = _tried(outcome, cluster, asked)
        found.append(tried)
        best = max((x for x in (best, tried) if x is not None), key=lambda x: x.rate.rate_per_s if x.rate else -1.0)
    return sorted(found, key=lambda x: (x.rate is None, -x.rate.rate_per_s if x.rate else 0.0))


def cluster_of(base: Replicas, s: Strategy, asked: Question) -> Cluster:
    """The pools of a strategy, from one replica of them."""
    pools = tuple(replace(base.pool, replicas=n, role=role) for role, n in s.roles.items())
    return Cluster(pools, asked.policy, asked.router, link_of([base]) if s.prefill else None)


def _tried(outcome: Outcome, cluster: Cluster, asked: Question) -> Outcome:
    try:
        rate = find_rate(
            asked.requests, lambda r: simulate(r, cluster, runs=RUNS), asked.wanted, asked.part, asked.tolerance
        )
    except Infeasible as error:
        return replace(outcome, why=error.hint or error.message)
    return replace(outcome, rate=rate)
