"""The cheapest design for each rate that is served in time: searches against everything tried, bounds against runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.cheapest import Cheapest, open_designs, reached
from dfcompiler.explore.prices.backlog import decode_table, prefill_table
from dfcompiler.explore.prices.queued import Queues, TokenBound, first_tokens_s, token_s
from dfcompiler.explore.remembered import TOGETHER, Remembered
from dfcompiler.serving.answers import Objectives, met
from dfcompiler.serving.cluster import Cluster, Link, Pool
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import StepTable

SEEDS = st.integers(0, 2**32 - 1)
LEVELS = 12
TOKENS = (16, 64, 300)
BATCHES, CONTEXTS = (1, 2, 4, 6), (8, 40)
ROOM = 1 << 13  # tokens: all requests of a test


# ---- the search --------------------------------------------------------------------------------


class Asked:
    """Designs whose answers follow no rule at all: neither rates, nor costs, nor bounds make one more likely."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 40))
        self.cost = np.sort(rng.integers(1, 30, n).astype(float))
        self.most = rng.integers(-1, LEVELS, n)
        self.answers = rng.random((n, LEVELS)) < rng.choice([0.05, 0.3, 0.9])
        self.seen: list[tuple[int, int]] = []

    def serves(self, design: int, level: int) -> bool:
        assert level <= self.most[design], "its bound says no"
        self.seen.append((design, level))
        return bool(self.answers[design, level])

    def least(self) -> list[float]:
        """For each level the least cost of a design whose highest level, of all that its bound admits, is no lower."""
        served = [
            max((k for k in range(m + 1) if a[k]), default=-1) for m, a in zip(self.most, self.answers, strict=True)
        ]
        return [
            min((c for c, s in zip(self.cost, served, strict=True) if s >= k), default=np.inf) for k in range(LEVELS)
        ]


def ticking() -> Callable[[], float]:
    """A clock that goes on by one whenever it is read."""
    ticks = count()
    return lambda: float(next(ticks))


@given(SEEDS)
def test_the_cheapest_design_of_every_rate_is_that_of_all_answers(seed: int) -> None:
    of = Asked(seed)
    search = Cheapest(of.cost, of.most, LEVELS, of.serves)
    assert search.run(np.inf) and search.closed
    assert search.upper.tolist() == search.lower.tolist() == of.least()
    assert len(set(of.seen)) == len(of.seen) == search.asked, "nothing is asked twice"
    there = search.best >= 0
    assert np.array_equal(search.cost[search.best[there]], search.upper[there])
    assert np.isinf(search.upper[~there]).all()


@given(SEEDS, st.integers(1, 60))
def test_a_search_that_is_cut_off_tells_what_no_design_can_cost_less_than(seed: int, limit: int) -> None:
    of = Asked(seed)
    search = Cheapest(of.cost, of.most, LEVELS, of.serves, ticking())
    closed = search.run(limit)
    exact = np.array(of.least())
    assert np.all(search.lower <= exact) and np.all(exact <= search.upper)
    assert closed == np.array_equal(search.lower, search.upper)
    rising = [(s.open, s.asked) for s in search.history]
    assert rising == sorted(rising, key=lambda s: s[1]) and rising[-1][0] == np.count_nonzero(
        search.lower < search.upper
    )


def test_levels_that_nobody_is_known_to_serve_are_asked_last() -> None:
    """Whether dear designs serve the upper level, as none does, is asked when the lower one is settled."""
    cost, most = np.arange(1.0, 8.0), np.array([0, 0, 0, 0, 0, 1, 1])
    seen: list[tuple[int, int]] = []

    def serves(design: int, level: int) -> bool:
        seen.append((design, level))
        return False

    search = Cheapest(cost, most, 2, serves)
    search.known(4, 0)
    assert search.run(np.inf)
    assert search.upper.tolist() == [5.0, np.inf]
    assert seen == [(0, 0), (1, 0), (2, 0), (3, 0), (5, 1), (6, 1)]


@given(SEEDS)
def test_what_a_front_of_bounds_serves_leaves_no_better_design_out(seed: int) -> None:
    of = Asked(seed)
    found = reached(of.cost, of.most, LEVELS, of.serves)
    assert all(of.answers[i, k] for i, k in found)
    known_cost, known_level = [of.cost[i] for i, _ in found], [k for _, k in found]
    left = open_designs(of.cost, of.most, known_cost, known_level)
    both = np.sort(np.unique(np.concatenate([left, np.array([i for i, _ in found], dtype=np.int64)])))
    search = Cheapest(of.cost[both], of.most[both], LEVELS, lambda i, k: of.serves(int(both[i]), k))
    for i, k in found:
        search.known(int(np.searchsorted(both, i)), k)
    search.run(np.inf)
    assert search.upper.tolist() == of.least()


