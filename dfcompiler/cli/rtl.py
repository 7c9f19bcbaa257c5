"""`dfc rtl`: the parameter package of a chip, or of a mapping that `dfc compile -o` left in a folder."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from dfcompiler import rtl
from dfcompiler.cli import display
from dfcompiler.cli.arguments import STYLES
from dfcompiler.cli.inputs import cannot_write, check_writable, chip_of
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.outputs import rtl_package
from dfcompiler.text.parse import read_source


def run(args: argparse.Namespace) -> None:
    """Write the package, or compare it with what is there; raises Diag and Infeasible."""
    if args.style not in STYLES:
        raise unknown("style", args.style, STYLES)
    if (args.dir is None) == (args.on is None):
        raise Diag("usage", "dfc rtl needs either DIR or --on CHIP", hint="`dfc rtl --help` shows what it takes")
    if args.dir is not None and (args.set or args.without):
        raise Diag("bad-option", "--set and --without change the chip of --on; the chip of DIR is as it was compiled")
    out = Path(args.out)
    check_writable(out)
    files = rtl.render(_package(args), args.style)
    try:
        changed = rtl.write(files, out, check=args.check)
    except OSError as error:
        raise cannot_write(out, error) from error
    if args.check:
        display.plain(f"{out} is up to date: {len(files)} files")
        return
    marks = {path.name: "written" for path in changed}
    display.facts((marks.get(name, "unchanged"), str(out / name)) for name in files)


def _package(args: argparse.Namespace) -> rtl.Package:
    if args.on is not None:
        return rtl_package(chip_of(args), None, args.name)
    path = Path(args.dir) / "rtl" / "params.json"
    if not path.is_file():
        raise Diag("no-such-file", f"`{args.dir}` holds no rtl/params.json", hint="`dfc compile -o DIR` writes one")
    return rtl.validate(dataclasses.replace(rtl.from_json(read_source(path).text), name=args.name))
