"""The files that build a unit of a package and run it: its parameters, the core around them, a bench, their sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.template import Ports
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
    """`files` (name -> text) of which `top` is the module to run; `core` is what they build, behind `ports`."""

    top: str
    core: Core
    files: Mapping[str, str]
    depth: int
    ports: Ports = Ports()


def bench(package: Package, part: str, template: Template, depth: int = DEPTH, ports: Ports = Ports()) -> Bench:
    """The bench of the part `part` of a package, whose design is `template`; memories have `depth` lines, behind
    these ports.

    Raises as `cores.core_of` does.
    """
    core = core_of(template)
    shown = _core(package, part, core, ports)
    more = {"levels": LEVELS, "row_bits": sum(c.bits for c in columns()), "depth": depth}
    variables = view(package) | more | {"core": shown}
    made = {
        f"{shown['name']}.sv": "core.sv.j2",
        f"{shown['name']}_bench.sv": "bench.sv.j2",
    }
    files = {name: text for name, text in render(package).items() if name.endswith(".sv")}
    files |= (
        _copies(core.sources)
        | shared()
        | {name: filled(template, variables | {"file": name}) for name, template in made.items()}
    )
    return Bench(f"{shown['name']}_bench", core, files, depth, ports)


def tile(package: Package, parts: Mapping[str, Template], depth: int = DEPTH) -> Bench:
    """The bench of several parts beside one scratchpad, all with lines of as many words; codes of units in descriptors
    are their places in the package.

    Raises Infeasible `no-core` where their lines differ, and as `cores.core_of` does.
    """
    cores = {part: core_of(template) for part, template in parts.items()}
    words = {port.words for core in cores.values() for port in core.ports.values()}
    if len(words) != 1:
        raise Infeasible("no-core", f"lines of one scratchpad have one length, here {sorted(words)} words")
    bits = max(port.bits for core in cores.values() for port in core.ports.values())
    codes = {g.name: i for i, g in enumerate(package.groups)}
    shown = [
        _core(package, part, core) | {"code": codes[snake(part)]} | _extended(core.ports["y"].bits, bits)
        for part, core in cores.items()
    ]
    count = words.pop()
    whole = {"name": f"{package.name}_tile", "words": count, "bits": bits, "said": ", ".join(cores)}
    more = {"levels": LEVELS, "row_top": sum(c.bits for c in columns()) - 1, "depth": depth, "cores": shown}
    variables = view(package) | more | {"tile": whole | {"top": count * bits - 1}}
    files = {name: text for name, text in render(package).items() if name.endswith(".sv")}
    for part, design in parts.items():
        files |= wrapper(package, part, design)
    files |= shared()
    for name, template in ((f"{whole['name']}.sv", "tile.sv.j2"), (f"{whole['name']}_bench.sv", "tile_bench.sv.j2")):
        files[name] = filled(template, variables | {"file": name})
    return Bench(f"{whole['name']}_bench", next(iter(cores.values())), files, depth)


def _extended(own: int, bits: int) -> View:
    """A core's result as a word of the scratchpad: its sign repeated."""
    more = f"{{{{{bits - own}{{word[{own - 1}]}}}}, word}}"
    return {"y_top": own - 1, "y_word": more if bits > own else "word"}


def wrapper(package: Package, part: str, template: Template, ports: Ports = Ports()) -> dict[str, str]:
    """The core of a part with the package's parameters and such ports, and its sources: what a design instantiates."""
    core = core_of(template)
    shown = _core(package, part, core, ports)
    name = f"{shown['name']}.sv"
    return _copies(core.sources) | {name: filled("core.sv.j2", view(package) | {"core": shown, "file": name})}


def cores(
    package: Package, units: Mapping[str, tuple[Template, Ports]], without: Callable[[str], None]
) -> dict[str, str]:
    """The cores of the units that have one, and what they share; `without` is told why a unit has none."""
    found: dict[str, str] = {}
    for part, (template, ports) in units.items():
        try:
            found |= wrapper(package, part, template, ports)
        except Infeasible as why:
            without(why.message)
    found |= shared()
    name = f"{package.name}_cores.f"
    listed = "\n".join([f"{package.name}_pkg.sv", *found])
    return found | {name: f"// {name}: generated by dfcompiler; do not edit.\n{listed}\n"}


def shared() -> dict[str, str]:
    """Sources that designs of several cores need beside them: a sequencer and a scratchpad."""
    return _copies(s for s in sources() if s.name in (SEQUENCER, SCRATCHPAD))


def _copies(paths: Iterable[Path]) -> dict[str, str]:
    return {
        p.name: f"// {p.name}: generated by dfcompiler, a copy; do not edit.\n{p.read_text('utf-8')}" for p in paths
    }


def _core(package: Package, part: str, core: Core, wide: Ports = Ports()) -> View:
    name = snake(part)
    parameters = [{"name": p, "value": _value(package, f"{name}_{snake(axis)}")} for p, axis in core.parameters.items()]
    parameters += [{"name": p, "value": f"32'd{bits}"} for p, bits in core.paces(wide).items()]
    ports = {o: _port(p) for o, p in core.ports.items()}
    return {
        "name": f"{package.name}_{name}",
        "part": part,
        "module": core.module,
        "parameters": parameters,
        "ports": ports,
    }


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
