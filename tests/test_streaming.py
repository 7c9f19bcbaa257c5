"""Kernels that do little with each byte: rows of elements, products with a vector, and what others measured of both."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.kernels import contraction, elementwise
from dfcompiler.kernels.contraction import VECTOR_BYTES, VECTOR_COLUMNS, VECTOR_THREADS
from dfcompiler.kernels.device import THREADS
from dfcompiler.kernels.elementwise import WARP_BYTES
from dfcompiler.kernels.tables import price_table
from dfcompiler.validation import kernel_unit, on_kernels

ROOT = Path(__file__).resolve().parents[1]


def a100() -> tuple[Any, Any]:
    found = kernel_unit(load_chip("a100_sxm"))
    assert found
    return on_kernels(*found, bits=16)


# ---- rows of elements ----------------------------------------------------------------------------


@given(nbytes=st.integers(1, WARP_BYTES), passes=st.integers(2, 5))
def test_a_row_in_registers_is_read_once(nbytes: int, passes: int) -> None:
    device, kernels = a100()
    once, often = (
        elementwise(1e8, 1e8, 0, 0, device, kernels.elementwise, passes=p, row_bytes=nbytes).seconds[0]
        for p in (1, passes)
    )
    assert once == often


@given(nbytes=st.integers(WARP_BYTES + 1, 10**6), passes=st.integers(1, 5))
def test_a_long_row_is_read_again_after_each_barrier(nbytes: int, passes: int) -> None:
    """Between no and all of the rows in flight in the cache; a barrier beside them for each further pass."""
    device, kernels = a100()
    e = dataclasses.replace(kernels.elementwise, again=1.0)
    took = float(elementwise(1e9, 0, 0, 0, device, e, passes=passes, row_bytes=nbytes).seconds[0])
    once_s = 1e9 / (e.dram_efficiency * device.dram_bytes_per_s)
    still_s = (e.launch_us + (passes - 1) * e.barrier_us) * 1e-6
    assert still_s + once_s - 1e-12 <= took <= still_s + passes * once_s + 1e-12


@given(n=st.sampled_from([64, 1000, 1024, 1025, 5000]), m=st.integers(1, 10**5))
def test_softmax_takes_the_exponentials_that_its_kernel_takes(n: int, m: int) -> None:
    """With an endless DRAM and no launch, lanes are all: by hand, of an exact exponential and a division."""
    device, kernels = a100()
    device = dataclasses.replace(device, dram_bytes_per_s=1e30)
    e = dataclasses.replace(kernels.elementwise, launch_us=0.0, barrier_us=0.0)
    took = price_table("softmax", {"m": [m], "n": [n]}, device, dataclasses.replace(kernels, elementwise=e)).seconds[0]
    exact = 3 if n > 1024 else 2
    clocks = max((4 + exact * e.special_lanes) / 64, exact / 16)
    assert took == pytest.approx(m * n * clocks / (108 * 1.41e9), rel=1e-9)


# ---- products with a vector ----------------------------------------------------------------------


@given(b=st.integers(2, 5000), n=st.integers(1, 5000), k=st.integers(1, 5000))
def test_many_products_with_a_vector_are_as_fast_as_bytes_in_flight(b: int, n: int, k: int) -> None:
    device, kernels = a100()
    g = kernels.contraction
    took = float(contraction(b, 1, n, k, device, g).seconds[0]) - g.launch_clocks / device.clock_hz
    blocks, room = b * math.ceil(n / VECTOR_COLUMNS), 108 * THREADS // VECTOR_THREADS
    flight = min(blocks, room) * VECTOR_THREADS * 2 * VECTOR_BYTES
    moved, peak = 2 * b * (n * k + n + k), g.dram_efficiency * device.dram_bytes_per_s
    stream_s = max(moved / peak, moved * g.dram_latency_us * 1e-6 / flight)  # Little's law
    start_s = math.ceil(blocks / room) * g.vector_clocks / device.clock_hz
    assert max(stream_s, start_s) * (1 - 1e-9) <= took <= math.sqrt(2) * stream_s + start_s


def test_few_long_columns_are_slower_than_many_short_ones() -> None:
    """The same bytes: values under scores of a decode, and keys."""
    device, kernels = a100()
    values, keys = contraction(
        192, 1, np.array([128, 3072]), np.array([3072, 128]), device, kernels.contraction
    ).seconds
    assert values > 1.2 * keys


# ---- measured ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured() -> ModuleType:
    pytest.importorskip("scipy", reason="the fit's minimiser comes with aiconfigurator-core")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import llmcompass
        import validate_llmcompass
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    if any(llmcompass.odd_rows(kind) is None for kind in llmcompass.HOSTED):
        pytest.skip("no tables of LLMCompass: set DFC_DATA")
    return validate_llmcompass


def test_operators_that_others_measured_on_a_host(measured: ModuleType) -> None:
    rows = list(measured.operators())
    assert [row[0] for row in rows] == list(measured.BARS) and not [row for row in rows if "MISSED" in row[3]]


def test_a_layer_that_others_measured_on_a_host(measured: ModuleType) -> None:
    rows = list(measured.layers())
    assert len(rows) == 2 and not [row for row in rows if "MISSED" in row[2] + row[4]]


def test_factors_of_stored_rows_stay_possible_and_come_from_even_rows(measured: ModuleType) -> None:
    import llmcompass

    kernels, delivery, dram = llmcompass.row_major()
    assert kernels.l2_efficiency <= 1 and kernels.dram_efficiency <= 0.95 and min(delivery, dram) >= 1
    even, odd = llmcompass.even_rows("gemm"), llmcompass.odd_rows("gemm")
    shapes = [set(zip(*(t[c].tolist() for c in "mnk"), strict=True)) for t in (even, odd)]
    assert len(shapes[0]) == len(shapes[1]) == 10 and not shapes[0] & shapes[1]
