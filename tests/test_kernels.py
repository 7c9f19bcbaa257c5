"""Models of whole kernels: batches against scalars, launches against brute force, bounds, and measured devices."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler import models
from dfcompiler.cli.main import main
from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.kernels import Load, Scale, contraction, decode, fused_experts, load_generation, prefill
from dfcompiler.kernels.decode import FULL, GOOD_ENOUGH, MOST_SPLITS, splits
from dfcompiler.kernels.generation import FAMILIES, generations, read_generation
from dfcompiler.kernels.grouped import HEIGHTS
from dfcompiler.kernels.loads import drawn, load_of
from dfcompiler.kernels.prefill import key_blocks
from dfcompiler.kernels.tables import KINDS, price_table, roofline_s
from dfcompiler.pricing import price_op
from dfcompiler.validation import kernel_unit, modelled_s, on_kernels, read_measured, validate

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "silicon"
GPUS = sorted(n for n in chip_names() if kernel_unit(load_chip(n)))
SIZES = st.integers(1, 20000)


def on(chip: str, bits: int = 16) -> tuple[Any, Any]:
    found = kernel_unit(load_chip(chip))
    assert found
    return on_kernels(*found, bits=bits)


TABLES: dict[str, dict[str, Any]] = {
    "gemm": {"m": [1, 7, 128, 4096], "n": [64, 4096, 4096, 11008], "k": [32, 4096, 51200, 4096]},
    "prefill": {"batch_size": [1, 4, 64, 1], "seq_len": [1, 100, 512, 8192], "num_heads": [32, 8, 64, 8],
                "num_kv_heads": [32, 8, 8, 1], "head_dim": [128, 128, 64, 128]},
    "decode": {"batch_size": [1, 4, 640, 2048], "kv_len": [2, 100, 4096, 512], "num_heads": [32, 8, 64, 8],
               "num_kv_heads": [32, 8, 8, 1], "head_dim": [128, 128, 64, 128]},
    "moe": {"num_tokens": [1, 64, 4096], "topk": [2, 8, 6], "hidden_size": [4096, 2048, 2688],
            "inter_size": [14336, 768, 1856], "num_experts": [8, 128, 128], "moe_tp_size": [1, 4, 8],
            "moe_ep_size": [1, 1, 4], "distribution": ["balanced", "power_law_1.2", "power_law_1.01"],
            "kernel_source": ["vllm_fused_moe", "other", "vllm_fused_moe"]},
    "softmax": {"m": [1, 4096], "n": [32, 32768]},
    "layernorm": {"m": [1, 4096], "n": [32, 32768]},
    "gelu": {"m": [1, 1 << 24]},
}  # fmt: skip


@pytest.mark.parametrize("chip", ["a100_sxm", "h100_sxm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_a_loop_of_scalars(kind: str, chip: str) -> None:
    table = {n: np.array(v) for n, v in TABLES[kind].items()}
    whole = price_table(kind, table, *on(chip))
    for i in range(len(whole.seconds)):
        one = price_table(kind, {n: v[i : i + 1] for n, v in table.items()}, *on(chip))
        for field in ("seconds", "launch_s", "compute_s", "memory_s"):
            assert getattr(one, field)[0] == pytest.approx(getattr(whole, field)[i], rel=1e-12)


@pytest.mark.parametrize("chip", GPUS)
@pytest.mark.parametrize("kind", KINDS)
def test_cold_kernels_are_not_faster_than_bytes_and_hardly_than_arithmetic(kind: str, chip: str) -> None:
    """Compute may beat the sheet where a chip runs above the clock behind its peak: by no more than 15 %."""
    table = {n: np.array(v) for n, v in TABLES[kind].items()}
    device, kernels = on(chip)
    seconds = price_table(kind, table, device, kernels, warm=False).seconds
    compute_s, memory_s = roofline_s(kind, table, device)
    assert np.all(seconds > 0) and np.all(np.isfinite(seconds))
    assert np.all(seconds >= compute_s / 1.15)
    if kind != "moe":  # its roofline reads the mean of the experts that balanced rows touch
        assert np.all(seconds >= memory_s)


@pytest.mark.parametrize("chip", GPUS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_a_kernel_takes_longer_than_the_whole(kind: str, chip: str) -> None:
    found = price_table(kind, {n: np.array(v) for n, v in TABLES[kind].items()}, *on(chip))
    for part_s in (found.launch_s, found.compute_s, found.memory_s):
        assert np.all(part_s <= found.seconds)


@given(m=SIZES, n=SIZES, k=SIZES)
def test_more_of_a_contraction_takes_hardly_less(m: int, n: int, k: int) -> None:
    device, kernels = on("a100_sxm")
    small = contraction(1, m, n, k, device, kernels.contraction).seconds[0]
    for larger in ((m * 2, n, k), (m, n * 2, k), (m, n, k * 2)):
        assert contraction(1, *larger, device, kernels.contraction).seconds[0] > 0.7 * small


@given(m=SIZES, n=SIZES, k=SIZES)
def test_warm_operands_are_not_slower(m: int, n: int, k: int) -> None:
    """By more than the soft choice between nearly equal tiles shifts."""
    device, kernels = on("h100_sxm")
    cold = contraction(1, m, n, k, device, kernels.contraction).seconds
    assert contraction(1, m, n, k, device, kernels.contraction, copies=6).seconds <= cold * 1.01


def listed(ctas: list[float], sms: int) -> float:
    """When the last CTA ends if each goes to the SM that is free first."""
    free = [0.0] * sms
    for cta in ctas:
        i = free.index(min(free))
        free[i] += cta
    return max(free)


@given(m=st.integers(1, 3000), n=st.integers(1, 3000))
def test_one_tile_in_waves_is_list_scheduling(m: int, n: int) -> None:
    """With one tile, no memory and no soft choice, a contraction is its CTAs on the SMs, one after the other."""
    device, kernels = on("a100_sxm")
    device = dataclasses.replace(device, dram_bytes_per_s=1e30)
    only = dataclasses.replace(
        kernels.contraction, tiles=((128.0, 128.0),), splits=(1.0,), throttle=0.0, vector_clocks=0.0, launch_clocks=0.0,
        fragment_elements=0.0, step_clocks=0.0, l2_efficiency=1e9, dram_latency_us=0.0,
    )  # fmt: skip
    k = 512
    clocks = 128 * 128 / device.macs / only.tensor_efficiency * k + only.epilogue_clocks * 128 * 128 / 32
    count = -(-m // 128) * -(-n // 128)
    found = contraction(1, m, n, k, device, only).seconds[0]
    assert found == pytest.approx(listed([clocks / device.clock_hz] * count, 108), rel=1e-6)


@given(
    s=st.integers(1, 4000), past=st.integers(0, 4000), group=st.sampled_from([1, 2, 3, 4, 5, 8]),
    height=st.sampled_from([64, 128]), width=st.sampled_from([64, 128]), causal=st.booleans(),
)  # fmt: skip
def test_blocks_of_keys_are_those_that_the_mask_leaves(
    s: int, past: int, group: int, height: int, width: int, causal: bool
) -> None:
    tiles, total, longest = (float(x[0]) for x in key_blocks(
        np.array([s * 1.0]), np.array([past * 1.0]), np.array([group * 1.0]), height, width, causal))  # fmt: skip
    ends = [min(-(-(i + 1) * height // group), s) for i in range(-(-s * group // height))]
    last = [min(-(-((i + 1) * height) // group), s) for i in range(len(ends))]
    exact = [-(-((e if causal else s) + past) // width) for e in last]
    assert tiles == len(exact) and longest == max(exact)
    assert total == pytest.approx(sum(exact), abs=1 + len(exact))  # a block per tile at the most, for ends between
    if causal and past == 0 and width % height == 0 and group == 1:
        assert total == pytest.approx(sum(exact), abs=1)


@given(count=st.integers(1, 400), blocks=st.integers(1, 600), sms=st.sampled_from([108, 132, 216]))
def test_splits_follow_the_rule(count: int, blocks: int, sms: int) -> None:
    found = int(splits(np.array([count * 1.0]), np.array([blocks * 1.0]), np.array(sms * 1.0))[0])
    if count >= FULL * sms:
        assert found == 1
        return
    legal = [s for s in range(1, min(MOST_SPLITS, blocks) + 1) if s == 1 or -(-blocks // s) != -(-blocks // (s - 1))]
    full = {s: count * s / sms / -(-count * s // sms) for s in legal}
    assert found == min(s for s in legal if full[s] >= GOOD_ENOUGH * max(full.values()) - 1e-12)


@given(
    tokens=st.integers(1, 5000), chosen=st.integers(1, 8), experts=st.sampled_from([8, 64, 128]),
    spread=st.sampled_from(["balanced", "power_law_1.01", "power_law_1.2", "power_law_1"]),
)  # fmt: skip
def test_drawn_rows_add_up(tokens: int, chosen: int, experts: int, spread: str) -> None:
    rows = drawn(tokens, chosen, experts, spread)
    assert np.all(rows.sum(1) == tokens * chosen)
    assert rows.min() >= 0 and rows.max() <= tokens


def test_a_load_counts_touched_experts_and_padded_tiles() -> None:
    load = Load.of(np.array([[[0.0, 1.0, 17.0, 64.0]]]))
    assert load.active[0] == 3 and load.rows[0] == 82
    assert {h: load.tiles[h][0] for h in HEIGHTS} == {16: 1 + 2 + 4, 32: 1 + 1 + 2, 64: 3, 128: 3}


def test_experts_that_are_not_touched_are_not_read() -> None:
    device, kernels = on("a100_sxm")
    few = Load.of(np.array([[[1.0] * 2 + [0.0] * 62]]))
    many = Load.of(np.array([[[1.0] * 64]]))
    size = (64, 1, 4096, 4096, 64, 64, 1)
    seconds = [fused_experts(*size, load, device, kernels.grouped).memory_s[0] for load in (few, many)]
    assert seconds[1] > 16 * seconds[0]


def test_longer_caches_and_more_sequences_take_longer() -> None:
    device, kernels = on("h100_sxm")
    lengths = np.array([2.0**i for i in range(7, 17)])
    assert np.all(np.diff(decode(16, lengths, 32, 8, 128, device, kernels.decode).seconds) > 0)
    whole = prefill(1, lengths, 0, 32, 8, 128, device, kernels.prefill).seconds
    assert np.all(np.diff(whole) > 0)
    both = [prefill(1, 2048, 0, 32, 8, 128, device, kernels.prefill, causal=c).seconds[0] for c in (True, False)]
    assert both[0] < both[1]


BARS = {"gemm": (7, 6.5), "prefill": (6, 6), "decode": (6.5, 7.5), "moe": (18, 18)}
FILES = {"gemm": "gemm_bf16", "prefill": "attn_prefill_bf16", "decode": "attn_decode_bf16", "moe": "moe_bf16"}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: set DFC_DATA")
@pytest.mark.parametrize(("device", "kind"), list(product(["a100", "h100"], BARS)))
def test_measured_rows_that_nothing_was_fitted_on(device: str, kind: str) -> None:
    chip = load_chip(f"{device}_sxm")
    table = read_measured(DATA / f"silicon_{device}_{FILES[kind]}.csv", chip.clock_hz)
    assert 100 * validate(table, kind, chip).mape <= BARS[kind][0]
    assert 100 * validate(table, kind, chip, min_us=50).mape <= BARS[kind][1]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: set DFC_DATA")
def test_validation_is_the_errors_of_its_rows(tmp_path: Path) -> None:
    chip = load_chip("a100_sxm")
    with (DATA / "silicon_a100_gemm_bf16.csv").open() as file:
        head = [row for _, row in zip(range(6), csv.reader(file), strict=False)]
    path = tmp_path / "few.csv"
    path.write_text("\n".join(",".join(row) for row in head))
    found = validate(read_measured(path, chip.clock_hz), "gemm", chip)
    errors = np.array([r.modelled_s / r.measured_s - 1 for r in found.rows])
    assert found.n == 5 and found.mape == pytest.approx(np.abs(errors).mean())
    assert found.max == abs(found.rows[0].error) and found.bias == pytest.approx(errors.mean())
    assert sorted(r.measured_s for r in found.rows) == pytest.approx(sorted(float(row[3]) * 1e-3 for row in head[1:]))


@pytest.mark.parametrize(
    ("text", "op", "code"),
    [
        ("m,n,k,latency_ms\n1,2,3\n", "gemm", "bad-table"),
        ("m,n,k,latency_ms\n1,2,3,0\n", "gemm", "bad-table"),
        ("m,n,k,latency_ms\n1,2,nan,1\n", "gemm", "bad-table"),
        ("m,n,k,latency_ms\n1,-2,3,1\n", "gemm", "bad-table"),
        ("m,n,latency_ms\n1,2,3\n", "gemm", "bad-table"),
        ("m,n,k\n1,2,3\n", "gemm", "bad-table"),
        ("m,n,k,latency_ms\n", "gemm", "bad-table"),
        ("m,n,k,latency_ms\n1,2,3,4\n", "gem", "unknown-op"),
    ],
)
def test_bad_tables_are_said_to_be_bad(tmp_path: Path, text: str, op: str, code: str) -> None:
    chip, path = load_chip("a100_sxm"), tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(Diag) as caught:
        modelled_s(read_measured(path, chip.clock_hz), op, chip, "w16a16kv16", warm=True)
    assert caught.value.code == code


def test_an_unknown_distribution_is_named() -> None:
    one = np.ones(1)
    with pytest.raises(Diag, match="zipf"):
        load_of(one, one, one * 8, one, ["zipf"], [False])


def plain(name: str) -> dict[str, Any]:
    """A generation as a file would say it."""
    g = load_generation(name)
    tables = {
        kind: {f.name: {"value": _raw(getattr(getattr(g, kind), f.name)), "source": "s"} for f in dataclasses.fields(c)}
        for kind, c in FAMILIES.items()
    }
    return {"macs_per_clock": g.macs_per_clock, **tables}


def _raw(value: Any) -> Any:
    return [list(x) if isinstance(x, tuple) else x for x in value] if isinstance(value, tuple) else value


def test_generations_read_back_and_say_what_is_wrong() -> None:
    assert set(generations()) >= {"sm70", "sm80", "sm89", "sm90", "sm100"}
    for name in generations():
        assert load_generation(name).name == name
    raw = plain("sm80")
    assert dataclasses.replace(read_generation("x", raw), name="sm80") == load_generation("sm80")
    for change in ("missing", "negative", "unsourced", "unknown"):
        bad = plain("sm80")
        match change:
            case "missing":
                del bad["decode"]["launch_us"]
            case "negative":
                bad["decode"]["launch_us"]["value"] = -1
            case "unsourced":
                bad["decode"]["launch_us"]["source"] = ""
            case _:
                bad["decode"]["wings"] = {"value": 1, "source": "s"}
        with pytest.raises(Diag, match="decode"):
            read_generation("x", bad)
    with pytest.raises(Diag, match="sm81"):
        load_generation("sm81")


def test_a_scale_changes_launches_and_rates() -> None:
    device, kernels = on("a100_sxm")
    slow = kernels.scaled(Scale(2.0, 0.5, 0.5))
    sizes = ((1, 32, 32), (8192, 8192, 8192), (1, 65536, 8192))
    for m, n, k in sizes:
        ratio = contraction(1, m, n, k, device, slow.contraction).seconds / contraction(
            1, m, n, k, device, kernels.contraction).seconds  # fmt: skip
        assert 1.6 < ratio[0] < 2.1
    assert kernels.scaled(Scale()) == kernels


@pytest.mark.parametrize("chip", GPUS)
def test_every_gpu_prices_operators_above_their_rooflines(chip: str) -> None:
    found = load_chip(chip)
    device, _ = on(chip)
    large = price_op("matmul", {"m": (4096,), "n": (4096,), "k": (4096,)}, found)
    assert large.latency_s >= 4096**3 / device.macs_per_s and large.bound == "compute"
    small = price_op("matmul", {"m": (1,), "n": (16384,), "k": (16384,)}, found)
    assert small.latency_s >= 2 * 16384**2 / device.dram_bytes_per_s
    attention = {"b": (1,), "s": (2048,), "t": (2048,), "g": (8,), "r": (4,), "e": (128,), "f": (128,)}
    whole = price_op("attention", attention, found)
    half = price_op("attention", attention | {"window": (512,)}, found)
    assert half.latency_s < whole.latency_s
    one = price_op("attention", attention | {"b": (16,), "s": (1,)}, found)
    assert one.latency_s >= 16 * 2048 * 8 * 128 * 2 * 2 / device.dram_bytes_per_s


def test_an_operator_is_priced_as_its_kernel() -> None:
    """What the facts of an op say is what the kernel was asked for by name."""
    chip, (device, kernels) = load_chip("a100_sxm"), on("a100_sxm")
    matmul = price_op("matmul", {"m": (300,), "n": (5000,), "k": (700,)}, chip).latency_s
    assert matmul == pytest.approx(contraction(1, 300, 5000, 700, device, kernels.contraction).seconds[0])
    sizes = {"b": (3,), "g": (4,), "r": (2,), "e": (128,), "f": (128,)}
    step = price_op("attention", sizes | {"s": (1,), "t": (900,)}, chip).latency_s
    assert step == pytest.approx(decode(3, 900, 8, 4, 128, device, kernels.decode).seconds[0])
    chunk = price_op("attention", sizes | {"s": (500,), "t": (900,)}, chip).latency_s
    assert chunk == pytest.approx(prefill(3, 500, 400, 8, 4, 128, device, kernels.prefill).seconds[0])


def test_an_op_that_no_library_has_runs_a_kernel_per_statement() -> None:
    """A scan over tokens: its contractions and the rest one after another take at least a launch each."""
    chip, (_, kernels) = load_chip("a100_sxm"), on("a100_sxm")
    mla = {"b": (2,), "s": (1,), "t": (1000,), "h": (16,), "c": (512,), "e": (64,)}
    device, _ = on("a100_sxm")
    latent = price_op("mla", mla, chip).latency_s
    assert latent == pytest.approx(decode(2, 1000, 16, 1, (512 + 64 + 512) / 2, device, kernels.decode).seconds[0])
    scan = {"b": (1,), "t": (64,), "g": (1,), "r": (4,), "p": (64,), "n": (128,)}
    assert price_op("ssd", scan, chip).latency_s > 5 * kernels.elementwise.launch_us * 1e-6


def test_a_model_compiles_and_no_group_is_chosen_that_no_library_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "gpt2", "--on", "a100_sxm", "--phase", "decode", "--context", "64", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["latency_s"] >= found["roofline_s"] and found["bound_s"] <= found["latency_s"] * (1 + 1e-9)
    assert sum(o["repeat"] * (o["end_s"] - o["start_s"]) for o in found["ops"]) == pytest.approx(found["latency_s"])
    names = [o["op"].split("+") for o in found["ops"]]
    assert any(len(n) > 1 for n in names)  # epilogues are free
    assert not any("linear" in n and any("norm" in one for one in n) for n in names)


def test_a_further_price_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a price needs beside its sizes is there after the first: it equals that of a fresh start."""
    chip = load_chip("h100_sxm")
    asked = {"t": (512,), "k": (4096,), "n": (4096,)}
    price_op("linear", dict(asked, t=(7,)), chip)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file is read")

    with monkeypatch.context() as m:
        m.setattr("builtins.open", refuse)
        m.setattr("io.open", refuse)
        found = price_op("linear", asked, chip)
    models._library.cache_clear()
    load_generation.cache_clear()
    again = price_op("linear", asked, chip)
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(again, seconds=0.0)
