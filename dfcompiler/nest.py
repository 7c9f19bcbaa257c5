"""Time and traffic of tiled loop nests, for many tilings in one call.

The machine. A unit runs one tile after another from its innermost memory. While it runs one, the next
tile's operands come in and the last one's results go out (double buffering), so a step takes the longest
of compute, network and DRAM; the first load and the last store have nothing to hide under. Ragged edge
tiles are charged the time of a whole tile, moves included (their bytes are exact), so a price is never too
low: the longest of two averages is less than the average of the longest. Instances walk in step; a tile
that is empty for all of them is skipped.

What moves in which steps is in `moves`; here it meets numbers: how many steps there are of each class, and how
many bytes a tile has. Traffic is linear in the bytes of tiles, so that of any residency is a sum over operands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.late import Late
from dfcompiler.moves import IN, INNER, Choices, Frame, Keep, Moves, kept
from dfcompiler.overlaps import mean_elements
from dfcompiler.problem import NestLoop, NestOperand, Problem
from dfcompiler.traffic import BYTES, LEVELS, Port, Terms, Traffic, ports, slowest

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tiles:
    """Tilings of a problem: per loop, tile sizes and over how many instances it is split; arrays that broadcast."""

    size: Mapping[str, Floats]
    ways: Mapping[str, Floats]
    trips: Mapping[str, Floats]
    compute: Floats  # cycles of one tile on one instance
    helper: Floats  # of which the vector unit beside is busy
    pairs: Floats | None = None  # tiles with points per pass over both masked loops, where tiles may be empty
    fill: Floats | None = None  # how much of such a tile's columns is inside the mask's hull: its share of bytes
    elements: Mapping[str, Floats] = field(default_factory=dict)  # per operand, of one tile
    live: Mapping[str, Floats] = field(default_factory=dict)  # steps of each masked loop in which there are points
    partly: tuple[tuple[Floats, Floats], ...] = ()  # how often a tile has so few rows, and its cycles; then `compute`,
    # `helper` are means
    points: Mapping[str, Floats] = field(default_factory=dict)  # of each loop, where tiles are not of all of it

    def points_of(self, loop: NestLoop) -> Array:
        """Points of a loop."""
        return self.points.get(loop.name, loop.size)


# Rows of moved bytes: into and out of one instance's memory, read from and written to the level above by all
# instances, read from and written to DRAM.
INNER_IN, INNER_OUT, ABOVE_READ, ABOVE_WRITE, DRAM_READ, DRAM_WRITE = range(6)


class Nest:
    """A problem on a unit: prices residencies of given tilings in an order of loops, each of which runs more than once
    in every tiling."""

    def __init__(self, problem: Problem, unit: Unit, tiles: Tiles, order: Sequence[str] | Moves) -> None:
        self.problem, self.unit, self.tiles = problem, unit, tiles
        self.moves = order if isinstance(order, Moves) else Moves(Frame.of(problem), order)
        self.order = self.moves.order
        self.ports = ports(unit)

    @cached_property
    def _elements(self) -> Floats:
        """Elements of one tile, `[operand, tiling]`."""
        return np.stack([self.tiles.elements[o.name] for o in self.problem.operands])

    @cached_property
    def _spreads(self) -> Floats:
        """Copies of them that leave or reach the level above, `[operand, tiling]`."""
        every = (spread(self.unit, self.tiles, o) for o in self.problem.operands)
        return np.stack([np.broadcast_to(x, self.tiles.compute.shape) for x in every])

    @cached_property
    def trips(self) -> dict[str, Floats]:
        """Tiles per loop that one instance runs; of the inner one of masked loops the mean over the outer one."""
        trips, pairs = dict(self.tiles.trips), self.tiles.pairs
        if pairs is not None:
            trips |= {n: live for n, live in self.tiles.live.items() if n == self.moves.thick}
            trips[self.moves.thin] = np.maximum(1.0, pairs / trips.get(self.moves.thick, 1.0))
        return trips

    @cached_property
    def counts(self) -> Floats:
        """Steps of each class, `[class, tiling]`."""
        counts = np.ones((1, *self.tiles.compute.shape))
        for name in self.moves.names:
            counts = np.concatenate([counts, counts * (self.trips[name] - 1)])
        return counts

    def traffic(self, keeps: Sequence[Keep] = ()) -> Traffic:
        """Traffic with these operands kept, all tiles as large as whole ones."""
        choices = self.choices(keeps)
        return Traffic(self.terms(choices), *(x.sum(0) for x in self.rooms(choices)))

    def choices(self, keeps: Sequence[Keep]) -> Choices:
        """One choice for every operand, with these kept."""
        return Choices.of([(i, self.moves, kept(o, keeps)) for i, o in enumerate(self.problem.operands)])

    def terms(self, choices: Choices, *, counted: bool = True) -> Terms:
        """What moves by each choice, in whatever order of the loops it stands; not `counted` is what is late."""
        inner = self._elements[choices.operand] / 8
        outer = inner * self._spreads[choices.operand]
        near, far = self.all_of(choices.near_whole), self.all_of(choices.far_whole)
        late = np.zeros((len(choices.operand), len(self.moves.classes), 1))
        terms = Terms(choices.near, choices.far, inner * near, outer * near, outer * far, choices.far, late, late)
        return (self.late if counted else Late(self, counted=False)).taken_out(choices, terms)

    def rooms(self, choices: Choices) -> tuple[Floats, Floats]:
        """Bytes that each choice takes `[choice, tiling]` of the unit's memory: two buffers where tiles change, one
        region where it is kept, a sum beside what leaves, three where it leaves unfinished (one goes, one is here, one
        comes); and of the memory above."""
        operands = [self.problem.operands[i] for i in choices.operand.tolist()]
        bits, partial = np.array([[o.bits] for o in operands]), np.array([[o.partial_bits] for o in operands])
        buffers = np.array([[2 if o.loops & set(self.order) else 1] for o in operands])
        local = np.array([[o.kind == "local"] for o in operands])
        tile = region = self._elements[choices.operand]
        for i, name in enumerate(self.moves.names):
            region = region * np.where(choices.inside[:, i], self.tiles.trips[name], 1.0)
        spills = choices.near[IN].any(-2) & np.array([[o.kind == "write"] for o in operands])
        sums = np.where(spills, 3 * partial, partial + bits)
        passing = tile * (np.where(partial > 0, sums, bits * buffers) / 8)
        widest = np.maximum(region * np.maximum(bits, partial), np.minimum(region + tile, region * buffers) * bits) / 8
        own = np.where(local, region * (bits / 8), np.where(choices.inner[:, None], widest, passing))
        return own, choices.outer[:, None] * (region * self._spreads[choices.operand] * bits / 8)

    def all_of(self, whole: npt.ArrayLike) -> Floats:
        """How much more passes that see all tiles of a masked loop move than the mean one, where some do."""
        thin = self.moves.thin
        if not np.any(whole):
            return np.ones(1)
        more = self.tiles.live.get(thin, self.tiles.trips[thin]) / self.trips[thin]
        return np.where(np.asarray(whole)[..., None], more, 1.0)

    @cached_property
    def late(self) -> Late:
        """What no class of steps tells."""
        return Late(self)

    def bytes(self, keeps: Sequence[Keep]) -> Floats:
        """Bytes of all steps and instances with these operands kept, [row, tiling]: ragged edges and masks counted."""
        found = np.zeros((6, *self.tiles.compute.shape))
        for o in self.problem.operands:
            found += self.bytes_of(o, kept(o, keeps))
        return found

    def bytes_of(self, o: NestOperand, keep: Keep | None) -> Floats:
        """The same of one operand that is kept so."""
        found = np.zeros((6, *self.tiles.compute.shape))
        for there, nest, k in self._dealt(o, keep) if o.kind != "local" else ():
            found += there * nest._bytes(o, k)
        return found

    def _dealt(self, o: NestOperand, keep: Keep | None) -> Iterator[tuple[Array, Nest, Keep | None]]:
        """The instances as machines of their own where some have two tiles of a loop and some have one, for which that
        loop does not run; with 1 for the tilings that have such instances."""
        x, tiles = next((x for x in self.problem.loops if np.any(self.single(o, x))), None), self.tiles
        if x is None:
            yield 1.0, self, keep
            return
        single, ways, whole, points = self.single(o, x), tiles.ways[x.name], tiles.size[x.name], tiles.points_of(x)
        rest = tuple(n for n in self.order if n != x.name)
        since = keep and replace(keep, since=keep.since - (x.name in self.order[: keep.since]))
        two = ways - single, points - single * whole, tiles.trips[x.name]
        one = np.maximum(1.0, single), np.maximum(1.0, single) * whole, np.ones_like(whole)
        every, few = np.ones_like(single), np.minimum(1.0, single)
        for there, order, held, values in ((every, self.order, keep, two), (few, rest, since, one)):
            some = [{**d, x.name: v} for d, v in zip((tiles.ways, tiles.points, tiles.trips), values, strict=True)]
            mine = replace(tiles, ways=some[0], points=some[1], trips=some[2])
            for part, nest, k in Nest(self.problem, self.unit, mine, order)._dealt(o, held):
                yield there * part, nest, k

    def single(self, o: NestOperand, x: NestLoop) -> Floats:
        """How many instances have one tile of a loop where others have two, if they do not share the operand's."""
        tiles, band = self.tiles, self.problem.band
        masked = {band.col, band.row, *band.others} if band else set()
        if x.name in masked or x.name not in self.order or (x.name not in o.loops and self.unit.levels[-1].multicast):
            return np.zeros_like(tiles.compute)
        fewer = 2 * tiles.ways[x.name] - np.ceil(tiles.points_of(x) / tiles.size[x.name])
        return np.where(tiles.trips[x.name] == 2, fewer, 0.0)

    def _bytes(self, o: NestOperand, keep: Keep | None) -> Floats:
        """Bytes of an operand, [row, tiling]."""
        found, all_ways = np.zeros((6, *self.tiles.compute.shape)), np.ones_like(self.tiles.compute)
        for ways in self.tiles.ways.values():
            all_ways = all_ways * ways
        copies, within = spread(self.unit, self.tiles, o), keep if keep and keep.where == INNER else None
        near, far = (self._copies(o, k) * self._mean_elements(o, k) / 8 for k in (within, keep))
        flow = self.moves.flow(o, keep, widest=False)
        for row in (INNER_IN, INNER_OUT):
            moved = (flow.near[row, :, None] * self.counts).sum(0) * self.all_of(flow.near_whole)
            found[row] += moved * all_ways * near
            found[row + 2] += moved * copies * near
            found[row + 4] += (flow.far[row, :, None] * self.counts).sum(0) * self.all_of(flow.far_whole) * copies * far
        if o.kind == "write":
            held = (self.moves.held(o, k) for k in (within, keep))
            finished, once = (o.bits * self.all_of(self.moves.sees_all(o, k)) for k in held)
            found[INNER_OUT] += finished * all_ways * near
            found[ABOVE_WRITE] += finished * copies * near
            found[DRAM_WRITE] += 0.0 if o.pinned else once * copies * far
        return found

    def _mean_elements(self, o: NestOperand, keep: Keep | None) -> Floats:
        """Elements of a tile on average over all that move, so that they add up to what really moves, or to more: in
        passes over tiles that a mask leaves, those that it cuts are whole ones."""
        band, held = self.problem.band if self.tiles.pairs is not None else None, self.moves.held(o, keep)
        masked = {band.row, band.col} if band else set()
        if self._rows_apart(o, held) and self.tiles.fill is not None:
            return mean_elements(self.problem, self.tiles, o, masked) * self.tiles.fill
        if self.moves.passes_partly(o, held) or self.problem.proportional(o) < o.loops:
            masked |= {*band.others} if band else set()
            return mean_elements(self.problem, self.tiles, o, masked)
        return self.mean_elements(o)

    def mean_elements(self, o: NestOperand) -> Floats:
        """The same where all tiles that move count alike."""
        whole, thin, thick = np.ones_like(self.tiles.compute), self.moves.thin, self.moves.thick
        for name in o.loops:
            again = name == thin and thick and thick not in o.loops  # each of its steps has many passes
            steps = self.tiles.live.get(name, self.tiles.trips[name]) if again else self.trips[name]
            whole = whole * steps * self.tiles.ways[name]
        total: Array = o.total_bytes * 8 / o.bits
        for x in (x for x in self.problem.loops if x.name in o.loops):
            total = total * self.tiles.points_of(x) / x.size
        return np.minimum(self.tiles.elements[o.name], total / whole)

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
        if self.moves.thin != band.col:
            return self.moves.passes_partly(o, held)
        return not (held and self.moves.thick in self.order[held.since :])

    def _copies(self, o: NestOperand, keep: Keep | None) -> Array:
        """How many of the copies that instances take are taken: without multicast, none for instances without tiles."""
        found: Array = 1.0
        counted = self.problem.band.row if self.problem.band and self._rows_apart(o, self.moves.held(o, keep)) else None
        for x in self.problem.loops:
            ways, trips = self.tiles.ways[x.name], self.tiles.trips[x.name]
            if x.name in o.loops or x.name == counted or self.unit.levels[-1].multicast:
                continue
            tiles = np.ceil(self.tiles.points_of(x) / self.tiles.size[x.name])
            again = [
                p for p in self.moves.idle_positions(o) if self.order[p] == x.name and not (keep and keep.since <= p)
            ]
            found = found * (tiles / (trips * ways) if again else np.minimum(1.0, tiles / ways))
        return found

    @cached_property
    def last(self) -> list[Floats]:
        """Bytes of the last store: of one instance, of all, and to DRAM."""
        near, above, dram = np.zeros((3, len(self.tiles.compute)))
        for o in (o for o in self.problem.operands if o.kind == "write"):
            one = self.tiles.elements[o.name] * o.bits / 8
            every = one * spread(self.unit, self.tiles, o)
            near, above, dram = near + one, above + every, dram + every * (not o.pinned)
        return [near, above, dram]

    @cached_property
    def store(self) -> Floats:
        """Cycles of the last store, which nothing hides."""
        return np.asarray(np.maximum.reduce([p.out * self.last[LEVELS.index(p.level)] for p in self.ports]))

    @property
    def waits(self) -> float:
        """Cycles that are paid once: for the unit's pipeline to fill, and for the first byte to arrive."""
        return float(self.unit.template.fill_cycles()) + sum(x.latency_cycles for x in self.unit.levels)

    def cycles(self, traffic: Traffic, shares: Sequence[float]) -> list[Floats]:
        """Cycles of each tiling for each share of the way to memory: the double-buffered sum over steps.

        A share is one of the DRAM's bandwidth, and with it of the network's and of the memories between, so that
        units that run at once never move more than there is.
        """
        compute, counts = self.tiles.compute, self.counts
        one = slowest(self.ports, traffic.terms)
        kinds, found = self.tiles.partly or ((None, compute),), []
        late, every = (x.sum(0) for x in (traffic.terms.late, traffic.terms.late_all))
        for share in shares:
            move, steps = one / share, compute + self.waits
            for often, tile in kinds:
                longer = (counts[1:] * np.maximum(move[1:], tile)).sum(0)
                steps = steps + (longer if often is None else longer * often)
            if np.any(every):
                steps = steps + self.late.cycles(late, every, move, share)
            found.append(np.asarray(move[0] + steps + self.store / share))
        return found

    def dram_bytes(self, traffic: Traffic) -> Floats:
        """Bytes to and from DRAM of each tiling, all tiles as large as whole ones."""
        bytes_ = slowest([Port(BYTES, 1.0, 1.0)], traffic.terms)
        return np.asarray((self.counts * bytes_).sum(0) + self.last[2])


def spread(unit: Unit, tiles: Tiles, o: NestOperand) -> Array:
    """Distinct copies over all instances that leave or reach the level above (one per reader without multicast)."""
    found: Array = 1.0
    for name, ways in tiles.ways.items():
        if name in o.loops or not unit.levels[-1].multicast:
            found = found * ways
    return found
