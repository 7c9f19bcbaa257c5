"""What a foreign description of hardware says, in no tool's words: an array, lanes, memories, a link.

Every figure carries what its line in our chip file will say of it: where in the foreign file it stands, how it was
worked out, or that it is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import jinja2

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.hardware.elaboration import elaborate
from dfcompiler.interchange.documents import Dropped
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import ChipDecl

PREFIXES = ((10**12, "T"), (10**9, "G"), (10**6, "M"))
PREFIXED = ("B", "B/s", "Hz")
RESERVED = ("else", "or")  # words of our grammar that are no names


@dataclass(frozen=True)
class Said:
    """A setting as our chip files write it, and where it comes from."""

    value: str
    source: str


@dataclass(frozen=True)
class Part:
    """A part of some role, with the settings that are known; others keep our defaults."""

    name: str
    settings: tuple[tuple[str, Said], ...]


@dataclass(frozen=True)
class Machine:
    """One compute unit with a vector unit beside it, below one, two or three memories.

    There are `cores` of the innermost memory `local`, the array and the lanes. `shared` lies between the
    DRAM and all cores. Roles decide the families of ours: `templates/interchange/machine.chip.j2`.
    """

    name: str
    origin: str
    node: Said
    clock: Said
    dram: Part
    local: Part
    array: Part
    lanes: Part
    cores: int
    shared: Part | None = None
    link: Part | None = None


def quantity(value: float, unit: str = "") -> str:
    """A number as chip files write it, without loss: 2.048e12 `B/s` is `2.048 TB/s`, 2^20 `B` is `1 MiB`."""
    scale, prefix = next(((s, p) for s, p in PREFIXES if unit in PREFIXED and value >= s), (1, ""))
    decimal = f"{(Decimal(repr(float(value))) / scale).normalize():f} {prefix}{unit}".rstrip()
    power = next((p for p in (3, 2, 1) if unit == "B" and value % 1024**p == 0), 0)
    binary = f"{int(value) // 1024**power} {' KMG'[power]}iB"
    return min(decimal, binary, key=len) if power else decimal


def identifier(text: str) -> str:
    """A name that our grammar takes."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    name = name if name[:1].isalpha() else f"chip_{name}".rstrip("_")
    return f"{name}_" if name in RESERVED else name


def chip_text(machine: Machine, dropped: Sequence[Dropped]) -> str:
    """The chip file of a machine, with what was left out in its head. It loads: else the Diag of loading is raised."""
    path = content.find("templates/interchange", "machine.chip.j2")
    if path is None:
        raise Diag("no-such-file", "there is no templates/interchange/machine.chip.j2")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(path.read_text(encoding="utf-8"))
    text = template.render(m=machine, dropped=dropped).rstrip("\n") + "\n"
    (chip,) = (item for item in parse_items(Source(f"{machine.name}.chip", text)) if isinstance(item, ChipDecl))
    elaborate(chip)
    return text
