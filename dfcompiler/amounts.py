"""Numbers with their units, as people write them: `9.776 ms`, `19.46 GB`, `8.1 %`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def digits(value: float, count: int = 4) -> str:
    """`count` significant digits, never in exponents: 9.776, 97.76, 1,637."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{abs(value):.{count - 1}e}")
    after = max(0, count - 1 - math.floor(math.log10(rounded)))
    return f"{value:,.{min(after, 12)}f}"


def seconds(value: float) -> str:
    """`9.776 ms`."""
    return _scaled(value, "s", SMALL)


def joules(value: float) -> str:
    """`62.78 mJ`."""
    return _scaled(value, "J", SMALL)


def large(value: float, unit: str) -> str:
    """`19.46 GB`, `2 TB/s`, `8.03 G`."""
    return _scaled(value, unit, SCALES)


def _scaled(value: float, unit: str, scales: Sequence[tuple[float, str]]) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    scale, prefix = next((s for s in scales if abs(value) >= s[0] * 0.99995), scales[-1])
    return f"{_trimmed(digits(value / scale), value / scale)} {prefix}{unit}".strip()


def _trimmed(text: str, value: float) -> str:
    """Without zeros behind the point where the number is exact."""
    return text.rstrip("0").rstrip(".") if "." in text and float(text.replace(",", "")) == value else text


def percent(share: float) -> str:
    """`8.1 %`; never rounded to 100 or 0 where it is not."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    if 0 < share < 0.0005 or 0.9995 <= share < 1:
        return "<0.1 %" if share < 0.5 else ">99.9 %"
    return f"{100 * share:.1f} %"


def capacity(size: float) -> str:
    """`2 MiB` where that is exact, else `80 GB`."""
    for scale, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= scale and size % scale == 0 and size / scale < 4096:
            return f"{size / scale:g} {unit}"
    return large(size, "B")


def quantity(value: int | float | str, unit: str) -> str:
    """An axis value with its unit, as one would write it in a chip."""
    if isinstance(value, str):
        return value
    from dfcompiler.hardware.settings import DIMENSIONS  # who shows an axis has them already

    match unit:
        case "B":
            return capacity(value)
        case "B/s" | "Hz":
            return large(value, unit)
        case "s":
            return seconds(value)
        case _:
            return f"{value:,.10g} {unit if unit in DIMENSIONS else ''}".strip()


def pairs(values: Mapping[str, object]) -> str:
    """`n=64 k=64`."""
    return " ".join(f"{k}={v}" for k, v in values.items())
