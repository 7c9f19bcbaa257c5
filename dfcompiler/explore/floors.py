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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.plurals import least, most
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.problem import Band, NestOperand, Problem
from dfcompiler.text import tree as t
from dfcompiler.work import Contraction as Product


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


def floor(p: Problem, unit: Unit, helper: Unit | None) -> Floor:
    """What a problem takes at least on a unit that runs it, in the better of its loop forms."""
    points, by_place = [p.mask.count(c.indices) for c in p.contractions], grouped(p)
    found = [_floor(form, points, unit, helper) for form in ((p, by_place) if by_place else (p,))]
    held, beside, dram = (least(*(getattr(f, name) for f in found)) for name in ("held", "beside", "dram"))
    return Floor(held, beside, dram, helper.name if helper else "")


def _floor(p: Problem, points: Sequence[int], unit: Unit, helper: Unit | None) -> Floor:
    beside = _beside(p, unit, helper) if helper else 0.0
    read, write = (sum(_once(p, o) for o in p.operands if o.kind == kind) for kind in ("read", "write"))
    inner, top, dram_ = unit.levels[-1], unit.levels[1], unit.levels[0]
    own = inner.capacity_bytes
    every = own * unit.instances
    beyond = every + sum(x.capacity_bytes * x.instances for x in unit.levels[1:-1])
    near = most(read / unit.instances, brought(p, points, own, unit.instances))
    ports = [near / inner.fill_bytes_per_cycle, write / unit.instances / inner.drain_bytes_per_cycle]
    if len(unit.levels) > 2:
        above = most(read, brought(p, points, every, 1)) if inner.multicast else near * unit.instances
        into, out = above / inner.source_bytes_per_cycle, write / inner.sink_bytes_per_cycle
        ports.append(into + out if unit.levels[-2].half_duplex else most(into, out))
    into = most(read, brought(p, points, beyond, 1)) / top.source_bytes_per_cycle
    out = write / top.sink_bytes_per_cycle
    dram = into + out if dram_.half_duplex else most(into, out)
    waits = unit.template.fill_cycles() + sum(x.latency_cycles for x in unit.levels)
    held = most(0.0, most(_computing(p, points, unit), beside, dram, *ports) + waits)
    reserved = most(0.0, dram + least(0.0, waits))  # the DRAM is a group's for as long as it lasts
    fits = room_bytes(p, unit.instances) <= own
    return Floor(held if np.all(fits) else np.where(fits, held, np.inf)[()], beside, reserved)


def _once(p: Problem, o: NestOperand) -> float:
    """Bytes that must move at least once: no more than a tile of all points touches."""
    touched = float(p.elements(o.name, {x.name: float(x.size) for x in p.loops}, o.kind)) * o.bits / 8
    return min(o.total_bytes, touched)


def room_bytes(p: Problem, instances: Any) -> Any:
    """Bytes that any tiling takes of an instance's memory at least: of what changes from tile to tile two buffers of a
    tile of one point, of what does not all that an instance needs."""
    point: dict[str, Any] = {x.name: 1.0 for x in p.loops}
    part = {x.name: float(x.size) if x.reduced else np.ceil(x.size / instances) for x in p.loops}
    total: Any = 0.0
    for o in p.operands:
        tile = p.elements(o.name, point) * max(o.bits, o.partial_bits) / 8
        twice = o.kind != "local" and not o.partial_bits
        total = total + (least(2 * tile, p.elements(o.name, part) * o.bits / 8) if twice else tile)
    return total


# ---- work --------------------------------------------------------------------------------------


def _computing(p: Problem, points: Sequence[int], unit: Unit) -> Any:
    """Cycles of a unit's own work, shared out evenly over its instances."""
    vector, all_points, masked = {k: n for k, n in _vector(p).items() if unit.does(k)}, [], 0.0
    for c, count in zip(p.contractions, points, strict=True):
        one = _whole(p, c, unit)
        if count == _whole(p, c, None).macs:
            all_points.append(one)
        else:
            masked = masked + count * (0.5 if p.skips(c, unit.template) else 1) * _per_point(p, one, unit)
    products = _least(p, all_points, {}, unit) + masked
    return most(_least(p, all_points, vector, unit), products) / unit.instances


