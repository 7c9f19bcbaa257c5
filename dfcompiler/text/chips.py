"""Chips: parts with settings in units, and how they are connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.text.expressions import Ref, place


@dataclass(frozen=True)
class Quantity:
    """`1.5 GHz`: a number with a unit as written; `unit` is empty for a bare number."""

    value: int | float
    unit: str
    span: Span | None = place()


CValue: TypeAlias = Quantity | str


@dataclass(frozen=True)
class CSetting:
    """`rows = 64` or `dataflow = weight-stationary` or `clock = 1.5 GHz`."""

    name: str
    value: CValue
    span: Span | None = place()


@dataclass(frozen=True)
class CPart:
    """`part sa: systolic-array { rows = 64 }`: an instance of a template."""

    name: str
    template: str
    settings: tuple[CSetting, ...]
    span: Span | None = place()
    template_span: Span | None = place()


@dataclass(frozen=True)
class CGroup:
    """`group core x 32 { part ... }`: parts that exist `count` times."""

    name: str
    count: int
    parts: tuple[CPart, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class CConnect:
    """`connect hbm - noc - local - sa`: a chain of parts; each name is a ref, for its place."""

    names: tuple[Ref, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class ChipDecl:
    """A chip: its own settings (`node`, `clock`, ...), parts, groups and connections."""

    name: str
    settings: tuple[CSetting, ...]
    parts: tuple[CPart, ...]
    groups: tuple[CGroup, ...]
    connects: tuple[CConnect, ...]
    span: Span | None = place()
