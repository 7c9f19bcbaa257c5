"""LLMShare's space where a rate counts only if users are served in time: Azure's conversations, with their queues.

    python benchmarks/studies/goodput.py [--limit-s 300] [--resume FILE] [-o benchmarks/studies/LLMSHARE.md]

For each rate, 1 % apart, the cheapest pool of either kind that keeps the objectives in a simulation: both are the
cheapest system. `dfcompiler/explore/cheapest.py` says why, and what is proven when time ends first. That no rate is
above what servers serve who never idle is part of the question (`trace.py` finds those rates), as a trace may end
before a queue that grows is too long. Whole systems of the front are simulated beside it. `-o` replaces the section of
that page.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from trace import LOAD, LONGEST, TOKENS, TRACE, Simulated, replicas, simulated, timed, values, with_section  # type: ignore

from tables import markdown

from dfcompiler.explore.cheapest import Cheapest, open_designs, reached
from dfcompiler.explore.pools import Term, blocks
from dfcompiler.explore.prices.queued import AT_ONCE, Queues, TokenBound, token_s
from dfcompiler.explore.remembered import Remembered
from dfcompiler.explore.systems import limited_pool, separated
from dfcompiler.serving.answers import Objectives, met
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.traces import read_trace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TITLE = "## Rates under objectives, simulated on the trace"
# DistServe (OSDI 2024) asks this of a chat on OPT-175B, a model of GPT-3's size, for 90 % of the requests.
WANTED, PART = Objectives(ttft=4.0, tpot=0.2), 0.9
LOWEST, STEP, LEVELS = 1.0, 1.01, 540  # requests a second: up to 215
LIMIT_S = 300.0  # CPU seconds of the search in each pool
CHUNK = 1 << 17  # designs whose steps are looked up at once
SHOWN = 8


@dataclass(frozen=True)
class Designs:
    """Designs of a pool of one server by their numbers in the order of the axes, what they cost, how many requests a
    second they serve if they never idle, and seconds of a prompt's token at the least (none where they decode)."""

    shape: tuple[int, ...]
    number: Ints
    cost: Floats
    rate: Floats
    token: Floats

    def rows(self, some: Ints, servers: int = 0) -> Ints:
        """Designs by their indices `[design, axis]`, with so many servers by their index."""
        found = np.stack(np.unravel_index(self.number[some], self.shape), 1)
        found[:, 0] = servers
        return found


def designs(of: Simulated, name: str) -> Designs:
    """All that are within limits."""
    pool, prices = limited_pool(of.space, of.space.pools[name]), of.prices[name]
    terms = [Term(g.terms[name], g.sign) for g in separated(of.space)]
    number, cost, rate = [], [], []
    for corner, (usd, served), alive in blocks(pool, prices, terms, {"servers": 0}):
        where = np.flatnonzero(alive)
        place = np.unravel_index(where, [s.stop - s.start for s in corner])
        whole = tuple(p + s.start for p, s in zip(place, corner, strict=True))
        number.append(np.ravel_multi_index(whole, pool.shape))
        cost.append(usd[where])
        rate.append(-served[where])
    every = Designs(pool.shape, *map(np.concatenate, (number, cost, rate)), np.empty(0))
    if name != "prefill":
        return every
    together, token = np.array(values(pool, "prompts")), []
    for start in range(0, len(every.number), CHUNK):
        rows = every.rows(np.arange(start, min(start + CHUNK, len(every.number))))
        token.append(token_s(prices.steps_at(LOAD[name], rows), TOKENS, together[rows[:, -1]], LONGEST))
    return replace(every, token=np.concatenate(token))


@dataclass(frozen=True)
class Offers:
    """Designs with their servers, in the order of what they cost, and the levels that bounds admit."""

    rows: Ints  # [offer, axis]
    cost: Floats
    most: Ints

    @staticmethod
    def of(some: Sequence[Offers]) -> tuple[Offers, Ints]:
        """Offers one after another, and where each came from: its place among all of them."""
        cost = np.concatenate([x.cost for x in some])
        order = np.argsort(cost, kind="stable")
        rows, most = (np.concatenate(x)[order] for x in ([y.rows for y in some], [y.most for y in some]))
        return Offers(rows, cost[order], most), order


