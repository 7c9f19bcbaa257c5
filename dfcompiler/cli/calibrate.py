"""`dfc calibrate`: what no data sheet tells, from a few measured rows; or which rows to measure."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import sys
from pathlib import Path

from dfcompiler.calibration import Calibration, calibrate, calibrated, propose
from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.validation import read_measured
from dfcompiler.writing import write_text


def run(args: argparse.Namespace) -> None:
    """Fit and write, or propose; raises Diag."""
    chip = load_chip(args.chip)
    if args.propose:
        _propose(chip, args.op, args.rows)
        return
    if args.file is None:
        raise Diag("usage", "dfc calibrate needs FILE.csv, or --propose")
    table = read_measured(Path(args.file), chip.clock_hz)
    found = calibrate(table, args.op, chip, warm=not args.cold)
    out = Path(args.out or f"{chip.name}_calibrated.chip")
    text = calibrated(chip, found, out.stem.replace("-", "_"), f"{table.name} ({args.op})")
    write_text(out, text)
    if args.json:
        print(json.dumps({**dataclasses.asdict(found), "chip": str(out)}, allow_nan=False))
    else:
        _print(found, chip, out)


def _propose(chip: Chip, kind: str, rows: int) -> None:
    if not 1 <= rows <= 1000:
        raise Diag("bad-option", f"--rows must be from 1 to 1000, got {rows}")
    sizes = propose(kind, chip, rows)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(sizes)
    writer.writerows([f"{v:.6g}" for v in row] for row in zip(*sizes.values(), strict=True))


def _print(found: Calibration, chip: Chip, out: Path) -> None:
    from dfcompiler.cli import display

    scale = found.scale
    display.heading(f"{chip.name} by {found.rows} measured rows")
    errors = f"{display.percent(found.before)} before, {display.percent(found.left_out)} of rows left out of the fit"
    display.facts(
        [
            ("factors", f"launch {scale.launch:.3f}, tensor cores {scale.tensor:.3f}, DRAM {scale.dram:.3f}"),
            ("error", f"{errors}, {display.percent(found.fitted)} of those in it"),
            ("written", str(out)),
        ]
    )
