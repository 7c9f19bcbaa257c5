"""Reference cores: which one builds a unit, with which parameters, and how its operands lie in memory.

A family's cores are declared in `templates/rtl/cores/*.toml`, the last plug-in's first; sources lie beside them.
`line` says how many points of which dimensions are the words of one line of a memory (the first is the slowest),
`folds` the loops over a tile, outermost first, with their steps. Names of axes stand for their values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.template import Ports

FOLDER = "rtl/cores"
KEYS = frozenset("module sources when parameters least multiple folds x w y opcodes paced".split())
PRODUCT = {"x": "mk", "w": "kn", "y": "mn"}  # the dimensions of operands of a product
LINES = {"input": "x", "weight": "w", "psum_read": "y", "psum_write": "y"}  # which lines pass a port
NEEDED = ("module", "sources", "parameters", "folds", "x", "w", "y")


@dataclass(frozen=True)
class Port:
    """Lines of an operand: words of `bits`, in each line `line[d]` points of dimension d; the rest a line each."""

    dims: tuple[str, ...]
    line: Mapping[str, int]
    bits: int

    @property
    def words(self) -> int:
        """Words of a line."""
        return prod(self.line.values())


@dataclass(frozen=True)
class Core:
    """A core that builds a unit. `parameters` names the axis of each parameter of `module`; operands are `x`, the
    streamed one, `w`, the stationary one, and `y`, the result. `paced` are the parameters that say how many bits a
    cycle a port has, with the port, for those that this design can wait for."""

    module: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, str]
    folds: Mapping[str, int]
    ports: Mapping[str, Port]
    opcodes: Mapping[str, int]
    paced: Mapping[str, str]

    def paces(self, ports: Ports) -> dict[str, int]:
        """The parameters of ports that are narrower than a line."""
        found = {parameter: float(getattr(ports, port)) * 8 for parameter, port in self.paced.items()}
        lines = {parameter: self.ports[LINES[port]] for parameter, port in self.paced.items()}
        return {p: int(bits) for p, bits in found.items() if bits < lines[p].words * lines[p].bits}


def product_core_of(template: Template) -> Core:
    """The core that builds this design, where it multiplies matrices; raises as `core_of` does, and Infeasible
    `no-core` where it does something else."""
    core = core_of(template)
    if any({*core.ports[o].dims} != {*dims} for o, dims in PRODUCT.items()):
        raise Infeasible("no-core", f"the reference core of `{template.template_name}` does not multiply matrices")
    return core


def core_of(template: Template) -> Core:
    """The core that builds this design.

    Raises Infeasible `no-core` where its family has none, or none for these axes, and Diag `bad-core` for a file that
    is none.
    """
    reasons = []
    for path, data in _declared(template.template_name):
        why = _unfit(data, template)
        if not why:
            return _core(path, data, template)
        reasons.append(f"{data['module']}: {why}")
    said = f"no reference core builds this `{template.template_name}`"
    raise Infeasible("no-core", "\n  ".join([said, *reasons]), hint=f"cores are declared in templates/{FOLDER}/*.toml")


def sources() -> list[Path]:
    """Every source of a core, ours and the plug-ins'."""
    return content.files("templates", ".sv", FOLDER)


def _declared(family: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in reversed(content.files("templates", ".toml", FOLDER)):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise Diag("bad-core", f"`{content.title(path)}` is not TOML: {error}") from error
        for core in data.get("core", []) if data.get("template") == family else []:
            if wrong := [k for k in core if k not in KEYS] or [f"no {k}" for k in NEEDED if k not in core]:
                known = ", ".join(sorted(KEYS))
                raise Diag("bad-core", f"a core in `{content.title(path)}` has `{wrong[0]}`", hint=f"known: {known}")
            yield path, core


def _unfit(core: Mapping[str, Any], template: Template) -> str:
    """Why a core cannot build a design, empty where it can."""
    for name, value in core.get("when", {}).items():
        if _value(template, name) != value:
            return f"{name} is {_value(template, name)}, not {value}"
    for name, value in core.get("least", {}).items():
        if _value(template, name) < value:
            return f"{name} is {_value(template, name)}, at least {value}"
    for name, others in core.get("multiple", {}).items():
        for other in others:
            if _value(template, name) % _value(template, other):
                return f"{name} is {_value(template, name)}, no multiple of {other}"
    return ""


def _core(path: Path, data: Mapping[str, Any], template: Template) -> Core:
    found = [path.parent / name for name in data["sources"]]
    if missing := [p.name for p in found if not p.is_file()]:
        raise Diag("bad-core", f"`{content.title(path)}` names `{missing[0]}`, which is not beside it")
    for axis in data["parameters"].values():
        _value(template, axis)
    if strange := [p for p in data.get("paced", {}).values() if not isinstance(p, dict) or p.get("port") not in LINES]:
        said = f"a core in `{content.title(path)}` waits for `{strange[0]}`"
        raise Diag("bad-core", said, hint=f"`port` is one of {', '.join(LINES)}")
    return Core(
        data["module"],
        tuple(found),
        data["parameters"],
        {dim: _value(template, step) for dim, step in data["folds"].items()},
        {name: _port(data[name], template) for name in ("x", "w", "y")},
        data.get("opcodes", {}),
        {name: p["port"] for name, p in data.get("paced", {}).items() if _holds(p.get("when", {}), template)},
    )


def _holds(when: Mapping[str, Any], template: Template) -> bool:
    return all(_value(template, axis) in values for axis, values in when.items())


def _port(data: Mapping[str, Any], template: Template) -> Port:
    line = {dim: _value(template, count) for dim, count in data["line"].items()}
    return Port(tuple(data["dims"]), line, _value(template, data["bits"]))


def _value(template: Template, name: str | int) -> Any:
    """A number as it is, or the value of the axis of that name."""
    return name if isinstance(name, int) else getattr(template, template.axis(name).name)
