"""`dfc explore`: the Pareto front of a space of chips and systems."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import dfcompiler as dfc
from dfcompiler.explore import folder
from dfcompiler.explore.exploration import needs


def run(args: argparse.Namespace) -> None:
    """Explore and print; raises Diag, and Infeasible where nothing keeps the limits or meets the need."""
    space = dfc.space(args.space)
    wanted = needs(args.need, space.goals) if args.need else {}
    found = dfc.explore(
        space,
        prices=args.prices,
        budget=args.budget,
        sampler=args.sampler,
        seed=args.seed,
        engine=args.engine,
        workers=args.workers,
        out=args.out,
        resume=args.resume,
        check=args.check,
        perturb=args.uncertainty or args.perturb,
    )
    best = found.best(wanted) if wanted else None
    written = [Path(args.out) / name for name in (folder.FRONT, folder.CHIPS)] if args.out else []
    if args.json:
        chosen = {"best": best and {"axes": dict(best.axes), "objectives": dict(best.objectives)}} if wanted else {}
        print(json.dumps(found.to_json() | chosen, allow_nan=False))
        return
    from dfcompiler.cli.explore_display import print_exploration

    print_exploration(space, found, best, wanted, written)
