"""Energy of what tilings move, by every choice for an operand at once.

What a choice moves is the same number of times the bytes of a tile in all tilings, but for those that the general count
of bytes knows: masks, tiles that are more than their points, copies that some instances need not take, and instances
for which a loop does not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import numpy.typing as npt

from dfcompiler.consumption import Consumption
from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.tech import Tech
from dfcompiler.moves import Keep, Moves
from dfcompiler.nest import Nest, Tiles, spread
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.residency import Structures
from dfcompiler.tiles import select

Floats = npt.NDArray[np.float64]


def of_choices(used: Consumption, nest: Nest, some: Structures) -> Floats:
    """Energy of the bytes of every choice of some structures, `[choice, tiling]`."""
    found = np.zeros((len(some.made), len(nest.tiles.compute)))
    for i, o in enumerate(nest.problem.operands):
        mine = [n for n, (operand, _, _) in enumerate(some.each) if operand == i]
        choices = [some.each[n][1:] for n in mine]
        rest = np.arange(len(nest.tiles.compute))
        if _counts_alike(nest.problem, nest.unit, o):
            found[mine] = _at_once(used, nest, o, choices)
            rest = np.flatnonzero(reduce(np.logical_or, (nest.single(o, x) > 0 for x in nest.problem.loops), rest < 0))
        if o.kind != "local" and len(rest):
            tiles = select(nest.tiles, rest)
            nests: dict[tuple[str, ...], Nest] = {}
            for n, (moves, keep) in zip(mine, choices, strict=True):
                one = nests.setdefault(moves.order, Nest(nest.problem, nest.unit, tiles, moves))
                found[n, rest] = used.of_bytes(one.bytes_of(o, keep))
    return found


def floor_pj(problem: Problem, unit: Unit, helper: Unit | None, tech: Tech) -> float:
    """Energy below which a unit that can run a problem cannot run it: all that must move passes every level once."""
    used = Consumption.of(problem, unit, helper, tech)
    alike = [o for o in problem.operands if _counts_alike(problem, unit, o)]
    return float(used.fixed_pj + sum(o.total_bytes * sum(used.byte_pj[o.pinned :]) for o in alike))


def least_pj(used: Consumption, problem: Problem, tiles: Tiles) -> Floats:
    """Energy below which no tiling comes in any order, whatever it keeps: every instance takes once what it needs."""
    found: Array = used.of_tiles(problem, tiles.size)
    ways = reduce(np.multiply, tiles.ways.values(), np.ones(1))
    for o in (o for o in problem.operands if _counts_alike(problem, used.unit, o)):
        own = reduce(np.multiply, (w for x, w in tiles.ways.items() if x in o.loops), np.ones(1))
        found = found + o.total_bytes * (ways / own * used.byte_pj[-1] + sum(used.byte_pj[o.pinned : -1]))
    return np.asarray(found)


def _counts_alike(problem: Problem, unit: Unit, o: NestOperand) -> bool:
    """Whether all tiles of an operand count alike wherever they move, and all copies are taken."""
    if o.kind == "local" or problem.band is not None or problem.proportional(o) < o.loops:
        return False
    return unit.levels[-1].multicast or unit.instances == 1


def _at_once(used: Consumption, nest: Nest, o: NestOperand, choices: Sequence[tuple[Moves, Keep | None]]) -> Floats:
    """Energy of one operand by each of its choices, where every instance runs every loop."""
    flows = [moves.flow(o, keep, widest=False) for moves, keep in choices]
    near, far = (np.stack([getattr(f, n).sum(0) for f in flows]) @ nest.counts for n in ("near", "far"))
    ways = reduce(np.multiply, nest.tiles.ways.values(), np.ones_like(nest.tiles.compute))
    tile, copies = nest.mean_elements(o) / 8, spread(nest.unit, nest.tiles, o)
    between = used.byte_pj[-2] if len(used.byte_pj) > 2 else 0.0
    last = o.bits if o.kind == "write" else 0
    own, top = tile * (ways * used.byte_pj[-1] + copies * between), tile * copies * used.byte_pj[0] * (not o.pinned)
    return np.asarray((near + last) * own + (far + last) * top)
