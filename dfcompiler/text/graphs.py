"""Graphs: ops on tensors of concrete types, and what passes said about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.text.expressions import Ref, place
from dfcompiler.text.families import Outputs


@dataclass(frozen=True)
class GType:
    """`bf16 [1, 2048, 4096]`, or `int32 [1, 8] in 128 distinct skew 0.5` for indices into a dimension."""

    dtype: str
    shape: tuple[int, ...]
    within: int | None = None
    distinct: bool = False
    skew: float = 0.0
    span: Span | None = place()


Value: TypeAlias = int | float | str | tuple["Value", ...]


@dataclass(frozen=True)
class Setting:
    """`name = value`; a value is a number, a name, or a list of values."""

    name: str
    value: Value
    span: Span | None = place()


@dataclass(frozen=True)
class GTensor:
    """`weight g1: bf16 [4096]`; kind is `weight`, `state` or `input`."""

    kind: str
    name: str
    type: GType
    span: Span | None = place()


@dataclass(frozen=True)
class GResult:
    """A result of a node with its type."""

    name: str
    type: GType
    span: Span | None = place()


@dataclass(frozen=True)
class GNode:
    """`h: bf16 [1, 8, 64] = rmsnorm(x, g1) {eps = 1e-05}`."""

    results: tuple[GResult, ...]
    op: str
    args: tuple[Ref, ...]
    attrs: tuple[Setting, ...] = ()
    over: tuple[GOver, ...] = ()
    span: Span | None = place()


@dataclass(frozen=True)
class GOver:
    """`h = tp` after `over`: the op's index `h` is spread over these axes of the mesh, major first."""

    index: str
    axes: tuple[str, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class GMesh:
    """`mesh {dp = 2, tp = 4}`: the axes that devices are laid out on, and their sizes."""

    axes: tuple[Setting, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class GCarry:
    """`x1 = x0` in the head of a repeat: inside, `x1` is `x0` first and then the value yielded."""

    name: str
    init: str
    span: Span | None = place()


@dataclass(frozen=True)
class GRepeat:
    """`x9 = repeat 32 (x1 = x0) { ... yield x8 }`: results, carried values, body, yielded values. On stages of devices
    `repeat 17, 15 (...) { ... } between { ... }`: how many are on each, and what hands the values on."""

    results: tuple[str, ...]
    runs: tuple[int, ...]
    carries: tuple[GCarry, ...]
    body: tuple[GStmt, ...]
    yields: tuple[str, ...]
    between: tuple[GNode, ...] = ()
    span: Span | None = place()


@dataclass(frozen=True)
class GOffer:
    """`offer fuse-elementwise: y3, y4`: the nodes of these results may run as one op."""

    by: str
    names: tuple[str, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class GPlace:
    """`place y3, y4 on sa {m = 128, start = 0.0}`: where and how these nodes run."""

    names: tuple[str, ...]
    unit: str
    settings: tuple[Setting, ...]
    span: Span | None = place()


GStmt: TypeAlias = GTensor | GNode | GRepeat | GOffer | GPlace | GMesh | Outputs


@dataclass(frozen=True)
class GraphDecl:
    """A graph of ops with concrete types."""

    name: str
    body: tuple[GStmt, ...]
    span: Span | None = place()
