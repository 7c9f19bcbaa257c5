"""The memories that one operand passes: what is resident where, what is copied in and out, how many bytes that is.

An instance's memory holds one tile of an operand, or all tiles since a loop began where the operand is kept; the
memory above holds what is kept there, the DRAM everything. A buffer is a whole tensor of which only resident elements
have values; the rest is not a number. Counts of looked-up tables are means over many draws of the indices, so every
set of elements is an array `[draw, element]`; values are those of the first draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from dfcompiler.moves import INNER, OUTER, Keep
from dfcompiler.problem import NestOperand
from dfcompiler.replay.points import Bools, Key
from dfcompiler.replay.walk import Walk
from dfcompiler.scalars import Floats

LEVELS = ("dram", "above", "inner")  # the DRAM, the memory above the innermost, the innermost ones of all instances


@dataclass
class Moves:
    """Bytes that move for one step: per instance, and of all instances together."""

    inner_in: dict[Key, float] = field(default_factory=dict)
    inner_out: dict[Key, float] = field(default_factory=dict)
    above_read: float = 0.0
    above_write: float = 0.0
    dram_read: float = 0.0
    dram_write: float = 0.0

    def load(self, by: Reads | Writes, count: float, dram: float) -> None:
        """Bytes into the memory of every instance that shares a buffer, sent once; `dram` of them come from there."""
        by.moved += np.array([dram, count, count * len(by.members)])
        for c in by.members:
            self.inner_in[c] = self.inner_in.get(c, 0.0) + count
        self.above_read += count
        self.dram_read += dram

    def store(self, by: Reads | Writes, count: float, dram: float) -> None:
        """Bytes out of the memory of every instance that shares a buffer; `dram` of them go that far."""
        by.moved += np.array([dram, count, count * len(by.members)])
        for c in by.members:
            self.inner_out[c] = self.inner_out.get(c, 0.0) + count
        self.above_write += count
        self.dram_write += dram


class Reads:
    """An operand on its way in, for the instances that share a copy."""

    def __init__(
        self,
        o: NestOperand,
        walk: Walk,
        members: Sequence[Key],
        needs: Mapping[Key, Bools],
        dram: Floats,
        keep: Keep | None,
    ) -> None:
        self.o, self.walk, self.members, self.needs, self.dram, self.keep = o, walk, members, needs, dram, keep
        self.on = walk.positions(o.loops)
        visits = list(walk.visits(o, members))
        self.stays = _stays(visits, walk, keep, keep is None or keep.where == OUTER)
        self.stays_above = _stays(visits, walk, keep, False) if keep and keep.where == OUTER else self.stays
        self.here: dict[Key, Bools] = {}
        self.values: dict[Key, Floats] = {}
        self.above: dict[Key, Bools] = {}
        self.above_values = np.full_like(dram, np.nan)
        self.moved = np.zeros(len(LEVELS))
        self.totals: dict[str, Floats] = dict.fromkeys(LEVELS, np.zeros(1))  # elements per draw
        self.last: Key | None = None
        self.scope: Key | None = None

    def load(self, step: int, moves: Sequence[Moves]) -> None:
        """Bring in a tile of a step that is not there, with all that is needed of it while it stays."""
        if step not in self.stays:
            return
        running = self.walk.steps[step].running
        key = self.key(next(running[c] for c in self.members if c in running))
        need, above = (np.logical_or.reduce([self.needs[x] for x in s[step]]) for s in (self.stays, self.stays_above))
        self._forget(step, key)
        none = np.zeros_like(need)
        fresh = need & ~self.here.get(key, none)
        far = fresh
        value = self.values.setdefault(key, np.full_like(self.dram, np.nan))
        given = self.dram
        if self.keep and self.keep.where == OUTER:
            far = above & ~self.above.get(key, none)
            self.above_values[:-1][far[0]] = given[:-1][far[0]]
            self.above[key] = above | self.above.get(key, none)
            given = self.above_values
        value[:-1][fresh[0]] = given[:-1][fresh[0]]
        self.here[key] = need | self.here.get(key, none)
        width = self.o.bits / 8
        far = np.zeros_like(far) if self.o.pinned else far
        moves[step].load(self, float(fresh.sum(1).mean()) * width, float(far.sum(1).mean()) * width)
        for name, count in (("dram", far), ("above", fresh), ("inner", fresh)):
            self.totals[name] = self.totals[name] + count.sum(1) * (len(self.members) if name == "inner" else 1)
        self.last = key

    def held(self, step: int) -> float:
        """Bytes that lie in the memory of an instance in a step, once its tiles are loaded."""
        return float(sum(here[0].sum() for here in self.here.values())) * self.o.bits / 8

    def error(self, name: str) -> float:
        """How far the mean of a total may be from what is expected: six standard errors, and what six draws weigh
        in which half of the elements would be the same, since what is rare may not have come up at all."""
        total = self.totals[name]
        return 6 * float(np.std(total) / sqrt(len(total)) + total.max() / 2 / len(total)) if len(total) > 1 else 0.0

    def key(self, tile: Key) -> Key:
        """The operand's own tile."""
        return tuple(tile[i] for i in self.on)

    def _forget(self, step: int, key: Key) -> None:
        now = self.walk.scope(step, self.keep.since) if self.keep else ()
        if now != self.scope:
            self.above, self.scope = {}, now
            self.above_values[:] = np.nan
            self._only(self.last if key == self.last else None)
        if not (self.keep and self.keep.where == INNER) and key != self.last:
            self._only(None)

    def _only(self, key: Key | None) -> None:
        self.here = {k: v for k, v in self.here.items() if k == key}
        self.values = {k: v for k, v in self.values.items() if k == key}


