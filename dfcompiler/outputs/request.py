"""What a step was mapped for: with the graph and the chip it is enough to price the step again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dfcompiler.graph import Graph
from dfcompiler.pipeline import Context
from dfcompiler.schedule import columns_of


def request_json(graph: Graph, asked: Context) -> dict[str, Any]:
    """Number types, limits and the seed of a compile, and the shares at which columns were priced."""
    return {
        "dtypes": asdict(asked.need("dtypes")),
        "power_w": asked.power_w,
        "seed": asked.seed,
        "shares": list(columns_of(graph).shares),
    }
