"""The files that build a unit of a package and run it: its parameters, the core around them, a bench, their sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.axes import Template
from dfcompiler.rtl.cores import Core, Port, core_of, sources
from dfcompiler.rtl.descriptors import columns
from dfcompiler.rtl.names import snake, symbol
from dfcompiler.rtl.nests import LEVELS
from dfcompiler.rtl.params import Package
from dfcompiler.rtl.render import filled, render
from dfcompiler.rtl.view import View, view

DEPTH = 1 << 16  # lines of each memory of a bench
SEQUENCER, SCRATCHPAD = "dfc_sequencer.sv", "dfc_scratchpad.sv"


@dataclass(frozen=True)
class Bench:
    """`files` (name -> text) of which `top` is the module to run; `core` is what they build."""

    top: str
    core: Core
    files: Mapping[str, str]
    depth: int


def bench(package: Package, part: str, template: Template, depth: int = DEPTH) -> Bench:
    """The bench of the part `part` of a package, whose design is `template`; memories have `depth` lines.

    Raises as `cores.core_of` does.
    """
    core = core_of(template)
    shown = _core(package, part, core)
    more = {"levels": LEVELS, "row_bits": sum(c.bits for c in columns()), "depth": depth}
    variables = view(package) | more | {"core": shown}
    made = {
        f"{shown['name']}.sv": "core.sv.j2",
        f"{shown['name']}_bench.sv": "bench.sv.j2",
    }
    files = {name: text for name, text in render(package).items() if name.endswith(".sv")}
    own = {p.name: p.read_text(encoding="utf-8") for p in (*core.sources, *(s for s in sources() if s.name == SEQUENCER))}
    files |= own | {name: filled(template, variables | {"file": name}) for name, template in made.items()}
    return Bench(f"{shown['name']}_bench", core, files, depth)


def tile(package: Package, parts: Mapping[str, Template], depth: int = DEPTH) -> Bench:
    """The bench of several parts beside one scratchpad, all with lines of as many words; codes of units in descriptors
    are their places in `parts`.

    Raises Infeasible `no-core` where their lines differ, and as `cores.core_of` does.
    """
    cores = {part: core_of(template) for part, template in parts.items()}
    words = {port.words for core in cores.values() for port in core.ports.values()}
    if len(words) != 1:
        raise Infeasible("no-core", f"lines of one scratchpad have one length, here {sorted(words)} words")
    shown = [_core(package, part, core) | {"code": i} for i, (part, core) in enumerate(cores.items())]
    bits = max(port.bits for core in cores.values() for port in core.ports.values())
    whole = {"name": f"{package.name}_tile", "words": words.pop(), "bits": bits, "said": ", ".join(cores)}
    more = {"levels": LEVELS, "row_bits": sum(c.bits for c in columns()), "depth": depth, "cores": shown}
    variables = view(package) | more | {"tile": whole | {"top": whole["words"] * bits - 1}}
    files = {name: text for name, text in render(package).items() if name.endswith(".sv")}
    for part, template in parts.items():
        files |= wrapper(package, part, template)
    files |= {p.name: p.read_text(encoding="utf-8") for p in sources() if p.name in (SEQUENCER, SCRATCHPAD)}
    for name, template in ((f"{whole['name']}.sv", "tile.sv.j2"), (f"{whole['name']}_bench.sv", "tile_bench.sv.j2")):
        files[name] = filled(template, variables | {"file": name})
    return Bench(f"{whole['name']}_bench", next(iter(cores.values())), files, depth)


def wrapper(package: Package, part: str, template: Template) -> dict[str, str]:
    """The core of a part with the package's parameters, and its sources: what a design instantiates."""
    core = core_of(template)
    shown = _core(package, part, core)
    name = f"{shown['name']}.sv"
    own = {p.name: p.read_text(encoding="utf-8") for p in core.sources}
    return own | {name: filled("core.sv.j2", view(package) | {"core": shown, "file": name})}


def _core(package: Package, part: str, core: Core) -> View:
    name = snake(part)
    parameters = [{"name": p, "value": _value(package, f"{name}_{snake(axis)}")} for p, axis in core.parameters.items()]
    ports = {o: _port(p) for o, p in core.ports.items()}
    return {"name": f"{package.name}_{name}", "part": part, "module": core.module, "parameters": parameters, "ports": ports}


def _port(port: Port) -> View:
    whole = port.words * port.bits
    return {"words": port.words, "bits": port.bits, "top": whole - 1, "last": port.words - 1, "bits_all": whole}


def _value(package: Package, name: str) -> str:
    """A parameter of the package in 32 bits."""
    found = next((p for p in package.parameters if p.name == name), None)
    if found is None:
        raise Infeasible("no-core", f"`{package.name}` has no parameter `{name}` in whole numbers")
    said = f"{package.name}_pkg::{symbol(package.name, name)}"
    return said if found.bits == 32 else f"{{{32 - found.bits}'d0, {said}}}"
