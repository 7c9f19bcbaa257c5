"""No pass can lie: graphs before and after a pass, run on the same inputs; groups run as one op.

Models are far too large for that, so `shrink` maps every size of a graph to a small one such that the
graph stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dfcompiler.compose import Group, group
from dfcompiler.execution import random_inputs, run_graph, trace
from dfcompiler.graph import AttrValue, Graph, Item, Node, Region, Tensor, regions
from dfcompiler.masks import Floats
from dfcompiler.opshape import OpShape, walk
from dfcompiler.semantics import run_op
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Mismatch:
    """Where two graphs differ: a tensor, and the worst element or the reason."""

    name: str
    why: str
    place: tuple[int, ...] = ()
    before: float = 0.0
    after: float = 0.0

    def __str__(self) -> str:
        return f"`{self.name}`: {self.why}"


def equivalent(before: Graph, after: Graph, seed: int = 0, rtol: float = 1e-9) -> Mismatch | None:
    """None where both graphs give the same outputs (by position) and states (by name) for random inputs.

    Errors are relative to the largest magnitude of the tensor. Run big graphs through `shrink` first.
    """
    inputs = random_inputs(before, seed)
    others = random_inputs(after, seed)
    for name, value in others.items():
        if name in inputs and inputs[name].shape != value.shape:
            return Mismatch(name, f"is {list(inputs[name].shape)} before and {list(value.shape)} after")
    if len(before.outputs) != len(after.outputs):
        return Mismatch(after.name, f"has {len(before.outputs)} outputs before and {len(after.outputs)} after")
    one, two = run_graph(before, inputs), run_graph(after, {**others, **inputs})
    pairs = [*zip(before.outputs, after.outputs, strict=True), *((s, s) for s in one if s not in before.outputs)]
    for old, new in pairs:
        if new not in two:
            return Mismatch(new, "is no state after the pass")
        found = compare(new, one[old], two[new], rtol)
        if found:
            return found
    return None


def compare(name: str, before: Floats, after: Floats, rtol: float) -> Mismatch | None:
    """None where two arrays agree to `rtol` of their largest magnitude; what is not a number agrees with itself."""
    if before.shape != after.shape:
        return Mismatch(name, f"has the shape {list(before.shape)} before and {list(after.shape)} after")
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(before - after))
    gap = np.where(np.isnan(gap), np.inf, gap)
    finite = np.abs(before[np.isfinite(before)])
    if not gap.size or gap.max() <= rtol * finite.max(initial=0.0):
        return None
    place = tuple(int(i) for i in np.unravel_index(int(gap.argmax()), gap.shape))
    a, b = float(before[place]), float(after[place])
    return Mismatch(name, f"element {list(place)} is {a!r} before and {b!r} after", place, a, b)


# ---- groups ------------------------------------------------------------------------------------


def check_groups(graph: Graph, seed: int = 0, rtol: float = 1e-9) -> Mismatch | None:
    """None where every offered and every placed group, run as one op, equals its nodes run one by one."""
    asked = [*(o.nodes for o in graph.offers), *(p.nodes for p in graph.places)]
    values = trace(graph, random_inputs(graph, seed))
    for names in dict.fromkeys(a for a in asked if len(a) > 1):
        joined = group(graph, names)
        if isinstance(joined, Blocked):
            return Mismatch(names[0], f"{', '.join(names)} cannot run as one op: {joined.why}")
        found = check_group(graph, joined, values, rtol)
        if found:
            return found
    return None


def check_group(graph: Graph, joined: Group, values: Mapping[str, Floats], rtol: float = 1e-9) -> Mismatch | None:
    """One group against `values`, which the graph's tensors have when its nodes run one by one."""
    nodes = [graph.nodes[n] for n in joined.nodes]
    if joined.shape == graph.shape(nodes[0]):
        operands = {p.name: _tokens(graph, joined, i, values) for i, p in enumerate(joined.shape.params)}
        latest = {joined.shape.results[0].name: _results(joined, nodes, values)}
    else:
        operands = {p.name: values[p.name] for p in joined.shape.params}
        latest = {o.name: values[_latest(nodes, graph, o.name)] for o in joined.shape.results}
    found = run_op(joined.shape, joined.sizes, joined.attrs, operands)
    for name, value in latest.items():
        mismatch = compare(name, value, found[name], rtol)
        if mismatch:
            return mismatch
    return None


