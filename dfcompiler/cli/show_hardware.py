"""Chips and templates for people."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from rich.text import Text

from dfcompiler import registry
from dfcompiler.cli import display
from dfcompiler.cli.display import Column, digits, large, quantity
from dfcompiler.diagnostics import Infeasible
from dfcompiler.economics import price
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Chip, Part, Unit
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.template import Compute, Interconnect, Memory
from dfcompiler.power import peak_w, static_w
from dfcompiler.text.tree import CSetting

PARTS = (
    Column("part", style="bold"),
    Column("template", style="cyan", drop=2),
    Column("count", right=True),
    Column("mm2", right=True, drop=1),
    Column("axes (* set in the chip, ! by --set)", wrap=True),
)
AXES = (
    Column("axis", style="bold"),
    Column("default", right=True),
    Column("unit", drop=2),
    Column("legal", wrap=True, style="cyan"),
    Column("what", wrap=True, drop=1),
)


def show_chip(name: str, settings: Mapping[str, CSetting]) -> None:
    """A chip: peak numbers, then parts with axes and area."""
    chip = load_chip(name, settings)
    display.heading(f"chip {chip.name}")
    area = chip.area_mm2()
    inside = area["total"] - chip.die_mm2()
    apart = f" and {digits(inside, 3)} mm2 in the DRAM" if inside else ""
    lines: list[tuple[str, str | Text]] = [
        ("cost", _cost(chip)),
        ("power", f"{digits(static_w(chip), 3)} W at rest, {digits(peak_w(chip), 3)} W with all at their peaks"),
        ("clock", f"{large(chip.clock_hz, 'Hz')}, {chip.node_nm:g} nm"),
        ("area", f"{digits(area['total'])} mm2, of it {digits(area['uncore'], 3)} mm2 uncore{apart}"),
        ("DRAM", f"{large(chip.dram_capacity_bytes, 'B')} at {large(chip.dram_bytes_per_s, 'B/s')}"),
    ]
    if chip.links:
        lines.append(("links", f"{large(chip.link_bytes_per_s, 'B/s')} each way to other chips"))
    lines += [(unit.name, _peak(chip, unit)) for unit in chip.units.values()]
    display.facts(lines)
    display.plain()
    display.table(
        PARTS,
        ([p.name, p.template.template_name, _count(p), digits(area[p.name], 3), _axes(p)] for p in chip.parts.values()),
    )


def _cost(chip: Chip) -> str:
    """USD of one device by part, or why it cannot be made."""
    try:
        made = price(chip)
    except Infeasible as why:
        return why.message
    parts = {"die": made.die, "interposer": made.interposer, "assembly": made.assembly, "memory": made.memory}
    return f"{digits(made.usd)} USD: " + ", ".join(f"{name} {digits(usd, 3)}" for name, usd in parts.items() if usd)


def _peak(chip: Chip, unit: Unit) -> str:
    rate = chip.clock_hz * unit.instances
    macs, adds = float(unit.template.peak_macs_per_cycle()), float(unit.template.peak_ops_per_cycle("add"))
    said = [f"{large(2 * macs * rate, 'FLOP/s')} in products"] if macs else []
    if unit.template.runs("add") and adds:
        said.append(f"{large(adds * rate, 'op/s')} element by element")
    way = " - ".join(level.part for level in unit.levels)
    helper = f"; {unit.vector} beside it" if unit.vector else ""
    room = display.capacity(unit.levels[-1].capacity_bytes)
    return f"{', '.join(said) or 'no arithmetic'}; from {way}, {room} of each of the last{helper}"


def _count(part: Part) -> str:
    return f"{part.instances}" if part.group is None else f"{part.instances} ({part.group})"


def _axes(part: Part) -> str:
    units = {a.name: a.unit for a in part.template.axes()}
    marks = {"default": "", "chip": "*", "override": "!"}
    return ", ".join(
        f"{n.replace('_', '-')}{marks[o.by]} {quantity(o.value, units[n])}" for n, o in part.settings.items()
    )


def _kind(cls: type[Template]) -> str:
    return next(kind.__name__.lower() for kind in (Compute, Memory, Interconnect) if issubclass(cls, kind))


def show_template(name: str) -> None:
    """A hardware family: its axes."""
    cls = registry.lookup("template", name)
    assert issubclass(cls, Template)
    display.heading(f"template {name} ({_kind(cls)})")
    display.prose(inspect.getdoc(cls) or "")
    display.plain()
    rows = (
        [a.text_name, quantity(a.default, a.unit).removesuffix(f" {a.unit}"), a.unit, a.legal.describe(), a.doc]
        for a in cls.axes()
    )
    display.table(AXES, rows)
