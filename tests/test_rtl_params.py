"""What a package may hold, and how the parts of a chip become one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfcompiler.diagnostics import Diag
from dfcompiler.rtl import (
    Axis,
    Column,
    Enum,
    OpRow,
    Package,
    Parameter,
    PartSpec,
    Relation,
    Table,
    from_json,
    package,
    to_json,
    validate,
)

HASH = "0123456789abcdef"


def number(name: str, value: int = 1, bits: int = 32) -> Parameter:
    return Parameter(name, value, "", "doc", "axis", bits)


def small(**changes: Any) -> Package:
    table = Table("steps", "doc", (Column("kind", 8, "", "doc"),), ((1,), (2,)))
    base = Package(
        "chip", (number("rows", 4), number("cols", 8)), (Enum("mode", ("on", "off"), "doc"),), (table,), HASH
    )
    return replace(base, **changes)


def with_parameters(*added: Parameter) -> Package:
    return small(parameters=added)


def table(
    name: str = "steps", columns: tuple[Column, ...] = (Column("kind", 8, "", ""),), rows: Any = ((1,),)
) -> Package:
    return small(tables=(Table(name, "", columns, rows),))


BAD: dict[str, tuple[Callable[[], Package], str, str]] = {
    "starts with a digit": (lambda: with_parameters(number("2d")), "rtl-name", "letter"),
    "upper case": (lambda: with_parameters(number("Rows")), "rtl-name", "lower_snake"),
    "two underscores": (lambda: with_parameters(number("a__b")), "rtl-name", "lower_snake"),
    "empty": (lambda: with_parameters(number("")), "rtl-name", "lower_snake"),
    "letters of another script": (lambda: with_parameters(number("größe")), "rtl-name", "lower_snake"),
    "line end": (lambda: with_parameters(number("rows\n")), "rtl-name", "lower_snake"),
    "package starts with a digit": (lambda: small(name="3dchip"), "rtl-name", "letter"),
    "package is a keyword": (lambda: small(name="module"), "rtl-name", "keyword"),
    "package is a C keyword": (lambda: small(name="double"), "rtl-name", "keyword"),
    "package is a stdint prefix": (lambda: small(name="uint32"), "rtl-name", "stdint"),
    "column is a keyword": (lambda: table(columns=(Column("repeat", 8, "", ""),)), "rtl-name", "keyword"),
    "column is a C keyword": (lambda: table(columns=(Column("double", 8, "", ""),)), "rtl-name", "keyword"),
    "function becomes a keyword": (
        lambda: replace(table("accept", (Column("on", 8, "", ""),)), name="sync"),
        "rtl-name",
        "sync_accept_on",
    ),
    "too long": (lambda: with_parameters(number("a" * 80)), "rtl-name", "63"),
    "same name twice": (lambda: with_parameters(number("rows"), number("rows")), "rtl-collision", "rows"),
    "same but for case": (lambda: with_parameters(number("rows"), number("ROWS")), "rtl-collision", "ROWS"),
    "enum member and parameter": (lambda: with_parameters(number("mode_on")), "rtl-collision", "MODE_ON"),
    "table size and parameter": (lambda: with_parameters(number("steps_rows")), "rtl-collision", "STEPS_ROWS"),
    "include guard": (lambda: with_parameters(number("params_vh")), "rtl-collision", "PARAMS_VH"),
    "members that differ in case": (lambda: small(enums=(Enum("m", ("a", "A"), ""),)), "rtl-collision", "A"),
    "overflow": (lambda: with_parameters(number("rows", 256, 8)), "rtl-value", "needs 9 bits"),
    "overflow of 64 bits": (lambda: with_parameters(number("rows", 2**64, 64)), "rtl-value", "64 bits"),
    "negative": (lambda: with_parameters(number("rows", -1)), "rtl-value", "negative"),
    "no bits": (lambda: with_parameters(number("rows", 0, 0)), "rtl-value", "0 bits wide"),
    "too wide": (lambda: with_parameters(number("rows", 0, 65)), "rtl-value", "65 bits wide"),
    "unknown member": (lambda: with_parameters(replace(number("m"), value="auto")), "rtl-enum", "mode.on"),
    "member of two enums": (
        lambda: small(
            parameters=(replace(number("m"), value="on"),), enums=(Enum("a", ("on",), ""), Enum("b", ("on",), ""))
        ),
        "rtl-enum",
        "several",
    ),
    "empty enum": (lambda: small(enums=(Enum("mode", (), ""),)), "rtl-enum", "no member"),
    "table without rows": (lambda: table(rows=()), "rtl-table", "empty"),
    "table without columns": (lambda: table(columns=(), rows=((),)), "rtl-table", "empty"),
    "ragged table": (lambda: table(rows=((1,), (1, 2))), "rtl-table", "row 1"),
    "table overflow": (lambda: table(rows=((1,), (300,))), "rtl-value", "row 1"),
    "huge table": (lambda: table(rows=((1,),) * 8193), "rtl-table", "65544 bits"),
    "broken relation": (lambda: small(relations=(Relation("product", ("cols",), ("rows", 3)),)), "rtl-relation", "12"),
    "relation to nothing": (lambda: small(relations=(Relation("product", ("x",), (1,)),)), "rtl-relation", "`x`"),
    "no hash": (lambda: small(source_hash="today"), "rtl-json", "hash"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_no_tool_would_take_is_refused(case: str) -> None:
    make, code, said = BAD[case]
    with pytest.raises(Diag) as caught:
        validate(make())
    assert caught.value.code == code
    assert said in str(caught.value)


def test_json_round_trip_keeps_everything_and_the_order_of_keys() -> None:
    text = to_json(small())
    assert from_json(text) == small()
    assert to_json(from_json(text)) == text
    assert [*json.loads(text)][:4] == ["generator", "schema", "name", "parameters"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.pop("enums"), "enums"),
        (lambda d: d.update(schema=99), "schema"),
        (lambda d: d.pop("generator"), "generator"),
        (lambda d: d["parameters"][0].update(value=True), "value"),
        (lambda d: d["parameters"][0].update(value=1.5), "value"),
        (lambda d: d["parameters"][0].update(origin="guess"), "origin"),
        (lambda d: d["parameters"][0].pop("unit"), "unit"),
        (lambda d: d["tables"][0].update(rows=[1]), "rows"),
        (lambda d: d.update(parameters={}), "a list"),
    ],
)
def test_bad_json_names_the_place(change: Callable[[Any], object], said: str) -> None:
    data = json.loads(to_json(small()))
    change(data)
    with pytest.raises(Diag, match=said) as caught:
        from_json(json.dumps(data))
    assert caught.value.code == "rtl-json"


def test_text_that_is_no_json() -> None:
    with pytest.raises(Diag) as caught:
        from_json("{")
    assert caught.value.code == "rtl-json"


def of(*axes: tuple[Any, ...], name: str = "part", ops: tuple[OpRow, ...] = ()) -> Package:
    part = PartSpec(name, "template", 2, tuple(Axis(*a) for a in axes))
    return package("chip", [part], ops, 1_000_000_000)


def values(made: Package) -> dict[str, int | str]:
    return {p.name.removeprefix("part_"): p.value for p in made.parameters}


@pytest.mark.parametrize(
    ("value", "unit", "name", "whole", "said", "bits"),
    [
        (2e12, "B/s", "x", 2_000_000_000_000, "B/s", 64),
        (80e9, "B", "x", 80_000_000_000, "B", 64),
        (1, "B", "x", 1, "B", 64),
        (0.5, "", "x_milli", 500, "1/1000", 32),
        (0.1 + 0.2, "", "x_milli", 300, "1/1000", 32),
        (0.0625, "B/cycle", "x_micro", 62500, "1/1000000 B/cycle", 32),
        (1e-7, "s", "x_ps", 100_000, "ps", 32),
        (2, "s", "x_ps", 2_000_000_000_000, "ps", 64),
        (1.2e-12, "J", "x_fj", 1200, "fJ", 32),
        (2**40, "", "x", 2**40, "", 64),
        (np.int64(7), "", "x", 7, "", 32),
        (np.float64(0.25), "", "x_milli", 250, "1/1000", 32),
        (True, "", "x", 1, "", 32),
    ],
)
def test_every_number_becomes_an_integer_of_an_exact_unit(
    value: Any, unit: str, name: str, whole: int, said: str, bits: int
) -> None:
    made = next(p for p in of(("x", value, unit, "doc")).parameters if p.name == f"part_{name}")
    assert (made.value, made.unit, made.bits) == (whole, said, bits)
    assert type(made.value) is int


@pytest.mark.parametrize(("value", "unit"), [(1 / 3, ""), (math.nan, ""), (1e-14, "s"), (-math.inf, "B")])
def test_a_number_without_an_exact_unit_is_refused(value: float, unit: str) -> None:
    with pytest.raises(Diag) as caught:
        of(("x", value, unit, "doc"))
    assert caught.value.code == "rtl-unit"
    assert "part_x" in caught.value.message


def test_an_unbounded_axis_is_left_out_and_listed() -> None:
    made = of(("rate", math.inf, "B/s", "doc"))
    assert [(o.name, o.reason) for o in made.omitted] == [("part_rate", "unbounded")]
    assert "rate" not in values(made)


def test_an_array_gets_its_elements_and_widths() -> None:
    made = values(of(("rows", 64, "PE", ""), ("cols", 1, "PE", "")))
    wanted = {"elements": 64, "rows_w": 6, "rows_count_w": 7, "cols_w": 1, "cols_count_w": 1, "instances_w": 1}
    assert {k: made[k] for k in wanted} == wanted


@pytest.mark.parametrize(("width", "unit"), [(128, "B"), (1024, "bit")])
def test_a_memory_gets_depth_and_address_width(width: int, unit: str) -> None:
    made = of(("capacity", 2 << 20, "B", ""), ("banks", 16, "", ""), ("width", width, unit, ""))
    assert values(made)["depth"] == 1024
    assert values(made)["addr_w"] == 10
    product = next(r for r in made.relations if r.kind == "product")
    assert set(product.left) | set(product.right) >= {"part_capacity", "part_banks", "part_width", "part_depth"}


def test_a_memory_of_no_whole_number_of_words_has_no_depth() -> None:
    made = of(("capacity", 1000, "B", ""), ("banks", 3, "", ""), ("width", 128, "B", ""))
    assert "depth" not in values(made)
    assert "no whole number" in made.omitted[0].reason


def test_times_and_rates_are_also_given_in_cycles() -> None:
    made = values(of(("latency", 1.5e-9, "s", ""), ("rate", 64e9, "B/s", ""), ("odd", 64e9 + 1, "B/s", "")))
    assert (made["latency_ps"], made["latency_cycles"], made["rate_per_cycle"]) == (1500, 2, 64)
    assert "odd_per_cycle" not in made


def test_an_axis_wins_over_what_would_be_derived() -> None:
    made = of(("rows", 64, "", ""), ("rows_w", 9, "bit", "an axis of its own"))
    assert values(made)["rows_w"] == 9


def test_codes_of_a_named_axis_follow_the_legal_names() -> None:
    made = of(("dataflow", "output-stationary", "", "", ("weight-stationary", "output-stationary")))
    assert made.enums[0].members == ("weight_stationary", "output_stationary")
    assert values(made)["dataflow"] == "dataflow.output_stationary"


def test_parts_that_differ_in_case_collide() -> None:
    parts = [PartSpec(n, "t", 1, ()) for n in ("SA", "sa")]
    with pytest.raises(Diag, match="the parts `SA` and `sa`") as caught:
        package("chip", parts, [], 1)
    assert caught.value.code == "rtl-collision"


def test_a_part_that_starts_with_a_digit_is_refused() -> None:
    with pytest.raises(Diag) as caught:
        of(("rows", 1, "", ""), name="64x64")
    assert caught.value.code == "rtl-name"


OP = OpRow("q", "matmul", "part", 3, 10, 90, {"M": 4, "N": 8}, ("N", "M"))


def test_the_schedule_is_a_table() -> None:
    made = of(ops=(OP, OP._replace(tile={"k": 2}, order=("k",), op="copy")))
    (table,) = made.tables
    names = [c.name for c in table.columns]
    assert names == "kind part loops times start stop period tile_k tile_m tile_n loop_0 loop_1 loop_2 loop_3".split()
    dim = next(e for e in made.enums if e.name == "dim")
    assert dim.members == ("none", "k", "m", "n")
    assert table.rows == ((1, 0, 2, 3, 10, 90, 0, 0, 4, 8, 3, 2, 0, 0), (0, 0, 1, 3, 10, 90, 0, 2, 0, 0, 1, 0, 0, 0))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"unit": "gpu"}, "rtl-table"),
        ({"end_cycle": 9}, "rtl-table"),
        ({"order": ("k",)}, "rtl-table"),
        ({"tile": {"m": 1, "M": 2}, "order": ()}, "rtl-collision"),
        ({"repeat": -1}, "rtl-value"),
        ({"repeat": 2**32}, "rtl-value"),
    ],
)
def test_bad_ops_are_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(Diag) as caught:
        of(ops=(OP._replace(**change),))
    assert caught.value.code == code


def test_the_hash_is_that_of_the_inputs() -> None:
    assert of(("rows", 1, "", "")).source_hash == of(("rows", 1, "", "")).source_hash
    assert of(("rows", 1, "", "")).source_hash != of(("rows", 2, "", "")).source_hash