def _latest(nodes: Sequence[Node], graph: Graph, name: str) -> str:
    """The last version of a tensor that nodes of a group update in place."""
    for node in nodes:
        for p, arg in zip(graph.shape(node).params, node.args, strict=True):
            if p.inout and arg == name:
                name = node.name
    return name


def _tokens(graph: Graph, joined: Group, position: int, values: Mapping[str, Floats]) -> Floats:
    """An operand of nodes that run side by side: shared, or one after the other along its first axis."""
    shape = joined.types[joined.shape.params[position].name].shape
    given = [graph.nodes[n].args[position] for n in joined.nodes]
    if len(set(given)) == 1 and values[given[0]].shape == shape:
        return values[given[0]]
    return np.concatenate([values[a].reshape(-1, *shape[1:]) for a in given])


def _results(joined: Group, nodes: Sequence[Node], values: Mapping[str, Floats]) -> Floats:
    shape = joined.types[joined.shape.results[0].name].shape
    return np.concatenate([values[n.name].reshape(-1, *shape[1:]) for n in nodes])


# ---- small sizes -------------------------------------------------------------------------------

Axis = tuple[str, int]  # of a tensor; axis -1 is the dimension that an index tensor points into
_LAYERS = 2  # enough for a value to be carried
_SPARE = 3  # cached tokens beyond those in use; width of a window


def small(size: int) -> int:
    """A small stand-in: the same up to 4, then even, and larger for every further binary digit."""
    return size if size <= 4 else max(4, 2 * size.bit_length() - 4)


def shrink(graph: Graph) -> Graph:
    """The graph with small sizes that fit together, offers kept and places too; regions run twice.

    A size depends on the one it had, so the graphs before and after a pass shrink alike. Axes that an
    op calls by one index keep one size; `past` tokens and new ones still fit the cache; an extent that a
    `dim` divides stays a multiple; an attribute that gives an extent follows it.
    """
    return _Shrink(graph).graph()


