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
from dfcompiler.validation import Row, Validation
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
    columns = (
        *(display.Column(title, right=True) for title in ("error", "measured", "modelled")),
        display.Column("bound", drop=1),
        display.Column("of the worst", wrap=True),
    )
    display.table(columns, map(_row, v.rows[:SHOWN]))


def _row(row: Row) -> list[str]:
    from dfcompiler.cli import display

    sizes = display.pairs({n: s for n, s in row.sizes.items() if n != "kernel_source"})
    times = display.seconds(row.measured_s), display.seconds(row.modelled_s)
    return [f"{100 * row.error:+.1f} %", *times, row.bound, sizes]
