"""Dynamic energy of what a chip does: arithmetic, and bytes at every level with the way to it."""

from __future__ import annotations

from dfcompiler.consumption import Consumption
from dfcompiler.exchanges import links_of
from dfcompiler.grouping import form_of
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import Memory
from dfcompiler.problem import Problem
from dfcompiler.tiling import Tiling


def energy_pj(p: Problem | None, unit: str, helper: str | None, tiling: Tiling, chip: Chip) -> float:
    """Dynamic energy of one run of a tiled problem on a unit with its helper, or of an exchange, which has no problem.

    Leakage is not in it (`power.static_w`), nor are moves of scalar operations' operands within a unit. Of an exchange
    there are the bytes in DRAM and on the links.
    """
    if p is None:
        links, dram = links_of(chip), chip.dram.template
        assert isinstance(dram, Memory)
        stored = tiling.dram_bytes * float(dram.pj_per_byte(chip.tech))
        return stored + tiling.level_bytes[links.part] * links.pj_per_byte
    runs = chip.units[unit]
    used = Consumption.of(p, runs, chip.units[helper] if helper else None, chip.tech)
    moved: float = sum(
        tiling.level_bytes.get(x.part, 0.0) * pj for x, pj in zip(runs.levels, used.byte_pj, strict=True)
    )
    return float(used.of_tiles(form_of(p, tiling.tile), tiling.tile)) + moved
