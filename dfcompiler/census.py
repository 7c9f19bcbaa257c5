"""How many parameters a graph has, and how many of them one token meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dfcompiler.facts import facts
from dfcompiler.graph import Graph, Item, Node, Region, Tensor
from dfcompiler.opshape import accesses


@dataclass(frozen=True)
class Census:
    """`total` parameters; `active` are those that one token meets: of experts only those that it is sent to. Of the
    active ones `looked_up` are tables of which a token reads single rows, such as its embedding."""

    total: int
    active: int
    looked_up: int


def census(graph: Graph) -> Census:
    """Count the weights. A table that tokens look up by single ids counts in full as active, as is usual; what a token
    reaches through indices that differ (`distinct`), it meets only so many rows of."""
    share: dict[str, float] = {}
    whole: set[str] = set()  # met by more than a look-up of single rows
    for node in graph.nodes.values():
        for arg, part in _met(graph, node):
            share[arg] = max(part or 1.0, share.get(arg, 0.0))
            whole |= {arg} if part is not None else set()
    weights = [(x.name, x.type.elements * n) for x, n in declared(graph.body, 1) if x.kind == "weight"]
    active = sum(n * share.get(name, 1.0) for name, n in weights)
    tables = sum(n for name, n in weights if name in share and name not in whole)
    return Census(sum(n for _, n in weights), round(active), tables)


def declared(body: tuple[Item, ...], times: int) -> Iterator[tuple[Tensor, int]]:
    """Every declared tensor, and of how many layers there is one."""
    for item in body:
        if isinstance(item, Tensor):
            yield item, times
        elif isinstance(item, Region):
            yield from declared(item.body, times * item.count)


def _met(graph: Graph, node: Node) -> Iterator[tuple[str, float | None]]:
    """Every operand that a node reads, and the share of it that one token meets, None for single rows."""
    shape, sizes = graph.shape(node), graph.sizes(node)
    for p, arg in zip(shape.params, node.args, strict=True):
        for pattern in facts(shape).patterns[p.name]:
            looked_up = [(axis, a.name) for axis, sub in enumerate(pattern.subs) for a in accesses(sub)]
            if not looked_up:
                yield arg, 1.0
            for axis, name in looked_up:
                operand = shape.operand(name)
                rows = sizes[operand.distinct] if operand and operand.distinct else None
                yield arg, rows and min(1.0, rows / graph.type_of(arg).shape[axis])
