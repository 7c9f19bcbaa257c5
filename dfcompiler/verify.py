"""No pass can lie: graphs before and after a pass, run on the same inputs; groups run as one op.

Models are far too large for that, so `shrink` maps every size of a graph to a small one such that the
graph stays valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np

from dfcompiler.compose import Group, group
from dfcompiler.devices import trace_device
from dfcompiler.execution import dequantised, random_inputs, run_graph, trace
from dfcompiler.graph import AttrValue, Graph, Item, Node, Region, Tensor, regions
from dfcompiler.opshape import OpShape, accesses, walk
from dfcompiler.scalars import Floats
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

    A declared tensor has the same value in both. Where the second graph has further tensors that are its scales and
    zero points by name, its codes are what the second graph takes, and what they stand for the first one. Errors are
    relative to the largest magnitude of the tensor. Run big graphs through `shrink` first.
    """
    inputs = random_inputs(before, seed)
    others = random_inputs(after, seed)
    for name, value in others.items():
        if name in inputs and inputs[name].shape != value.shape:
            return Mismatch(name, f"is {list(inputs[name].shape)} before and {list(value.shape)} after")
    if len(before.outputs) != len(after.outputs):
        return Mismatch(after.name, f"has {len(before.outputs)} outputs before and {len(after.outputs)} after")
    added = {name: value for name, value in others.items() if name not in inputs}
    shared = {name: dequantised(name, {**added, name: others[name]}) for name in inputs if name in others}
    one, two = run_graph(before, {**inputs, **shared}), run_graph(after, others)
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
    values = trace_device(graph, seed) if graph.mesh else trace(graph, random_inputs(graph, seed))
    for names in dict.fromkeys(a for a in asked if len(a) > 1):
        joined = group(graph, names, guards=True)
        if isinstance(joined, Blocked):
            return Mismatch(names[0], f"{', '.join(names)} cannot run as one op: {joined.why}")
        found = check_group(graph, joined, values, rtol)
        if found:
            return found
    return None


def check_group(graph: Graph, joined: Group, values: Mapping[str, Floats], rtol: float = 1e-9) -> Mismatch | None:
    """One group against `values`, which the graph's tensors have when its nodes run one by one."""
    nodes = [graph.nodes[n] for n in joined.nodes]
    operands = {p.name: operand_value(joined, p.name, values) for p in joined.shape.params}
    latest = {n: values[_latest(nodes, graph, n)] for parts in joined.parts.values() for n in parts.tensors}
    expected = {o.name: operand_value(joined, o.name, latest) for o in joined.shape.results}
    found = run_op(joined.shape, joined.sizes, joined.attrs, operands)
    for name, value in expected.items():
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


def operand_value(joined: Group, operand: str, values: Mapping[str, Floats]) -> Floats:
    """The value of a group's operand: that of its tensor, or of several one after another."""
    parts, shape = joined.parts[operand], joined.types[operand].shape
    before, after = shape[: parts.before], shape[len(shape) - parts.after :]
    pieces = [values[n].reshape(*before, -1, *after) for n in parts.tensors]
    return np.concatenate(pieces, axis=parts.before).reshape(shape)


# ---- small sizes -------------------------------------------------------------------------------

Axis = tuple[str, int]  # of a tensor; axis -1 is the dimension that an index tensor points into


@dataclass(frozen=True)
class Tie:
    """An axis and the one that numbers its groups, with the sizes that they have in the large graph."""

    whole: Axis
    groups: Axis
    known: int
    known_groups: int


_LAYERS = 2  # enough for a value to be carried
_SPARE = 3  # cached tokens beyond those in use; width of a window


def small(size: int) -> int:
    """A small stand-in: the same up to 4, then even, and larger for every further binary digit."""
    return size if size <= 4 else max(4, 2 * size.bit_length() - 4)


def few(region: Region) -> tuple[int, ...]:
    """Enough layers of a region for a value to be carried, on each stage of devices that has some."""
    return tuple(min(n, _LAYERS) for n in region.runs or (region.count,))


