"""A chip as the compiler sees it: parts, and for each compute unit the memories between it and the DRAM.

All numbers of a chip may be arrays over many designs that broadcast (`plurals`): its figures are so then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dfcompiler.diagnostics import Span
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.plurals import plain, whole
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Compute, Interconnect, Memory, Ports
from dfcompiler.text.tree import ChipDecl


@dataclass(frozen=True)
class Origin:
    """A setting with where it was set: `default`, `chip` or `override`."""

    value: int | float | str
    by: str


@dataclass(frozen=True)
class Part:
    """`instances` equal pieces of hardware; `copies` is how many an area is paid for (endpoints of a network)."""

    name: str
    template: Template
    instances: int
    group: str | None
    copies: int
    settings: Mapping[str, Origin] = field(repr=False, hash=False)
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Level:
    """One memory on the way from the DRAM to a unit, as that unit may use it.

    `capacity_bytes` is this unit's share of one instance (all of it in DRAM), without the `pinned_bytes` that are set
    aside in each for tensors that stay from one op to the next. Per cycle of the chip's clock,
    `fill` is what ONE instance can receive from the level above, `drain` what it can send back, `source` what
    all instances above can send to all instances here, `sink` what they can take back. Above the DRAM there
    is nothing: all four are inf. With `multicast`, data that many instances receive leaves the level above once.
    """

    part: str
    instances: int
    capacity_bytes: int
    fill_bytes_per_cycle: float
    drain_bytes_per_cycle: float
    source_bytes_per_cycle: float
    sink_bytes_per_cycle: float
    multicast: bool
    half_duplex: bool  # bytes out of and into this memory share one bandwidth
    latency_cycles: float  # of the network between the level above and this one
    pj_per_byte: float  # reading or writing this memory
    wire_pj_per_byte: float  # the way between the level above and this one
    pinned_bytes: int = 0


@dataclass(frozen=True)
class Unit:
    """`instances` equal compute units. `levels` runs from the DRAM to the innermost memory.

    `vector` names a unit on the same innermost memory that can run what this one cannot.
    """

    name: str
    template: Compute
    instances: int
    levels: tuple[Level, ...]
    ports: Ports
    vector: str | None
    clock_hz: float

    def does(self, kind: str) -> bool:
        """Whether it can do scalar work of a kind that is in no contraction; a multiply-accumulate among such
        work needs lanes that also add, which an array of multipliers is not."""
        return self.template.runs(kind) and (kind != "mac" or self.template.runs("add"))


@dataclass(frozen=True, eq=False)
class Chip:
    """A chip that is legal and connected. Equal chips have equal fingerprints. What it is follows from its `decl`."""

    name: str
    clock_hz: float
    node_nm: float
    tech: Tech
    uncore_mm2: float
    parts: Mapping[str, Part]
    units: Mapping[str, Unit]
    dram: Part
    links: tuple[Part, ...]
    settings: Mapping[str, Origin] = field(repr=False)
    decl: ChipDecl = field(repr=False)
    span: Span | None = field(default=None, repr=False)

    @property
    def dram_capacity_bytes(self) -> int:
        """Bytes of DRAM."""
        found: int = whole(_memory(self.dram).capacity_bytes())
        return found

    @property
    def dram_bytes_per_s(self) -> float:
        """Bandwidth of the DRAM, efficiency included."""
        rate: float = plain(_memory(self.dram).read_bytes_per_cycle(self.clock_hz))
        return rate * self.clock_hz

    @property
    def link_bytes_per_s(self) -> float:
        """What the chip can send to other chips, all links together, each way; 0 without links."""
        ways = (part.template for part in self.links)
        each = (plain(w.bytes_per_cycle(self.clock_hz)) for w in ways if isinstance(w, Interconnect))
        total: float = sum(each) * self.clock_hz
        return total

    def area_mm2(self) -> dict[str, float]:
        """Part -> area of all its instances, then `uncore` and `total`."""
        area = {name: _area_mm2(part, self.tech) for name, part in self.parts.items()} | {"uncore": self.uncore_mm2}
        return area | {"total": sum(area.values())}

    def die_mm2(self) -> float:
        """Area of the chip's own die: without units that stand on the die of a memory."""
        area = self.area_mm2()
        apart = (n for n, p in self.parts.items() if isinstance(p.template, Compute) and p.template.off_die())
        return area["total"] - sum(area[name] for name in apart)

    def fingerprint(self) -> str:
        """A hash of everything that a price can depend on; stable between runs. Names of the chip are not in it."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        tech = [(table, key, f.value) for table, entries in self.tech.tables.items() for key, f in entries.items()]
        parts = [(p.name, _described(p.template), p.instances, p.copies) for p in self.parts.values()]
        units = [(u.name, u.instances, u.levels, u.ports, u.vector) for u in self.units.values()]
        content = (self.clock_hz, self.node_nm, self.uncore_mm2, sorted(tech), sorted(parts), sorted(units, key=_first))
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chip) and self._hash == other._hash

    def __hash__(self) -> int:
        return hash(self._hash)


def _first(entry: tuple[Any, ...]) -> str:
    return str(entry[0])


def _described(template: Template) -> str:
    return f"{type(template).__module__}.{type(template).__qualname__}{sorted(template.settings().items())}"


def _memory(part: Part) -> Memory:
    if not isinstance(part.template, Memory):
        raise TypeError(f"{part.name} is no memory")
    return part.template


def _area_mm2(part: Part, tech: Tech) -> float:
    if not isinstance(part.template, Compute | Memory | Interconnect):
        return 0.0
    one: float = plain(part.template.area_mm2(tech))
    return one * part.copies