class _Shrink:
    def __init__(self, source: Graph) -> None:
        self.source = source
        self.parent: dict[Axis, Axis] = {}
        self.fixed: dict[Axis, int] = {}  # sizes by root: set once all axes are united
        self.shapes = {n.name: source.shape(n) for n in source.nodes.values()}
        self.indices = {n.name: self.index_axes(n) for n in source.nodes.values()}
        self.unite_carries()
        for node in source.nodes.values():
            self.divide(node)
        self.sequences = {(name, *ends) for shape in self.shapes.values() for name, ends in _differences(shape)}
        rooms: dict[Axis, int] = {}
        for node in source.nodes.values():
            for root, room in self.reach(node):
                rooms[root] = max(room, rooms.get(root, 0))
        self.fixed |= rooms

    # ---- axes that are one

    def find(self, axis: Axis) -> Axis:
        while (above := self.parent.setdefault(axis, axis)) != axis:
            axis = above
        return axis

    def unite(self, a: Axis, b: Axis) -> None:
        self.parent[self.find(a)] = self.find(b)

    def index_axes(self, node: Node) -> dict[str, Axis]:
        """An axis for every index of a node's operands; all axes of one index are united."""
        shape, found = self.shapes[node.name], dict[str, Axis]()
        names = (*node.args, *(r.name for r in node.results))
        for operand, name in zip(shape.operands, names, strict=True):
            within = [(-1, t.Ref(operand.within))] if operand.within else []
            for axis, d in (*enumerate(operand.dims), *within):
                if isinstance(d, t.Ref | t.Ext):
                    self.unite((name, axis), found.setdefault(d.name, (name, axis)))
        for define in shape.dims:
            if isinstance(define.expr, t.Ext) and {define.name, define.expr.name} <= found.keys():
                self.unite(found[define.name], found[define.expr.name])
        return found

    def unite_carries(self) -> None:
        for c in (c for region in regions(self.source.body) for c in region.carries):
            for axis in range(-1, len(c.inner.type.shape)):
                for other in (c.init, c.yielded, c.result.name):
                    self.unite((c.inner.name, axis), (other, axis))

    # ---- sizes that depend on others

    def size(self, axis: Axis) -> int:
        root = self.find(axis)
        if root not in self.fixed:
            kind = self.source.type_of(root[0])
            self.fixed[root] = small(kind.within or 1 if root[1] < 0 else kind.shape[root[1]])
        return self.fixed[root]

    def divide(self, node: Node) -> None:
        """The extent that `dim group = |k| // |g|` or `dim i = |e| // 2` divides stays a multiple."""
        axes = self.indices[node.name]
        for d in self.shapes[node.name].dims:
            match d.expr:
                case t.Bin("//", t.Ext(name), t.Ext(by)):
                    self.fixed[self.find(axes[name])] = 2 * self.size(axes[by])
                case t.Bin("//", t.Ext(name), t.Num(by)):
                    whole = self.size(axes[name])
                    self.fixed[self.find(axes[name])] = whole + -whole % int(by)

    def reach(self, node: Node) -> Iterator[tuple[Axis, int]]:
        """The cache axis of a node, and its size: room for the tokens that are there and those that come."""
        axes, attrs = self.indices[node.name], dict(node.attrs)
        for name, whole, new in self.sequences:
            if name in attrs and whole in axes and new in axes:
                sizes = self.source.sizes(node)
                spare = sizes[whole] - sizes[new] - _longest(attrs[name])
                past = _longest(self.attribute(node, name, attrs[name]))
                yield self.find(axes[whole]), self.size(axes[new]) + past + min(spare, _SPARE)

    def attribute(self, node: Node, name: str, value: AttrValue) -> AttrValue:
        """An attribute that fits the small sizes."""
        shape, axes = self.shapes[node.name], self.indices[node.name]
        declared = next(a for a in shape.attrs if a.name == name)
        if isinstance(value, tuple):
            count = self.size(axes[declared.dims[0]])
            value = tuple(value[round(i)] for i in np.linspace(0, len(value) - 1, count))
        gives = next((d.name for d in shape.dims if d.expr == t.Ref(name)), None)
        if gives in axes:
            return self.size(axes[gives])
        if any(name == known for known, _, _ in self.sequences):
            return tuple(map(small, value)) if isinstance(value, tuple) else small(int(value))
        if isinstance(declared.default, t.Ext):  # how many of an extent count, such as `fresh`
            extent = self.size(axes[declared.default.name])
            return tuple(min(v, extent) for v in value) if isinstance(value, tuple) else min(value, extent)
        if isinstance(value, int) and any(
            x == t.Ref(name) for c in shape.where for r in c for x in (*walk(r.a), *walk(r.b))
        ):
            return min(value, _SPARE)
        return value

    # ---- the small graph

    def graph(self) -> Graph:
        return replace(self.source, body=self.body(self.source.body))

    def body(self, body: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(self.item(i) for i in body)

    def item(self, item: Item) -> Item:
        match item:
            case Tensor():
                return self.tensor(item)
            case Node():
                attrs = tuple((name, self.attribute(item, name, value)) for name, value in item.attrs)
                return replace(item, results=tuple(map(self.tensor, item.results)), attrs=attrs)
            case Region():
                carries = tuple(
                    replace(c, inner=self.tensor(c.inner), result=self.tensor(c.result)) for c in item.carries
                )
                return replace(item, count=min(item.count, _LAYERS), carries=carries, body=self.body(item.body))

    def tensor(self, x: Tensor) -> Tensor:
        shape = tuple(self.size((x.name, axis)) for axis in range(len(x.type.shape)))
        within = None if x.type.within is None else self.size((x.name, -1))
        return replace(x, type=replace(x.type, shape=shape, within=within))


def _longest(value: AttrValue) -> int:
    return max(value) if isinstance(value, tuple) else int(value)


def _differences(shape: OpShape) -> Iterator[tuple[str, tuple[str, str]]]:
    """Attributes that are `|t| - |s|` by default: the extent that is there before what comes."""
    for a in shape.attrs:
        match a.default:
            case t.Bin("-", t.Ext(whole), t.Ext(new)):
                yield a.name, (whole, new)
