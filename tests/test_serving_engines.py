"""The three engines give the same times, and what must be conserved is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from servecases import POLICIES, clusters, requests, table

from dfcompiler import registry
from dfcompiler.serving import compiled, timeline
from dfcompiler.serving.cluster import Cluster, Pool
from dfcompiler.serving.engine import ENGINES, PLAIN, simulate
from dfcompiler.serving.gaps import Gaps
from dfcompiler.serving.policy import policy
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.settings import SEMANTICS, Settings

SAME_S = 1e-9
EXAMPLES = max(300, how().max_examples)
FAST = pytest.mark.skipif(not compiled.available(), reason="numba is not installed")


def same(a: Served, b: Served) -> None:
    """Equal in all that does not depend on how steps are gathered into rows."""
    for name in ("first_token_s", "done_s", "max_gap_s"):
        x, y = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y), err_msg=name)
        np.testing.assert_allclose(x, y, rtol=0, atol=SAME_S, err_msg=name)
    for name in ("preemptions", "rejected", "replica"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name in ("steps", "prefill_tokens", "decode_tokens", "cached_tokens"):
        np.testing.assert_array_equal(getattr(a.totals, name), getattr(b.totals, name), err_msg=name)
    np.testing.assert_allclose(a.totals.busy_s, b.totals.busy_s, rtol=0, atol=SAME_S)
    assert a.gaps.total == b.gaps.total
    for part in (0.01, 0.5, 0.99, 1.0):  # a gap at the edge of a bin may be counted on either side of it
        assert a.gaps.quantile(part) == pytest.approx(b.gaps.quantile(part), rel=1.3e-4, nan_ok=True)


def conserved(r: Requests, served: Served) -> None:
    """Every token once, in order of time; all that is not rejected is done."""
    done = ~served.rejected
    assert not np.isnan(served.done_s[done]).any() and np.isnan(served.done_s[~done]).all()
    assert (served.first_token_s[done] >= r.arrival_s[done]).all()
    assert (served.sum_gap_s[done] >= 0).all() and (served.max_gap_s[done] <= served.sum_gap_s[done] + SAME_S).all()
    assert served.gaps.total == (r.output_tokens[done] - 1).sum()
    prompts = served.totals.prefill_tokens.sum() + served.totals.cached_tokens.sum()
    assert prompts >= r.prompt_tokens[done].sum()
    if not served.preemptions.any():
        assert prompts == r.prompt_tokens[done].sum()
        assert served.totals.decode_tokens.sum() == (r.output_tokens[done] - 1).sum()


@how(max_examples=EXAMPLES)
@given(requests(), clusters())
def test_jumps_give_the_times_of_single_steps(r: Requests, cluster: Cluster) -> None:
    served = simulate(r, cluster, engine="iter")
    conserved(r, served)
    same(served, simulate(r, cluster, engine="jump"))


@how(max_examples=EXAMPLES)
@given(requests(), clusters())
def test_lazy_gives_the_times_of_single_steps(r: Requests, cluster: Cluster) -> None:
    same(simulate(r, cluster, engine="iter"), simulate(r, cluster, engine="lazy", fast=False))


ORDERS = [(p, s) for s in SEMANTICS for p in (*POLICIES, *(() if SEMANTICS[s].mixed else ("lagrangian",)))]


@pytest.mark.parametrize(("order", "semantics"), ORDERS, ids="-".join)
def test_nothing_is_lost_in_any_engine_under_any_policy(order: str, semantics: str) -> None:
    """On a burst for which the cache is much too small; blocks are within the cache at every step."""
    r, cluster = tight(semantics)
    pool = cluster.pools[0]
    for engine in ENGINES:
        served = simulate(r, Cluster((pool,), policy(order)), engine=engine, series=True, fast=False)  # type: ignore[arg-type]
        conserved(r, served)
        assert served.series is not None
        used = served.series.column("blocks")
        assert used.min() >= 0 and used.max() <= pool.blocks


def test_every_policy_is_tried() -> None:
    assert {order for order, _ in ORDERS} == set(registry.names("policy"))


@FAST
@how(max_examples=EXAMPLES)
@given(requests(), clusters())
def test_what_is_compiled_gives_the_times_of_what_is_not(r: Requests, cluster: Cluster) -> None:
    same(simulate(r, cluster, engine="lazy", fast=False), simulate(r, cluster, engine="lazy", fast=True))


@how(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(requests(most=60, longest=200), clusters())
def test_long_traces(r: Requests, cluster: Cluster) -> None:
    same(simulate(r, cluster, engine="jump"), simulate(r, cluster, engine="lazy", fast=False))


def tight(semantics: str, *, caching: bool = False) -> tuple[Requests, Cluster]:
    """A burst for which the cache is much too small."""
    rng = np.random.default_rng(0)
    n = 60
    prompt = rng.integers(20, 60, n)
    r = Requests.of(
        rng.choice([0.0, 0.1, 2.0], n),
        prompt,
        rng.integers(1, 150, n),
        shared_tokens=prompt // 2,
        prefix_id=rng.integers(0, 3, n),
    )
    settings = Settings(semantics, 256, 16, 4, prefix_caching=caching)
    return r, Cluster((Pool(table(1, 600), settings),))


@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("semantics", ["vllm-v1", "vllm-v0", "sarathi"])
def test_engines_agree_where_many_are_preempted(semantics: str, caching: bool) -> None:
    r, cluster = tight(semantics, caching=caching)
    by_steps = simulate(r, cluster, engine="iter")
    assert by_steps.preemptions.sum() > 20
    assert (by_steps.totals.cached_tokens.sum() > 0) == caching
    conserved(r, by_steps)
    same(by_steps, simulate(r, cluster, engine="jump"))
    same(by_steps, simulate(r, cluster, engine="lazy", fast=False))


@pytest.mark.parametrize("semantics", ["orca", "static"])
def test_who_reserves_all_never_preempts(semantics: str) -> None:
    r, cluster = tight(semantics)
    served = simulate(r, cluster)
    assert not served.preemptions.any() and not served.rejected.any()


def test_no_requests() -> None:
    for engine in ("iter", "jump", "lazy"):
        served = simulate(Requests.of([], [], []), Cluster((Pool(table()),)), engine=engine)
        assert len(served.done_s) == 0 and served.steps == 0 and math.isnan(served.gaps.quantile(0.5))


def timeline_of(r: Requests, cluster: Cluster) -> timeline.Timeline:
    made = timeline.Timeline(r, cluster, PLAIN["iter"])
    made.play()
    return made


@given(requests(), clusters())
def test_quantiles_of_gaps_are_those_of_all_gaps(r: Requests, cluster: Cluster) -> None:
    pairs = timeline_of(r, cluster).ledger.gaps
    exact = np.repeat([gap for gap, _ in pairs], [times for _, times in pairs]) if pairs else np.array([])
    gaps = simulate(r, cluster).gaps
    assert gaps.total == len(exact)
    for part in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0) if len(exact) else ():
        wanted = np.quantile(exact, part, method="inverted_cdf")
        assert gaps.quantile(part) == pytest.approx(wanted, rel=6.2e-5)


def test_quantiles_of_gaps_out_of_range() -> None:
    counts = np.zeros_like(simulate(Requests.of([], [], []), Cluster((Pool(table()),))).gaps.counts)
    counts[0], counts[-1] = 3, 1
    assert Gaps(counts).quantile(0.5) == 0 and Gaps(counts).quantile(1) > 1e6


def expanded(served: Served) -> np.ndarray[Any, Any]:
    """The time series with a row for each step: replica, tokens computed, batch, context."""
    assert served.series is not None
    column = served.series.column
    rows = []
    for i in range(len(served.series.rows)):
        batch, context = column("batch")[i], column("context")[i]
        kept = column("replica")[i], column("prefill")[i], column("waiting")[i]
        rows += [[*kept, batch, context + j * batch] for j in range(int(column("steps")[i]))]
    return np.array(rows)


@given(requests(), clusters())
def test_time_series_tell_every_step(r: Requests, cluster: Cluster) -> None:
    by_steps, by_runs = simulate(r, cluster, engine="iter", series=True), simulate(r, cluster, series=True)
    np.testing.assert_array_equal(expanded(by_steps), expanded(by_runs))
    assert by_runs.series is not None and by_steps.series is not None
    first = np.cumsum(by_runs.series.column("steps")).astype(int) - by_runs.series.column("steps").astype(int)
    for name in ("start_s", "blocks"):  # of a run, those of its first step
        found, wanted = by_runs.series.column(name), by_steps.series.column(name)[first]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=SAME_S)
    blocks = [p.blocks for p in cluster.pools for _ in range(p.replicas)]
    for replica, used in by_steps.series.rows[:, [0, 7]].astype(int):
        assert 0 <= used <= blocks[replica]


def test_a_long_time_series_is_collected_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    r, cluster = tight("vllm-v1")
    whole = simulate(r, cluster, series=True)
    monkeypatch.setattr("dfcompiler.serving.lazy.ROWS", 7)
    parts = simulate(r, cluster, series=True)
    assert whole.series is not None and parts.series is not None and len(whole.series.rows) > 70
    np.testing.assert_array_equal(whole.series.rows, parts.series.rows)


def broken(name: str) -> Sequence[str]:
    """Which of the fields of two results differ once a rule of the oracle is changed."""
    r, cluster = tight("vllm-v1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLAIN["iter"], name, lambda self, *a: [] if name == "admit" else None)
        try:
            simulate(r, cluster, engine="iter")
        except AssertionError:
            return [name]
    return []


@pytest.mark.parametrize("name", ["admit", "grow", "leave"])
def test_the_oracle_notices_broken_rules(name: str) -> None:
    """Nobody is admitted; decodes take no blocks; who is done keeps its seat."""
    assert broken(name) == [name]


def test_policies_differ() -> None:
    """The tests above would pass if keys were ignored by all engines."""
    r, cluster = tight("vllm-v1")
    means = {n: simulate(r, Cluster(cluster.pools, policy(n))).done_s.mean() for n in ("fcfs", "longest-first")}
    assert means["fcfs"] != means["longest-first"]
