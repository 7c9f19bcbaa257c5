"""Several ops as one op: the same notation, so everything that is derived of an op holds for a group.

Operands are named as the graph names their tensors, so a tensor made and used inside the group is a
local of the joined op. Axes that meet through a tensor are one index. What cannot be joined is an
answer with a reason, not an exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from dfcompiler.graph import Graph, Node, TensorType, regions
from dfcompiler.opshape import Operand, OpShape, Statement
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Group:
    """Nodes as one op, with what pricing needs: sizes, attributes, and the type behind each operand."""

    nodes: tuple[str, ...]
    shape: OpShape
    sizes: Mapping[str, int]
    attrs: Mapping[str, object]
    types: Mapping[str, TensorType]  # by operand name of `shape`
    kinds: Mapping[str, str]  # weight, state, input or value, by operand name


def single(graph: Graph, node: Node) -> Group:
    """One node as a group of its own."""
    shape = graph.shape(node)
    names = dict(zip((o.name for o in shape.operands), (*node.args, *(r.name for r in node.results)), strict=True))
    types = {o: graph.type_of(n) for o, n in names.items()}
    kinds = {o: graph.tensors[n].kind for o, n in names.items()}
    return Group((node.name,), shape, graph.sizes(node), dict(node.attrs), types, kinds)


def group(graph: Graph, names: Sequence[str]) -> Group | Blocked:
    """The nodes as one op, or the reason why they cannot be.

    Independent nodes of one op that share their weights are joined side by side (their tokens in one
    loop); others are chained through the tensors between them.
    """
    nodes = [n for n in graph.nodes.values() if n.name in set(names)]
    if len(nodes) == 1:
        return single(graph, nodes[0])
    outside = _detour(graph, {n.name for n in nodes})
    if outside:
        return Blocked(f"`{outside}` lies between them and is not one of them", nodes[0].op.span)
    if _parallel(graph, nodes):
        return _side_by_side(graph, nodes)
    return _chained(graph, nodes)


def _detour(graph: Graph, mine: set[str]) -> str | None:
    """A node outside that needs one inside and is needed by another: then the group cannot run as one."""
    after = set().union(*(nx.descendants(graph.flow, n) for n in mine)) - mine
    before = set().union(*(nx.ancestors(graph.flow, n) for n in mine)) - mine
    return min(after & before, default=None)


# ---- side by side ------------------------------------------------------------------------------


def shared_weights(graph: Graph, nodes: Sequence[Node]) -> bool:
    """Whether the nodes are the same op and attributes on the same weights, at least one."""
    first = nodes[0]
    weights = [i for i, a in enumerate(first.args) if graph.tensors[a].kind == "weight"]
    return bool(weights) and all(
        n.op == first.op and n.attrs == first.attrs and all(n.args[i] == first.args[i] for i in weights) for n in nodes
    )


def _parallel(graph: Graph, nodes: Sequence[Node]) -> bool:
    made = {r.name for n in nodes for r in n.results}
    return not any(a in made for n in nodes for a in n.args) and shared_weights(graph, nodes)


def _side_by_side(graph: Graph, nodes: Sequence[Node]) -> Group | Blocked:
    """One op over the tokens of all nodes, which become one leading dimension of the shared pack."""
    first = single(graph, nodes[0])
    weights = {
        o.name for o, a in zip(first.shape.params, nodes[0].args, strict=True) if graph.tensors[a].kind == "weight"
    }
    fixed = {i for o in first.shape.params if o.name in weights for d in o.dims for i in _names(d)}
    tokens = [d.name for d in first.shape.results[0].dims if isinstance(d, t.Ref) and d.name not in fixed]
    if not tokens or first.attrs or first.shape.where:
        return Blocked("no dimension of tokens to join", first.shape.span)
    sizes = [graph.sizes(n) for n in nodes]
    if any(s[i] != sizes[0][i] for s in sizes for i in s if i not in tokens):
        return Blocked("sizes besides the tokens differ", first.shape.span)
    total = sum(_product(s, tokens) for s in sizes)
    joined = {**sizes[0], **dict.fromkeys(tokens, 1), tokens[0]: total}
    types = {
        o.name: first.types[o.name] if o.name in weights else _resized(first.types[o.name], o, joined)
        for o in first.shape.operands
    }
    return replace(first, nodes=tuple(n.name for n in nodes), sizes=joined, types=types)


def _product(sizes: Mapping[str, int], names: Sequence[str]) -> int:
    total = 1
    for n in names:
        total *= sizes[n]
    return total


def _resized(type_: TensorType, operand: Operand, sizes: Mapping[str, int]) -> TensorType:
    shape = tuple(
        sizes[d.name] if isinstance(d, t.Ref) and d.name in sizes else s
        for d, s in zip(operand.dims, type_.shape, strict=True)
    )
    return replace(type_, shape=shape)


def _names(d: t.Expr) -> list[str]:
    return [d.name] if isinstance(d, t.Ref) else []


# ---- chained -----------------------------------------------------------------------------------


class _Join:
    """Union of indices: `find` names the class of a node's index."""

    def __init__(self) -> None:
        self.parent: dict[tuple[int, str], tuple[int, str]] = {}

    def find(self, x: tuple[int, str]) -> tuple[int, str]:
        root = self.parent.setdefault(x, x)
        while self.parent[root] != root:
            root = self.parent[root]
        return root

    def unite(self, a: tuple[int, str], b: tuple[int, str]) -> None:
        one, two = sorted((self.find(a), self.find(b)))
        self.parent[two] = one


