"""What a chip's text says behind its settings: sources, and what is assumed."""

from __future__ import annotations

from collections.abc import Iterator

from dfcompiler.hardware.chip import Chip
from dfcompiler.text.tree import CSetting

REMARK = "#"


def remarks(chip: Chip) -> dict[str, str]:
    """`clock`, `part.axis`, `part.share` -> the remark on the line that sets it, empty where there is none. Settings
    that the chip's own text does not make are left out."""
    named = {name: _remark(setting) for name, setting in _settings(chip)}
    return {name: text for name, text in named.items() if name in chip.settings and chip.settings[name].by == "chip"}


def _settings(chip: Chip) -> Iterator[tuple[str, CSetting]]:
    yield from ((s.name, s) for s in chip.decl.settings)
    for part in (*chip.decl.parts, *(p for g in chip.decl.groups for p in g.parts)):
        yield from ((f"{part.name}.{s.name}", s) for s in part.settings)


def _remark(setting: CSetting) -> str:
    if setting.span is None:
        return ""
    return setting.span.source.line(setting.span.line).partition(REMARK)[2].strip()