class Pool:
    """The designs of a pool, each with any number of servers, and the search for the cheapest at each level."""

    def __init__(self, of: Simulated, name: str, queues: Queues, answers: Remembered) -> None:
        self.of, self.name, self.queues, self.answers = of, name, queues, answers
        self.every = designs(of, name)
        self.servers = values(of.space.pools[name], "servers")
        token = self.every.token
        ends = (float(token[token > 0].min()), float(token.max())) if len(token) else None
        self.bounds = [TokenBound.of(queues, n, *ends) if ends else None for n in self.servers]

    def levels(self, number: int) -> Ints:
        """Levels that the designs may keep with so many servers."""
        bound = self.bounds[number]
        most = self.queues.most(self.servers[number] * self.every.rate)
        return most if bound is None else np.minimum(most, bound(self.every.token))

    def offers(self, known: Sequence[tuple[float, int]] | None) -> Offers:
        """Designs that may be cheaper than what is known; without that, the cheapest that may serve each level."""
        found = []
        least = np.full(LEVELS, np.inf)
        if known is None:
            for i, n in enumerate(self.servers):
                level = self.levels(i)
                np.minimum.at(least, level[level >= 0], (n * self.every.cost)[level >= 0])
            least = np.where(least <= np.minimum.accumulate(least[::-1])[::-1], least, -np.inf)
        for i, n in enumerate(self.servers):
            level, usd = self.levels(i), n * self.every.cost
            if known is None:
                some = np.flatnonzero((level >= 0) & (usd == least[level]))
            else:
                some = open_designs(usd, level, [c for c, _ in known], [k for _, k in known])
            found.append(Offers(self.every.rows(some, i), usd[some], level[some]))
        return Offers.of(found)[0]

    def keeps(self, row: Ints, level: int) -> bool:
        """Whether a design with its servers keeps a level, as it was found before or now."""
        key = f"{self.name} {' '.join(map(str, row))} {level}"
        return self.answers.ask(key, lambda: self._simulated(row.tolist(), level))

    def _simulated(self, row: Sequence[int], level: int) -> bool:
        pool = replicas(self.of, self.name, row, self.servers[row[0]])
        if self.name == "prefill":
            return self.queues.prefills(replace(pool, role="both"), level)
        return self.queues.decodes(pool, level)

    def search(self, limit_s: float) -> tuple[Offers, Cheapest]:
        """The cheapest design for each level, as far as it is known by then."""
        begin = time.process_time()
        first = self.offers(None)
        found = reached(first.cost, first.most, LEVELS, lambda i, k: self.keeps(first.rows[i], k))
        left = self.offers([(float(first.cost[i]), k) for i, k in found])
        offers, order = Offers.of([left, first])
        place = np.argsort(order)[len(left.cost) :]
        search = Cheapest(offers.cost, offers.most, LEVELS, lambda i, k: self.keeps(offers.rows[i], k))
        for i, k in found:
            search.known(int(place[i]), k)
        search.run(limit_s - (time.process_time() - begin))
        return offers, search


# ---- systems -----------------------------------------------------------------------------------


def whole(of: Simulated, rows: Sequence[Ints], queues: Queues, level: int) -> tuple[float, float]:
    """The parts of the requests to a system that keep either objective at the rate of a level."""
    pools = [
        replicas(of, name, row.tolist(), values(of.space.pools[name], "servers")[row[0]])
        for name, row in zip(of.space.pools, rows, strict=True)
    ]
    asked = queues.arriving(level)
    told = simulate(asked, Cluster(tuple(pools), link=AT_ONCE), runs=LEVELS)
    each = (Objectives(ttft=WANTED.ttft), Objectives(tpot=WANTED.tpot))
    return tuple(float(met(asked, told, x).mean()) for x in each)  # type: ignore[return-value]


def systems(of: Simulated, queues: Queues, found: Mapping[str, tuple[Offers, Cheapest]]) -> list[str]:
    """The front, what is proven of it, and how its systems do as a whole."""
    searches = [s for _, s in found.values()]
    high, low = sum(s.upper for s in searches), sum(s.lower for s in searches)
    there = np.flatnonzero(np.isfinite(high) & (high < np.append(high[1:], np.inf)))  # no cheaper one serves more
    gap = high[there] / low[there]
    closed = int(np.count_nonzero(gap == 1))
    proof = "exhaustive" if closed == len(there) else "bounded"
    lines = [
        f"- front of {len(there):,} systems, {queues.rate(int(there[0])):.2f} to {queues.rate(int(there[-1])):.1f} "
        f"requests/s: {proof}; {closed:,} of them are the cheapest for their rate, and the others cost at most "
        f"{gap.max():.3f} of it, {np.median(gap):.3f} at the median",
    ]
    best = [s.best for s in searches]
    chosen = [[o.rows[b[k]] for (o, _), b in zip(found.values(), best, strict=True)] for k in there]
    kept = [whole(of, rows, queues, int(k)) for rows, k in zip(chosen, there, strict=True)]
    both = [min(k) >= PART for k in kept]
    lines.append(
        f"- simulated as a whole at their rates, decodes coming from prefills, {sum(both):,} of these {len(both):,} "
        f"keep both objectives for {PART:.0%} of the requests each; {min(min(k) for k in kept):.1%} is the least"
    )
    rows = []
    for i in (np.linspace(0, 1, SHOWN) * (len(there) - 1)).astype(int).tolist():
        k = int(there[i])
        pools = zip(of.space.pools.values(), chosen[i], strict=True)
        servers = " + ".join(str(values(p, "servers")[r[0]]) for p, r in pools)
        parts = ", ".join(f"{x:.1%}" for x in kept[i])
        rows.append([f"{high[k]:,.0f}", f"{queues.rate(k):.2f}", servers, f"{gap[i]:.3f}", parts])
    return [*lines, "", markdown(["USD", "requests/s", "servers", "over the least", "in time, at pace"], rows)]


