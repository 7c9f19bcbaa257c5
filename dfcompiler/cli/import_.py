"""`dfc import`: a file of another tool as text of ours."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dfcompiler.cli.compile import tell
from dfcompiler.diagnostics import Note
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.interchange import read_foreign
from dfcompiler.writing import cannot_write, check_writable


def run(args: argparse.Namespace) -> None:
    """Write the text, to stdout unless `-o` names a file, and say what it does not hold; raises Diag and Infeasible."""
    out = Path(args.out) if args.out else None
    if out:
        check_writable(out.parent)
    found = read_foreign(Path(args.file), parse_dtypes(args.dtype))
    for left in found.dropped:
        tell(Note(f"left out: {left.path}: {left.why}", left.span))
    if out is None:
        sys.stdout.write(found.text)
        return
    if out.is_dir():
        out = out / f"{Path(args.file).stem}{found.suffix}"
    try:
        out.write_text(found.text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error
    from dfcompiler.cli import display

    display.plain(f"{out}: {found.what}, {len(found.dropped)} values left out")