def _chained(graph: Graph, nodes: Sequence[Node]) -> Group | Blocked:
    shapes = [graph.shape(n) for n in nodes]
    names = _in_place(shapes, [_graph_names(n, s) for n, s in zip(nodes, shapes, strict=True)])
    join = _Join()
    blocked = _unify(shapes, names, join)
    if blocked:
        return blocked
    label = _labels(shapes, join)
    made = {r.name for n in nodes for r in n.results}
    inside = made - _needed_outside(graph, nodes)
    renamed = [_rename(i, s, names[i], join, label) for i, s in enumerate(shapes)]
    params: dict[str, Operand] = {}
    results: dict[str, Operand] = {}
    for shape in renamed:
        params |= {o.name: o for o in shape.params if o.name not in made and o.name not in params}
        results |= {o.name: o for o in shape.results if o.name not in inside}
    sizes: dict[str, int] = {}
    attrs: dict[str, object] = {}
    for i, node in enumerate(nodes):
        sizes |= {label[join.find((i, k))]: v for k, v in graph.sizes(node).items()}
        attrs |= {f"{k}_{i}": v for k, v in node.attrs}
    whole = OpShape(
        "+".join(s.name for s in shapes),
        tuple(params.values()),
        tuple(results.values()),
        tuple(a for s in renamed for a in s.attrs),
        tuple(d for s in renamed for d in s.dims),
        tuple(c for s in renamed for c in s.where),
        tuple(b for s in renamed for b in s.body),
        shapes[0].span,
    )
    outer = (*params, *results)
    kinds = {o: graph.tensors[o].kind for o in outer}
    return Group(tuple(n.name for n in nodes), whole, sizes, attrs, {o: graph.type_of(o) for o in outer}, kinds)


