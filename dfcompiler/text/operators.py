"""Operators: a signature and statements in index notation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.hashes import hashed_once
from dfcompiler.text.expressions import Access, Expr, Pack, Ref, Rel, place


@dataclass(frozen=True)
class DeviceDim:
    """`@p`: one slice per device."""

    name: str
    span: Span | None = place()


Dim: TypeAlias = Expr | DeviceDim


@dataclass(frozen=True)
class Within:
    """`in e distinct j skew z`: values index dimension `e`; entries along `j` differ; `z` says how unlike in popularity
    the places of `e` are."""

    name: str
    distinct: str | None = None
    skew: str | None = None
    span: Span | None = place()


@dataclass(frozen=True)
class TypeExpr:
    """`kv [b, t, g, e]`: a role (`w kv int f32 act`, or None for an activation) and dimensions."""

    role: str | None
    dims: tuple[Dim, ...]
    within: Within | None = None
    span: Span | None = place()


@dataclass(frozen=True)
class Param:
    """An operand or result of an op."""

    name: str
    type: TypeExpr
    inout: bool = False
    span: Span | None = place()


@dataclass(frozen=True)
class Attr:
    """`attr past[b] = |t| - |s|`: a number, or a vector over indices, given by the caller."""

    name: str
    dims: tuple[str, ...] = ()
    default: Expr | None = None
    span: Span | None = place()


@dataclass(frozen=True)
class DimDef:
    """`dim i = |e| // 2`: the extent of an index that no operand has."""

    name: str
    expr: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class Where:
    """A conjunction of clauses, each a disjunction of relations: the points that exist."""

    clauses: tuple[tuple[Rel, ...], ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Reduce:
    """`sum(k)`: reducer (`sum max min topk`) over indices (`Ref`) and packs."""

    fn: str
    indices: tuple[Ref | Pack, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Let:
    """`c[m] = sum(k) a[m, k] * b[k]`: targets, at most one reduction, one expression."""

    targets: tuple[Access, ...]
    reduce: Reduce | None
    expr: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class Scan:
    """`scan t, st from h0 { ... }`: statements over a sequential index with a carried state."""

    index: str
    state: str
    init: str
    body: tuple[Let, ...]
    span: Span | None = place()


Stmt: TypeAlias = Attr | DimDef | Where | Let | Scan


@hashed_once
@dataclass(frozen=True)
class OpDecl:
    """An operator: signature and statements. `same` names an op that computes the same in another way."""

    name: str
    params: tuple[Param, ...]
    results: tuple[Param, ...]
    body: tuple[Stmt, ...]
    same: str | None = None
    span: Span | None = place()
