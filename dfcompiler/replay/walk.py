"""Which tile runs when, and on which instance: the loops of a mapping, walked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from dfcompiler.hardware.chip import Unit
from dfcompiler.moves import Keep
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.replay.points import Key, Space


@dataclass(frozen=True)
class Mapped:
    """What is run: a problem on a unit with a tiling, an order of the loops that run more than once, and keeps.

    `helper` is the vector unit beside, `ways` has every loop.
    """

    problem: Problem
    unit: Unit
    helper: Unit | None
    size: Mapping[str, int]
    ways: Mapping[str, int]
    order: tuple[str, ...]
    keeps: tuple[Keep, ...]


@dataclass(frozen=True)
class Step:
    """One step of all instances: where the loops stand, and the tile of every instance that has one."""

    at: Mapping[str, int]
    running: Mapping[Key, Key]  # instance -> tile, both by loop


class Walk:
    """The steps of a mapping. Tiles are dealt to the instances in turn, which walk in step; a tile without points
    is skipped, and a step of such tiles too."""

    def __init__(self, mapped: Mapped, space: Space) -> None:
        self.mapped, self.space = mapped, space
        self.names = [x.name for x in mapped.problem.loops]
        self.extent = {x.name: x.size for x in mapped.problem.loops}
        self.count = {n: ceil(self.extent[n] / mapped.size[n]) for n in self.names}
        trips = {n: ceil(self.count[n] / mapped.ways[n]) for n in self.names}
        self.instances = list(itertools.product(*(range(mapped.ways[n]) for n in self.names)))
        body = mapped.problem.group.shape.body
        self.tiles = [space.by_tile(space.points(s.indices), mapped.size) for s in body]
        self._within = [self.positions(space.loops_of(s.indices)) for s in body]
        self._live = self._with_points([i for i, s in enumerate(body) if space.masked(s.indices)])
        self.steps: list[Step] = []
        for counters in itertools.product(*(range(trips[n]) for n in mapped.order)):
            at = dict.fromkeys(self.names, 0) | dict(zip(mapped.order, counters, strict=True))
            running = {c: tile for c in self.instances if (tile := self._tile(at, c)) is not None}
            if running:
                self.steps.append(Step(at, running))

    def positions(self, loops: Sequence[str] | frozenset[str]) -> list[int]:
        """Places in a tile's key that belong to these loops."""
        return [i for i, n in enumerate(self.names) if n in loops]

    def part(self, statement: int, tile: Key) -> Key:
        """A tile's key along the loops of a statement only."""
        return tuple(tile[i] for i in self._within[statement])

    def _tile(self, at: Mapping[str, int], instance: Key) -> Key | None:
        tile = tuple(at[n] * self.mapped.ways[n] + c for n, c in zip(self.names, instance, strict=True))
        if any(i >= self.count[n] for n, i in zip(self.names, tile, strict=True)):
            return None
        if self.mapped.problem.facts.sequential:  # a state goes through every tile
            return tile
        return tile if tile in self._live else None

    def _with_points(self, masked: Sequence[int]) -> set[Key]:
        """Tiles in which every masked statement has points; and for points of others that no such tile has, one."""
        every = list(itertools.product(*(range(self.count[n]) for n in self.names)))
        live = {tile for tile in every if all(self.part(s, tile) in self.tiles[s] for s in masked)}
        for s, tiles in enumerate(self.tiles if len(live) < len(every) else ()):
            seen = {self.part(s, tile) for tile in live}
            for tile in every:
                part = self.part(s, tile)
                if part in tiles and part not in seen:
                    seen.add(part)
                    live.add(tile)
        return live

    def long(self, tile: Key) -> dict[str, int]:
        """Points of each loop in a tile: fewer at the ragged edges."""
        size = self.mapped.size
        return {n: min(size[n], self.extent[n] - i * size[n]) for n, i in zip(self.names, tile, strict=True)}

    def sharers(self, o: NestOperand) -> list[list[Key]]:
        """Instances that share a copy: those that receive the same tiles, or each by itself without multicast."""
        if not self.mapped.unit.levels[-1].multicast:
            return [[c] for c in self.instances]
        by: dict[Key, list[Key]] = {}
        for c in self.instances:
            by.setdefault(tuple(c[i] for i in self.positions(o.loops)), []).append(c)
        return list(by.values())

    def visits(self, o: NestOperand, members: Sequence[Key]) -> Iterator[tuple[int, Key, list[Key]]]:
        """(step, key of the operand's tile, tiles of the members) for every step in which some of them run."""
        on = self.positions(o.loops)
        for i, step in enumerate(self.steps):
            tiles = [step.running[c] for c in members if c in step.running]
            if tiles:
                yield i, tuple(tiles[0][p] for p in on), tiles

    def scope(self, step: int, since: int) -> Key:
        """Where the loops outside of a position stand: what is kept there leaves when this changes."""
        return tuple(self.steps[step].at[n] for n in self.mapped.order[:since])
