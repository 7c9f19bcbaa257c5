"""The chip of a pool as arrays over its designs: templates with arrays as axes, and what levels of memory offer.

Every array has a dimension for each axis of the pool, of extent 1 along those that it does not read, so which axes a
formula reads shows in the shape of its value. Designs that leave out the same units share one grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.figures import grid
from dfcompiler.explore.references import Array, paths, value
from dfcompiler.explore.space import Pool
from dfcompiler.hardware.axes import Axis, IntRange, Template
from dfcompiler.hardware.chip import Chip, Level, Part, Unit
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import UNLIMITED, Compute, Interconnect, Memory, Ports
from dfcompiler.hardware.topology import Hop, capacity_shares, connected, path
from dfcompiler.text import tree as t

SCALED = {("B/s", "B/cycle"): -1, ("B/cycle", "B/s"): 1, ("s", "cycle"): 1, ("cycle", "s"): -1}  # powers of the clock


@dataclass(frozen=True)
class LevelGrid:
    """A `Level` of a unit as arrays."""

    instances: Array
    capacity_bytes: Array
    fill: Array
    drain: Array
    source: Array
    sink: Array
    latency_cycles: Array
    pj_per_byte: Array
    one: Level


@dataclass(frozen=True)
class UnitGrid:
    """A `Unit` as arrays; `one` is that of some design."""

    one: Unit
    template: Compute
    instances: Array
    levels: tuple[LevelGrid, ...]
    ports: Ports


@dataclass(frozen=True)
class ChipGrid:
    """Designs that have the same units: arrays where they differ. `one` is the chip of some design."""

    one: Chip
    shape: tuple[int, ...]
    clock_hz: Array
    templates: Mapping[str, Template]
    instances: Mapping[str, Array]
    copies: Mapping[str, Array]
    units: Mapping[str, UnitGrid]


def chip_grid(pool: Pool, design: tuple[int, ...]) -> ChipGrid:
    """The designs of a pool that have the units of this one.

    Raises Diag `illegal-value` where an axis of the chip cannot have one of its values.
    """
    at = grid(pool)
    chip = chip_at(pool, {a.name: a.values[i] for a, i in zip(pool.axes, design, strict=True)})
    units = {a.name: a.unit for a in pool.axes}
    wanted = {s.path: np.asarray(value(s.value, lambda p: at[".".join(p)])) for s in pool.sets}
    clock: Array = wanted.pop("clock", np.asarray(chip.clock_hz))
    groups = {p.group for p in chip.parts.values() if p.group}
    counts = {name: a for name, a in wanted.items() if name in groups}
    shares: dict[str, Array] = {
        n.removesuffix(".share"): np.asarray(o.value) for n, o in chip.settings.items() if n.endswith(".share")
    }
    set_: dict[str, dict[str, Array]] = {}
    for s in pool.sets:
        part, dot, name = s.path.rpartition(".")
        if not dot and s.path not in groups and s.path != "clock":
            raise Diag("no-static-price", f"the static model does not price designs that differ in `{s.path}`", s.span)
        if name == "share":
            shares[part] = wanted[s.path]
        elif part in chip.parts:
            one = type(chip.parts[part].template)
            assert issubclass(one, Template)
            set_.setdefault(part, {})[name] = _based(one.axis(name), s, wanted[s.path], units, clock)
    templates = {n: p.template.with_axes(set_.get(n, {})) for n, p in chip.parts.items()}
    instances = {n: np.asarray(counts.get(p.group or "", p.instances)) for n, p in chip.parts.items()}
    return _assembled(chip, pool, clock, templates, instances, shares)


def _based(axis: Axis, s: t.SSet, wanted: Array, units: Mapping[str, str], clock: Array) -> Array:
    """A setting's values in the unit of the template's axis; whole numbers where that wants them."""
    read = [p[0] for p, _ in paths(s.value)]
    own = units.get(read[0], "") if len(read) == 1 and isinstance(s.value, t.Ref) else ""
    power = SCALED.get((own, axis.unit), 0)
    found = wanted * clock**power if power else wanted
    if isinstance(axis.legal, IntRange) and found.dtype.kind == "f" and np.all(found == np.rint(found)):
        return np.asarray(found, dtype=np.int64)
    return np.asarray(found)


def _assembled(
    chip: Chip,
    pool: Pool,
    clock: Array,
    templates: Mapping[str, Template],
    instances: Mapping[str, Array],
    shares: Mapping[str, Array],
) -> ChipGrid:
    removed = [
        p.name for p in (*chip.decl.parts, *(p for g in chip.decl.groups for p in g.parts)) if p.name not in chip.parts
    ]
    graph = connected(chip.parts, removed, chip.decl.connects)
    ways = {n: path(graph, chip.parts, chip.dram, chip.parts[n]) for n in chip.units}
    fixed: dict[str, Any] = {n: s for n, s in shares.items() if n in ways}
    portions: Mapping[tuple[str, str], Any] = capacity_shares(ways, fixed)
    copies = {n: _copies(p, graph, instances) for n, p in chip.parts.items()}
    units = {}
    for name, hops in ways.items():
        inside = chip.units[name].template.off_die()
        ups: list[Hop | None] = [None, *hops]
        levels = tuple(
            _level(up, hop, portions[name, hop.part.name], level, templates, instances, clock, chip.tech, inside)
            for up, hop, level in zip(ups, hops, chip.units[name].levels, strict=False)
        )
        template, memory = templates[name], templates[hops[-1].part.name]
        assert isinstance(template, Compute) and isinstance(memory, Memory)
        units[name] = UnitGrid(chip.units[name], template, instances[name], levels, memory.ports(clock))
    return ChipGrid(chip, pool.shape, clock, templates, instances, copies, units)


def _copies(part: Part, graph: Any, instances: Mapping[str, Array]) -> Array:
    """As `elaboration` counts them: a network's endpoints, else the instances."""
    if not isinstance(part.template, Interconnect) or part.template.between_chips():
        return instances[part.name]
    ends = [np.maximum(instances[n], instances[part.name]) for n in graph.neighbors(part.name)]
    return np.asarray(sum(ends))


