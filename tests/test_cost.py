"""What devices and tokens cost: `dfc cost` and the report of a compile against sums of their own; bad terms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.cli.main import main
from dfcompiler.economics import Ownership, Running, good_die_usd, owned, price, switches_usd
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.tech import load_tech
from dfcompiler.power import peak_w, static_w
from dfcompiler.terms import Terms, terms

STEP = ["compile", "llama3-8b", "--on", "ador", "--phase", "decode", "--context", "64", "--pipeline", "greedy"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("step")
    assert main([*STEP, "-o", str(out), "--json"]) == 0
    return out


def asked(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["cost", *argv, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def by_the_hour(r: dict[str, Any], years: float, part: float, usd_per_kwh: float, pue: float, share: float) -> float:
    """USD of a million tokens of a step, from the report's own figures: steps, hours and bills counted."""
    working_s = part * years * 365.25 * 24 * 3600
    steps = working_s / r["interval_s"]
    joules = steps * (r["energy_j"] - r["static_j"]) + r["static_j"] / r["latency_s"] * working_s / part
    bill = joules / 3.6e6 * pue * usd_per_kwh
    return float((r["cost_usd"] * (1 + share) + bill) / (steps * r["tokens"]) * 1e6)


def test_a_report_counts_a_million_tokens(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r = json.loads((compiled / "mapping.json").read_text())
    default = {name: value for name, (value, _, _) in terms().items()}
    assert r["terms"] == default
    wanted = by_the_hour(r, *(default[n] for n in ("years", "utilisation", "usd_per_kwh", "pue", "share")))
    assert sum(r["usd_per_million_tokens"].values()) == pytest.approx(wanted)
    assert asked(capsys, str(compiled))["usd_per_million_tokens"] == pytest.approx(r["usd_per_million_tokens"])


def test_other_terms_change_what_they_are_about(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    r = json.loads((compiled / "mapping.json").read_text())
    found = asked(capsys, str(compiled), "--years", "2", "--utilisation", "0.9", "--usd-per-kwh", "0.3", "--pue", "1.1",
                  "--share", "0")  # fmt: skip
    assert sum(found["usd_per_million_tokens"].values()) == pytest.approx(by_the_hour(r, 2, 0.9, 0.3, 1.1, 0))
    assert found["usd_per_million_tokens"]["around"] == 0 and found["terms"]["years"] == 2
    free = asked(capsys, str(compiled), "--usd-per-kwh", "0")["usd_per_million_tokens"]
    assert free["electricity"] == 0 < free["devices"]
    paid = asked(capsys, str(compiled), "--device-usd", "20000")
    assert paid["cost_usd"] == 20000
    assert paid["usd_per_million_tokens"]["devices"] == pytest.approx(free["devices"] * 20000 / r["cost_usd"])


def test_a_chip_is_owned_at_its_peak(capsys: pytest.CaptureFixture[str]) -> None:
    chip = load_chip("h100_sxm")
    found = asked(capsys, "h100_sxm", "--devices", "8", "--tokens-per-s", "1000")
    assert found["busy_w"] == pytest.approx(8 * peak_w(chip)) and found["idle_w"] == pytest.approx(8 * static_w(chip))
    assert found["cost_usd"] == pytest.approx(8 * price(chip).usd + found["switches_usd"])
    hours = 4 * 8766
    assert found["owned_usd"]["electricity"] == pytest.approx(
        hours * 8 * (0.6 * peak_w(chip) + 0.4 * static_w(chip)) / 1000 * 1.58 * 0.0806
    )
    millions = 0.6 * hours * 3600 * 1000 / 1e6
    for part, usd in found["owned_usd"].items():
        assert found["usd_per_million_tokens"][part] == pytest.approx(usd / millions)
    assert "usd_per_million_tokens" not in asked(capsys, "h100_sxm")


def test_people_see_terms_and_their_sources(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", str(compiled), "--pue", "1.2"]) == 0
    out = capsys.readouterr().out
    assert "USD per million over 4 years at 60.0 %" in out
    assert "EIA" in out and "Uptime" not in out  # of what was given, no default is said
    assert main(["cost", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in terms())
    assert "default 0.0806: EIA" in " ".join(shown.split())


@given(
    tokens=st.floats(1, 1e5), interval=st.floats(1e-4, 1), busy=st.floats(0, 1e3), idle=st.floats(0, 1e3),
    usd=st.floats(1, 1e6),
)  # fmt: skip
def test_a_step_is_its_ownership(tokens: float, interval: float, busy: float, idle: float, usd: float) -> None:
    """Watts and rate of a running step give the same as owning a device of those watts at that rate."""
    step = Running(tokens, interval, 2 * interval, busy * interval + 2 * idle * interval, 2 * idle * interval)
    o = step.ownership(Terms())
    assert o.idle_w == pytest.approx(idle) and o.busy_w == pytest.approx(busy + idle)
    parts = step.per_million_tokens(usd, Terms())
    made = tokens / interval * 0.6 * 4 * 8766 * 3600 / 1e6
    assert parts.usd == pytest.approx(float(owned(usd, o).usd) / made)


# ---- switches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [2, 3, 4, 8, 16])
@pytest.mark.parametrize(("name", "links", "ports", "mm2", "node"), [
    ("h100_sxm", 18, 64, 294, 4), ("a100_sxm", 12, 36, 165, 7), ("b200", 18, 72, 661, 4),
])  # fmt: skip
def test_switches_are_as_many_as_links_need(
    name: str, links: int, ports: int, mm2: float, node: float, devices: int
) -> None:
    """Plug one link after the other into the first switch with a free port."""
    free: list[int] = []
    for _ in range(devices * links):
        if not free or free[-1] == 0:
            free.append(ports)
        free[-1] -= 1
    tech = load_tech(node)
    die = float(good_die_usd(mm2, tech.value("wafer", "usd"), tech.value("wafer", "defects_per_cm2"), tech))
    one = (die + mm2 * tech.value("package", "organic_usd_per_mm2")) / tech.value("package", "assembly_yield")
    assert switches_usd(load_chip(name), devices) == pytest.approx(len(free) * one)


def test_where_there_is_no_switch_none_is_paid_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert switches_usd(load_chip("h100_sxm"), 1) == 0
    assert switches_usd(load_chip("v100"), 8) == 0  # a mesh of links
    assert switches_usd(load_chip("ador"), 8) is None
    assert asked(capsys, "ador", "--devices", "8")["switches_usd"] is None
    assert main(["cost", "ador", "--devices", "8"]) == 0
    assert "has no `switch-mm2`" in " ".join(capsys.readouterr().out.split())  # lines are as wide as the terminal
    assert main([*STEP, "--tp", "2", "--json"]) == 0
    assert any("leaves out the switches" in note for note in json.loads(capsys.readouterr().out)["notes"])


def test_more_devices_than_ports_are_not_priced(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "h100_sxm", "--devices", "65"]) == 1
    assert "beyond-switch" in capsys.readouterr().err


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--years", "0"], "illegal-value"),
        (["--years", "nan"], "bad-number"),
        (["--years", "inf"], "bad-number"),
        (["--utilisation", "0"], "illegal-value"),
        (["--utilisation", "1.5"], "illegal-value"),
        (["--usd-per-kwh", "-0.1"], "illegal-value"),
        (["--pue", "0.5"], "illegal-value"),
        (["--share", "-1"], "illegal-value"),
        (["--device-usd", "0"], "bad-option"),
        (["--device-usd", "-5"], "bad-option"),
        (["--tokens-per-s", "0"], "bad-option"),
        (["--tokens-per-s", "cheap"], "bad-number"),
        (["--devices", "0"], "bad-option"),
        (["--devices", "1.5"], "bad-number"),
        (["--price", "3"], "unknown-option"),
    ],
)
def test_terms_that_cannot_be(argv: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "h100_sxm", *argv]) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_what_cannot_be_costed_is_said(compiled: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for argv, says in (
        (["h200x"], "unknown-chip"),
        ([str(compiled), "--devices", "2"], "--devices is for a chip"),
        ([str(compiled), "--tokens-per-s", "2"], "--tokens-per-s is for a chip"),
        ([str(compiled), "--set", "clock=1 GHz"], "--set changes a chip"),
    ):
        assert main(["cost", *argv]) == 2
        assert says in capsys.readouterr().err
    report = json.loads((compiled / "mapping.json").read_text()) | {"cost_usd": None}
    (tmp_path / "mapping.json").write_text(json.dumps(report))
    assert main(["cost", str(tmp_path)]) == 2
    assert "has no price" in capsys.readouterr().err
    assert main(["cost", str(tmp_path), "--device-usd", "100"]) == 0
    assert main(["cost", "ador", "--set", "uncore=600 mm2"]) == 1
    assert "beyond-reticle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"), [("tokens", 0), ("latency_s", -1), ("energy_j", math.nan), ("static_j", "x"), ("devices", None)]
)
def test_a_step_that_is_damaged(
    compiled: Path, key: str, value: object, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = json.loads((compiled / "mapping.json").read_text()) | {key: value}
    (tmp_path / "mapping.json").write_text(json.dumps(report))
    assert main(["cost", str(tmp_path)]) == 2
    assert f"has no `{key}` that can be" in capsys.readouterr().err
    del report[key]
    (tmp_path / "mapping.json").write_text(json.dumps(report))
    assert main(["cost", str(tmp_path)]) == 2
    assert "bad-mapping" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_watts_that_cannot_be(value: float) -> None:
    for watts in ({"busy_w": value, "idle_w": 1.0}, {"busy_w": 1.0, "idle_w": value}):
        with pytest.raises(Exception, match="cannot be"):
            Ownership(**watts)
