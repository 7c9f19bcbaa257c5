"""An executor of loop nests: the oracle of their prices. It walks a mapping tile by tile.

It shares no formula with the engine. It lists every point of every statement, asks which elements the
points of a tile touch, and walks the loops with explicit memories: what is resident, what is kept and for how long,
which sums are unfinished, leave and come back. Tiles are dealt to the instances in turn, which walk in step; a tile
without points is skipped. A step takes the longest of the tile before it and of what moves for it on every port.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any

import numpy as np

from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.nest import INNER, OUTER, Keep
from dfcompiler.opshape import walk
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.text import tree as t

Key = tuple[int, ...]

# ---- points ------------------------------------------------------------------------------------


def evaluate(e: t.Expr, env: Mapping[str, Any], sizes: Mapping[str, int], attrs: Mapping[str, Any]) -> Any:
    """A subscript or a side of a clause at every point."""
    go = lambda x: evaluate(x, env, sizes, attrs)  # noqa: E731
    match e:
        case t.Num(value):
            return value
        case t.Ext(name):
            return sizes[name]
        case t.Ref(name):
            return env[name] if name in env else attrs[name]
        case t.Access(name, subs):
            return np.asarray(attrs[name])[tuple(go(s) for s in subs)]
        case t.Bin("+", a, b):
            return go(a) + go(b)
        case t.Bin("-", a, b):
            return go(a) - go(b)
        case t.Bin("*", a, b):
            return go(a) * go(b)
        case t.Bin("//", a, b):
            return go(a) // go(b)
    raise AssertionError(f"no subscript: {e}")


COMPARE = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal}


class Points:
    """All points of a problem's statements: loop coordinates, and the elements that they touch."""

    def __init__(self, p: Problem) -> None:
        self.p, g = p, p.group
        self.loops = [x.name for x in p.loops]
        attrs: dict[str, Any] = {}
        for a in g.shape.attrs:
            default = g.attrs.get(a.name, None)
            if default is None and a.default is not None and a.name.startswith(("past", "fresh", "window", "sink")):
                default = evaluate(a.default, {"inf": np.inf}, g.sizes, {}) if not _infinite(a.default) else np.inf
            if default is not None:
                attrs[a.name] = np.broadcast_to(np.asarray(default), tuple(g.sizes[i] for i in a.dims))
        self.statements: list[dict[str, Any]] = []  # loop -> coordinate of every point that exists
        self.touched: dict[tuple[str, bool], list[tuple[int, Any]]] = {}
        self.looked_up: set[str] = set()
        names = {a.name for a in g.shape.attrs}
        for number, s in enumerate(g.shape.body):
            axes = np.meshgrid(*(np.arange(g.sizes[i]) for i in s.indices), indexing="ij")
            env = {i: a.ravel() for i, a in zip(s.indices, axes, strict=True)}
            exists = np.ones(prod(g.sizes[i] for i in s.indices), dtype=bool)
            for clause in g.shape.where:
                used = {x.name for r in clause for e in (r.a, r.b) for x in walk(e) if isinstance(x, t.Ref)} - names
                if used <= set(s.indices):
                    sides = [(r.op, *(evaluate(e, env, g.sizes, attrs) for e in (r.a, r.b))) for r in clause]
                    exists &= np.logical_or.reduce(
                        [np.broadcast_to(COMPARE[o](a, b), exists.shape) for o, a, b in sides]
                    )
            env = {i: a[exists] for i, a in env.items()}
            self.statements.append(
                {x.name: _flat(x.indices, env, g.sizes) for x in p.loops if set(x.indices) <= set(env)}
            )
            for a in s.targets:
                self._touch(a, True, number, env, attrs)
            for e in (s.expr, *(x for a in s.targets for x in a.subs)):
                for a in walk(e):
                    if isinstance(a, t.Access) and a.name not in names:
                        self._touch(a, False, number, env, attrs)

    def _touch(self, a: t.Access, write: bool, number: int, env: Mapping[str, Any], attrs: Mapping[str, Any]) -> None:
        if a.name not in self.p.group.types:
            return
        shape = self.p.group.types[a.name].shape
        if any(isinstance(x, t.Access) and x.name in self.p.group.types for s in a.subs for x in walk(s)):
            self.looked_up.add(a.name)
            return
        count = len(next(iter(env.values()))) if env else 1
        subs = [np.broadcast_to(evaluate(s, env, self.p.group.sizes, attrs), (count,)).astype(int) for s in a.subs]
        flat = np.ravel_multi_index(subs, shape, mode="clip") if subs else np.zeros(count, dtype=int)
        self.touched.setdefault((a.name, write), []).append((number, flat))


