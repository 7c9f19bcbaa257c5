"""Walking a model family's text: every statement becomes ops, once for each part of the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from dfcompiler.calls import Names as Fresh
from dfcompiler.calls import at_call, result_types
from dfcompiler.checkpoint import Quantization
from dfcompiler.diagnostics import At, Called, Diag, Loc, Note, Span, nearest
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import AttrValue, Carry, Item, Node, Region, Tensor, TensorType
from dfcompiler.layers import MOST_LAYERS, Fold, Layer, Loop, fold, kind_of_layer, stored_type
from dfcompiler.models import Model, read
from dfcompiler.opshape import bind, extents
from dfcompiler.parameters import Names
from dfcompiler.steps import Part
from dfcompiler.text import tree as t
from dfcompiler.text.show import show_gtype
from dfcompiler.text.show_expressions import show_expr

Scope: TypeAlias = dict[str, Tensor]
Body: TypeAlias = Callable[[list[Scope]], tuple[Item, ...]]
MOST_CALLS = 32  # blocks inside blocks


@dataclass
class Lowering:
    """Walks a family's text once; every statement is written for each part of the step. `alone` is inside of `each`,
    where the text may ask what the part is."""

    model: Model
    dtypes: DtypeMap
    parts: Sequence[Part]
    stored: Quantization | None = None  # weights have the types of the checkpoint
    number: int | None = None  # of the layer
    alone: bool = False
    several: bool = False  # parts of the whole step
    fresh_names: Fresh = field(default_factory=Fresh)
    outputs: list[str] = field(default_factory=list)

    def body(
        self, stmts: Sequence[t.MStmt], scopes: list[Scope], names: Names, via: tuple[Span, ...]
    ) -> tuple[Item, ...]:
        items: list[Item] = []
        for s in stmts:
            match s:
                case t.MParam() | t.Require() | t.Reject() | t.Ignore() | t.Read():
                    read(s, names, self.model.family, self.model.library)
                case t.TensorDecl():
                    items += self.declare(s, scopes, names, via)
                case t.NodeStmt() if s.op in self.model.library.blocks:
                    items += self.call(s, scopes, names, via)
                case t.NodeStmt():
                    items += [
                        self.node(s, scope, part, names, via) for scope, part in zip(scopes, self.parts, strict=True)
                    ]
                case t.Repeat():
                    items += self.repeat(s, scopes, names, via)
                case t.Each():
                    items += self.each(s, scopes, names, via)
                case t.Cond(clauses, inner, orelse):
                    items += self.body(inner if names.holds(clauses) else orelse, scopes, names, via)
                case t.Outputs(outs):
                    self.outputs += [self.find(n, scope, s.span).name for n in outs for scope in scopes]
        return tuple(items)

    def declare(self, s: t.TensorDecl, scopes: list[Scope], names: Names, via: tuple[Span, ...]) -> list[Tensor]:
        if s.kind == "weight":
            if self.alone:
                raise Diag(
                    "bad-block",
                    f"the weight `{s.name}` belongs to all parts of a step",
                    s.span,
                    hint="declare it outside of `each`",
                )
            tensor = self.tensor(s, None, names, via)
            for scope in scopes:
                scope[s.name] = tensor
            return [tensor]
        made = [self.tensor(s, part, names, via) for part in self.parts]
        for scope, tensor in zip(scopes, made, strict=True):
            scope[s.name] = tensor
        return made

    def tensor(self, s: t.TensorDecl, part: Part | None, names: Names, via: tuple[Span, ...]) -> Tensor:
        seen = names.inner(**part.names()) if part else names
        shape = tuple(x for d in s.type.dims for x in self.extent(d, part, seen))
        if any(x < 1 for x in shape):
            raise Diag(
                "bad-config", f"`{s.name}` has the shape {list(shape)}", s.span, hint="every size must be at least 1"
            )
        within = None
        if s.type.within:
            within = whole(t.Ref(s.type.within.name, span=s.span), seen)
        skew = names.number(t.Ref(w.skew, span=w.span)) if (w := s.type.within) and w.skew else 0.0
        dtype = stored_type(self.stored, s, self.number) or self.dtypes.of(s.type.role)
        type_ = TensorType(dtype, shape, within, bool(w and w.distinct), float(skew))
        return Tensor(self.fresh(s.name, part), type_, s.kind, _loc(s.span, via))

    def extent(self, d: t.Dim, part: Part | None, names: Names) -> tuple[int, ...]:
        """`N`, the tokens of a part, is `[B, S]`: sequences and new tokens of each."""
        if part and d == t.Ref("N"):
            return (part.batch, part.fresh)
        if isinstance(d, t.DeviceDim | t.Pack):
            raise Diag("bad-expression", "a tensor of a model has plain sizes", d.span)
        return (whole(d, names),)

    def node(self, s: t.NodeStmt, scope: Scope, part: Part, names: Names, via: tuple[Span, ...]) -> Node:
        decl = self.model.library.ops.get(s.op)
        if decl is None:
            known = [*self.model.library.ops, *self.model.library.blocks]
            raise Diag("unknown-op", f"unknown op `{s.op}`", s.span, hint=nearest(s.op, known))
        args = [self.find(a.name, scope, a.span) for a in s.args]
        seen = names.inner(**part.names()) if s.opts else names
        attrs = tuple((o.name, _attribute(o, seen)) for o in s.opts)
        loc = _loc(s.span, via)
        try:
            shape = bind(decl, tuple(len(a.type.shape) for a in args))
            sizes = extents(shape, [a.type.shape for a in args], dict(attrs))
        except Diag as error:
            raise at_call(error, s.span, args) from None
        if len(s.outs) != len(shape.results):
            raise Diag("op-arity", f"`{s.op}` gives {len(shape.results)} results, not {len(s.outs)}", s.span)
        types = result_types(shape, sizes, self.dtypes, dict(attrs))
        results = tuple(Tensor(self.fresh(n, part), ty, "value", loc) for n, ty in zip(s.outs, types, strict=True))
        scope |= dict(zip(s.outs, results, strict=True))
        return Node(decl, tuple(a.name for a in args), results, attrs, loc)

    def call(self, s: t.NodeStmt, scopes: list[Scope], names: Names, via: tuple[Span, ...]) -> tuple[Item, ...]:
        block = self.model.library.blocks[s.op]
        declared = [Note("declared here", block.span)]
        if len(via) > MOST_CALLS:
            raise Diag("bad-block", f"`{s.op}` calls itself", s.span, notes=declared)
        if len(s.outs) != len(block.results):
            message = f"`{s.op}` gives {len(block.results)} values, not {len(s.outs)}"
            raise Diag("bad-block", message, s.span, notes=declared)
        given = {o.name: names.value(o.value) for o in s.opts}
        params = [p for p in block.params if p not in given]
        if len(params) != len(s.args):
            message = f"`{s.op}` takes {len(params)} values, got {len(s.args)}"
            raise Diag("op-arity", message, s.span, notes=declared)
        inner = [{p: self.find(a.name, scope, a.span) for p, a in zip(params, s.args, strict=True)} for scope in scopes]
        deeper = (*via, s.span) if s.span else via
        items = self.body(block.body, inner, names.inner(**given), deeper)
        for scope, done in zip(scopes, inner, strict=True):
            scope |= {out: self.find(r, done, block.span) for out, r in zip(s.outs, block.results, strict=True)}
        return items

    def each(self, s: t.Each, scopes: list[Scope], names: Names, via: tuple[Span, ...]) -> tuple[Item, ...]:
        items: list[Item] = []
        for scope, part in zip(scopes, self.parts, strict=True):
            inner = dict(scope)
            own = replace(self, parts=(part,), alone=True, several=self.several or len(self.parts) > 1)
            items += own.body(s.body, [inner], names.inner(**part.names()), via)
            scope |= {out: self.find(out, inner, s.span) for out in s.outs}
        return tuple(items)

    # ---- layers

    def repeat(self, s: t.Repeat, scopes: list[Scope], names: Names, via: tuple[Span, ...]) -> tuple[Item, ...]:
        count = whole(s.count, names)
        if s.index is None:
            return self.region(s, count, lambda own: self.body(s.body, own, names.inner(), via), scopes, via)
        if count > MOST_LAYERS:
            raise Diag("bad-config", f"{count} layers that may differ, at most {MOST_LAYERS}", s.span)
        asked = Layer(self.model, self.parts, s.index, self.stored)
        kinds = [kind_of_layer(asked, s.body, names.inner(**{s.index: i})) for i in range(count)]
        return self.folds(s, fold(kinds), names, via, scopes)

    def folds(
        self, s: t.Repeat, folds: Sequence[Fold], names: Names, via: tuple[Span, ...], scopes: list[Scope]
    ) -> tuple[Item, ...]:
        items: list[Item] = []
        for f in folds:
            if isinstance(f, Loop):
                items += self.region(s, f.count, partial(self.folds, s, f.body, names, via), scopes, via)
            else:
                items += self.layer(s, f, scopes, names, via)
        return tuple(items)

    def layer(
        self, s: t.Repeat, number: int, scopes: list[Scope], names: Names, via: tuple[Span, ...]
    ) -> tuple[Item, ...]:
        """One layer in its place; what it declares is its own, what it binds again goes on."""
        assert s.index is not None
        inner = [dict(scope) for scope in scopes]
        items = replace(self, number=number).body(s.body, inner, names.inner(**{s.index: number}), via)
        rebound = _assigned(s.body)
        for scope, done in zip(scopes, inner, strict=True):
            scope |= {n: done[n] for n, x in scope.items() if n in rebound and x.kind in ("value", "input")}
        return items

    def region(
        self, s: t.Repeat, count: int, body: Body, scopes: list[Scope], via: tuple[Span, ...]
    ) -> tuple[Item, ...]:
        """`count` equal layers: names that they bind again are carried from one to the next."""
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
        items = body(inner)
        carries: list[Carry] = []
        for scope, own, head in zip(scopes, inner, heads, strict=True):
            for name, tensor in head.items():
                last = own[name]
                if last.type != tensor.type:
                    raise Diag(
                        "bad-carry",
                        f"`{name}` changes its type from layer to layer",
                        s.span,
                        notes=[Note(f"{_shown(tensor.type)} becomes {_shown(last.type)}")],
                    )
                result = replace(last, name=self.fresh(name, None))
                carries.append(Carry(tensor, scope[name].name, last.name, result))
                scope[name] = result
        return (Region(count, tuple(carries), items, _loc(s.span, via)),)

    # ---- names

    def find(self, name: str, scope: Scope, span: Span | None) -> Tensor:
        if name not in scope:
            raise Diag("unknown-name", f"no tensor `{name}` here", span, hint=nearest(name, scope))
        return scope[name]

    def fresh(self, name: str, part: Part | None) -> str:
        """A name that is unique in the graph: with the part where there are several, then numbered."""
        several = self.several or len(self.parts) > 1
        return self.fresh_names.fresh(f"{name}_{part.name}" if part and several else name)


def whole(e: t.Expr, names: Names) -> int:
    """The value of an expression that must be a whole number."""
    value = names.number(e)
    if value in (float("inf"), -float("inf")) or value != int(value):
        message = f"`{show_expr(e)}` is {value:g}, which is no whole number"
        raise Diag("bad-config", message, getattr(e, "span", None))
    return int(value)


def _attribute(o: t.Opt, names: Names) -> AttrValue:
    """A number, or a number per sequence; vectors whose entries agree are one number."""
    value = names.value(o.value)
    if isinstance(value, tuple):
        return value[0] if len(set(value)) == 1 else value
    number = names.number(o.value)
    return float(number) if isinstance(number, float) else int(number)


def _shown(x: TensorType) -> str:
    """A type as in the text of a graph."""
    return show_gtype(t.GType(x.dtype, x.shape, x.within, x.distinct, x.skew))


def _assigned(stmts: Sequence[t.MStmt]) -> set[str]:
    names: set[str] = set()
    for s in stmts:
        match s:
            case t.NodeStmt(outs=outs):
                names |= set(outs)
            case t.Each(outs=outs):
                names |= set(outs)
            case t.Cond(body=body, orelse=orelse):
                names |= _assigned((*body, *orelse))
            case t.Repeat(body=body):
                names |= _assigned(body)
    return names


def _loc(span: Span | None, via: tuple[Span, ...]) -> Loc | None:
    if span is None:
        return None
    loc: Loc = At(span)
    for call in reversed(via):
        loc = Called(loc, call)
    return loc
