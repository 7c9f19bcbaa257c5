"""Products of 8 bits and the schedules of a contraction: rules by rows, clusters, stream-K, operands made beside."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.kernels import contraction, load_generation
from dfcompiler.kernels.contraction import MICRO, ContractionKernels
from dfcompiler.kernels.elementwise import elementwise, quantise
from dfcompiler.pricing import price_op
from dfcompiler.validation import kernel_unit, on_kernels, read_measured, validate

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / "../shared/data")) / "silicon"
SIZES = st.integers(1, 3000)


def on(chip: str, bits: int = 16) -> tuple[Any, Any]:
    found = kernel_unit(load_chip(chip))
    assert found
    device, kernels = on_kernels(*found, bits=bits)
    return dataclasses.replace(device, dram_bytes_per_s=1e30), kernels


def only(**changes: Any) -> tuple[Any, ContractionKernels]:
    """A contraction of which nothing is left but its steps and epilogues."""
    device, kernels = on("h100_sxm", 8)
    plain = {"throttle": 0.0, "launch_clocks": 0.0, "fragment_elements": 0.0, "step_clocks": 0.0, "l2_efficiency": 1e9,
             "dram_latency_us": 0.0, "granule_k": 64.0, "epilogue_clocks": 3.0}  # fmt: skip
    return device, dataclasses.replace(kernels.narrow, **(plain | changes))


def seconds(kernels: ContractionKernels, device: Any, m: int, n: int, k: int) -> float:
    return float(contraction(1, m, n, k, device, kernels, widths=(1.0, 1.0, 2.0)).seconds[0])


@given(m=SIZES, n=SIZES)
def test_the_tile_is_that_of_the_rule(m: int, n: int) -> None:
    rule = ((16.0, 64.0, 16.0, 1.0), (64.0, 64.0, 64.0, 1.0), (64.0, 128.0, 128.0, 1.0), (128.0, 128.0, 1e30, 1.0))
    device, ruled = only(tiles=rule)
    tile = next(t for t in rule if m <= t[2])
    alone = dataclasses.replace(ruled, tiles=(tile[:2],))
    assert seconds(ruled, device, m, n, 512) == pytest.approx(seconds(alone, device, m, n, 512), rel=1e-12)


@given(m=SIZES, n=SIZES, high=st.sampled_from([1, 2, 4]))
def test_a_cluster_takes_as_many_tiles_of_rows(m: int, n: int, high: int) -> None:
    """Deal clusters of CTAs, whole ones, to the SMs; those beyond the last row do nothing and take their place."""
    device, kernels = only(tiles=((128.0, 128.0, 1e30, float(high)),))
    ctas = [0] * int(device.sms)
    clusters = math.ceil(math.ceil(m / 128) / high) * math.ceil(n / 128)
    for cluster in range(clusters):
        for cta in range(high):
            ctas[(cluster * high + cta) % len(ctas)] += 1
    clocks = 128 * 128 / device.macs / kernels.tensor_efficiency * 512 + 3 * 128 * 128 / 32
    assert seconds(kernels, device, m, n, 512) == pytest.approx(max(ctas) * clocks / device.clock_hz, rel=1e-6)


@given(m=SIZES, n=SIZES, k=st.integers(1, 8000))
def test_stream_k_deals_steps_out_in_equal_parts(m: int, n: int, k: int) -> None:
    """Walk all steps of all tiles, each SM from where the last one stopped; one that leaves or enters a tile between
    its ends moves sums (here at no cost), one with several tiles has an epilogue each."""
    device, kernels = only(tiles=((128.0, 128.0),), splits=(0.0,))
    steps, tiles, sms = -(-k // 64), -(-m // 128) * -(-n // 128), int(device.sms)
    part = max(steps * tiles / sms, 1.0)  # of steps, which the model does not round
    step = 64 * 128 * 128 / device.macs / kernels.tensor_efficiency
    clocks = part * step + max(tiles / sms, 1 / steps, 1.0) * 3 * 128 * 128 / 32
    assert seconds(kernels, device, m, n, k) == pytest.approx(clocks / device.clock_hz, rel=1e-6)
    rounded = max(math.ceil((i + 1) * steps * tiles / sms) - math.ceil(i * steps * tiles / sms) for i in range(sms))
    assert part <= max(rounded, 1) <= part + 1


@given(m=SIZES, n=SIZES, k=st.integers(64, 20000))
def test_stream_k_pays_for_what_it_shares_and_no_more(m: int, n: int, k: int) -> None:
    """It is never slower than whole tiles by more than the sums that it moves, and as fast where tiles fill all SMs."""
    device, whole = only(tiles=((128.0, 128.0),), l2_efficiency=1.0)
    streamed = dataclasses.replace(whole, splits=(0.0,))
    both = dataclasses.replace(whole, splits=(1.0, 0.0), choice=1e4)
    sums_s = 2 * 4 * 128 * 128 / 64 / device.clock_hz
    a, b = (seconds(x, device, m, n, k) for x in (whole, streamed))
    assert b <= a + sums_s * (1 + 1e-9)
    assert seconds(both, device, m, n, k) == pytest.approx(min(a, b), rel=1e-3)
    rows = 128 * int(device.sms)
    assert seconds(streamed, device, rows, 256, k) == pytest.approx(seconds(whole, device, rows, 256, k))


def test_a_file_without_narrow_products_has_those_of_16_bits() -> None:
    assert load_generation("sm80").narrow == load_generation("sm80").contraction
    ours = load_generation("sm90")
    assert ours.narrow != ours.contraction and ours.narrow.splits == (1.0,)
    twice = load_generation("sm100")
    assert twice.narrow.step_clocks == pytest.approx(ours.narrow.step_clocks / 2)


@given(m=st.integers(1, 40000), k=st.integers(1, 60000))
def test_operands_are_made_row_by_row(m: int, k: int) -> None:
    device, kernels = on("h100_sxm", 8)
    found = quantise(m, k, device, kernels.elementwise)
    moved = elementwise(2 * m * k, m * k, 4 * m * k, 0, device, kernels.elementwise)
    assert found.seconds[0] == pytest.approx(moved.seconds[0] + m * kernels.elementwise.quantise_us * MICRO)


def test_eight_bits_are_priced_by_their_own_kernels() -> None:
    """Where both operands are narrow; weights alone are unpacked on the way to 16-bit products."""
    chip, sizes = load_chip("h100_sxm"), {"t": (64,), "k": (16384,), "n": (1024,)}
    times = {d: price_op("linear", sizes, chip, dtype=d).latency_s for d in ("w8a8kv8", "w16a16kv16", "w8a16kv16")}
    device, kernels = on_kernels(*kernel_unit(chip), bits=8)  # type: ignore[misc]
    own = contraction(1, 64, 1024, 16384, device, kernels.narrow, widths=(1.0, 1.0, 1.0)).seconds[0]
    assert times["w8a8kv8"] == pytest.approx(own, rel=0.02)
    assert times["w8a16kv16"] != times["w8a8kv8"]


def test_measured_products_of_8_bits() -> None:
    """Rows that were not fitted on; the kernels of 16 bits, with their splits of k, come to 17 %."""
    path = DATA / "silicon_h100_gemm_fp8.csv"
    if not path.is_file():
        pytest.skip("no measured products of 8 bits: set DFC_DATA")
    chip = load_chip("h100_sxm")
    found = validate(read_measured(path, chip.clock_hz), "gemm", chip, dtype="w=fp8e4m3,a=fp8e4m3")
    assert found.n == 400 and found.mape < 0.11 and found.median < 0.075


# ---- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"tiles": ()},
        {"tiles": ((128.0,),)},
        {"tiles": ((128.0, 128.0, 1e30, 1.0, 1.0),)},
        {"tiles": ((128.0, -128.0),)},
        {"tiles": ((128.0, math.nan),)},
        {"tiles": ((0.0, 128.0),)},
        {"tiles": ((64.0, 64.0, 64.0), (128.0, 128.0, 128.0))},
        {"tiles": ((64.0, 64.0, 64.0), (128.0, 128.0, 64.0), (128.0, 128.0, 1e30))},
        {"tiles": ((64.0, 64.0, 64.0), (128.0, 128.0))},
        {"splits": ()},
        {"splits": (1.0, -2.0)},
        {"splits": (1.5,)},
        {"splits": (math.inf,)},
        {"splits": (math.nan,)},
    ],
)
def test_kernels_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(Diag) as caught:
        dataclasses.replace(load_generation("sm90").narrow, **change)
    assert caught.value.code == "bad-kernels" and next(iter(change)) in caught.value.message


def test_one_price_is_that_of_many() -> None:
    device, kernels = on("h100_sxm", 8)
    sizes = np.array([[1, 100, 70], [17, 4096, 512], [100, 300, 4096], [4097, 512, 6144]], dtype=float)
    for table in (kernels.narrow, dataclasses.replace(kernels.contraction, splits=(1.0, 4.0, 0.0))):
        many = contraction(1, *sizes.T, device, table, widths=(1.0, 1.0, 2.0)).seconds
        each = [contraction(1, *row, device, table, widths=(1.0, 1.0, 2.0)).seconds[0] for row in sizes]
        assert many.tolist() == pytest.approx(each, rel=1e-12)