def _infinite(e: t.Expr) -> bool:
    return isinstance(e, t.Num) and e.value == float("inf")


def _flat(indices: Sequence[str], env: Mapping[str, Any], sizes: Mapping[str, int]) -> Any:
    at = np.zeros_like(env[indices[0]])
    for i in indices:
        at = at * sizes[i] + env[i]
    return at


# ---- the executor ------------------------------------------------------------------------------


@dataclass
class Moves:
    """Bytes that move for one step: per instance, and of all instances together."""

    inner_in: dict[Key, float] = field(default_factory=dict)
    inner_out: dict[Key, float] = field(default_factory=dict)
    above_read: float = 0.0
    above_write: float = 0.0
    dram_read: float = 0.0
    dram_write: float = 0.0

    def load(self, members: Sequence[Key], count: float, dram: float) -> None:
        for c in members:
            self.inner_in[c] = self.inner_in.get(c, 0.0) + count
        self.above_read += count
        self.dram_read += dram

    def store(self, members: Sequence[Key], count: float, dram: float) -> None:
        for c in members:
            self.inner_out[c] = self.inner_out.get(c, 0.0) + count
        self.above_write += count
        self.dram_write += dram


@dataclass(frozen=True)
class Mapped:
    """What is executed: a tiling, an order of the loops that run more than once, and residencies."""

    size: Mapping[str, int]
    ways: Mapping[str, int]
    order: tuple[str, ...]
    keeps: tuple[Keep, ...]


@dataclass(frozen=True)
class Run:
    """What came out of an execution."""

    cycles: Mapping[float, float]
    dram_read: float
    dram_write: float
    above: float
    inner: float
    steps: int