def _vector(p: Problem) -> dict[str, float]:
    """Scalar operations by kind: those of all points, and no more than a tile of all of them is counted with."""
    whole: dict[str, Any] = {x.name: float(x.size) for x in p.loops}
    total: dict[str, float] = {}
    for term in p.facts.work.terms:
        points, every = float(p.mask.count(term.indices)), float(p.role(term.indices, whole))
        total[term.kind] = total.get(term.kind, 0.0) + (points if points < every else every * _alive(p))
    return total


def _alive(p: Problem) -> float:
    """The part of rows, and of columns, that a mask leaves any point: tiles of the others are not run."""
    band = p.band
    if not isinstance(band, Band):
        return 1.0
    columns = next(x.size for x in p.loops if x.name == band.col)
    rows = float((band.hi > band.lo).any(0).mean())
    return min(rows, float(band.steps(band.col, np.ones(1, dtype=np.int64))[0]) / columns)


def _beside(p: Problem, unit: Unit, helper: Unit) -> Any:
    """Cycles of what the unit beside it does."""
    vector = {k: n for k, n in _vector(p).items() if not unit.does(k)}
    return _least(p, (), vector, helper) / unit.instances


def _whole(p: Problem, c: Product, unit: Unit | None) -> Contraction:
    """A product as one tile, without the zeros that a unit skips."""
    whole: dict[str, Any] = {x.name: float(x.size) for x in p.loops}
    deep = p.depth_on(c, whole, unit.template) if unit else p.role(c.k, whole)
    return Contraction(p.role(c.batch, whole), p.role(c.m, whole), p.role(c.n, whole), deep)


def _per_point(p: Problem, whole: Contraction, unit: Unit) -> Any:
    """Cycles of a point of a masked product in its best tile: the largest, or one that leaves no lane idle."""
    grain = unit.template.granule()
    sizes = [(x, least(x, grain.get(role, 1))) for role, x in zip("mnk", (whole.m, whole.n, whole.k), strict=True)]
    tiles = [Contraction(1.0, m, n, k) for m, n, k in product(*sizes)]
    return least(*(_least(p, [x], {}, unit) / x.macs for x in tiles))


def _least(p: Problem, products: Sequence[Contraction], vector: dict[str, float], unit: Unit) -> Any:
    return unit.template.least_cycles(_tile(p, products, vector), unit.ports) if products or vector else 0.0


def _tile(p: Problem, products: Sequence[Contraction], vector: dict[str, float]) -> Tile:
    return Tile(tuple(products), vector, p.a_bits, p.b_bits, p.acc_bits)


# ---- traffic -----------------------------------------------------------------------------------


def brought(p: Problem, points: Sequence[int], room_bytes: Any, instances: Any) -> Any:
    """Bytes that the products of a problem bring at least into room for so many, on each of so many instances; 0 where
    operands are looked up, shifted or made on the way. Products that share what streams are one."""
    most_bytes: Any = 0.0
    joined: dict[object, list[Product]] = {}
    for c, count in zip(p.contractions, points, strict=True):
        if count == _whole(p, c, None).macs and _plain(p, c.a) and _plain(p, c.b):
            joined.setdefault((c.a, c.batch, c.m, c.k), []).append(c)
    for together in joined.values():
        tiles = [_whole(p, c, None) for c in together]
        macs, sums = (sum(f(x) for x in tiles) / instances for f in (_macs, _sums))
        b = min(_bits(p, c.b) for c in together)
        width = np.sqrt(_bits(p, together[0].a) * b * p.acc_bits / 512)
        come = 2 * macs * width / np.sqrt(room_bytes) - 9 / 8 * p.acc_bits / 8 * sums - 2 * room_bytes
        most_bytes = most(most_bytes, come)
    return most_bytes


def _macs(x: Contraction) -> Any:
    return x.macs


def _sums(x: Contraction) -> Any:
    return x.batch * x.m * x.n


def _bits(p: Problem, name: str) -> float:
    return next(o.bits for o in p.operands if o.name == name)


def _plain(p: Problem, name: str) -> bool:
    """Whether an operand comes from memory, an element of its own for every point of its indices."""
    kinds = {o.kind for o in p.operands if o.name == name}
    subs = (s for pattern in p.facts.patterns.get(name, ()) for s in pattern.subs)
    return kinds == {"read"} and all(isinstance(s, t.Ref) for s in subs)
