"""`dfc export`: mapped operators as mappings of Timeloop v4."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dfcompiler.cli.compile import tell
from dfcompiler.cli.show import mapping_in, read_mapping
from dfcompiler.diagnostics import Diag, Infeasible, Note
from dfcompiler.interchange.export import timeloop_text
from dfcompiler.interchange.nests import nest_of, nests
from dfcompiler.outputs.recall import recalled
from dfcompiler.writing import cannot_write, check_writable


def run(args: argparse.Namespace) -> None:
    """Write a file per operator, or that of `--op` to stdout; raises Diag and Infeasible."""
    path = mapping_in(Path(args.dir))
    if path is None:
        raise Diag("bad-mapping", f"`{args.dir}` holds no mapping", hint="`dfc compile -o DIR` writes one")
    if args.op is None and args.out is None:
        raise Diag("usage", "dfc export needs --op NAME, or -o OUT for all operators")
    out = Path(args.out) if args.out else None
    if out:
        check_writable(out)
    mapped = recalled(read_mapping(path), path.parent)
    found, refused = ([nest_of(mapped, args.op)], {}) if args.op else nests(mapped)
    for name, why in refused.items():
        tell(Note(f"`{name}` is not exported: {why}"))
    if not found:
        raise Infeasible("not-expressible", f"`{args.dir}` has no operator that can be exported")
    if out is None:
        sys.stdout.write(timeloop_text(found[0], mapped.chip))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for nest in found:
            (out / f"{nest.name}.yaml").write_text(timeloop_text(nest, mapped.chip), encoding="utf-8")
    except OSError as error:
        raise cannot_write(out, error) from error
    from dfcompiler.cli import display

    display.facts(("written", str(out / f"{nest.name}.yaml")) for nest in found)
