"""Watts of a chip: what it takes at rest, and at most, with every unit and the DRAM at their peaks."""

from __future__ import annotations

from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.plurals import plain
from dfcompiler.hardware.template import Contraction, Memory, Tile

BITS = 16  # of operands: bf16 is what units are sized by
LARGE = Contraction(1, 1024, 1024, 1024)  # a product in which a unit is as busy as it gets


def static_w(chip: Chip) -> float:
    """Leakage and clocks of the die, by its area, and its memories without traffic."""
    memories = (p.template for p in chip.parts.values() if isinstance(p.template, Memory))
    idle: float = sum(plain(m.idle_w()) for m in memories)
    return chip.die_mm2() * chip.tech.value("static", "w_per_mm2") + idle


def peak_w(chip: Chip) -> float:
    """`static_w` with all multipliers busy, their operands from the memory beside them, and the DRAM at its bandwidth.

    What holds a design to less (cooling, supply) is not in it.
    """
    dram = chip.dram.template
    assert isinstance(dram, Memory)
    stored = chip.dram_bytes_per_s * plain(dram.pj_per_byte(chip.tech))
    watts: float = static_w(chip) + (stored + sum(_peak_pj_per_s(chip, unit) for unit in chip.units.values())) * 1e-12
    return watts


def _peak_pj_per_s(chip: Chip, unit: Unit) -> float:
    """Products at their peak, with what they move between the unit and the memory beside it."""
    macs_per_s: float = plain(unit.template.peak_macs_per_cycle()) * chip.clock_hz * unit.instances
    moved: float = plain(unit.template.local_bytes(Tile((LARGE,), {}, BITS, BITS, 2 * BITS))) / float(LARGE.macs)
    watts: float = macs_per_s * (plain(unit.template.pj_per_mac(chip.tech, BITS)) + moved * unit.levels[-1].pj_per_byte)
    return watts
