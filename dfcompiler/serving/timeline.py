"""The order in which things happen in a cluster, with plain replicas: the specification of `drive`.

Whatever is next in time happens next: a replica that has requests makes a step at its clock; a request comes; a
cache arrives where it is sent; the policy gives new keys. A request or cache that comes at most `TICK` after the
start of a step is in time for it; of several things at one time, arrivals are first, then caches, keys and steps,
these by the number of the replica. A router sees each replica as the latest step that it has begun will leave it.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.cluster import ROLES, Cluster
from dfcompiler.serving.iterative import Job, Replica, Wire
from dfcompiler.serving.layout import ARRIVALS, CACHES, HANDS_ON, TICK
from dfcompiler.serving.ledger import Ledger
from dfcompiler.serving.policy import Load, Policy
from dfcompiler.serving.requests import Floats, Ints, Requests
from dfcompiler.serving.served import Served


def keys_of(policy: Policy, requests: Requests, now_s: Floats, generated: Ints) -> Floats:
    """The keys that a policy gives, shape `[n]`; raises Diag `bad-policy` where they are not numbers of that shape."""
    try:
        keys = np.broadcast_to(np.asarray(policy.key(requests, now_s, generated), dtype=np.float64), len(requests))
    except (TypeError, ValueError) as error:
        message = f"the policy `{policy.name}` must give one number for each of {len(requests)} requests"
        raise Diag("bad-policy", f"{message}: {error}") from error
    if np.isnan(keys).any():
        raise Diag("bad-policy", f"the policy `{policy.name}` gives keys that are not numbers")
    return np.array(keys)


class Timeline:
    """A cluster at work on a list of requests."""

    def __init__(self, requests: Requests, cluster: Cluster, kind: type[Replica]) -> None:
        self.requests, self.cluster = requests, cluster
        pools = [(i, p) for i, p in enumerate(cluster.pools) for _ in range(p.replicas)]
        self.ledger = Ledger(requests, len(pools))
        price = cluster.policy.insertion_price()
        shared = Wire(cluster.link) if cluster.link else None
        self.replicas = []
        self.pool_of = [i for i, _ in pools]
        for number, (_, pool) in enumerate(pools):
            wire = shared if cluster.link is None or cluster.link.shared else Wire(cluster.link)
            paid = pool.settings.rules.price if price is None else price
            self.replicas.append(kind(number, pool, self.ledger, wire, paid))
            self.replicas[-1].keeps = self.keeps  # type: ignore[method-assign]
        self.fits = cluster.fitting(requests)
        self.keys = keys_of(cluster.policy, requests, requests.arrival_s, np.zeros(len(requests), dtype=np.int64))
        self.jobs: dict[int, Job] = {}
        self.moving: list[tuple[float, int]] = []  # caches on their way: when they arrive, whose
        self.refresh_s = math.inf

    def play(self) -> None:
        """Let everything happen."""
        arrivals = [*self.ledger.arrival, math.inf]
        came = 0
        while True:
            start, replica = math.inf, None
            for r in self.replicas:
                if r.works and r.clock < start - TICK:
                    start, replica = r.clock, r
            moved = self.moving[0][0] if self.moving else math.inf
            event = min(arrivals[came], moved, self.refresh_s)
            if replica is None and event == math.inf:
                return
            if event > start + TICK:
                assert replica is not None
                self.step(replica, event)
            elif arrivals[came] <= min(moved, self.refresh_s) + TICK:
                self.arrive(came)
                came += 1
            elif moved <= self.refresh_s + TICK:
                due, request = heapq.heappop(self.moving)
                self.route(self.jobs[request], CACHES).land(self.jobs[request], due)
            else:
                self.refresh()

    def step(self, replica: Replica, event_s: float) -> None:
        """Let one replica make its step; where caches move, what the others do may concern it."""
        if self.cluster.link is not None:
            event_s = min([event_s, *(r.clock for r in self.replicas if r.works and r is not replica)])
        replica.step(event_s)
        for job in replica.handed_on:
            heapq.heappush(self.moving, (job.due_s, job.request))
        replica.handed_on.clear()

    def arrive(self, request: int) -> None:
        """A request comes."""
        r, now = self.requests, self.ledger.arrival[request]
        if not any(self.fits[self.pool_of[x.number], request] for x in self.replicas if takes(x, ARRIVALS)):
            self.ledger.rejected[request] = True
            return
        lengths = int(r.prompt_tokens[request]), int(r.output_tokens[request])
        job = Job(request, *lengths, int(r.prefix_id[request]), int(r.shared_tokens[request]), self.keys[request])
        self.jobs[request] = job
        replica = self.route(job, ARRIVALS)
        spill = self.cluster.spill
        if spill is not None and takes(replica, HANDS_ON) and replica.waiting_tokens > spill.tokens:
            other = self.route(job, CACHES)
            replica = other if other.waiting_tokens < replica.waiting_tokens else replica
        replica.land(job, now)
        if self.refresh_s == math.inf:
            self.refresh_s = now + self.cluster.policy.period_s

    def route(self, job: Job, way: int) -> Replica:
        """Which replica takes a request that comes this way."""
        able = [r for r in self.replicas if takes(r, way) and self.fits[self.pool_of[r.number], job.request]]
        loads = [
            Load(r.number, r.assigned, len(r.running) + len(r.waiting), r.tokens, r.cache_load, r.cached(job))
            for r in able
        ]
        return able[self.cluster.router.choose(self.requests, job.request, loads)]

    def keeps(self, job: Job) -> bool:
        """Whether a cache stays because every replica that could take it is too full."""
        spill = self.cluster.spill
        here = self.replicas[self.ledger.replica[job.request]]
        if (
            spill is None
            or here.rules.reserve == "all"
            or not here.pool.holds(np.array([job.prompt + job.output - 1]))[0]
        ):
            return False
        others = [r for r in self.replicas if takes(r, CACHES) and self.fits[self.pool_of[r.number], job.request]]
        return all(r.cache_load > spill.cache for r in others)

    def refresh(self) -> None:
        """Give all requests that are not done new keys."""
        now = self.refresh_s
        left = [j for r in self.replicas for j in (*r.running, *r.waiting)] + [self.jobs[r] for _, r in self.moving]
        self.refresh_s = now + self.cluster.policy.period_s if left else math.inf
        left.sort(key=lambda j: j.request)
        which = np.array([j.request for j in left], dtype=np.int64)
        generated = np.array([j.generated for j in left], dtype=np.int64)
        keys = keys_of(self.cluster.policy, self.requests.take(which), np.full(len(left), now), generated)
        for job, key in zip(left, keys.tolist(), strict=True):
            job.key = key
        for replica in self.replicas:
            replica.waiting.sort(key=lambda j: j.rank)


def takes(replica: Replica, way: int) -> bool:
    """Whether a replica has this bit of `cluster.ROLES`."""
    return bool(ROLES[replica.pool.role] & way)


def play(requests: Requests, cluster: Cluster, kind: type[Replica], *, series: bool = False) -> Served:
    """Serve the requests by plain replicas of this kind."""
    timeline = Timeline(requests, cluster, kind)
    timeline.play()
    return timeline.ledger.served(series)
