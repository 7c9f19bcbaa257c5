"""From lark's parse tree to ours: one method per rule of `ir/grammar.lark`, named like the rule.

A method gets the children of its rule, already built: nodes, tokens, and None for an optional part
that is absent. Places are taken from tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lark import Token
from lark import Tree as Parsed

from dfcompiler.diagnostics import Diag, Note, Source, Span
from dfcompiler.text import tree as t

MAX_DEPTH = 120
# The reducers, and the scalar function of the same meaning where there is one.
SCALAR = {"max": "maximum", "min": "minimum", "sum": None, "topk": None}


def call_hint(fn: str, several: bool) -> str:
    """What to write instead of a reducer that is used like a function, with one or several arguments."""
    scalar = SCALAR[fn]
    return f"use {scalar}(a, b)" if several and scalar else "one reduction per statement: give the inner sum a name"


class Builder:
    """Builds the tree of one source. Raises Diag for what the grammar alone cannot refuse."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.foreign: list[Span] = []  # texts and fields of the item at hand: only families have them

    def build(self, node: Any, depth: int = 0) -> Any:
        """The node of a parse tree; tokens and absent parts stay as they are."""
        if not isinstance(node, Parsed):
            return node
        if depth > MAX_DEPTH:
            raise Diag("syntax", f"nested more than {MAX_DEPTH} deep", self.first(node), hint="name a part of it")
        return getattr(self, node.data)(*[self.build(child, depth + 1) for child in node.children])

    def span(self, token: Token) -> Span:
        line, col = token.line or 1, token.column or 1
        return Span(self.source, line, col, col + len(token))

    def first(self, node: Any) -> Span | None:
        """The place of the first token below a node, without recursion."""
        while isinstance(node, Parsed):
            node = next((c for c in node.children if c is not None), None)
        return self.span(node) if isinstance(node, Token) else None

    def quoted(self, token: Token) -> str:
        """What a quoted text says."""
        try:
            text = str(json.loads(token, strict=False))
            text.encode()  # half of a surrogate pair is no text
        except ValueError:
            hint = 'escapes are those of JSON, such as \\" and \\\\'
            raise Diag("syntax", "unreadable escape in a quoted text", self.span(token), hint=hint) from None
        return text

    def integer(self, token: Token) -> int:
        """A whole number; those that numpy could not hold are refused here, so that nobody else meets them."""
        value = int(token[:20])
        if len(token) > 20 or value >= 1 << 63:
            hint = "write it as 1e30, which need not be exact"
            raise Diag("syntax", "a whole number of more than 63 bits", self.span(token), hint=hint)
        return value

    def literal(self, token: Token) -> int | float:
        if token.type == "INF":
            return float("inf")
        return self.integer(token) if token.isdigit() else float(token)

    def unique(self, kind: str, named: Iterable[Any]) -> None:
        """Raises `duplicate-name` where two of the nodes have the same name."""
        seen: dict[str, Span | None] = {}
        for node in named:
            if node.name in seen:
                raise Diag(
                    "duplicate-name",
                    f"{kind} `{node.name}` is declared twice",
                    node.span,
                    notes=[Note("first declared here", seen[node.name])],
                )
            seen[node.name] = node.span

    # ---- lists

    def start(self, *items: t.Item) -> tuple[t.Item, ...]:
        return items

    def names(self, *names: Token) -> tuple[Token, ...]:
        return names

    def several(self, *nodes: Any) -> tuple[Any, ...]:
        return nodes

    params = targets = clause = clauses = branch = readers = points = several
    args = over = opts = results = carries = settings = csettings = several

    def sizes(self, *sizes: Token) -> tuple[int, ...]:
        return tuple(self.integer(x) for x in sizes)

    # ---- operators

    def op(
        self,
        name: Token,
        params: tuple[t.Param, ...],
        results: tuple[t.Param, ...],
        same: Token | None,
        *body: t.Stmt,
    ) -> t.OpDecl:
        if self.foreign:
            raise Diag("syntax", "an operator knows numbers and tensors only", self.foreign[0])
        attrs = [s for s in body if isinstance(s, t.Attr)]
        self.unique("operand or attribute", [*params, *results, *attrs])
        self.unique("attribute or dimension", [s for s in body if isinstance(s, t.Attr | t.DimDef)])
        return t.OpDecl(str(name), params, results, body, same and str(same), span=self.span(name))

    def param(self, inout: Token | None, name: Token, type: t.TypeExpr) -> t.Param:
        return t.Param(str(name), type, inout is not None, span=self.span(name))

    def type(self, role: Token | None, bracket: Token, *rest: Any) -> t.TypeExpr:
        *dims, within = rest
        return t.TypeExpr(role and str(role), tuple(dims), within, span=self.span(role or bracket))

    def within(self, name: Token, distinct: Token | None, skew: Token | None) -> t.Within:
        return t.Within(str(name), distinct and str(distinct), skew and str(skew), span=self.span(name))

    def device(self, name: Token) -> t.DeviceDim:
        return t.DeviceDim(str(name), span=self.span(name))

    def attr(self, name: Token, dims: tuple[Token, ...] | None, default: t.Expr | None) -> t.Attr:
        return t.Attr(str(name), strings(dims), default, span=self.span(name))

    def dimdef(self, name: Token, expr: t.Expr) -> t.DimDef:
        return t.DimDef(str(name), expr, span=self.span(name))

    def where(self, keyword: Token, *clauses: tuple[t.Rel, ...]) -> t.Where:
        for rel in (r for clause in clauses for r in clause if r.op in ("!=", "in")):
            raise Diag(
                "syntax",
                f"a `where` clause cannot compare with `{rel.op}`",
                rel.span,
                hint="use `<`, `<=`, `>`, `>=` or `==`",
            )
        return t.Where(clauses, span=self.span(keyword))

    def rel(self, a: t.Expr, op: Token, b: t.Expr) -> t.Rel:
        return t.Rel(str(op), a, b, span=self.span(op))

    def let(self, targets: tuple[t.Access, ...], reduce: t.Reduce | None, expr: t.Expr) -> t.Let:
        return t.Let(targets, reduce, expr, span=targets[0].span)

    def reduce(self, fn: Token, *indices: t.Ref | t.Pack) -> t.Reduce:
        return t.Reduce(str(fn), indices, span=self.span(fn))

    def scan(self, index: Token, state: Token, init: Token, *body: t.Let) -> t.Scan:
        return t.Scan(str(index), str(state), str(init), body, span=self.span(index))

    # ---- expressions

    def binary(self, a: t.Expr, op: Token, b: t.Expr) -> t.Bin:
        return t.Bin(str(op), a, b, span=self.span(op))

    def negative(self, sign: Token, a: t.Expr) -> t.Neg:
        return t.Neg(a, span=self.span(sign))

    def num(self, token: Token) -> t.Num:
        return t.Num(self.literal(token), span=self.span(token))

    inf = num

    def ref(self, name: Token) -> t.Ref:
        return t.Ref(str(name), span=self.span(name))

    def ext(self, name: Token) -> t.Ext:
        return t.Ext(str(name), span=self.span(name))

    def pack(self, name: Token) -> t.Pack:
        return t.Pack(str(name), span=self.span(name))

    def access(self, name: Token, *subs: t.Expr) -> t.Access:
        return t.Access(str(name), subs, span=self.span(name))

    def call(self, fn: Token, *args: t.Expr) -> t.Call:
        if fn in SCALAR:
            raise Diag(
                "syntax", f"`{fn}` is a reduction, not a function", self.span(fn), hint=call_hint(fn, len(args) > 1)
            )
        return t.Call(str(fn), args, span=self.span(fn))

    def field(self, base: t.Expr, name: Token) -> t.Field:
        self.foreign.append(self.span(name))
        return t.Field(base, str(name), span=self.span(name))

    def entry(self, base: t.Field, index: t.Expr) -> t.Entry:
        return t.Entry(base, index, span=base.span)

    def text(self, token: Token) -> t.Text:
        self.foreign.append(self.span(token))
        return t.Text(self.quoted(token), span=self.span(token))

    # ---- model families

    def model(self, name: Token, readers: tuple[t.Reader, ...] | None, *body: t.MStmt) -> t.ModelDecl:
        self.foreign.clear()
        self.unique("parameter", [s for s in body if isinstance(s, t.MParam)])
        return t.ModelDecl(str(name), readers or (), body, span=self.span(name))

    def reader(self, name: Token, inside: Token | None) -> t.Reader:
        return t.Reader(self.quoted(name), inside and str(inside), span=self.span(name))

    def block(self, name: Token, params: tuple[Token, ...], results: tuple[Token, ...], *body: t.MStmt) -> t.BlockDecl:
        self.foreign.clear()
        self.unique("argument", [self.ref(p) for p in params])
        return t.BlockDecl(str(name), strings(params), strings(results), body, span=self.span(name))

    def config(self, name: Token, *body: t.ReadStmt) -> t.ConfigDecl:
        self.foreign.clear()
        return t.ConfigDecl(str(name), body, span=self.span(name))

    def mparam(self, name: Token, *choices: t.Expr) -> t.MParam:
        return t.MParam(str(name), choices, span=self.span(name))

    def require(self, clause: tuple[t.Rel, ...], message: Token) -> t.Require:
        return t.Require(clause, self.quoted(message), span=clause[0].span)

    def reject(self, *fields: t.Expr) -> t.Reject:
        return t.Reject(fields, span=fields[0].span)

    def ignore(self, *fields: t.Expr) -> t.Ignore:
        return t.Ignore(fields, span=fields[0].span)

    def read(self, name: Token) -> t.Read:
        return t.Read(str(name), span=self.span(name))

    def tensor(self, kind: Token, name: Token, type: t.TypeExpr, module: Token | None) -> t.TensorDecl:
        return t.TensorDecl(
            str(kind), str(name), type, None if module is None else self.quoted(module), span=self.span(name)
        )

    def node(
        self, outs: tuple[Token, ...], op: Token, args: tuple[t.Ref, ...], opts: tuple[t.Opt, ...] | None
    ) -> t.NodeStmt:
        self.unique("result", [self.ref(o) for o in outs])
        self.unique("attribute", opts or ())
        return t.NodeStmt(strings(outs), str(op), args, opts or (), span=self.span(op))

    def opt(self, name: Token, value: t.Expr) -> t.Opt:
        return t.Opt(str(name), value, span=self.span(name))

    def repeat(self, keyword: Token, count: t.Expr, index: Token | None, *body: t.MStmt) -> t.Repeat:
        return t.Repeat(count, index and str(index), body, span=self.span(keyword))

    def each(self, keyword: Token, names: tuple[Token, ...], outs: tuple[Token, ...], *body: t.MStmt) -> t.Each:
        return t.Each(strings(names), strings(outs), body, span=self.span(keyword))

    def cond(
        self,
        keyword: Token,
        clauses: tuple[tuple[t.Rel, ...], ...],
        body: tuple[t.MStmt, ...],
        orelse: t.Cond | tuple[t.MStmt, ...] | None,
    ) -> t.Cond:
        after = (orelse,) if isinstance(orelse, t.Cond) else orelse or ()
        return t.Cond(clauses, body, after, span=self.span(keyword))

    def output(self, names: tuple[Token, ...]) -> t.Outputs:
        return t.Outputs(strings(names), span=self.span(names[0]))

    # ---- graphs

    def graph(self, name: Token, *body: t.GStmt) -> t.GraphDecl:
        return t.GraphDecl(self.word(name), body, span=self.span(name))

    def gtensor(self, kind: Token, name: Token, type: t.GType) -> t.GTensor:
        return t.GTensor(str(kind), str(name), type, span=self.span(name))

    def gtype(
        self,
        dtype: Token,
        shape: tuple[int, ...],
        within: Token | None,
        distinct: Token | None,
        skew: Token | None,
    ) -> t.GType:
        into = None if within is None else self.integer(within)
        unlike = 0.0 if skew is None else float(skew)
        return t.GType(str(dtype), shape, into, distinct is not None, unlike, span=self.span(dtype))

    def gnode(
        self,
        results: tuple[t.GResult, ...],
        op: Token,
        args: tuple[t.Ref, ...],
        over: tuple[t.GOver, ...] | None,
        attrs: tuple[t.Setting, ...] | None,
    ) -> t.GNode:
        self.unique("result", results)
        self.unique("attribute", attrs or ())
        return t.GNode(results, str(op), args, attrs or (), over or (), span=self.span(op))

    def along(self, index: Token, *axes: Token) -> t.GOver:
        return t.GOver(str(index), strings(axes), span=self.span(index))

    def gmesh(self, keyword: Token, axes: tuple[t.Setting, ...]) -> t.GMesh:
        self.unique("axis", axes)
        return t.GMesh(axes, span=self.span(keyword))

    def result(self, name: Token, type: t.GType) -> t.GResult:
        return t.GResult(str(name), type, span=self.span(name))

    def grepeat(
        self,
        results: tuple[Token, ...] | None,
        keyword: Token,
        runs: tuple[int, ...],
        carries: tuple[t.GCarry, ...],
        *rest: Any,
    ) -> t.GRepeat:
        *body, yields, between = rest
        self.unique("carried value", carries)
        parts = strings(results), runs, carries, tuple(body), strings(yields), between or ()
        return t.GRepeat(*parts, span=self.span(keyword))

    def between(self, *nodes: t.GNode) -> tuple[t.GNode, ...]:
        return nodes

    def carry(self, name: Token, init: Token) -> t.GCarry:
        return t.GCarry(str(name), str(init), span=self.span(name))

    def goffer(self, by: Token, names: tuple[Token, ...]) -> t.GOffer:
        return t.GOffer(str(by), strings(names), span=self.span(by))

    def gplace(self, names: tuple[Token, ...], unit: Token, settings: tuple[t.Setting, ...] | None) -> t.GPlace:
        self.unique("setting", settings or ())
        return t.GPlace(strings(names), str(unit), settings or (), span=self.span(unit))

    def setting(self, name: Token, value: t.Value) -> t.Setting:
        return t.Setting(str(name), value, span=self.span(name))

    def number(self, sign: Token | None, token: Token) -> int | float:
        return -self.literal(token) if sign else self.literal(token)

    def word(self, token: Token) -> str:
        return self.quoted(token) if token.type == "STRING" else str(token)

    def values(self, bracket: Token, *values: t.Value) -> tuple[t.Value, ...]:
        return values

    # ---- chips

    def chip(self, name: Token, *body: t.CSetting | t.CPart | t.CGroup | t.CConnect) -> t.ChipDecl:
        settings = tuple(s for s in body if isinstance(s, t.CSetting))
        parts = tuple(s for s in body if isinstance(s, t.CPart))
        groups = tuple(s for s in body if isinstance(s, t.CGroup))
        connects = tuple(s for s in body if isinstance(s, t.CConnect))
        self.unique("setting", settings)
        self.unique("part", [*parts, *(p for g in groups for p in g.parts)])
        self.unique("group", groups)
        return t.ChipDecl(str(name), settings, parts, groups, connects, span=self.span(name))

    def cpart(self, name: Token, template: Token, settings: tuple[t.CSetting, ...] | None) -> t.CPart:
        self.unique("setting", settings or ())
        spans = {"span": self.span(name), "template_span": self.span(template)}
        return t.CPart(str(name), str(template), settings or (), **spans)

    def cgroup(self, name: Token, count: Token, *parts: t.CPart) -> t.CGroup:
        return t.CGroup(str(name), self.integer(count), parts, span=self.span(name))

    def cconnect(self, *names: t.Ref) -> t.CConnect:
        return t.CConnect(names, span=names[0].span)

    def csetting(self, name: Token, value: t.CValue) -> t.CSetting:
        return t.CSetting(str(name), value, span=self.span(name))

    def quantity(self, sign: Token | None, number: Token, unit: Token | None) -> t.Quantity:
        value = -self.literal(number) if sign else self.literal(number)
        first, last = self.span(sign or number), self.span(unit or number)
        end = last.end if last.line == first.line else first.end
        return t.Quantity(value, str(unit or ""), span=Span(self.source, first.line, first.col, end))

    one_setting = csetting


def strings(names: Iterable[Token] | None) -> tuple[str, ...]:
    """Plain strings, without the places that tokens carry."""
    return tuple(map(str, names or ()))
