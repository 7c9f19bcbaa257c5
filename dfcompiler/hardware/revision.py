"""A chip's declaration with changes written into it: what it says is all that the changed chip is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeAlias

from dfcompiler.text.tree import CGroup, ChipDecl, CPart, CSetting, CValue

Override: TypeAlias = CValue | CSetting  # what replaces a setting: a value, or a setting with its place


def revised(decl: ChipDecl, values: Mapping[str, Override], without: Collection[str] = ()) -> ChipDecl:
    """The declaration in which `part.axis`, or an axis of the chip, has another value, and some parts are left out."""

    def part(p: CPart) -> CPart:
        mine = {k.removeprefix(f"{p.name}."): v for k, v in values.items() if k.startswith(f"{p.name}.")}
        return replace(p, settings=_settings(p.settings, mine))

    def kept(parts: tuple[CPart, ...]) -> tuple[CPart, ...]:
        return tuple(part(p) for p in parts if p.name not in without)

    groups = (replace(g, parts=kept(g.parts)) for g in decl.groups)
    connects = (replace(c, names=tuple(n for n in c.names if n.name not in without)) for c in decl.connects)
    return replace(
        decl,
        settings=_settings(decl.settings, {k: v for k, v in values.items() if "." not in k}),
        parts=kept(decl.parts),
        groups=tuple(g for g in groups if g.parts),
        connects=tuple(c for c in connects if len(c.names) > 1),
    )


def larger(decl: ChipDecl, group: str, by: int) -> ChipDecl:
    """The declaration with `by` more members in a group."""

    def one(g: CGroup) -> CGroup:
        return replace(g, count=g.count + by) if g.name == group else g

    return replace(decl, groups=tuple(map(one, decl.groups)))


def _settings(given: tuple[CSetting, ...], values: Mapping[str, Override]) -> tuple[CSetting, ...]:
    new = {k.replace("-", "_"): v.value if isinstance(v, CSetting) else v for k, v in values.items()}
    held = tuple(replace(s, value=new.pop(s.name.replace("-", "_"), s.value)) for s in given)
    return held + tuple(CSetting(k, v) for k, v in new.items())
