"""What the rules of each engine, policies, routers and links do, worked out by hand."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from servecases import ROUTERS, by_rows, clusters, requests, table
from test_serving_engines import same

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag
from dfcompiler.serving import queues
from dfcompiler.serving.cluster import Cluster, Link, Pool, Spill
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.offline import longest_first, lower_bound
from dfcompiler.serving.policy import Load, Policy, Router, policy, router
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import SEMANTICS, Settings
from dfcompiler.serving.table import StepTable

ENGINES = ("iter", "jump", "lazy")


def plain(tokens: int = 1 << 20) -> StepTable:
    """A step takes 10 s, and 1 s for each prompt token: nothing else counts."""
    q = np.array([0, 1000])
    values = (10 + q[:, None, None, None]) * np.ones((1, 1, 2, 2))
    return StepTable(q, np.array([0]), np.array([0, 64]), np.array([0, 4096]), values, 0.0, tokens)


def one(settings: Settings, tokens: int = 1 << 20, order: str = "fcfs") -> Cluster:
    return Cluster((Pool(plain(tokens), settings),), policy(order))


def times(r: Requests, cluster: Cluster) -> tuple[list[float], list[float]]:
    """First and last tokens, the same by every engine."""
    served = [simulate(r, cluster, engine=e) for e in ENGINES]  # type: ignore[arg-type]
    for other in served[1:]:
        same(served[0], other)
    return served[-1].first_token_s.tolist(), served[-1].done_s.tolist()


THREE = Requests.of([0, 0, 0], [6, 4, 8], [3, 2, 1])


def test_vllm_v1_fills_the_budget_with_decodes_first() -> None:
    """Budget 8: prompt 6 and 2 of 4; one decode, 2 of 4 and 5 of 8; two decodes and 3 of 8."""
    first, done = times(THREE, one(Settings("vllm-v1", 8, 3)))
    assert first == [18, 35, 48] and done == [48, 48, 48]


def test_vllm_v0_stops_decoding_for_whole_prompts() -> None:
    """Prompt 6; prompt 4; prompt 8; then decodes: what does not fit beside others waits, and nobody decodes."""
    first, done = times(THREE, one(Settings("vllm-v0", 8, 3)))
    assert first == [16, 30, 48] and done == [68, 58, 48]


def test_orca_has_no_budget() -> None:
    first, done = times(THREE, one(Settings("orca", 8, 3)))
    assert first == [28, 28, 28] and done == [48, 38, 28]


def test_static_batches_end_before_the_next_one_starts() -> None:
    """Two seats: prompts 6 and 4, two decodes, and only then the third."""
    first, done = times(THREE, one(Settings("static", 8, 2)))
    assert first == [20, 20, 58] and done == [40, 30, 58]


def test_sarathi_takes_blocks_for_whole_prompts() -> None:
    """16 blocks, one of them kept free: with 4 for the first prompt there are not 12 for the second.

    vLLM V1, which takes blocks as it computes, starts the second beside the first, which is done in time.
    """
    r = Requests.of([0, 0], [4, 12], [2, 1])
    assert times(r, one(Settings("sarathi", 8, 2, 1), 16))[0] == [14, 24 + 18 + 14]
    assert times(r, one(Settings("vllm-v1", 8, 2, 1), 16))[0] == [18, 18 + 17 + 11]


def test_the_tail_is_preempted_and_computed_again() -> None:
    """Seven blocks of one token: 3 and 3 tokens, then 4 and 4 do not fit. The second starts anew with what it has."""
    r = Requests.of([0, 0], [3, 3], [4, 4])
    served = simulate(r, one(Settings("vllm-v1", 8, 2, 1), 7))
    assert served.preemptions.tolist() == [0, 1]
    # 16: first tokens; 26, 36, 46: the first alone; 46 + 10 + 4: the second computes 3 + 1 tokens anew.
    assert times(r, one(Settings("vllm-v1", 8, 2, 1), 7)) == ([16, 16], [46, 80])
    assert served.totals.prefill_tokens.tolist() == [10] and served.max_gap_s.tolist() == [10, 44]


def test_the_prefix_is_computed_once() -> None:
    """Blocks of 4: of 10 shared tokens, two blocks are found by the second, which comes later."""
    r = Requests.of([0, 100], [12, 12], [1, 1], shared_tokens=10, prefix_id=0)
    cached = one(Settings("vllm-v1", 64, 4, 4, prefix_caching=True))
    assert times(r, cached)[0] == [22, 114] and times(r, one(Settings("vllm-v1", 64, 4, 4)))[0] == [22, 122]
    assert simulate(r, cached).totals.cached_tokens.tolist() == [8]


def test_a_prompt_that_is_cached_as_a_whole_computes_its_last_block() -> None:
    r = Requests.of([0, 100], [8, 8], [1, 1], shared_tokens=8, prefix_id=0)
    assert times(r, one(Settings("vllm-v1", 64, 4, 4, prefix_caching=True)))[0] == [18, 114]


def test_prefixes_give_way() -> None:
    """Eight blocks: the second request needs them all, so that the third finds nothing."""
    r = Requests.of([0, 100, 200], [16, 31, 16], 1, shared_tokens=[12, 0, 12], prefix_id=[0, -1, 0])
    settings = Settings("vllm-v1", 64, 4, 4, prefix_caching=True)
    assert times(r, one(settings, 32))[0] == [26, 141, 226] and times(r, one(settings, 64))[0] == [26, 141, 214]


def test_requests_at_the_start_of_a_step_are_in_time() -> None:
    """The first step ends at 11; who comes half a nanosecond later is in the next one."""
    r = Requests.of([0, 11 + 5e-10, 11 + 5e-9], [1, 1, 1], [3, 1, 1])
    assert times(r, one(Settings("vllm-v1", 64, 4)))[0] == pytest.approx([11, 22, 33])


# ---- policies


def test_order_of_service() -> None:
    """One seat, all there at the start."""
    r = Requests.of([0, 0, 0], [2, 2, 2], [1, 9, 4], priority=[2, 1, 0], ttft_slo_s=[50, 10, 90])
    order = lambda name: np.argsort(times(r, one(Settings("vllm-v1", 64, 1), order=name))[0]).tolist()  # noqa: E731
    assert order("fcfs") == [0, 1, 2] and order("priority") == [2, 1, 0]
    assert order("edf") == [1, 0, 2] and order("longest-first") == [1, 2, 0]


def test_a_value_that_rises_overtakes() -> None:
    """Of two waiting requests the short one goes first, unless the long one is about to miss its deadline."""
    for deadline, wanted in ((1e6, [0, 1, 2]), (15.0, [0, 2, 1])):
        r = Requests.of([0, 1, 1], [2, 2, 30], [1, 1, 1], ttft_slo_s=[1e6, 1e6, deadline])
        first = times(r, one(Settings("vllm-v1", 64, 1), order="rising-value"))[0]
        assert np.argsort(first).tolist() == wanted


def test_the_price_decides_when_prompts_stop_decoding() -> None:
    """One request decodes, one comes: at price 0 at once, at 1 when its seat has stood empty as long as it takes."""

    class Priced(Policy):
        price: float = 0.0

        def key(self, requests: Requests, now_s: Any, generated: Any) -> float:
            return 0.0

        def insertion_price(self) -> float:
            return self.price

    r = Requests.of([0, 12], [1, 30], [20, 1])
    pool = Pool(plain(), Settings("vllm-v0", 64, 2))
    first = {p: times(r, Cluster((pool,), Priced(p)))[0][1] for p in (0.0, 1.0, 2.0, float("inf"))}
    # Steps end at 11, 21, 31, ...; a prefill of 30 takes 40, and from 21 on a seat stands empty for somebody.
    assert first == {0.0: 21 + 40, 1.0: 61 + 40, 2.0: 101 + 40, float("inf"): 201 + 40}


PLUGIN = """
from dfcompiler.serving.policy import Policy, Router

