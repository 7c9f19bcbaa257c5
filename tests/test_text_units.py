"""Units: exact where the result is whole, one base per kind, and near names for unknown ones."""

import pytest

from dfcompiler.diagnostics import Diag
from dfcompiler.text.units import UNITS, to_base

CASES = [
    (2, "MiB", 2097152, "B"),
    (16, "GiB", 16 * 2**30, "B"),
    (3, "kB", 3000, "B"),
    (8, "kbit", 1000, "B"),
    (1, "bit", 0.125, "B"),
    (2, "TB/s", 2 * 10**12, "B/s"),
    (100, "Gbit/s", 12500000000, "B/s"),
    (1024, "bit/cycle", 128, "B/cycle"),
    (1.1, "GHz", 1100000000, "Hz"),
    (7, "nm", 7, "nm"),
    (1.5, "um", 1500, "nm"),
    (120, "um2", 0.00012, "mm2"),
    (300, "W", 300, "W"),
    (250, "mW", 0.25, "W"),
    (2, "fJ", 0.002, "pJ"),
    (1, "J", 10**12, "pJ"),
    (0.5, "pJ/bit", 4, "pJ/B"),
    (31.2, "pJ/B", 31.2, "pJ/B"),
    (100, "ns", 1e-07, "s"),
    (12, "cycle", 12, "cycle"),
    (99.5, "USD", 99.5, "USD"),
    (35, "%", 0.35, ""),
    (64, "", 64, ""),
    (4.0, "", 4.0, ""),
    (float("inf"), "GB/s", float("inf"), "B/s"),
]


@pytest.mark.parametrize(("value", "unit", "result", "base"), CASES)
def test_to_base(value: float, unit: str, result: float, base: str) -> None:
    got = to_base(value, unit)
    assert got == (result, base)
    assert type(got[0]) is type(result)


def test_every_base_unit_is_itself() -> None:
    for base in {base for _, base in UNITS.values()}:
        assert to_base(3, base) == (3, base)


@pytest.mark.parametrize(
    ("unit", "near"), [("GBps", "GB/s"), ("KB", "kB"), ("Mhz", "MHz"), ("KB", "KiB"), ("mm^2", "mm2")]
)
def test_unknown_unit(unit: str, near: str) -> None:
    with pytest.raises(Diag) as caught:
        to_base(1, unit)
    assert caught.value.code == "unknown-unit"
    assert caught.value.hint is not None and f"`{near}`" in caught.value.hint


def test_too_large() -> None:
    with pytest.raises(Diag) as caught:
        to_base(10**400 + 1, "bit")
    assert caught.value.code == "number-range"
