"""The mapping of a whole graph: one schedule per segment, repeated over layers, with its proof.

A segment that stands for n layers is scheduled once. Its schedule starts again every `period` cycles, as
dependences from layer to layer and shared resources allow, so n layers take `cycles + (n - 1) * period`. On stages of
devices that is so for the layers of each; what they hand on are segments too. A step passes through the stages in turn;
steps may follow one another as soon as the slowest stage is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from dfcompiler import paths
from dfcompiler.columns import Columns, Segment, flow_of
from dfcompiler.diagnostics import Diag
from dfcompiler.goals import LATENCY, Goal
from dfcompiler.graph import Graph, Place, regions
from dfcompiler.planes import Plane
from dfcompiler.solution import Solution, Task, shortest
from dfcompiler.text.tree import Value
from dfcompiler.tiling import RESOLUTION


@dataclass(frozen=True)
class Layer:
    """A segment with its schedule. `period` cycles lie between the starts of two layers, `period_floor` at least;
    `serial` layers cannot overlap, as everything in them hangs on the value that is carried; schedules in which they do
    were `sought`, or not."""

    segment: Segment
    solution: Solution
    period: int
    period_floor: int
    serial: bool = False
    sought: bool = False

    @property
    def cycles(self) -> int:
        """Cycles of all repetitions."""
        return sum(map(self.cycles_of, self.segment.on.values()))

    @property
    def bound(self) -> int:
        """Cycles that no schedule can beat whose layers are equal; where no period was sought that is shorter than a
        layer, and none found, whose layers follow one another."""
        return sum(self.solution.bound + (n - 1) * self.period_floor for n in self.segment.on.values())

    def cycles_of(self, layers: int) -> int:
        """Cycles of so many layers one after another on the same devices."""
        return self.solution.cycles + (layers - 1) * self.period


@dataclass(frozen=True)
class Stage:
    """What a stage of devices runs: pairs of a segment's number and how many of its layers. After `cycles` it sends
    `send_bytes` to the next stage, which takes `send_cycles`."""

    layers: tuple[tuple[int, int], ...]
    cycles: int
    send_cycles: int
    send_bytes: float


@dataclass(frozen=True)
class Aim:
    """What a mapping is to be least in, within limits. It comes to `least` at least, in cycles, pJ, or pJ times cycles;
    `optimal` where the mapper proved that no mapping in its space is better; all in it are above the `planes`."""

    objective: str = LATENCY
    least: float = 0.0
    optimal: bool = False
    limits: Goal = Goal()
    planes: tuple[Plane, ...] = ()


@dataclass(frozen=True)
class Mapping:
    """What a mapper decided: a schedule for every segment, which run one after another."""

    by: str
    layers: tuple[Layer, ...]
    aim: Aim = Aim()

    @property
    def cycles(self) -> int:
        """Cycles of the step."""
        return sum(x.cycles for x in self.layers)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Every stage of devices, where there are several."""
        count = 1 + max((s for x in self.layers for s in x.segment.on), default=0)
        return tuple(map(self._stage, range(count))) if count > 1 else ()

    def _stage(self, number: int) -> Stage:
        mine = [(i, x, x.segment.on[number]) for i, x in enumerate(self.layers) if number in x.segment.on]
        sent = [x.solution for _, x, _ in mine if x.segment.sends]
        return Stage(
            tuple((i, n) for i, x, n in mine if not x.segment.sends),
            sum(x.cycles_of(n) for _, x, n in mine if not x.segment.sends),
            sum(s.cycles for s in sent),
            sum(t.column.tiling.level_bytes[t.column.unit] for s in sent for t in s.tasks),
        )

    @property
    def interval(self) -> int:
        """Cycles after which the next step may start: those of the slowest stage with its transfer."""
        return max((x.cycles + x.send_cycles for x in self.stages), default=self.cycles)

    @property
    def serial(self) -> int:
        """Cycles of the step if parts that do not depend on each other ran one after another, each by itself."""
        return sum(x.segment.repeat * sum(x.solution.alone) if x.solution.alone else x.cycles for x in self.layers)

    @property
    def hidden(self) -> float | None:
        """How much of the time of the shorter parts runs beside the longest; None where there are no parts."""
        shorter = sum(
            x.segment.repeat * (sum(x.solution.alone) - max(x.solution.alone, default=0)) for x in self.layers
        )
        return (self.serial - sum(x.cycles for x in self.layers)) / shorter if shorter else None

    @property
    def bound(self) -> int:
        """Cycles that no mapping can beat in the space of the mapper: these columns and cuts, layers in turn."""
        return sum(x.bound for x in self.layers)

    def starts(self) -> Iterator[tuple[int, Layer]]:
        """Every layer with the cycle at which it starts."""
        at = 0
        for layer in self.layers:
            yield at, layer
            at += layer.cycles


def columns_of(graph: Graph) -> Columns:
    """The priced columns; raises Diag `missing-input` where `tile` has not run."""
    if graph.columns is None:
        raise Diag("missing-input", "there are no tilings to map", hint="put `tile` before the mapper")
    return graph.columns


def mapping_of(graph: Graph) -> Mapping:
    """The mapping; raises Diag `missing-input` where no mapper has run."""
    if graph.mapping is None:
        raise Diag("missing-input", "there is no mapping yet", hint="put `tile,map-ilp` before this pass")
    return graph.mapping