class ShortestPrompt(Policy, name="test-shortest-prompt"):
    def key(self, requests, now_s, generated):
        return requests.prompt_tokens

class Last(Router, name="test-last"):
    def choose(self, requests, request, loads):
        return len(loads) - 1
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setenv(content.VARIABLE, os.environ.get(content.VARIABLE, ""))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mine.py").write_text(PLUGIN)
    content.use([tmp_path])


@pytest.mark.usefixtures("plugin")
def test_policies_and_routers_of_a_plugin() -> None:
    r = Requests.of([0, 0, 0], [9, 5, 7], [2, 2, 2])
    settings = Settings("vllm-v1", 64, 1)
    first, _ = times(r, Cluster((Pool(plain(), settings),), policy("test-shortest-prompt")))
    assert np.argsort(first).tolist() == [1, 2, 0]
    pools = (Pool(plain(), settings), Pool(plain(), settings, 2))
    cluster = Cluster(pools, router=router("test-last"))
    assert {tuple(simulate(r, cluster, engine=e).replica) for e in ENGINES} == {(2, 2, 2)}  # type: ignore[arg-type]


def test_unknown_names() -> None:
    with pytest.raises(Diag, match="unknown policy `fcf`"):
        policy("fcf")
    with pytest.raises(Diag, match="unknown router `robin`"):
        router("robin")


