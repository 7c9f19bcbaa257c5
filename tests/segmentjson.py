"""One segment as `mapping.json` has it, from nothing but a flow, columns and a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import networkx as nx

from dfcompiler.addresses import lives, placed
from dfcompiler.certificate import certificate
from dfcompiler.columns import Column
from dfcompiler.solution import Solution


def mapping_of(
    flow: nx.DiGraph[str],
    columns: Sequence[Column],
    found: Solution,
    *,
    runs: int = 1,
    period: int = 0,
    carried: Sequence[tuple[str, str]] = (),
    proof: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The member `mapping` of a file with one segment that runs so often."""
    pins, at = sorted({p for c in columns for p in c.pins}), placed(found.tasks)
    assert isinstance(at, dict)
    number = {v: i for i, t in enumerate(found.tasks) for v in t.column.nodes}
    period, proof = period or found.cycles, proof or {"kind": "once"}
    between = found.bound if proof["kind"] in ("serial", "in turn") else proof.get("bound", 0)
    cycles, bound = found.cycles + (runs - 1) * period, found.bound + (runs - 1) * between

    def pairs(edges: set[tuple[int, int]] | Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        return [{"from": u, "to": v} for u, v in edges]

    segment = {
        "repeat": runs,
        "stage": 0,
        "runs": [runs],
        "sends": False,
        "start": 0,
        "cycles": found.cycles,
        "waits": found.cycles - max((t.end for t in found.tasks), default=0),
        "period": period,
        "end": cycles,
        "bound": {"cycles": found.bound, "period": between, "all": bound, "period_proof": proof},
        "nodes": list(flow),
        "flow": pairs(list(flow.edges)),
        "carried": pairs(carried),
        "pins": [{**asdict(p), "readers": list(p.readers)} for p in pins],
        "pinned": [
            {"pin": pins.index(p), "start": x.start, "end": x.end, "address": at[p]}
            for p, x in lives(found.tasks).items()
        ],
        "columns": [{**_column(c), "pins": [pins.index(p) for p in c.pins]} for c in columns],
        "certificate": certificate(flow, columns, found).to_json(),
        "tasks": [
            {"id": i, "column": columns.index(t.column), "start": t.start, "end": t.end, **_column(t.column)}
            for i, t in enumerate(found.tasks)
        ],
        "depends": pairs({(number[u], number[v]) for u, v in flow.edges if number[u] != number[v]}),
        "next_run_depends": pairs({(number[u], number[v]) for u, v in carried}),
    }
    return {"resolution": 16, "cycles": cycles, "bound_cycles": bound, "segments": [segment]}


def _column(c: Column) -> dict[str, Any]:
    parts = {"unit": c.unit, "helper": c.helper, "cycles": c.cycles, "dram": c.dram, "beside": c.beside, "pj": c.pj}
    return {"nodes": list(c.nodes), **parts}