def with_mapping(graph: Graph, by: str, solutions: Sequence[Solution], aim: Aim = Aim()) -> Graph:
    """The graph with its nodes placed; layers run back to back until `schedule` finds a shorter period."""
    parts = columns_of(graph).segments
    layers = tuple(Layer(s, x, x.cycles, x.bound) for s, x in zip(parts, solutions, strict=True))
    mapping = Mapping(by, layers, aim)
    return replace(graph, mapping=mapping, places=tuple(places(mapping)))


def places(mapping: Mapping) -> Iterator[Place]:
    """The mapping as text: unit, times in cycles from the start of the step, tile sizes, order."""
    for start, layer in mapping.starts():
        for task in layer.solution.tasks:
            yield Place(task.column.nodes, task.column.unit, _settings(task, start))


def _settings(task: Task, start: int) -> tuple[tuple[str, Value], ...]:
    c = task.column
    settings: list[tuple[str, Value]] = [("start", start + task.start), ("end", start + task.end), ("dram", c.dram)]
    if c.helper:
        settings += [("beside", c.helper), ("beside_share", c.beside)]
    settings += [(f"tile_{k}", v) for k, v in c.tiling.tile.items()]
    settings += [(f"ways_{k}", v) for k, v in c.tiling.ways.items()]
    settings.append(("order", tuple(c.tiling.order)))
    settings += [(f"keep_{k.operand}", (k.where, k.since)) for k in c.tiling.keeps]
    return tuple(settings)


# ---- from layer to layer -----------------------------------------------------------------------


def steady(graph: Graph, layer: Layer, limits: Goal) -> Layer:
    """The layer with the shortest period found at which its schedule may start again.

    Layers follow one another: that is the space in which the mapper's bound holds. Where every node hangs on
    the value carried from layer to layer there is no other. Where not (parts of a step that do not meet), a
    schedule that may start again before its end is used, and the bound falls back to the longest chain.
    """
    back_to_back = replace(layer, period=layer.solution.cycles, period_floor=layer.solution.bound)
    if in_turn(graph, layer.segment):
        return replace(back_to_back, serial=True)
    flow, carried = flow_of(graph, layer.segment), between_layers(graph, layer.segment)
    chains = _chains(flow, carried)
    tasks = layer.solution.tasks
    of = {v: t for t in tasks for v in t.column.nodes}
    powered = limits.least_cycles(layer.solution.pj)
    low = max(_load(tasks), powered, max((of[u].end - of[v].start for u, v in carried), default=0))
    ends = sorted({a.end - b.start for a in tasks for b in tasks} | {low})
    period = next((p for p in ends if p >= low and _repeats(tasks, p)), layer.solution.cycles)
    if period >= layer.solution.cycles:
        return back_to_back
    cost = paths.costs(flow, shortest(columns_of(graph).of(layer.segment)))
    floor = max((int(paths.longest(flow.subgraph(c), cost)) for c in chains), default=0)
    return replace(layer, period=period, period_floor=floor)


def in_turn(graph: Graph, segment: Segment) -> bool:
    """Whether layers cannot overlap, since everything in one hangs on what the one before hands on."""
    flow = flow_of(graph, segment)
    return segment.repeat == 1 or set(flow) in _chains(flow, between_layers(graph, segment))


def between_layers(graph: Graph, segment: Segment) -> list[tuple[str, str]]:
    """(node that yields, node of the next layer that reads it) for every value carried."""
    inside = set(segment.nodes)
    producer = {r.name: n.name for n in graph.nodes.values() for r in n.results}
    return [
        (producer[c.yielded], user.name)
        for region in regions(graph.body)
        for c in region.carries
        for user in graph.nodes.values()
        if c.inner.name in user.args and user.name in inside and producer.get(c.yielded) in inside
    ]


def _chains(flow: nx.DiGraph[str], carried: Sequence[tuple[str, str]]) -> list[set[str]]:
    """For each carried value the nodes that need the last layer's and are needed for the next one's."""
    found = []
    for out in dict.fromkeys(u for u, _ in carried):
        first = {v for u, v in carried if u == out}
        before = nx.ancestors(flow, out) | {out}
        found.append(before & first.union(*(nx.descendants(flow, v) for v in first)))
    return found


def _load(tasks: Sequence[Task]) -> int:
    """The busiest resource of one layer: no period is shorter."""
    loads: dict[str, int] = {}
    for t in tasks:
        for name, amount in reservations(t).items():
            loads[name] = loads.get(name, 0) + amount * t.column.cycles
    return max(-(-x // RESOLUTION) for x in loads.values())


def reservations(t: Task) -> dict[str, int]:
    """Sixteenths of each resource that a task holds while it runs: units by name, the DRAM as the empty name."""
    use = {"": t.column.dram, t.column.unit: RESOLUTION}
    if t.column.helper:
        use[t.column.helper] = use.get(t.column.helper, 0) + t.column.beside
    return use


def _repeats(tasks: Sequence[Task], period: int) -> bool:
    """Whether the schedule may start again every `period` cycles without using a resource twice; one that pins tensors
    ends first."""
    copies = 1 + max(t.end for t in tasks) // max(1, period)
    if copies > 8 or (copies > 1 and any(t.column.pins for t in tasks)):
        return False
    spans = [(t.start + i * period, t.end + i * period, reservations(t)) for i in range(copies) for t in tasks]
    for at in {s for s, _, _ in spans}:
        total: dict[str, int] = {}
        for start, end, use in spans:
            if start <= at < end:
                for name, amount in use.items():
                    total[name] = total.get(name, 0) + amount
        if any(v > RESOLUTION for v in total.values()):
            return False
    return True