# ---- routers


class Asked(Router):
    """As another one, but every choice is made in Python."""

    like: Router

    def choose(self, requests: Requests, request: int, loads: Sequence[Load]) -> int:
        return self.like.choose(requests, request, loads)


@how(max_examples=40)
@given(requests(), clusters())
def test_weights_choose_as_the_router_does(r: Requests, cluster: Cluster) -> None:
    asked = Cluster(cluster.pools, cluster.policy, Asked(cluster.router), cluster.link, cluster.spill)
    assert not asked.router.linear and cluster.router.linear
    same(simulate(r, cluster), simulate(r, asked))
    same(simulate(r, asked, engine="iter"), simulate(r, asked))


def test_where_requests_go() -> None:
    """Two replicas with a seat each, 64 blocks and 32: two requests at once, then one."""
    settings = Settings("vllm-v1", 64, 1, 4, prefix_caching=True)
    pools = (Pool(plain(256), settings), Pool(plain(128), settings))
    r = Requests.of([0, 0, 1], [40, 8, 40], [9, 9, 9], shared_tokens=[40, 0, 40], prefix_id=[0, -1, 0])
    went = {n: simulate(r, Cluster(pools, router=router(n))).replica.tolist() for n in ROUTERS}
    assert went["round-robin"] == [0, 1, 0]
    assert went["least-outstanding"] == [0, 1, 0]
    assert went["shortest-queue"] == [0, 1, 1]  # 40 tokens or 8
    assert went["freest-cache"] == [0, 1, 1]  # 10 of 64 blocks, 2 of 32
    assert went["prefix-aware"] == [0, 1, 0]  # 40 tokens, all found, or 8


# ---- prefill and decode apart


def apart(link: Link, spill: Spill | None = None) -> Cluster:
    settings = Settings("vllm-v1", 64, 4)
    return Cluster(
        (Pool(plain(), settings, role="prefill"), Pool(plain(), settings, role="decode")), link=link, spill=spill
    )


@pytest.mark.parametrize(
    ("link", "moved_s"),
    [
        (Link(1.0, 1.0), 6),  # 6 tokens, a second each
        (Link(1.0, 1.0, latency_s=2.0), 8),
        (Link(2.0, 1.0, layers=4), 0.75),  # 3 s in all: the last layer's quarter comes after the step
        (Link(0.25, 1.0, layers=4), 12),  # 24 s in all, from the first layer on, a quarter into the 16 s of the step
    ],
)
def test_caches_move_while_layers_are_computed(link: Link, moved_s: float) -> None:
    first, done = times(Requests.of([0], [6], [3]), apart(link))
    assert first == [16] and done == pytest.approx([16 + moved_s + 20])


def test_caches_wait_for_the_link() -> None:
    """Two prompts of 4 end at 18, each sends for 4 s."""
    _, done = times(Requests.of([0, 0], [4, 4], [2, 2]), apart(Link(1.0, 1.0)))
    assert done == [18 + 4 + 10, 18 + 4 + 10 + 10]


def test_answers_of_one_token_never_move() -> None:
    served = simulate(Requests.of([0], [6], [1]), apart(Link(1.0, 1.0)))
    assert served.done_s.tolist() == [16] and served.replica.tolist() == [0]


