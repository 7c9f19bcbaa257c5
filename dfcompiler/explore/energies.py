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
from dfcompiler.explore.floors import brought, runs
from dfcompiler.grouping import grouped
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.plurals import least, most
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.problem import NestOperand, Problem


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
    by_place = grouped(p)
    return used.fixed_pj + least(*(_moved_pj(x, p, unit, used) for x in ((p, by_place) if by_place else (p,))))


def _moved_pj(form: Problem, p: Problem, unit: Unit, used: Consumption) -> Any:
    """What moves between levels, and beside the unit."""
    points = [p.mask.count(c.indices) for c in p.contractions]
    read, write = (sum(_once(form, o) for o in form.operands if o.kind == kind) for kind in ("read", "write"))
    own, count = unit.levels[-1].capacity_bytes, unit.instances
    every = own * count
    beyond = every + sum(x.capacity_bytes * x.instances for x in unit.levels[1:-1])
    near = most(read, brought(form, points, own, count) * count) + write
    total = near * used.byte_pj[-1] + (most(read, brought(form, points, beyond, 1)) + write) * used.byte_pj[0]
    if len(used.byte_pj) > 2:
        above = most(read, brought(form, points, every, 1)) + write if unit.levels[-1].multicast else near
        total = total + above * used.byte_pj[-2]
    sizes = {x.name: float(x.size) for x in form.loops}
    for pj, c in zip(used.beside_pj, form.contractions, strict=True):
        whole = Contraction(*(form.role(indices, sizes) for indices in (c.batch, c.m, c.n, c.k)))
        total = total + pj * _beside(form, whole, unit)
    return total


def _once(p: Problem, o: NestOperand) -> float:
    """Bytes that must move at least once: no more than a tile of all points touches."""
    touched = float(p.elements(o.name, {x.name: float(x.size) for x in p.loops}, o.kind)) * o.bits / 8
    return min(o.total_bytes, touched)


def _beside(p: Problem, whole: Contraction, unit: Unit) -> Any:
    """Bytes beside the unit for a multiply-accumulate, in the best tile."""
    grain = unit.template.granule()
    sizes = [(x, least(x, grain.get(role, 1))) for role, x in zip("mnk", (whole.m, whole.n, whole.k), strict=True)]
    tiles = (Contraction(1.0, m, n, k) for m, n, k in product(*sizes))
    return least(*(unit.template.local_bytes(Tile((x,), {}, p.a_bits, p.b_bits, p.acc_bits)) / x.macs for x in tiles))
