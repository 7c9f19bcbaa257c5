"""What the language says: the tree that the parser builds and the printer writes.

Nodes are frozen, and places do not count: two trees are equal where their texts mean the same, so
equality and hashes can key caches. Every node carries the `span` of its most telling token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from dfcompiler.diagnostics import Span


def _span() -> Span | None:
    return field(default=None, compare=False, repr=False, kw_only=True)


# ---- expressions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Num:
    """A literal; an int where the text has no point and no exponent. `inf` is `float("inf")`."""

    value: int | float
    span: Span | None = _span()


@dataclass(frozen=True)
class Ref:
    """A name used as a value: an index, an attribute, or a parameter of a model."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Ext:
    """`|d|`: the extent of index `d`."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Pack:
    """`*t`: any number of indices, also none."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Access:
    """`x[i, j + 1, *t]`: one element of a tensor."""

    name: str
    subs: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Call:
    """`exp(x)`: a scalar function."""

    fn: str
    args: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Bin:
    """`a op b`, op one of `+ - * / // %`."""

    op: str
    a: Expr
    b: Expr
    span: Span | None = _span()


@dataclass(frozen=True)
class Neg:
    """`-a`."""

    a: Expr
    span: Span | None = _span()


Expr: TypeAlias = Num | Ref | Ext | Pack | Access | Call | Bin | Neg


@dataclass(frozen=True)
class Rel:
    """`a op b`, op one of `<= >= == < >`."""

    op: str
    a: Expr
    b: Expr
    span: Span | None = _span()


# ---- operators ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeviceDim:
    """`@p`: one slice per device."""

    name: str
    span: Span | None = _span()


Dim: TypeAlias = Expr | DeviceDim


@dataclass(frozen=True)
class Within:
    """`in e distinct j`: values index dimension `e`; entries along `j` differ."""

    name: str
    distinct: str | None = None
    span: Span | None = _span()


@dataclass(frozen=True)
class TypeExpr:
    """`kv [b, t, g, e]`: a role (`w kv int f32 act`, or None for an activation) and dimensions."""

    role: str | None
    dims: tuple[Dim, ...]
    within: Within | None = None
    span: Span | None = _span()


@dataclass(frozen=True)
class Param:
    """An operand or result of an op."""

    name: str
    type: TypeExpr
    inout: bool = False
    span: Span | None = _span()


@dataclass(frozen=True)
class Attr:
    """`attr past[b] = |t| - |s|`: a number, or a vector over indices, given by the caller."""

    name: str
    dims: tuple[str, ...] = ()
    default: Expr | None = None
    span: Span | None = _span()


@dataclass(frozen=True)
class DimDef:
    """`dim i = |e| // 2`: the extent of an index that no operand has."""

    name: str
    expr: Expr
    span: Span | None = _span()


