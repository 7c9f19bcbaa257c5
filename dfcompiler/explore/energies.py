"""Energy below which no tiling of a problem comes, of one chip or of arrays of chips.

Work takes what its unit's templates say. Of what moves every operand passes every level at least once, and products
bring in at least what capacities allow (`floors.brought`); beside the unit a tile of a product moves least, for each
multiply-accumulate, where it is whole or fills the unit.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from dfcompiler.consumption import Consumption
from dfcompiler.explore.floors import brought, from_dram, runs
from dfcompiler.explore.needs import Need, needs
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.plurals import least, most
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.problem import Problem


def least_pj(p: Problem, chip: Chip) -> Any:
    """Picojoules that a problem takes at least on the thriftiest unit; inf where none runs it."""
    found: Any = np.inf
    for unit in chip.units.values():
        helper = chip.units.get(unit.vector or "")
        if runs(p, unit, helper):
            found = least(found, unit_pj(p, unit, Consumption.of(p, unit, helper, chip.tech)))
    return found


def unit_pj(p: Problem, unit: Unit, used: Consumption) -> Any:
    """Picojoules that a problem takes at least on one unit that runs it, in the better of its loop forms."""
    return used.fixed_pj + least(*(_moved_pj(need, unit, used) for need in needs(p)))


def _moved_pj(need: Need, unit: Unit, used: Consumption) -> Any:
    """What moves between levels, and beside the unit."""
    own, count = unit.levels[-1].capacity_bytes, unit.instances
    every = own * count
    beyond = every + sum(x.capacity_bytes * x.instances for x in unit.levels[1:-1])
    near, top = most(need.read_bytes, brought(need, own, count) * count), sum(from_dram(need, unit, beyond))
    total = (near + need.write_bytes) * used.byte_pj[-1] + top * used.byte_pj[0]
    if len(used.byte_pj) > 2:
        above = most(need.read_bytes, brought(need, every, 1)) if unit.levels[-1].multicast else near
        total = total + (above + need.write_bytes) * used.byte_pj[-2]
    for pj, x in zip(used.beside_pj, need.products, strict=True):
        total = total + pj * _beside(need.problem, x.whole, unit)
    return total


def _beside(p: Problem, whole: Contraction, unit: Unit) -> Any:
    """Bytes beside the unit for a multiply-accumulate, in the best tile."""
    grain = unit.template.granule()
    sizes = [(x, least(x, grain.get(role, 1))) for role, x in zip("mnk", (whole.m, whole.n, whole.k), strict=True)]
    tiles = (Contraction(1.0, m, n, k) for m, n, k in product(*sizes))
    return least(*(unit.template.local_bytes(Tile((x,), {}, p.a_bits, p.b_bits, p.acc_bits)) / x.macs for x in tiles))
