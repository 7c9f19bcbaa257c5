"""What one tile computes: an op's statements at the points of the tile, on the values that its buffers hold.

A sum over a loop that is tiled is built up: what earlier tiles left is brought to the reductions as they are now
(`rescale`) and the tile's points are added. A statement that does not see a reduced loop runs in the first tile of
that loop where it needs nothing of it, in the last where nobody in it waits, else in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import prod
from typing import TypeAlias

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.opshape import Statement, accesses
from dfcompiler.replay.points import Bools, Key, Points, flat
from dfcompiler.replay.rescale import BEFORE, changing, factor
from dfcompiler.replay.walk import Walk
from dfcompiler.scalars import FUNCTIONS, Floats, Ints, arithmetic
from dfcompiler.text import tree as t

Store: TypeAlias = MutableMapping[str, Floats]  # flattened tensors; one place more at the end, for what lies outside
Valued: TypeAlias = Callable[[Ints, Store], Floats]  # values at some of the points of an index space

OLD, NEW = " old", " new"  # an operand as it was before the op, and what tiles have made of it so far
NOWHERE = np.zeros(0, dtype=np.int64)
_REDUCERS = {"sum": (np.add, 0.0), "max": (np.maximum, -np.inf), "min": (np.minimum, np.inf)}


@dataclass(frozen=True)
class Locals:
    """What an instance holds between its statements."""

    values: dict[str, Floats]
    scopes: dict[str, Key] = field(default_factory=dict)  # since when a value is there
    begun: dict[str, Bools] = field(default_factory=dict)  # accumulators: elements that have taken in a point
    leant: dict[tuple[int, Key], Store] = field(default_factory=dict)  # what the sums of a tile are built on so far


@dataclass(frozen=True)
class Line:
    """A statement, ready to run on some of its points."""

    number: int
    statement: Statement
    points: Points
    targets: Points
    value: Valued
    places: tuple[Ints, ...]  # per target, the element of every point
    ends: tuple[Ints, ...]  # the same, of every point of the targets alone
    tiles: dict[Key, Ints]
    end_tiles: dict[Key, Ints]
    end_part: list[int]  # places in a tile's key that belong to the targets' loops
    rescale: Valued | None
    leans: frozenset[str]  # reductions that a sum is brought to


class Body:
    """The statements of a walked mapping."""

    def __init__(self, walk: Walk, poison: bool) -> None:
        self.walk, self.space, self.shape, self.poison = walk, walk.space, walk.space.shape, poison
        self.outer = {o.name for o in self.shape.operands}
        self.carried = _carried(self.shape.body)
        types = walk.mapped.problem.group.types
        self.extents = {name: x.shape for name, x in types.items()} | self._extents()
        self.lines = [self._line(i) for i in range(len(self.shape.body))]
        scans = {s.scan[0] for s in self.shape.body if s.scan}
        self.sequential = frozenset(x.name for x in walk.mapped.problem.loops if set(x.indices) & scans)
        self._made: dict[tuple[str, int], Bools] = {}
        self.written = {n: self.made(n, len(self.lines))[:-1] for n in self.outer}
        self.turns = [self._turns(i) for i in range(len(self.shape.body))]

    # ---- running

    def fresh(self) -> Locals:
        """An instance's memory before anything is in it."""
        return Locals({n: self._empty(n) for n in self.extents if n not in self.outer})

    def _empty(self, name: str) -> Floats:
        return np.full(prod(self.extents[name]) + 1, np.nan if self.poison else 0.0)

    def forget(self, step: int, tile: Key, here: Locals) -> None:
        """Drop local values that are of another tile, but for those of a loop that they do not depend on, inside of
        which their other loops run again: these stay until what is outside of that loop moves on."""
        for o in self.walk.mapped.problem.operands:
            if o.kind != "local" or o.name in self.outer:
                continue
            order = self.walk.mapped.order
            loops = o.loops - self.sequential if o.name in self.carried else o.loops  # a state goes from step to step
            idle = [i for i, n in enumerate(order) if n not in loops and set(order[i + 1 :]) & loops]
            scope = self.walk.scope(step, idle[0]) if idle else tuple(tile[i] for i in self.walk.positions(loops))
            if here.scopes.setdefault(o.name, scope) != scope:
                here.scopes[o.name] = scope
                here.values[o.name] = self._empty(o.name)
                here.begun.pop(o.name, None)

    def run(self, tile: Key, store: Store, here: Locals) -> None:
        """Run the statements whose turn it is in this tile; `store` has operands, locals and results."""
        with np.errstate(all="ignore"):
            for scan, lines in groupby(self.lines, key=lambda x: x.statement.scan):
                if scan is not None:
                    self._scan(scan, list(lines), tile, store, here)
                    continue
                for line in lines:
                    if self.due(line, tile):
                        self._execute(
                            line, line.tiles.get(self.walk.part(line.number, tile), NOWHERE), tile, store, here
                        )
                    elif line.rescale is not None and line.statement.fn is None:
                        self._renew(line, tile, store, here)

    def _seen(self, line: Line, store: Store) -> Store:
        """The values that a statement reads: of an operand updated in place, new where an earlier statement writes."""
        seen = {**store}
        for name in [n.removesuffix(NEW) for n in store if n.endswith(NEW)]:
            new = np.where(np.isnan(store[name]), store[name + NEW], store[name])
            seen[name] = np.where(self.made(name, line.number), new, store.get(name + OLD, np.nan))
        return seen

    def due(self, line: Line, tile: Key) -> bool:
        """Whether a statement runs in this tile."""
        turns = self.turns[line.number]
        return turns is None or tile in turns

    def _renew(self, line: Line, tile: Key, store: Store, here: Locals) -> None:
        """Bring what an earlier tile made to the reductions as they are now."""
        own = tuple(tile[i] for i in line.end_part)
        ends, before = line.end_tiles.get(own, NOWHERE), here.leant.get((line.number, own))
        assert line.rescale is not None
        if before is not None:
            for a, place in zip(line.statement.targets, line.ends, strict=True):
                store[a.name][place[ends]] *= line.rescale(ends, {**store, **before})
            here.leant[line.number, own] = {n + BEFORE: store[n].copy() for n in line.leans}

    def _scan(self, scan: tuple[str, str, str], lines: list[Line], tile: Key, store: Store, here: Locals) -> None:
        index, state, init = scan
        axis = self.carried[state]
        slots = np.moveaxis(store[state][:-1].reshape(self.extents[state]), axis, 0)
        slots[0] = self._seen(lines[0], store)[init][:-1].reshape(self.extents[init])
        for step in range(self.space.sizes[index]):
            for line in (x for x in lines if self.due(x, tile)):
                at = line.tiles.get(self.walk.part(line.number, tile), NOWHERE)
                self._execute(line, at[line.points.values[index][at] == step], tile, store, here)

    def _execute(self, line: Line, at: Ints, tile: Key, store: Store, here: Locals) -> None:
        s, values = line.statement, line.value(at, self._seen(line, store))
        own = tuple(tile[i] for i in line.end_part)
        if s.fn is None:
            for a, place in zip(s.targets, line.places, strict=True):
                store[a.name][place[at]] = values
            if line.rescale is not None:
                here.leant[line.number, own] = {n + BEFORE: store[n].copy() for n in line.leans}
            return
        ends = line.end_tiles.get(own, NOWHERE)
        if s.fn == "topk":
            _best(line, at, ends, values, store, self.space.sizes, here.begun)
            return
        reduce, neutral = _REDUCERS[s.fn]
        name, total = s.targets[0].name, store[s.targets[0].name]
        done = here.begun.setdefault(name, np.zeros(len(total), dtype=bool))
        holds = done[line.ends[0][ends]]
        total[line.ends[0][ends[~holds]]] = neutral
        if line.rescale is not None:
            before = here.leant.get((line.number, own), {})
            if holds.any():
                total[line.ends[0][ends[holds]]] *= line.rescale(ends[holds], {**store, **before})
            here.leant[line.number, own] = {n + BEFORE: store[n].copy() for n in line.leans}
        reduce.at(total, line.places[0][at], values)
        done[line.places[0][at]] = True

    # ---- preparation

    def _line(self, number: int) -> Line:
        s, space, size = self.shape.body[number], self.space, self.walk.mapped.size
        wanted = [i for i in s.indices if i in space.sizes]
        free = [i for i in s.free if i in space.sizes]
        points, targets = space.points(wanted), space.points(free)
        ends = tuple(self._places(a, targets) for a in s.targets)
        if any((e < 0).any() for e in ends):
            raise Diag("out-of-range", f"`{s.targets[0].name}` is written where it has no elements", s.span)
        tiled = [i for x in space.loops if x.reduced and self.walk.count[x.name] > 1 for i in x.indices]
        change = factor(self.shape, number, tiled) if s.fn in ("sum", None) and not s.scan else None
        return Line(
            number,
            s,
            points,
            targets,
            self._valued(s.expr, points),
            tuple(self._places(a, points) for a in s.targets) if s.fn != "topk" else (),
            ends,
            self.walk.tiles[number],
            space.by_tile(targets, size),
            self.walk.positions(space.loops_of(free)),
            self._valued(change, targets) if change is not None else None,
            frozenset(changing(change)) if change is not None else frozenset(),
        )

    def _extents(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that are no operands: just large enough, and one slot more for the state of a scan."""
        found: dict[str, list[int]] = {}
        for s, a in ((x, y) for x in self.shape.body for y in x.targets if y.name not in self.outer):
            env = self.space.points([i for i in s.free if i in self.space.sizes]).values
            tops = [int(np.max(self.space.value(sub, env), initial=-1)) + 1 for sub in a.subs]
            found[a.name] = [max(pair) for pair in zip(tops, found.get(a.name, tops), strict=True)]
        for index, state, init in {s.scan for s in self.shape.body if s.scan}:
            before = [*(found.get(init) or self.walk.mapped.problem.group.types[init].shape)]
            found[state] = [*before[: self.carried[state]], self.space.sizes[index] + 1, *before[self.carried[state] :]]
        return {name: tuple(axes) for name, axes in found.items()}

    def made(self, name: str, number: int) -> Bools:
        """Elements of an operand that statements before one write; one place more, for what lies outside."""
        if (name, number) not in self._made:
            found = np.zeros(prod(self.extents[name]) + 1, dtype=bool)
            for line in self.lines[:number]:
                for a, ends in zip(line.statement.targets, line.ends, strict=True):
                    if a.name == name:
                        found[ends] = True
            self._made[name, number] = found
        return self._made[name, number]

    def _places(self, a: t.Access, points: Points) -> Ints:
        """The element that every point writes or reads; subscripts have no tensors in them."""
        subs = [self.space.value(s, points.values) for s in a.subs]
        return flat(self._shifted(a.name, subs), self.extents[a.name], points.count)

    def _shifted(self, name: str, subs: Sequence[Floats]) -> list[Floats]:
        return [s + (self.carried.get(name) == axis) for axis, s in enumerate(subs)]

    def _valued(self, e: t.Expr, points: Points) -> Valued:
        """An expression as a function of the points asked for and the values that there are."""
        if not self.space.is_tensor(e):
            whole = np.broadcast_to(self.space.value(e, points.values), (points.count,))
            return lambda at, store: whole[at]
        match e:
            case t.Access(name, subs) if not any(self.space.is_tensor(s) for s in subs):
                known = t.Access(name.removesuffix(BEFORE), subs)
                place = self._places(known, points)
                return lambda at, store: store[name][place[at]]
            case t.Access(name, subs):
                each, extent = [self._valued(s, points) for s in subs], self.extents[name]
                return lambda at, store: store[name][flat([s(at, store) for s in each], extent, len(at))]
            case t.Neg(a):
                inner = self._valued(a, points)
                return lambda at, store: -inner(at, store)
            case t.Bin(op, a, b):
                one, two = self._valued(a, points), self._valued(b, points)
                return lambda at, store: arithmetic(op, one(at, store), two(at, store))
            case t.Call(fn, args):
                given = [self._valued(a, points) for a in args]
                return lambda at, store: FUNCTIONS[fn](*(g(at, store) for g in given))
            case _:
                raise Diag("bad-expression", "no value can be given to this", e.span)

    # ---- turns

    def _turns(self, number: int) -> set[Key] | None:
        """The tiles in which a statement runs; None for all."""
        found: set[Key] | None = None
        seen = self.space.loops_of(self.shape.body[number].indices)
        order = [tile for step in self.walk.steps for tile in step.running.values()]
        for position, x in enumerate(self.walk.mapped.problem.loops):
            if x.name in seen or self.walk.count[x.name] == 1:
                continue
            above = (x.reduced or x.name in self.sequential) and self._meets(number, x.indices, up=True)
            if above and self._meets(number, x.indices, up=False):
                continue
            ways = self.walk.mapped.ways[x.name]
            chosen = {
                (*k[:position], k[position] % ways, *k[position + 1 :]): k
                for k in (order if above else reversed(order))
            }
            found = set(chosen.values()) if found is None else found & set(chosen.values())
        return found

    def _meets(self, number: int, indices: Sequence[str], *, up: bool) -> bool:
        """Whether a statement that this one leans on (or that leans on it) runs over the indices."""
        body, seen, todo = self.shape.body, {number}, [number]
        while todo:
            here = todo.pop()
            for i, other in enumerate(body):
                source, user = (other, body[here]) if up else (body[here], other)
                made = {a.name for a in source.targets}
                if i not in seen and any(a.name in made for a in accesses(user.expr)):
                    if set(indices) & set(other.indices):
                        return True
                    seen.add(i)
                    todo.append(i)
        return False


def _carried(body: Sequence[Statement]) -> dict[str, int]:
    """States of scans with the axis on which slot i + 1 is step i."""
    found = {}
    for s in body:
        for a in s.targets:
            if s.scan and a.name == s.scan[1]:
                found[a.name] = next(i for i, x in enumerate(a.subs) if x == t.Ref(s.scan[0]))
    return found


def _best(
    line: Line,
    at: Ints,
    ends: Ints,
    values: Floats,
    store: Store,
    sizes: Mapping[str, int],
    begun: dict[str, Bools],
) -> None:
    """The largest values and their places so far: those of earlier tiles and of this one, ranked again."""
    s = line.statement
    (over,) = s.over
    names = [i for i in line.targets.values if i in line.points.values and i != over]
    rank = next(i for i in s.free if not _ranks_by(s, i))
    rows = [i for i in names if i != rank]
    first = at[line.points.values[rank][at] == 0] if rank in line.points.values else at
    picked = np.isin(at, first)
    done = begun.setdefault(s.targets[0].name, np.zeros(len(store[s.targets[0].name]), dtype=bool))
    old = ends[done[line.ends[0][ends]]]
    row = np.concatenate([_numbered(line.points, rows, sizes)[first], _numbered(line.targets, rows, sizes)[old]])
    value = np.concatenate([values[picked], store[s.targets[0].name][line.ends[0][old]]])
    place = np.concatenate([line.points.values[over][first], store[s.targets[1].name][line.ends[1][old]]])
    order = np.lexsort((place, -value, row))
    starts = np.searchsorted(row[order], _numbered(line.targets, rows, sizes)[ends])
    nth = starts + line.targets.values[rank][ends]
    inside = nth < len(order)
    inside[inside] &= row[order][nth[inside]] == _numbered(line.targets, rows, sizes)[ends][inside]
    for k, found in enumerate((value, place)):
        store[s.targets[k].name][line.ends[k][ends[inside]]] = found[order][nth[inside]]
    done[line.ends[0][ends[inside]]] = True


def _ranks_by(s: Statement, index: str) -> bool:
    return any(isinstance(x, t.Ref) and x.name == index for a in accesses(s.expr) for x in a.subs)


def _numbered(points: Points, rows: Sequence[str], sizes: Mapping[str, int]) -> Ints:
    number = np.zeros(points.count, dtype=np.int64)
    for i in rows:
        number = number * sizes[i] + points.values[i]
    return number