@dataclass(frozen=True)
class Where:
    """A conjunction of clauses, each a disjunction of relations: the points that exist."""

    clauses: tuple[tuple[Rel, ...], ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Reduce:
    """`sum(k)`: reducer (`sum max min topk`) over indices (`Ref`) and packs."""

    fn: str
    indices: tuple[Ref | Pack, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Let:
    """`c[m] = sum(k) a[m, k] * b[k]`: targets, at most one reduction, one expression."""

    targets: tuple[Access, ...]
    reduce: Reduce | None
    expr: Expr
    span: Span | None = _span()


@dataclass(frozen=True)
class Scan:
    """`scan t, st from h0 { ... }`: statements over a sequential index with a carried state."""

    index: str
    state: str
    init: str
    body: tuple[Let, ...]
    span: Span | None = _span()


Stmt: TypeAlias = Attr | DimDef | Where | Let | Scan


@dataclass(frozen=True)
class OpDecl:
    """An operator: signature and statements."""

    name: str
    params: tuple[Param, ...]
    results: tuple[Param, ...]
    body: tuple[Stmt, ...]
    span: Span | None = _span()


# ---- model families ----------------------------------------------------------------------------


@dataclass(frozen=True)
class MParam:
    """`param G = num_key_value_heads else H`: a name bound from the configuration."""

    name: str
    expr: Expr
    default: Expr | None = None
    span: Span | None = _span()


@dataclass(frozen=True)
class Require:
    """`require H % G == 0, "why"`: a condition on the configuration, with the message if it fails."""

    rel: Rel
    message: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Reject:
    """`reject quantization_config`: fields whose presence the family cannot express."""

    names: tuple[str, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class TensorDecl:
    """`weight wq: w [G, E, D]`; kind is `weight`, `state` or `input`."""

    kind: str
    name: str
    type: TypeExpr
    span: Span | None = _span()


@dataclass(frozen=True)
class Opt:
    """`eps=1e-5` behind a call."""

    name: str
    value: Expr
    span: Span | None = _span()


@dataclass(frozen=True)
class NodeStmt:
    """`p, id = router(r){top=J}`: a call of an op or a block. `args` are refs, for their places."""

    outs: tuple[str, ...]
    op: str
    args: tuple[Ref, ...]
    opts: tuple[Opt, ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True)
class Repeat:
    """`repeat L { ... }`: equal layers; a name rebound inside is carried to the next."""

    count: Expr
    body: tuple[MStmt, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Each:
    """`each q, k -> o { ... }`: once per part of the step, tokens seen as `[B, S]`."""

    names: tuple[str, ...]
    out: str
    body: tuple[MStmt, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Cond:
    """`if rel { ... }`: statements that depend on the configuration."""

    rel: Rel
    body: tuple[MStmt, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Outputs:
    """`output logits`."""

    names: tuple[str, ...]
    span: Span | None = _span()


MStmt: TypeAlias = MParam | Require | Reject | TensorDecl | NodeStmt | Repeat | Each | Cond | Outputs


@dataclass(frozen=True)
class ModelDecl:
    """A model family; `architectures` are the names in a `config.json` that it reads."""

    name: str
    architectures: tuple[str, ...]
    body: tuple[MStmt, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class BlockDecl:
    """A named piece of a model; parameters of the model are in scope inside."""

    name: str
    params: tuple[str, ...]
    result: str
    body: tuple[MStmt, ...]
    span: Span | None = _span()


# ---- graphs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GType:
    """`bf16 [1, 2048, 4096]`, or `int32 [1, 8] in 128 distinct` for indices into a dimension."""

    dtype: str
    shape: tuple[int, ...]
    within: int | None = None
    distinct: bool = False
    span: Span | None = _span()


Value: TypeAlias = int | float | str | tuple["Value", ...]


@dataclass(frozen=True)
class Setting:
    """`name = value`; a value is a number, a name, or a list of values."""

    name: str
    value: Value
    span: Span | None = _span()


@dataclass(frozen=True)
class GTensor:
    """`weight g1: bf16 [4096]`; kind is `weight`, `state` or `input`."""

    kind: str
    name: str
    type: GType
    span: Span | None = _span()


@dataclass(frozen=True)
class GResult:
    """A result of a node with its type."""

    name: str
    type: GType
    span: Span | None = _span()


@dataclass(frozen=True)
class GNode:
    """`h: bf16 [1, 8, 64] = rmsnorm(x, g1) {eps = 1e-05}`."""

    results: tuple[GResult, ...]
    op: str
    args: tuple[Ref, ...]
    attrs: tuple[Setting, ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True)
class GCarry:
    """`x1 = x0` in the head of a repeat: inside, `x1` is `x0` first and then the value yielded."""

    name: str
    init: str
    span: Span | None = _span()


@dataclass(frozen=True)
class GRepeat:
    """`x9 = repeat 32 (x1 = x0) { ... yield x8 }`: results, carried values, body, yielded values."""

    results: tuple[str, ...]
    count: int
    carries: tuple[GCarry, ...]
    body: tuple[GStmt, ...]
    yields: tuple[str, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class GOffer:
    """`offer fuse-elementwise: y3, y4`: the nodes of these results may run as one op."""

    by: str
    names: tuple[str, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class GPlace:
    """`place y3, y4 on sa {m = 128, start = 0.0}`: where and how these nodes run."""

    names: tuple[str, ...]
    unit: str
    settings: tuple[Setting, ...]
    span: Span | None = _span()


GStmt: TypeAlias = GTensor | GNode | GRepeat | GOffer | GPlace | Outputs


@dataclass(frozen=True)
class GraphDecl:
    """A graph of ops with concrete types."""

    name: str
    body: tuple[GStmt, ...]
    span: Span | None = _span()


# ---- chips -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """`1.5 GHz`: a number with a unit as written; `unit` is empty for a bare number."""

    value: int | float
    unit: str
    span: Span | None = _span()


CValue: TypeAlias = Quantity | str


@dataclass(frozen=True)
class CSetting:
    """`rows = 64` or `dataflow = weight-stationary` or `clock = 1.5 GHz`."""

    name: str
    value: CValue
    span: Span | None = _span()


@dataclass(frozen=True)
class CPart:
    """`part sa: systolic-array { rows = 64 }`: an instance of a template."""

    name: str
    template: str
    settings: tuple[CSetting, ...]
    span: Span | None = _span()
    template_span: Span | None = _span()


@dataclass(frozen=True)
class CGroup:
    """`group core x 32 { part ... }`: parts that exist `count` times."""

    name: str
    count: int
    parts: tuple[CPart, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class CConnect:
    """`connect hbm - noc - local - sa`: a chain of parts; each name is a ref, for its place."""

    names: tuple[Ref, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class ChipDecl:
    """A chip: its own settings (`node`, `clock`, ...), parts, groups and connections."""

    name: str
    settings: tuple[CSetting, ...]
    parts: tuple[CPart, ...]
    groups: tuple[CGroup, ...]
    connects: tuple[CConnect, ...]
    span: Span | None = _span()


Item: TypeAlias = OpDecl | ModelDecl | BlockDecl | GraphDecl | ChipDecl