class Executor:
    """Walks one mapping of one problem on one unit."""

    def __init__(self, points: Points, unit: Unit, helper: Unit | None, mapped: Mapped) -> None:
        self.points, self.p, self.unit, self.helper, self.m = points, points.p, unit, helper, mapped
        self.extent = {x.name: x.size for x in self.p.loops}
        self.count = {n: ceil(s / mapped.size[n]) for n, s in self.extent.items()}
        self.trips = {n: ceil(c / mapped.ways[n]) for n, c in self.count.items()}
        self.names = list(self.extent)
        self.cores = list(itertools.product(*(range(mapped.ways[n]) for n in self.names)))
        self.exists = [self._keys(s) for s in points.statements]
        self.keep = {k.operand: k for k in mapped.keeps}
        self._cycles: dict[Key, float] = {}
        self.steps: list[tuple[dict[str, int], dict[Key, dict[str, int]]]] = []
        for counters in itertools.product(*(range(self.trips[n]) for n in mapped.order)):
            at = dict.fromkeys(self.names, 0) | dict(zip(mapped.order, counters, strict=True))
            running = {c: tile for c in self.cores if (tile := self._tile(at, c)) is not None}
            if running:
                self.steps.append((at, running))

    def _tile(self, at: Mapping[str, int], core: Key) -> dict[str, int] | None:
        tile = {n: at[n] * self.m.ways[n] + c for n, c in zip(self.names, core, strict=True)}
        if any(tile[n] >= self.count[n] for n in tile):
            return None
        live = all(tuple(tile[n] for n in s) in keys for s, keys in self.exists)
        return tile if live else None

    def _keys(self, statement: Mapping[str, Any]) -> tuple[list[str], set[Key]]:
        names = list(statement)
        columns = [(statement[n] // self.m.size[n]).tolist() for n in names]
        return names, set(zip(*columns, strict=True)) if names else {()}

    def _elements(self, o: NestOperand) -> tuple[list[str], dict[Key, set[int]]]:
        """Which elements the tiles touch, by the loops of the statements that access the operand."""
        found: dict[Key, set[int]] = {}
        accesses = self.points.touched.get((o.name, o.kind == "write"), [])
        shared = [n for n in self.names if all(n in self.points.statements[number] for number, _ in accesses)]
        shared = [n for n in shared if n in o.loops or o.kind == "read"]
        for number, flat in accesses:
            keys = [(self.points.statements[number][n] // self.m.size[n]).tolist() for n in shared]
            for e, *key in zip(flat.tolist(), *keys, strict=True):
                found.setdefault(tuple(key), set()).add(e)
        return shared, found

    def _compute(self, tile: Mapping[str, int]) -> float:
        """Cycles of one tile: ragged ones by their own sizes."""
        long = {n: min(self.m.size[n], self.extent[n] - i * self.m.size[n]) for n, i in tile.items()}
        key = tuple(long.values())
        if key not in self._cycles:
            self._cycles[key] = self._cycles_of(long)
        return self._cycles[key]

    def _tiles_per_sum(self, summed: set[str]) -> float:
        """How many tiles really run for one sum over these loops, on average."""
        sums = {tuple(sorted((n, i) for n, i in at.items() if n not in summed)) for at, _ in self.steps}
        return len(self.steps) / len(sums)

    def _cycles_of(self, long: Mapping[str, int]) -> float:
        p, template = self.p, self.unit.template
        extent = dict(p.group.sizes)
        for x in p.loops:
            extent |= dict.fromkeys(x.indices, 1) | {x.indices[0]: long[x.name]}
        size = lambda names: prod(extent[i] for i in names)  # noqa: E731
        matrix = tuple(Contraction(size(c.batch), size(c.m), size(c.n), size(c.k)) for c in p.contractions)
        mine: dict[str, float] = {}
        other: dict[str, float] = {}
        for term in p.facts.work.terms:
            summed = {x.name for x in p.loops if x.reduced and not set(x.indices) & set(term.indices)}
            once = self._tiles_per_sum(summed)
            to = mine if template.runs(term.kind) and (term.kind != "mac" or template.runs("add")) else other
            to[term.kind] = to.get(term.kind, 0.0) + size(term.indices) / once
        work = lambda ms, vs: Tile(ms, vs, p.a_bits, p.b_bits, p.acc_bits)  # noqa: E731
        own = float(template.cycles(work(matrix, mine), self.unit.ports))
        beside = (
            float(self.helper.template.cycles(work((), other), self.helper.ports)) if other and self.helper else 0.0
        )
        return max(own, beside)

    def run(self, shares: Sequence[float]) -> Run:
        moves = [Moves() for _ in range(len(self.steps) + 1)]
        for o in self.p.operands:
            if o.kind == "read":
                self._reads(o, moves)
            elif o.kind == "write":
                self._writes(o, moves)
        total = lambda name: sum(getattr(m, name) for m in moves)  # noqa: E731
        inner = sum(sum(m.inner_in.values()) + sum(m.inner_out.values()) for m in moves)
        cycles = {s: self._time(moves, s) for s in shares}
        above = total("above_read") + total("above_write")
        return Run(cycles, total("dram_read"), total("dram_write"), above, inner, len(self.steps))

    def _groups(self, o: NestOperand) -> list[list[Key]]:
        """Instances that share a copy: those that receive the same tiles, or each by itself without multicast."""
        if not self.unit.levels[-1].multicast:
            return [[c] for c in self.cores]
        by: dict[Key, list[Key]] = {}
        for c in self.cores:
            by.setdefault(tuple(i for n, i in zip(self.names, c, strict=True) if n in o.loops), []).append(c)
        return list(by.values())

    def _visits(self, o: NestOperand, members: Sequence[Key]) -> Iterator[tuple[int, Key, list[dict[str, int]]]]:
        for i, (_, running) in enumerate(self.steps):
            tiles = [running[c] for c in members if c in running]
            if tiles:
                yield i, tuple(tiles[0][n] for n in self.names if n in o.loops), tiles

    def _scope(self, i: int, since: int) -> Key:
        return tuple(self.steps[i][0][n] for n in self.m.order[:since])

    def _reads(self, o: NestOperand, moves: list[Moves]) -> None:
        if o.name in self.points.looked_up:
            return self._lookups(o, moves)
        names, elements = self._elements(o)
        keep = self.keep.get(o.name)
        for members in self._groups(o):
            here: dict[Key, set[int]] = {}
            above: dict[Key, set[int]] = {}
            last, scope = (-1,), (-1,)
            for i, key, tiles in self._visits(o, members):
                need = set().union(*(elements.get(tuple(x[n] for n in names), set()) for x in tiles))
                now = self._scope(i, keep.since) if keep else ()
                if now != scope:
                    above, scope = {}, now
                    here = {last: here[last]} if last in here else {}
                if not (keep and keep.where == INNER) and key != last:
                    here = {}
                fresh = need - here.get(key, set())
                from_dram = fresh - above.get(key, set())
                if keep and keep.where == OUTER:
                    above.setdefault(key, set()).update(need)
                here.setdefault(key, set()).update(need)
                moves[i].load(members, len(fresh) * o.bits / 8, len(from_dram) * o.bits / 8)
                last = key
        return None

    def _lookups(self, o: NestOperand, moves: list[Moves]) -> None:
        """A table's rows: the expected number of distinct ones, loaded whenever the tile changes."""
        rows, width = self.p.group.types[o.name].shape
        keep = self.keep.get(o.name)
        assert keep is None
        for members in self._groups(o):
            last: Key = (-1,)
            for i, key, tiles in self._visits(o, members):
                tile = tiles[0]
                long = {n: min(self.m.size[n], self.extent[n] - tile[n] * self.m.size[n]) for n in self.names}
                ids, wide = long.get("t", 1), long.get("d", width)
                if key != last:
                    count = rows * (1 - (1 - 1 / rows) ** ids) * wide * o.bits / 8
                    moves[i].load(members, count, count)
                last = key

    def _writes(self, o: NestOperand, moves: list[Moves]) -> None:
        names, elements = self._elements(o)
        keep = self.keep.get(o.name)

        def stays(a: int, b: int, where: str) -> bool:
            return bool(keep and keep.where == where and self._scope(a, keep.since) == self._scope(b, keep.since))

        for members in self._groups(o):
            visits = [(i, key) for i, key, _ in self._visits(o, members)]
            size = {k: len(elements.get(k, ())) for k in {key for _, key in visits}}
            assert names == [n for n in self.names if n in o.loops]
            after = {i: j for key in size for i, j in itertools.pairwise([*(i for i, k in visits if k == key), None])}
            before = {j: i for i, j in after.items() if j is not None}
            for (i, key), follows in itertools.zip_longest(visits, visits[1:]):
                when, then = (follows[0], follows[1]) if follows else (len(self.steps), None)
                back = before.get(i)
                if (
                    back is not None
                    and not (i and visits[visits.index((i, key)) - 1][1] == key)
                    and o.partial_bits
                    and not stays(back, i, INNER)
                ):
                    count = size[key] * o.partial_bits / 8
                    moves[i].load(members, count, 0.0 if stays(back, i, OUTER) else count)
                if then == key:
                    continue
                again = after[i]
                if again is None:
                    count = size[key] * o.bits / 8
                    moves[when].store(members, count, count)
                elif o.partial_bits and not stays(i, again, INNER):
                    count = size[key] * o.partial_bits / 8
                    moves[when].store(members, count, 0.0 if stays(i, again, OUTER) else count)

    def _time(self, moves: list[Moves], share: float) -> float:
        """Load, then every tile against what moves for the next one, then the last tile and the last store."""
        levels = self.unit.levels
        once = float(self.unit.template.fill_cycles()) + sum(x.latency_cycles for x in levels)
        busy = [max(self._compute(x) for x in running.values()) for _, running in self.steps]
        total = once + self._move(moves[0], share)
        for i in range(1, len(self.steps)):
            total += max(busy[i - 1], self._move(moves[i], share))
        return total + busy[-1] + self._move(moves[-1], share)

    def _move(self, m: Moves, share: float) -> float:
        """The longest of what moves, with this share of every way between the DRAM and the unit's memory."""
        dram, top, local = self.unit.levels[0], self.unit.levels[1], self.unit.levels[-1]
        ways = [x / local.fill_bytes_per_cycle for x in m.inner_in.values()]
        ways += [x / local.drain_bytes_per_cycle for x in m.inner_out.values()]
        if local is not top:
            ways.append(_port(m.above_read, m.above_write, local, self.unit.levels[-2]))
        ways.append(_port(m.dram_read, m.dram_write, top, dram))
        ways.append(m.dram_read / (top.fill_bytes_per_cycle * top.instances))
        ways.append(m.dram_write / (top.drain_bytes_per_cycle * top.instances))
        return max(ways) / share


def _port(read: float, write: float, below: Level, above: Level) -> float:
    one, two = read / below.source_bytes_per_cycle, write / below.sink_bytes_per_cycle
    return one + two if above.half_duplex else max(one, two)
