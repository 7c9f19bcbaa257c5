"""`dfc validate`: measured against modelled."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from dfcompiler.cli.inputs import chip_of
from dfcompiler.outputs.scatter import scatter
from dfcompiler.validation import Validation, read_measured, validate

SHOWN = 10


def run(args: argparse.Namespace) -> None:
    """Compare and print; raises Diag."""
    chip = chip_of(args)
    table = read_measured(Path(args.file), chip.clock_hz)
    found = validate(table, args.op, chip, dtype=args.dtype, min_us=args.min_us, warm=not args.cold)
    if args.plot:
        points = [(r.measured_s, r.modelled_s, r.bound) for r in found.rows]
        Path(args.plot).write_text(scatter(f"{args.op} on {chip.name}", points), encoding="utf-8")
    if args.json:
        print(json.dumps(dataclasses.asdict(found), allow_nan=False))
    else:
        print_validation(found, f"{table.name}: {args.op} on {chip.name}")


def print_validation(v: Validation, title: str) -> None:
    """The figures for people, and the worst rows."""
    from dfcompiler.cli import display

    display.heading(title)
    display.facts(
        [
            ("rows", f"{v.n:,}"),
            ("error", f"mean {display.percent(v.mape)}, median {display.percent(v.median)}, 90 % of the rows within "
                      f"{display.percent(v.p90)}, the worst {display.percent(v.max)}"),
            ("bias", f"{100 * v.bias:+.1f} %"),
        ]
    )  # fmt: skip
    display.plain()
    for row in v.rows[:SHOWN]:
        sizes = display.pairs({n: s for n, s in row.sizes.items() if n != "kernel_source"})
        times = f"{display.seconds(row.measured_s)} measured, {display.seconds(row.modelled_s)} modelled"
        display.plain(f"{100 * row.error:+7.1f} %  {times}, {row.bound}  {sizes}")
