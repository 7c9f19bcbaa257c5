"""Every scheduled op as a row, with the reason for its bound."""

from __future__ import annotations

from collections.abc import Iterator

from dfcompiler.amounts import digits, joules, large, pairs, percent, seconds
from dfcompiler.pages.blocks import Cell, Column, Table
from dfcompiler.pages.roofline import Op, span
from dfcompiler.pages.step import Step

COLUMNS = (
    Column("name"),
    Column("op", long=True),
    Column("part", choose=True),
    Column("unit", choose=True),
    Column("runs", number=True),
    Column("time µs", number=True),
    Column("of the step", number=True),
    Column("bound", choose=True),
    Column("why", long=True),
    Column("compute µs", number=True),
    Column("memory µs", number=True),
    Column("of peak", number=True),
    Column("DRAM", number=True),
    Column("energy", number=True),
    Column("start µs", number=True),
    Column("tile, or algorithm", long=True),
    Column("split", long=True),
    Column("from"),
)


def op_table(step: Step) -> Table:
    """The table; times are of one run, but for `of the step`, which is of all runs, also where they overlap others."""
    columns = [i for i, c in enumerate(COLUMNS) if c.title != "part" or len(step.parts) > 1]
    rows = tuple(tuple(row[i] for i in columns) for row in _rows(step))
    return Table("ops", tuple(COLUMNS[i] for i in columns), rows, f"{len(rows)} ops", search=True)


def _rows(step: Step) -> Iterator[tuple[Cell, ...]]:
    dram, whole = step.mapped.chip.dram.name, step.said["latency_s"]
    for op in step.ops:
        share = span(op) * op["repeat"] / whole if whole else 0.0
        moved = op["bytes"].get(dram, 0.0)
        yield (
            Cell(op["name"]),
            Cell(op["op"]),
            Cell(step.part_of(op)),
            Cell(op["unit"] + (f"+{op['helper']}" if op["helper"] else "")),
            Cell(f"{op['repeat']}", op["repeat"]),
            _us(span(op)),
            Cell(percent(share), share),
            Cell(op["bound"]),
            Cell(reason(op, dram)),
            *(_us(op[key]) for key in ("compute_s", "memory_s")),
            Cell(percent(op["utilization"]), op["utilization"]),
            Cell(large(moved, "B"), moved),
            Cell(joules(op["energy_j"]), op["energy_j"]),
            _us(op["start_s"]),
            Cell(op["algorithm"] or pairs(op["tile"])),
            Cell(pairs(op["ways"])),
            Cell(op["loc"]),
        )


def _us(value: float) -> Cell:
    return Cell(digits(value * 1e6, 4) if value else "0", value)


def reason(op: Op, dram: str) -> str:
    """Why an op takes as long as it does, from the times that make up its price."""
    whole, moved, share = span(op), op["bytes"].get(dram, 0.0), op["dram_share"]
    part = f" at {percent(share)} of the bandwidth" if 0 < share < 1 else ""
    memory = f"{large(moved, 'B')} of {dram} take {seconds(op['memory_s'] / (share or 1))}{part}"
    compute = f"arithmetic {seconds(op['compute_s'])}" if op["compute_s"] else "no arithmetic"
    match op["bound"]:
        case "compute":
            return f"{compute} of {seconds(whole)}, at {percent(op['utilization'])} of the peak; {memory}"
        case "memory":
            return f"{memory}, of {seconds(whole)}; {compute}"
        case "vector":
            return f"{op['helper']} works for {percent(op['helper_share'])} of {seconds(whole)}; {compute}; {memory}"
        case "link":
            return f"its bytes on the links fill most of {seconds(whole)}; {memory}"
        case _:
            return f"{compute} and {memory}, of {seconds(whole)}: latencies fill the rest"