def _in_place(shapes: Sequence[OpShape], names: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The same names, where a result that no statement writes has that of the `inout` operand it is."""
    same: dict[str, str] = {}
    renamed = []
    for shape, own in zip(shapes, names, strict=True):
        here = {o: same.get(n, n) for o, n in own.items()}
        written = {a.name for s in shape.body for a in s.targets}
        spare = [here[o.name] for o in shape.params if o.inout]
        silent = [o.name for o in shape.results if o.name not in written]
        for result, operand in zip(silent, spare, strict=False):
            same[own[result]] = here[result] = operand
        renamed.append(here)
    return renamed


def _graph_names(node: Node, shape: OpShape) -> dict[str, str]:
    """Operand names to graph names."""
    names = dict(zip((o.name for o in shape.params), node.args, strict=True))
    return names | dict(zip((o.name for o in shape.results), (r.name for r in node.results), strict=True))


def _unify(shapes: Sequence[OpShape], names: Sequence[Mapping[str, str]], join: _Join) -> Blocked | None:
    """Make axes that meet in a tensor one index."""
    seen: dict[str, tuple[int, Operand]] = {}
    for i, shape in enumerate(shapes):
        for o in shape.operands:
            name = names[i][o.name]
            if name not in seen:
                seen[name] = (i, o)
                continue
            j, other = seen[name]
            for a, b in zip(other.dims, o.dims, strict=True):
                if not (isinstance(a, t.Ref) and isinstance(b, t.Ref)):
                    return Blocked(f"an axis of `{name}` is no index", o.span)
                join.unite((j, a.name), (i, b.name))
    return None


def _labels(shapes: Sequence[OpShape], join: _Join) -> dict[tuple[int, str], str]:
    """A name for every class of indices: the first one's, numbered where two would clash."""
    labels: dict[tuple[int, str], str] = {}
    taken: set[str] = set()
    for i, shape in enumerate(shapes):
        for name in _index_names(shape):
            root = join.find((i, name))
            if root not in labels:
                fresh = name
                while fresh in taken:
                    fresh += "_"
                labels[root] = fresh
                taken.add(fresh)
    return labels


def _index_names(shape: OpShape) -> list[str]:
    dims = [n for o in shape.operands for d in o.dims for n in _names(d)]
    return list(
        dict.fromkeys(
            (
                *dims,
                *(d.name for d in shape.dims),
                *(i for s in shape.body for i in s.indices),
                *(i for a in shape.attrs for i in a.dims),
            )
        )
    )


def _needed_outside(graph: Graph, nodes: Sequence[Node]) -> set[str]:
    """Results of the nodes that others read, that leave the graph, or that a region yields."""
    mine = {n.name for n in nodes}
    used = {a for n in graph.nodes.values() if n.name not in mine for a in n.args}
    carried = {c.yielded for r in regions(graph.body) for c in r.carries} | {
        c.init for r in regions(graph.body) for c in r.carries
    }
    return used | carried | set(graph.outputs)


def _rename(
    number: int, shape: OpShape, names: Mapping[str, str], join: _Join, label: Mapping[tuple[int, str], str]
) -> OpShape:
    outer = set(names)
    attrs = {a.name for a in shape.attrs}

    def index(name: str) -> str:
        root = join.find((number, name))
        return label.get(root, name)

    def tensor(name: str) -> str:
        if name in attrs:
            return f"{name}_{number}"
        return names[name] if name in outer else f"{name}.{number}"  # no tensor of a graph has a dot

    def go(e: t.Expr) -> t.Expr:
        match e:
            case t.Ref(name):
                return t.Ref(f"{name}_{number}" if name in attrs else index(name), span=e.span)
            case t.Ext(name):
                return t.Ext(index(name), span=e.span)
            case t.Access(name, subs):
                return t.Access(tensor(name), tuple(go(s) for s in subs), span=e.span)
            case t.Call(fn, args):
                return t.Call(fn, tuple(go(a) for a in args), span=e.span)
            case t.Bin(op, a, b):
                return t.Bin(op, go(a), go(b), span=e.span)
            case t.Neg(a):
                return t.Neg(go(a), span=e.span)
            case _:
                return e

    def access(a: t.Access) -> t.Access:
        return t.Access(tensor(a.name), tuple(go(s) for s in a.subs), span=a.span)

    def operand(o: Operand) -> Operand:
        within, distinct = o.within and index(o.within), o.distinct and index(o.distinct)
        return replace(o, name=names[o.name], dims=tuple(go(d) for d in o.dims), within=within, distinct=distinct)

    def statement(s: Statement) -> Statement:
        scan = s.scan and (index(s.scan[0]), tensor(s.scan[1]), tensor(s.scan[2]))
        return replace(
            s,
            targets=tuple(access(a) for a in s.targets),
            over=tuple(index(i) for i in s.over),
            expr=go(s.expr),
            scan=scan,
        )

    return OpShape(
        shape.name,
        tuple(operand(o) for o in shape.params),
        tuple(operand(o) for o in shape.results),
        tuple(
            replace(
                a, name=f"{a.name}_{number}", dims=tuple(index(i) for i in a.dims), default=a.default and go(a.default)
            )
            for a in shape.attrs
        ),
        tuple(t.DimDef(index(d.name), go(d.expr), span=d.span) for d in shape.dims),
        tuple(tuple(t.Rel(r.op, go(r.a), go(r.b), span=r.span) for r in c) for c in shape.where),
        tuple(statement(s) for s in shape.body),
        shape.span,
    )
