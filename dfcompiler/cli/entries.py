"""What there is: every name of a kind, and a line about each, worked out from content and classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dfcompiler import registry
from dfcompiler.cli import display
from dfcompiler.explore.space import load_space, space_names
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.models import library, load_model, model_names
from dfcompiler.pipeline import PIPELINES
from dfcompiler.text.show import show_param
from dfcompiler.text.show_expressions import comma


@dataclass(frozen=True)
class Named:
    """The names of a kind, sorted, and a line about one; names alone cost little."""

    names: Callable[[], Iterable[str]]
    about: Callable[[str], str]


def _op(name: str) -> str:
    op = library().ops[name]
    return f"({comma(map(show_param, op.params))}) -> ({comma(map(show_param, op.results))})"


def _model(name: str) -> str:
    model = load_model(name)
    sizes = {k: v for k, v in model.params.items() if isinstance(v, int) and v > 1}
    return f"{model.family.name}: {display.pairs(sizes)}"


def _chip(name: str) -> str:
    chip = load_chip(name)
    units = ", ".join(f"{u.instances} x {u.name} ({u.template.template_name})" for u in chip.units.values())
    memory = f"{display.large(chip.dram_capacity_bytes, 'B')} at {display.large(chip.dram_bytes_per_s, 'B/s')}"
    return f"{units}; {chip.dram.name} {memory}; {display.large(chip.clock_hz, 'Hz')}, {chip.node_nm:g} nm"


def _space(name: str) -> str:
    space = load_space(name)
    goals = comma(f"{g.sense} {g.name}" for g in space.goals)
    return f"{space.points:,.4g} points: {comma(space.pools)}; {goals}"


def _classes(kind: str) -> Named:
    return Named(
        lambda: registry.names(kind), lambda name: display.first_sentence(inspect.getdoc(registry.lookup(kind, name)))
    )


NAMED = {
    "ops": Named(lambda: sorted(library().ops), _op),
    "models": Named(model_names, _model),
    "templates": _classes("template"),
    "chips": Named(chip_names, _chip),
    "spaces": Named(space_names, _space),
    "passes": _classes("pass"),
    "pipelines": Named(lambda: PIPELINES, PIPELINES.__getitem__),
}
