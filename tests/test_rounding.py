"""Rounding against independent codes: those of ml_dtypes, numpy's own types, and definitions written as loops."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import ELEMENTS, NAMES, parse_dtype
from dfcompiler.execution import random_inputs, rounding_errors, run_graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.models import library
from dfcompiler.rounding import encode, prune, round_element, round_to

FORMATS = {
    "fp8e4m3": ml_dtypes.float8_e4m3fn,
    "fp8e5m2": ml_dtypes.float8_e5m2,
    "fp6e2m3": ml_dtypes.float6_e2m3fn,
    "fp6e3m2": ml_dtypes.float6_e3m2fn,
    "fp4": ml_dtypes.float4_e2m1fn,
    "bf16": ml_dtypes.bfloat16,
    "fp16": np.float16,
}


@cache
def codes(element: str) -> tuple[Any, Any]:
    """Every finite value of a format once, ascending, and whether its code is even."""
    with np.errstate(invalid="ignore"):  # codes that are no numbers
        if element == "tf32":  # fp32 with the last 13 bits left out
            every = np.arange(1 << 18, dtype=np.uint32)
            positive = (every << 13).view(np.float32).astype(np.float64)
        else:
            width = ELEMENTS[element].bits
            every = np.arange(1 << (width - 1), dtype=np.uint16 if width > 8 else np.uint8)
            positive = every.view(FORMATS[element]).astype(np.float64)
    finite = np.isfinite(positive)
    values, even = positive[finite], every[finite] % 2 == 0
    return np.concatenate([-values[:0:-1], values]), np.concatenate([even[:0:-1], even])


def nearest(x: float, element: str) -> float:
    """The nearest code, by looking at those around; the even one of two that are as near."""
    values, even = codes(element)
    at = int(np.searchsorted(values, x))
    around = range(max(0, at - 2), min(len(values), at + 2))
    best = min(around, key=lambda i: (abs(values[i] - x), not even[i]))
    return float(values[best])


SMALL = [n for n in FORMATS if ELEMENTS[n].bits <= 8]


@pytest.mark.parametrize("element", [*FORMATS, "tf32"])
def test_every_code_stays_and_every_middle_goes_to_the_even_code(element: str) -> None:
    values, even = codes(element)
    assert np.array_equal(round_element(values, element), values)
    assert values.max() == ELEMENTS[element].largest
    step = max(1, len(values) // 5000)
    low, high, first = values[:-1:step], values[1::step], even[:-1:step]
    with np.errstate(over="ignore"):
        middle = low + (high - low) / 2
    assert np.array_equal(round_element(middle, element), np.where(first, low, high))


@pytest.mark.parametrize("element", [*FORMATS, "tf32"])
@given(x=st.floats(-600, 600) | st.floats(-1e-2, 1e-2))
def test_values_go_to_the_nearest_code(element: str, x: float) -> None:
    assert float(round_element(np.asarray(x), element)) == nearest(x, element)


def test_wide_types_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20000) * np.exp2(rng.uniform(-160, 140, 20000))
    with np.errstate(over="ignore"):
        assert np.array_equal(round_element(x, "fp32"), x.astype(np.float32).astype(np.float64))
        assert np.array_equal(round_element(x, "fp16"), x.astype(np.float16).astype(np.float64))


@pytest.mark.parametrize("element", SMALL)
def test_narrow_floats_saturate(element: str) -> None:
    largest = ELEMENTS[element].largest
    assert round_element(np.array([np.inf, -np.inf, 1e30, -1e30]), element).tolist() == [largest, -largest] * 2
    assert np.isnan(round_element(np.array([np.nan]), element)).all()


def test_wide_floats_overflow() -> None:
    assert round_element(np.array([65519.9, 65520.0, -1e9, np.inf]), "fp16").tolist() == [
        65504,
        *np.array([1, -1, 1]) * np.inf,
    ]


@pytest.mark.parametrize("width", [2, 4, 8, 16])
def test_integers_round_to_even_and_saturate(width: int) -> None:
    half = 1 << (width - 1)
    assert round_element(np.array([0.5, -0.5, 1e9, -1e9]), f"int{width}").tolist() == [0, 0, half - 1, -half]
    every = np.arange(-half, half, dtype=np.float64)
    assert np.array_equal(round_to(every, f"int{width}"), every), "codes have the scale 1"


def test_quantiles_are_the_published_ones() -> None:
    """QLoRA (Dettmers et al. 2023), appendix E."""
    published = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0]
    published += [0.0795803, 0.1609302, 0.24611230, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
    assert np.unique(round_element(np.linspace(-1, 1, 4001), "nf4")) == pytest.approx(published, abs=2e-7)


# ---- groups ------------------------------------------------------------------------------------

TABLES = st.integers(0, 10_000).map(lambda seed: np.random.default_rng(seed).standard_normal((6, 40)) * 3)


@given(table=TABLES, group=st.sampled_from([1, 8, 16, 40, 7]), width=st.sampled_from([2, 4, 8]))
def test_groups_of_integers(table: Any, group: int, width: int) -> None:
    found = round_to(table, f"int{width}-g{group}")
    top = (1 << (width - 1)) - 1
    for row in range(6):
        for start in range(0, 40, group):
            piece = table[row, start : start + group]
            scale = float(np.float16(np.abs(piece).max() / top))
            every = scale * np.arange(-top - 1, top + 1)
            best = np.abs(piece[:, None] - every).min(axis=1)
            mine = np.abs(found[row, start : start + group] - piece)
            assert mine == pytest.approx(best, abs=1e-12)


@given(table=TABLES, shift=st.floats(-5, 5))
def test_zero_points_serve_ranges_off_the_middle(table: Any, shift: float) -> None:
    moved = table + shift
    found = encode(moved, "int4-g8-z")
    assert np.all((found.codes >= -8) & (found.codes <= 7) & (found.zero == np.rint(found.zero)))
    pieces = moved.reshape(6, 5, 8)
    ends = np.maximum(pieces.max(-1), 0) - np.minimum(pieces.min(-1), 0)
    allowed = np.repeat(ends / 15, 8, axis=1).reshape(6, 40)
    assert np.all(np.abs(found.values - moved) <= allowed * 1.01)


def mx_block(block: Any, element: str) -> Any:
    """OCP MX 1.0, 6.3: the shared exponent, then each element on its own."""
    largest = float(np.abs(block).max())
    if largest == 0:
        return block
    exponent = math.floor(math.log2(largest)) - math.floor(math.log2(ELEMENTS[element].largest))
    scale = 2.0**exponent
    bound = ELEMENTS[element].largest
    return np.array([nearest(min(bound, max(-bound, x / scale)), element) * scale for x in block])


@given(table=TABLES)
@pytest.mark.parametrize(("name", "element"), [("mxfp8", "fp8e4m3"), ("mxfp6", "fp6e2m3"), ("mxfp4", "fp4")])
def test_microscaling(name: str, element: str, table: Any) -> None:
    found = round_to(table, name)
    for row in range(6):
        for start in (0, 32):
            assert np.array_equal(found[row, start : start + 32], mx_block(table[row, start : start + 32], element))


@given(table=TABLES)
def test_nvfp4_has_two_levels(table: Any) -> None:
    found = round_to(table, "nvfp4")
    outer = float(np.float32(np.abs(table).max() / (6 * 448)))
    for row in range(6):
        for start in (0, 16, 32):
            block = table[row, start : start + 16]
            inner = float(np.asarray(np.abs(block).max() / outer / 6).astype(ml_dtypes.float8_e4m3fn).astype(float))
            expected = [nearest(max(-6.0, min(6.0, x / outer / inner)), "fp4") * inner * outer for x in block]
            assert found[row, start : start + 16] == pytest.approx(expected, rel=1e-12)


@given(table=TABLES)
@pytest.mark.parametrize("name", ["fp8e4m3-b4x16", "fp8e4m3-t", "fp8e4m3-c"])
def test_blocks_of_floats(name: str, table: Any) -> None:
    found, level = round_to(table, name), parse_dtype(name).scales[0]
    rows, cols = level.rows or 6, level.cols or 40
    for row in range(0, 6, rows):
        for start in range(0, 40, cols):
            piece = table[row : row + rows, start : start + cols]
            scale = float(np.float32(np.abs(piece).max() / 448))
            expected = [
                [nearest(max(-448.0, min(448.0, x / scale)), "fp8e4m3") * scale for x in line] for line in piece
            ]
            assert found[row : row + rows, start : start + cols] == pytest.approx(np.array(expected), rel=1e-12)


@given(table=TABLES, name=st.sampled_from([*NAMES, "int4-g8", "int8-c", "fp8e4m3-b4x16", "int4-g8-s24", "int8-d30"]))
def test_rounding_twice_is_rounding_once(table: Any, name: str) -> None:
    once = round_to(table, name)
    assert round_to(once, name) == pytest.approx(once, rel=1e-6, abs=1e-12)


def test_nothing_but_zeros_stays() -> None:
    for name in (*NAMES, "int4-g8-z", "fp8e4m3-b2x2", "int8-c"):
        assert not round_to(np.zeros((4, 16)), name).any()
    assert round_to(np.asarray(2.0), "bf16") == 2.0


# ---- sparsity ----------------------------------------------------------------------------------


@given(table=TABLES, cols=st.integers(1, 40))
def test_two_of_four_keeps_the_largest(table: Any, cols: int) -> None:
    sparsity = parse_dtype("int8-s24").sparsity
    assert sparsity is not None
    found = prune(table[:, :cols], sparsity)
    for row in range(6):
        for start in range(0, cols, 4):
            piece, kept = table[row, start : min(cols, start + 4)], found[row, start : start + 4]
            largest = sorted(np.abs(piece))[-2:]
            assert sorted(np.abs(kept[kept != 0])) == largest
            assert np.all((kept == 0) | (kept == piece))
    assert np.count_nonzero(found) == sparsity.stored(6, cols)


@given(table=TABLES, percent=st.integers(1, 99))
def test_a_density_keeps_the_largest(table: Any, percent: int) -> None:
    found = round_to(table, f"fp32-d{percent}")
    count = math.ceil(240 * percent / 100)
    assert np.count_nonzero(found) == count
    assert np.abs(found[found != 0]).min() >= np.sort(np.abs(table).ravel())[-count] * (1 - 1e-6)


# ---- graphs ------------------------------------------------------------------------------------


def two_layers(w: str, a: str) -> Any:
    text = f"""
