"""What kernels take along from one GPU to another: clocks, proportions, constants that are what their names say."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.kernels import contraction, decode, load_generation, prefill
from dfcompiler.kernels.generation import Generation
from dfcompiler.kernels.tables import KINDS, price_table
from dfcompiler.validation import kernel_unit, on_kernels

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "silicon"
FITTED = ("sm80", "sm90")
FILES = {"gemm": "gemm_bf16", "prefill": "attn_prefill_bf16", "decode": "attn_decode_bf16"}


@cache
def on(chip: str) -> tuple[Any, Any]:
    found = kernel_unit(load_chip(chip))
    assert found
    return on_kernels(*found, bits=16)


@pytest.mark.parametrize("name", FITTED)
def test_constants_are_below_what_is_possible(name: str) -> None:
    """No part of a cache is more than all of it, and no bandwidth more than its peak; a tensor core may run 8 % faster
    than the clock of its data sheet, and clusters of two load once."""
    kernels = load_generation(name)
    most = {"dram_efficiency": 0.95, "l2_part": 1.0, "l2_efficiency": 2.0, "tensor_efficiency": 1.08}
    for family in (kernels.contraction, kernels.narrow, kernels.prefill, kernels.decode, kernels.grouped):
        for constant, limit in most.items():
            assert getattr(family, constant, 0.0) <= limit * 1.001


def test_constants_of_decoding_agree_across_generations() -> None:
    """Fitted on disjoint devices, what is not the kernel's source comes out alike: it can be taken along."""
    a, b = (load_generation(name).decode for name in FITTED)
    for constant in ("launch_us", "cta_us", "combine_us", "split_us"):
        assert getattr(a, constant) == pytest.approx(getattr(b, constant), rel=0.35), constant


@given(m=st.integers(1, 4000), n=st.integers(1, 4000), k=st.integers(1, 4000), faster=st.sampled_from([1.5, 2.0, 3.0]))
def test_a_contraction_is_counted_in_clocks(m: int, n: int, k: int, faster: float) -> None:
    """All but memory is as much faster as the clock: with memory at no cost, the whole."""
    device, kernels = on("a100_sxm")
    device = dataclasses.replace(device, dram_bytes_per_s=1e30)
    plain = dataclasses.replace(kernels.contraction, throttle=0.0, dram_latency_us=0.0)
    quick = dataclasses.replace(device, clock_hz=device.clock_hz * faster)
    one, other = (contraction(1, m, n, k, d, plain).seconds[0] for d in (device, quick))
    assert one == pytest.approx(other * faster, rel=1e-6)


def test_only_the_vendors_contractions_are_balanced() -> None:
    ours = load_generation("sm90")
    twice = ours.balanced("twice", 2 * ours.macs_per_clock)
    assert twice.contraction.step_clocks == pytest.approx(ours.contraction.step_clocks / 2)
    assert twice.contraction.l2_efficiency == pytest.approx(ours.contraction.l2_efficiency * 2)
    assert twice.grouped == ours.grouped


@given(batch=st.integers(1, 900), kv_heads=st.sampled_from([1, 2, 8]), resident=st.integers(1, 3))
def test_thread_blocks_of_decoding_run_in_waves_of_all_places(batch: int, kv_heads: int, resident: int) -> None:
    """Deal CTAs to places until none is left; with no memory, no arithmetic and no rule that splits, a round is the
    prologue and epilogue of one."""
    device, kernels = on("a100_sxm")
    device = dataclasses.replace(device, dram_bytes_per_s=1e30, macs=1e30)
    bare = dataclasses.replace(
        kernels.decode, resident=float(resident), launch_us=0.0, single_us=0.0, fill_us=0.0, copy_us=0.0, row_us=0.0,
        splits_single=0.0,
    )  # fmt: skip
    left, rounds = batch * kv_heads, 0
    while left > 0:
        left, rounds = left - resident * int(device.sms), rounds + 1
    found = decode(batch, 100, kv_heads, kv_heads, 128, device, bare).seconds[0]
    assert found == pytest.approx(rounds * bare.cta_us * 1e-6, rel=1e-6)


