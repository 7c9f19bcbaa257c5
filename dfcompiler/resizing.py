"""A graph and what a pass made of it for many devices, both at small sizes that fit, run and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dfcompiler.devices import layouts, run_devices
from dfcompiler.diagnostics import Diag
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import AttrValue, Graph, Item, Node, Region, Tensor, regions, seen_shapes, split_ways
from dfcompiler.meshes import own_result
from dfcompiler.opshape import bind, extents, operand_axes
from dfcompiler.text import tree as t
from dfcompiler.verify import Mismatch, compare, few, shrink


def equivalent_on_devices(before: Graph, after: Graph, seed: int = 0, rtol: float = 1e-9) -> Mismatch | None:
    """None where `after` on simulated devices gives what `before` gives, on small random shapes.

    Outputs are compared by position, states by name, put together from all devices. Raises Diag `bad-layout` where a
    value is used in another layout than it has, and `unverified` where `before` was split over devices already.
    """
    if before.mesh:
        raise Diag("unverified", "a graph that is split over devices cannot be compared with another such graph")
    whole, parts = shrink_alike(before, after)
    inputs = random_inputs(whole, seed)
    one, two = run_graph(whole, inputs), run_devices(parts, inputs)
    pairs = [*zip(whole.outputs, parts.outputs, strict=True), *((s, s) for s in one if s not in whole.outputs)]
    return next((found for a, b in pairs if (found := compare(b, one[a], two[b], rtol))), None)


def shrink_alike(before: Graph, after: Graph) -> tuple[Graph, Graph]:
    """Both graphs at small sizes, every size that devices share being a multiple of their number."""
    known = before.tensors
    lay = {name: axes for name, axes in layouts(after).items() if name in known}
    multiples = {(name, k): after.ways(axes) for name, spread in lay.items() for k, axes in enumerate(spread)}
    small = shrink(before, multiples, [few(r) for r in regions(after.body)])
    return small, _Resizing(before, small, after, _slices(small, after), few).graph()


def resized(before: Graph, other: Graph, after: Graph) -> Graph:
    """What passes made of `before`, with the sizes of `other`: the same program at other sizes, equally many layers.

    What the passes decided, and offered, stays as it was decided for the sizes of `before`.
    """
    return _Resizing(before, other, after, _slices(other, after), lambda r: r.runs or (r.count,)).graph()


def _slices(whole: Graph, after: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes that the tensors of `whole` have on one device, where they lie as in `after`."""
    return {
        name: tuple(n // after.ways(axes) for n, axes in zip(whole.type_of(name).shape, spread, strict=True))
        for name, spread in layouts(after).items()
        if name in whole.tensors
    }


@dataclass
class _Resizing:
    """Walks a graph with new sizes of declared tensors; all others follow."""

    before: Graph
    small: Graph
    source: Graph
    shapes: Mapping[str, tuple[int, ...]]
    layers: Callable[[Region], tuple[int, ...]]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def graph(self) -> Graph:
        return replace(self.source, body=self.body(self.source.body))

    def body(self, body: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(self.item(i) for i in body)

    def item(self, item: Item) -> Item:
        match item:
            case Tensor():
                return self.known(
                    replace(item, type=replace(self.small.type_of(item.name), shape=self.shapes[item.name]))
                )
            case Node():
                return self.node(item)
            case Region():
                carries = [replace(c, inner=self.like(c.inner, c.init)) for c in item.carries]
                body = self.body(item.body)
                between = tuple(map(self.node, item.between))
                done = tuple(replace(c, result=self.like(c.result, c.yielded)) for c in carries)
                runs = self.layers(item)
                return replace(
                    item,
                    count=sum(runs),
                    carries=done,
                    body=body,
                    runs=runs if item.runs else (),
                    between=between,
                )

    def known(self, x: Tensor) -> Tensor:
        self.tensors[x.name] = x
        return x

    def like(self, x: Tensor, other: str) -> Tensor:
        return self.known(replace(x, type=self.tensors[other].type))

    def node(self, node: Node) -> Node:
        over = dict(node.over)
        places = self.places(node)
        attrs = tuple((name, places.get(name) or self.attribute(node, name, value)) for name, value in node.attrs)
        mesh = dict(self.source.mesh)
        shapes = seen_shapes(node.op, [self.tensors[a].type.shape for a in node.args], over, mesh)
        shape = bind(node.op, tuple(map(len, shapes)))
        sizes = extents(shape, shapes, dict(attrs), split_ways(node.op, over, mesh))
        results = []
        for r, o, p in zip(node.results, shape.results, node.op.results, strict=True):
            within = r.type.within and self.tensors[node.args[0]].type.within  # of what is only moved
            if r.type.within and o.within:
                within = sizes[o.within] * self.source.ways(over.get(o.within, ()))
            axes = operand_axes(own_result(o, p, over), sizes)
            results.append(self.known(replace(r, type=replace(r.type, shape=axes, within=within))))
        return replace(node, results=tuple(results), attrs=attrs)

    def places(self, node: Node) -> dict[str, int]:
        """Attributes that say how many places there are in all for an index tensor to point to."""
        extents_ = {d.name: d.expr for d in node.op.body if isinstance(d, t.DimDef)}
        found = {}
        for p, arg in zip(node.op.params, node.args, strict=True):
            what, within = extents_.get(p.type.within.name if p.type.within else ""), self.tensors[arg].type.within
            if isinstance(what, t.Ref) and within is not None:
                found[what.name] = within
        return found

    def attribute(self, node: Node, name: str, value: AttrValue) -> AttrValue:
        """What became of an attribute of the node, or of that which it is a piece of."""
        names = [r.name for r in node.results if r.name in self.before.nodes] or list(self.before.nodes)
        for other in names:
            if dict(self.before.nodes[other].attrs).get(name) == value:
                return dict(self.small.nodes[other].attrs)[name]
        return value