def test_answers_outlive_the_search(tmp_path: Path) -> None:
    """After an end at any time another search asks what is new, and comes to the same."""
    of, path = Asked(3), tmp_path / "answers"

    def search(limit: float) -> Cheapest:
        with Remembered(path, "prices") as answers:
            one = Cheapest(
                of.cost, of.most, LEVELS, lambda i, k: answers.ask(f"{i} {k}", lambda: of.serves(i, k)), ticking()
            )
            one.run(limit)
            return one

    for limit in (4, 9, np.inf):
        search(limit)
    assert search(np.inf).upper.tolist() == of.least()
    assert len(set(of.seen)) == len(of.seen) > 4
    with pytest.raises(Diag) as caught:
        Remembered(path, "other prices")
    assert caught.value.code == "study-of-another-space"
    with Remembered(tmp_path / "more", "x") as answers:
        for i in range(TOGETHER):
            answers.ask(str(i), lambda: False)
        with Remembered(tmp_path / "more", "x") as other:
            assert len(other.known) == TOGETHER, "so many are on the disk before the end"


# ---- queues ------------------------------------------------------------------------------------


def arriving(rng: np.random.Generator, number: int) -> Requests:
    return Requests.of(np.sort(rng.random(number)) * 50, rng.integers(1, 150, number), rng.integers(1, 20, number))


def queues(requests: Requests, wanted: Objectives, engine: str = "iter") -> Queues:
    return Queues(requests, wanted, 0.8, lowest=0.05, step=1.3, levels=20, engine=engine)  # type: ignore[arg-type]


def prefill_steps(rng: np.random.Generator) -> np.ndarray:
    """Prices of steps `[tokens, whole or in halves]`: more tokens take longer, halves attend to less."""
    whole = np.cumsum(rng.random(len(TOKENS)) * rng.choice([0.2, 2.0], len(TOKENS))) + rng.random()
    pairs = rng.uniform(0, 0.5, len(TOKENS)) * whole[-1] / TOKENS[-1]
    return np.stack([whole, whole - pairs * TOKENS / 4], 1)


def prefills(prices: np.ndarray) -> StepTable:
    """The steps of these prices, with room for all requests."""
    return replace(prefill_table(prices, TOKENS), tokens_capacity=ROOM)


@given(SEEDS, st.integers(1, 4))
def test_no_step_takes_less_for_each_token_than_the_bound(seed: int, together: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = np.stack([prefill_steps(rng) for _ in range(3)])
    least = token_s(seconds, TOKENS, np.full(3, together), 150)
    for prices, bound in zip(seconds, least, strict=True):
        table = prefills(prices)
        for _ in range(30):
            new = rng.integers(1, 151, rng.integers(1, together + 1))
            n = int(new.sum())
            past = -(n * n - float((new * new).sum())) / (2 * n)
            assert table.step_s(n, past, 0, 0) >= bound * n * (1 - 1e-12)
        if together == 1:
            each = [table.step_s(n, 0.0, 0, 0) / n for n in range(1, 301)]
            assert min(each) == pytest.approx(bound), "it is reached"


@settings(max_examples=15)
@given(SEEDS, st.integers(1, 3))
def test_one_request_after_another_is_what_the_engine_does(seed: int, servers: int) -> None:
    rng = np.random.default_rng(seed)
    requests = replace(arriving(rng, 25), output_tokens=np.ones(25, dtype=np.int64))
    none, far = np.array([0]), np.array([0, 1])
    table = StepTable(far, none, none, none, np.array([0.0, 0.01]).reshape(2, 1, 1, 1), tokens_capacity=ROOM)
    pool = Pool(table, Settings("orca", max_sequences=1, block_tokens=1), servers)
    served = simulate(requests, Cluster((pool,)), engine="iter")
    assert first_tokens_s(requests, servers, 0.01) == pytest.approx(served.first_token_s)


@settings(max_examples=12)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3))
def test_no_server_keeps_a_level_above_its_bound(seed: int, servers: int, together: int) -> None:
    """Every level is simulated: levels above the bound are not kept, whatever the levels below are."""
    rng = np.random.default_rng(seed)
    of = queues(arriving(rng, 25), Objectives(ttft=float(rng.uniform(0.5, 6.0))))
    prices = prefill_steps(rng)
    least = token_s(prices[None], TOKENS, np.array([together]), 150)
    assert least[0] > 0
    bound = TokenBound.of(of, servers, least[0] / 1.5, least[0] * 1.5)
    assert bound(np.zeros(1))[0] == of.levels - 1
    pool = Pool(prefills(prices), Settings("orca", max_sequences=together, block_tokens=1), servers)
    kept = [k for k in range(of.levels) if of.prefills(pool, k)]
    assert max(kept, default=-1) <= bound(least)[0]
    times = least[0] * np.geomspace(1 / 1.4, 1.4, 5)
    alone = of.wanted.ttft * (1 + 1e-9)
    for token, most in zip(times, bound(times), strict=True):
        waits = [first_tokens_s(of.arriving(k), servers, token) - of.arriving(k).arrival_s for k in range(of.levels)]
        good = [k for k, w in enumerate(waits) if np.mean(w <= alone) >= of.part]
        assert most >= max(good, default=-1), "nobody who takes as long keeps more"


