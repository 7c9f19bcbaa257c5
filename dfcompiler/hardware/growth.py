"""What a chip would be with more of something, and the least of it that is enough."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dfcompiler.hardware.axes import Axis, Template
from dfcompiler.hardware.chip import Chip, Part
from dfcompiler.hardware.elaboration import elaborate
from dfcompiler.hardware.revision import larger, revised
from dfcompiler.hardware.template import Compute, Interconnect, Memory
from dfcompiler.text.tree import Quantity

KIB, MIB, GB_PER_S, BYTE = 1 << 10, 1 << 20, 10**9, 8


@dataclass(frozen=True)
class Lever:
    """An axis of a part by which a chip can grow: `now`, in the axis' `unit`."""

    part: str
    axis: str
    unit: str
    now: float

    def on(self, chip: Chip, more: float) -> Chip:
        """The chip with so much more; raises Diag `illegal-value` where its axis ends before."""
        value = self.now + more
        unit = self.unit if self.unit in ("B", "B/s", "B/cycle") else ""
        setting = Quantity(int(value) if value == int(value) else value, unit)
        return elaborate(revised(chip.decl, {f"{self.part}.{self.axis}": setting}))


def capacity_lever(chip: Chip, part: str) -> Lever | None:
    """What a memory's capacity follows from, where that is one axis in bytes."""

    def held(t: Template) -> float:
        return float(t.capacity_bytes()) if isinstance(t, Memory) else 0.0

    return next(_levers(chip.parts[part], held, "B"), None)


def bandwidth_lever(chip: Chip, part: str) -> Lever | None:
    """What the bytes that a memory or a network sends follow from, where that is one axis in bytes per time."""

    def sent(t: Template) -> float:
        match t:
            case Memory():
                return float(t.outside_bytes_per_cycle(chip.clock_hz))
            case Interconnect():
                return float(t.bytes_per_cycle(chip.clock_hz))
            case _:
                return 0.0

    return next((x for x in _levers(chip.parts[part], sent, None) if x.unit in ("B/s", "B/cycle")), None)


def weights_levers(chip: Chip, unit: str) -> list[Lever]:
    """Axes by which a unit holds more weights before a step."""

    def held(t: Template) -> float:
        return float(t.weights_held(BYTE)) if isinstance(t, Compute) else 0.0

    return list(_levers(chip.parts[unit], held, None))


def _levers(part: Part, measure: Callable[[Template], float], unit: str | None) -> Iterator[Lever]:
    """The axes, in this unit or in any, of which twice as much makes the measure grow."""
    for one in part.template.axes():
        value = getattr(part.template, one.name)
        if isinstance(value, str) or unit not in (None, one.unit) or not one.legal.check(2 * value):
            continue
        if measure(part.template.with_axes({one.name: 2 * value})) > measure(part.template):
            yield Lever(part.name, one.name, one.unit, float(value))


def legal(chip: Chip, lever: Lever, more: float) -> bool:
    """Whether the lever's axis takes so much more."""
    return _axis(chip, lever).legal.check(type(_axis(chip, lever).default)(lever.now + more))


def more_instances(chip: Chip, part: str) -> Chip | None:
    """The chip with one more in the group of a part; None for a part that is in none."""
    group = chip.parts[part].group
    return elaborate(larger(chip.decl, group, 1)) if group else None


def least(chip: Chip, lever: Lever, grain: int, enough: Callable[[Chip], bool]) -> int | None:
    """The least that has to be added, in steps of `grain`, until `enough` holds of the chip; None where it never does.

    What is enough must stay so with more.
    """
    most = max(x for x in _axis(chip, lever).legal.values() if not isinstance(x, str)) - lever.now
    if most <= 0 or not enough(lever.on(chip, most)):
        return None
    ends = 1
    while legal(chip, lever, ends * grain) and not enough(lever.on(chip, ends * grain)):
        ends *= 2
    if not legal(chip, lever, ends * grain):
        return _among_few(chip, lever, enough)
    steps = range(ends // 2 + 1, ends + 1)
    return grain * steps[bisect_left(steps, True, hi=len(steps) - 1, key=lambda n: enough(lever.on(chip, n * grain)))]


def _among_few(chip: Chip, lever: Lever, enough: Callable[[Chip], bool]) -> int | None:
    """The same for an axis that takes few values, such as powers of two, or whose end is near."""
    more = (v - lever.now for v in _axis(chip, lever).legal.values() if not isinstance(v, str) and v > lever.now)
    return next((int(x) for x in more if enough(lever.on(chip, x))), None)


def _axis(chip: Chip, lever: Lever) -> Axis:
    return chip.parts[lever.part].template.axis(lever.axis)
