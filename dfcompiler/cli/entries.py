"""What there is: every name with a line about it, worked out from content and classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from dfcompiler import registry
from dfcompiler.cli import display
from dfcompiler.explore.space import load_space, space_names
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.models import library, load_model, model_names
from dfcompiler.pipeline import PIPELINES
from dfcompiler.text.show import show_param
from dfcompiler.text.show_expressions import comma


def _ops() -> dict[str, str]:
    ops = sorted(library().ops.items())
    return {
        name: f"({comma(map(show_param, op.params))}) -> ({comma(map(show_param, op.results))})" for name, op in ops
    }


def _models() -> dict[str, str]:
    found = {}
    for name in model_names():
        model = load_model(name)
        sizes = {k: v for k, v in model.params.items() if isinstance(v, int) and v > 1}
        found[name] = f"{model.family.name}: {display.pairs(sizes)}"
    return found


def _chips() -> dict[str, str]:
    found = {}
    for name in chip_names():
        chip = load_chip(name)
        units = ", ".join(f"{u.instances} x {u.name} ({u.template.template_name})" for u in chip.units.values())
        memory = f"{display.large(chip.dram_capacity_bytes, 'B')} at {display.large(chip.dram_bytes_per_s, 'B/s')}"
        found[name] = f"{units}; {chip.dram.name} {memory}; {display.large(chip.clock_hz, 'Hz')}, {chip.node_nm:g} nm"
    return found


def _spaces() -> dict[str, str]:
    found = {}
    for name in space_names():
        space = load_space(name)
        goals = comma(f"{g.sense} {g.name}" for g in space.goals)
        found[name] = f"{space.points:,.4g} points: {comma(space.pools)}; {goals}"
    return found


def _classes(kind: str) -> dict[str, str]:
    return {n: display.first_sentence(inspect.getdoc(registry.lookup(kind, n))) for n in registry.names(kind)}


ENTRIES: dict[str, Callable[[], dict[str, str]]] = {
    "ops": _ops,
    "models": _models,
    "templates": lambda: _classes("template"),
    "chips": _chips,
    "spaces": _spaces,
    "passes": lambda: _classes("pass"),
    "pipelines": lambda: dict(PIPELINES),
}
