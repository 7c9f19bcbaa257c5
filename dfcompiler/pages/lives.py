"""From when to when the values of a step are in DRAM, by its schedule: from the start of the op that makes them to the
end of the last one that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dfcompiler.cost import updated_in_place
from dfcompiler.graph import Carry, Graph, regions
from dfcompiler.schedule import Layer


@dataclass(frozen=True)
class Life:
    """A value: its name, its bytes, the cycles from and to which it is kept."""

    name: str
    bytes: float
    start: int
    end: int


@dataclass(frozen=True)
class Slot:
    """When a node runs the first time, every how many cycles again and how often; `op` tells nodes that run as one."""

    start: int
    end: int
    period: int
    runs: int
    op: tuple[int, int]


def lives(graph: Graph, layers: tuple[Layer, ...]) -> list[Life]:
    """The life of every value that is stored, in each run, by its start. What only one op sees, within it, is not
    stored, and neither is a state that is updated in place. For schedules without stages of devices."""
    slots = dict(_slots(layers))
    carried = _Carried(graph)
    last = max((s.end + (s.runs - 1) * s.period for s in slots.values()), default=0)
    ends: dict[tuple[str, int], int] = {carried.source(o, 0): last for o in graph.outputs}
    stored = set(ends)
    for name, slot in slots.items():
        for run in range(slot.runs):
            for arg in graph.nodes[name].args:
                made = carried.source(arg, run)
                ends[made] = max(ends.get(made, 0), slot.end + run * slot.period)
                by = slots.get(carried.makers.get(made[0], ""))
                if by is None or (by.op, made[1] if by.runs > 1 else run) != (slot.op, run):
                    stored.add(made)
    inputs = (t for t in graph.tensors.values() if t.kind == "input")
    found = [Life(t.name, t.type.bytes, 0, ends[t.name, 0]) for t in inputs if (t.name, 0) in ends]
    in_place = updated_in_place(graph)
    for name, slot in slots.items():
        for r in (r for r in graph.nodes[name].results if r.name not in in_place):
            for run in range(slot.runs):
                key, shift = (r.name, run), run * slot.period
                if key in stored or key not in ends:  # what nobody reads is written all the same
                    end = max(slot.end + shift, ends.get(key, 0))
                    found.append(Life(r.name, r.type.bytes, slot.start + shift, end))
    return sorted(found, key=lambda x: (x.start, x.end, x.name))


def _slots(layers: tuple[Layer, ...]) -> Iterator[tuple[str, Slot]]:
    """Every node's, on the clock of the step."""
    start = 0
    for number, layer in enumerate(layers):
        for i, task in enumerate(layer.solution.tasks):
            slot = Slot(start + task.start, start + task.end, layer.period, layer.segment.repeat, (number, i))
            yield from ((node, slot) for node in task.column.nodes)
        start += layer.cycles


class _Carried:
    """Which value a name stands for in a run: layers hand on values under the same names."""

    def __init__(self, graph: Graph) -> None:
        self.makers = {r.name: n.name for n in graph.nodes.values() for r in n.results}
        self.inner: dict[str, Carry] = {}
        self.result: dict[str, tuple[Carry, int]] = {}
        self.inside: set[str] = set()  # what is made in a region, anew in every run
        for region in regions(graph.body):
            self.inner |= {c.inner.name: c for c in region.carries}
            self.result |= {c.result.name: (c, region.count) for c in region.carries}
        self.inside = {r.name for n in graph.nodes.values() if graph.repeats[n.name] > 1 for r in n.results}

    def source(self, name: str, run: int) -> tuple[str, int]:
        """The value's own name, and the run that makes it."""
        while True:
            if name in self.inner:
                carry = self.inner[name]
                name, run = (carry.yielded, run - 1) if run else (carry.init, 0)
            elif name in self.result:
                carry, count = self.result[name]
                name, run = carry.yielded, count - 1
            else:
                return name, run if name in self.inside else 0
