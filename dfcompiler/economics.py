"""What a chip costs: dies of a wafer, those that work, package and memories; and what its tokens cost over the years.

Pure functions of numbers or arrays. Prices are first figures from public sources (`templates/tech`), without design,
masks, test time, boards and margins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil

import numpy as np

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.axes import Array
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.plurals import plain
from dfcompiler.hardware.tech import Tech, load_tech
from dfcompiler.hardware.template import Interconnect, Memory
from dfcompiler.terms import Terms

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


@dataclass(frozen=True, kw_only=True)
class Ownership(Terms):
    """Terms, and the watts of the devices: `busy_w` in the part of the years in which they work, else `idle_w`."""

    busy_w: float
    idle_w: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(busy_w=self.busy_w >= 0, idle_w=self.idle_w >= 0)


@dataclass(frozen=True)
class Owned:
    """USD over the years by what it is paid for. `around` is host, network and rack."""

    devices: Array
    around: Array
    electricity: Array

    @property
    def usd(self) -> Array:
        """All together."""
        return self.devices + self.around + self.electricity


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
    """What one good device costs to make. Raises Infeasible `beyond-reticle` where its die is larger than one exposure;
    of many designs, those have a price of inf.

    Memories with a footprint stand beside the die on an interposer; the others are on the board, and the die's package
    is organic. A package that fails takes all that is in it along.
    """
    tech, die_mm2 = chip.tech, chip.die_mm2()
    largest = tech.value("wafer", "reticle_mm2")
    if np.all(die_mm2 > largest):
        message = f"the die of `{chip.name}` has {np.min(die_mm2):,.0f} mm2; one exposure has {largest:g}"
        hint = f"{np.min(die_mm2) - largest:,.0f} mm2 too much: fewer or smaller parts"
        raise Infeasible("beyond-reticle", message, hint=hint)
    made_mm2 = plain(np.where(np.asarray(die_mm2) > largest, np.inf, die_mm2))
    with np.errstate(invalid="ignore"):  # what has an infinite area has no price
        die = plain(good_die_usd(made_mm2, tech.value("wafer", "usd"), tech.value("wafer", "defects_per_cm2"), tech))
        memories = [p.template for p in chip.parts.values() if isinstance(p.template, Memory)]
        memory: float = sum(plain(m.usd(tech)) for m in memories)
        beside: float = sum(plain(m.footprint_mm2()) for m in memories)
        inside = np.where(np.asarray(beside) > 0, memory, 0.0)
        interposer, assembly = _package(made_mm2, beside, tech)
        lost = 1 / tech.value("package", "assembly_yield") - 1
        return Price(die, interposer, plain(assembly + lost * (die + interposer + assembly + inside)), memory)


def _package(die_mm2: float, beside_mm2: float, tech: Tech) -> tuple[float, float]:
    """USD of the interposer, if there is one, and of bonding, substrate and test."""
    apart = np.asarray(beside_mm2) > 0
    area = (die_mm2 + beside_mm2) * tech.value("package", "interposer_margin")
    wafer, defects = (tech.value("package", f"interposer_{x}") for x in ("wafer_usd", "defects_per_cm2"))
    interposer = np.where(apart, good_die_usd(area, wafer, defects, tech), 0.0)
    bonded = area * tech.value("package", "assembly_usd_per_mm2")
    return plain(interposer), plain(np.where(apart, bonded, die_mm2 * tech.value("package", "organic_usd_per_mm2")))


def switches_usd(chip: Chip, devices: int) -> float | None:
    """What the switches between so many devices cost to make: one level of them, a port for every link of a device.

    0 where devices are joined without, or there is one; None where nobody says what the switch of a link is. Raises
    Infeasible `beyond-switch` where a switch has fewer ports than there are devices.
    """
    links = [p.template for p in chip.links if isinstance(p.template, Interconnect) and p.template.switched()]
    if devices == 1 or not links:
        return 0.0
    total = 0.0
    for link in links:
        made = link.switch()
        if made is None:
            return None
        if devices > made.ports:
            message = f"a switch of `{chip.name}` has {made.ports} ports, there are {devices} devices"
            raise Infeasible("beyond-switch", message, hint="levels of switches are not priced")
        tech = load_tech(made.node_nm)
        die = good_die_usd(made.die_mm2, tech.value("wafer", "usd"), tech.value("wafer", "defects_per_cm2"), tech)
        _, assembly = _package(made.die_mm2, 0.0, tech)
        one = (float(die) + assembly) / tech.value("package", "assembly_yield")
        total += ceil(devices * made.links / made.ports) * one
    return total


def owned(device_usd: Array, o: Ownership) -> Owned:
    """What devices of this price cost over the years."""
    watts = o.utilisation * o.busy_w + (1 - o.utilisation) * o.idle_w
    electricity = o.years * HOURS_PER_YEAR * watts / 1000 * o.pue * o.usd_per_kwh
    usd = np.asarray(device_usd)
    return Owned(usd, usd * o.share, electricity + 0 * usd)


def million_tokens(tokens_per_s: Array, o: Ownership) -> Array:
    """How many million tokens devices make in their years.

    `tokens_per_s` is what they make while they work; raises Diag `illegal-value` where that is not positive.
    """
    if not np.all(np.asarray(tokens_per_s) > 0):
        raise Diag("illegal-value", f"`tokens_per_s` cannot be {tokens_per_s}", hint="it is positive")
    made: Array = np.asarray(tokens_per_s) * o.utilisation * o.years * HOURS_PER_YEAR * 3600 / 1e6
    return made


@dataclass(frozen=True)
class Running:
    """A step that devices take again and again, every `interval_s`: its tokens, and the joules of all devices, of which
    `static_j` go by whether or not they work."""

    tokens: float
    interval_s: float
    latency_s: float
    energy_j: float
    static_j: float

    def ownership(self, terms: Terms) -> Ownership:
        """Terms with the watts of this step."""
        idle_w = self.static_j / self.latency_s
        busy_w = idle_w + (self.energy_j - self.static_j) / self.interval_s
        return Ownership(**asdict(terms), busy_w=busy_w, idle_w=idle_w)

    def per_million_tokens(self, device_usd: float, terms: Terms) -> Owned:
        """What a million tokens of such steps cost, by what it is paid for."""
        o = self.ownership(terms)
        whole, millions = owned(device_usd, o), million_tokens(self.tokens / self.interval_s, o)
        return Owned(*(float(part / millions) for part in (whole.devices, whole.around, whole.electricity)))


def usd_per_million_tokens(device_usd: Array, tokens_per_s: Array, o: Ownership) -> Array:
    """Cost of ownership over what devices make in their years: price and electricity per million tokens."""
    result: Array = owned(device_usd, o).usd / million_tokens(tokens_per_s, o)
    return result
