"""A design as a tree, read from the names of its axes: `decode.server.device.cores` is a leaf below `device`.

A leaf whose name is the plural of an inner node beside it is that node's count: `servers` beside `server`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dfcompiler.explore.question import Dimension

BYTES = {"kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


@dataclass(frozen=True)
class Node:
    """A node of the tree: a leaf has the place of its axis, an inner node children."""

    name: str
    axis: int | None = None
    children: tuple[Node, ...] = ()

    @property
    def kind(self) -> str:
        """Nodes of one kind are alike: leaves of one name, inner nodes with children of the same kinds."""
        return self.name if self.axis is not None else f"({' '.join(child.kind for child in self.children)})"


def tree(dimensions: Sequence[Dimension]) -> Node:
    """The tree of a space; axes without dots hang below its root."""
    return _node("", [(d.name.split("."), i) for i, d in enumerate(dimensions)])


def memory_axes(node: Node, counts: tuple[int, ...] = ()) -> list[tuple[int, tuple[int, ...], float]]:
    """For each axis whose name ends in a unit of memory: its place, those of the counts above it, bytes in a unit."""
    if node.axis is not None:
        unit = node.name.rpartition("_")[2].lower()
        return [(node.axis, counts, BYTES[unit])] if unit in BYTES else []
    leaves = {child.name: child.axis for child in node.children if child.axis is not None}
    found = []
    for child in node.children:
        count = leaves.get(f"{child.name}s") if child.axis is None else None
        found += memory_axes(child, counts if count is None else (*counts, count))
    return found


def _node(name: str, leaves: list[tuple[list[str], int]]) -> Node:
    below: dict[str, list[tuple[list[str], int]]] = {}
    for path, axis in leaves:
        below.setdefault(path[0], []).append((path[1:], axis))
    children = tuple(
        Node(first, group[0][1]) if group[0][0] == [] else _node(first, group) for first, group in below.items()
    )
    return Node(name, None, children)
