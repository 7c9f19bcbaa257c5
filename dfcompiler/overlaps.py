"""What the tiles of an operand touch, all added up, where tiles may share elements and the last of a loop are smaller.

Along a loop that a tile follows element by element the sum is the operand's own extent. Along others (a halo, a
look-up, a piece that a statement touches without the loop) there are whole tiles and at most one ragged one: the sum
goes over the combinations of these, with what one tile of each touches.
"""

from __future__ import annotations

import itertools
from collections.abc import Set
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dfcompiler.problem import NestOperand, Problem

if TYPE_CHECKING:
    from dfcompiler.nest import Tiles

Floats = npt.NDArray[np.float64]


def mean_elements(problem: Problem, tiles: Tiles, o: NestOperand, whole: Set[str | None]) -> Floats:
    """Elements of an operand that a tile touches, `[tiling]`, on average over the steps and instances of its loops; all
    tiles are whole ones along the loops of `whole`."""
    size, plain, over = tiles.size, problem.proportional(o), np.ones_like(tiles.compute)
    sizes: list[list[tuple[str, Floats, Floats]]] = []  # per loop, whole tiles and a ragged one: how many, how large
    for x in (x for x in problem.loops if x.name in o.loops and x.name not in whole):
        points = tiles.points_of(x)
        along = points / size[x.name]
        over = over * (along if x.name in plain else 1.0) / (tiles.trips[x.name] * tiles.ways[x.name])
        if x.name not in plain:
            many, rest = np.floor(along), np.maximum(1.0, points % size[x.name])
            sizes.append([(x.name, many, size[x.name]), (x.name, np.ceil(along) - many, rest)])
    total = np.zeros_like(over)
    for one in itertools.product(*sizes):
        elements = problem.elements(o.name, {**size, **{name: long for name, _, long in one}}, o.kind)
        total = total + elements * np.prod([many for _, many, _ in one], axis=0)
    return np.asarray(total * over)
