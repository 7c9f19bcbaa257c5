"""`dfc explore`: the Pareto front of a space of chips and systems."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dfcompiler.cli.inputs import check_writable, seed_of
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore import folder
from dfcompiler.explore.exploration import needs
from dfcompiler.explore.exploring import Search, explore
from dfcompiler.explore.space import PRICES, load_space


def run(args: argparse.Namespace) -> None:
    """Explore and print; raises Diag, and Infeasible where nothing keeps the limits or meets the need."""
    space = load_space(args.space)
    if args.prices is not None:
        if args.prices not in PRICES:
            raise unknown("prices", args.prices, PRICES)
        space = replace(space, prices=args.prices)
    wanted = needs(args.need, space.goals) if args.need else {}
    out = Path(args.out) if args.out else None
    if args.resume and out is None:
        raise Diag("bad-option", "--resume goes on with a study in a folder: give it with -o")
    if out and not args.resume:
        check_writable(out)
    found = explore(space, Search(budget=args.budget, seed=seed_of(args)))
    best = found.best(wanted) if wanted else None
    written = folder.write(space, found, out) if out else []
    if args.json:
        chosen = {"axes": dict(best.axes), "objectives": dict(best.objectives)} if best else None
        print(json.dumps(found.to_json() | ({"best": chosen} if wanted else {}), allow_nan=False))
        return
    from dfcompiler.cli.explore_display import print_exploration

    print_exploration(space, found, best, wanted, written)
