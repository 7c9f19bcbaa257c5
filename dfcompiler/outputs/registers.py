"""A chip and its mapping as a parameter package for the RTL team."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from dfcompiler.diagnostics import Diag
from dfcompiler.graph import Graph
from dfcompiler.hardware.axes import Axis, Names
from dfcompiler.hardware.chip import Chip, Part
from dfcompiler.outputs.descriptors import tables
from dfcompiler.report import LayerReport, OpReport, Report
from dfcompiler.rtl import Axis as RtlAxis
from dfcompiler.rtl import OpRow, Package, PartSpec, package
from dfcompiler.rtl.names import LONGEST, check_package_name, snake


def rtl_package(chip: Chip, report: Report | None, name: str, graph: Graph | None = None) -> Package:
    """The package `name`: every axis of every part, with a report the table of its ops, and with the mapped graph those
    of their loops, buffers and descriptors.

    Raises what `rtl.build.package` raises; `rtl-name` for a name that cannot be a prefix.
    """
    ops = () if report is None else tuple(_rows(chip, report, room=LONGEST - len(f"{name}_op_")))
    more = tables(graph, chip) if graph is not None and ops else ()
    return package(name, [_part(p) for p in chip.parts.values()], ops, round(chip.clock_hz), more)


def package_name(chip: str) -> str:
    """A name for a chip's package: its own in lower_snake, after `chip_` where that cannot be a prefix."""
    name = snake(chip) or "chip"
    try:
        check_package_name(name)
    except Diag:
        return f"chip_{name}"
    return name


def _part(part: Part) -> PartSpec:
    template = part.template
    axes = tuple(_axis(a, getattr(template, a.name)) for a in template.axes())
    return PartSpec(part.name, template.template_name, part.instances, axes)


def _axis(axis: Axis, value: int | float | str) -> RtlAxis:
    legal = axis.legal.names if isinstance(axis.legal, Names) else ()
    return RtlAxis(axis.name, value, axis.unit, axis.doc, legal)


def _rows(chip: Chip, report: Report, room: int) -> Iterator[OpRow]:
    for op in report.ops:
        start, end = round(op.start_s * chip.clock_hz), round(op.end_s * chip.clock_hz)
        period = round(_layer(op, report.layers).period_s * chip.clock_hz)
        yield OpRow(op.name, _kind(op.op, room), op.unit, op.repeat, start, end, op.tile, op.order, period)


def _layer(op: OpReport, layers: tuple[LayerReport, ...]) -> LayerReport:
    """The segment that an op belongs to: the last one that starts no later."""
    return max((x for x in layers if x.start_s <= op.start_s), key=lambda x: x.start_s)


def _kind(op: str, room: int) -> str:
    """The name of a kind of op; of a long chain of ops the beginning and a hash."""
    name = snake(op)
    if len(name) <= room:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: max(1, room - 9)].rstrip('_')}_{digest}"
