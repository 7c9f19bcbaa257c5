"""Model families: parameters bound from a configuration, tensors that persist, and a flow of ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dfcompiler.diagnostics import Span
from dfcompiler.text.expressions import Expr, Ref, Rel, place
from dfcompiler.text.operators import TypeExpr


@dataclass(frozen=True)
class MParam:
    """`param G = num_key_value_heads else H`: a name bound to the first choice whose fields are all there."""

    name: str
    choices: tuple[Expr, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Require:
    """`require H % G == 0, "why"`: a clause on the configuration, with the message if it fails."""

    clause: tuple[Rel, ...]
    message: str
    span: Span | None = place()


@dataclass(frozen=True)
class Reject:
    """`reject attn_logit_softcapping`: fields whose presence the family cannot express."""

    fields: tuple[Expr, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Ignore:
    """`ignore bos_token_id`: fields that do not change the work of a step."""

    fields: tuple[Expr, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Read:
    """`read housekeeping`: what a `config` says, in this place."""

    name: str
    span: Span | None = place()


@dataclass(frozen=True)
class TensorDecl:
    """`weight wq: w [G, E, D] as "self_attn.q_proj"`; kind is `weight`, `state` or `input`. `module` is the name in
    a checkpoint, by which it says what is quantised."""

    kind: str
    name: str
    type: TypeExpr
    module: str | None = None
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
    """`repeat L as l { ... }`: layers; a name rebound inside is carried to the next, `index` tells which it is."""

    count: Expr
    index: str | None
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Each:
    """`each q, k -> o { ... }`: once per part of the step, tokens seen as `[B, S]`."""

    names: tuple[str, ...]
    outs: tuple[str, ...]
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class Cond:
    """`if a == 1, b > 2 or c > 3 { ... } else { ... }`: statements that depend on the configuration."""

    clauses: tuple[tuple[Rel, ...], ...]
    body: tuple[MStmt, ...]
    orelse: tuple[MStmt, ...] = ()
    span: Span | None = place()


@dataclass(frozen=True)
class Outputs:
    """`output logits`."""

    names: tuple[str, ...]
    span: Span | None = place()


ReadStmt: TypeAlias = MParam | Require | Reject | Ignore | Read
MStmt: TypeAlias = ReadStmt | TensorDecl | NodeStmt | Repeat | Each | Cond | Outputs


@dataclass(frozen=True)
class Reader:
    """`"Llama4ForConditionalGeneration" in text_config`: an architecture, and the field that has its sizes."""

    name: str
    inside: str | None = None
    span: Span | None = place()


@dataclass(frozen=True)
class ModelDecl:
    """A model family; `readers` are the architectures in a `config.json` that it reads."""

    name: str
    readers: tuple[Reader, ...]
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class BlockDecl:
    """A named piece of a model; parameters of the model are in scope inside."""

    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    body: tuple[MStmt, ...]
    span: Span | None = place()


@dataclass(frozen=True)
class ConfigDecl:
    """Fields of a configuration that several families read alike."""

    name: str
    body: tuple[ReadStmt, ...]
    span: Span | None = place()
