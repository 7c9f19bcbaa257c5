"""Price every group of nodes on every unit."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.columns import price
from dfcompiler.goals import AREA_DELAY, LATENCY
from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context, Pass
from dfcompiler.tiling import SHARES


class Tile(Pass, name="tile"):
    """Search all tilings of every op and of every offered group on every unit of the chip, each at several
    shares of the way to memory. `shares=1` prices units that have it to themselves."""

    prices = True
    shares: int = len(SHARES)

    def __post_init__(self) -> None:
        if not 1 <= self.shares <= len(SHARES):
            raise ValueError(f"shares must be from 1 to {len(SHARES)}")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        quickest = ctx.objective in (LATENCY, AREA_DELAY) and ctx.power_w is None
        shares = SHARES[: self.shares]
        chip, dtypes = ctx.need("chip"), ctx.need("dtypes")
        return replace(graph, columns=price(graph, chip, dtypes, shares, quickest=quickest, tick=ctx.on_progress))
