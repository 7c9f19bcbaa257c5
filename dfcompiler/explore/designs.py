"""From a point of a space to chips: what the axes of a pool say, written into the declaration of its chip."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dfcompiler import registry
from dfcompiler.diagnostics import Diag, Span, unknown
from dfcompiler.explore.references import Array, Known, holds, paths, value
from dfcompiler.explore.space import Axis, Pool, Space, Value
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import elaborate
from dfcompiler.hardware.plurals import whole
from dfcompiler.hardware.settings import CHIP_AXES, DIMENSIONS
from dfcompiler.text import tree as t

Point = tuple[int, ...]  # an index into every axis of a space, in the order of `Space.axes`


def values_at(space: Space, point: Sequence[int]) -> dict[str, Value]:
    """The values of all axes of a space at a point, by the names of `Space.axes`."""
    return {a.name: a.values[i] for a, i in zip(space.axes, point, strict=True)}


def values_of(space: Space, pool: Pool, point: Sequence[int]) -> dict[str, Value]:
    """The values of a pool's axes, by the names that the pool has for them."""
    every = values_at(space, point)
    return {a.name: every[a.name] if a.name in every else every[f"{pool.name}.{a.name}"] for a in pool.axes}


def known_of(values: Mapping[str, Value | Array]) -> Known:
    """Names of axes as expressions read them."""

    def known(path: tuple[str, ...]) -> Array:
        return np.asarray(values[".".join(path)])

    return known


def dropped(pool: Pool, known: Known) -> dict[str, Array]:
    """Units that are absent, and where: all clauses of a `drop` hold, each by one of its relations."""
    found: dict[str, Array] = {}
    for drop in pool.drops:
        clauses = [np.logical_or.reduce([holds(r, known) for r in clause]) for clause in drop.where]
        every = np.logical_and.reduce(np.broadcast_arrays(*clauses))
        found[drop.part] = np.logical_or(found.get(drop.part, False), every)
    return found


def chip_at(
    pool: Pool,
    values: Mapping[str, Value | Array],
    without: Collection[str] | None = None,
    alike: Mapping[str, Value] | None = None,
) -> Chip:
    """The chip of a design, or of many whose axes have arrays of values that broadcast.

    What is left out is what the design drops, or for many, of which all drop the same, `without`; `alike` are settings
    that have one value in all of these. Raises Diag with a place in the space for settings that no chip of this kind
    can have.
    """
    known = known_of(values)
    units = {a.name: a.unit for a in pool.axes}
    settings: dict[str, t.CSetting] = {}
    decl = pool.chip
    for s in pool.sets:
        wanted = (alike or {}).get(s.path, _number(value(s.value, known)))
        if any(g.name == s.path for g in decl.groups):
            decl = replace(decl, groups=tuple(_counted(g, s, wanted) for g in decl.groups))
            continue
        settings[s.path] = t.CSetting(s.path.rpartition(".")[2], _written(decl, s, wanted, units), span=s.span)
    if without is None:
        without = [part for part, where in dropped(pool, known).items() if where.item()]
    return elaborate(decl, settings, without)


def _number(found: Array) -> Any:
    return found if found.ndim else found.item()


def _counted(group: t.CGroup, s: t.SSet, count: Any) -> t.CGroup:
    if group.name != s.path:
        return group
    bad = np.ravel((np.asarray(count) != np.floor(count)) | (np.asarray(count) < 1))
    if bad.any():
        raise Diag("bad-count", f"group `{s.path}` cannot have {np.ravel(count)[bad][0]:g} members", s.span)
    return replace(group, count=whole(count))


def _written(decl: t.ChipDecl, s: t.SSet, wanted: Any, units: Mapping[str, str]) -> t.CValue:
    """A value as the chip's text would say it: in the unit of the axis that it is, else in that of the setting."""
    if isinstance(wanted, str) or np.asarray(wanted).dtype.kind == "U":
        found: str = wanted
        return found
    read = [path for path, _ in paths(s.value)]
    own = units.get(read[0][0], "") if len(read) == 1 and isinstance(s.value, t.Ref) else ""
    if np.ndim(wanted) == 0:
        wanted = int(wanted) if float(wanted).is_integer() else float(wanted)
    return t.Quantity(wanted, own or _unit(decl, s.path, s.span), span=s.span)


def _unit(decl: t.ChipDecl, path: str, span: Span | None) -> str:
    """The base unit of a setting; nothing where it counts things. Raises Diag `unknown-part`, `unknown-axis`."""
    part, dot, name = path.rpartition(".")
    if not dot:
        known = [*CHIP_AXES, *(g.name for g in decl.groups)]
        if name not in CHIP_AXES:
            raise unknown("setting", name, known, span)
        return CHIP_AXES[name].unit
    parts = {p.name: p for p in (*decl.parts, *(p for g in decl.groups for p in g.parts))}
    if part not in parts:
        raise unknown("part", part, parts, span)
    if name == "share":
        return ""
    template = registry.lookup("template", parts[part].template, parts[part].span)
    assert issubclass(template, Template)
    unit = template.axis(name).unit
    return unit if unit in DIMENSIONS else ""


def axis_named(space: Space, name: str) -> Axis:
    """An axis by its name in `Space.axes`; raises Diag `unknown-axis`."""
    known = {a.name: a for a in space.axes}
    if name not in known:
        raise unknown("axis", name, known)
    return known[name]
