"""What a `mapping.json` holds of a schedule, read once and with every kind of value checked."""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from functools import cached_property

from dfcompiler.check.reading import At

Edge = tuple[str, str]


@dataclass(frozen=True)
class Pin:
    """A tensor that may stay in a part of a memory, and who touches it: its maker first."""

    tensor: str
    touch: tuple[str, ...]
    bytes: int
    memory: str
    room: int

    def crosses(self, nodes: tuple[str, ...]) -> bool:
        """Whether these nodes touch the tensor, and others as well."""
        return 0 < sum(v in nodes for v in self.touch) < len(self.touch)


@dataclass(frozen=True)
class Place:
    """Where a tensor lies that is pinned, by number, and from when to when."""

    at: At
    pin: int
    start: int
    end: int
    address: int


@dataclass(frozen=True)
class Column:
    """A way to run nodes together: cycles on a unit, with parts of the way to memory and of a helper, the energy that
    it takes, and which tensors it finds pinned, by number."""

    nodes: tuple[str, ...]
    unit: str
    helper: str | None
    cycles: int
    dram: int
    beside: int
    pj: float = 0.0
    pins: frozenset[int] = frozenset()

    def uses(self, whole: int) -> dict[str, int]:
        """Parts of every resource while it runs: units by name, the way to memory by the empty name."""
        found = {"": self.dram, self.unit: whole}
        if self.helper is not None:
            found[self.helper] = found.get(self.helper, 0) + self.beside
        return found


@dataclass(frozen=True)
class Task:
    """A column of the table that runs from `start` to `end`."""

    at: At
    number: int
    said: Column
    column: Column
    start: int
    end: int


@dataclass(frozen=True)
class Segment:
    """Nodes that run together, `runs` times on each of several stages, a run every `period` cycles. A run may take
    `pj_per_cycle` on average, where that has a limit."""

    at: At
    nodes: tuple[str, ...]
    flow: tuple[Edge, ...]
    carried: tuple[Edge, ...]
    pins: tuple[Pin, ...]
    columns: tuple[Column, ...]
    tasks: tuple[Task, ...]
    pinned: tuple[Place, ...]
    depends: tuple[tuple[int, int], ...]
    next_run_depends: tuple[tuple[int, int], ...]
    stage: int
    runs: tuple[int, ...]
    sends: bool
    start: int
    cycles: int
    period: int
    end: int
    bound: int
    bound_period: int
    bound_all: int
    pj_per_cycle: float | None

    def cycles_of(self, runs: int) -> int:
        """Cycles of so many runs one after another."""
        return self.cycles + (runs - 1) * self.period

    @cached_property
    def after(self) -> Map[str, frozenset[str]]:
        """The nodes that wait for a node, directly or not. A cycle has none of its nodes before the others."""
        return _closure(self.nodes, self.flow)

    @cached_property
    def before(self) -> Map[str, frozenset[str]]:
        """The nodes that a node waits for, directly or not."""
        return _closure(self.nodes, tuple((v, u) for u, v in self.flow))

    @cached_property
    def groups(self) -> Map[tuple[str, ...], tuple[Column, ...]]:
        """Columns by the nodes that they run."""
        found: dict[tuple[str, ...], list[Column]] = {}
        for c in self.columns:
            found.setdefault(c.nodes, []).append(c)
        return {g: tuple(cs) for g, cs in found.items()}


@dataclass(frozen=True)
class Mapping:
    """All segments, one after another, and the parts into which resources are divided."""

    at: At
    resolution: int
    cycles: int
    bound_cycles: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class File:
    """A whole file: the schedule, and the rest by its place."""

    at: At
    mapping: Mapping
    clock_hz: float


def read(at: At) -> File:
    """A whole `mapping.json`; raises Diag `bad-mapping` at the place of what is no such file."""
    clock = at["hardware"]["clock_hz"]
    if clock.amount() <= 0:
        raise clock.wrong("must be above 0")
    return File(at, read_mapping(at["mapping"]), clock.amount())


def read_mapping(at: At) -> Mapping:
    """The member `mapping`."""
    whole = at["resolution"].whole(1)
    power = at["aim"]["pj_per_cycle"] if "aim" in at else None
    limit = None if power is None or power.value is None else power.amount()
    segments: list[Segment] = []
    for x in at["segments"].each():
        segments.append(_segment(x, sum(len(s.tasks) for s in segments), whole, limit))
    return Mapping(at, whole, at["cycles"].whole(), at["bound_cycles"].whole(), tuple(segments))


