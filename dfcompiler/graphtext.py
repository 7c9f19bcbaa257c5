"""Graphs as text and back: `parse_graph(show_graph(g)) == g`.

Everything that a text can get wrong is found here, at its place: a graph that was read is a graph whose
nodes fit their operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dfcompiler.calls import skew_of
from dfcompiler.collectives import across, hands_on
from dfcompiler.diagnostics import At, Diag, Loc, Note, Source, Span, nearest, unknown
from dfcompiler.dtypes import bits
from dfcompiler.graph import (
    AttrValue,
    Carry,
    Graph,
    Item,
    Node,
    Offer,
    Place,
    Region,
    Tensor,
    TensorType,
    seen_shapes,
    split_ways,
)
from dfcompiler.meshes import check_over, own_result, read_mesh, read_over, whole_sizes
from dfcompiler.models import Library, extend, library
from dfcompiler.opshape import Operand, OpShape, bind, extents, operand_axes
from dfcompiler.scalars import attributes
from dfcompiler.staging import stage_axis, staged
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items
from dfcompiler.text.show import show, show_gtype


def show_graph(graph: Graph) -> str:
    """The text of a graph, after those of its ops that the library does not have; ends in a newline."""
    known = library().ops
    own = {n.op.name: n.op for n in graph.nodes.values() if known.get(n.op.name) != n.op}
    return "\n".join([*map(show, own.values()), show(to_tree(graph))])


def parse_graph(source: Source, library: Library) -> Graph:
    """The graph of a source, whose ops are those of the library and of the source itself.

    Raises Diag `syntax`, `bad-graph` where there is not exactly one graph, and what `from_tree` raises.
    """
    items = parse_items(source)
    graphs = [i for i in items if isinstance(i, t.GraphDecl)]
    if len(graphs) != 1:
        at = graphs[1].span if graphs else Span(source, 1, 1, 2)
        raise Diag("bad-graph", f"`{source.name}` holds {len(graphs)} graphs, wants one", at)
    return from_tree(graphs[0], extend(library, iter(items)))


# ---- to text -----------------------------------------------------------------------------------


def to_tree(graph: Graph) -> t.GraphDecl:
    """The graph as the printer takes it: items, outputs, offers, places."""
    body: list[t.GStmt] = [_statement(i) for i in graph.body]
    if graph.outputs:
        body.append(t.Outputs(graph.outputs))
    body += [t.GOffer(o.by, o.nodes) for o in graph.offers]
    if graph.mesh:
        body.insert(0, t.GMesh(_settings(graph.mesh)))
    body += [t.GPlace(p.nodes, p.unit, _settings(p.settings)) for p in graph.places]
    return t.GraphDecl(graph.name, tuple(body))


def _statement(item: Item) -> t.GStmt:
    match item:
        case Tensor(name, kind, tensor_kind):
            return t.GTensor(tensor_kind, name, _type(kind))
        case Node():
            return _node(item)
        case Region(count, carries, body, runs=runs, between=between):
            return t.GRepeat(
                tuple(c.result.name for c in carries),
                runs or (count,),
                tuple(t.GCarry(c.inner.name, c.init) for c in carries),
                tuple(_statement(i) for i in body),
                tuple(c.yielded for c in carries),
                tuple(map(_node, between)),
            )


def _node(node: Node) -> t.GNode:
    made = tuple(t.GResult(r.name, _type(r.type)) for r in node.results)
    spread = tuple(t.GOver(index, axes) for index, axes in node.over)
    return t.GNode(made, node.op.name, tuple(t.Ref(a) for a in node.args), _settings(node.attrs), spread)


def _type(x: TensorType) -> t.GType:
    return t.GType(x.dtype, x.shape, x.within, x.distinct, x.skew)


def _settings(pairs: Iterable[tuple[str, t.Value]]) -> tuple[t.Setting, ...]:
    return tuple(t.Setting(name, value) for name, value in pairs)


# ---- from text ---------------------------------------------------------------------------------


def from_tree(decl: t.GraphDecl, library: Library) -> Graph:
    """The graph that a text says, checked.

    Raises Diag: `unknown-op`, `unknown-tensor`, `unknown-node`, `unknown-dtype`, `duplicate-name`,
    `op-arity`, `op-rank`, `op-size`, `bad-attribute`, `bad-type`, `bad-repeat`, `bad-mesh`.
    """
    reader = _Reader(library, read_mesh(decl.body))
    outside = t.Outputs | t.GOffer | t.GPlace | t.GMesh
    body = reader.body([s for s in decl.body if not isinstance(s, outside)], {})
    outputs: list[str] = []
    offers: list[Offer] = []
    places: list[Place] = []
    for s in decl.body:
        match s:
            case t.Outputs(names):
                outputs += [reader.find(n, reader.outer, s.span).name for n in names]
            case t.GOffer(by, names):
                offers.append(Offer(by, reader.nodes_of(names, s.span)))
            case t.GPlace(names, unit, settings):
                settled = tuple((x.name, x.value) for x in settings)
                places.append(Place(reader.nodes_of(names, s.span), unit, settled))
    graph = Graph(decl.name, body, tuple(outputs), tuple(offers), tuple(places), tuple(reader.mesh.items()))
    check_stages(graph, decl.span)
    return graph


def check_stages(graph: Graph, span: Span | None) -> None:
    """Raise Diag `bad-mesh` where a graph has other stages than the axis of its mesh along which values are handed on
    has devices."""
    axis, stages = stage_axis(graph), max((s for x in staged(graph) for s in x.on), default=0) + 1
    if axis is None and stages > 1:
        raise Diag("bad-mesh", f"`{graph.name}` has {stages} stages, and no axis of the mesh is theirs alone", span)
    if axis is not None and dict(graph.mesh)[axis] != stages:
        raise Diag("bad-mesh", f"`{graph.name}` has {stages} stages, axis `{axis}` {dict(graph.mesh)[axis]}", span)


Scope = dict[str, Tensor]


@dataclass
class _Reader:
    """Reads statements in order; a name is declared once in the whole graph and seen from there inwards."""

    library: Library
    mesh: Mapping[str, int] = field(default_factory=dict)
    places: dict[str, Span | None] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    outer: Scope = field(default_factory=dict)
    inside: int = 0  # so many repeats

    def body(self, stmts: Iterable[t.GStmt], scope: Scope) -> tuple[Item, ...]:
        """Items of a body; `scope` gains what it declares."""
        items: list[Item] = []
        for s in stmts:
            match s:
                case t.GTensor(kind, name, given):
                    items.append(self.declare(Tensor(name, self.type(given), kind, _at(s.span)), scope, s.span))
                case t.GNode():
                    items.append(self.node(s, scope))
                case t.GRepeat():
                    items.append(self.region(s, scope))
                case _:
                    what = "outputs, offers, places and the mesh stand outside of every repeat"
                    raise Diag("bad-repeat", what, s.span)
        self.outer = scope
        return tuple(items)

    def declare(self, tensor: Tensor, scope: Scope, span: Span | None) -> Tensor:
        if tensor.name in self.places:
            notes = [Note("first declared here", self.places[tensor.name])]
            raise Diag("duplicate-name", f"tensor `{tensor.name}` is declared twice", span, notes=notes)
        self.places[tensor.name] = span
        scope[tensor.name] = tensor
        return tensor

    def find(self, name: str, scope: Mapping[str, Tensor], span: Span | None) -> Tensor:
        if name in scope:
            return scope[name]
        error = unknown("tensor", name, scope, span)
        if name in self.places:
            error.notes = (Note("declared inside this repeat only", self.places[name]),)
        raise error

    def nodes_of(self, names: tuple[str, ...], span: Span | None) -> tuple[str, ...]:
        for name in names:
            if name not in self.nodes:
                raise unknown("node", name, self.nodes, span)
        return names

    def type(self, x: t.GType) -> TensorType:
        bits(x.dtype, x.span)
        if any(size < 1 for size in x.shape) or x.within == 0:
            raise Diag("bad-type", "every size must be at least 1", x.span)
        return TensorType(x.dtype, x.shape, x.within, x.distinct, x.skew)

    # ---- nodes

    def node(self, s: t.GNode, scope: Scope) -> Node:
        if s.op not in self.library.ops:
            raise unknown("op", s.op, self.library.ops, s.span)
        op = self.library.ops[s.op]
        args = [self.find(a.name, scope, a.span) for a in s.args]
        attrs = tuple((x.name, _number(x)) for x in s.attrs)
        if len(args) != len(op.params):
            notes = [Note("declared here", op.span)]
            message = f"`{s.op}` takes {len(op.params)} operands, got {len(args)}"
            raise Diag("op-arity", message, s.span, notes=notes)
        over = read_over(s, self.mesh)
        shapes = seen_shapes(op, [a.type.shape for a in args], over, self.mesh)
        try:
            shape = bind(op, tuple(map(len, shapes)))
            sizes = extents(shape, shapes, dict(attrs), split_ways(op, over, self.mesh))
        except Diag as error:
            raise self.at_argument(error, s, op) from None
        check_over(s, op, shape)
        whole = whole_sizes(sizes, over, self.mesh)
        self.check_attributes(s, shape, whole, attrs)
        self.check_indices(s, shape, whole, args)
        results = self.results(s, shape, sizes, scope, dict(attrs))
        self.nodes.add(results[0].name)
        return Node(op, tuple(a.name for a in args), results, attrs, _at(s.span), tuple(over.items()))

    def at_argument(self, error: Diag, s: t.GNode, op: t.OpDecl) -> Diag:
        """An error of an operator, moved to the argument that it is about; the operator's places are notes."""
        about = error.notes[-1].span if error.notes else error.span
        at = next((a.span for a, p in zip(s.args, op.params, strict=True) if p.span is about), s.span)
        notes = [*error.notes, *([] if error.notes else [Note("declared here", error.span)])]
        notes += [Note(f"`{a.name}` comes from here", self.places[a.name]) for a in s.args]
        return Diag(error.code, error.message, at, notes=notes, hint=error.hint)

    def check_attributes(
        self, s: t.GNode, shape: OpShape, sizes: Mapping[str, int], attrs: tuple[tuple[str, AttrValue], ...]
    ) -> None:
        known = [a.name for a in shape.attrs]
        for x in s.attrs:
            if x.name not in known:
                message = f"`{s.op}` has no attribute `{x.name}`"
                raise Diag("bad-attribute", message, x.span, hint=nearest(x.name, known))
        try:
            attributes(shape, sizes, dict(attrs))
        except Diag as error:
            at = next((x.span for x in s.attrs if f"`{x.name}`" in error.message), s.span)
            raise Diag(error.code, error.message, at, notes=[Note("declared here", error.span)]) from None

    def check_indices(self, s: t.GNode, shape: OpShape, sizes: Mapping[str, int], args: list[Tensor]) -> None:
        for ref, operand, arg in zip(s.args, shape.params, args, strict=True):
            within = arg.type.within
            if operand.within and within is not None and within > sizes[operand.within]:
                message = (
                    f"`{arg.name}` points into {within} elements, but `{operand.within}` is {sizes[operand.within]}"
                )
                raise Diag("op-size", message, ref.span, notes=[Note("declared here", operand.span)])

    def results(
        self, s: t.GNode, shape: OpShape, sizes: Mapping[str, int], scope: Scope, attrs: Mapping[str, AttrValue]
    ) -> tuple[Tensor, ...]:
        if len(s.results) != len(shape.results):
            message = f"`{s.op}` gives {len(shape.results)} results, not {len(s.results)}"
            raise Diag("op-arity", message, s.span)
        made, op = [], self.library.ops[s.op]
        over = {o.index: o.axes for o in s.over}
        moved = self.find(s.args[0].name, scope, s.span).type if s.args and across(op) else None
        for given, declared, p in zip(s.results, shape.results, op.results, strict=True):
            type_, operand = self.type(given.type), own_result(declared, p, over)
            wants = TensorType(
                type_.dtype,
                operand_axes(operand, sizes),
                sizes[operand.within] if operand.within else None,
                bool(operand.distinct),
                skew_of(shape, operand, sizes, attrs),
            )
            if moved and wants.within is None:  # what is exchanged stays what it is
                wants = replace(wants, within=moved.within, distinct=moved.distinct, skew=moved.skew)
            self.check_result(given, operand, type_, wants)
            made.append(self.declare(Tensor(given.name, type_, "value", _at(s.span)), scope, given.span))
        return tuple(made)

    def check_result(self, given: t.GResult, o: Operand, type_: TensorType, wants: TensorType) -> None:
        if type_ != wants:
            shown = show_gtype(_type(wants))
            notes = [Note(f"`{o.name}` is declared here", o.span)]
            raise Diag("op-size", f"`{given.name}` must be {shown}", given.type.span, notes=notes)

    # ---- repeats

    def region(self, s: t.GRepeat, scope: Scope) -> Region:
        if not s.runs or min(s.runs) < 1:
            raise Diag("bad-repeat", "a repeat runs at least once", s.span)
        if not len(s.results) == len(s.carries) == len(s.yields):
            message = f"{len(s.carries)} values are carried, {len(s.yields)} yielded and {len(s.results)} given"
            raise Diag("bad-repeat", message, s.span, hint="one yield and one result per carried value")
        inner = dict(scope)
        heads = [self.declare(Tensor(c.name, self.find(c.init, scope, c.span).type), inner, c.span) for c in s.carries]
        self.inside += 1
        body = self.body(s.body, inner)
        between = tuple(self.node(x, dict(inner)) for x in s.between)
        if len(s.runs) > 1:
            self.check_between(s, between)
        elif between:
            raise Diag("bad-repeat", "one run of layers hands nothing on", s.span)
        self.inside -= 1
        carries = []
        for head, c, yielded, result in zip(heads, s.carries, s.yields, s.results, strict=True):
            last = self.find(yielded, inner, s.span)
            if last.type != head.type:
                message = f"`{c.name}` is {show_gtype(_type(head.type))}, `{yielded}` {show_gtype(_type(last.type))}"
                raise Diag("bad-repeat", f"the next layer cannot take this: {message}", c.span)
            given = self.declare(Tensor(result, last.type), scope, s.span)
            carries.append(Carry(head, c.init, yielded, given))
        runs = s.runs if len(s.runs) > 1 else ()
        return Region(sum(s.runs), tuple(carries), body, _at(s.span), runs, between)

    def check_between(self, s: t.GRepeat, between: tuple[Node, ...]) -> None:
        if self.inside > 1:
            raise Diag("bad-repeat", "a repeat inside of another lies on one stage", s.span)
        if tuple(a for n in between for a in n.args) != s.yields or not all(map(hands_on, between)):
            raise Diag("bad-repeat", "between stages all that is yielded is handed on, in its order", s.span)


def _number(x: t.Setting) -> AttrValue:
    """An attribute: a number, or a list of integers."""
    match x.value:
        case int() | float():
            return x.value
        case tuple() if all(isinstance(v, int) for v in x.value):
            return tuple(v for v in x.value if isinstance(v, int))
        case _:
            raise Diag("bad-attribute", f"`{x.name}` must be a number or a list of integers", x.span)


def _at(span: Span | None) -> Loc | None:
    return At(span) if span else None