@settings(max_examples=4)
@given(SEEDS)
def test_the_cheapest_pool_of_every_rate_is_that_of_every_design_simulated(seed: int) -> None:
    """Pools of either kind, each design with some servers, at every level, by the plain engine; the search by
    the lazy one."""
    rng = np.random.default_rng(seed)
    slow = replace(queues(arriving(rng, 20), Objectives(ttft=3.0, tpot=0.9)), step=1.6, levels=10)
    fast = replace(slow, engine="lazy")
    pools, cost, most = [], [], []
    for _, servers, seats in product(range(2), (1, 3), (1, 2)):
        prices = prefill_steps(rng)
        table = prefills(prices)
        pools.append(Pool(table, Settings("orca", max_sequences=seats, block_tokens=1), servers))
        token = token_s(prices[None], TOKENS, np.array([seats]), 150)
        most.append(int(TokenBound.of(slow, servers, token[0] / 1.1, token[0] * 1.1)(token)[0]))
        cost.append(servers * float(rng.integers(2, 9)))
    check_search(np.array(cost), np.array(most), pools, slow.prefills, fast.prefills, slow.levels)
    pools = []
    for servers, seats in product((1, 2), (1, 3)):
        low = np.cumsum(rng.random(len(BATCHES))) * 0.1 + 0.1
        table = decode_table(np.stack([low, low * 1.2], 1), BATCHES, CONTEXTS, 400)
        pools.append(Pool(table, Settings("orca", max_sequences=seats, block_tokens=1), servers, "decode"))
    cost = [float(x) for x in rng.integers(2, 9, len(pools))]
    most = [slow.levels - 1] * len(pools)
    check_search(np.array(cost), np.array(most), pools, slow.decodes, fast.decodes, slow.levels)


def check_search(
    cost: np.ndarray,
    most: np.ndarray,
    pools: list[Pool],
    slow: Callable[[Pool, int], bool],
    fast: Callable[[Pool, int], bool],
    levels: int,
) -> None:
    order = np.argsort(cost, kind="stable")
    search = Cheapest(cost[order], most[order], levels, lambda i, k: fast(pools[order[i]], k))
    search.run(np.inf)
    best = [max((k for k in range(levels) if slow(p, k)), default=-1) for p in pools]
    least = [min((c for c, b in zip(cost, best, strict=True) if b >= k), default=np.inf) for k in range(levels)]
    assert search.upper.tolist() == least


def test_a_wait_for_a_seat_counts_in_the_pace_of_a_decode() -> None:
    """Two requests of 11 tokens at once, steps of 0.1 s: on one seat the second is served after the first."""
    requests = Requests.of(np.array([0.0, 0.001]), np.array([4, 4]), np.array([11, 11]))
    table = decode_table(np.full((2, 2), 0.1), (1, 2), (4, 40), 100)
    for seats, paces in ((1, [0.1, 0.2]), (2, [0.1, 0.1])):
        pool = Pool(table, Settings("orca", max_sequences=seats, block_tokens=1), 1, "decode")
        for part, pace in zip((0.5, 1.0), paces, strict=True):
            for wanted, kept in ((pace * 1.11, True), (pace * 0.99, False)):
                of = Queues(requests, Objectives(tpot=wanted), part, lowest=1000.0, step=1.01, levels=1)
                assert of.decodes(pool, 0) == kept


@settings(max_examples=10)
@given(SEEDS)
def test_a_pool_that_prefills_does_not_feel_the_one_that_decodes(seed: int) -> None:
    """So what keeps the first tokens of a system is what keeps them alone."""
    rng = np.random.default_rng(seed)
    requests = arriving(rng, 20)
    first = Pool(prefills(prefill_steps(rng)), Settings("orca", max_sequences=2, block_tokens=1), 2)
    low = np.cumsum(rng.random(len(BATCHES))) + 0.1
    table = decode_table(np.stack([low, low * 1.2], 1), BATCHES, CONTEXTS, 400)
    second = Pool(table, Settings("orca", max_sequences=2, block_tokens=1), 1, "decode")
    system = Cluster((replace(first, role="prefill"), second), link=Link(1e15, 1.0))
    firsts = replace(requests, output_tokens=np.ones(20, dtype=np.int64))
    wanted = Objectives(ttft=2.0)
    both = met(requests, simulate(requests, system), wanted)
    assert np.array_equal(both, met(firsts, simulate(firsts, Cluster((first,))), wanted))
