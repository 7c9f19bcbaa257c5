"""The time of a walked mapping: while a tile runs, the next one's operands come in and its own results go out.

Results are taken to leave as they are made, not one tile later: a nest may end up to one store sooner than where they
wait for their tile to be done. The cost model does the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from dfcompiler.hardware.chip import Level
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.replay.buffers import Moves
from dfcompiler.replay.walk import Walk


class Clock:
    """Cycles of the steps of a walk. A ragged tile takes the time of its own size."""

    def __init__(self, walk: Walk) -> None:
        self.walk, self.mapped = walk, walk.mapped
        self._known: dict[tuple[int, ...], float] = {}
        self._per_sum: dict[frozenset[str], float] = {}
        self.busy = [max(self._tile(walk.long(x)) for x in step.running.values()) for step in walk.steps]

    def cycles(self, moves: Sequence[Moves], share: float) -> float:
        """The first load, every tile beside what moves meanwhile, the last store, with this share of the ways to
        memory; `moves[i]` must be done when step i starts, the last ones after all steps."""
        unit, port = self.mapped.unit, [self._move(m) / share for m in moves]
        once = float(unit.template.fill_cycles()) + sum(x.latency_cycles for x in unit.levels)
        hidden = sum(max(busy, move) for busy, move in zip(self.busy, port[1:-1], strict=False))
        return once + port[0] + hidden + self.busy[-1] + port[-1]

    def _move(self, m: Moves) -> float:
        """Cycles of the longest of what moves, on every way by itself."""
        dram, top, local = self.mapped.unit.levels[0], self.mapped.unit.levels[1], self.mapped.unit.levels[-1]
        ways = [x / local.fill_bytes_per_cycle for x in m.inner_in.values()]
        ways += [x / local.drain_bytes_per_cycle for x in m.inner_out.values()]
        if local is not top:
            ways.append(_port(m.above_read, m.above_write, local, self.mapped.unit.levels[-2]))
        ways.append(_port(m.dram_read, m.dram_write, top, dram))
        ways.append(m.dram_read / (top.fill_bytes_per_cycle * top.instances))
        ways.append(m.dram_write / (top.drain_bytes_per_cycle * top.instances))
        return max(ways)

    def _tile(self, long: Mapping[str, int]) -> float:
        key = tuple(long.values())
        if key not in self._known:
            self._known[key] = self._cycles_of(long)
        return self._known[key]

    def _cycles_of(self, long: Mapping[str, int]) -> float:
        """Cycles of a tile of these sizes, on the unit or on the one beside, whichever takes longer."""
        p, unit, helper = self.mapped.problem, self.mapped.unit, self.mapped.helper
        extent = dict(p.group.sizes)
        for x in p.loops:
            extent |= dict.fromkeys(x.indices, 1) | {x.indices[0]: long[x.name]}

        def size(names: Sequence[str]) -> int:
            return prod(extent[i] for i in names)

        matrix = tuple(Contraction(size(c.batch), size(c.m), size(c.n), size(c.k)) for c in p.contractions)
        mine: dict[str, float] = {}
        beside: dict[str, float] = {}
        for term in p.facts.work.terms:
            made = p.group.shape.body[term.statement].indices  # what a statement makes is kept in loops it is not in
            summed = frozenset(
                x.name
                for x in p.loops
                if not set(x.indices) & set(term.indices if x.reduced else (*term.indices, *made))
            )
            to = mine if unit.does(term.kind) else beside
            to[term.kind] = to.get(term.kind, 0.0) + size(term.indices) / self._tiles_per_sum(summed)
        own = float(unit.template.cycles(Tile(matrix, mine, p.a_bits, p.b_bits, p.acc_bits), unit.ports))
        if not beside or helper is None:
            return own
        rest = Tile((), beside, p.a_bits, p.b_bits, p.acc_bits)
        return max(own, float(helper.template.cycles(rest, helper.ports)))

    def _tiles_per_sum(self, summed: frozenset[str]) -> float:
        """How many steps really run for one sum over these loops, on average: what is done once is spread over them."""
        if summed not in self._per_sum:
            steps = [tuple(i for n, i in s.at.items() if n not in summed) for s in self.walk.steps]
            self._per_sum[summed] = len(steps) / len(set(steps))
        return self._per_sum[summed]


def _port(read: float, write: float, below: Level, above: Level) -> float:
    one, two = read / below.source_bytes_per_cycle, write / below.sink_bytes_per_cycle
    return one + two if above.half_duplex else max(one, two)
