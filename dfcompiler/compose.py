"""Several ops as one op: the same notation, so everything that is derived of an op holds for a group.

Operands are named as the graph names their tensors, so a tensor made and used inside the group is a
local of the joined op. Axes that meet through a tensor are one index. What cannot be joined is an
answer with a reason, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from dfcompiler.collectives import exchanged
from dfcompiler.devices import dealers, own_op
from dfcompiler.diagnostics import Span
from dfcompiler.graph import Graph, Node, Offer, TensorType, regions
from dfcompiler.opshape import Operand, OpShape
from dfcompiler.renaming import index_names, rename
from dfcompiler.siblings import Joined, Parts, siblings, side_by_side
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
    parts: Mapping[str, Parts]  # the tensors of the graph that an operand is, by operand name


@dataclass(frozen=True)
class _Members:
    """Nodes to be joined, siblings as one of them, in a graph that knows all of them."""

    nodes: Sequence[Node]
    graph: Graph
    parts: Mapping[str, Parts]
    needed: frozenset[str]  # results that others read
    guards: bool  # whether rows that other devices work on are left out


def single(graph: Graph, node: Node) -> Group:
    """One node as a group of its own."""
    return _alone((node.name,), _Members((node,), graph, {}, frozenset(), False))


def group(graph: Graph, names: Sequence[str], guards: bool = False) -> Group | Blocked:
    """The nodes as one op, on one device as `devices.own_op` says, or the reason why they cannot be.

    Siblings, nodes of one op that share operands, are joined side by side where nothing inside tells them
    apart: parts of a step on the same weights, or projections of the same activations. Others are chained
    through the tensors between them.
    """
    nodes = [n for n in graph.nodes.values() if n.name in set(names)]
    crossing = next((n for n in nodes if exchanged(n)), None)
    if crossing:
        return Blocked(f"`{crossing.name}` is an exchange between devices", crossing.op.span)
    dealt = next((a for n in nodes for a in dealers(graph, n) if a in {r.name for m in nodes for r in m.results}), None)
    if dealt:
        return Blocked(f"`{dealt}` deals rows out to devices", nodes[0].op.span)
    outside = _detour(graph, {n.name for n in nodes})
    if outside:
        return Blocked(f"`{outside}` lies between them and is not one of them", nodes[0].op.span)
    members = _members(graph, nodes, guards)
    mine = tuple(n.name for n in nodes)
    return _alone(mine, members) if len(members.nodes) == 1 else _chained(mine, members)


def offer(
    graph: Graph, by: str, groups: Iterable[Iterable[str]], note: Callable[[str, Span | None], None] | None = None
) -> Graph:
    """The graph with an offer for every group that can be one op, its nodes in program order; `note` hears why the
    others cannot."""
    place = {n: i for i, n in enumerate(graph.nodes)}
    offers = []
    for names in dict.fromkeys(tuple(sorted(set(g), key=place.__getitem__)) for g in groups):
        joined = group(graph, names)
        if isinstance(joined, Group):
            offers.append(Offer(by, names))
        elif note:
            note(f"{', '.join(names)} stay apart: {joined.why}", joined.span)
    return graph.offer(*offers)


def _members(graph: Graph, nodes: Sequence[Node], guards: bool) -> _Members:
    needed = _needed_outside(graph, nodes)
    found: list[Node] = []
    parts: dict[str, Parts] = {}
    for mates in siblings(nodes):
        joined = side_by_side(graph, mates) if len(mates) > 1 else None
        if isinstance(joined, Joined):
            graph = replace(graph, body=(*graph.body, *joined.operands, joined.node))
            parts |= joined.parts
            needed |= {r.name for r in joined.node.results}
        found += [joined.node] if isinstance(joined, Joined) else mates
    place = {n.name: i for i, n in enumerate(nodes)}
    found.sort(key=lambda n: place[parts[n.name].tensors[0] if n.name in parts else n.name])
    return _Members(found, graph, parts, frozenset(needed), guards)


def _detour(graph: Graph, mine: set[str]) -> str | None:
    """A node outside that needs one inside and is needed by another: then the group cannot run as one."""
    after = set().union(*(nx.descendants(graph.flow, n) for n in mine)) - mine
    before = set().union(*(nx.ancestors(graph.flow, n) for n in mine)) - mine
    return min(after & before, default=None)


def _needed_outside(graph: Graph, nodes: Sequence[Node]) -> set[str]:
    """Tensors that nodes other than these read, that leave the graph, or that a region takes or yields."""
    mine = {n.name for n in nodes}
    used = {a for n in graph.nodes.values() if n.name not in mine for a in n.args}
    carried = {x for r in regions(graph.body) for c in r.carries for x in (c.yielded, c.init)}
    return used | carried | set(graph.outputs)


def _alone(names: tuple[str, ...], members: _Members) -> Group:
    (node,), graph = members.nodes, members.graph
    shape, attrs = own_op(graph, node, members.guards)
    behind = dict(zip((o.name for o in shape.operands), (*node.args, *(r.name for r in node.results)), strict=True))
    return Group(
        names,
        shape,
        graph.sizes(node),
        attrs,
        {o: graph.type_of(n) for o, n in behind.items()},
        {o: graph.tensors[n].kind for o, n in behind.items()},
        {o: members.parts.get(n, Parts((n,))) for o, n in behind.items()},
    )


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


def _chained(mine: tuple[str, ...], members: _Members) -> Group | Blocked:
    nodes, graph = members.nodes, members.graph
    own = [own_op(graph, n, members.guards) for n in nodes]
    shapes = [shape for shape, _ in own]
    names = _in_place(shapes, [_graph_names(n, s) for n, s in zip(nodes, shapes, strict=True)])
    join = _Join()
    blocked = _unify(shapes, names, join)
    if blocked:
        return blocked
    label = _labels(shapes, join)
    made = {r.name for n in nodes for r in n.results}
    inside = made - members.needed
    renamed = [_in_words_of_the_graph(i, s, names[i], join, label) for i, s in enumerate(shapes)]
    params: dict[str, Operand] = {}
    results: dict[str, Operand] = {}
    for shape in renamed:
        params |= {o.name: o for o in shape.params if o.name not in made and o.name not in params}
        results |= {o.name: o for o in shape.results if o.name not in inside}
    sizes: dict[str, int] = {}
    attrs: dict[str, object] = {}
    for i, node in enumerate(nodes):
        sizes |= {label[join.find((i, k))]: v for k, v in graph.sizes(node).items()}
        attrs |= {f"{k}_{i}": v for k, v in own[i][1].items()}
    whole = OpShape(
        "+".join(s.name for s in shapes),
        tuple(params.values()),
        tuple(results.values()),
        tuple(a for s in renamed for a in s.attrs),
        tuple(d for s in renamed for d in s.dims),
        tuple(c for s in renamed for c in s.where),
        tuple(b for s in renamed for b in s.body),
        shapes[0].span,
        tuple(
            replace(o, skew=graph.type_of(o.name).skew)
            for s in renamed
            for o in s.results
            if o.name in inside and o.within
        ),
    )
    outer = (*params, *results)
    types = {o: graph.type_of(o) for o in outer}
    kinds = {o: graph.tensors[o].kind for o in outer}
    return Group(mine, whole, sizes, attrs, types, kinds, {o: members.parts.get(o, Parts((o,))) for o in outer})


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
                if isinstance(a, t.Num) and a == b:
                    continue
                if not (isinstance(a, t.Ref) and isinstance(b, t.Ref)):
                    return Blocked(f"an axis of `{name}` is no index", o.span)
                join.unite((j, a.name), (i, b.name))
    for i, shape in enumerate(shapes):
        roots: dict[tuple[int, str], str] = {}
        for index in index_names(shape):
            same = roots.setdefault(join.find((i, index)), index)
            if same != index:
                return Blocked(f"`{same}` and `{index}` would be one index", shape.span)
    return None


def _labels(shapes: Sequence[OpShape], join: _Join) -> dict[tuple[int, str], str]:
    """A name for every class of indices: the first one's, numbered where two would clash."""
    labels: dict[tuple[int, str], str] = {}
    taken: set[str] = set()
    for i, shape in enumerate(shapes):
        for name in index_names(shape):
            root = join.find((i, name))
            if root not in labels:
                fresh = name
                while fresh in taken:
                    fresh += "_"
                labels[root] = fresh
                taken.add(fresh)
    return labels


def _in_words_of_the_graph(
    number: int, shape: OpShape, names: Mapping[str, str], join: _Join, label: Mapping[tuple[int, str], str]
) -> OpShape:
    return rename(
        shape,
        index=lambda name: label.get(join.find((number, name)), name),
        tensor=lambda name: names.get(name, f"{name}.{number}"),  # no tensor of a graph has a dot
        attr=lambda name: f"{name}_{number}",
    )
