"""Dynamic energy of a problem on a unit, for many tilings in one call: it is linear in the bytes at every level.

What the unit's products move between it and the memory beside it is counted tile by tile; scalar operations find their
operands in registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.facts import Array
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.plurals import plain
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Contraction, Tile
from dfcompiler.nest import ABOVE_READ, ABOVE_WRITE, DRAM_READ, DRAM_WRITE, INNER_IN, INNER_OUT
from dfcompiler.problem import Problem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Consumption:
    """What a problem takes on a unit: `fixed_pj` however it is tiled, of every contraction `beside_pj` times the bytes
    that one product moves beside the unit, and `byte_pj` for each byte at each of the unit's levels. Of many designs
    (`plurals`) these are arrays."""

    problem: Problem
    unit: Unit
    fixed_pj: Any
    beside_pj: tuple[Any, ...]
    byte_pj: tuple[Any, ...]

    @staticmethod
    def of(p: Problem, unit: Unit, helper: Unit | None, tech: Tech) -> Consumption:
        """Of a problem whose work that the unit cannot do is done by the helper."""
        width, fixed = max(p.a_bits, p.b_bits), plain(0.0)
        if p.contractions:
            factor = tech.float_factor(width) if p.floats else 1.0
            fixed = p.macs_on(unit.template) * plain(unit.template.pj_per_mac(tech, width)) * factor
        for kind, count in p.vector.items():
            by = (unit if unit.does(kind) or helper is None else helper).template
            fixed = fixed + count * plain(by.pj_per_mac(tech, 32) if kind == "mac" else by.pj_per_op(tech, kind))
        products = tuple(p.mask.count(c.indices) * unit.levels[-1].pj_per_byte for c in p.contractions)
        return Consumption(p, unit, fixed, products, tuple(x.pj_per_byte + x.wire_pj_per_byte for x in unit.levels))

    def of_tiles(self, form: Problem, size: Mapping[str, Array]) -> Array:
        """Energy without that of bytes at levels, in a loop form of the problem with tiles of these sizes; loops that
        are not among them run whole."""
        p = self.problem
        total: Array = self.fixed_pj
        every: dict[str, Array] = {x.name: float(x.size) for x in form.loops}
        every.update(size)
        for pj, c in zip(self.beside_pj, form.contractions, strict=True):
            one = Contraction(*(form.role(indices, every) for indices in (c.batch, c.m, c.n, c.k)))
            moved = self.unit.template.local_bytes(Tile((one,), {}, p.a_bits, p.b_bits, p.acc_bits))
            total = total + pj / one.macs * moved
        return total

    def of_bytes(self, moved: Floats) -> Floats:
        """Energy of bytes `[row, ...]`, in the rows of `Nest.bytes`."""
        own, top = moved[INNER_IN] + moved[INNER_OUT], moved[DRAM_READ] + moved[DRAM_WRITE]
        found = own * self.byte_pj[-1] + top * self.byte_pj[0]
        if len(self.byte_pj) > 2:
            found = found + (moved[ABOVE_READ] + moved[ABOVE_WRITE]) * self.byte_pj[-2]
        return np.asarray(found)
