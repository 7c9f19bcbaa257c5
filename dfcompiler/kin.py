"""Axes of tensors that are one and the same: what one op calls by one index, and what layers hand on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from dfcompiler.collectives import across
from dfcompiler.graph import Graph, Node, Tensor, device_index, regions
from dfcompiler.sharding import Split, choice
from dfcompiler.text import tree as t

Axis = tuple[str, int]  # of a tensor; axis -1 is the dimension that an index tensor points into


class Kin:
    """Families of axes of a graph; `root` names the family of an axis."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.parent = graph, dict[Axis, Axis]()
        self.axes = {n.name: self._indices(n) for n in graph.nodes.values()}
        for c in (c for region in regions(graph.body) for c in region.carries):
            for axis in range(-1, len(c.inner.type.shape)):
                for other in (c.init, c.yielded, c.result.name):
                    self._unite((c.inner.name, axis), (other, axis))

    def root(self, axis: Axis) -> Axis:
        """The axis that stands for the family."""
        while (above := self.parent.setdefault(axis, axis)) != axis:
            axis = above
        return axis

    def of(self, node: Node, index: str) -> Axis | None:
        """The family of a node's index; None where no operand has it."""
        axis = self.axes[node.name].get(index)
        return None if axis is None else self.root(axis)

    @cached_property
    def batch(self) -> frozenset[Axis]:
        """Families of the first axes of inputs: the sequences of a step."""
        return frozenset(self.root((x.name, 0)) for x in self._inputs() if x.type.shape)

    @cached_property
    def tokens(self) -> frozenset[Axis]:
        """Families of the other axes of inputs: the new tokens of each sequence."""
        return frozenset(self.root((x.name, k)) for x in self._inputs() for k in range(1, len(x.type.shape)))

    @cached_property
    def picked(self) -> frozenset[Axis]:
        """Families that the graph picks from, by index tensors that it computes: experts."""
        tensors = self.graph.tensors.values()
        return frozenset(self.root((x.name, -1)) for x in tensors if x.kind == "value" and x.type.within is not None)

    @cached_property
    def named(self) -> frozenset[Axis]:
        """Families that inputs point into: the vocabulary."""
        return frozenset(self.root((x.name, -1)) for x in self._inputs() if x.type.within is not None)

    @cached_property
    def handed(self) -> frozenset[Axis]:
        """Families of the axes of what layers hand on."""
        carried = [c.inner for region in regions(self.graph.body) for c in region.carries]
        return frozenset(self.root((x.name, k)) for x in carried for k in range(len(x.type.shape)))

    def _inputs(self) -> list[Tensor]:
        return [x for x in self.graph.tensors.values() if x.kind == "input"]

    def _unite(self, a: Axis, b: Axis) -> None:
        self.parent[self.root(a)] = self.root(b)

    def _indices(self, node: Node) -> dict[str, Axis]:
        shape, found, over = self.graph.shape(node), dict[str, Axis](), dict(node.over)
        operands = zip((*shape.params, *shape.results), (*node.op.params, *node.op.results), strict=True)
        names = (*node.args, *(r.name for r in node.results))
        for (o, declared), name in zip(operands, names, strict=True):
            spread = device_index(declared) in over
            within = [(-1, t.Ref(o.within))] if o.within else []
            for axis, d in (*enumerate(o.dims[1:] if spread else o.dims), *within):
                if isinstance(d, t.Ref):
                    self._unite((name, axis), found.setdefault(d.name, (name, axis)))
        if over and across(node.op) and len(node.args) == len(node.results) == 1:
            for axis in range(len(node.results[0].type.shape)):  # an exchange keeps what an axis means
                self._unite((node.args[0], axis), (node.results[0].name, axis))
        return found


def splittable(graph: Graph, node: Node) -> Iterator[str]:
    """Indices of a node that may be split over devices."""
    shape = graph.shape(node)
    for index in dict.fromkeys(d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)):
        if index not in across(node.op) and isinstance(choice(shape, index), Split):
            yield index


def dispatched(graph: Graph) -> Iterator[tuple[Node, str]]:
    """Nodes with an index whose slices rows are dealt out to."""
    for node in graph.nodes.values():
        for index in splittable(graph, node):
            answer = choice(graph.shape(node), index)
            if isinstance(answer, Split) and answer.dispatch:
                yield node, index