def _stays(
    visits: Sequence[tuple[int, Key, list[Key]]], walk: Walk, keep: Keep | None, passes: bool
) -> dict[int, Sequence[Key]]:
    """For every step the tiles for which a tile of an operand is brought in: where it is kept, those of all steps until
    what is kept leaves; where it `passes`, only until it makes room for another one."""
    runs = itertools.accumulate((key != last for (_, last, _), (_, key, _) in itertools.pairwise(visits)), initial=0)
    spans = [
        (key, walk.scope(i, keep.since) if keep else (), run if passes else 0)
        for run, (i, key, _) in zip(runs, visits, strict=False)
    ]
    found: dict[object, dict[Key, None]] = {}
    for span, (_, _, tiles) in zip(spans, visits, strict=True):
        found.setdefault(span, {}).update(dict.fromkeys(tiles))
    return {i: tuple(found[span]) for span, (i, _, _) in zip(spans, visits, strict=True)}


class Writes:
    """An operand on its way out, for the instances that share a copy: results, and sums that are not finished."""

    def __init__(
        self,
        o: NestOperand,
        walk: Walk,
        members: Sequence[Key],
        holds: Mapping[Key, Bools],
        dram: Floats,
        keep: Keep | None,
        stored: Bools,
    ) -> None:
        self.o, self.walk, self.members, self.holds, self.dram, self.keep = o, walk, members, holds, dram, keep
        self.on = walk.positions(o.loops)
        self.values: dict[Key, Floats] = {}
        self.moved = np.zeros(len(LEVELS))
        self.away = np.full_like(dram, np.nan)  # unfinished sums that left
        self.stored = stored  # elements that are in DRAM
        self.width = o.partial_bits or o.bits
        self.visits = [(i, key) for i, key, _ in walk.visits(o, members)]
        times: dict[Key, list[int]] = {}
        for i, key in self.visits:
            times.setdefault(key, []).append(i)
        self.again = {i: j for seen in times.values() for i, j in itertools.pairwise([*seen, None]) if i is not None}
        self.back = {j: i for i, j in self.again.items() if j is not None}
        self.at = {i: n for n, (i, _) in enumerate(self.visits)}

    def key(self, tile: Key) -> Key:
        """The operand's own tile."""
        return tuple(tile[i] for i in self.on)

    def load(self, step: int, moves: Sequence[Moves]) -> None:
        """Bring sums back that this step goes on with, or make room for new ones."""
        n = self.at.get(step)
        if n is None:
            return
        key, back = self.visits[n][1], self.back.get(step)
        value = self.values.setdefault(key, np.full_like(self.dram, np.nan))
        if back is None or (n and self.visits[n - 1][1] == key) or self._stays(back, step, INNER):
            return
        if self.o.partial_bits:
            value[:-1][self.holds[key]] = self.away[:-1][self.holds[key]]
            count = float(self.holds[key].sum()) * self.o.partial_bits / 8
            moves[step].load(self, count, self._far(count, (back, step)))

    def store(self, step: int, moves: Sequence[Moves]) -> None:
        """Send off what the next step does not go on with: finished to the DRAM, or unfinished until it returns."""
        n = self.at.get(step)
        if n is None:
            return
        key = self.visits[n][1]
        when, then = self.visits[n + 1] if n + 1 < len(self.visits) else (len(self.walk.steps), None)
        if then == key:
            return
        if key not in self.holds:  # a tile of steps without elements of this operand
            return
        again, mine = self.again[step], self.holds[key]
        if again is None:
            self.dram[:-1][mine] = self.values.pop(key)[:-1][mine]
            self.stored |= mine
            count = float(mine.sum()) * self.o.bits / 8
            moves[when].store(self, count, self._far(count))
        elif self.o.partial_bits and not self._stays(step, again, INNER):
            self.away[:-1][mine] = self.values.pop(key)[:-1][mine]
            count = float(mine.sum()) * self.o.partial_bits / 8
            moves[when].store(self, count, self._far(count, (step, again)))

    def held(self, step: int) -> float:
        """Bytes that lie in the memory of an instance in a step: of sums all tiles that stay, as wide as before they
        are finished; of what is made of sums the tile of the step."""
        keys = self.values if self.o.partial_bits else [self.visits[self.at[step]][1]] if step in self.at else []
        return float(sum(self.holds[k].sum() for k in keys if k in self.holds)) * self.width / 8

    def _far(self, count: float, between: tuple[int, int] | None = None) -> float:
        """How many of these bytes pass the DRAM, between two steps or for good."""
        return 0.0 if self.o.pinned or (between and self._stays(*between, OUTER)) else count

    def _stays(self, a: int, b: int, where: str) -> bool:
        keep = self.keep
        return bool(keep and keep.where == where and self.walk.scope(a, keep.since) == self.walk.scope(b, keep.since))
