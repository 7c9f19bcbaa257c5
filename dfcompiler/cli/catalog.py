"""`dfc list`: everything that has a name, with a line about each."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence

from dfcompiler import content, registry
from dfcompiler.cache import kept
from dfcompiler.cli.options import KINDS
from dfcompiler.diagnostics import unknown


def run(args: argparse.Namespace) -> None:
    """Print the names of a kind, or of all kinds; raises Diag `unknown-kind`."""
    if args.kind not in (None, *KINDS):
        raise unknown("kind", args.kind, KINDS)
    found = entries([args.kind] if args.kind else KINDS)
    if args.json:
        print(json.dumps({kind: [{"name": n, "about": a} for n, a in es.items()] for kind, es in found.items()}))
        return
    from dfcompiler.cli import display

    for number, (kind, named) in enumerate(found.items()):
        if number:
            display.plain()
        if len(found) > 1:
            display.heading(kind)
        columns = (display.Column("name", style="cyan"), display.Column("", wrap=True))
        display.table(columns, named.items(), titles=False)


def names() -> dict[str, list[str]]:
    """Kind -> the names of that kind."""
    if not registry.started():
        return {kind: list(named) for kind, named in entries(KINDS).items()}
    from dfcompiler.cli.entries import NAMED

    return {kind: list(NAMED[kind].names()) for kind in KINDS}


def entries(kinds: Sequence[str]) -> dict[str, dict[str, str]]:
    """Kind -> name -> a line about it. Kept between runs, unless classes are known that may be in no file."""

    def made(kind: str) -> dict[str, str]:
        from dfcompiler.cli.entries import NAMED

        return {name: NAMED[kind].about(name) for name in NAMED[kind].names()}

    if registry.started():
        return {kind: made(kind) for kind in kinds}
    state = tuple(content.state())
    return {kind: kept((kind.encode(), *state), functools.partial(made, kind)) for kind in kinds}
