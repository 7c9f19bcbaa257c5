"""Axes: what a hardware family can be sized by, declared once.

One `axis(...)` in a template is its default, its legality, its search axis, its documentation and its
RTL parameter. An axis holds a scalar, or an array when many designs are priced in one call.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar, cast, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.registry import register

Array: TypeAlias = NDArray[Any] | float
T = TypeVar("T")

SEARCH_POINTS = 9  # how many values a continuous range offers to a search


class Legal(Protocol):
    """The values that an axis may take."""

    def check(self, value: object) -> bool:
        """Whether the value, or every element of an array, is legal."""
        ...

    def describe(self) -> str:
        """The legal values in words, for messages and documentation."""
        ...

    def values(self) -> tuple[int | float | str, ...]:
        """The values that a search tries, ascending; every one is legal."""
        ...


@dataclasses.dataclass(frozen=True)
class IntRange:
    """The integers `lo, lo + step, ...` up to `hi`; a search tries the powers of two among them."""

    lo: int
    hi: int
    step: int = 1

    def check(self, value: object) -> bool:
        number = _numbers(value)
        if number is None or not np.all((number >= self.lo) & (number <= self.hi)):
            return False
        return bool(np.all((number - self.lo) % self.step == 0))

    def describe(self) -> str:
        by = "" if self.step == 1 else f" in steps of {self.step}"
        return f"an integer from {self.lo} to {self.hi}{by}"

    def values(self) -> tuple[int | float | str, ...]:
        powers = [0, *(1 << i for i in range(self.hi.bit_length()))]
        return tuple(v for v in powers if self.check(v)) or (self.lo,)


@dataclasses.dataclass(frozen=True)
class Powers:
    """The powers of two from `lo` to `hi`."""

    lo: int
    hi: int

    def check(self, value: object) -> bool:
        number = _numbers(value)
        if number is None or not np.all((number >= self.lo) & (number <= self.hi)):
            return False
        return bool(np.all(np.log2(number) % 1 == 0))

    def describe(self) -> str:
        return f"a power of two from {self.lo} to {self.hi}"

    def values(self) -> tuple[int | float | str, ...]:
        return tuple(1 << i for i in range(self.lo.bit_length() - 1, self.hi.bit_length()))


@dataclasses.dataclass(frozen=True)
class Reals:
    """The finite reals from `lo` to `hi`; a search tries a geometric grid (arithmetic where `lo` is 0)."""

    lo: float
    hi: float

    def check(self, value: object) -> bool:
        number = _numbers(value)
        return number is not None and bool(np.all((number >= self.lo) & (number <= self.hi)))

    def describe(self) -> str:
        return f"from {self.lo:g} to {self.hi:g}"

    def values(self) -> tuple[int | float | str, ...]:
        grid = np.geomspace if self.lo > 0 else np.linspace
        inner = grid(self.lo, self.hi, SEARCH_POINTS)[1:-1]
        return (self.lo, *(float(v) for v in inner), self.hi)


@dataclasses.dataclass(frozen=True)
class Widths:
    """One of a few integers."""

    widths: tuple[int, ...]

    def check(self, value: object) -> bool:
        number = _numbers(value)
        return number is not None and bool(np.all(np.isin(number, self.widths)))

    def describe(self) -> str:
        return "one of " + ", ".join(map(str, self.widths))

    def values(self) -> tuple[int | float | str, ...]:
        return self.widths


@dataclasses.dataclass(frozen=True)
class Names:
    """One of a few names."""

    names: tuple[str, ...]

    def check(self, value: object) -> bool:
        names = np.asarray(value)
        return names.dtype.kind in "UO" and bool(np.all(np.isin(names, self.names)))

    def describe(self) -> str:
        return "one of " + ", ".join(self.names)

    def values(self) -> tuple[int | float | str, ...]:
        return self.names


def ints(lo: int, hi: int, step: int = 1) -> Legal:
    """Integers from `lo` to `hi` in steps."""
    return IntRange(lo, hi, step)


def pow2(lo: int, hi: int) -> Legal:
    """Powers of two from `lo` to `hi`, both included."""
    return Powers(lo, hi)


def reals(lo: float, hi: float) -> Legal:
    """Finite reals from `lo` to `hi`, both included."""
    return Reals(lo, hi)


def bits(*widths: int) -> Legal:
    """One of these widths in bits, ascending."""
    return Widths(widths)


def one_of(*names: str) -> Legal:
    """One of these names."""
    return Names(names)


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a template. `unit` is what a value counts in; `name` is the field's name."""

    name: str
    default: int | float | str
    legal: Legal
    unit: str
    doc: str
    owner: str

    @property
    def text_name(self) -> str:
        """The name as written in text: kebab-case."""
        return self.name.replace("_", "-")

    @property
    def wants(self) -> str:
        """The legal values in words, with their unit."""
        return f"{self.text_name} is {self.legal.describe()} {self.unit}".rstrip()


