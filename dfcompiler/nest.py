"""Time and traffic of tiled loop nests, for many tilings in one call.

The machine. A unit runs one tile after another from its innermost memory. While it runs one, the next
tile's operands come in and the last one's results go out (double buffering), so a step takes the longest
of compute, network and DRAM; the first load and the last store have nothing to hide under. Ragged edge
tiles are charged the time of a whole tile (their bytes are exact), so a price is never too low.

Which operands move in a step depends only on which loops stand at their first iteration: with loops
`l0 .. l(D-1)`, outermost first, the steps fall into 2^D classes whose sizes are products of trips. An
operand moves when a loop that it depends on has moved, unless it is kept: kept at a level across a
loop that it does not depend on, it is loaded in that loop's first iteration only and occupies its whole
region inside that loop. Sums that are not kept across a reduced loop go out unfinished and come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.problem import NestOperand, Problem

Floats = npt.NDArray[np.float64]

INNER, OUTER = "inner", "outer"  # where an operand may be kept: the unit's own memory, or the one above it


@dataclass(frozen=True)
class Keep:
    """`operand` stays in the inner or outer memory from loop position `since` inwards."""

    operand: str
    where: str
    since: int


@dataclass(frozen=True)
class Tiles:
    """Tilings of a problem: per loop, tile sizes and over how many instances it is split; arrays of one length."""

    size: Mapping[str, Floats]
    ways: Mapping[str, Floats]
    trips: Mapping[str, Floats]
    compute: Floats  # cycles of one tile on one instance
    helper: Floats  # of which the vector unit beside is busy
    pairs: Floats | None = None  # tiles with points per pass over both masked loops, where tiles may be empty


@dataclass(frozen=True)
class Traffic:
    """What one order and one set of kept operands move, per class of steps: arrays `[classes, tilings]`.

    A class of `counts` steps moves `inner` bytes into one instance's memory and `up` out of it; `above` and
    `dram` are bytes read from (row 0) and written to (row 1) the level above and DRAM by all instances.
    Class 0 is the first step; `last` bytes per instance are the last store. `room` bytes are occupied in one
    instance's memory, `room_above` in the memory above.
    """

    counts: Floats
    inner: Floats
    up: Floats
    above: tuple[Floats, Floats]
    dram: tuple[Floats, Floats]
    last: Floats
    last_all: Floats
    room: Floats
    room_above: Floats

    def total(self, per_class: Floats) -> Floats:
        """Bytes of all steps."""
        return np.asarray((self.counts * per_class).sum(0))

    def dram_bytes(self) -> Floats:
        """Bytes from and to DRAM."""
        return self.total(self.dram[0] + self.dram[1]) + self.last_all


class Nest:
    """A problem on a unit: prices orders and residencies of given tilings."""

    def __init__(self, problem: Problem, unit: Unit, tiles: Tiles, order: Sequence[str]) -> None:
        self.problem, self.unit, self.tiles, self.order = problem, unit, tiles, tuple(order)
        self.depth = len(self.order)
        band = problem.band
        self.trips = dict(tiles.trips)
        if band and tiles.pairs is not None and band.col in self.trips:
            first = next((x for x in self.order if x in (band.col, band.row)), band.col)
            inner = band.col if first != band.col or band.row is None else band.row
            self.trips[inner] = np.maximum(1.0, tiles.pairs / self.trips[first] if first != inner else tiles.pairs)
        self.multi = [np.asarray(self.trips[x] > 1, dtype=np.float64) for x in self.order]
        self.classes = list(itertools.product((0, 1), repeat=self.depth))
        self.counts = np.stack([self._count(c) for c in self.classes])

    def _count(self, moved: tuple[int, ...]) -> Floats:
        total = np.ones_like(self.tiles.compute)
        for position, later in enumerate(moved):
            if later:
                total = total * (self.trips[self.order[position]] - 1)
        return total

    def idle_positions(self, o: NestOperand) -> list[int]:
        """Positions of loops that the operand does not depend on but with such loops inside: where keeping pays."""
        on = [x in o.loops for x in self.order]
        return [p for p in range(self.depth) if not on[p] and any(on[p + 1 :])]

    def options(self, levels: Sequence[str]) -> Iterator[tuple[Keep, ...]]:
        """Every useful set of kept operands: per operand none, or one level and one position."""
        each: list[list[Keep | None]] = []
        for o in self.problem.operands:
            if o.kind == "local":
                continue
            spots = self.idle_positions(o)
            each.append([None, *(Keep(o.name, w, p) for p in spots for w in levels)])
        for chosen in itertools.product(*each):
            yield tuple(k for k in chosen if k)

    def traffic(self, keeps: Sequence[Keep]) -> Traffic:
        """Bytes per class of steps, and bytes occupied, when these operands are kept."""
        kept = {k.operand: k for k in keeps}
        inner, up, *moved_above = (np.zeros_like(self.counts) for _ in range(6))
        above, dram = moved_above[:2], moved_above[2:]
        last, last_all, room, room_above = (np.zeros_like(self.tiles.compute) for _ in range(4))
        for o in self.problem.operands:
            keep = kept.get(o.name)
            room = room + self._room(o, keep)
            if o.kind == "local":
                continue
            if keep and keep.where == OUTER:
                room_above = room_above + self._region(o, keep.since, spread=True) * o.bits / 8
            within = keep if keep and keep.where == INNER else None
            tile, spread, writes = self._tile_elements(o) / 8, self._spread(o), o.kind == "write"
            for c, moved in enumerate(self.classes):
                moves = self._moves(o, moved, within)
                if moves is None:
                    continue
                fresh = self._fresh(moved, o, keep) if keep and keep.where == OUTER else 1.0
                for back in (False, True) if writes and self._spills(o, moved, within) else (False,):
                    one = moves * tile * (o.partial_bits if back or self._spills(o, moved, within) else o.bits)
                    out = writes and not back
                    (up if out else inner)[c] += one
                    above[out][c] += one * spread
                    dram[out][c] += one * spread * fresh
            if writes:
                last, last_all = last + tile * o.bits, last_all + tile * o.bits * spread
        return Traffic(self.counts, inner, up, (above[0], above[1]), (dram[0], dram[1]), last, last_all, room, room_above)

    def _tile_elements(self, o: NestOperand) -> Floats:
        """Elements that one tile touches, scaled so that ragged and masked edges add up to the exact total."""
        elements = np.asarray(self.problem.elements(o.name, self.tiles.size), dtype=np.float64)
        whole = np.ones_like(elements)
        for x in self.problem.loops:
            if x.name in o.loops:
                whole = whole * self.trips[x.name] * self.tiles.ways[x.name]
        exact = o.total_bytes * 8 / o.bits
        band = self.problem.band
        if band and self.tiles.pairs is not None and band.col in o.loops:
            return elements  # tiles that exist are moved whole; how many exist is in the trips
        return np.minimum(elements, exact / whole) if o.kind != "local" else elements

    def _spread(self, o: NestOperand) -> Array:
        """Distinct copies over all instances that leave or reach the level above (one per reader without multicast)."""
        over = [x.name for x in self.problem.loops if x.name in o.loops or not self.unit.levels[-1].multicast]
        spread: Array = 1.0
        for name in over:
            spread = spread * self.tiles.ways[name]
        return spread

    def _moves(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> Floats | None:
        """1 where the operand's tile changes in this class of steps, None where it never does."""
        advanced = max((p for p in range(self.depth) if moved[p]), default=None)
        if keep and any(moved[p] for p in range(keep.since, self.depth) if self.order[p] not in o.loops):
            return None
        if advanced is None:
            return np.ones_like(self.tiles.compute) if o.kind != "write" else None
        if self.order[advanced] in o.loops:
            return np.ones_like(self.tiles.compute)
        inside = [self.multi[q] for q in range(advanced + 1, self.depth) if self.order[q] in o.loops]
        return np.maximum.reduce(inside) if inside else None

    def _spills(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> bool:
        """Whether this class of steps swaps unfinished sums: out at the accumulator's width, and back in."""
        reduced = {x.name for x in self.problem.loops if x.reduced and x.name not in o.loops}
        since = keep.since if keep else self.depth
        return bool(o.partial_bits) and any(moved[p] and self.order[p] in reduced and p < since for p in self.idle_positions(o))

    def _fresh(self, moved: tuple[int, ...], o: NestOperand, keep: Keep) -> float:
        """Whether a class of steps touches DRAM for an operand kept in the outer memory."""
        return 0.0 if any(moved[p] for p in range(keep.since, self.depth) if self.order[p] not in o.loops) else 1.0

    def _region(self, o: NestOperand, since: int, *, spread: bool) -> Floats:
        """Elements of the operand inside position `since`: all its tiles of the loops from there on."""
        elements = np.asarray(self.problem.elements(o.name, self.tiles.size), dtype=np.float64)
        for name in self.order[since:]:
            if name in o.loops:
                elements = elements * self.tiles.trips[name]
        return elements * (self._spread(o) if spread else 1.0)

    def _room(self, o: NestOperand, keep: Keep | None) -> Floats:
        """Bytes of the unit's memory: two buffers where tiles change, one region where kept, sums beside."""
        tile = np.asarray(self.problem.elements(o.name, self.tiles.size), dtype=np.float64)
        if o.kind == "local":
            spots = self.idle_positions(o)
            return (self._region(o, spots[0], spread=False) if spots else tile) * o.bits / 8
        loops = [self.multi[p] for p in range(self.depth) if self.order[p] in o.loops]
        buffers = 1 + np.maximum.reduce(loops) if loops else np.ones_like(tile)
        if keep and keep.where == INNER:
            region = self._region(o, keep.since, spread=False)
            width = max(o.bits, o.partial_bits)
            return np.maximum(region * width, np.minimum(region + tile, region * buffers) * o.bits) / 8
        sums = tile * o.partial_bits / 8
        return sums + tile * o.bits / 8 * (buffers if not o.partial_bits else 1)


    def cycles(self, traffic: Traffic, share: float) -> Floats:
        """Cycles of each tiling with `share` of the DRAM's bandwidth: the double-buffered sum over steps."""
        compute = self.tiles.compute
        total = compute + float(self.unit.template.fill_cycles()) + sum(x.latency_cycles for x in self.unit.levels)
        for c in range(len(self.classes)):
            move = self._transfer(
                traffic.inner[c], traffic.up[c], (traffic.above[0][c], traffic.above[1][c]), (traffic.dram[0][c], traffic.dram[1][c]), share
            )
            total = total + (traffic.counts[c] * np.maximum(compute, move) if c else move)
        none = np.zeros_like(compute)
        return np.asarray(total + self._transfer(none, traffic.last, (none, traffic.last_all), (none, traffic.last_all), share))

    def _transfer(self, down: Floats, up: Floats, above: tuple[Floats, Floats], dram: tuple[Floats, Floats], share: float) -> Floats:
        """Cycles to move a step's bytes: the slowest of the instance's port, the level above, and DRAM."""
        levels = self.unit.levels
        local, top = levels[-1], levels[1]
        slowest = np.maximum(down / local.fill_bytes_per_cycle, up / local.drain_bytes_per_cycle)
        if len(levels) > 2:
            slowest = np.maximum(slowest, _port(above, local, levels[-2]))
        return np.asarray(np.maximum(slowest, _port(dram, top, levels[0]) / share))


def _port(moved: tuple[Floats, Floats], below: Level, above: Level) -> Floats:
    """Cycles for reads and writes of a memory: one after another where it is half duplex, else side by side."""
    read, write = moved[0] / below.source_bytes_per_cycle, moved[1] / below.sink_bytes_per_cycle
    return np.asarray(read + write if above.half_duplex else np.maximum(read, write))
