"""From settings in text to axis values: names, dimensions, ranges, and who set what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dfcompiler.diagnostics import Diag, Note, Source, Span, nearest, unknown
from dfcompiler.hardware.axes import Axis, Legal, Names, Template, illegal, reals
from dfcompiler.hardware.chip import Origin
from dfcompiler.text.parse import parse_setting
from dfcompiler.text.tree import CSetting, CValue, Quantity
from dfcompiler.text.units import MAX_VALUE, to_base

Value = int | float | str

DIMENSIONS = {
    "B": "bytes",
    "B/s": "bytes per second",
    "B/cycle": "bytes per cycle",
    "Hz": "a frequency",
    "nm": "a length",
    "mm2": "an area",
    "W": "watts",
    "pJ": "picojoules",
    "pJ/B": "picojoules per byte",
    "s": "a time",
    "cycle": "cycles",
    "USD": "dollars",
}


def chip_axis(name: str, legal: Legal, unit: str) -> Axis:
    """A setting of the chip itself, or one that every compute part may have."""
    return Axis(name=name, default=0, legal=legal, unit=unit, doc="", owner="the chip")


NODE = chip_axis("node", reals(1, 1000), "nm")
CLOCK = chip_axis("clock", reals(1e6, 1e11), "Hz")
UNCORE = chip_axis("uncore", reals(0, 1e5), "mm2")
SHARE = chip_axis("share", reals(1e-6, 1), "")
CHIP_AXES = {one.name: one for one in (NODE, CLOCK, UNCORE)}


def by_name(settings: Iterable[CSetting]) -> dict[str, CSetting]:
    """Settings by name, kebab-case made snake_case; `Diag` `duplicate-setting`."""
    found: dict[str, CSetting] = {}
    for setting in settings:
        name = setting.name.replace("-", "_")
        if name in found:
            notes = [Note("first set here", found[name].span)]
            raise Diag("duplicate-setting", f"`{setting.name}` is set twice", setting.span, notes=notes)
        found[name] = setting
    return found


def overrides(texts: Iterable[str]) -> dict[str, CSetting]:
    """`part.axis=value` texts as settings by name; the last of several for one axis wins. Raises Diag `syntax`."""
    settings = [parse_setting(Source("--set", text)) for text in texts]
    return {s.name: s for s in settings}


def checked(one: Axis, value: CValue, clock_hz: float | None, span: Span | None) -> Value:
    """The value of an axis in its unit; `Diag` `bad-dimension`, `bad-value`, `unknown-value` or `illegal-value`.

    Bandwidths and times may be given per cycle or per second: `clock_hz` converts.
    """
    plain = _many(one, value, clock_hz, span) if _is_many(value) else _plain(one, value, clock_hz, span)
    if not one.legal.check(plain):
        plain = next((v for v in np.unique(plain).tolist() if not one.legal.check(v)), plain)
        fault = illegal(one, plain, _written(value) if isinstance(value, Quantity) and value.unit else "")
        raise Diag(fault.code, fault.message, span, hint=fault.hint)
    return plain


def _plain(one: Axis, value: CValue, clock_hz: float | None, span: Span | None) -> Value:
    named = isinstance(one.legal, Names)
    if isinstance(value, str) and named:
        return _name(one, value, span)
    if isinstance(value, str) or named:
        raise _not_wanted("bad-value", one, value, span)
    if isinstance(value.value, int) and abs(value.value) > MAX_VALUE:
        raise Diag("number-range", f"the number for `{one.text_name}` is too large", span)
    number, unit = to_base(value.value, value.unit, value.span or span)
    number = _converted(one, value, float(number), unit, clock_hz, span) if unit != _unit(one) else number
    whole = isinstance(one.default, int) and number == number and abs(number) < 2**62 and float(number).is_integer()
    return int(number) if whole else float(number)


def _is_many(value: CValue) -> bool:
    """Whether it stands for many designs: an array of names, or a quantity with an array in its base unit."""
    return isinstance(value.value if isinstance(value, Quantity) else value, np.ndarray)


def _many(one: Axis, value: CValue, clock_hz: float | None, span: Span | None) -> Any:
    """As `_plain`, of an array over designs."""
    if not isinstance(value, Quantity):
        return value
    number: Any = value.value
    number = _converted(one, value, number, value.unit, clock_hz, span) if value.unit != _unit(one) else number
    whole = isinstance(one.default, int) and np.all(np.asarray(number) == np.floor(number))
    return np.asarray(number).astype(np.int64 if whole else np.float64)


def _name(one: Axis, value: str, span: Span | None) -> str:
    known = [str(v) for v in one.legal.values()]
    if value in known:
        return value
    message = f"`{one.text_name}` of {one.owner} cannot be `{value}`"
    raise Diag("unknown-value", message, span, hint=nearest(value, known))


def _converted(
    one: Axis, value: Quantity, number: float, unit: str, clock_hz: float | None, span: Span | None
) -> float:
    if clock_hz is not None and (unit, _unit(one)) in (("B/cycle", "B/s"), ("s", "cycle")):
        return number * clock_hz
    if clock_hz is not None and (unit, _unit(one)) in (("B/s", "B/cycle"), ("cycle", "s")):
        return number / clock_hz
    if unit == "" and one.unit == "cycle":
        return number
    raise _not_wanted("bad-dimension", one, value, span)


def _unit(one: Axis) -> str:
    """The base unit that values come in; what counts things (`PE`, `lane`) comes bare."""
    return one.unit if one.unit in DIMENSIONS else ""


def _not_wanted(code: str, one: Axis, value: CValue, span: Span | None) -> Diag:
    """The error for a value of another kind than the axis has."""
    hint = None if isinstance(one.legal, Names) else one.wants
    return Diag(code, f"`{one.text_name}` wants {_wanted(one)}, got {_written(value)}", span, hint=hint)


def _wanted(one: Axis) -> str:
    return one.legal.describe() if isinstance(one.legal, Names) else DIMENSIONS.get(one.unit, "a bare number")


def _written(value: CValue) -> str:
    if isinstance(value, str):
        return f"`{value}`"
    return f"{value.value} {value.unit}".strip() if value.unit else f"{value.value}"


def build(
    cls: type[Template],
    owner: str,
    given: Mapping[str, tuple[CValue, Span | None, str]],
    clock_hz: float,
) -> tuple[Template, dict[str, Origin]]:
    """An instance of a template from its settings (value, place, who set it), and the origin of every axis."""
    axes = {one.name: one for one in cls.axes()}
    values: dict[str, Value] = {}
    for name, (value, span, _) in given.items():
        if name not in axes:
            raise unknown_axis(name, owner, [one.name for one in axes.values()], span)
        values[name] = checked(axes[name], value, clock_hz, span)
    template = cls(**values)
    origins = {n: Origin(getattr(template, n), given[n][2] if n in given else "default") for n in axes}
    return template, origins


def unknown_axis(name: str, owner: str, known: Sequence[str], span: Span | None) -> Diag:
    """The error for a setting that `owner` does not have."""
    fault = unknown("axis", name, known, span)
    return Diag(fault.code, f"`{owner}` has no axis `{name}`", span, hint=fault.hint)
