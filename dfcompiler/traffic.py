"""Bytes that move in a step, and the ports that they pass: cycles are linear in the bytes of tiles.

Each operand moves so many bits of each element in each class of steps, times how many elements a tile has.
A port is a rate in and a rate out; one that is half duplex takes the sum of both, else each way is a port of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np
import numpy.typing as npt

from dfcompiler.hardware.chip import Level, Unit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVELS = NEAR, ABOVE, DRAM = "near", "above", "dram"  # one unit's own memory, the one above it, the DRAM
BYTES = "bytes"  # the DRAM where bytes are counted, whenever they move


@dataclass(frozen=True)
class Terms:
    """What moves, by operands or by choices for them (`term`): bits per element in and out `[2, term, class, tiling or
    1]`, at the memories and (`far`) of those at the DRAM; times eighths of elements `[term, tiling]` of one instance's
    tile, of what all take from above, and from DRAM."""

    bits: Floats
    far: Floats
    near: Floats
    above: Floats
    dram: Floats
    counted: Floats  # as `far`, of what happens in any step
    late: Floats  # cycles of a move that happens in some steps of a class, `[term, class, tiling or 1]`, see `Late`
    late_all: Floats  # of all such moves

    def at(self, level: str) -> tuple[Floats, Floats]:
        """Bits per element and eighths of elements at a level."""
        if level == BYTES:
            return self.counted, self.dram
        return (self.far, self.dram) if level == DRAM else (self.bits, self.near if level == NEAR else self.above)

    def pick(self, terms: Ints, tilings: Ints) -> Terms:
        """Of each tiling, which may stand there again, its own terms `[term, tiling]`."""

        def pairs(a: Floats) -> Floats:
            a = a.swapaxes(-1, -2)
            return np.asarray(a[..., terms, tilings if a.shape[-2] > 1 else 0, :].swapaxes(-1, -2))

        near, above, dram = (a[terms, tilings] for a in (self.near, self.above, self.dram))
        late = (pairs(a) for a in (self.late, self.late_all))
        return Terms(pairs(self.bits), pairs(self.far), near, above, dram, pairs(self.counted), *late)


@dataclass(frozen=True)
class Traffic:
    """What moves, `room` bytes occupied in one instance's memory and `room_above` in the memory above."""

    terms: Terms
    room: Floats
    room_above: Floats


@dataclass(frozen=True)
class Port:
    """Cycles per byte in and out at a level; 0 where that way is free or another port's."""

    level: str
    into: float
    out: float

    def weigh(self, bits: Floats) -> Floats:
        """Cycles per eighth of an element, of bits in and out `[2, ...]`."""
        return np.asarray(self.into * bits[0] + self.out * bits[1])


def slowest(ports: Sequence[Port], terms: Terms) -> Floats:
    """Cycles of one step at the slowest port, `[class, tiling]`."""
    found = []
    for port in ports:
        bits, elements = terms.at(port.level)
        found.append((port.weigh(bits) * elements[:, None]).sum(0))
    return np.asarray(np.maximum.reduce(found))


def ports(unit: Unit) -> tuple[Port, ...]:
    """All ports between a unit's memory and DRAM that may hold it up; those that others hide are left out."""
    return _ports(unit.levels)


@lru_cache(maxsize=64)
def _ports(levels: tuple[Level, ...]) -> tuple[Port, ...]:
    own, top = levels[-1], levels[1]
    found = [*_either(NEAR, own.fill_bytes_per_cycle, own.drain_bytes_per_cycle)]
    if len(levels) > 2:
        found += _between(ABOVE, own, levels[-2])
    found += _between(DRAM, top, levels[0])
    found += _either(DRAM, top.fill_bytes_per_cycle * top.instances, top.drain_bytes_per_cycle * top.instances)
    slow = [p for p in found if p.into or p.out] or [Port(DRAM, 0.0, 0.0)]
    return tuple(p for i, p in enumerate(slow) if not any(_hides(q, p, i < j) for j, q in enumerate(slow) if i != j))


def _hides(one: Port, other: Port, later: bool) -> bool:
    """Whether a port always takes as long as another; of equal ones the first does."""
    as_long = one.level == other.level and one.into >= other.into and one.out >= other.out
    return as_long and not (later and (one.into, one.out) == (other.into, other.out))


def _between(level: str, below: Level, above: Level) -> list[Port]:
    """The way between two memories: reads and writes one after another where the upper one is half duplex."""
    if above.half_duplex:
        return [Port(level, _per_byte(below.source_bytes_per_cycle), _per_byte(below.sink_bytes_per_cycle))]
    return _either(level, below.source_bytes_per_cycle, below.sink_bytes_per_cycle)


def _either(level: str, into: float, out: float) -> list[Port]:
    return [Port(level, _per_byte(into), 0.0), Port(level, 0.0, _per_byte(out))]


def _per_byte(bytes_per_cycle: float) -> float:
    return 0.0 if bytes_per_cycle == inf else 1 / bytes_per_cycle
