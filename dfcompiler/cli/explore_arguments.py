"""What `dfc explore` takes. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def configure(p: argparse.ArgumentParser, whole: Callable[[str], int], real: Callable[[str], float]) -> None:
    """Add the options of the search, of where it runs, and of the answer."""
    p.add_argument("space", metavar="SPACE", help="a name that `dfc list spaces` prints, or a .space file")
    how = p.add_argument_group("how to search")
    how.add_argument("--prices", metavar="HOW", help="mapped or static (default: as the space says)")
    how.add_argument(
        "--budget", type=whole, default=256, metavar="N", help="designs to evaluate at most, of each pool (default 256)"
    )
    how.add_argument("--sampler", metavar="NAME", help="choose points by a sampler, without a proof")
    how.add_argument("--seed", type=whole, default=0, metavar="K", help="of what is drawn (default 0)")
    where = p.add_argument_group("where it runs")
    where.add_argument("--engine", default="local", metavar="NAME", help="local (default), or ray: on a Ray cluster")
    where.add_argument("--workers", type=whole, metavar="N", help="processes (default: one per core)")
    where.add_argument("--resume", action="store_true", help="go on with the study in -o")
    asked = p.add_argument_group("the answer")
    asked.add_argument(
        "--need", metavar="GOAL=X,...", help="of the points that reach all of this, the best in the first goal"
    )
    asked.add_argument(
        "--check", action="store_true", help="compute every design of static prices again, by other code"
    )
    asked.add_argument("--perturb", action="store_true", help="how much of the front stands where constants are others")
    asked.add_argument("--uncertainty", metavar="FILE", help="by how much (default: templates/uncertainty.toml)")
    p.add_argument("-o", "--out", metavar="DIR", help="write the front here, and what a study needs to go on")