def shrink(
    graph: Graph, multiples: Mapping[Axis, int] | None = None, layers: Sequence[tuple[int, ...]] | None = None
) -> Graph:
    """The graph with small sizes that fit together, offers kept and places too; regions run a `few` times, or as often
    as `layers` says of each in order.

    A size depends on the one it had, so the graphs before and after a pass shrink alike. Axes that an
    op calls by one index keep one size; `past` tokens and new ones still fit the cache; an extent that a
    `dim` divides stays a multiple; an attribute that gives an extent follows it. `multiples` are numbers that sizes
    of some axes are multiples of, such as the devices that share them.
    """
    return _Shrink(graph, multiples or {}, layers or [few(r) for r in regions(graph.body)]).graph()


class _Shrink:
    def __init__(self, source: Graph, multiples: Mapping[Axis, int], layers: Sequence[tuple[int, ...]]) -> None:
        self.source = source
        self.layers = iter(layers)
        self.steps: dict[Axis, int] = {}  # by root
        self.parent: dict[Axis, Axis] = {}
        self.fixed: dict[Axis, int] = {}  # sizes by root: set once all axes are united
        self.shapes = {n.name: source.shape(n) for n in source.nodes.values()}
        self.indices = {n.name: self.index_axes(n) for n in source.nodes.values()}
        self.unite_carries()
        for axis, step in multiples.items():
            root = self.find(axis)
            self.steps[root] = lcm(step, self.steps.get(root, 1))
        for node in source.nodes.values():
            self.divide(node)
        self.settle([tie for node in source.nodes.values() for tie in self.ties(node)])
        self.sequences = {(name, *ends) for shape in self.shapes.values() for name, ends in _differences(shape)}
        rooms: dict[Axis, int] = {}
        for node in source.nodes.values():
            for root, room in (*self.reach(node), *self.rows(node)):
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
        step = self.steps.get(root, 1)
        return -(-self.fixed[root] // step) * step

    def divide(self, node: Node) -> None:
        """The extent that `dim i = |e| // 2` divides, or an attribute, stays a multiple."""
        axes = self.indices[node.name]
        for d in self.shapes[node.name].dims:
            match d.expr:
                case t.Bin("//", t.Ext(name), t.Ext(by)) if by not in axes:  # as many groups as an attribute says
                    known = self.source.sizes(node)
                    self.fixed[self.find(axes[name])] = small(known[by]) * small(known[name] // known[by])
                case t.Bin("//", t.Ext(name), t.Num(by)):
                    root = self.find(axes[name])
                    self.steps[root] = lcm(int(by), self.steps.get(root, 1))

    def ties(self, node: Node) -> Iterator[Tie]:
        """What `dim group = |k| // |g|` divides into groups, and their number."""
        axes = self.indices[node.name]
        for d in self.shapes[node.name].dims:
            match d.expr:
                case t.Bin("//", t.Ext(name), t.Ext(by)) if by in axes:
                    known = self.source.sizes(node)
                    yield Tie(self.find(axes[name]), self.find(axes[by]), known[name], known[by])

    def settle(self, ties: Sequence[Tie]) -> None:
        """Extents stay multiples of the numbers of their groups, also where devices share both: a group is a whole
        row, a single element or a pair, whatever `|k|` is. Groups may be grouped again, so until nothing changes."""
        settled: tuple[dict[Axis, int], dict[Axis, int]] | None = None
        while settled != (self.steps, self.fixed):
            settled = dict(self.steps), dict(self.fixed)
            for tie in ties:
                step = self.steps.get(tie.groups, 1)
                apart = step * (2 if step > 1 and tie.known_groups < tie.known else 1)
                self.steps[tie.whole] = lcm(apart, self.steps.get(tie.whole, 1))
                whole = self.size(tie.whole)
                parts = {1: 1, tie.known: whole}.get(tie.known_groups, whole // 2)
                self.fixed[tie.groups] = whole if parts % step or whole % parts else parts

    def reach(self, node: Node) -> Iterator[tuple[Axis, int]]:
        """The cache axis of a node, and its size: room for the tokens that are there and those that come."""
        axes, attrs = self.indices[node.name], dict(node.attrs)
        for name, whole, new in self.sequences:
            if name in attrs and whole in axes and new in axes:
                sizes = self.source.sizes(node)
                spare = sizes[whole] - sizes[new] - _longest(attrs[name])
                past = _longest(self.attribute(node, name, attrs[name]))
                yield self.find(axes[whole]), self.size(axes[new]) + past + min(spare, _SPARE)

    def rows(self, node: Node) -> Iterator[tuple[Axis, int]]:
        """An axis that is read at an index shifted by attributes, as a table of positions is, and room for it."""
        shape, axes, attrs = self.shapes[node.name], self.indices[node.name], dict(node.attrs)
        behind = dict(zip((p.name for p in shape.params), node.args, strict=True))
        for a in (a for s in shape.body for a in accesses(s.expr) if a.name in behind):
            for axis, sub in enumerate(a.subs):
                terms = [x.name for x in _sum(sub) if isinstance(x, t.Ref | t.Access)]
                if len(terms) > 1 and terms[0] in axes and set(terms[1:]) <= {x.name for x in shape.attrs}:
                    shifts = (self.attribute(node, n, attrs[n]) for n in terms[1:] if n in attrs)
                    yield self.find((behind[a.name], axis)), self.size(axes[terms[0]]) + sum(map(_longest, shifts))

    def attribute(self, node: Node, name: str, value: AttrValue) -> AttrValue:
        """An attribute that fits the small sizes."""
        shape, axes = self.shapes[node.name], self.indices[node.name]
        declared = next(a for a in shape.attrs if a.name == name)
        if isinstance(value, tuple):
            count = self.size(axes[declared.dims[0]])
            value = tuple(value[round(i)] for i in np.linspace(0, len(value) - 1, count))
        gives = next((d.name for d in shape.dims if _given(d.expr) == t.Ref(name)), None)
        if gives is not None and not isinstance(value, tuple):
            return self.size(axes[gives]) if gives in axes else small(int(value))
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
                return self.node(item)
            case Region():
                carries = tuple(
                    replace(c, inner=self.tensor(c.inner), result=self.tensor(c.result)) for c in item.carries
                )
                runs = next(self.layers)
                return replace(
                    item,
                    count=sum(runs),
                    carries=carries,
                    body=self.body(item.body),
                    runs=runs if item.runs else (),
                    between=tuple(map(self.node, item.between)),
                )

    def node(self, node: Node) -> Node:
        attrs = tuple((name, self.attribute(node, name, value)) for name, value in node.attrs)
        return replace(node, results=tuple(map(self.tensor, node.results)), attrs=attrs)

    def tensor(self, x: Tensor) -> Tensor:
        shape = tuple(self.size((x.name, axis)) for axis in range(len(x.type.shape)))
        within = None if x.type.within is None else self.size((x.name, -1))
        return replace(x, type=replace(x.type, shape=shape, within=within))


def _sum(e: t.Expr) -> Iterator[t.Expr]:
    """The summands of an expression."""
    match e:
        case t.Bin("+", a, b):
            yield from (*_sum(a), *_sum(b))
        case _:
            yield e


def _given(e: t.Expr) -> t.Expr:
    """What gives an extent, also where it is capped: `top` of `minimum(top, |t|)`."""
    match e:
        case t.Call("minimum", (wanted, t.Ext())):
            return wanted
        case _:
            return e


def _longest(value: AttrValue) -> int:
    return max(value) if isinstance(value, tuple) else int(value)


def _differences(shape: OpShape) -> Iterator[tuple[str, tuple[str, str]]]:
    """Attributes that are `|t| - |s|` by default: the extent that is there before what comes."""
    for a in shape.attrs:
        match a.default:
            case t.Bin("-", t.Ext(whole), t.Ext(new)):
                yield a.name, (whole, new)
