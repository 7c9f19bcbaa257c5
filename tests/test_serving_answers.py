"""What is told of a run: numbers against their definitions, rates against a scan, files against what they hold."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from iteration import serve

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.serving.answers import Objectives, answers, met, objectives
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.cluster import Cluster, Pool
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.rates import at_rate, find_rate, rate_of
from dfcompiler.serving.records import request_columns, series_columns, window_trace, write_columns
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import StepTable
from dfcompiler.serving.workloads import lengths, synthetic


def line(prefill: int, past: float, batch: int, context: int) -> float:
    """Seconds of a made-up machine, straight in everything so that its table is exact."""
    return 0.004 + 4e-5 * prefill + 2e-4 * batch + 1e-7 * context + 1e-8 * past


def table(tokens: int = 1 << 30) -> StepTable:
    axes = [np.array([0, 4096]), np.array([0, 4096]), np.array([0, 512]), np.array([0, 1 << 20])]
    values = np.array([line(*p) for p in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 4)])
    return StepTable(*axes, values.reshape(2, 2, 2, 2), tokens_capacity=tokens)


def cluster(budget: int = 64, seats: int = 8) -> Cluster:
    return Cluster((Pool(table(), Settings(max_batched_tokens=budget, max_sequences=seats)),))


def step_s(chunks: list[tuple[int, int]], contexts: list[int]) -> float:
    new = sum(n for n, _ in chunks)
    pairs = sum(n * past + n * n / 2 for n, past in chunks)
    return line(new, pairs / new - new / 2 if new else 0.0, len(contexts), sum(contexts))


loads = st.lists(
    st.tuples(st.floats(0, 2).map(lambda x: round(x, 3)), st.integers(1, 200), st.integers(1, 30)),
    min_size=1,
    max_size=25,
).map(lambda rows: sorted(rows, key=lambda r: r[0]))


@how(max_examples=60)
@given(loads, st.sampled_from([(8, 4), (64, 8), (512, 3)]))
def test_engines_agree_with_a_server_written_apart(rows: list[tuple[float, int, int]], size: tuple[int, int]) -> None:
    requests = Requests.of(*map(list, zip(*rows, strict=True)))
    served = simulate(requests, cluster(*size))
    wanted = np.array(serve(rows, step_s, *size))
    for seen, expected in zip((served.first_token_s, served.done_s, served.max_gap_s), wanted.T, strict=True):
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def run() -> tuple[Requests, Served]:
    requests = synthetic(Arrivals("bursty", 30.0, 4.0), lengths("azure-conversation"), 400)
    return requests, simulate(requests, cluster(512, 32), series=True)


def test_numbers_are_what_they_are_defined_as(run: tuple[Requests, Served]) -> None:
    requests, served = run
    wanted = Objectives(ttft=5.0, tbt=0.05)
    a = answers(requests, served, wanted)
    ttft = served.first_token_s - requests.arrival_s
    assert a.ttft_s.mean == pytest.approx(ttft.mean())
    assert a.ttft_s.p90 == sorted(ttft)[math.ceil(0.9 * len(ttft)) - 1]
    tpot = (served.done_s - served.first_token_s) / (requests.output_tokens - 1)
    assert a.tpot_s.mean == pytest.approx(tpot.mean())
    assert a.e2e_s.p50 == sorted(served.done_s - requests.arrival_s)[199]
    gaps = (requests.output_tokens - 1).sum()
    assert served.gaps.total == gaps
    assert a.tbt_s.mean == pytest.approx((served.done_s - served.first_token_s).sum() / gaps)
    span = served.done_s.max() - requests.arrival_s[0]
    assert a.throughput_tok_s == pytest.approx(requests.output_tokens.sum() / span)
    good = sum(t <= 5.0 and g <= 0.05 for t, g in zip(ttft, served.max_gap_s, strict=True))
    assert 0 < good < 400
    assert a.slo_attainment == good / 400
    assert a.goodput_req_s == pytest.approx(good / span)


def test_quantiles_of_gaps_are_those_of_all_gaps() -> None:
    rows = [(0.01 * i, 20 + 7 * i, 3 + i % 11) for i in range(40)]
    requests = Requests.of(*map(list, zip(*rows, strict=True)))
    every: list[float] = []

    def watched(chunks: list[tuple[int, int]], contexts: list[int]) -> float:
        seconds = step_s(chunks, contexts)
        every.append(seconds)
        return seconds

    told = answers(requests, simulate(requests, cluster()))
    serve(rows, watched, 64, 8)
    assert min(every) < told.tbt_s.p50 <= told.tbt_s.p90 <= told.tbt_s.p99 <= max(every) * 1.0001
    assert told.tpot_s.mean == pytest.approx(told.tbt_s.mean, rel=0.3)


def test_rejected_requests_are_counted_and_never_good() -> None:
    requests = Requests.of([0.0, 0.0, 1.0], [100, 5000, 100], [4, 4, 1])
    small = Cluster((Pool(table(tokens=1024), Settings(max_batched_tokens=64, max_sequences=8)),))
    served = simulate(requests, small)
    a = answers(requests, served, Objectives(ttft=100.0))
    assert (a.requests, a.completed, a.rejected) == (3, 2, 1)
    assert a.slo_attainment == pytest.approx(2 / 3)
    assert not met(requests, served, Objectives())[1]


def test_promises_of_requests_count_beside_those_asked_for() -> None:
    requests = Requests.of([0.0, 10.0], [100, 100], [4, 4], ttft_slo_s=[1e-6, 10.0])
    served = simulate(requests, cluster())
    assert met(requests, served, Objectives()).tolist() == [False, True]


def test_no_requests_are_no_numbers() -> None:
    empty = Requests.of([], [], [])
    a = answers(empty, simulate(empty, cluster()))
    assert (a.requests, a.throughput_tok_s) == (0, 0.0)
    assert math.isnan(a.ttft_s.mean) and math.isnan(a.slo_attainment)


@pytest.mark.parametrize("text", ["", "ttft", "ttft=", "ttft=-1", "ttft=nan", "ttft=1,ttft=2", "speed=3", "ttft=0"])
def test_no_objectives_are_refused(text: str) -> None:
    with pytest.raises(Diag):
        objectives(text)


# ---- rates -------------------------------------------------------------------------------------


def test_a_rate_is_changed_by_stretching() -> None:
    requests = synthetic(Arrivals("poisson", 3.0), lengths("100,10"), 500)
    twice = at_rate(requests, 6.0)
    assert rate_of(twice) == pytest.approx(6.0)
    gaps = np.diff(requests.arrival_s) * rate_of(requests) / 6.0
    np.testing.assert_allclose(np.diff(twice.arrival_s), gaps, rtol=1e-6, atol=1e-9)


def test_the_highest_rate_is_that_of_a_scan() -> None:
    requests = synthetic(Arrivals("poisson", 3.0), lengths("azure-code"), 300)
    wanted, where = Objectives(ttft=1.0), cluster(512, 32)
    found = find_rate(requests, lambda r: simulate(r, where), wanted, 0.9)
    assert found.too_high_per_s <= found.rate_per_s * 1.0101

    def attained(rate: float) -> float:
        some = at_rate(requests, rate)
        return float(met(some, simulate(some, where), wanted).mean())

    assert attained(found.rate_per_s) == found.attained >= 0.9
    assert attained(found.too_high_per_s) < 0.9
    grid = np.geomspace(found.rate_per_s / 8, found.rate_per_s * 8, 60)
    assert max(r for r in grid if attained(r) >= 0.9) <= found.too_high_per_s


def test_what_nothing_can_meet_is_told_with_the_best() -> None:
    requests = synthetic(Arrivals("poisson", 3.0), lengths("1000,10"), 20)
    with pytest.raises(Infeasible) as caught:
        find_rate(requests, lambda r: simulate(r, cluster(512, 8)), Objectives(ttft=0.01), 0.9)
    alone = line(512, 0, 0, 0) + line(488, 512, 0, 0)
    assert caught.value.code == "slo-unmet"
    assert f"ttft {alone:.4g} s where 0.01 s" in str(caught.value.hint)


@pytest.mark.parametrize("part", [0.0, 1.5, -1.0, math.nan])
def test_no_part_is_refused(part: float) -> None:
    requests = synthetic(Arrivals("poisson", 3.0), lengths("100,10"), 5)
    with pytest.raises(Diag):
        find_rate(requests, lambda r: simulate(r, cluster()), Objectives(ttft=1.0), part)


def test_a_rate_without_an_objective_or_without_gaps_is_refused() -> None:
    at_once = Requests.of([1.0, 1.0], [5, 5], [2, 2])
    with pytest.raises(Diag, match="come at once"):
        at_rate(at_once, 2.0)
    with pytest.raises(Diag, match="any rate will do"):
        find_rate(at_once, lambda r: simulate(r, cluster()), Objectives(), 0.9)


# ---- files -------------------------------------------------------------------------------------


def test_a_row_per_request_is_written(run: tuple[Requests, Served], tmp_path: Path) -> None:
    requests, served = run
    columns = request_columns(requests, served, Objectives(ttft=5.0))
    write_columns(columns, tmp_path / "r.csv")
    rows = list(csv.DictReader((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 400
    for name, values in columns.items():
        np.testing.assert_array_equal([float(r[name]) for r in rows], values.astype(np.float64))


def test_parquet_is_written_where_it_can_be(run: tuple[Requests, Served], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = request_columns(*run, Objectives())
    write_columns(columns, tmp_path / "r.parquet")
    back = parquet.read_table(tmp_path / "r.parquet")
    np.testing.assert_array_equal(back["done_s"].to_numpy(), columns["done_s"])


def test_the_series_adds_up(run: tuple[Requests, Served]) -> None:
    requests, served = run
    assert served.series is not None
    columns = series_columns(served.series, 1000)
    assert columns["prefill"].sum() == requests.prompt_tokens.sum()
    assert (columns["batch"] * columns["steps"]).sum() == (requests.output_tokens - 1).sum()
    assert np.all(columns["end_s"] >= columns["start_s"])


def test_a_window_is_a_trace_that_browsers_read(run: tuple[Requests, Served]) -> None:
    trace = window_trace(*run, 2.0, 4.0, 1000, "test")
    events = json.loads(json.dumps(trace, allow_nan=False))["traceEvents"]
    steps = [e for e in events if e["ph"] == "X" and e["pid"] == 1]
    assert steps and all(e["ts"] < 4e6 and e["ts"] + e["dur"] > 2e6 for e in steps)
    assert {"to first token", "tokens"} == {e["name"] for e in events if e["ph"] == "X" and e["pid"] == 2}
    assert {e["name"].split(",")[0] for e in events if e["ph"] == "C"} == {"batch", "queue", "cache %"}
    with pytest.raises(Diag, match="nothing to show"):
        window_trace(*run, 4.0, 4.0, 1000, "test")
