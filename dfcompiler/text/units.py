"""Units of measure as written in chips: each is a factor and the base unit that the engine counts in."""

from __future__ import annotations

import difflib
import math
from fractions import Fraction

from dfcompiler.diagnostics import Diag, Span

MAX_VALUE = 1e200  # leaves room for every factor within a float

_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _table() -> dict[str, tuple[Fraction, str]]:
    prefixes = {**_DECIMAL, **_BINARY}
    units: dict[str, tuple[Fraction, str]] = {"": (Fraction(1), ""), "%": (Fraction(1, 100), "")}
    for prefix, factor in prefixes.items():
        for unit, size in (("B", Fraction(1)), ("bit", Fraction(1, 8))):
            units[prefix + unit] = (factor * size, "B")
            units[f"{prefix}{unit}/s"] = (factor * size, "B/s")
            units[f"{prefix}{unit}/cycle"] = (factor * size, "B/cycle")
    for prefix, factor in _DECIMAL.items():
        units[prefix + "Hz"] = (Fraction(factor), "Hz")
    scaled = {
        "nm": {"nm": 0, "um": 3, "mm": 6},
        "mm2": {"um2": -6, "mm2": 0},
        "W": {"mW": -3, "W": 0, "kW": 3},
        "pJ": {"fJ": -3, "pJ": 0, "nJ": 3, "uJ": 6, "mJ": 9, "J": 12},
        "s": {"ps": -12, "ns": -9, "us": -6, "ms": -3, "s": 0},
        "cycle": {"cycle": 0},
        "USD": {"USD": 0},
    }
    for base, powers in scaled.items():
        units |= {unit: (Fraction(10) ** power, base) for unit, power in powers.items()}
    for unit in ("fJ", "pJ", "nJ"):
        units[f"{unit}/B"] = (units[unit][0], "pJ/B")
        units[f"{unit}/bit"] = (units[unit][0] * 8, "pJ/B")
    return units


UNITS = _table()


def to_base(value: float, unit: str, span: Span | None = None) -> tuple[float, str]:
    """A value in its base unit, and that unit: `(2, "MiB")` is `(2097152, "B")`.

    Base units: `B`, `B/s`, `B/cycle`, `Hz`, `nm`, `mm2`, `W`, `pJ`, `pJ/B`, `s`, `cycle`, `USD`, and the
    empty string for plain numbers and fractions (`50 %` is 0.5). A whole result is an int, computed
    exactly from the decimal text of the value; any other is the nearest float; a bare number stays as
    it is. Raises Diag `unknown-unit`: letter case counts, and `KB`, which may mean 1000 or 1024 bytes,
    is not a unit; `number-range` past 1e200.
    """
    if unit not in UNITS:
        other_case = [known for known in UNITS if known.lower() == unit.lower()]
        close = dict.fromkeys([*other_case, *difflib.get_close_matches(unit, UNITS, n=2, cutoff=0.4)])
        meant = f"did you mean {' or '.join(f'`{u}`' for u in close)}? " if close else ""
        bases = sorted({base for _, base in UNITS.values() if base})
        raise Diag("unknown-unit", f"unknown unit `{unit}`", span, hint=f"{meant}base units: {', '.join(bases)}, %")
    factor, base = UNITS[unit]
    if not unit or abs(value) == math.inf:
        return value, base
    if abs(value) > MAX_VALUE:
        raise Diag("number-range", f"the number before `{unit}` is too large", span)
    exact = Fraction(str(value)) * factor
    return (int(exact) if exact.denominator == 1 else float(exact)), base
