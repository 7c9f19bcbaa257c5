"""A report as a table, a row per scheduled group of ops, and the figures above it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfcompiler.amounts import large, pairs, percent, seconds
from dfcompiler.frames import Columns
from dfcompiler.report import OpReport, Report

# What a row says in plain numbers and names, in this order; bytes of every level follow.
PLAIN = (
    "name op repeat unit helper start_s end_s compute_s memory_s flops energy_j utilization bound dram_share algorithm "
    "loc"
).split()
PAIRS = ("tile", "ways", "keep")  # as text: `n=64 k=64`


def op_columns(ops: Sequence[OpReport]) -> Columns:
    """A row per group: seconds from the start of the step, joules and `LEVEL_bytes` of one run."""
    plain = {name: [getattr(op, name) for op in ops] for name in PLAIN}
    texts = {name: [pairs(getattr(op, name)) for op in ops] for name in PAIRS}
    return plain | level_columns([op.bytes for op in ops]) | texts | {"order": [" ".join(op.order) for op in ops]}


def level_columns(moved: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """`LEVEL_bytes` of every level that any row names; 0 where nothing moves there."""
    levels = dict.fromkeys(level for row in moved for level in row)
    return {f"{level}_bytes": [row.get(level, 0.0) for row in moved] for level in levels}


def title(r: Report) -> str:
    """Model, chip, step and types on one line."""
    many = f"{r.devices} x " if r.devices > 1 else ""
    return f"{r.model} on {many}{r.chip}: {r.step}, {r.dtype}"


def facts(r: Report) -> Mapping[str, str]:
    """The figures that are looked at first."""
    reached = percent(r.roofline_s / r.latency_s if r.latency_s else 0.0)
    c = r.capacity
    used = c.weights_bytes + c.kv_bytes + c.activation_bytes
    return {
        "latency": seconds(r.latency_s),
        "proof": f"{r.status}, gap {percent(r.gap)}: proven bound {seconds(r.bound_s)}",
        "roofline": f"{seconds(r.roofline_s)}; the mapping is at {reached} of it",
        "capacity": f"{large(used, 'B')} of {large(c.available_bytes, 'B')}",
    }
