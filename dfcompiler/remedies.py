"""The smallest change of a chip by which a unit can run what it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dfcompiler.dtypes import ELEMENTS
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.growth import KIB, Lever, capacity_lever, least, weights_levers
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.problem import Problem
from dfcompiler.tiling import search, tightest, unable


@dataclass(frozen=True)
class Remedy:
    """More of one axis of one part, no less of which is enough; `more` is in the axis' unit."""

    lever: Lever
    more: int

    def __str__(self) -> str:
        return f"{more_of(self.lever, self.more)} (`--set {self.lever.part}.{self.lever.axis}={self.setting}`)"

    @property
    def setting(self) -> str:
        """The axis' new value as one would write it."""
        value = int(self.lever.now) + self.more
        size, unit = in_bytes(value) if self.lever.unit == "B" else (value, "")
        return f"{size}{unit}"


def more_of(lever: Lever, more: int) -> str:
    """`12 KiB more of `local``."""
    size, unit = in_bytes(more) if lever.unit == "B" else (more, lever.axis)
    return f"{size:,} {unit} more of `{lever.part}`"


def in_bytes(size: int) -> tuple[int, str]:
    """A size in the largest binary unit in which it is whole."""
    return next((size >> s, unit) for s, unit in ((20, "MiB"), (10, "KiB"), (0, "B")) if not size & ((1 << s) - 1))


def smallest(chip: Chip, lever: Lever | None, grain: int, enough: Callable[[Chip], bool]) -> Remedy | None:
    """The least of an axis that is enough, in steps of `grain`; None where there is none, or no axis."""
    more = least(chip, lever, grain, enough) if lever else None
    return Remedy(lever, more) if lever and more else None


def remedy(p: Problem, unit: Unit, chip: Chip) -> Remedy | None:
    """The smallest change of one axis by which a unit can run a problem that it has no tiling for: of the memory beside
    it where buffers do not fit, of the unit where weights do not; None where no size decides. It is priced."""
    if isinstance(unit.template, KernelCompute):
        return None
    helper = chip.units.get(unit.vector or "")
    if not unable(p, unit, helper):
        needed = tightest(p, unit, helper)
        found = smallest(
            chip,
            capacity_lever(chip, unit.levels[-1].part),
            KIB,
            lambda c: c.units[unit.name].levels[-1].capacity_bytes >= needed,
        )
    else:
        found = held_by(chip, unit.name, lambda c: not unable(p, c.units[unit.name], helper))
    return found if found and _priced(p, unit.name, found.lever.on(chip, found.more)) else None


def held_by(chip: Chip, unit: str, enough: Callable[[Chip], bool]) -> Remedy | None:
    """The axis of a unit that has to grow by the least part of itself until the unit holds enough weights."""
    found = [smallest(chip, lever, 1, enough) for lever in weights_levers(chip, unit)]
    return min(filter(None, found), key=lambda r: r.more / r.lever.now, default=None)


def _priced(p: Problem, unit: str, chip: Chip) -> bool:
    u = chip.units[unit]
    return bool(search(p, u, chip.units.get(u.vector or ""), (1.0,)).tilings)


def suggestion(p: Problem, unit: Unit, chip: Chip) -> str:
    """In words, what would let a unit run a problem that it cannot; empty where no size and no type would."""
    if found := remedy(p, unit, chip):
        return str(found)
    if p.contractions and not all(map(unit.template.multiplies, p.multiplied)):
        widest = max(p.a_bits, p.b_bits)
        able = (n for n, x in ELEMENTS.items() if x.bits <= widest and unit.template.multiplies(n))
        return next((f"operands of {n}" for n in able), "")
    return ""


def advice(offered: Mapping[str, str], p: Problem) -> str:
    """A hint for a problem that no unit runs, from what each unit would need."""
    if offered:
        return "smallest change: " + "; or ".join(f"{change}, then on `{unit}`" for unit, change in offered.items())
    return f"a unit is missing that runs {', '.join(sorted({*p.vector, *(['mac'] if p.contractions else [])}))}"