def curve(found: Mapping[str, tuple[Offers, Cheapest]]) -> str:
    """What was proven when."""
    rows = []
    for name, (_, search) in found.items():
        steps = search.history
        few = sorted({0, 1, *np.geomspace(1, len(steps), 5).astype(int) - 1})
        rows += [
            [name, f"{s.seconds:.0f}", f"{s.asked:,}", f"{s.open}", f"{s.largest:.3f}", f"{s.median:.3f}"]
            for s in (steps[i] for i in few if i < len(steps))
        ]
    return markdown(["pool", "CPU s", "asked", "levels open", "largest", "median"], rows)


# ---- the page ----------------------------------------------------------------------------------


def section(limit_s: float, resume: Path | None) -> str:
    trace = read_trace(TRACE).requests
    requests = trace.take(trace.prompt_tokens + trace.output_tokens <= LONGEST)
    lines = [
        f"Written by `python benchmarks/studies/goodput.py --limit-s {limit_s:g}`. The same requests and prices. A "
        f"pool serves a rate if {PART:.0%} of the requests have their first token within {WANTED.ttft:g} s, or their "
        f"tokens every {WANTED.tpot:g} s on average with the wait for a seat, when the trace comes at that rate, which "
        "is at most what its servers serve that never idle. Rates are 1 % apart. Whether a pool serves a rate is a "
        "simulation; for each rate designs are asked in the order of their cost.",
        "",
    ]
    with timed(lines, "steps priced, or read back, and schedules of servers that never idle"):
        of = simulated(requests)
    queues = Queues(requests, WANTED, PART, LOWEST, STEP, LEVELS)
    found = {}
    with Remembered(resume, identity(of, requests)) as answers:
        if answers.known:
            lines.append(f"- {len(answers.known):,} answers were there from an earlier run")
        for name in of.space.pools:
            with timed(lines, f"search of {name}"):
                pool = Pool(of, name, queues, answers)
                offers, search = found[name] = pool.search(limit_s)
            lines.append(
                f"- {name}: {len(pool.every.cost) * len(pool.servers):,} designs within limits, of which bounds leave "
                f"{len(offers.cost):,}; {search.asked:,} answers besides those that found what to beat"
            )
    with timed(lines, "whole systems"):
        said = systems(of, queues, found)
    lines += [*said, "", "How many times the least cost of its rate what is known may cost, over rates:", ""]
    lines += [curve(found), ""]
    lines.append(f"Largest resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB.")
    return "\n".join([TITLE, "", *lines, ""])


def identity(of: Simulated, requests: Requests) -> str:
    """A hash of the question and of the prices."""
    whole = hashlib.sha256(repr((of.space.digest(), WANTED, PART, LOWEST, STEP)).encode())
    for a in (requests.arrival_s, requests.prompt_tokens, requests.output_tokens, of.room):
        whole.update(np.ascontiguousarray(a).tobytes())
    for name, load in LOAD.items():
        for a in of.prices[name].steps.terms(load):
            whole.update(np.ascontiguousarray(a).tobytes())
    return whole.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="the page of which this is a section")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="CPU seconds of the search in each pool")
    parser.add_argument("--resume", type=Path, help="a file in which answers are kept, and read back")
    args = parser.parse_args()
    text = section(args.limit_s, args.resume)
    print(text)
    if args.out:
        args.out.write_text(with_section(args.out.read_text(encoding="utf-8"), TITLE, text), encoding="utf-8")


if __name__ == "__main__":
    main()
