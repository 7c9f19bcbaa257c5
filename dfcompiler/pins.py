"""Tensors that stay on the chip from one op to another, in a part of a memory that is set aside for them.

A tensor is pinned as a whole, for all who touch it: from the start of what makes it to the end of what reads it last.
Where it is not, it moves through the DRAM.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil, isclose

from dfcompiler.collectives import exchanged
from dfcompiler.graph import Graph, regions
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.problem import Problem


@dataclass(frozen=True, order=True)
class Pin:
    """A tensor of a segment that fits into what a memory sets aside, `room_bytes`; who makes it, and who read it."""

    tensor: str
    maker: str
    readers: tuple[str, ...]
    bytes: int
    memory: str
    room_bytes: int

    def crosses(self, nodes: Collection[str]) -> bool:
        """Whether some of these nodes touch the tensor, and others than these as well."""
        touch = [v in nodes for v in (self.maker, *self.readers)]
        return any(touch) and not all(touch)


def pins(graph: Graph, nodes: Sequence[str], alone: Collection[Problem], chip: Chip) -> tuple[Pin, ...]:
    """All tensors that nodes of a segment hand to each other and to nobody else, for every memory that has room for
    them. `alone` are the problems of nodes by themselves: what an op does not write whole, such as a cache that it
    appends to, is not its own."""
    rooms = {
        unit.levels[-2].part: unit.levels[-2].pinned_bytes
        for unit in chip.units.values()
        if len(unit.levels) > 2 and unit.levels[-2].pinned_bytes and unit.levels[-2].instances == 1
    }
    whole = {tensor for p in alone for tensor in _written_whole(p)} if rooms else set()
    kept = set(graph.outputs) | {x for r in regions(graph.body) for c in r.carries for x in (c.yielded, c.init)}
    found = []
    for node in (graph.nodes[v] for v in nodes):
        for x in node.results:
            readers = tuple(n.name for n in graph.nodes.values() if x.name in n.args)
            inside = readers and set(readers) <= set(nodes) and x.name in whole - kept
            if inside and not any(exchanged(graph.nodes[n]) for n in (node.name, *readers)):
                size = ceil(x.type.bytes)
                each = ((m, room) for m, room in rooms.items() if size <= room)
                found += [Pin(x.name, node.name, readers, size, m, room) for m, room in each]
    return tuple(found)


def _written_whole(p: Problem) -> Iterator[str]:
    read = {o.name for o in p.operands if o.kind == "read"}
    for o in p.operands:
        tensors = p.group.parts[o.name].tensors if o.kind == "write" and o.name not in read else ()
        if len(tensors) == 1 and isclose(o.total_bytes, p.group.types[o.name].bytes):
            yield tensors[0]


def with_pins(p: Problem, chosen: Collection[Pin]) -> Problem:
    """The problem with these tensors pinned."""
    names = {(pin.tensor,) for pin in chosen}
    here = {o for o, parts in p.group.parts.items() if parts.tensors in names}
    return replace(p, operands=tuple(replace(o, pinned=o.name in here) for o in p.operands)) if here else p


def choices(p: Problem, unit: Unit, every: Sequence[Pin]) -> Iterator[tuple[Pin, ...]]:
    """Sets of tensors that a problem may find pinned together on a unit, without the empty one."""
    if not every:
        return
    own = {x.tensors for o, x in p.group.parts.items() if any(y.name == o for y in p.operands)}
    memory = unit.levels[-2].part if len(unit.levels) > 2 else None
    near = [x for x in sorted(every) if x.memory == memory and x.crosses(p.group.nodes) and (x.tensor,) in own]
    for count in range(1, len(near) + 1):
        for some in combinations(near, count):
            if sum(x.bytes for x in some) <= some[0].room_bytes:
                yield some
