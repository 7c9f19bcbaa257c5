"""Model families: parameters bound from a configuration, tensors that persist, and a flow of ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.text.expressions import Expr, Ref, Rel, place
from dfcompiler.text.operators import TypeExpr


@dataclass(frozen=True)
class MParam:
    """`param G = num_key_value_heads else H`: a name bound from the configuration."""

    name: str
    expr: Expr
    default: Expr | None = None
    span: Span | None = place()


@dataclass(frozen=True)
class Require:
    """`require H % G == 0, "why"`: a condition on the configuration, with the message if it fails."""

    rel: Rel
    message: str
    span: Span | None = place()


@dataclass(frozen=True)
class Reject:
    """`reject quantization_config`: fields whose presence the family cannot express."""

    names: tuple[str, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class TensorDecl:
    """`weight wq: w [G, E, D]`; kind is `weight`, `state` or `input`."""

    kind: str
    name: str
    type: TypeExpr
    span: Span | None = place()


@dataclass(frozen=True)
class Opt:
    """`eps=1e-5` behind a call."""

    name: str
    value: Expr
    span: Span | None = place()


@dataclass(frozen=True)
class NodeStmt:
    """`p, id = router(r){top=J}`: a call of an op or a block. `args` are refs, for their places."""

    outs: tuple[str, ...]
    op: str
    args: tuple[Ref, ...]
    opts: tuple[Opt, ...] = ()
    span: Span | None = place()


@dataclass(frozen=True)
class Repeat:
    """`repeat L { ... }`: equal layers; a name rebound inside is carried to the next."""

    count: Expr
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Each:
    """`each q, k -> o { ... }`: once per part of the step, tokens seen as `[B, S]`."""

    names: tuple[str, ...]
    out: str
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Cond:
    """`if rel { ... }`: statements that depend on the configuration."""

    rel: Rel
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Outputs:
    """`output logits`."""

    names: tuple[str, ...]
    span: Span | None = place()


MStmt: TypeAlias = MParam | Require | Reject | TensorDecl | NodeStmt | Repeat | Each | Cond | Outputs


@dataclass(frozen=True)
class ModelDecl:
    """A model family; `architectures` are the names in a `config.json` that it reads."""

    name: str
    architectures: tuple[str, ...]
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class BlockDecl:
    """A named piece of a model; parameters of the model are in scope inside."""

    name: str
    params: tuple[str, ...]
    result: str
    body: tuple[MStmt, ...]
    span: Span | None = place()
