"""How parts hang together: a tree from the DRAM over memories and interconnects to compute units."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import networkx as nx
import numpy as np

from dfcompiler.diagnostics import Diag, Note, Span, unknown
from dfcompiler.hardware.chip import Level, Part
from dfcompiler.hardware.plurals import least, plain, whole
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Compute, Interconnect, Memory
from dfcompiler.text.tree import CConnect

Graph: TypeAlias = "nx.Graph[str]"
INF = float("inf")


@dataclass(frozen=True)
class Hop:
    """A memory on the way to a unit, with the interconnects between it and the memory before."""

    part: Part
    over: tuple[Part, ...]

    @property
    def memory(self) -> Memory:
        """The template of the part."""
        assert isinstance(self.part.template, Memory)
        return self.part.template


def connected(parts: Mapping[str, Part], removed: Collection[str], connects: Sequence[CConnect]) -> Graph:
    """The parts as a forest; edges of removed parts are left out.

    Raises Diag `unknown-part`, `self-connection`, `unconnected-part` or `cyclic-connection`.
    """
    graph: Graph = nx.Graph()
    graph.add_nodes_from(parts)
    for connect in connects:
        for ref in connect.names:
            if ref.name not in parts and ref.name not in removed:
                raise unknown("part", ref.name, parts, ref.span)
        for a, b in zip(connect.names, connect.names[1:], strict=False):
            if a.name == b.name:
                raise Diag("self-connection", f"`{a.name}` is connected to itself", b.span)
            if a.name in parts and b.name in parts:
                _join(graph, a.name, b.name, b.span)
    for name, degree in graph.degree():
        if degree == 0:
            raise Diag("unconnected-part", f"`{name}` is connected to nothing", parts[name].span, hint=_how(name))
    return graph


def _join(graph: Graph, a: str, b: str, span: Span | None) -> None:
    if graph.has_edge(a, b):
        return
    if nx.has_path(graph, a, b):
        way = " - ".join(nx.shortest_path(graph, a, b))
        message = f"connecting `{a}` and `{b}` closes a cycle: they are connected by {way}"
        raise Diag("cyclic-connection", message, span, hint="every part has one way to the DRAM")
    graph.add_edge(a, b)


def _how(name: str) -> str:
    return f"write `connect MEMORY - {name}`, or remove the part"


def check_reach(graph: Graph, parts: Mapping[str, Part], dram: Part) -> None:
    """Raises Diag `unreachable-dram` or `unconnected-part` for what has no way to the DRAM."""
    near = nx.node_connected_component(graph, dram.name)
    for part in sorted(parts.values(), key=is_compute, reverse=True):
        if part.name in near:
            continue
        if not is_compute(part):
            message = f"`{part.name}` is cut off from `{dram.name}`"
            raise Diag("unconnected-part", message, part.span, hint=_how(part.name))
        message = f"no way leads from compute unit `{part.name}` to the DRAM `{dram.name}`"
        hint = f"connect it through memories: `connect {dram.name} - ...`"
        raise Diag("unreachable-dram", message, part.span, hint=hint)


def path(graph: Graph, parts: Mapping[str, Part], dram: Part, unit: Part) -> tuple[Hop, ...]:
    """The memories from the DRAM to a unit, DRAM first; Diag `bad-connection` or `bad-fan-out`."""
    return _hops([parts[name] for name in nx.shortest_path(graph, dram.name, unit.name)])


def _hops(way: list[Part]) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    over: tuple[Part, ...] = ()
    for part in way[:-1]:
        if isinstance(part.template, Memory):
            hops.append(Hop(part, over))
            over = ()
        elif isinstance(part.template, Interconnect) and not part.template.between_chips():
            over = (*over, part)
        else:
            message = f"the way from `{way[-1].name}` to the DRAM leads through `{part.name}`, which passes nothing on"
            raise Diag("bad-connection", message, part.span, hint="ways lead through memories and networks on chip")
    _check_counts([*(hop.part for hop in hops), way[-1]])
    _check_dies(hops, way[-1])
    return _ending_in_memory(hops, over, way[-1])


def _ending_in_memory(hops: list[Hop], over: tuple[Part, ...], unit: Part) -> tuple[Hop, ...]:
    if not over:
        return tuple(hops)
    message = f"`{unit.name}` hangs on `{over[-1].name}`; a compute unit works from a memory"
    raise Diag("bad-connection", message, unit.span, hint=f"put a memory between `{over[-1].name}` and `{unit.name}`")


def _check_dies(hops: list[Hop], unit: Part) -> None:
    """A unit on the die of the DRAM works from memories there, and no other unit does."""
    inside = compute(unit).off_die()
    for hop in hops[1:]:
        if hop.memory.off_die() != inside:
            where = "in the DRAM", "on the chip's die"
            here, there = where if inside else where[::-1]
            message = f"`{unit.name}` stands {here}, and `{hop.part.name}`, from which it works, {there}"
            raise Diag("bad-connection", message, unit.span, notes=[Note("the memory", hop.part.span)])


def _check_counts(way: list[Part]) -> None:
    for outer, inner in itertools.pairwise(way):
        if np.any(inner.instances % outer.instances):
            message = (
                f"{inner.instances} of `{inner.name}` cannot be spread evenly over {outer.instances} `{outer.name}`"
            )
            raise Diag("bad-fan-out", message, inner.span, notes=[Note("the level above", outer.span)])


def capacity_shares(ways: Mapping[str, tuple[Hop, ...]], fixed: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """(unit, memory) -> the part of the memory that the unit may use.

    A memory is divided equally between what hangs on it, units and inner memories, but for units directly
    on it that have a fixed share; an inner memory passes its part on as it divides its own. DRAM is one pool.
    """
    hangs: dict[str, dict[str, None]] = {}  # memory -> units and memories directly on it, in order
    for unit, hops in ways.items():
        names = [*(hop.part.name for hop in hops), unit]
        for outer, inner in itertools.pairwise(names):
            hangs.setdefault(outer, {})[inner] = None
    part_of = {(c, m): s for m, on_it in hangs.items() for c, s in _division(list(on_it), fixed).items()}
    shares: dict[tuple[str, str], float] = {}
    for unit, hops in ways.items():
        inner, share = unit, 1.0
        for hop in reversed(hops):
            share *= part_of[inner, hop.part.name]
            inner = hop.part.name
            shares[unit, inner] = 1.0 if hop.memory.off_chip() else share
    return shares


def _division(children: list[str], fixed: Mapping[str, float]) -> dict[str, float]:
    free = [c for c in children if c not in fixed]
    rest = 1 - sum(fixed[c] for c in children if c in fixed)
    return {c: fixed[c] if c in fixed else rest / len(free) for c in children}


def check_shares(
    ways: Mapping[str, tuple[Hop, ...]], fixed: Mapping[str, float], at: Mapping[str, Span | None]
) -> None:
    """Raises Diag `bad-share` where the units of a memory ask for more than there is, or leave others nothing, or where
    nothing is left of a memory beside what is pinned."""
    for hop in {hop.part.name: hop for hops in ways.values() for hop in hops}.values():
        whole_, pinned = hop.memory.capacity_bytes(), hop.memory.pinned_bytes()
        if np.any(np.asarray(pinned) >= whole_):
            message = f"`{hop.part.name}` has {np.min(whole_):,} B, and `pinned` sets aside {np.max(pinned):,} B"
            raise Diag("bad-share", message, hop.part.span, hint="leave room for tiles: pin less than the capacity")
    innermost: dict[str, list[str]] = {}
    for unit, hops in ways.items():
        innermost.setdefault(hops[-1].part.name, []).append(unit)
    for memory, units in innermost.items():
        asked = [u for u in units if u in fixed]
        total = sum(fixed[u] for u in asked)
        if np.any(total > 1 + 1e-9):
            message = f"the units on `{memory}` ask for {100 * np.max(total):.6g} % of it"
            raise Diag("bad-share", message, at[asked[-1]], hint="the shares of a memory sum to at most 100 %")
        if np.any(total > 1 - 1e-9) and len(asked) < len(units):
            left = ", ".join(f"`{u}`" for u in units if u not in fixed)
            message = f"the shares of `{memory}` leave nothing for {left}"
            raise Diag("bad-share", message, at[asked[-1]], hint="lower a share, or give every unit one")


def levels(
    hops: tuple[Hop, ...], shares: Sequence[float], clock_hz: float, tech: Tech, inside: bool = False
) -> tuple[Level, ...]:
    """What a unit sees of the memories on its way, DRAM first; one that stands `inside` of the DRAM sees all of it."""
    above: list[Hop | None] = [None, *hops]
    ups = zip(above, hops, shares, strict=False)
    return tuple(_level(up, hop, share, clock_hz, tech, inside) for up, hop, share in ups)


def _level(up: Hop | None, hop: Hop, share: float, clock_hz: float, tech: Tech, inside: bool) -> Level:
    over = [p.template for p in hop.over if isinstance(p.template, Interconnect)]
    wire = least(INF, *(plain(w.bytes_per_cycle(clock_hz)) for w in over))
    read, write = (plain(f(clock_hz)) for f in (hop.memory.read_bytes_per_cycle, hop.memory.write_bytes_per_cycle))
    source = plain(up.memory.read_bytes_per_cycle(clock_hz)) if up else INF
    sink = plain(up.memory.write_bytes_per_cycle(clock_hz)) if up else INF
    if up and not inside:
        outside = plain(up.memory.outside_bytes_per_cycle(clock_hz))
        source, sink = (least(outside, x) if up.memory.off_chip() else x for x in (source, sink))
    return Level(
        part=hop.part.name,
        instances=hop.part.instances,
        capacity_bytes=whole(plain(hop.memory.capacity_bytes() - hop.memory.pinned_bytes()) * share),
        fill_bytes_per_cycle=least(write, wire, source) if up else INF,
        drain_bytes_per_cycle=least(read, wire, sink) if up else INF,
        source_bytes_per_cycle=source * up.part.instances if up else INF,
        sink_bytes_per_cycle=sink * up.part.instances if up else INF,
        multicast=any(w.multicasts() for w in over),
        half_duplex=hop.memory.half_duplex(),
        latency_cycles=sum(plain(w.latency_s(clock_hz)) for w in over) * clock_hz,
        pj_per_byte=plain(hop.memory.inside_pj_per_byte(tech) if inside else hop.memory.pj_per_byte(tech)),
        wire_pj_per_byte=sum(plain(w.pj_per_byte(tech)) for w in over),
        pinned_bytes=whole(plain(hop.memory.pinned_bytes())),
    )


def is_compute(part: Part) -> bool:
    """Whether the part computes."""
    return isinstance(part.template, Compute)


def compute(part: Part) -> Compute:
    """The template of a part that computes."""
    assert isinstance(part.template, Compute)
    return part.template
