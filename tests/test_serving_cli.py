"""`dfc serve` from the command line: its numbers, its files, and what it says of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfcompiler.cli import main

SMALL = ["serve", "llama3-8b", "--on", "h100_sxm", "--max-tokens", "256", "--max-sequences", "8", "--requests", "40"]
LOAD = ["--poisson", "2", "--lengths", "200,20"]
SPREADS = ("ttft_s", "tbt_s", "tpot_s", "e2e_s")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    said = capsys.readouterr()
    return code, said.out, said.err


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:  # type: ignore[type-arg]
    code, out, err = run(capsys, *argv, "--json")
    assert code == 0, err
    found: dict = json.loads(out)  # type: ignore[type-arg]
    return found


def test_json_is_one_object_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, *SMALL, *LOAD, "--slo", "ttft=0.5,tbt=0.1")
    assert (found["requests"], found["completed"], found["preemptions"]) == (40, 40, 0)
    for name in SPREADS:
        assert {"mean", "p50", "p90", "p99"} <= found[name].keys()
        assert 0 < found[name]["p50"] <= found[name]["p90"] <= found[name]["p99"]
    assert found["throughput_tok_s"] == pytest.approx(20 * found["throughput_req_s"])
    assert found["goodput_req_s"] == pytest.approx(found["slo_attainment"] * found["throughput_req_s"])
    assert found["max_rate_req_s"] is None and found["sim_cpu_s"] > 0
    assert found["spending"]["joules"] > 0 and found["pools"][0]["host_s"] == 0.001


def test_the_highest_rate_says_its_bracket(capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, *SMALL, *LOAD, "--slo", "ttft=0.5", "--find-rate", "--attain", "0.9")
    assert found["max_rate_req_s"] == found["max_rate"]["rate_per_s"] > 2
    assert found["max_rate"]["too_high_per_s"] <= 1.011 * found["max_rate_req_s"]
    assert found["slo_attainment"] >= 0.9


def test_the_host_lengthens_every_token(capsys: pytest.CaptureFixture[str]) -> None:
    none, much = (told(capsys, *SMALL, *LOAD, "--host-us", t)["tpot_s"]["mean"] for t in ("0", "5000"))
    assert much > none + 0.005 - 1e-9


def test_all_simulators_and_more_replicas_serve(capsys: pytest.CaptureFixture[str]) -> None:
    lazy, jump, each = (told(capsys, *SMALL, *LOAD, "--simulator", n)["e2e_s"] for n in ("lazy", "jump", "iter"))
    assert lazy == pytest.approx(each, abs=1e-9) and jump == pytest.approx(each, abs=1e-9)
    two = told(capsys, *SMALL, *LOAD, "--replicas", "2", "--router", "least-outstanding")
    assert two["e2e_s"]["mean"] <= lazy["mean"] + 1e-9
    apart = told(capsys, *SMALL, *LOAD, "--pools", "prefill=1,decode=1")
    assert [p["role"] for p in apart["pools"]] == ["prefill", "decode"]
    assert apart["completed"] == 40


def test_pools_help_each_other_and_share_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    """Behind a long queue prompts go where answers are made; one link for two that send is slower than two."""
    busy = ["--poisson", "400", "--lengths", "2000,4"]
    told_of = lambda *more: told(capsys, *SMALL, *busy, *more)  # noqa: E731
    alone, helped = (told_of("--pools", "prefill=1,decode=1", *x) for x in ([], ["--spill", "1000,0.5"]))
    assert helped["completed"] == alone["completed"] == 40
    assert helped["ttft_s"]["mean"] < 0.8 * alone["ttft_s"]["mean"]
    links = [told_of("--pools", "prefill=2,decode=1", *x)["e2e_s"]["mean"] for x in ([], ["--shared-link"])]
    assert links[0] <= links[1]


def test_prefixes_that_prompts_share_are_computed_once(capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--prefixes", "2,160", "--prefix-caching"]
    without, with_them = (told(capsys, *SMALL, *LOAD, *x) for x in (shared[:2], shared))
    assert "2 prefixes of 160 tokens" in with_them["load"]
    assert with_them["ttft_s"]["mean"] < 0.9 * without["ttft_s"]["mean"]


def test_files_are_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "made"
    code, said, err = run(capsys, *SMALL, *LOAD, "-o", str(out), "--window", "0,5")
    assert code == 0, err
    assert sorted(p.name for p in out.iterdir()) == ["requests.csv", "series.csv", "serve.json", "trace.json"]
    assert len((out / "requests.csv").read_text(encoding="utf-8").splitlines()) == 41
    assert json.loads((out / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert json.loads((out / "serve.json").read_text(encoding="utf-8"))["requests"] == 40
    for word in ("TTFT", "TBT", "TPOT", "tokens of cache", "requests.csv"):
        assert word in said


def test_a_trace_is_served_and_stretched(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n3,100,5\n4,100,5\n", encoding="utf-8")
    assert told(capsys, *SMALL, "--trace", str(path))["requests"] == 3
    assert told(capsys, *SMALL, "--trace", str(path), "--rate", "100")["duration_s"] < 1


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--poisson", "0"], 2, "--poisson"),
        (["--poisson", "-1"], 2, "--poisson"),
        (["--poisson", "1", "--gamma", "1"], 2, "one of"),
        (["--poisson", "1", "--lengths", "nothing"], 2, "unknown workload"),
        (["--lengths", "0,5"], 2, "bad-workload"),
        (["--requests", "0"], 2, "--requests"),
        (["--trace", "no.csv"], 2, "cannot be read"),
        (["--rate", "3"], 2, "are for a trace"),
        (["--slo", "speed=1"], 2, "unknown objective"),
        (["--find-rate", *LOAD], 2, "any rate will do"),
        (["--find-rate", *LOAD, "--slo", "ttft=0.000001"], 1, "attainable"),
        (["--find-rate", *LOAD, "--slo", "ttft=1", "--attain", "2"], 2, "from 0 to 1"),
        (["--pools", "prefill=0,decode=1"], 2, "no devices"),
        (["--pools", "prefill"], 2, "no pool"),
        (["--spill", "100,0.5"], 2, "spill into each other"),
        (["--pools", "prefill=1,decode=1", "--spill", "100"], 2, "write TOKENS,PART"),
        (["--pools", "prefill=1,decode=1", "--spill=-1,0.5"], 2, "help each other from"),
        (["--shared-link"], 2, "a link to share"),
        (["--prefixes", "0,5"], 2, "at least one prefix"),
        (["--prefixes", "many,5"], 2, "no finite number"),
        (["--lengths", "none.json"], 2, "cannot be read"),
        (["--replicas", "0"], 2, "--replicas"),
        (["--policy", "luck"], 2, "unknown"),
        (["--simulator", "slow"], 2, "unknown"),
        (["--semantics", "vllm"], 2, "unknown"),
        (["--rank", "chips", "--devices", "2"], 2, "unknown ranking"),
        (["--rank", "strategies"], 2, "--devices N"),
        (["--rank", "strategies", "--devices", "2", "--pp", "2"], 2, "--pp"),
        (["--rank", "strategies", "--devices", "2", "--shared-link"], 2, "--shared-link"),
        (["--rank", "strategies", "--devices", "2", *LOAD], 2, "any rate will do"),
        (["--host-us", "-1"], 2, "--host-us"),
        (["--memory-utilization", "1.5"], 2, "--memory-utilization"),
        (["--memory-utilization", "0.1"], 1, "leaves no room"),
        (["--window", "1,2"], 2, "-o DIR"),
    ],
)
def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str) -> None:
    got, out, err = run(capsys, *SMALL, *argv)
    assert (got, out) == (code, ""), err
    assert said in err


def test_a_prompt_that_never_fits_is_rejected_and_counted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n0,100,5\n1,900000,5\n", encoding="utf-8")
    found = told(capsys, *SMALL, "--trace", str(path))
    assert (found["completed"], found["rejected"]) == (1, 1)


def test_pools_apart_tell_what_both_spend(capsys: pytest.CaptureFixture[str]) -> None:
    one, apart = (told(capsys, *SMALL, *LOAD, *x)["spending"] for x in ([], ["--pools", "prefill=1,decode=1"]))
    assert one["joules"] < apart["joules"] < 3 * one["joules"]
    assert apart["usd"] == pytest.approx(2 * one["usd"], rel=0.2)


def test_stages_serve_more_sequences_in_more_room(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (told(capsys, *SMALL, *LOAD, "--pp", n) for n in ("1", "2"))
    assert two["pools"][0]["devices"] == 2
    assert two["pools"][0]["kv"]["tokens"] > 2 * one["pools"][0]["kv"]["tokens"]
    assert two["completed"] == 40 and two["spending"]["joules"] > one["spending"]["joules"]


def test_strategies_are_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*SMALL, *LOAD, "--devices", "2", "--rank", "strategies", "--slo", "ttft=0.5"]
    found = told(capsys, *asked)
    rates = [x["rate_per_s"] for x in found["strategies"]]
    assert rates == sorted(rates, reverse=True) and len(rates) + len(found["skipped"]) == 4
    assert all(x["devices"] <= 2 for x in found["strategies"])
    code, said, err = run(capsys, *asked)
    assert code == 0, err
    assert "tp 2" in said and "1 prefill + 1 decode" in said
