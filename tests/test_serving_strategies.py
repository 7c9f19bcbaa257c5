"""Rankings against trying everything, and ceilings against what engines reach."""

from __future__ import annotations

import numpy as np
import pytest
import servecases
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.answers import Objectives
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.ceilings import ceiling, work
from dfcompiler.serving.cluster import Cluster, Link, Pool
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.policy import policy, router
from dfcompiler.serving.rates import find_rate
from dfcompiler.serving.replicas import Replicas, replicas
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.strategies import Question, rank, strategies, ways
from dfcompiler.serving.workloads import lengths, synthetic

SETTINGS = Settings(max_batched_tokens=256, max_sequences=8)
REQUESTS = synthetic(Arrivals("poisson", 2.0), lengths("200,20"), 300)


def question(wanted: Objectives) -> Question:
    return Question(REQUESTS, wanted, 0.9, policy("fcfs"), router("round-robin"))


def made(chip: Chip, parallel: Parallel) -> Replicas:
    return replicas(load_model("llama3-8b"), chip, REQUESTS, SETTINGS, parallel=parallel, utilization=0.8)


@pytest.mark.parametrize("wanted", [Objectives(ttft=0.3), Objectives(ttft=0.1, tbt=0.02), Objectives(e2e=0.6)])
def test_what_is_skipped_by_proof_would_not_have_won(wanted: Objectives) -> None:
    chips = [load_chip("h100_sxm"), load_chip("l4")]
    quick, every = (rank(chips, 2, made, question(wanted), prove=p) for p in (True, False))
    assert len(quick) == len(every) == 8
    known = {x.strategy: x for x in every}
    assert quick[0].strategy == every[0].strategy and not any(x.proven for x in every)
    for x in quick:
        true = known[x.strategy]
        assert x.rate == true.rate or (x.proven and x.rate is None)
        if true.rate is not None and x.ceiling_per_s is not None:
            assert true.rate.rate_per_s <= x.ceiling_per_s


def test_slower_chips_are_skipped_where_requests_come_long_enough() -> None:
    wanted = Objectives(ttft=0.1, tbt=0.05)
    found = rank([load_chip("h100_sxm"), load_chip("l4")], 1, made, question(wanted))
    assert [x.strategy.chip for x in found] == ["h100_sxm", "l4"]
    assert found[1].proven and "less than the best" in found[1].why


def test_what_does_not_fit_or_divide_says_so() -> None:
    def large(chip: Chip, parallel: Parallel) -> Replicas:
        return replicas(load_model("llama3-8b"), chip, REQUESTS, SETTINGS, parallel=parallel, utilization=0.1)

    found = rank([load_chip("l4")], 3, large, question(Objectives(ttft=0.3)))
    assert all(x.rate is None and not x.proven for x in found)
    whys = {(x.strategy.tp, x.strategy.pp): x.why for x in found}
    assert "leaves no room" in whys[1, 1] and "tp=3" in whys[3, 1]


@given(st.integers(1, 64))
def test_every_strategy_takes_as_many_of_the_devices_as_its_replicas_can(devices: int) -> None:
    tried = ways(devices)
    pairs = {(t, p) for t in range(1, devices + 1) for p in range(1, devices + 1) if t * p <= devices}
    assert {(p.tp, p.pp) for p in tried} == pairs and len(tried) == len(pairs)
    for p in tried:
        found = list(strategies("x", p, devices))
        assert len(set(found)) == len(found) == devices // p.count
        assert all(devices - p.count < s.devices <= devices for s in found)


@how(max_examples=60)
@given(
    servecases.requests(most=40),
    st.integers(0, 40),
    st.floats(0.02, 2.0),
    st.sampled_from([0.5, 0.9, 1.0]),
    st.booleans(),
)
def test_no_engine_is_faster_than_a_ceiling(r: object, seed: int, limit: float, part: float, apart: bool) -> None:
    """Highest rates under random objectives, on random tables that tell rows."""
    if len(r) < 3 or np.ptp(r.arrival_s) == 0:  # type: ignore[arg-type, attr-defined]
        return
    table = servecases.by_rows(servecases.table(seed, 4096), 3 + seed)
    pools = (Pool(table, SETTINGS, 2),)
    if apart:
        pools = (Pool(table, SETTINGS, 1, "prefill"), Pool(table, SETTINGS, 2, "decode"))
    cluster = Cluster(pools, link=Link(1e7, 100.0) if apart else None)
    wanted = Objectives(ttft=limit, tbt=limit)
    try:
        found = find_rate(r, lambda x: simulate(x, cluster, fast=False), wanted, part)  # type: ignore[arg-type]
    except Infeasible:
        return
    assert found.rate_per_s <= ceiling(r, pools, wanted, part) * (1 + 1e-9)  # type: ignore[arg-type]


@how(max_examples=60)
@given(st.integers(0, 40), st.integers(1, 48), st.integers(0, 80), st.integers(1, 6))
def test_work_lies_below_every_step(seed: int, tokens: int, past: int, batch: int) -> None:
    """What a request takes at the least, against steps with nothing else in them."""
    from dfcompiler.serving.requests import Requests

    table = servecases.by_rows(servecases.table(seed, 4096), 3 + seed)
    pool = Pool(table, SETTINGS)
    one = Requests.of([0.0], [tokens], [2])
    assert work(pool, one).prefill_s[0] <= table.step_s(tokens, 0, 0, 0) + table.host_s + 1e-12
    many = Requests.of(np.zeros(batch), np.full(batch, max(1, past)), np.full(batch, 2))
    step = table.step_s(0, 0, batch, batch * max(1, past)) + table.host_s
    assert work(pool, many).decode_s.sum() <= step + 1e-12