def test_pools_help_each_other() -> None:
    """With 8 tokens waiting the decode replica takes prompts; with its cache in use, caches stay."""
    r = Requests.of([0, 0.5, 1, 1.5], [6, 8, 6, 6], [2, 2, 2, 2])
    alone = simulate(r, apart(Link(1.0, 1.0)))
    assert alone.replica.tolist() == [1, 1, 1, 1]
    helped = simulate(r, apart(Link(1.0, 1.0), Spill(7, 1.0)))
    assert helped.replica[2] == 1 and helped.first_token_s[2] < alone.first_token_s[2]
    stays = simulate(Requests.of([0, 60], [6, 6], [9, 2]), apart(Link(1.0, 1.0), Spill(99, 0.0)))
    assert stays.replica.tolist() == [1, 0]


# ---- bounds and queues


def makespan(lengths: Sequence[int], seats: int) -> int:
    """The least longest seat, by trying all."""
    best = sum(lengths)
    todo: list[tuple[int, tuple[int, ...]]] = [(0, (0,) * seats)]
    while todo:
        i, loads = todo.pop()
        if i == len(lengths):
            best = min(best, max(loads))
            continue
        todo += [(i + 1, tuple(sorted((*loads[:s], loads[s] + lengths[i], *loads[s + 1 :])))) for s in range(seats)]
    return best


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 3))
def test_the_packing_bound_is_the_least_longest_seat(outputs: list[int], seats: int) -> None:
    r = Requests.of(np.zeros(len(outputs)), 1, outputs)
    bound = lower_bound(r, Pool(plain(), Settings("orca", max_sequences=seats)))
    assert bound.steps == makespan(outputs, seats) <= bound.packed == max(bound.steps, longest_first(outputs, seats))


@given(requests(), st.sampled_from(sorted(SEMANTICS)), st.integers(0, 3), st.sampled_from(["fcfs", "longest-first"]))
def test_no_engine_is_faster_than_the_bound(r: Requests, semantics: str, seed: int, order: str) -> None:
    r = Requests(np.zeros(len(r)), *(getattr(r, f) for f in list(r.__dataclass_fields__)[1:]))
    rows = by_rows(table(seed - 1, 400), 2 + seed) if seed % 2 else table(seed, 400)
    pool = Pool(rows, Settings(semantics, 64, 4))
    served = simulate(r, Cluster((pool,), policy(order)))
    bound = lower_bound(r, pool)
    assert served.steps >= bound.steps
    done = served.done_s[~served.rejected]
    assert done.max(initial=0) >= bound.makespan_s * (1 - 1e-9)
    if len(done):
        assert bound.makespan_s > 0
    if seed == 0 and len(done):  # others are so bent that a step of many prompts might take nothing
        assert bound.makespan_s > 0.4 * done.max(), "a bound that says little is no bound"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_waiting_requests_come_out_in_order(moves: list[tuple[bool, int]]) -> None:
    n = len(moves)
    key, child, sibling = [float(k) for _, k in moves], [0] * n, [0] * n
    root, reference = -1, list[tuple[float, int]]()
    for item, (comes, _) in enumerate(moves):
        if comes or not reference:
            root = queues.push(root, item, key, child, sibling)
            heapq.heappush(reference, (key[item], item))
        else:
            assert root == heapq.heappop(reference)[1]
            root = queues.pop(root, key, child, sibling)
    while reference:
        assert root == heapq.heappop(reference)[1]
        root = queues.pop(root, key, child, sibling)
    assert root == -1


@given(st.data(), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_seats_know_who_is_done_first(data: st.DataObject, finish: list[int]) -> None:
    seats, place, here = [0] * len(finish), [0] * len(finish), list[int]()
    for item in range(len(finish)):
        queues.rise(seats, place, finish, 0, len(here), item)
        here.append(item)
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(here))
            queues.unseat(seats, place, finish, 0, len(here), place[gone])
            here.remove(gone)
        assert sorted(seats[: len(here)]) == sorted(here) and all(seats[place[i]] == i for i in here)
        assert not here or seats[0] == min(here, key=lambda i: (finish[i], i))
