"""What no tiling of a problem can beat on a unit: cycles by what it waits for, of one chip or of arrays of chips.

The work of a unit and of the one beside it is at least what their templates say that no cut of it into tiles can beat
(`least_cycles`). What crosses a port is at least every operand once, and of a product at least what capacities allow:

With room for S bytes, count the products made while 2 S bytes come in. Operands of `a` and `b` bytes, and sums of `p`
that were begun before, were there or came: a A + b B + p C <= 3 S. With F sums begun meanwhile, products are at most
sqrt(A B (C + F)) (Loomis and Whitney, 1949). In units of (3 S)^1.5 / sqrt(a b p) and for u = p F / 3 S the most of that
is ((1 + u) / 3)^1.5 up to u = 1/2 and sqrt(u) / 2 beyond; both lie below 0.19246 + 0.32476 u, the line through the
first at 0 that touches the second. A sum is begun once where none is split over instances. So V products bring in

  2 V sqrt(a b p) / sqrt(S) - (9/8) p (sums) - 2 S   bytes at least.

S is the memory of one instance for its port, all of them together where one read reaches all, and these with the
memory above for what comes from DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dfcompiler.explore.needs import Asked, Need, room_bytes
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.plurals import least, most
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.problem import Problem


@dataclass(frozen=True)
class Floor:
    """Cycles for which a unit is held at least, for which the one beside it works, and the DRAM at its bandwidth."""

    held: Any
    beside: Any
    dram: Any
    helper: str = ""  # the one beside it


def runs(p: Problem, unit: Unit, helper: Unit | None) -> bool:
    """Whether a unit may run a problem by its kinds of work and types; what else it may refuse is not asked."""
    if p.contractions and not (unit.template.runs("mac") and all(map(unit.template.multiplies, p.multiplied))):
        return False
    rest = [k for k in p.vector if not unit.does(k)]
    return not rest or bool(p.contractions and helper and all(map(helper.template.runs, rest)))


@dataclass(frozen=True, eq=False)
class Site:
    """A unit with the one beside it, and what of them is the same for all problems: bytes of the memories of all its
    instances, and of these with the memory above; what is paid once, and whether that may be below 0."""

    unit: Unit
    helper: Unit | None
    every_bytes: Any
    beyond_bytes: Any
    waits_cycles: Any
    early: bool
    least_room_bytes: float


def site(unit: Unit, helper: Unit | None) -> Site:
    """A unit as floors read it."""
    own = unit.levels[-1].capacity_bytes
    every = own * unit.instances
    beyond = every + sum(x.capacity_bytes * x.instances for x in unit.levels[1:-1])
    waits = unit.template.fill_cycles() + sum(x.latency_cycles for x in unit.levels)
    return Site(unit, helper, every, beyond, waits, bool(np.any(np.less(waits, 0))), float(np.min(own)))


def floor(forms: Sequence[Need], at: Site) -> Floor:
    """What a problem takes at least on a unit that runs it, in the better of its loop forms."""
    found = [_floor(need, at) for need in forms]
    held, beside, dram = (least(*(getattr(f, name) for f in found)) for name in ("held", "beside", "dram"))
    return Floor(held, beside, dram, at.helper.name if at.helper else "")


def _floor(need: Need, at: Site) -> Floor:
    unit, waits = at.unit, at.waits_cycles
    beside = _beside(need, unit, at.helper) if at.helper else 0.0
    read, write = need.read_bytes, need.write_bytes
    inner, top, dram_ = unit.levels[-1], unit.levels[1], unit.levels[0]
    near = most(read / unit.instances, brought(need, inner.capacity_bytes, unit.instances))
    ports = [near / inner.fill_bytes_per_cycle, write / unit.instances / inner.drain_bytes_per_cycle]
    if len(unit.levels) > 2:
        above = most(read, brought(need, at.every_bytes, 1)) if inner.multicast else near * unit.instances
        into, out = above / inner.source_bytes_per_cycle, write / inner.sink_bytes_per_cycle
        ports.append(into + out if unit.levels[-2].half_duplex else most(into, out))
    fetched, stored = from_dram(need, unit, at.beyond_bytes)
    into, out = fetched / top.source_bytes_per_cycle, stored / top.sink_bytes_per_cycle
    dram = into + out if dram_.half_duplex else most(into, out)
    held = most(_computing(need, unit), beside, dram, *ports) + waits
    reserved = dram  # the DRAM is a group's for as long as it lasts
    if at.early:
        held, reserved = most(0.0, held), most(0.0, dram + least(0.0, waits))
    fits = at.least_room_bytes >= need.enough_bytes or room_bytes(need, unit.instances) <= inner.capacity_bytes
    return Floor(held if np.all(fits) else np.where(fits, held, np.inf)[()], beside, reserved)


# ---- work --------------------------------------------------------------------------------------


def _computing(need: Need, unit: Unit) -> Any:
    """Cycles of a unit's own work, shared out evenly over its instances."""
    vector = {k: n for k, n in need.vector.items() if unit.does(k)}
    all_points = [_on(need, x, unit) for x in need.products if not x.masked]
    masked = sum((_alone(need, x, unit) for x in need.products if x.masked), 0.0)
    products = _least(need, all_points, {}, unit) + masked
    return most(_least(need, all_points, vector, unit), products) / unit.instances


