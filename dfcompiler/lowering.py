"""Walking a model family's text: every statement becomes ops, once for each part of the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from dfcompiler.calls import Names, at_call, result_types
from dfcompiler.diagnostics import At, Called, Diag, Loc, Note, Span, nearest
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import AttrValue, Carry, Item, Node, Region, Tensor, TensorType
from dfcompiler.models import Model, Number, holds, number
from dfcompiler.opshape import bind, extents
from dfcompiler.steps import Part
from dfcompiler.text import tree as t
from dfcompiler.text.show import show_expr

Scope: TypeAlias = dict[str, Tensor]
Params: TypeAlias = Mapping[str, Number]


@dataclass
class Lowering:
    """Walks a family's text once; every statement is written for each part of the step."""

    model: Model
    dtypes: DtypeMap
    parts: Sequence[Part]
    names: Names = field(default_factory=Names)
    outputs: list[str] = field(default_factory=list)

    def body(
        self, stmts: Sequence[t.MStmt], scopes: list[Scope], params: Params, via: tuple[Span, ...]
    ) -> tuple[Item, ...]:
        items: list[Item] = []
        for s in stmts:
            match s:
                case t.TensorDecl():
                    items += self.declare(s, scopes, params, via)
                case t.NodeStmt() if s.op in self.model.library.blocks:
                    items += self.call(s, scopes, params, via)
                case t.NodeStmt():
                    items += [
                        self.node(s, scope, part, params, via) for scope, part in zip(scopes, self.parts, strict=True)
                    ]
                case t.Repeat():
                    items += self.repeat(s, scopes, params, via)
                case t.Each():
                    items += self.each(s, scopes, params, via)
                case t.Cond(rel, inner) if holds(rel, lambda e: self.number(e, params, None)):
                    items += self.body(inner, scopes, params, via)
                case t.Outputs(names):
                    self.outputs += [self.find(n, scope, s.span).name for n in names for scope in scopes]
        return tuple(items)

    def declare(self, s: t.TensorDecl, scopes: list[Scope], params: Params, via: tuple[Span, ...]) -> list[Tensor]:
        if s.kind == "weight":
            tensor = self.tensor(s, None, params, via)
            for scope in scopes:
                scope[s.name] = tensor
            return [tensor]
        made = [self.tensor(s, part, params, via) for part in self.parts]
        for scope, tensor in zip(scopes, made, strict=True):
            scope[s.name] = tensor
        return made

    def tensor(self, s: t.TensorDecl, part: Part | None, params: Params, via: tuple[Span, ...]) -> Tensor:
        shape = tuple(x for d in s.type.dims for x in self.extent(d, part, params))
        if any(x < 1 for x in shape):
            raise Diag(
                "bad-config", f"`{s.name}` has the shape {list(shape)}", s.span, hint="every size must be at least 1"
            )
        within = None
        if s.type.within:
            within = self.whole(t.Ref(s.type.within.name, span=s.span), params, part)
        type_ = TensorType(self.dtypes.of(s.type.role), shape, within, bool(s.type.within and s.type.within.distinct))
        return Tensor(self.fresh(s.name, part), type_, s.kind, _loc(s.span, via))

    def extent(self, d: t.Dim, part: Part | None, params: Params) -> tuple[int, ...]:
        """`N`, the tokens of a part, is `[B, S]`: sequences and new tokens of each."""
        if part and d == t.Ref("N"):
            return (part.batch, part.fresh)
        if isinstance(d, t.DeviceDim | t.Pack):
            raise Diag("bad-expression", "a tensor of a model has plain sizes", d.span)
        return (self.whole(d, params, part),)

    def whole(self, e: t.Expr, params: Params, part: Part | None) -> int:
        value = self.number(e, params, part)
        if value != value or value in (float("inf"), -float("inf")) or value != int(value):
            message = f"`{show_expr(e)}` is {value:g}, which is no whole number"
            raise Diag("bad-config", message, getattr(e, "span", None))
        return int(value)

    def value(self, e: t.Expr, params: Params, part: Part | None) -> AttrValue:
        """A parameter, what the part of the step is (also a vector), or arithmetic on these."""
        match e:
            case t.Ref(name) if name in params:
                return params[name]
            case t.Ref(name) if part and name in part.names():
                return part.names()[name]
            case t.Ref(name):
                raise Diag(
                    "unknown-name",
                    f"unknown name `{name}`",
                    e.span,
                    hint=nearest(name, [*params, *(part.names() if part else [])]),
                )
            case _:
                return number(e, lambda x: self.number(x, params, part))

    def number(self, e: t.Expr, params: Params, part: Part | None) -> Number:
        """As `value`, where only a number makes sense."""
        value = self.value(e, params, part)
        if isinstance(value, tuple):
            raise Diag(
                "bad-expression", "a vector over sequences cannot be used in arithmetic", getattr(e, "span", None)
            )
        return value

    def node(self, s: t.NodeStmt, scope: Scope, part: Part, params: Params, via: tuple[Span, ...]) -> Node:
        decl = self.model.library.ops.get(s.op)
        if decl is None:
            known = [*self.model.library.ops, *self.model.library.blocks]
            raise Diag("unknown-op", f"unknown op `{s.op}`", s.span, hint=nearest(s.op, known))
        args = [self.find(a.name, scope, a.span) for a in s.args]
        attrs = tuple((o.name, _attribute(self.value(o.value, params, part))) for o in s.opts)
        loc = _loc(s.span, via)
        try:
            shape = bind(decl, tuple(len(a.type.shape) for a in args))
            sizes = extents(shape, [a.type.shape for a in args], dict(attrs))
        except Diag as error:
            raise at_call(error, s.span, args) from None
        if len(s.outs) != len(shape.results):
            raise Diag("op-arity", f"`{s.op}` gives {len(shape.results)} results, not {len(s.outs)}", s.span)
        types = result_types(shape, sizes, self.dtypes)
        results = tuple(Tensor(self.fresh(n, part), ty, "value", loc) for n, ty in zip(s.outs, types, strict=True))
        scope |= dict(zip(s.outs, results, strict=True))
        return Node(decl, tuple(a.name for a in args), results, attrs, loc)

    def call(self, s: t.NodeStmt, scopes: list[Scope], params: Params, via: tuple[Span, ...]) -> tuple[Item, ...]:
        block = self.model.library.blocks[s.op]
        if len(s.outs) != 1 or len(via) > 32:
            message = f"`{s.op}` gives one result" if len(s.outs) != 1 else f"`{s.op}` calls itself"
            raise Diag("bad-block", message, s.span)
        inner_params = {**params, **{o.name: self.number(o.value, params, None) for o in s.opts}}
        names = [p for p in block.params if p not in {o.name for o in s.opts}]
        if len(names) != len(s.args):
            raise Diag(
                "op-arity",
                f"`{s.op}` takes {len(names)} values, got {len(s.args)}",
                s.span,
                notes=[Note("declared here", block.span)],
            )
        inner = [{p: self.find(a.name, scope, a.span) for p, a in zip(names, s.args, strict=True)} for scope in scopes]
        deeper = (*via, s.span) if s.span else via
        items = self.body(block.body, inner, inner_params, deeper)
        for scope, done in zip(scopes, inner, strict=True):
            scope[s.outs[0]] = self.find(block.result, done, block.span)
        return items

    def each(self, s: t.Each, scopes: list[Scope], params: Params, via: tuple[Span, ...]) -> tuple[Item, ...]:
        inner = [dict(scope) for scope in scopes]
        items = self.body(s.body, inner, params, via)
        for scope, done in zip(scopes, inner, strict=True):
            scope[s.out] = self.find(s.out, done, s.span)
        return items

    def repeat(self, s: t.Repeat, scopes: list[Scope], params: Params, via: tuple[Span, ...]) -> tuple[Item, ...]:
        count = self.whole(s.count, params, None)
        if count < 1:
            return ()
        rebound = _assigned(s.body)
        inner = [dict(scope) for scope in scopes]
        heads: list[dict[str, Tensor]] = []
        for scope, own in zip(scopes, inner, strict=True):
            heads.append(
                {
                    n: replace(x, name=self.fresh(n, None), kind="value")
                    for n, x in scope.items()
                    if n in rebound and x.kind in ("value", "input")
                }
            )
            own |= heads[-1]
        body = self.body(s.body, inner, params, via)
        carries: list[Carry] = []
        for scope, own, head in zip(scopes, inner, heads, strict=True):
            for name, tensor in head.items():
                last = own[name]
                if last.type != tensor.type:
                    raise Diag(
                        "bad-carry",
                        f"`{name}` changes its type from layer to layer",
                        s.span,
                        notes=[Note(f"{tensor.type} becomes {last.type}")],
                    )
                result = replace(last, name=self.fresh(name, None))
                carries.append(Carry(tensor, scope[name].name, last.name, result))
                scope[name] = result
        return (Region(count, tuple(carries), body, _loc(s.span, via)),)

    def find(self, name: str, scope: Scope, span: Span | None) -> Tensor:
        if name not in scope:
            raise Diag("unknown-name", f"no tensor `{name}` here", span, hint=nearest(name, scope))
        return scope[name]

    def fresh(self, name: str, part: Part | None) -> str:
        """A name that is unique in the graph: with the part where there are several, then numbered."""
        return self.names.fresh(f"{name}_{part.name}" if part and len(self.parts) > 1 else name)


def _attribute(value: AttrValue) -> AttrValue:
    """Vectors whose entries agree are one number."""
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else value
    return float(value) if isinstance(value, float) else int(value)


def _assigned(stmts: Sequence[t.MStmt]) -> set[str]:
    names: set[str] = set()
    for s in stmts:
        match s:
            case t.NodeStmt(outs=outs):
                names |= set(outs)
            case t.Each(out=out):
                names.add(out)
            case t.Cond(body=body) | t.Repeat(body=body):
                names |= _assigned(body)
    return names


def _loc(span: Span | None, via: tuple[Span, ...]) -> Loc | None:
    if span is None:
        return None
    loc: Loc = At(span)
    for call in reversed(via):
        loc = Called(loc, call)
    return loc
