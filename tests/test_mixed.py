"""The reason for heterogeneous units: in a mixed step decode runs on the MAC trees under prefill GEMMs."""

from __future__ import annotations

from functools import cache

import pytest

from dfcompiler.api import Compiled, compile_model
from dfcompiler.hardware import load_chip
from dfcompiler.models import load_model
from dfcompiler.steps import Step, phase, step

MIXED = phase("mixed", 16, 2048, 2048)


@cache
def compiled(what: Step, *without: str) -> Compiled:
    chip = load_chip("ador", without=without)
    return compile_model(load_model("llama3-8b"), chip, what, time_limit_s=240)


def layer(c: Compiled) -> dict[str, tuple[str, float, float]]:
    """Node of the repeated layer -> unit, start and end."""
    return {n: (op.unit, op.start_s, op.end_s) for op in c.report.ops if op.repeat > 1 for n in op.nodes}


def test_decode_attention_runs_on_the_mac_trees_while_prefill_gemms_hold_the_arrays() -> None:
    c = compiled(MIXED)
    where = layer(c)
    unit, start, end = where["o_decode"]
    assert unit == "mt"
    gemms = [n for n in where if "_prefill" in n and where[n][0] == "sa"]
    over = sum(max(0.0, min(end, where[n][2]) - max(start, where[n][1])) for n in gemms)
    assert over >= 0.9 * (end - start)
    assert c.report.status == "OPTIMAL"


def test_the_decode_is_hidden_under_the_prefill() -> None:
    mixed = compiled(MIXED).report.latency_s
    prefill = compiled(step(prefill=[(2048, 0)])).report.latency_s
    decode = compiled(step(decode=[2048] * 16)).report.latency_s
    assert (prefill + decode - mixed) / decode >= 0.8


@pytest.mark.parametrize("unit", ["sa", "mt"])
def test_the_step_costs_more_without_either_unit(unit: str) -> None:
    without = compiled(MIXED, unit)
    assert without.report.latency_s >= without.report.bound_s
    # What no schedule without the unit can beat is worse than what there is with it.
    assert without.report.bound_s > compiled(MIXED).report.latency_s


def test_without_a_mac_tree_the_same_pipeline_compiles() -> None:
    units = {op.unit for op in compiled(MIXED, "mt").report.ops}
    assert units <= {"sa", "vu"}
