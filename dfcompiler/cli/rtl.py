"""`dfc rtl`: the parameter package of a chip, or of a mapping that `dfc compile -o` left in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

import dfcompiler as dfc
from dfcompiler.cli import display, simulate
from dfcompiler.cli.inputs import chip_of
from dfcompiler.cli.options import STYLES
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.rtl import write
from dfcompiler.writing import check_writable

HELP = "`dfc rtl --help` shows what it takes"


def run(args: argparse.Namespace) -> None:
    """Write the package, or compare it with what is there, or run a core; raises Diag and Infeasible."""
    if args.style not in STYLES:
        raise unknown("style", args.style, STYLES)
    if (args.dir is None) == (args.on is None):
        raise Diag("usage", "dfc rtl needs either DIR or --on CHIP", hint=HELP)
    if args.dir is not None and args.cores:
        raise Diag("bad-option", "--cores needs the chip: give it by --on")
    if args.dir is not None and (args.set or args.without):
        raise Diag("bad-option", "--set and --without change the chip of --on; the chip of DIR is as it was compiled")
    if args.simulate:
        if args.on is None or args.out or args.check:
            raise Diag("usage", "--simulate needs --on CHIP, and writes nothing: no -o, no --check")
        simulate.run(args)
        return
    if not args.name or not args.out:
        raise Diag("usage", f"dfc rtl needs {'-o/--out' if args.name else '--name'}", hint=HELP)
    out = Path(args.out)
    check_writable(out)
    source = chip_of(args) if args.dir is None else _folder(args.dir)
    files = dfc.rtl(
        source, name=args.name, style=args.style, cores=args.cores, on_note=lambda note: display.plain(note.message)
    )
    changed = write(files, out, check=args.check)
    if args.check:
        display.plain(f"{out} is up to date: {len(files)} files")
        return
    marks = {path.name: "written" for path in changed}
    display.facts((marks.get(name, "unchanged"), str(out / name)) for name in files)


def _folder(name: str) -> Path:
    if not Path(name).is_dir():
        raise Diag("no-such-file", f"there is no folder `{name}`", hint="`dfc compile -o DIR` writes one")
    return Path(name)
