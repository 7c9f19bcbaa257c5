"""What devices of a pool are, whatever they run: areas, prices, watts and bandwidths over all designs at once."""

from __future__ import annotations

import numpy as np

from dfcompiler.economics import good_die_usd
from dfcompiler.explore.prices.chipgrid import ChipGrid, UnitGrid
from dfcompiler.explore.references import Array
from dfcompiler.hardware.template import Compute, Interconnect, Memory, Tile
from dfcompiler.power import BITS, LARGE


def design_figure(chips: ChipGrid, name: str) -> Array:
    """One of `space.DESIGN` over the designs; inf is the price of a die that no exposure has room for."""
    dram = chips.templates[chips.one.dram.name]
    assert isinstance(dram, Memory)
    match name:
        case "area_mm2":
            return _area(chips, apart=True)
        case "die_mm2":
            return _area(chips, apart=False)
        case "usd":
            return _usd(chips)
        case "dram_bytes":
            return np.asarray(dram.capacity_bytes(), dtype=np.float64)
        case "dram_bytes_per_s":
            return np.asarray(dram.read_bytes_per_cycle(chips.clock_hz) * chips.clock_hz, dtype=np.float64)
        case "link_bytes_per_s":
            links = [x for p in chips.one.links if isinstance(x := chips.templates[p.name], Interconnect)]
            return np.asarray(sum((x.bytes_per_cycle(chips.clock_hz) for x in links), start=0.0) * chips.clock_hz)
        case "static_w":
            return _static_w(chips)
        case "peak_w":
            stored = design_figure(chips, "dram_bytes_per_s") * np.asarray(dram.pj_per_byte(chips.one.tech))
            units = sum((_peak_pj_per_s(chips, unit) for unit in chips.units.values()), start=np.zeros(1))
            return np.asarray(_static_w(chips) + (stored + units) * 1e-12)
    raise KeyError(name)


def _static_w(chips: ChipGrid) -> Array:
    """As `power.static_w`."""
    memories = [x for x in chips.templates.values() if isinstance(x, Memory)]
    idle = sum((np.asarray(m.idle_w()) for m in memories), start=np.zeros(1))
    return np.asarray(_area(chips, apart=False) * chips.one.tech.value("static", "w_per_mm2") + idle)


def _peak_pj_per_s(chips: ChipGrid, unit: UnitGrid) -> Array:
    """As `power.peak_w` counts a unit."""
    tile = Tile((LARGE,), {}, BITS, BITS, 2 * BITS)
    macs_per_s = unit.template.peak_macs_per_cycle() * chips.clock_hz * unit.instances
    moved = unit.template.local_bytes(tile) / LARGE.macs * unit.levels[-1].pj_per_byte
    return np.asarray(macs_per_s * (unit.template.pj_per_mac(chips.one.tech, BITS) + moved))


def _area(chips: ChipGrid, *, apart: bool) -> Array:
    """Of all parts, or of those on the chip's own die."""
    total: Array = np.asarray(0.0)
    for name, template in chips.templates.items():
        if not isinstance(template, Compute | Memory | Interconnect):
            continue
        if apart or not (isinstance(template, Compute) and template.off_die()):
            total = total + np.asarray(template.area_mm2(chips.one.tech), dtype=np.float64) * chips.copies[name]
    return np.asarray(total + chips.one.uncore_mm2)


def _usd(chips: ChipGrid) -> Array:
    """As `economics.price`."""
    tech, die_mm2 = chips.one.tech, _area(chips, apart=False)
    memories = [x for x in chips.templates.values() if isinstance(x, Memory)]
    memory, beside = (
        np.asarray(sum((np.asarray(f) for f in each), start=np.zeros(1)))
        for each in ([m.usd(tech) for m in memories], [m.footprint_mm2() for m in memories])
    )
    die = good_die_usd(die_mm2, tech.value("wafer", "usd"), tech.value("wafer", "defects_per_cm2"), tech)
    area = (die_mm2 + beside) * tech.value("package", "interposer_margin")
    wafer, defects = (tech.value("package", f"interposer_{x}") for x in ("wafer_usd", "defects_per_cm2"))
    interposer = np.where(beside > 0, good_die_usd(area, wafer, defects, tech), 0.0)
    board = die_mm2 * tech.value("package", "organic_usd_per_mm2")
    assembly = np.where(beside > 0, area * tech.value("package", "assembly_usd_per_mm2"), board)
    lost = 1 / tech.value("package", "assembly_yield") - 1
    inside = np.where(beside > 0, memory, 0.0)
    usd = die + interposer + (assembly + lost * (die + interposer + assembly + inside)) + memory
    return np.where(die_mm2 > tech.value("wafer", "reticle_mm2"), np.inf, usd)
