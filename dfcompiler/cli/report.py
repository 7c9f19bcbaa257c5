"""`dfc report`: a page on the results in a folder."""

from __future__ import annotations

import argparse

import dfcompiler as dfc
from dfcompiler.cli import display


def run(args: argparse.Namespace) -> None:
    """Write the page and say where; raises Diag, `no-result` and `bad-result` among others."""
    out = dfc.report(args.dir, args.out)
    display.facts([("written", f"{out}, {display.large(out.stat().st_size, 'B')}")])
