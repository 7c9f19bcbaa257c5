"""Expressions of the tree: indices, extents, accesses and arithmetic; and how nodes carry places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dfcompiler.diagnostics import Span


def place() -> Span | None:
    """The field of a node that says where it stands; it does not count for equality and hashes."""
    return field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Num:
    """A literal; an int where the text has no point and no exponent. `inf` is `float("inf")`."""

    value: int | float
    span: Span | None = place()


@dataclass(frozen=True)
class Ref:
    """A name used as a value: an index, an attribute, or a parameter of a model."""

    name: str
    span: Span | None = place()


@dataclass(frozen=True)
class Ext:
    """`|d|`: the extent of index `d`."""

    name: str
    span: Span | None = place()


@dataclass(frozen=True)
class Pack:
    """`*t`: any number of indices, also none."""

    name: str
    span: Span | None = place()


@dataclass(frozen=True)
class Access:
    """`x[i, j + 1, *t]`: one element of a tensor."""

    name: str
    subs: tuple[Expr, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Call:
    """`exp(x)`: a scalar function."""

    fn: str
    args: tuple[Expr, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Bin:
    """`a op b`, op one of `+ - * / // %`."""

    op: str
    a: Expr
    b: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class Neg:
    """`-a`."""

    a: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class Text:
    """`"silu"`: a text, in the families of models only."""

    value: str
    span: Span | None = place()


@dataclass(frozen=True)
class Field:
    """`rope_parameters.rope_theta`: a field of a configuration inside another, in the families of models only."""

    base: Expr
    name: str
    span: Span | None = place()


@dataclass(frozen=True)
class Entry:
    """`sparse_attention_config.freq[l]`: an entry of a list inside, in the families of models only."""

    base: Field
    index: Expr
    span: Span | None = place()


Expr: TypeAlias = Num | Ref | Ext | Pack | Access | Call | Bin | Neg | Text | Field | Entry


@dataclass(frozen=True)
class Rel:
    """`a op b`, op one of `<= >= == < >`; in the families of models also `!=` and `in`."""

    op: str
    a: Expr
    b: Expr
    span: Span | None = place()
