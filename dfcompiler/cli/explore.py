"""`dfc explore`: the Pareto front of a space of chips and systems."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from dfcompiler.diagnostics import unknown
from dfcompiler.explore import folder
from dfcompiler.explore.exploration import needs
from dfcompiler.explore.exploring import explore
from dfcompiler.explore.space import PRICES, load_space
from dfcompiler.explore.studied import Search
from dfcompiler.public.given import checked_seed
from dfcompiler.writing import check_writable


def run(args: argparse.Namespace) -> None:
    """Explore and print; raises Diag, and Infeasible where nothing keeps the limits or meets the need."""
    space = load_space(args.space)
    if args.prices is not None:
        if args.prices not in PRICES:
            raise unknown("prices", args.prices, PRICES)
        space = replace(space, prices=args.prices)
    wanted = needs(args.need, space.goals) if args.need else {}
    search = _search(args)
    if search.out and not search.resume:
        check_writable(search.out)
    found = explore(space, search)
    best = found.best(wanted) if wanted else None
    written = folder.write(space, found, search.out) if search.out else []
    if args.json:
        chosen = {"best": best and {"axes": dict(best.axes), "objectives": dict(best.objectives)}} if wanted else {}
        print(json.dumps(found.to_json() | chosen, allow_nan=False))
        return
    from dfcompiler.cli.explore_display import print_exploration

    print_exploration(space, found, best, wanted, written)


def _search(args: argparse.Namespace) -> Search:
    return Search(
        budget=args.budget,
        sampler=args.sampler,
        seed=checked_seed(args.seed),
        engine=args.engine,
        workers=args.workers,
        out=Path(args.out) if args.out else None,
        resume=args.resume,
        check=args.check,
    )
