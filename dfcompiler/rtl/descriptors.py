"""Descriptors for a sequencer: a row per mapped op, laid out so that a packed struct and a C struct have the same bits.

Every column lies at a multiple of its own width, so a C compiler adds no padding, and the first column has the lowest
bits of the row and the lowest address in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dfcompiler.rtl.nests import DIMS, LEVELS, OPERANDS, Nest
from dfcompiler.rtl.params import Column, Table, packed

END = 0xFFFF  # what `next` says where none follows
ALL = 0xFFFFFFFF  # the step of a level that is not used: all at once
WORD = 32


@dataclass(frozen=True)
class Descriptor:
    """One op for a sequencer. `unit` and `buffers` are codes of parts of the chip, bases are lines of the buffers."""

    label: str
    nest: Nest
    opcode: int = 0
    unit: int = 0
    amount: int = 0
    buffers: tuple[int, int, int] = (0, 0, 0)
    bases: tuple[int, int, int] = (0, 0, 0)
    next: int | None = field(default=None)


def columns() -> tuple[Column, ...]:
    """The columns of a descriptor; `dfc_sequencer.sv` reads them by their places."""
    return (
        Column("opcode", 8, "", "what the unit does, where it can do several things"),
        Column("part", 8, "unit", "the part of the chip that runs it"),
        Column("amount", 8, "bit", "products are shifted right by so much, where the unit asks for it"),
        *(Column(f"{o}_buffer", 8, "unit", f"the memory that {said}") for o, said in _OPERANDS.items()),
        Column("following", 16, "row", f"the next descriptor; {END}: none"),
        *(Column(f"extent_{d}", WORD, "", f"points along {d}: {_DIMS[d]}") for d in DIMS),
        *(Column(f"{o}_base", WORD, "line", f"first line of what {said}") for o, said in _OPERANDS.items()),
        *(Column(f"dim_{i}", 8, "", f"dimension of level {i}: 0 b, 1 m, 2 n, 3 k") for i in range(LEVELS)),
        Column("levels", 8, "", "levels in use, those with the highest numbers; level 0 is the outermost"),
        *(c for i in range(LEVELS) for c in _level(i)),
    )


_OPERANDS = {"x": "streams", "w": "is stationary", "y": "results go to"}
_DIMS = {"b": "batch", "m": "rows of x and y", "n": "columns of w and y", "k": "what is summed"}


def _level(i: int) -> tuple[Column, ...]:
    strides = (Column(f"{o}_stride_{i}", WORD, "line", f"by which {o} moves per turn of level {i}") for o in OPERANDS)
    return (Column(f"step_{i}", WORD, "", f"points per turn of level {i}; less in its last one"), *strides)


def table(descriptors: Sequence[Descriptor], name: str = "desc") -> Table:
    """The table of these descriptors, each followed by the next one unless it says otherwise."""
    rows = tuple(_row(d, i, len(descriptors)) for i, d in enumerate(descriptors))
    return Table(name, "descriptors for a sequencer", columns(), rows, tuple(d.label for d in descriptors))


def _row(d: Descriptor, at: int, count: int) -> tuple[int, ...]:
    following = d.next if d.next is not None else at + 1 if at + 1 < count else END
    idle = LEVELS - len(d.nest.turns)
    dims = [*(0 for _ in range(idle)), *(DIMS.index(x.dim) for x in d.nest.turns)]
    levels = [
        *(v for _ in range(idle) for v in (ALL, 0, 0, 0)),
        *(v for x in d.nest.turns for v in (x.step, *(x.strides[o] for o in OPERANDS))),
    ]
    extents = (d.nest.extents[i] for i in DIMS)
    return (
        *(d.opcode, d.unit, d.amount, *d.buffers, following, *extents, *d.bases, *dims),
        *(len(d.nest.turns), *levels),
    )


def image(table: Table) -> str:
    """The rows for `$readmemh`: one hexadecimal number a line."""
    digits = -(-sum(c.bits for c in table.columns) // 4)
    return "".join(f"{packed(table, row):0{digits}x}\n" for row in table.rows)
