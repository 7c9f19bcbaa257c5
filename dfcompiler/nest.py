"""Time and traffic of tiled loop nests, for many tilings in one call.

The machine. A unit runs one tile after another from its innermost memory. While it runs one, the next
tile's operands come in and the last one's results go out (double buffering), so a step takes the longest
of compute, network and DRAM; the first load and the last store have nothing to hide under. Ragged edge
tiles are charged the time of a whole tile, moves included (their bytes are exact), so a price is never too
low: the longest of two averages is less than the average of the longest. Instances walk in step; a tile
that is empty for all of them is skipped.

Which operands move in a step depends only on which loops stand at their first iteration: with loops
`l0 .. l(D-1)`, outermost first, the steps fall into 2^D classes whose sizes are products of trips. An
operand moves when a loop that it depends on has moved, unless it is kept: kept at a level across a
loop that it does not depend on, it is loaded in that loop's first iteration only and occupies its whole
region inside that loop. Sums that are not kept across a reduced loop go out unfinished and come back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.late import Late
from dfcompiler.overlaps import mean_elements
from dfcompiler.problem import NestOperand, Problem

Floats = npt.NDArray[np.float64]

INNER, OUTER = "inner", "outer"  # where an operand may be kept: the unit's own memory, or the one above it


@dataclass(frozen=True)
class Keep:
    """`operand` stays in the inner or outer memory from loop position `since` inwards."""

    operand: str
    where: str
    since: int
    kind: str = ""  # on the way in (`read`) or out (`write`); both where it is not said


@dataclass(frozen=True)
class Tiles:
    """Tilings of a problem: per loop, tile sizes and over how many instances it is split; arrays of one length."""

    size: Mapping[str, Floats]
    ways: Mapping[str, Floats]
    trips: Mapping[str, Floats]
    compute: Floats  # cycles of one tile on one instance
    helper: Floats  # of which the vector unit beside is busy
    pairs: Floats | None = None  # tiles with points per pass over both masked loops, where tiles may be empty
    fill: Floats | None = None  # how much of such a tile's columns is inside the mask's hull: its share of bytes
    elements: Mapping[str, Floats] = field(default_factory=dict)  # per operand, of one tile
    live: Mapping[str, Floats] = field(default_factory=dict)  # steps of each masked loop in which there are points
    partly: tuple[
        tuple[Floats, Floats], ...
    ] = ()  # how often a tile has so few rows, its cycles; those above are means


# Rows of moved bytes: into and out of one instance's memory, read from and written to the level above by all
# instances, read from and written to DRAM.
INNER_IN, INNER_OUT, ABOVE_READ, ABOVE_WRITE, DRAM_READ, DRAM_WRITE = range(6)


@dataclass(frozen=True)
class Traffic:
    """What one order and one set of kept operands move, per class of steps.

    `moved[row, class, tiling]` are bytes of one step; class 0 is the first step. `last` (one instance) and
    `last_all` (all) are the bytes of the last store. `room` bytes are occupied in one instance's memory,
    `room_above` in the memory above. `late[class, tiling]` are cycles of one late move (see `Late`), `late_all` those
    of all. Traffic of several operands adds up.
    """

    moved: Floats
    last: Floats
    last_all: Floats
    room: Floats
    room_above: Floats
    late: Array = 0.0
    late_all: Array = 0.0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.moved + other.moved,
            self.last + other.last,
            self.last_all + other.last_all,
            self.room + other.room,
            self.room_above + other.room_above,
            self.late + other.late,
            self.late_all + other.late_all,
        )


def kept(o: NestOperand, keeps: Sequence[Keep]) -> Keep | None:
    """Where an operand is kept, if it is."""
    return next((k for k in keeps if k.operand == o.name and k.kind in ("", o.kind)), None)


class Nest:
    """A problem on a unit: prices orders and residencies of given tilings."""

    def __init__(self, problem: Problem, unit: Unit, tiles: Tiles, order: Sequence[str]) -> None:
        self.problem, self.unit, self.tiles, self.order = problem, unit, tiles, tuple(order)
        self.depth = len(self.order)
        band = problem.band
        self.trips = dict(tiles.trips)
        self.thin, self.thick = "", ""  # the masked loops: the inner one has fewer trips, averaged over the outer one
        if band and tiles.pairs is not None:
            live = [x for x in self.order if x in (band.col, band.row)]
            self.thick, self.thin = ("", *live, band.col)[:2] if len(live) < 2 else (live[0], live[1])
            if self.thick in tiles.live:
                self.trips[self.thick] = tiles.live[self.thick]
            self.trips[self.thin] = np.maximum(1.0, tiles.pairs / self.trips.get(self.thick, 1.0))
        again = [tiles.trips[x] > 1 for x in self.order]
        self.steady = all(bool(x.all()) for x in again)  # every loop repeats: what moves is the same for all tilings
        self.multi = [x.astype(np.float64) for x in again]
        self.classes = list(itertools.product((0, 1), repeat=self.depth))
        self.counts = np.stack([self._count(c) for c in self.classes])
        self.late = Late(self)

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

    @cached_property
    def nothing(self) -> Traffic:
        """No traffic at all."""
        none = np.zeros_like(self.tiles.compute)
        return Traffic(np.zeros((6, *self.counts.shape)), none, none, none, none)

    def traffic(self) -> Traffic:
        """Traffic with nothing kept."""
        total = self.nothing
        for o in self.problem.operands:
            total = total + self.part(o, None)
        return total

    def part(self, o: NestOperand, keep: Keep | None, *, bound: bool = False) -> Traffic:
        """One operand's share of the traffic, all tiles as large as whole ones; with `bound` never more than that."""
        within, beyond = (keep if keep and keep.where == w else None for w in (INNER, OUTER))
        none = np.zeros_like(self.tiles.compute)
        room = none if bound else self._room(o, within)
        if o.kind == "local":
            return Traffic(np.zeros((6, *self.counts.shape)), none, none, room, none)
        spread, tile = self._spread(o), self.tiles.elements[o.name] / 8
        transfers = list(self._transfers(o, keep, widest=True, bound=bound))
        if self.steady and all(isinstance(x, float) for _, _, size, fresh in transfers for x in (size, fresh)):
            one, dram = np.zeros((2, 2, len(self.classes), 1))
            for c, row, size, from_dram in transfers:
                one[row, c], dram[row, c] = size, size * from_dram
            moved = np.concatenate([one * tile, one * (tile * spread), dram * (tile * spread)])
        else:
            moved = np.zeros((6, *self.counts.shape))
            for c, row, size, from_dram in transfers:
                moved[row, c] += size * tile
                moved[row + 2, c] += size * tile * spread
                moved[row + 4, c] += size * tile * spread * from_dram
        last = tile * o.bits if o.kind == "write" else none
        region = self._region(o, beyond.since, spread=True) * o.bits / 8 if beyond else none
        held, near = self._held(o, keep), self._held(o, within)
        late = self.late.taken_out(
            o, held, moved, near is None, 1.0 if bound else self._first_pass(o, held), bound=bound
        )
        return Traffic(moved, last, last * spread, room, region, *late)

    def bytes(self, keeps: Sequence[Keep]) -> Floats:
        """Bytes of all steps and instances with these operands kept, [row, tiling]: ragged edges and masks counted."""
        found, all_ways = np.zeros((6, *self.tiles.compute.shape)), np.ones_like(self.tiles.compute)
        for ways in self.tiles.ways.values():
            all_ways = all_ways * ways
        for o in (x for x in self.problem.operands if x.kind != "local"):
            keep = kept(o, keeps)
            spread, within = self._spread(o), keep if keep and keep.where == INNER else None
            near, far = (self._copies(o, k) * self._mean_elements(o, k) / 8 for k in (within, keep))
            for c, row, size, from_dram in self._transfers(o, keep):
                one = self.counts[c] * size
                found[row] += one * all_ways * near
                found[row + 2] += one * spread * near
                found[row + 4] += one * spread * far * from_dram
            if o.kind == "write":
                finished, once = (o.bits * self._first_pass(o, self._held(o, k)) for k in (within, keep))
                found[INNER_OUT] += finished * all_ways * near
                found[ABOVE_WRITE] += finished * spread * near
                found[DRAM_WRITE] += once * spread * far
        return found

    def _transfers(
        self, o: NestOperand, keep: Keep | None, *, widest: bool = False, bound: bool = False
    ) -> Iterator[tuple[int, int, Array, Array]]:
        """(class of steps, INNER_IN or INNER_OUT, bits of each of a tile's elements that move, how much of that is
        from or to DRAM). Of sums that leave unfinished, the first pass's are wide and the last pass's are not; here
        it is the first that counts as finished, or with `widest` none."""
        within, beyond = (keep if keep and keep.where == w else None for w in (INNER, OUTER))
        writes = o.kind == "write"
        done, held = self._finished_once(o), self._held(o, within)
        more = 1.0 if bound else self._first_pass(o, held or beyond)
        spilling = [writes and self._spills(o, moving, within) for moving in self.classes]
        wide = widest and any(spilling)
        for c, moving in enumerate(self.classes):
            changes, spills = self._moves(o, moving, held), spilling[c]
            if changes is None:
                continue
            bits = max(o.bits, o.partial_bits) if wide else o.partial_bits if spills else o.bits
            one = changes * float(bits) * (more if held else 1.0)
            fresh = 1.0 if not beyond else more if self._fresh(moving, o, beyond) else 0.0
            for out in (True, False) if spills else (writes,):
                yield c, INNER_OUT if out else INNER_IN, one, fresh if not done else 1.0

    def _finished_once(self, o: NestOperand) -> Keep | None:
        """A result that is no sum itself but made of sums leaves once they are done: as if kept, without room."""
        reduced = {x.name for x in self.problem.loops if x.reduced}
        idle = [p for p in self.idle_positions(o) if self.order[p] in reduced]
        return Keep(o.name, INNER, idle[0]) if idle and o.kind == "write" and not o.partial_bits else None

    def _held(self, o: NestOperand, keep: Keep | None) -> Keep | None:
        """Since where an operand moves in the first iterations only: because it is kept, or finished once."""
        return min((k for k in (keep, self._finished_once(o)) if k), key=lambda k: k.since, default=None)

    def _mean_elements(self, o: NestOperand, keep: Keep | None) -> Floats:
        """Elements of a tile on average over all that move, so that they add up to what really moves, or to more: in
        passes over tiles that a mask leaves, those that it cuts are whole ones."""
        band, held = self.problem.band if self.tiles.pairs is not None else None, self._held(o, keep)
        masked = {band.row, band.col} if band else set()
        if self._rows_apart(o, held) and self.tiles.fill is not None:
            return mean_elements(self.problem, self.tiles, o, masked) * self.tiles.fill
        if self._passes_partly(o, held) or self.problem.proportional(o) < o.loops:
            masked |= {*band.others} if band else set()
            return mean_elements(self.problem, self.tiles, o, masked)
        whole = np.ones_like(self.tiles.compute)
        for name in o.loops:
            again = name == self.thin and self.thick and self.thick not in o.loops  # each of its steps has many passes
            whole = (
                whole
                * (self.tiles.live.get(name, self.tiles.trips[name]) if again else self.trips[name])
                * self.tiles.ways[name]
            )
        return np.minimum(self.tiles.elements[o.name], o.total_bytes * 8 / o.bits / whole)

    def _passes_partly(self, o: NestOperand, held: Keep | None) -> bool:
        """Whether an operand is moved again in passes over only those tiles that have points."""
        over = self.thick if self.thick and self.thin in o.loops else self.thin
        if over not in self.order or over in o.loops:
            return False
        at = self.order.index(over)
        return at in self.idle_positions(o) and not (held and held.since <= at)

    def _rows_apart(self, o: NestOperand, held: Keep | None) -> bool:
        """Whether each row tile takes those columns of an operand that it needs, and not all that any row needs."""
        band = self.problem.band
        if self.problem.crowd and {self.problem.crowd.col, self.problem.crowd.row or ""} <= {*o.loops, ""}:
            return self.tiles.fill is not None
        if (
            band is None
            or self.tiles.fill is None
            or band.col not in o.loops
            or band.row in o.loops
            or o.kind == "write"
        ):
            return False
        if self.problem.proportional(o) < o.loops:
            return False
        if self.thin != band.col:
            return self._passes_partly(o, held)
        return not (held and self.thick in self.order[held.since :])

    def _copies(self, o: NestOperand, keep: Keep | None) -> Array:
        """How many of the copies that instances take are taken: without multicast, none for instances without tiles."""
        found: Array = 1.0
        counted = self.problem.band.row if self.problem.band and self._rows_apart(o, self._held(o, keep)) else None
        for x in self.problem.loops:
            ways, trips = self.tiles.ways[x.name], self.tiles.trips[x.name]
            if x.name in o.loops or x.name == counted or self.unit.levels[-1].multicast:
                continue
            tiles = np.ceil(x.size / self.tiles.size[x.name])
            again = [p for p in self.idle_positions(o) if self.order[p] == x.name and not (keep and keep.since <= p)]
            found = found * (tiles / (trips * ways) if again else np.minimum(1.0, tiles / ways))
        return found

    def _first_pass(self, o: NestOperand, keep: Keep | None) -> Array:
        """An operand kept across a masked loop is loaded whole, though each pass sees only some of its tiles."""
        passes = self.thick and self.thick not in o.loops and self.thin in o.loops
        if keep is None or not passes or self.thick not in self.order[keep.since :]:
            return 1.0
        return self.tiles.live.get(self.thin, self.tiles.trips[self.thin]) / self.trips[self.thin]

    def _spread(self, o: NestOperand) -> Array:
        """Distinct copies over all instances that leave or reach the level above (one per reader without multicast)."""
        over = [x.name for x in self.problem.loops if x.name in o.loops or not self.unit.levels[-1].multicast]
        spread: Array = 1.0
        for name in over:
            spread = spread * self.tiles.ways[name]
        return spread

    def _moves(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> Array | None:
        """1 where the operand's tile changes in this class of steps, None where it never does."""
        advanced = max((p for p in range(self.depth) if moved[p]), default=None)
        if keep and any(moved[p] for p in range(keep.since, self.depth) if self.order[p] not in o.loops):
            return None
        if advanced is None:
            return 1.0 if o.kind != "write" else None
        if self.order[advanced] in o.loops:
            return 1.0
        if self.steady:
            return 1.0 if any(self.order[q] in o.loops for q in range(advanced + 1, self.depth)) else None
        inside = [self.multi[q] for q in range(advanced + 1, self.depth) if self.order[q] in o.loops]
        return np.maximum.reduce(inside) if inside else None

    def _spills(self, o: NestOperand, moved: tuple[int, ...], keep: Keep | None) -> bool:
        """Whether this class of steps swaps unfinished sums: out at the accumulator's width, and back in."""
        reduced = {x.name for x in self.problem.loops if x.reduced and x.name not in o.loops}
        since = keep.since if keep else self.depth
        return bool(o.partial_bits) and any(
            moved[p] and self.order[p] in reduced and p < since for p in self.idle_positions(o)
        )

    def _fresh(self, moved: tuple[int, ...], o: NestOperand, keep: Keep) -> bool:
        """Whether a class of steps touches DRAM for an operand kept in the outer memory."""
        return not any(moved[p] for p in range(keep.since, self.depth) if self.order[p] not in o.loops)

    def _region(self, o: NestOperand, since: int, *, spread: bool) -> Floats:
        """Elements of the operand inside position `since`: all its tiles of the loops from there on."""
        elements = self.tiles.elements[o.name]
        for name in self.order[since:]:
            if name in o.loops:
                elements = elements * self.tiles.trips[name]
        return elements * (self._spread(o) if spread else 1.0)

    def _room(self, o: NestOperand, keep: Keep | None) -> Floats:
        """Bytes of the unit's memory: two buffers where tiles change, one region where kept, sums beside."""
        tile = self.tiles.elements[o.name]
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

    def cycles(self, traffic: Traffic, shares: Sequence[float]) -> list[Floats]:
        """Cycles of each tiling for each share of the way to memory: the double-buffered sum over steps.

        A share is one of the DRAM's bandwidth, and with it of the network's and of the memories between, so that
        units that run at once never move more than there is.
        """
        levels, compute = self.unit.levels, self.tiles.compute
        local, top, m = levels[-1], levels[1], traffic.moved
        near = np.maximum(m[INNER_IN] / local.fill_bytes_per_cycle, m[INNER_OUT] / local.drain_bytes_per_cycle)
        last = traffic.last / local.drain_bytes_per_cycle
        if len(levels) > 2:
            near = np.maximum(near, _port(m[ABOVE_READ], m[ABOVE_WRITE], local, levels[-2]))
            last = np.maximum(last, traffic.last_all / local.sink_bytes_per_cycle)
        into, out = (rate * top.instances for rate in (top.fill_bytes_per_cycle, top.drain_bytes_per_cycle))
        dram = _port(m[DRAM_READ], m[DRAM_WRITE], top, levels[0])
        dram = np.maximum(dram, np.maximum(m[DRAM_READ] / into, m[DRAM_WRITE] / out))
        last_dram = traffic.last_all / min(top.sink_bytes_per_cycle, out)
        once = compute + float(self.unit.template.fill_cycles()) + sum(x.latency_cycles for x in levels)
        found, kinds = [], self.tiles.partly or ((np.ones_like(compute), compute),)
        for share in shares:
            move = np.maximum(near, dram) / share
            steps = sum((self.counts[1:] * np.maximum(move[1:], c) * often).sum(0) for often, c in kinds)
            if np.any(traffic.late_all):
                steps = steps + self.late.cycles(traffic.late, traffic.late_all, move, share)
            found.append(np.asarray(once + move[0] + steps + np.maximum(last, last_dram) / share))
        return found


def _port(read: Floats, write: Floats, below: Level, above: Level) -> Floats:
    """Cycles for reads and writes of a memory: one after another where it is half duplex, else side by side."""
    one, two = read / below.source_bytes_per_cycle, write / below.sink_bytes_per_cycle
    return np.asarray(one + two if above.half_duplex else np.maximum(one, two))
