"""Spaces of designs: pools of chips with axes, what they are asked to run, limits and goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.text.chips import CSetting, CValue, Quantity
from dfcompiler.text.expressions import Expr, Rel, place
from dfcompiler.text.families import Opt

Sense: TypeAlias = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class SRange:
    """`1 .. 10`: every whole number from the first to the last."""

    first: Quantity
    last: Quantity


@dataclass(frozen=True)
class SAxis:
    """`axis cores = 16, 32, 64` or `axis servers = 1 .. 10`: a choice, and what it is between."""

    name: str
    values: tuple[CValue, ...] | SRange
    span: Span | None = place()


@dataclass(frozen=True)
class SSet:
    """`set sa.rows = side`: a setting of the chip, or the count of one of its groups, by an expression."""

    path: str
    value: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class SDrop:
    """`drop mt where trees == 0`: a unit that is absent where all clauses hold, each a choice between relations."""

    part: str
    where: tuple[tuple[Rel, ...], ...]
    span: Span | None = place()


@dataclass(frozen=True)
class SLoad:
    """`load chat: llama3-70b { phase = decode, batch = 16 }`: a step of a model, or requests to it."""

    name: str
    model: str
    options: tuple[Opt, ...]
    span: Span | None = place()
    model_span: Span | None = place()


@dataclass(frozen=True)
class SLet:
    """`let rate = batch / chat.latency_s`: a figure by its expression."""

    name: str
    value: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class SLimit:
    """`limit die_mm2 <= 516`: what every design keeps."""

    rel: Rel
    span: Span | None = place()


@dataclass(frozen=True)
class SGoal:
    """`minimize tbt_s = chat.latency_s`."""

    sense: Sense
    name: str
    value: Expr
    span: Span | None = place()


PStmt: TypeAlias = SAxis | SSet | SDrop | SLoad | SLet | SLimit


@dataclass(frozen=True)
class SPool:
    """`pool prefill, decode on ador { ... }`: statements that some pools share; the first of each names its chip."""

    names: tuple[str, ...]
    chip: str | None
    body: tuple[PStmt, ...]
    span: Span | None = place()
    chip_span: Span | None = place()


SStmt: TypeAlias = CSetting | SAxis | SPool | SLet | SLimit | SGoal


@dataclass(frozen=True)
class SpaceDecl:
    """A space: its statements in order."""

    name: str
    body: tuple[SStmt, ...]
    span: Span | None = place()
