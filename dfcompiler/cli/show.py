"""`dfc show`: one thing by its name, or the schedule in a folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dfcompiler.cli import display
from dfcompiler.cli.catalog import names
from dfcompiler.cli.explore_display import show_space
from dfcompiler.cli.mapping_table import print_mapping
from dfcompiler.cli.show_hardware import show_chip, show_template
from dfcompiler.cli.show_software import show_model, show_op, show_pass, show_pipeline
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.hardware.elaboration import find_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.models import load_model
from dfcompiler.text.parse import read_source
from dfcompiler.text.show_expressions import comma
from dfcompiler.text.tree import ChipDecl

SHOWN: dict[str, Callable[[str], None]] = {
    "ops": show_op,
    "models": lambda name: show_model(load_model(name)),
    "templates": show_template,
    "spaces": show_space,
    "passes": show_pass,
    "pipelines": show_pipeline,
}


def run(args: argparse.Namespace) -> None:
    """Print what THING is, or why its op is mapped as it is; raises Diag `unknown-thing`."""
    if args.op is not None:
        from dfcompiler.cli.show_why import show_why  # solves: imports what takes long

        show_why(args.thing, args.op, args.json)
        return
    if args.json:
        raise Diag("bad-option", "`dfc show` prints JSON of an op of a mapping: give `--op NAME` with it")
    settings, path = overrides(args.set), Path(args.thing)
    known = names()
    kinds = _kinds(args.thing, args.kind, known)
    if settings and kinds[:1] != ["chips"] and (kinds or path.suffix != ".chip"):
        raise Diag("bad-option", f"--set changes a chip, and `{args.thing}` is none")
    if kinds:
        SHOWN[kinds[0]](args.thing) if kinds[0] != "chips" else show_chip(args.thing, settings)
        for other in kinds[1:]:
            display.plain()
            display.prose(f"`{args.thing}` is among the {other} too: `dfc show {args.thing} --kind {other}`")
    elif path.suffix == ".chip":
        show_chip(args.thing, settings)
    elif (mapping := mapping_in(path)) is not None:
        print_mapping(read_mapping(mapping))
    elif path.is_dir() and not (path / "config.json").is_file():
        what = f"the folder `{path}` holds neither a mapping.json nor a config.json"
        raise Diag("unknown-thing", what, hint="`dfc compile -o DIR` writes a mapping; `dfc report DIR` shows others")
    elif path.suffix == ".space":
        show_space(args.thing)
    elif path.exists() or path.suffix in (".json", ".dfm"):
        show_model(load_model(args.thing))
    else:
        raise _unknown(args.thing, known)


def _kinds(thing: str, asked: str | None, known: Mapping[str, Sequence[str]]) -> list[str]:
    """The kinds that have this name, or the one that is asked for; raises Diag `unknown-kind`, `unknown-thing`."""
    if asked is None:
        return [kind for kind, names_ in known.items() if thing in names_]
    if asked not in known:
        raise unknown("kind", asked, known)
    if thing not in known[asked]:
        raise unknown("thing", thing, known[asked])
    return [asked]


def _unknown(name: str, known: Mapping[str, Sequence[str]]) -> Diag:
    """The error for a name of nothing; a part is shown with its chip."""
    error = unknown("thing", name, sorted({n for ns in known.values() for n in ns}))
    chips = [chip for chip in known["chips"] if name in part_names(find_chip(chip))]
    if chips:
        error.hint = f"`{name}` is a part of {comma(f'`{c}`' for c in chips)}: `dfc show {chips[0]}` shows its parts"
    return error


def part_names(chip: ChipDecl) -> set[str]:
    """The parts of a chip, in groups or not."""
    return {p.name for ps in (chip.parts, *(g.parts for g in chip.groups)) for p in ps}


def mapping_in(path: Path) -> Path | None:
    """The `mapping.json` that a path means."""
    if path.name == "mapping.json" and path.is_file():
        return path
    return path / "mapping.json" if (path / "mapping.json").is_file() else None


def read_mapping(path: Path) -> Mapping[str, Any]:
    """The report in a `mapping.json`; raises Diag `bad-mapping`."""
    source = read_source(path)
    try:
        found = json.loads(source.text)
        report: Mapping[str, Any] = found.get("report", found)
        missing = [k for k in ("model", "chip", "ops", "layers", "latency_s", "roofline") if k not in report]
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise Diag("bad-mapping", f"`{path}` is no mapping: {error}", hint="`dfc compile -o DIR` writes one") from None
    if missing:
        raise Diag("bad-mapping", f"`{path}` lacks `{missing[0]}`", hint="`dfc compile -o DIR` writes one")
    return report