def _beside(need: Need, unit: Unit, helper: Unit) -> Any:
    """Cycles of what the unit beside it does."""
    vector = {k: n for k, n in need.vector.items() if not unit.does(k)}
    return _least(need, (), vector, helper) / unit.instances


def _on(need: Need, x: Asked, unit: Unit) -> Contraction:
    """A product as one tile, without the zeros that a unit skips."""
    whole: dict[str, Any] = {loop.name: float(loop.size) for loop in need.problem.loops}
    deep = need.problem.depth_on(x.product, whole, unit.template)
    return Contraction(x.whole.batch, x.whole.m, x.whole.n, deep)


def _alone(need: Need, x: Asked, unit: Unit) -> Any:
    """Cycles of a masked product, each of whose points takes what it does in its best tile: the largest, or one that
    leaves no lane idle."""
    grain, one = unit.template.granule(), _on(need, x, unit)
    sizes = [(size, least(size, grain.get(role, 1))) for role, size in zip("mnk", (one.m, one.n, one.k), strict=True)]
    tiles = [Contraction(1.0, m, n, k) for m, n, k in product(*sizes)]
    per_point = least(*(_least(need, [tile], {}, unit) / tile.macs for tile in tiles))
    return x.points * (0.5 if need.problem.skips(x.product, unit.template) else 1) * per_point


def _least(need: Need, products: Sequence[Contraction], vector: Mapping[str, float], unit: Unit) -> Any:
    if not products and not vector:
        return 0.0
    p = need.problem
    return unit.template.least_cycles(Tile(tuple(products), vector, p.a_bits, p.b_bits, p.acc_bits), unit.ports)


# ---- traffic -----------------------------------------------------------------------------------


def from_dram(need: Need, unit: Unit, beyond_bytes: Any) -> tuple[Any, Any]:
    """Bytes that come from DRAM and go there at least, below it being room for so many; where tensors may be pinned,
    none of what ops hand to each other."""
    every = most(need.read_bytes, brought(need, beyond_bytes, 1)), need.write_bytes
    aside = unit.levels[-2].pinned_bytes if len(unit.levels) > 2 else 0
    if not np.any(aside):
        return every
    read, write = (np.where(aside, kept, moved)[()] for kept, moved in zip(need.stored, every, strict=True))
    return read, write


def brought(need: Need, room_bytes: Any, instances: Any) -> Any:
    """Bytes that the products of a problem bring at least into room for so many, on each of so many instances; 0 or
    below where that says nothing."""
    if not need.streams:
        return 0.0
    least_of_each = (
        2 * x.macs * x.width / instances / np.sqrt(room_bytes) - 9 / 8 * x.sum_bytes * x.sums / instances
        for x in need.streams
    )
    return most(*least_of_each) - 2 * room_bytes