def _level(
    up: Hop | None,
    hop: Hop,
    share: Array,
    level: Level,
    templates: Mapping[str, Template],
    instances: Mapping[str, Array],
    clock: Array,
    tech: Tech,
    inside: bool,
) -> LevelGrid:
    """As `topology.levels` has it, of arrays."""

    def memory(h: Hop) -> Memory:
        found = templates[h.part.name]
        assert isinstance(found, Memory)
        return found

    over = [x for p in hop.over if isinstance(x := templates[p.name], Interconnect)]
    wire: Array = np.asarray(UNLIMITED)
    for w in over:
        wire = np.minimum(wire, w.bytes_per_cycle(clock))
    pj = np.asarray(memory(hop).inside_pj_per_byte(tech) if inside else memory(hop).pj_per_byte(tech))
    own, capacity = memory(hop), np.floor(np.asarray(memory(hop).capacity_bytes() * share, dtype=np.float64))
    if up is None:
        free = np.asarray(UNLIMITED)
        return LevelGrid(instances[hop.part.name], capacity, free, free, free, free, np.zeros(1), pj, level)
    source, sink = memory(up).read_bytes_per_cycle(clock), memory(up).write_bytes_per_cycle(clock)
    if not inside and memory(up).off_chip():
        outside = memory(up).outside_bytes_per_cycle(clock)
        source, sink = np.minimum(outside, source), np.minimum(outside, sink)
    read, write = own.read_bytes_per_cycle(clock), own.write_bytes_per_cycle(clock)
    above = instances[up.part.name]
    return LevelGrid(
        instances=instances[hop.part.name],
        capacity_bytes=capacity,
        fill=np.minimum(np.minimum(write, wire), source),
        drain=np.minimum(np.minimum(read, wire), sink),
        source=np.asarray(source * above),
        sink=np.asarray(sink * above),
        latency_cycles=np.asarray(sum((w.latency_s(clock) for w in over), start=0.0) * clock),
        pj_per_byte=pj,
        one=level,
    )
