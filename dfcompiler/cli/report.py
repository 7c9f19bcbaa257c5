"""`dfc report`: a page on the results in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfcompiler.cli import display
from dfcompiler.diagnostics import Diag
from dfcompiler.writing import cannot_write

PAGE = "report.html"


def run(args: argparse.Namespace) -> None:
    """Write the page and say where; raises Diag, `no-result` and `bad-result` among others."""
    from dfcompiler.pages import page, results

    found = results(Path(args.dir))
    out = Path(args.out) if args.out else found[0].folder / PAGE
    if out.is_dir():
        raise Diag("bad-output", f"`{out}` is a folder", hint=f"name a file: -o {out / PAGE}")
    text = page(found)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error
    told = ", ".join(r.kind.name for r in found)
    display.facts([("report", told), ("written", f"{out}, {display.large(len(text.encode()), 'B')}")])
