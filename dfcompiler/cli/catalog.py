"""`dfc list`: everything that has a name, with a line about each."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable

from dfcompiler import registry
from dfcompiler.cli import display
from dfcompiler.cli.arguments import KINDS
from dfcompiler.cli.display import Column
from dfcompiler.diagnostics import unknown
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.models import library, load_model, model_names
from dfcompiler.pipeline import PIPELINES
from dfcompiler.text.show import comma, show_param


def run(args: argparse.Namespace) -> None:
    """Print the names of a kind, or of all kinds; raises Diag `unknown-kind`."""
    if args.kind not in (None, *KINDS):
        raise unknown("kind", args.kind, KINDS)
    found = {kind: entries() for kind, entries in CATALOG.items() if args.kind in (None, kind)}
    if args.json:
        print(
            json.dumps({kind: [{"name": n, "about": a} for n, a in entries.items()] for kind, entries in found.items()})
        )
        return
    for number, (kind, entries) in enumerate(found.items()):
        if number:
            display.plain()
        if len(found) > 1:
            display.heading(kind)
        columns = (Column("name", style="cyan"), Column("", wrap=True))
        display.table(columns, entries.items(), titles=False)


def names() -> dict[str, list[str]]:
    """Kind -> the names of that kind."""
    return {
        "ops": sorted(library().ops),
        "models": model_names(),
        "templates": registry.names("template"),
        "chips": chip_names(),
        "passes": registry.names("pass"),
        "pipelines": sorted(PIPELINES),
    }


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


def _classes(kind: str) -> dict[str, str]:
    return {n: display.first_sentence(inspect.getdoc(registry.lookup(kind, n))) for n in registry.names(kind)}


CATALOG: dict[str, Callable[[], dict[str, str]]] = {
    "ops": _ops,
    "models": _models,
    "templates": lambda: _classes("template"),
    "chips": _chips,
    "passes": lambda: _classes("pass"),
    "pipelines": lambda: dict(PIPELINES),
}
