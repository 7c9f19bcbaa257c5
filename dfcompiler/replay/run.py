"""A mapping, run from its first load to its last store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Infeasible
from dfcompiler.graph import TensorType
from dfcompiler.moves import Keep
from dfcompiler.opshape import Statement, accesses, walk
from dfcompiler.problem import NestOperand
from dfcompiler.replay.body import NEW, NOWHERE, OLD, Body, Locals
from dfcompiler.replay.buffers import LEVELS, Moves, Reads, Writes
from dfcompiler.replay.clock import Clock
from dfcompiler.replay.points import Bools, Key, Points, Space, flat, uncharted
from dfcompiler.replay.walk import Mapped, Walk
from dfcompiler.scalars import Floats, Ints
from dfcompiler.semantics import Arrays
from dfcompiler.text import tree as t

DRAWS = 64  # of the indices of look-ups, over which their bytes are averaged


@dataclass(frozen=True)
class Replay:
    """What came out. `bytes` are by level (`LEVELS`), `parts` those of every operand; `error_bytes` is the
    error of each that sampling leaves, 0 but for look-ups. `held_bytes` is the most that an instance's memory holds of
    operands at once: what a step works on, what comes in for the next one, and what the last one left. `due` are the
    elements that must be right: those written, and those for which every statement has points."""

    results: Mapping[str, Floats]
    due: Mapping[str, Bools]
    cycles: Mapping[float, float]
    bytes: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]
    error_bytes: Mapping[str, float]
    held_bytes: float
    steps: int


def replay(mapped: Mapped, operands: Arrays, shares: Sequence[float], *, poison: bool = True, seed: int = 0) -> Replay:
    """Run a mapping on these operands, timed for each share of the ways to memory.

    With `poison` every element that no tile declares to touch is not a number, in operands and between statements, and
    what another tile has overwritten of an operand updated in place; without, elements of masked points are 0. Raises
    Diag `wrong-nest` where the mapping asks for what no tile can do, and Infeasible `no-replay` for an op that itself
    computes where it reads or writes.
    """
    return _Run(mapped, operands, poison, seed).run(shares)


def drawn(kind: TensorType, count: int, rng: np.random.Generator) -> npt.NDArray[np.generic]:
    """Random values of a tensor, along a leading axis; indices are within their dimension and distinct where they
    must be."""
    shape = (count, *kind.shape)
    if kind.within is None:
        return rng.standard_normal(shape)
    if kind.distinct:
        return np.asarray(np.argsort(rng.random((*shape[:-1], kind.within)), axis=-1)[..., : shape[-1]])
    return rng.integers(kind.within, size=shape)


class _Run:
    def __init__(self, mapped: Mapped, operands: Arrays, poison: bool, seed: int) -> None:
        self.mapped, self.poison = mapped, poison
        self.space = Space(mapped.problem)
        self.walk = Walk(mapped, self.space)
        self.body = Body(self.walk, poison)
        self.tiles = [tile for step in self.walk.steps for tile in step.running.values()]
        if not self.walk.steps:
            raise Infeasible("no-replay", f"no tile of `{self.space.shape.name}` has points", self.space.shape.span)
        self.draws = self._draws(operands, np.random.default_rng(seed))
        self.dram = {n: np.append(np.asarray(a, dtype=np.float64).ravel(), np.nan) for n, a in operands.items()}
        self.homes: dict[str, Floats] = {}  # results in DRAM
        self.stored: dict[str, Bools] = {}  # which of their elements have been written
        self.latest: dict[str, Floats] = {}  # what has been computed of them, wherever it is
        self.ends: dict[str, dict[Key, Bools]] = {}  # which of their elements a tile writes
        self.gone: dict[str, Bools] = {}  # which of them are no longer what they were before the op
        self.reads: dict[str, dict[Key, Reads]] = {}
        self.writes: dict[str, dict[Key, Writes]] = {}
        self.locals: dict[Key, Locals] = {}
        outer = mapped.problem.operands
        for o in (o for o in outer if o.kind == "write"):
            self._out(replace(o, loops=self._loops(o)))
        for o in (o for o in outer if o.kind == "read"):
            self._in(replace(o, loops=self._loops(o)))

    def run(self, shares: Sequence[float]) -> Replay:
        moves = [Moves() for _ in range(len(self.walk.steps) + 1)]
        reads = list({id(b): b for by in self.reads.values() for b in by.values()}.values())
        writes = list({id(b): b for by in self.writes.values() for b in by.values()}.values())
        held: list[dict[Key, float]] = []
        for i, step in enumerate(self.walk.steps):
            for read in reads:
                read.load(i, moves)
            for out in writes:
                out.load(i, moves)
            own: list[Mapping[Key, Reads | Writes]] = [*self.reads.values(), *self.writes.values()]
            held.append({c: sum(by[c].held(i) for by in own) for c in step.running})
            for instance, tile in step.running.items():
                self._tile(i, instance, tile)
            for name, gone in self.gone.items():
                gone |= np.logical_or.reduce([self.ends[name][tile] for tile in step.running.values()])
            for out in writes:
                out.store(i, moves)
        clock = Clock(self.walk)
        buffers: list[Reads | Writes] = [*reads, *writes]
        parts: dict[str, Floats] = {}
        for b in buffers:
            parts[b.o.name] = parts.get(b.o.name, np.zeros(len(LEVELS))) + b.moved
        total = dict(zip(LEVELS, sum(parts.values(), np.zeros(len(LEVELS))).tolist(), strict=True))
        errors = {level: sum(b.error(level) * b.o.bits / 8 for b in reads) for level in LEVELS}
        due = {n: self._due(n) for n in self.homes}
        for name, stored in self.stored.items():
            due[name] |= stored
        results = {n: home[:-1] for n, home in self.homes.items()}
        cycles = {s: clock.cycles(moves, s) for s in shares}
        each = {n: dict(zip(LEVELS, moved.tolist(), strict=True)) for n, moved in parts.items()}
        most = max(
            bytes_ + moves[i + 1].inner_in.get(c, 0.0) + moves[i].inner_out.get(c, 0.0)
            for i, at in enumerate(held)
            for c, bytes_ in at.items()
        )
        return Replay(results, due, cycles, total, each, errors, most, len(self.walk.steps))

    def _tile(self, step: int, instance: Key, tile: Key) -> None:
        here = self.locals.setdefault(instance, self.body.fresh())
        self.body.forget(step, tile, here)
        empty = {n: np.full(prod(self.body.extents[n]) + 1, np.nan) for n in self.body.outer}  # nothing has come in yet
        store = empty | here.values
        for name, by in self.reads.items():
            store[name] = by[instance].values[by[instance].key(tile)]
        for name, out in self.writes.items():
            if name in self.reads:
                store[name + OLD] = self._before(name, store[name], step, tile)
            store[name] = out[instance].values[out[instance].key(tile)]
            store[name + NEW] = self.latest[name]
        self.body.run(tile, store, here)
        for name in self.writes:
            written = self.body.written[name]
            self.latest[name][:-1][written] = np.where(
                np.isnan(store[name][:-1]), self.latest[name][:-1], store[name][:-1]
            )[written]

    def _before(self, name: str, old: Floats, step: int, tile: Key) -> Floats:
        """An operand as a tile finds it that is updated in place: without what tiles of earlier steps have overwritten,
        nor what others of the same step may."""
        if not self.poison:
            return old
        beside = [self.ends[name][x] for x in self.walk.steps[step].running.values() if x != tile]
        return np.where(np.append(np.logical_or.reduce([self.gone[name], *beside]), False), np.nan, old)

    # ---- operands

    def _draws(self, operands: Arrays, rng: np.random.Generator) -> dict[str, Ints]:
        """Many values of every index operand, `[draw, flattened]`; the first is the one given."""
        found = {}
        for name, kind in self.mapped.problem.group.types.items():
            if kind.within is None or name not in operands:
                continue
            given = np.asarray(operands[name]).astype(np.int64)
            found[name] = np.concatenate([given[None], drawn(kind, DRAWS - 1, rng)]).reshape(DRAWS, -1)
        return found

    def _loops(self, o: NestOperand) -> frozenset[str]:
        """Loops that change which elements of an operand are read, or written; also by way of other tensors."""
        names = {
            x.name
            for line in self.body.lines
            for a in (line.statement.targets if o.kind == "write" else _read(line.statement))
            if a.name == o.name
            for x in walk(a)
            if isinstance(x, t.Ref)
        }
        return frozenset(x.name for x in self.space.loops if set(x.indices) & names)

    def _in(self, o: NestOperand) -> None:
        seen, count = self._touched(o.name), len(self.dram[o.name]) - 1
        needs: dict[Key, Bools] = {}
        for tile in self.tiles:
            need = np.zeros((max((len(f) for _, f in seen), default=1), count + 1), dtype=bool)
            for number, places in seen:
                at = self.walk.tiles[number].get(self.walk.part(number, tile), NOWHERE)
                here = places[:, at]
                here = np.where(self.body.made(o.name, number)[here], -1, here)  # found where it was written
                np.put_along_axis(need, np.broadcast_to(here, (len(need), len(at))), True, axis=1)
            needs[tile] = need[:, :-1]
        given = self.dram[o.name]
        if self.poison:
            ever = np.logical_or.reduce([n[0] for n in needs.values()])
            given = np.where(np.append(ever, False), given, np.nan)
        for members in self.walk.sharers(o):
            buffer = Reads(o, self.walk, members, needs, given, self._keep(o))
            self.reads.setdefault(o.name, {}).update(dict.fromkeys(members, buffer))

    def _touched(self, name: str) -> list[tuple[int, Ints]]:
        """The elements that every point of a statement reads, `[draw, point]`, for every access to a tensor."""
        found = []
        for number, line in enumerate(self.body.lines):
            found += [(number, self._elements(a, line.points)) for a in _read(line.statement) if a.name == name]
        return found

    def _elements(self, a: t.Access, points: Points) -> Ints:
        extent = self.body.extents[a.name]
        if not any(self.space.is_tensor(s) for s in a.subs):
            return flat([self.space.value(s, points.values) for s in a.subs], extent, points.count)[None]

        def look(draw: int) -> Ints:
            def read(x: t.Access) -> Floats:
                if x.name not in self.draws:
                    raise uncharted(x)
                place = flat(
                    [self.space.value(s, points.values) for s in x.subs], self.body.extents[x.name], points.count
                )
                return np.asarray(self.draws[x.name][draw][place], dtype=np.float64)

            return flat([self.space.value(s, points.values, read) for s in a.subs], extent, points.count)

        return np.stack([look(d) for d in range(DRAWS)])

    def _out(self, o: NestOperand) -> None:
        written = self.body.written[o.name]
        holds: dict[Key, Bools] = {}
        on = self.walk.positions(o.loops)
        each = self.ends[o.name] = {tile: np.zeros(len(written), dtype=bool) for tile in self.tiles}
        self.gone[o.name] = np.zeros(len(written), dtype=bool)
        for line in self.body.lines:
            for a, ends in zip(line.statement.targets, line.ends, strict=True):
                for tile in (x for x in self.tiles if a.name == o.name and self.body.due(line, x)):
                    at = line.end_tiles.get(tuple(tile[i] for i in line.end_part), ())
                    each[tile][ends[at]] = True
                    mine = holds.setdefault(tuple(tile[i] for i in on), np.zeros(len(written), dtype=bool))
                    mine |= each[tile]
        stored = self.stored[o.name] = np.zeros(len(written), dtype=bool)
        home = self.homes[o.name] = np.full(len(written) + 1, np.nan)
        self.latest[o.name] = home.copy()
        for members in self.walk.sharers(o):
            buffer = Writes(o, self.walk, members, holds, home, self._keep(o), stored)
            self.writes.setdefault(o.name, {}).update(dict.fromkeys(members, buffer))

    def _keep(self, o: NestOperand) -> Keep | None:
        return next((k for k in self.mapped.keeps if k.operand == o.name and k.kind in ("", o.kind)), None)

    def _due(self, name: str) -> Bools:
        """Elements of a result for which every statement has points at their place in the loops that are no sums."""
        apart = [x.name for x in self.mapped.problem.loops if not x.reduced]
        due = np.zeros(len(self.body.written[name]), dtype=bool)
        for line in self.body.lines:
            for a, ends in zip(line.statement.targets, line.ends, strict=True):
                if a.name != name:
                    continue
                has = np.ones(len(ends), dtype=bool)
                for other in self.body.lines:
                    both = [
                        n
                        for n in apart
                        if {n}
                        <= set(self.space.loops_of(other.statement.indices))
                        & set(self.space.loops_of(line.statement.free))
                    ]
                    has &= np.isin(self.space.number(line.targets, both), self.space.number(other.points, both))
                due[ends[has]] = True
        return due


def _read(s: Statement) -> Iterator[t.Access]:
    """All that a statement reads; what the state of a scan is before the first step belongs to it."""
    for e in (s.expr, *(x for a in s.targets for x in a.subs)):
        yield from accesses(e)
    for a in s.targets:
        if s.scan and a.name == s.scan[1]:
            yield t.Access(s.scan[2], tuple(x for x in a.subs if x != t.Ref(s.scan[0])), span=a.span)