def _segment(at: At, first: int, whole: int, pj_per_cycle: float | None) -> Segment:
    nodes = at["nodes"].texts()
    if len(set(nodes)) < len(nodes):
        raise at["nodes"].wrong("names a node twice")
    pins = tuple(_pin(p, nodes) for p in at["pins"].each())
    columns = tuple(_column(c, nodes, whole, len(pins)) for c in at["columns"].each())
    tasks = tuple(_task(t, first + i, columns, nodes, whole) for i, t in enumerate(at["tasks"].each()))
    runs = tuple(n.whole(1) for n in at["runs"].each())
    if not runs or sum(runs) != at["repeat"].whole(1):
        raise at["runs"].wrong(f"must add up to `repeat`, {at['repeat'].value}")
    flow = _edges(at["flow"], nodes)
    segment = Segment(
        at=at,
        nodes=nodes,
        flow=flow,
        carried=_edges(at["carried"], nodes),
        pins=pins,
        columns=columns,
        tasks=tasks,
        pinned=tuple(_place(p, len(pins)) for p in at["pinned"].each()),
        depends=_numbers(at["depends"], first, len(tasks)),
        next_run_depends=_numbers(at["next_run_depends"], first, len(tasks)),
        stage=at["stage"].whole(),
        runs=runs,
        sends=at["sends"].truth(),
        start=at["start"].whole(),
        cycles=at["cycles"].whole(1),
        period=at["period"].whole(1),
        end=at["end"].whole(),
        bound=at["bound"]["cycles"].whole(),
        bound_period=at["bound"]["period"].whole(),
        bound_all=at["bound"]["all"].whole(),
        pj_per_cycle=pj_per_cycle,
    )
    if any(v in segment.after[v] for v in nodes):
        raise at["flow"].wrong("has a node that waits for itself")
    return segment


def _pin(at: At, nodes: tuple[str, ...]) -> Pin:
    touch = (at["maker"].one_of(nodes), *(v.one_of(nodes) for v in at["readers"].each()))
    return Pin(at["tensor"].text(), touch, at["bytes"].whole(1), at["memory"].text(), at["room_bytes"].whole())


def _place(at: At, pins: int) -> Place:
    return Place(at, at["pin"].number_of(pins), at["start"].whole(), at["end"].whole(), at["address"].whole())


def _column(at: At, nodes: tuple[str, ...], whole: int, pins: int) -> Column:
    covered = tuple(v.one_of(nodes) for v in at["nodes"].each())
    if not covered or len(set(covered)) < len(covered):
        raise at["nodes"].wrong("must name one node or more, none twice")
    said = _said(at, covered, at["cycles"].whole(1), whole)
    pinned = frozenset(i.number_of(pins) for i in at["pins"].each())
    return replace(said, pj=at["pj"].amount() if "pj" in at else 0.0, pins=pinned)


def _said(at: At, nodes: tuple[str, ...], cycles: int, whole: int) -> Column:
    unit, helper, dram, beside = at["unit"].text(), at["helper"].maybe_text(), at["dram"].whole(), at["beside"].whole()
    if dram > whole:
        raise at["dram"].wrong(f"must be at most the whole, {whole}, got {dram}")
    if beside > (whole if helper is not None and helper != unit else 0):
        raise at["beside"].wrong(f"must be at most the whole, {whole}, of another unit, got {beside} of {helper}")
    return Column(nodes, unit, helper, cycles, dram, beside)


def _task(at: At, number: int, columns: tuple[Column, ...], nodes: tuple[str, ...], whole: int) -> Task:
    if at["id"].whole() != number:
        raise at["id"].wrong(f"must be {number}: tasks are numbered through the file")
    start, end = at["start"].whole(), at["end"].whole()
    if end <= start:
        raise at["end"].wrong(f"must be after the start, {start}, got {end}")
    said = _said(at, tuple(v.one_of(nodes) for v in at["nodes"].each()), end - start, whole)
    return Task(at, number, said, columns[at["column"].number_of(len(columns))], start, end)


def _edges(at: At, nodes: tuple[str, ...]) -> tuple[Edge, ...]:
    return tuple((e["from"].one_of(nodes), e["to"].one_of(nodes)) for e in at.each())


def _numbers(at: At, first: int, many: int) -> tuple[tuple[int, int], ...]:
    """Pairs of task numbers."""
    return tuple((_number(e["from"], first, many), _number(e["to"], first, many)) for e in at.each())


def _number(at: At, first: int, many: int) -> int:
    if not first <= at.whole() < first + many:
        raise at.wrong(f"must be the number of a task of its segment, {first} to {first + many - 1}, got {at.value}")
    return int(at.value)


def _closure(nodes: tuple[str, ...], edges: tuple[Edge, ...]) -> dict[str, frozenset[str]]:
    """For every node those that edges lead to."""
    near: dict[str, list[str]] = {v: [] for v in nodes}
    for u, v in edges:
        near[u].append(v)
    found = {}
    for v in nodes:
        seen: set[str] = set()
        todo = list(near[v])
        while todo:
            w = todo.pop()
            if w not in seen:
                seen.add(w)
                todo += near[w]
        found[v] = frozenset(seen)
    return found