def axis(default: T, legal: Legal, *, unit: str = "", doc: str = "") -> T:
    """A field of a `Template`. Typed as its default, so that `rows: int = axis(128, ...)` checks.

    `unit` is a base unit of the language (`B`, `B/s`, `B/cycle`, `cycle`, `s`, ...), in which values
    of another dimension are refused, or the name of what is counted (`PE`, `lane`).
    """
    return dataclasses.field(default=default, metadata={"legal": legal, "unit": unit, "doc": doc})


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Template:
    """A hardware family. Subclasses with a `name` are registered; every field is an `axis`.

    Instances are frozen and legal: a value outside of its axis is a `Diag` (`illegal-value`), also
    where the value is an array.
    """

    template_name: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if name is None:
            return
        cls.template_name = name
        register("template", name, cls)

    def __post_init__(self) -> None:
        for one in self.axes():
            value = getattr(self, one.name)
            if not one.legal.check(value):
                raise illegal(one, value)

    @classmethod
    def axes(cls) -> tuple[Axis, ...]:
        """The axes in the order of their declaration."""
        return _axes_of(cast(Any, cls))

    @classmethod
    def axis(cls, name: str) -> Axis:
        """The axis of that name, kebab-case or not; `Diag` `unknown-axis` if there is none."""
        known = {a.name: a for a in cls.axes()}
        if found := known.get(name.replace("-", "_")):
            return found
        raise unknown("axis", name, (a.text_name for a in known.values()))

    def with_axes(self, values: Mapping[str, Array | str]) -> Self:
        """The same design with some axes changed; a value may be an array of designs."""
        changes = {self.axis(name).name: value for name, value in values.items()}
        return cast(Self, dataclasses.replace(cast(Any, self), **changes))

    def settings(self) -> dict[str, Any]:
        """Axis name -> value."""
        return {a.name: getattr(self, a.name) for a in self.axes()}


@cache
def _axes_of(cls: Any) -> tuple[Axis, ...]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)
    owner = cls.template_name
    return tuple(Axis(name=f.name, default=cast(Any, f.default), owner=owner, **f.metadata) for f in fields)


def illegal(one: Axis, value: object, written: str = "") -> Diag:
    """The error for a value outside of its axis, as it was `written` where that is known."""
    unit = f" {one.unit}" if one.unit else ""
    return Diag(
        "illegal-value",
        f"`{one.text_name}` of {one.owner} cannot be {written or f'{value}{unit}'}",
        hint=one.wants,
    )


def _numbers(value: object) -> NDArray[Any] | None:
    """The value as an array of finite numbers, or None where it is not that."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.ndarray, np.generic)):
        return None
    if isinstance(value, int) and abs(value) >= 2**62:  # may exceed int64, or any float
        value = float(value) if abs(value) < 2**1023 else math.inf
    array = np.asarray(value)
    return array if array.dtype.kind in "iuf" and bool(np.all(np.isfinite(array))) else None