graph g {{
  input x: {a} [16, 64]
  y1 = repeat 2 (y = x) {{
    weight u: {w} [96, 64]
    weight v: {w} [64, 96]
    h: {a} [16, 96] = linear(y, u)
    z: {a} [16, 64] = linear(h, v)
    yield z
  }}
  output y1
}}"""
    return parse_graph(Source("g", text), library())


def error(w: str, a: str = "fp32") -> float:
    graph = two_layers(w, a)
    inputs = random_inputs(two_layers("fp32", "fp32"), seed=1)
    return rounding_errors(graph, inputs)["y1"]


def test_finer_types_lose_less() -> None:
    assert error("int4-g32") < 0.9 * error("int4")
    assert error("int4-g32") < error("int4-c") < error("int4")
    assert error("int4-g32-z") < error("int4-g32")
    assert error("int8") < error("int4") / 8
    assert error("fp8e4m3-g32") < error("mxfp4") and error("nvfp4") < error("mxfp4")
    assert error("bf16") < error("fp8e4m3") and error("fp32") < 1e-6
    assert error("int8") < error("int8", "int8") < 0.05 < error("int4", "int4")
    assert error("int4-g32") < error("int4-g32-s24")


def test_every_tensor_is_rounded_and_indices_are_not() -> None:
    text = """
