"""Price every group of nodes on every unit."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.graph import Graph
from dfcompiler.objectives import limits, spending
from dfcompiler.pipeline import Context, Pass
from dfcompiler.quotes import price
from dfcompiler.tiling import SHARES


class Tile(Pass, name="tile"):
    """Search all tilings of every op and of every offered group on every unit of the chip, each at several
    shares of the way to memory. `shares=1` prices units that have it to themselves. Where energy counts, tilings are
    left out that take at most a part `thin` less of it than a faster one: what that may cost is in the gap."""

    prices = True
    shares: int = len(SHARES)
    thin: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.shares <= len(SHARES):
            raise ValueError(f"shares must be from 1 to {len(SHARES)}")
        if not 0 <= self.thin < 1:
            raise ValueError("thin must be from 0 to below 1: 0.01 is 1 %")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        chip, shares = ctx.need("chip"), SHARES[: self.shares]
        counts = spending(ctx.objective, limits(chip, ctx.power_w), self.thin)
        columns = price(graph, chip, ctx.need("dtypes"), shares, spending=counts, tick=ctx.on_progress)
        return replace(graph, columns=columns)
