"""The schedule as a table: one row per op, with its unit, times, tile sizes and loop order."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dfcompiler.diagnostics import Diag, nearest
from dfcompiler.rtl.names import snake
from dfcompiler.rtl.params import WIDEST_TABLE, Column, Enum, Table

# Codes of ops, units and dimensions; wide enough that a new op does not move the other fields.
CODE_BITS = 8
NO_DIM = "none"


class OpRow(NamedTuple):
    """One mapped op: on `unit` from `start_cycle` until `end_cycle`, and again every `period`, `repeat` times in
    all; loops outermost first."""

    name: str
    op: str
    unit: str
    repeat: int
    start_cycle: int
    end_cycle: int
    tile: Mapping[str, int]
    order: tuple[str, ...]
    period: int = 0


def schedule(ops: Sequence[OpRow], parts: Sequence[str]) -> tuple[tuple[Enum, ...], tuple[Table, ...]]:
    """The enums `unit`, `op` and `dim` and the table `ops`; nothing where there are no ops.

    What does not fit into one vector goes on in tables `ops_1`, `ops_2` ... of the same columns.
    `parts` are the names of the chip's parts in their order, which is that of the codes of `unit`.
    Raises `rtl-table` for an op on no part, one that ends before it starts, or an order of unknown dimensions.
    """
    if not ops:
        return (), ()
    for op in ops:
        _check(op, parts)
    dims = tuple(dict.fromkeys(snake(d) for op in ops for d in sorted({*op.tile, *op.order})))
    unit = Enum("unit", tuple(dict.fromkeys(parts)), "parts of the chip")
    kind = Enum("op", tuple(sorted({snake(op.op) for op in ops})), "kinds of ops")
    dim = Enum("dim", (NO_DIM, *sorted(dims)), "dimensions of the loops")
    depth = max(len(op.order) for op in ops)
    depth += -(4 * len(dim.members[1:]) + depth) % 8  # whole words of 64 bits, so that a C struct has the same bits
    columns = (
        Column("kind", CODE_BITS, "op", "what it computes"),
        Column("part", CODE_BITS, "unit", "the part of the chip that runs it"),
        Column("loops", 16, "", "how many loops over tiles it has"),
        Column("times", 32, "", "how often it runs, one run after another"),
        Column("start", 64, "cycle", "begin of the first run"),
        Column("stop", 64, "cycle", "end of the first run"),
        Column("period", 64, "cycle", "from the start of one run to that of the next"),
        *(Column(f"tile_{d}", 32, "", f"tile size along {d}; 0: not a dimension of the op") for d in dim.members[1:]),
        *(Column(f"loop_{i}", CODE_BITS, "dim", _loop_doc(i)) for i in range(depth)),
    )
    rows = tuple(_row(op, unit, kind, dim, depth) for op in ops)
    doc = "the schedule, in the order of the program"
    return (unit, kind, dim), tuple(split("ops", doc, columns, rows, tuple(op.name for op in ops)))


def split(
    name: str,
    doc: str,
    columns: tuple[Column, ...],
    rows: tuple[tuple[int, ...], ...],
    labels: Sequence[str] = (),
) -> Iterator[Table]:
    """The rows in tables that are no wider than a vector may be: `NAME`, `NAME_1`, ..."""
    most = max(1, WIDEST_TABLE // sum(c.bits for c in columns))
    for i, at in enumerate(range(0, len(rows), most)):
        called, said = (f"{name}_{i}", f"{doc}; continued") if i else (name, doc)
        yield Table(called, said, columns, rows[at : at + most], tuple(labels[at : at + most]))


def _loop_doc(i: int) -> str:
    return "outermost loop over tiles" if i == 0 else f"loop inside loop_{i - 1}; 0: none"


def _check(op: OpRow, parts: Sequence[str]) -> None:
    if snake(op.unit) not in parts:
        raise Diag("rtl-table", f"op `{op.name}` runs on `{op.unit}`, no part", hint=nearest(op.unit, parts))
    if op.end_cycle < op.start_cycle:
        raise Diag("rtl-table", f"op `{op.name}` ends in cycle {op.end_cycle}, before its start in {op.start_cycle}")
    folded = [snake(d) for d in op.tile]
    if len(set(folded)) < len(folded):
        raise Diag("rtl-collision", f"op `{op.name}` has dimensions that differ in case only: {', '.join(op.tile)}")
    foreign = [d for d in op.order if d not in op.tile]
    if foreign:
        raise Diag("rtl-table", f"op `{op.name}` loops over `{foreign[0]}`, which its tile does not have")


def _row(op: OpRow, unit: Enum, kind: Enum, dim: Enum, depth: int) -> tuple[int, ...]:
    tile = {snake(d): operator.index(n) for d, n in op.tile.items()}
    loops = [dim.members.index(snake(d)) for d in op.order]
    return (
        kind.members.index(snake(op.op)),
        unit.members.index(snake(op.unit)),
        len(op.order),
        *map(operator.index, (op.repeat, op.start_cycle, op.end_cycle, op.period)),
        *(tile.get(d, 0) for d in dim.members[1:]),
        *loops,
        *[0] * (depth - len(loops)),
    )
