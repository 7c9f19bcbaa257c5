"""Dynamic energy of what a chip does: arithmetic, and bytes at every level with the way to it."""

from __future__ import annotations

from collections.abc import Mapping

from dfcompiler.exchanges import links_of
from dfcompiler.grouping import form_of
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.template import Contraction, Memory, Tile
from dfcompiler.problem import Problem
from dfcompiler.tiling import Tiling


def energy_pj(p: Problem | None, unit: str, helper: str | None, tiling: Tiling, chip: Chip) -> float:
    """Dynamic energy of one run of a tiled problem on a unit with its helper, or of an exchange, which has no problem.

    What the unit's products move between it and the memory beside it is counted tile by tile; scalar operations find
    their operands in registers. Leakage is not in it (`power.static_w`), nor are moves for them within a unit. Of an
    exchange there are the bytes in DRAM and on the links.
    """
    if p is None:
        links, dram = links_of(chip), chip.dram.template
        assert isinstance(dram, Memory)
        stored = tiling.dram_bytes * float(dram.pj_per_byte(chip.tech))
        return stored + tiling.level_bytes[links.part] * links.pj_per_byte
    runs = chip.units[unit]
    total = _products_pj(tiling, p, runs, chip) if p.contractions else 0.0
    for kind, count in p.vector.items():
        runner = runs if runs.does(kind) else chip.units[helper or unit]
        pj = runner.template.pj_per_mac(chip.tech, 32) if kind == "mac" else runner.template.pj_per_op(chip.tech, kind)
        total += count * float(pj)
    moved: Mapping[str, float] = tiling.level_bytes
    return total + sum(moved.get(x.part, 0.0) * (x.pj_per_byte + x.wire_pj_per_byte) for x in runs.levels)


def _products_pj(tiling: Tiling, p: Problem, unit: Unit, chip: Chip) -> float:
    """Arithmetic of contractions, and bytes between the unit and the memory beside it."""
    width = max(p.a_bits, p.b_bits)
    factor = chip.tech.float_factor(width) if p.floats else 1.0
    total = p.macs_on(unit.template) * float(unit.template.pj_per_mac(chip.tech, width)) * factor
    form = form_of(p, tiling.tile)
    whole = {x.name: float(x.size) for x in form.loops}  # what a unit of whole kernels runs at once
    size = whole | {name: float(points) for name, points in tiling.tile.items()}
    for c, tiled in zip(p.contractions, form.contractions, strict=True):
        one = Contraction(*(form.role(indices, size) for indices in (tiled.batch, tiled.m, tiled.n, tiled.k)))
        moved = float(unit.template.local_bytes(Tile((one,), {}, p.a_bits, p.b_bits, p.acc_bits)))
        total += p.mask.count(c.indices) / float(one.macs) * moved * unit.levels[-1].pj_per_byte
    return total
