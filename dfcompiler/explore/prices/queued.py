"""Whether servers keep objectives when the requests of a trace come at a rate: pools simulated with their queues.

A rate is that of the trace's arrivals, closer together or further apart. A pool that prefills keeps it where a part of
the requests have their first token in time; one that decodes where a part of them have their tokens at the mean pace
that is asked for, the wait for a seat included. Both are simulated by the engine of `dfc serve`, requests dealt out to
servers in turn. A pool that prefills does not feel what becomes of requests later, so it is the same within a system;
to a pool that decodes prompts are taken to come as they arrive, each after its prefill: as evenly, later.

Prefills have a bound. Let each step take at least the sum of something over its requests. Then no request has its first
token before it would in a queue that serves one request at a time and takes that something for each: by induction over
steps, as a step starts no earlier than the last one ended and its requests came. In such a queue nobody waits less
where requests come closer together, or where one takes longer (Lindley, 1952). So a level that it does not keep is kept
by no server that takes as long for each token, or longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dfcompiler.serving.answers import Objectives, met
from dfcompiler.serving.cluster import Cluster, Link, Pool
from dfcompiler.serving.engine import Engine, simulate
from dfcompiler.serving.rates import at_rate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import StepTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FINE = 1.005  # between two times of a token for which the bound is tabulated
AT_ONCE = Link(bytes_per_s=1e15, bytes_per_token=1.0)  # caches move in no time worth telling
RUNS = 1 << 10  # of the engine that are expected: it is compiled
NONE = np.array([0])
INSTANT = StepTable(NONE, NONE, NONE, NONE, np.zeros((1, 1, 1, 1)))


@dataclass(frozen=True)
class Queues:
    """Requests that come at the rates of levels, `lowest * step ** level` a second, and what a `part` of them ask."""

    requests: Requests
    wanted: Objectives
    part: float
    lowest: float
    step: float
    levels: int
    engine: Engine = "lazy"

    def rate(self, level: int) -> float:
        """Requests a second."""
        return float(self.lowest * self.step**level)

    def most(self, rates: Floats) -> Ints:
        """The highest level whose rate is not above each of these; -1 for none."""
        ladder = np.array([self.rate(k) for k in range(self.levels)])
        return np.asarray(np.searchsorted(ladder, rates, side="right") - 1, dtype=np.int64)

    def arriving(self, level: int) -> Requests:
        """The requests at the rate of a level."""
        return at_rate(self.requests, self.rate(level))

    def prefills(self, pool: Pool, level: int) -> bool:
        """Whether servers that prefill, of the role `both`, keep a level."""
        firsts = replace(self.arriving(level), output_tokens=self._one)
        return self._kept(firsts, Cluster((pool,)), Objectives(ttft=self.wanted.ttft))

    def decodes(self, pool: Pool, level: int) -> bool:
        """Whether servers of the role `decode` keep a level."""
        instant = replace(INSTANT, tokens_capacity=int(self.requests.prompt_tokens.sum()))
        first = Pool(instant, Settings("orca", max_sequences=1 << 12, block_tokens=1), 1, "prefill")
        pace = replace(self.wanted, ttft=np.inf)
        return self._kept(self.arriving(level), Cluster((first, pool), link=AT_ONCE), pace)

    def _kept(self, requests: Requests, cluster: Cluster, wanted: Objectives) -> bool:
        served = simulate(requests, cluster, engine=self.engine, runs=RUNS)
        return bool(met(requests, served, wanted).sum() >= self.part * len(requests))

    @cached_property
    def _one(self) -> Ints:
        return np.broadcast_to(np.int64(1), len(self.requests))


def token_s(seconds: Floats, tokens: Sequence[int], together: Ints, longest: int) -> Floats:
    """Seconds of each token that a step with prompts takes at the least, `[design]`, by the prices of steps `[design,
    tokens, whole or in halves]` and how many prompts a step has at most.

    A step of one prompt is on the straight lines between knots, so its time over its tokens is least at one of them. In
    a step of n tokens of m prompts up to n^2 (1 - 1/m) / 2 fewer pairs attend than in one prompt of n tokens: for that
    is taken off what pairs cost where they cost the most."""
    whole = seconds[:, :, 0]
    slope = (whole - seconds[:, :, 1]) * 4 / np.array(tokens)
    far = np.maximum(longest * together, tokens[-1])
    knots = np.broadcast_to(np.array(tokens, dtype=np.float64), whole.shape)
    if len(tokens) > 1:  # beyond its grid a table goes on as in its last cell
        beyond = (far - tokens[-1]) / (tokens[-1] - tokens[-2])
        whole, slope = (np.column_stack([a, a[:, -1] + beyond * (a[:, -1] - a[:, -2])]) for a in (whole, slope))
        knots = np.column_stack([knots, far])
    fewer = (1 - 1 / together) / 2  # the sum of the squares of m prompts is n^2 / m at the least
    found: Floats = np.maximum((whole / knots).min(1) - fewer * np.maximum(slope.max(1), 0.0), 0.0)
    return found


def first_tokens_s(requests: Requests, servers: int, token: float) -> Floats:
    """When each request has its first token where a server takes so long for each token of a prompt, one after another,
    requests being dealt out to servers in turn."""
    takes = _dealt(np.float64(token) * requests.prompt_tokens.astype(np.float64), servers, 0.0)
    comes = _dealt(requests.arrival_s, servers, np.inf)  # those who never come are last
    done = np.cumsum(takes, axis=0)
    ended = done + np.maximum.accumulate(comes - (done - takes), axis=0)
    return np.asarray(ended.ravel()[: len(requests)])


def _dealt(values: Floats, servers: int, filling: float) -> Floats:
    """A column for each server; requests are in the order of their rows."""
    rows = -(-len(values) // servers)
    return np.concatenate([values, np.full(rows * servers - len(values), filling)]).reshape(rows, servers)


@dataclass(frozen=True)
class TokenBound:
    """The highest level that servers may keep which take at least so long for each token of a prompt."""

    times: Floats  # seconds, ascending from 0, for which there is none
    most: Ints  # [time]

    @staticmethod
    def of(queues: Queues, servers: int, least_s: float, most_s: float) -> TokenBound:
        """Tabulated from the least to the longest time of a token: both time and rate only rise, so one pass does."""
        count = 2 + int(np.ceil(np.log(most_s / least_s) / np.log(FINE)))
        times: Floats = np.float64(least_s) * FINE ** np.arange(count, dtype=np.float64)
        most = np.empty(count, dtype=np.int64)
        level = queues.levels - 1
        arriving = queues.arriving(level)
        for i, token in enumerate(times):
            while level >= 0:
                waits = first_tokens_s(arriving, servers, token) - arriving.arrival_s
                # Rounding of long sums must not rule out what is just in time.
                if np.count_nonzero(waits <= queues.wanted.ttft * (1 + 1e-9)) >= queues.part * len(arriving):
                    break
                level -= 1
                arriving = queues.arriving(level) if level >= 0 else arriving
            most[i] = level
        return TokenBound(np.append(0.0, times), np.append(queues.levels - 1, most))

    def __call__(self, token: Floats) -> Ints:
        """Levels for times of a token: the table's for the time below each."""
        return np.asarray(self.most[np.searchsorted(self.times, token, side="right") - 1])