graph g {
  input id: int32 [3] in 300
  weight table: int4 [300, 8]
  x: fp8e4m3 [3, 8] = gather(table, id)
  y: bf16 [3, 8] = add(x, x)
  output x, y
}"""
    graph = parse_graph(Source("g", text), library())
    inputs = {"id": np.array([299, 7, 256]), "table": np.random.default_rng(0).standard_normal((300, 8))}
    found = run_graph(graph, inputs, round_to)
    x = round_to(round_to(inputs["table"], "int4")[inputs["id"]], "fp8e4m3")
    assert np.array_equal(found["x"], x)
    assert np.array_equal(found["y"], round_to(2 * x, "bf16"))


def test_caches_are_rounded_where_they_are_written() -> None:
    text = """
graph g {
  state c: fp8e4m3 [1, 5, 4]
  input n: fp32 [1, 2, 4]
  d: fp8e4m3 [1, 5, 4] = append(c, n) {past = 3}
  output d
}"""
    graph = parse_graph(Source("g", text), library())
    inputs = random_inputs(graph)
    found = run_graph(graph, inputs, round_to)
    expected = round_to(np.concatenate([inputs["c"][:, :3], inputs["n"]], axis=1), "fp8e4m3")
    assert np.array_equal(found["d"], expected) and np.array_equal(found["c"], expected)
