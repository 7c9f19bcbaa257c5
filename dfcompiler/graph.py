"""The operator graph: frozen values in program order, networkx for questions about its edges.

A `Region` stands for `count` equal layers. A pass returns a new graph that shares what did not
change. `Offer` says that nodes may run as one op, `Place` what the mapper chose for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, TypeAlias

import networkx as nx

from dfcompiler.diagnostics import Loc
from dfcompiler.dtypes import stored_bits
from dfcompiler.opshape import OpShape, bind, extents
from dfcompiler.text.tree import DeviceDim, OpDecl, Param, Value

if TYPE_CHECKING:
    from dfcompiler.columns import Columns
    from dfcompiler.schedule import Mapping as Mapping_

AttrValue: TypeAlias = int | float | tuple[int, ...]


@dataclass(frozen=True)
class TensorType:
    """Element type and shape; `within` is the size of the dimension that an index tensor points into, `skew` how unlike
    in popularity its places are (see `routing.popularity`)."""

    dtype: str
    shape: tuple[int, ...]
    within: int | None = None
    distinct: bool = False
    skew: float = 0.0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> float:
        """Size in bytes, with the scales and indices of its type."""
        return stored_bits(self.dtype, self.shape) / 8


@dataclass(frozen=True)
class Tensor:
    """A value; kind is `weight`, `state` (persists between steps), `input` or `value` (a result)."""

    name: str
    type: TensorType
    kind: str = "value"
    loc: Loc | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Node:
    """One op: operands by name, results, attributes. The name of a node is that of its first result."""

    op: OpDecl
    args: tuple[str, ...]
    results: tuple[Tensor, ...]
    attrs: tuple[tuple[str, AttrValue], ...] = ()
    loc: Loc | None = field(default=None, compare=False, repr=False)
    over: tuple[tuple[str, tuple[str, ...]], ...] = ()  # indices that are spread over axes of the mesh, major first

    @property
    def name(self) -> str:
        """Unique in the graph."""
        return self.results[0].name


@dataclass(frozen=True)
class Carry:
    """A value that one layer hands to the next: `inner` is `init` first, then `yielded`; at last `result`."""

    inner: Tensor
    init: str
    yielded: str
    result: Tensor


@dataclass(frozen=True)
class Region:
    """`count` equal layers, one body. Where they lie on several stages of devices, `runs` says how many are on each,
    and `between` hands on the carried values, in their order, after the last layer of each run but the last."""

    count: int
    carries: tuple[Carry, ...]
    body: tuple[Item, ...]
    loc: Loc | None = field(default=None, compare=False, repr=False)
    runs: tuple[int, ...] = ()
    between: tuple[Node, ...] = ()


Item: TypeAlias = Tensor | Node | Region


@dataclass(frozen=True)
class Offer:
    """These nodes may run as one op; `by` is the pass that offers it."""

    by: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """These nodes run together on `unit`; settings are tile sizes, order, times."""

    nodes: tuple[str, ...]
    unit: str
    settings: tuple[tuple[str, Value], ...] = ()

    def get(self, name: str) -> Value | None:
        """The setting of this name."""
        return dict(self.settings).get(name)


@dataclass(frozen=True)
class Graph:
    """Items in program order (definitions before uses), outputs, and what passes said about nodes."""

    name: str
    body: tuple[Item, ...] = ()
    outputs: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    places: tuple[Place, ...] = ()
    # Names and sizes of the axes that devices are laid out on. Types then are those of one device's slices.
    mesh: tuple[tuple[str, int], ...] = ()
    # What `tile` and the mappers worked out; derived from the rest, so it does not count for equality.
    columns: Columns | None = field(default=None, compare=False, repr=False)
    mapping: Mapping_ | None = field(default=None, compare=False, repr=False)

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Every node by name, in program order."""
        return {n.name: n for n in _nodes(self.body)}

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor by name: declared, produced, carried."""
        return {x.name: x for x in _tensors(self.body)}

    @cached_property
    def repeats(self) -> Mapping[str, int]:
        """How often each node runs in one step."""
        return dict(_repeats(self.body, 1))

    @cached_property
    def flow(self) -> nx.DiGraph[str]:
        """Nodes and their data dependences; a carried value links the region's users to its source."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        producer = {r.name: n.name for n in self.nodes.values() for r in n.results}
        alias = {c.inner.name: c.init for r in regions(self.body) for c in r.carries}
        alias |= {c.result.name: c.yielded for r in regions(self.body) for c in r.carries}
        graph.add_nodes_from(self.nodes)
        for node in self.nodes.values():
            for arg in node.args:
                source = arg
                while source in alias:
                    source = alias[source]
                if source in producer:
                    graph.add_edge(producer[source], node.name, tensor=arg)
        return graph

    def type_of(self, name: str) -> TensorType:
        """The type of a tensor."""
        return self.tensors[name].type

    def shape(self, node: Node) -> OpShape:
        """The node's op with its ranks bound."""
        return bind(node.op, tuple(map(len, self.operand_shapes(node))))

    def sizes(self, node: Node) -> dict[str, int]:
        """The extents of the node's indices: of one device's slices, and what a `dim` makes of the whole."""
        ways = split_ways(node.op, dict(node.over), dict(self.mesh))
        return extents(self.shape(node), self.operand_shapes(node), dict(node.attrs), ways)

    def ways(self, axes: Sequence[str]) -> int:
        """Devices along these axes of the mesh."""
        return prod(dict(self.mesh)[a] for a in axes)

    def operand_shapes(self, node: Node) -> list[tuple[int, ...]]:
        """The shapes of a node's operands as its op sees them: one that is spread over `@p` has an axis of devices."""
        return seen_shapes(node.op, [self.type_of(a).shape for a in node.args], dict(node.over), dict(self.mesh))

    def offer(self, *offers: Offer) -> Graph:
        """The graph with further alternatives, none twice."""
        return replace(self, offers=tuple(dict.fromkeys((*self.offers, *offers))))

    def map_nodes(self, change: Callable[[Node], Node]) -> Graph:
        """The graph with every node replaced by `change(node)`: what most passes of a user need."""
        return replace(self, body=_map(self.body, change))


