"""`dfc validate`: measured against modelled."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import dfcompiler as dfc
from dfcompiler.cli.inputs import chip_of
from dfcompiler.cli.progress import Progress
from dfcompiler.outputs.scatter import scatter
from dfcompiler.validation import Validation
from dfcompiler.writing import write_text

SHOWN = 10


def run(args: argparse.Namespace) -> None:
    """Compare and print; raises Diag."""
    chip = chip_of(args)
    how = {"dtype": args.dtype, "min_us": args.min_us, "cold": args.cold}
    with Progress([(f"rows of {args.file}", None)]) as progress:
        found = dfc.validate(args.file, args.op, chip, **how, on_progress=progress.advance)
    if args.plot:
        points = [(r.measured_s, r.modelled_s, r.bound) for r in found.rows]
        write_text(Path(args.plot), scatter(f"{args.op} on {chip.name}", points))
    if args.json:
        print(json.dumps(dataclasses.asdict(found), allow_nan=False))
    else:
        print_validation(found, f"{Path(args.file).name}: {args.op} on {chip.name}")


def print_validation(v: Validation, title: str) -> None:
    """The figures for people, and the worst rows."""
    from dfcompiler.cli import display

    display.heading(title)
    display.facts(
        [
            ("rows", f"{v.n:,}"),
            *v.facts().items(),
        ]
    )
    display.plain()
    for row in v.rows[:SHOWN]:
        sizes = display.pairs({n: s for n, s in row.sizes.items() if n != "kernel_source"})
        times = f"{display.seconds(row.measured_s)} measured, {display.seconds(row.modelled_s)} modelled"
        display.plain(f"{100 * row.error:+7.1f} %  {times}, {row.bound}  {sizes}")
