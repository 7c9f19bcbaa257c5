"""What a chip costs: dies of a wafer, those that work, package and memories; and what its tokens cost over the years.

Pure functions of numbers or arrays. Prices are first figures from public sources (`templates/tech`), without design,
masks, test time, boards, switches between devices and margins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.axes import Array
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.tech import Tech
from dfcompiler.hardware.template import Memory

HOURS_PER_YEAR = 8766  # 365.25 days


@dataclass(frozen=True)
class Price:
    """USD of one good device by part."""

    die: float
    interposer: float
    assembly: float
    memory: float

    @property
    def usd(self) -> float:
        """All together."""
        return self.die + self.interposer + self.assembly + self.memory


@dataclass(frozen=True)
class Ownership:
    """What a device costs beside its price. `share` of its price for host, network and rack; `utilisation` is the part
    of the years in which it works, at `busy_w`; otherwise it takes `idle_w`. `pue` is watts of the building per watt.
    """

    years: float
    utilisation: float
    usd_per_kwh: float
    pue: float
    busy_w: float
    idle_w: float
    share: float = 0.0

    def __post_init__(self) -> None:
        legal = {
            "years": self.years > 0,
            "utilisation": 0 < self.utilisation <= 1,
            "usd_per_kwh": self.usd_per_kwh >= 0,
            "pue": self.pue >= 1,
            "busy_w": self.busy_w >= 0,
            "idle_w": self.idle_w >= 0,
            "share": self.share >= 0,
        }
        for name, fine in legal.items():
            if not fine or not np.isfinite(getattr(self, name)):
                raise Diag("illegal-value", f"`{name}` cannot be {getattr(self, name)}", hint="see `Ownership`")


def dies_per_wafer(die_mm2: Array, diameter_mm: float = 300, scribe_mm: float = 0.1) -> Array:
    """Whole dies of a round wafer, less those that its edge cuts: pi r^2 / a - pi d / sqrt(2 a) (de Vries, 2005); 0
    where that is negative. A die is taken as a square with half a scribe line on each side."""
    one = (np.sqrt(die_mm2) + scribe_mm) ** 2
    whole = np.pi * (diameter_mm / 2) ** 2 / one - np.pi * diameter_mm / np.sqrt(2 * one)
    result: Array = np.maximum(0.0, whole)
    return result


def working(die_mm2: Array, defects_per_cm2: float, cluster: float) -> Array:
    """The part of dies without a defect that kills: negative binomial, defects clustered by `cluster`."""
    result: Array = (1 + np.asarray(die_mm2) / 100 * defects_per_cm2 / cluster) ** -cluster
    return result


def good_die_usd(die_mm2: Array, wafer_usd: float, defects_per_cm2: float, tech: Tech) -> Array:
    """A wafer's price over the dies of it that work; inf where none fits."""
    whole = dies_per_wafer(die_mm2, tech.value("wafer", "diameter_mm"), tech.value("wafer", "scribe_mm"))
    good = np.asarray(whole * working(die_mm2, defects_per_cm2, tech.value("wafer", "cluster")))
    result: Array = np.divide(wafer_usd, good, out=np.full(good.shape, np.inf), where=good > 0)
    return result


def price(chip: Chip) -> Price:
    """What one good device costs to make. Raises Infeasible `beyond-reticle` where its die is larger than one exposure.

    Memories with a footprint stand beside the die on an interposer; the others are on the board, and the die's package
    is organic. A package that fails takes all that is in it along.
    """
    tech, die_mm2 = chip.tech, chip.die_mm2()
    most = tech.value("wafer", "reticle_mm2")
    if die_mm2 > most:
        message = f"the die of `{chip.name}` has {die_mm2:,.0f} mm2; one exposure has {most:g}"
        raise Infeasible("beyond-reticle", message, hint=f"{die_mm2 - most:,.0f} mm2 too much: fewer or smaller parts")
    die = float(good_die_usd(die_mm2, tech.value("wafer", "usd"), tech.value("wafer", "defects_per_cm2"), tech))
    memories = [p.template for p in chip.parts.values() if isinstance(p.template, Memory)]
    memory = float(sum(float(m.usd()) for m in memories))
    beside = float(sum(float(m.footprint_mm2()) for m in memories))
    inside = memory if beside else 0.0
    interposer, assembly = _package(die_mm2, beside, tech)
    lost = 1 / tech.value("package", "assembly_yield") - 1
    return Price(die, interposer, assembly + lost * (die + interposer + assembly + inside), memory)


def _package(die_mm2: float, beside_mm2: float, tech: Tech) -> tuple[float, float]:
    """USD of the interposer, if there is one, and of bonding, substrate and test."""
    if not beside_mm2:
        return 0.0, die_mm2 * tech.value("package", "organic_usd_per_mm2")
    area = (die_mm2 + beside_mm2) * tech.value("package", "interposer_margin")
    wafer, defects = (tech.value("package", f"interposer_{x}") for x in ("wafer_usd", "defects_per_cm2"))
    return float(good_die_usd(area, wafer, defects, tech)), area * tech.value("package", "assembly_usd_per_mm2")


def usd_per_million_tokens(device_usd: Array, tokens_per_s: Array, o: Ownership) -> Array:
    """Cost of ownership over what a device makes in its years: price and electricity per million tokens.

    `tokens_per_s` is what it makes while it works; raises Diag `illegal-value` where that is not positive.
    """
    if not np.all(np.asarray(tokens_per_s) > 0):
        raise Diag("illegal-value", f"`tokens_per_s` cannot be {tokens_per_s}", hint="it is positive")
    hours = o.years * HOURS_PER_YEAR
    watts = o.utilisation * o.busy_w + (1 - o.utilisation) * o.idle_w
    electricity = hours * watts / 1000 * o.pue * o.usd_per_kwh
    tokens = np.asarray(tokens_per_s) * o.utilisation * hours * 3600
    result: Array = (np.asarray(device_usd) * (1 + o.share) + electricity) / tokens * 1e6
    return result
