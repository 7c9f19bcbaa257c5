"""What a problem asks of any unit, however it is tiled: work, bytes that move once, and room; read from it once for all
units and designs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from dfcompiler.grouping import grouped
from dfcompiler.hardware.plurals import least
from dfcompiler.hardware.template import Contraction
from dfcompiler.problem import Band, NestOperand, Problem
from dfcompiler.text import tree as t
from dfcompiler.work import Contraction as Product


@dataclass(frozen=True)
class Asked:
    """A product: how many of its points exist, and all of it as one tile."""

    product: Product
    points: float
    whole: Contraction

    @property
    def masked(self) -> bool:
        """Whether some points do not exist."""
        return bool(self.points != self.whole.macs)


@dataclass(frozen=True)
class Stream:
    """Products that share what streams: multiply-accumulates and sums of all; bytes of a sum, and the root of those of
    both operands and a sum."""

    macs: float
    sums: float
    sum_bytes: float
    width: float


@dataclass(frozen=True)
class Room:
    """An operand's part of an instance's memory: bytes of a point, and of what an instance needs of all where two
    buffers of a point may be more than that."""

    operand: NestOperand
    point_bytes: float
    whole: bool


@dataclass(frozen=True, eq=False)
class Need:
    """What a problem asks for in one of its loop forms. `vector` are scalar operations by kind: those of all points,
    and no more than a tile of all of them is counted with. Of the bytes that are read and written once, `stored` are
    those of weights, states and inputs, which are never pinned."""

    problem: Problem
    products: tuple[Asked, ...]
    vector: Mapping[str, float]
    read_bytes: float
    write_bytes: float
    stored: tuple[float, float]
    streams: tuple[Stream, ...]
    rooms: tuple[Room, ...]

    @property
    def enough_bytes(self) -> float:
        """Bytes that `room_bytes` is never more than."""
        return sum(x.point_bytes for x in self.rooms)


def needs(p: Problem) -> tuple[Need, ...]:
    """What a problem asks for, in each of its loop forms."""
    points, by_place = [float(p.mask.count(c.indices)) for c in p.contractions], grouped(p)
    return tuple(_need(form, points) for form in ((p, by_place) if by_place else (p,)))


def room_bytes(need: Need, instances: Any) -> Any:
    """Bytes that any tiling takes of an instance's memory at least: of what changes from tile to tile two buffers of a
    tile of one point, of what does not all that an instance needs."""
    part: dict[str, Any] = {}
    total: Any = 0.0
    for x in need.rooms:
        if x.whole:
            part = part or _part(need.problem, instances)
            every = need.problem.elements(x.operand.name, part) * x.operand.bits / 8
            total = total + least(x.point_bytes, every)
        else:
            total = total + x.point_bytes
    return total


def _need(p: Problem, points: Sequence[float]) -> Need:
    products = tuple(Asked(c, n, _whole(p, c)) for c, n in zip(p.contractions, points, strict=True))
    once = [(o, _once(p, o)) for o in p.operands]
    read, write = (sum(n for o, n in once if o.kind == kind) for kind in ("read", "write"))
    kept = [(o, n) for o, n in once if p.group.kinds.get(o.name) != "value"]
    stored = sum(n for o, n in kept if o.kind == "read"), sum(n for o, n in kept if o.kind == "write")
    return Need(p, products, _vector(p), read, write, stored, tuple(_streams(p, products)), tuple(_rooms(p)))


def _all(p: Problem) -> dict[str, Any]:
    """One tile of all points."""
    return {x.name: float(x.size) for x in p.loops}


def _part(p: Problem, instances: Any) -> dict[str, Any]:
    """What one of so many instances does at least."""
    return {x.name: float(x.size) if x.reduced else np.ceil(x.size / instances) for x in p.loops}


def _once(p: Problem, o: NestOperand) -> float:
    """Bytes that must move at least once: no more than a tile of all points touches."""
    return min(o.total_bytes, float(p.elements(o.name, _all(p), o.kind)) * o.bits / 8)


def _rooms(p: Problem) -> Iterator[Room]:
    point, fewest = dict.fromkeys((x.name for x in p.loops), 1.0), _part(p, np.inf)
    fewest = {name: max(1.0, n) for name, n in fewest.items()}
    for o in p.operands:
        each = p.elements(o.name, point) * max(o.bits, o.partial_bits) / 8
        twice = o.kind != "local" and not o.partial_bits
        whole = twice and bool(p.elements(o.name, fewest) * o.bits / 8 < 2 * each)
        yield Room(o, float(2 * each if twice else each), whole)


# ---- work --------------------------------------------------------------------------------------


def _whole(p: Problem, c: Product) -> Contraction:
    """A product as one tile."""
    return Contraction(*(p.role(indices, _all(p)) for indices in (c.batch, c.m, c.n, c.k)))


def _vector(p: Problem) -> dict[str, float]:
    total: dict[str, float] = {}
    for term in p.facts.work.terms:
        points, every = float(p.mask.count(term.indices)), float(p.role(term.indices, _all(p)))
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


# ---- traffic -----------------------------------------------------------------------------------


def _streams(p: Problem, products: Sequence[Asked]) -> Iterator[Stream]:
    """Products whose operands come from memory: not looked up, shifted or made on the way."""
    joined: dict[object, list[Asked]] = {}
    for x in products:
        c = x.product
        if not x.masked and _plain(p, c.a) and _plain(p, c.b):
            joined.setdefault((c.a, c.batch, c.m, c.k), []).append(x)
    for together in joined.values():
        macs, sums = sum(x.whole.macs for x in together), sum(x.whole.batch * x.whole.m * x.whole.n for x in together)
        b = min(_bits(p, x.product.b) for x in together)
        width = sqrt(_bits(p, together[0].product.a) * b * p.acc_bits / 512)
        yield Stream(float(macs), float(sums), p.acc_bits / 8, width)


def _bits(p: Problem, name: str) -> float:
    return next(o.bits for o in p.operands if o.name == name)


def _plain(p: Problem, name: str) -> bool:
    """Whether an operand comes from memory, an element of its own for every point of its indices."""
    kinds = {o.kind for o in p.operands if o.name == name}
    subs = (s for pattern in p.facts.patterns.get(name, ()) for s in pattern.subs)
    return kinds == {"read"} and all(isinstance(s, t.Ref) for s in subs)
