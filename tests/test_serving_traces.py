"""Traces of every known format, synthetic workloads, and what is said of those that are wrong."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.arrivals import KINDS, Arrivals
from dfcompiler.serving.prefixes import shared_prefixes
from dfcompiler.serving.rates import rate_of
from dfcompiler.serving.traces import FORMATS, read_trace
from dfcompiler.serving.workloads import Sharing, lengths, named, synthetic, workload_names

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
AZURE = {
    "azure-conversation": DATA / "azure" / "AzureLLMInferenceTrace_conv.csv",
    "azure-code": DATA / "azure" / "AzureLLMInferenceTrace_code.csv",
}
TIMED = [f for f in FORMATS if f.arrival]


def written(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path) -> Diag:
    with pytest.raises(Diag) as caught:
        read_trace(path)
    assert caught.value.code == "bad-trace"
    return caught.value


@pytest.mark.parametrize("f", TIMED, ids=lambda f: f.name)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_every_format_is_known_by_its_columns(tmp_path: Path, f, kind: str) -> None:  # type: ignore[no-untyped-def]
    rows = [{f.arrival: (3 + t) * f.per_s, f.prompt: 7 * (t + 1), f.output: t + 2, "else": "x"} for t in range(3)]
    text = "\n".join(map(json.dumps, rows))
    if kind == "csv":
        text = "\n".join([",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)])
    trace = read_trace(written(tmp_path, text + "\n", f"trace.{kind}"))
    assert (trace.format, trace.timed) == (f.name, True)
    np.testing.assert_allclose(trace.requests.arrival_s, [0, 1, 2])
    np.testing.assert_array_equal(trace.requests.prompt_tokens, [7, 14, 21])
    np.testing.assert_array_equal(trace.requests.output_tokens, [2, 3, 4])


def test_times_of_day_keep_their_ticks(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.9999999,1,1\n2023-11-17 00:00:00.0000001,1,1\n"
    arrival = read_trace(written(tmp_path, text)).requests.arrival_s
    assert arrival[1] == pytest.approx(2e-7, abs=2.4e-7)  # a double of today's seconds tells 2.4e-7 s apart
    zoned = text.replace("9999999", "999999+00:00").replace("0000001", "5+00:00")
    assert read_trace(written(tmp_path, zoned)).requests.arrival_s[1] == pytest.approx(0.500001, abs=1e-6)


def test_our_own_columns_carry_priorities_promises_and_prefixes(tmp_path: Path) -> None:
    row = {"arrival_s": 1, "prompt_tokens": 40, "output_tokens": 2, "priority": 3, "ttft_slo_s": 0.5,
           "tbt_slo_s": "inf", "shared_tokens": 32, "prefix_id": 0}  # fmt: skip
    r = read_trace(written(tmp_path, json.dumps(row) + "\n", "t.jsonl")).requests
    assert (r.priority[0], r.ttft_slo_s[0], r.tbt_slo_s[0], r.shared_tokens[0]) == (3, 0.5, np.inf, 32)


HEAD = "arrival_s,prompt_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("arrival_s,prompt_tokens\n0,1\n", 1, "lacks `output_tokens`"),
        ("when,how\n", 1, "no known trace"),
        (HEAD + "0,10,5\n1,-3,5\n", 3, "`prompt_tokens` is -3"),
        (HEAD + "0,10,0\n", 2, "`output_tokens` is 0"),
        (HEAD + "0,99999999999,5\n", 2, "from 1 to 16,777,216"),
        (HEAD + "0,1.5,5\n", 2, "whole number"),
        (HEAD + "0,ten,5\n", 2, "'ten', which is not a number"),
        (HEAD + "nan,1,5\n", 2, "not a time"),
        (HEAD + "0,,5\n", 2, "there is no `prompt_tokens`"),
        (HEAD + "0,1\n", 2, "2 values for 3 columns"),
        (HEAD + "5,1,1\n\n4.5,1,1\n", 4, "0.5 s before the one above"),
        ("arrival_s,arrival_s\n", 1, "two columns `arrival_s`"),
        (HEAD, 1, "has no requests"),
        ("", 1, "has no requests"),
        ('{"arrival_s": 0,\n', 1, "no JSON"),
        ('{"arrival_s": 0, "prompt_tokens": true, "output_tokens": 1}\n', 1, "not a number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    error = refused(written(tmp_path, text))
    assert said in error.message
    assert error.span is not None and error.span.line == line
    assert "trace.csv" in error.render()


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "none.csv").message
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    assert "not text" in refused(tmp_path / "bytes.csv").message


def test_unsorted_times_are_sorted_where_asked_and_equal_ones_stay(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "5,1,1\n4,2,1\n4,3,1\n")
    r = read_trace(path, sort=True).requests
    np.testing.assert_array_equal(r.arrival_s, [0, 0, 1])
    np.testing.assert_array_equal(r.prompt_tokens, [2, 3, 1])


def test_lengths_alone_are_no_load(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt_tokens,output_tokens\n7,3\n9,4\n")
    assert not read_trace(path).timed
    made = synthetic(Arrivals("poisson", 2.0), lengths(str(path)), 50)
    assert {(7, 3), (9, 4)} == set(zip(made.prompt_tokens.tolist(), made.output_tokens.tolist(), strict=True))


# ---- synthetic ---------------------------------------------------------------------------------


@given(st.sampled_from(KINDS), st.floats(0.01, 100), st.floats(1, 20), st.integers(0, 50))
def test_arrivals_ascend_and_are_drawn_alike_from_a_seed(kind: str, rate: float, spread: float, count: int) -> None:
    arrivals = Arrivals(kind, rate, spread)
    one, two = (arrivals.times(count, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert len(one) == count
    assert np.all(np.diff(one) >= 0) and np.all(one >= 0)


@pytest.mark.parametrize(("kind", "spread"), [("poisson", 1.0), ("gamma", 3.0), ("gamma", 0.3), ("bursty", 8.0)])
def test_arrivals_keep_their_rate_and_spread(kind: str, spread: float) -> None:
    times = Arrivals(kind, 5.0, spread).times(200_000, np.random.default_rng(0))
    gaps = np.diff(times)
    assert len(times) / times[-1] == pytest.approx(5.0, rel=0.03)
    if kind == "bursty":  # of n requests one in `spread` begins a burst
        assert (gaps > 0).mean() == pytest.approx(1 / spread, rel=0.03)
    else:
        assert gaps.std() / gaps.mean() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "rate", "spread"),
    [("poisson", 0.0, 1.0), ("poisson", -1, 1), ("poisson", np.inf, 1), ("poisson", np.nan, 1), ("gamma", 1, 0.0),
     ("bursty", 1, 0.5), ("even", 1, 1)],
)  # fmt: skip
def test_no_rate_is_refused(kind: str, rate: float, spread: float) -> None:
    with pytest.raises(Diag):
        Arrivals(kind, rate, spread)


@pytest.mark.parametrize("spec", ["512", "512,", "0,5", "a,b", "5,99999999999", "no-such-workload", "none.csv"])
def test_no_lengths_are_refused(spec: str) -> None:
    with pytest.raises(Diag):
        lengths(spec)


def test_a_fixed_length_is_that_length() -> None:
    made = synthetic(Arrivals("poisson", 1.0), lengths("512,128"), 10)
    assert set(made.prompt_tokens) == {512} and set(made.output_tokens) == {128}


@pytest.mark.parametrize("name", sorted(AZURE))
def test_named_workloads_are_the_published_traces(name: str) -> None:
    assert name in workload_names()
    path = AZURE[name]
    if not path.is_file():
        pytest.skip(f"no {path.name} in DFC_DATA")
    known, real = named(name), read_trace(path).requests
    for said, seen in ((known.prompt_tokens, real.prompt_tokens), (known.output_tokens, real.output_tokens)):
        np.testing.assert_array_equal(said, np.quantile(seen, known.at, method="inverted_cdf"))
    prompt, output = known.draw(200_000, np.random.default_rng(0))
    assert prompt.mean() == pytest.approx(real.prompt_tokens.mean(), rel=0.05)
    assert output.mean() == pytest.approx(real.output_tokens.mean(), rel=0.05)


def test_the_azure_trace_is_read_whole() -> None:
    path = AZURE["azure-conversation"]
    if not path.is_file():
        pytest.skip(f"no {path.name} in DFC_DATA")
    trace = read_trace(path)
    assert (trace.format, len(trace.requests)) == ("azure", 19_366)
    assert rate_of(trace.requests) == pytest.approx(19_365 / 3501.722, rel=1e-6)  # 18:15:46.68059 to 19:14:08.402527


# ---- shared prefixes ---------------------------------------------------------------------------


def test_tokens_of_prompts_tell_what_they_share(tmp_path: Path) -> None:
    """A system prompt, a conversation that goes on, a stranger, and a prompt too short for a block."""
    system = list(range(100, 140))
    tails = [1, 2], [7], [1, 2, 3, 4], None, [1, 2, 3, 4, 5]
    prompts = [*(list(range(60)) if x is None else [*system, *x] for x in tails), [100]]
    rows = [
        {
            "arrival_time_ns": i * 10**9,
            "input_toks": len(p),
            "output_toks": 3,
            "input_tok_ids": p,
            "output_tok_ids": [1],
        }
        for i, p in enumerate(prompts)
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_trace(path).requests
    assert found.prefix_id.tolist() == [0, 0, 0, 1, 0, -1]
    assert found.shared_tokens.tolist() == [42, 40, 44, 60, 45, 0]


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), max_size=12), st.integers(0, 3))
def test_two_of_a_group_share_what_both_are_said_to(tails: list[list[int]], heads: int) -> None:
    prompts = [[i % (heads + 1)] * 16 + tail for i, tail in enumerate(tails)]
    groups, shared = shared_prefixes(prompts)
    for a, b in itertools.combinations(range(len(prompts)), 2):
        if groups[a] == groups[b] >= 0:
            least = min(shared[a], shared[b])
            assert prompts[a][:least] == prompts[b][:least]


@pytest.mark.parametrize(
    ("ids", "said"), [([1, 2], "2 tokens; the prompt is said to have 3"), ("x", "no list"), ([1, 2, 1.5], "no list")]
)
def test_tokens_that_cannot_be_are_told_with_their_line(tmp_path: Path, ids: object, said: str) -> None:
    path = tmp_path / "t.jsonl"
    row = {"arrival_time_ns": 0, "input_toks": 3, "output_toks": 3, "input_tok_ids": ids}
    path.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(Diag, match=said) as error:
        read_trace(path)
    assert error.value.span is not None and error.value.span.line == 1


def test_prefixes_that_are_drawn_are_shared_evenly() -> None:
    """Every prompt begins with one of four; the shorter ones are all of it."""
    plain = synthetic(Arrivals("poisson", 1.0), lengths("azure-conversation"), 4000)
    made = Sharing(4, 300).of(plain, seed=1)
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        np.testing.assert_array_equal(getattr(made, name), getattr(plain, name))
    np.testing.assert_array_equal(made.shared_tokens, np.minimum(plain.prompt_tokens, 300))
    assert np.bincount(made.prefix_id).tolist() == pytest.approx([1000] * 4, rel=0.1)
    few = Sharing(1000, 8).of(plain.take(slice(0, 3)))
    assert set(few.prefix_id) <= {0, 1, 2}, "numbers of prefixes stay below the number of requests"


@pytest.mark.parametrize("sizes", [(0, 5), (2, 0), (-1, 5)])
def test_no_prefixes_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(Diag, match="at least one prefix"):
        Sharing(*sizes)


def test_quantiles_of_a_file_are_lengths(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"quantiles": [0, 0.5, 1], "prompt_tokens": [10, 20, 20], "output_tokens": [5, 5, 5]}))
    made = synthetic(Arrivals("poisson", 1.0), lengths(str(path)), 2000)
    assert made.prompt_tokens.min() == 10 and made.prompt_tokens.mean() == pytest.approx(17.5, rel=0.02)
    assert set(made.output_tokens) == {5}
    path.write_text("[]")
    with pytest.raises(Diag, match="is no workload"):
        lengths(str(path))
    with pytest.raises(Diag, match="cannot be read"):
        lengths(str(tmp_path / "none.json"))
