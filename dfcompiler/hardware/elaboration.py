"""From a chip's declaration to a chip: settings checked, parts built, units given their memories."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag, Note, Span, unknown
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Chip, Level, Origin, Part, Unit
from dfcompiler.hardware.plurals import most, plain
from dfcompiler.hardware.revision import Override, revised
from dfcompiler.hardware.settings import CHIP_AXES, SHARE, Value, build, by_name, checked, unknown_axis
from dfcompiler.hardware.tech import load_tech
from dfcompiler.hardware.template import OP_KINDS, Compute, Interconnect, Memory
from dfcompiler.hardware.topology import (
    Graph,
    Hop,
    capacity_shares,
    check_reach,
    check_shares,
    compute,
    connected,
    is_compute,
    levels,
    path,
)
from dfcompiler.text.parse import parse_content, parse_items, read_source
from dfcompiler.text.tree import ChipDecl, CPart, CSetting, CValue, Quantity

Given = dict[str, tuple[CValue, Span | None, str]]  # setting -> value, place, who set it


@dataclass(frozen=True)
class _Placed:
    """A part as declared, with how often it is there."""

    decl: CPart
    instances: int
    group: str | None


MOST_LEVELS = 3  # DRAM, one memory that all share, and the unit's own: what the nest's prices know


def load_chip(
    name_or_path: str, overrides: Mapping[str, Override] | None = None, without: Collection[str] = ()
) -> Chip:
    """The chip of a name (`templates/chips/NAME.chip`, ours or a plug-in's) or of a file.

    Raises Diag: `unknown-chip`, and whatever `elaborate` raises.
    """
    return elaborate(find_chip(name_or_path), overrides or {}, without)


def find_chip(name_or_path: str) -> ChipDecl:
    """The declaration that `load_chip` elaborates."""
    path, parse = Path(name_or_path), parse_items
    if path.suffix != ".chip" and not path.is_file():
        known = chip_names()
        found = content.find("templates/chips", f"{name_or_path}.chip") if name_or_path in known else None
        if found is None:
            raise unknown("chip", name_or_path, known)
        path, parse = found, parse_content
    chips = [item for item in parse(read_source(path)) if isinstance(item, ChipDecl)]
    if len(chips) != 1:
        span = chips[1].span if chips else None
        raise Diag("not-one-chip", f"`{path}` declares {len(chips)} chips", span, hint="a chip file declares one")
    return chips[0]


def chip_names() -> list[str]:
    """The chips that have a name, ours and those of plug-ins, sorted."""
    return sorted({path.stem for path in content.files("templates", ".chip", "chips")})


def elaborate(decl: ChipDecl, overrides: Mapping[str, Override] | None = None, without: Collection[str] = ()) -> Chip:
    """The chip that a declaration means. `overrides` maps `part.axis` (or `clock`, ...) to values.

    `without` names compute units to leave out; what they had of a memory is divided again. Raises Diag with
    a place in the chip's file, or in the override.
    """
    placed = _placed(decl)
    own, given = _settings(decl, placed, overrides or {})
    chip_values = {name: checked(CHIP_AXES[name], value, None, span) for name, (value, span, _) in own.items()}
    for name in ("node", "clock"):
        if name not in chip_values:
            raise Diag(f"missing-{name}", f"chip `{decl.name}` has no `{name}`", decl.span, hint=_example(name))
    clock_hz, node_nm = plain(chip_values["clock"]), float(chip_values["node"])
    tech = load_tech(node_nm, own["node"][1])
    asked = {name: given[name].pop("share") for name in placed if "share" in given[name]}
    built = {name: _part(one, given[name], clock_hz) for name, one in placed.items()}
    shares = _shares(built, asked)
    parts = {name: part for name, part in built.items() if name not in _removable(built, without)}
    graph = connected(parts, without, decl.connects)
    parts = {name: replace(part, copies=_copies(part, graph, parts)) for name, part in parts.items()}
    dram = _only_dram(decl, parts)
    check_reach(graph, parts, dram)
    ways = {name: path(graph, parts, dram, part) for name, part in parts.items() if is_compute(part)}
    if not ways:
        raise Diag("no-compute", f"chip `{decl.name}` has no compute unit", decl.span, hint="add one: `part sa: ...`")
    check_shares(ways, shares, {name: span for name, (_, span, _) in asked.items()})
    portions = capacity_shares(ways, shares)
    seen = {
        name: levels(
            hops, [portions[name, hop.part.name] for hop in hops], clock_hz, tech, compute(parts[name]).off_die()
        )
        for name, hops in ways.items()
    }
    return Chip(
        name=decl.name,
        clock_hz=clock_hz,
        node_nm=node_nm,
        tech=tech,
        uncore_mm2=plain(chip_values.get("uncore", 0)),
        parts=parts,
        units={name: _unit(parts[name], parts, ways, seen[name], clock_hz) for name in ways},
        dram=dram,
        links=tuple(p for p in parts.values() if isinstance(p.template, Interconnect) and p.template.between_chips()),
        settings=_origins(chip_values, own, parts, {name: (shares[name], asked[name][2]) for name in shares}),
        span=decl.span,
        decl=revised(decl, overrides or {}, without),
    )


def _example(name: str) -> str:
    return {"node": "write `node = 7 nm`", "clock": "write `clock = 1.5 GHz`"}[name]


def _placed(decl: ChipDecl) -> dict[str, _Placed]:
    """Every part by name; Diag `duplicate-part`, `bad-count`."""
    every = [_Placed(part, 1, None) for part in decl.parts]
    for group in decl.groups:
        if not np.all((np.asarray(group.count) >= 1) & (np.asarray(group.count) <= 2**20)):
            raise Diag("bad-count", f"group `{group.name}` has {group.count} members", group.span, hint="1 to 2^20")
        every += [_Placed(part, group.count, group.name) for part in group.parts]
    found: dict[str, _Placed] = {}
    for one in every:
        if one.decl.name in found:
            notes = [Note("first declared here", found[one.decl.name].decl.span)]
            raise Diag("duplicate-part", f"part `{one.decl.name}` is declared twice", one.decl.span, notes=notes)
        found[one.decl.name] = one
    return found


def _settings(
    decl: ChipDecl, placed: Mapping[str, _Placed], overrides: Mapping[str, Override]
) -> tuple[Given, dict[str, Given]]:
    """The chip's own settings and those of each part, overrides on top."""
    own: Given = {n: (s.value, s.span, "chip") for n, s in by_name(decl.settings).items()}
    given: dict[str, Given] = {
        name: {n: (s.value, s.span, "chip") for n, s in by_name(one.decl.settings).items()}
        for name, one in placed.items()
    }
    for key, override in overrides.items():
        value, span = (override.value, override.span) if isinstance(override, CSetting) else (override, None)
        span = value.span if isinstance(value, Quantity) else span
        part, dot, axis = key.rpartition(".")
        if dot and part not in placed:
            raise unknown("part", part, placed, span)
        target = given[part] if dot else own
        target[axis.replace("-", "_")] = (value, span, "override")
    for name, (_, span, _) in own.items():
        if name not in CHIP_AXES:
            fault = unknown_axis(name, decl.name, list(CHIP_AXES), span)
            raise Diag(fault.code, fault.message, span, hint=f"{fault.hint}; an axis of a part is `PART.{name}`")
    return own, given


def _shares(built: Mapping[str, Part], taken: Given) -> dict[str, float]:
    """The parts of a memory that units ask for."""
    for name, (_, span, _) in taken.items():
        if not is_compute(built[name]):
            raise unknown_axis("share", name, [one.name for one in built[name].template.axes()], span)
    return {name: plain(checked(SHARE, value, None, span)) for name, (value, span, _) in taken.items()}


def _part(one: _Placed, given: Given, clock_hz: float) -> Part:
    decl = one.decl
    cls = registry.lookup("template", decl.template, decl.template_span or decl.span)
    assert issubclass(cls, Template)
    template, origins = build(cls, decl.name, given, clock_hz)
    return Part(decl.name, template, one.instances, one.group, one.instances, origins, decl.span)


def _removable(parts: Mapping[str, Part], without: Collection[str]) -> Collection[str]:
    for name in without:
        if name not in parts:
            raise unknown("part", name, parts)
        if not isinstance(parts[name].template, Compute):
            message = f"`{name}` cannot be left out: only compute units can"
            raise Diag("not-removable", message, parts[name].span)
    return without


def _copies(part: Part, graph: Graph, parts: Mapping[str, Part]) -> int:
    """How many an area is paid for: a network's endpoints, else the instances."""
    if isinstance(part.template, Interconnect) and not part.template.between_chips():
        ends: int = sum(most(parts[n].instances, part.instances) for n in graph.neighbors(part.name))
        return ends
    return part.instances


def _only_dram(decl: ChipDecl, parts: Mapping[str, Part]) -> Part:
    drams = [p for p in parts.values() if isinstance(p.template, Memory) and p.template.off_chip()]
    if not drams:
        raise Diag("no-dram", f"chip `{decl.name}` has no DRAM", decl.span, hint="add one: `part hbm: dram { ... }`")
    if len(drams) > 1:
        notes = [Note(f"`{d.name}` is one", d.span) for d in drams[:-1]]
        hint = "several memories of one kind are one part with their bandwidth and capacity in all"
        raise Diag(
            "ambiguous-dram", f"chip `{decl.name}` has {len(drams)} DRAMs", drams[-1].span, notes=notes, hint=hint
        )
    return drams[0]


def _unit(
    part: Part, parts: Mapping[str, Part], ways: Mapping[str, tuple[Hop, ...]], seen: tuple[Level, ...], clock_hz: float
) -> Unit:
    innermost = ways[part.name][-1]
    if len(seen) > MOST_LEVELS:
        listed = " - ".join(x.part for x in seen)
        message = f"`{part.name}` lies behind {len(seen)} memories ({listed}); mapping walks at most {MOST_LEVELS}"
        raise Diag("too-deep", message, part.span, hint="connect it with one memory less between it and the DRAM")
    beside = [parts[name] for name, hops in ways.items() if name != part.name and hops[-1].part == innermost.part]
    return Unit(
        name=part.name,
        template=compute(part),
        instances=part.instances,
        levels=seen,
        ports=innermost.memory.ports(clock_hz),
        vector=_helper(part, beside),
        clock_hz=clock_hz,
    )


def _helper(part: Part, beside: list[Part]) -> str | None:
    """The unit beside this one that runs all that this one cannot; the fastest at additions, then the first."""
    missing = [kind for kind in OP_KINDS if not compute(part).runs(kind)]
    able = [p for p in beside if all(compute(p).runs(kind) for kind in missing)] if missing else []
    rates = [plain(compute(p).peak_ops_per_cycle("add")) for p in able]
    best = [p for p, rate in zip(able, rates, strict=True) if all(np.all(rate >= other) for other in rates)]
    if able and not best:  # of many designs
        raise Diag("unlike-designs", f"which unit helps `{part.name}` is not the same in all designs", part.span)
    return best[0].name if best else None


def _origins(
    values: Mapping[str, Value], own: Given, parts: Mapping[str, Part], shares: Mapping[str, tuple[float, str]]
) -> dict[str, Origin]:
    """`clock`, `part.axis`, ... -> the value and who set it."""
    found = {name: Origin(value, own[name][2]) for name, value in values.items()}
    for part in parts.values():
        found |= {f"{part.name}.{axis}": origin for axis, origin in part.settings.items()}
    return found | {f"{name}.share": Origin(value, by) for name, (value, by) in shares.items() if name in parts}
