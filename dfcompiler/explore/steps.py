"""The least cycles of a step on a chip, or on arrays of chips, over all schedules that a mapper may find.

A step is its segments one after another, a segment its stretches. What a stretch takes is bounded by what its groups
ask of one resource, whichever way they cover it: of a unit, of the DRAM, of the links; and of several units together,
since work on one is not on the others: what a group takes on each, weighted by how fast they are, in the best case.
What is in one stretch may overlap, so it is the largest of sums; stretches follow one another, so they add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dfcompiler.collectives import exchanged
from dfcompiler.columns import Segment, candidates, flow_of, segments
from dfcompiler.dtypes import DtypeMap
from dfcompiler.exchanges import links_of, memory_cycles, stored_bytes, taken_by
from dfcompiler.explore.floors import Floor, Site, floor, runs, site
from dfcompiler.explore.needs import Need, needs
from dfcompiler.explore.stretches import Names, Stretch, stretches
from dfcompiler.explore.sums import Parts, parts
from dfcompiler.fabrics import Fabric
from dfcompiler.graph import Graph, Node
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.plurals import least, most, total
from dfcompiler.likeness import content_key
from dfcompiler.problem import problem
from dfcompiler.schedule import in_turn

Floors = Mapping[str, Floor]  # of a group, by what it is run on


@dataclass(frozen=True, eq=False)
class Layers:
    """A segment: its stretches, and all of it as one where layers may overlap."""

    stretches: tuple[Stretch, ...]
    overlapped: Stretch | None
    on: Mapping[int, int]  # how often each stage runs it


@dataclass(frozen=True, eq=False)
class StepWork:
    """What a step asks of any chip. Groups whose problems are equal need the same: one tuple of loop forms."""

    graph: Graph
    layers: tuple[Layers, ...]
    needs: Mapping[Names, tuple[Need, ...]]
    exchanges: tuple[Node, ...]


def step_work(graph: Graph, dtypes: DtypeMap) -> StepWork:
    """What a graph asks of any chip."""
    problems = {g.nodes: problem(g, dtypes) for g in candidates(graph)}
    keys = {g: content_key(p) for g, p in problems.items()}
    known = {key: needs(p) for key, p in {keys[g]: p for g, p in problems.items()}.items()}
    exchanges = tuple(n for n in graph.nodes.values() if exchanged(n))
    groups = [*problems, *((n.name,) for n in exchanges)]
    layers = tuple(_layers(graph, s, groups) for s in segments(graph))
    return StepWork(graph, layers, {g: known[key] for g, key in keys.items()}, exchanges)


def _layers(graph: Graph, segment: Segment, groups: Sequence[Names]) -> Layers:
    inside = set(segment.nodes)
    mine = [g for g in groups if inside.issuperset(g)]
    whole = None if in_turn(graph, segment) else Stretch.of(segment.nodes, mine)
    return Layers(tuple(stretches(flow_of(graph, segment), mine)), whole, segment.on)


def step_cycles(work: StepWork, chip: Chip) -> Parts:
    """Cycles that no schedule of a step can beat, as a sum; inf where some node can run nowhere."""
    sites = [site(u, chip.units.get(u.vector or "")) for u in chip.units.values()]
    known = {forms: _floors(forms, sites) for forms in dict.fromkeys(work.needs.values())}
    groups = {g: known[forms] for g, forms in work.needs.items()}
    if work.exchanges:
        ways = [(at, links_of(one).fabric, one.clock_hz) for at, one in _by_links(chip)]
        groups |= {(n.name,): {chip.links[0].name: _crossing(work.graph, n, chip, ways)} for n in work.exchanges}
    return parts(x for layers in work.layers for x in _cycles(layers, groups))


def _floors(forms: tuple[Need, ...], sites: Sequence[Site]) -> Floors:
    """What a problem takes at least, by unit, of those that may run it."""
    return {x.unit.name: floor(forms, x) for x in sites if runs(forms[0].problem, x.unit, x.helper)}


def _crossing(graph: Graph, node: Node, chip: Chip, ways: Sequence[tuple[tuple[int, ...], Fabric, float]]) -> Floor:
    """An exchange takes the links as long as it takes, and the DRAM for its bytes."""
    dram: Any = 0.0
    each: dict[tuple[int, ...], float] = {}
    for at, fabric, clock_hz in ways:
        seconds, _, algorithm = taken_by(graph, node, fabric)
        each[at] = seconds * clock_hz
        dram = memory_cycles(chip, *stored_bytes(graph, node, algorithm))
    linked: Any = next(iter(each.values()))
    if ways[0][0]:
        linked = np.empty(tuple(1 + max(i) for i in zip(*each, strict=True)))
        for at, cycles in each.items():
            linked[at] = cycles
    return Floor(most(1.0, linked, dram), 0.0, dram)


def _by_links(chip: Chip) -> Iterator[tuple[tuple[int, ...], Chip]]:
    """A chip for each of the designs that differ in their links or clock, by its place among these."""
    settings = [x for p in chip.links for x in p.template.settings().values()]
    shape = np.broadcast_shapes(*(np.shape(x) for x in (*settings, chip.clock_hz)))

    def at(x: Any, index: tuple[int, ...]) -> Any:
        return np.broadcast_to(x, shape)[index].item() if np.ndim(x) else x

    for index in np.ndindex(shape):
        links = (
            replace(p, template=p.template.with_axes({n: at(x, index) for n, x in p.template.settings().items()}))
            for p in chip.links
        )
        yield index, replace(chip, links=tuple(links), clock_hz=at(chip.clock_hz, index))


# ---- segments ----------------------------------------------------------------------------------


def _cycles(layers: Layers, groups: Mapping[Names, Floors]) -> Iterator[Any]:
    """What all layers of a segment add: in turn, or where they may overlap, what all of them ask of resources."""
    each = (_stretch(x, groups) for x in layers.stretches)
    if layers.overlapped is None:
        times = sum(layers.on.values())
        yield from (times * x for x in each)
        return
    once, alone = total(each), most(0.0, *_resources(layers.overlapped, groups))
    yield from (most(once, n * alone) for n in layers.on.values())


def _stretch(stretch: Stretch, floors: Mapping[Names, Floors]) -> Any:
    """Cycles of a stretch: of the resource that is asked most of, and no less than of any node in its best group; inf
    where a node can run nowhere by itself, which mappers ask for."""
    held = {g: least(np.inf, *(f.held for f in floors[g].values())) for g in stretch.groups}
    alone = (least(*(held[g] for g in stretch.groups if v in g)) for v in stretch.nodes)
    if len(stretch.groups) == 1:
        return most(*alone)
    nowhere = (np.where(np.isinf(held[v,]), np.inf, 0.0)[()] for v in stretch.nodes)
    return most(*alone, *nowhere, *_resources(stretch, floors))


def _resources(stretch: Stretch, floors: Mapping[Names, Floors]) -> Iterator[Any]:
    """What the groups of a stretch ask of each resource, however they cover it."""
    mine = {g: floors[g] for g in stretch.groups if floors[g]}
    yield stretch.least_sum({g: least(*(x.dram for x in f.values())) for g, f in mine.items()})
    for name in dict.fromkeys(n for f in mine.values() for n in f):
        uses = {g: [_use(x, n, name) for n, x in f.items()] for g, f in mine.items()}
        # what may run without a resource asks nothing of it
        yield stretch.least_sum(
            {g: 0.0 if any(np.ndim(u) == 0 and not u for u in each) else least(*each) for g, each in uses.items()}
        )
    weight = _weights([f for g, f in mine.items() if len(g) == 1 and len(f) > 1])
    if weight:
        shared = {g: least(*(_part(weight.get(n, 0.0), x.held) for n, x in f.items())) for g, f in mine.items()}
        yield stretch.least_sum(shared)


def _use(x: Floor, runs_on: str, resource: str) -> Any:
    """Cycles of a resource for a group that runs on one."""
    if runs_on == resource:
        return x.held
    return x.beside if x.helper == resource else 0.0


def _part(weight: Any, held: Any) -> Any:
    """So much of a time; inf of what cannot run."""
    if np.isfinite(held).all():
        return weight * held
    return np.where(np.isinf(held), np.inf, weight * np.where(np.isinf(held), 0.0, held))[()]


def _weights(singles: Sequence[Floors]) -> dict[str, Any]:
    """How fast each unit does all of these nodes, where it runs them all, as parts of one."""
    names = [n for n in dict.fromkeys(n for f in singles for n in f) if all(n in f for f in singles)]
    rates = {n: 1 / sum(f[n].held for f in singles) for n in names}
    total = np.maximum(sum(rates.values()), np.finfo(float).tiny)  # 0 where none of them runs all
    return {n: r / total for n, r in rates.items()}
