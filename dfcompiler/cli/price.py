"""`dfc price`: one op on one unit."""

from __future__ import annotations

import argparse
import dataclasses
import json

import dfcompiler as dfc
from dfcompiler.cli.inputs import chip_of, dims_of
from dfcompiler.pricing import Priced


def run(args: argparse.Namespace) -> None:
    """Price and print; raises Diag and Infeasible."""
    dims = dims_of(args.dims)
    found = dfc.price(args.op, dims, chip_of(args), dtype=args.dtype, unit=args.unit)
    if args.json:
        print(json.dumps(dataclasses.asdict(found), allow_nan=False))
    else:
        print_price(found, " ".join(args.dims))


def print_price(p: Priced, sizes: str) -> None:
    """The price for people."""
    from dfcompiler.cli import display

    display.heading(f"{p.op} {sizes} on {p.chip}")
    split = f", split {display.pairs(p.ways)}" if p.ways else ""
    kept = f", keeps {display.pairs(p.keep)}" if p.keep else ""
    times = {"compute": p.compute_s, "memory": p.memory_s}
    display.facts(
        [
            ("latency", f"{display.seconds(p.latency_s)}, {display.digits(p.cycles, 6)} cycles on {p.unit}"),
            ("bound", f"{p.bound}: " + ", ".join(f"{k} {display.seconds(v)}" for k, v in times.items())),
            ("utilisation", display.percent(p.utilization)),
            ("traffic", ", ".join(f"{level} {display.large(moved, 'B')}" for level, moved in p.bytes.items())),
            ("tile", f"{display.pairs(p.tile)}{split}"),
            ("loops", (" ".join(p.order) or "one tile") + kept),
            ("search", f"best of {p.candidates:,} tilings in {display.seconds(p.seconds)}"),
        ]
    )
