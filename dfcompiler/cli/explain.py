"""`dfc explain`: what a code means and what to change, or all codes."""

from __future__ import annotations

import argparse
import json
from itertools import groupby

from dfcompiler.codes import Explanation, explain, explanations


def run(args: argparse.Namespace) -> None:
    """Print one explanation, or all codes by group; raises Diag `unknown-code`."""
    if args.code is not None:
        told = explain(args.code)
        print(json.dumps(_object(told))) if args.json else _print(told)
        return
    known = explanations().values()
    if args.json:
        print(json.dumps([_object(one) for one in known]))
    else:
        _list(list(known))


def _object(one: Explanation) -> dict[str, str]:
    return {name: getattr(one, name) for name in ("code", "group", "meaning", "example", "change")}


def _print(one: Explanation) -> None:
    from dfcompiler.cli import display

    display.heading(one.code)
    display.prose(one.meaning)
    if one.example:
        display.plain()
        display.plain("\n".join(f"    {line}" for line in one.example.splitlines()))
    display.plain()
    display.prose(f"Change: {one.change}")


def _list(known: list[Explanation]) -> None:
    from dfcompiler.cli import display

    columns = (display.Column("code", style="cyan"), display.Column("", wrap=True))
    for number, (group, ones) in enumerate(groupby(known, key=lambda one: one.group)):
        if number:
            display.plain()
        display.heading(group)
        display.table(columns, [(one.code, display.first_sentence(one.meaning)) for one in ones], titles=False)