@given(heads=st.integers(1, 600), resident=st.integers(1, 3))
def test_thread_blocks_of_one_tile_share_an_sm(heads: int, resident: int) -> None:
    """Prologues of those that are resident together hide behind each other, their arithmetic does not."""
    device, kernels = on("a100_sxm")
    device = dataclasses.replace(device, dram_bytes_per_s=1e30)
    bare = dataclasses.replace(kernels.prefill, resident=float(resident), launch_us=0.0, throttle=0.0)
    busiest = [0] * int(device.sms)
    for cta in range(heads):
        busiest[cta % len(busiest)] += 1
    clocks = 2 * bare.rows * bare.columns * 128 / device.macs / bare.tensor_efficiency
    expected = max(busiest) * clocks / device.clock_hz - (-max(busiest) // resident) * bare.cta_us * 1e-6
    found = prefill(1, int(bare.rows), 0, heads, heads, 128, device, bare).seconds[0]
    assert found == pytest.approx(expected, rel=1e-6)


@given(batch=st.integers(1, 500), kv_heads=st.sampled_from([1, 4, 8]), group=st.sampled_from([1, 4]))
def test_one_token_without_a_past_decodes(batch: int, kv_heads: int, group: int) -> None:
    """On Ampere; the cache is written beside it."""
    device, kernels = on("a100_sxm")
    row = {"batch_size": [batch], "seq_len": [1], "num_heads": [kv_heads * group], "num_kv_heads": [kv_heads],
           "head_dim": [128], "kv_len": [1]}  # fmt: skip
    first, later = (price_table(kind, row, device, kernels).seconds[0] for kind in ("prefill", "decode"))
    unwritten = dataclasses.replace(kernels.prefill, write_traffic=0.0, write_clocks=0.0)
    bare = price_table("prefill", row, device, dataclasses.replace(kernels, prefill=unwritten)).seconds[0]
    assert bare == pytest.approx(later) and first > bare


def ported(to: Generation, source: Generation, rules: dict[str, tuple[str, ...]]) -> Generation:
    """Constants of `source`, and of `to` what the source of its kernels says."""
    moved = source.balanced(to.name, to.macs_per_clock)
    kinds = {f: dataclasses.replace(getattr(moved, f), **{n: getattr(getattr(to, f), n) for n in names})
             for f, names in rules.items()}  # fmt: skip
    return dataclasses.replace(moved, **kinds)


RULES = {
    "contraction": ("tiles",),
    "prefill": ("rows", "columns", "packs", "resident", "single_decodes", "scheduled"),
    "decode": (
        "fill_factor",
        "splits_single",
        "scheduled",
        "resident",
        "combine_launch_us",
        "combine_stages",
        "copy_us",
    ),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(("source", "chip", "runs"), [("sm80", "h100_sxm", "sm90"), ("sm90", "a100_sxm", "sm80")])
def test_the_other_generation_from_its_data_sheet(kind: str, source: str, chip: str, runs: str) -> None:
    """Rows of a device none of which was fitted on, by constants of another one; benchmarks/VALIDATION.md has all."""
    path = DATA / f"silicon_{chip.removesuffix('_sxm')}_{FILES[kind]}.csv"
    if not path.is_file():
        pytest.skip("no measured kernels: set DFC_DATA")
    table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
    columns = {n: table[n].astype(float) for n in KINDS[kind].columns}
    device, _ = on(chip)
    kernels = ported(load_generation(runs), load_generation(source), RULES)
    us = price_table(kind, columns, device, kernels).seconds * 1e6
    assert np.abs(us / (table["latency_ms"] * 1e3) - 1).mean() < 0.14