def device_index(p: Param) -> str | None:
    """The index of the devices that hold an operand or result, where its first dimension is `@p`."""
    first = p.type.dims[0] if p.type.dims else None
    return first.name if isinstance(first, DeviceDim) else None


def seen_shapes(
    op: OpDecl,
    shapes: Sequence[tuple[int, ...]],
    over: Mapping[str, tuple[str, ...]],
    mesh: Mapping[str, int],
) -> list[tuple[int, ...]]:
    """Shapes of one device's operands as the op sees them: with an axis of devices where it has one on the mesh."""
    seen = list(shapes)
    for number, p in enumerate(op.params[: len(shapes)]):
        spread = device_index(p)
        if spread is not None and spread in over:
            seen[number] = (prod(mesh[a] for a in over[spread]), *shapes[number])
    return seen


def split_ways(op: OpDecl, over: Mapping[str, tuple[str, ...]], mesh: Mapping[str, int]) -> dict[str, int]:
    """Over how many devices each index is split, of which an op sees one slice; an exchange sees those of all."""
    between = any(device_index(p) in over for p in (*op.params, *op.results))
    return {} if between else {i: prod(mesh[a] for a in axes) for i, axes in over.items()}


def regions(body: tuple[Item, ...]) -> Iterator[Region]:
    """Every region, outer before inner."""
    for item in body:
        if isinstance(item, Region):
            yield item
            yield from regions(item.body)


def _nodes(body: tuple[Item, ...]) -> Iterator[Node]:
    for item in body:
        if isinstance(item, Node):
            yield item
        elif isinstance(item, Region):
            yield from _nodes(item.body)
            yield from item.between


def _tensors(body: tuple[Item, ...]) -> Iterator[Tensor]:
    for item in body:
        match item:
            case Tensor():
                yield item
            case Node():
                yield from item.results
            case Region():
                yield from (c.inner for c in item.carries)
                yield from _tensors(item.body)
                yield from _tensors(item.between)
                yield from (c.result for c in item.carries)


def _repeats(body: tuple[Item, ...], times: int) -> Iterator[tuple[str, int]]:
    for item in body:
        if isinstance(item, Node):
            yield item.name, times
        elif isinstance(item, Region):
            yield from _repeats(item.body, times * item.count)
            yield from _repeats(item.between, times * (len(item.runs) - 1))


def _map(body: tuple[Item, ...], change: Callable[[Node], Node]) -> tuple[Item, ...]:
    def one(item: Item) -> Item:
        match item:
            case Node():
                return change(item)
            case Region():
                return replace(item, body=_map(item.body, change), between=tuple(map(change, item.between)))
            case _:
                return item

    return tuple(one(i) for i in body)
