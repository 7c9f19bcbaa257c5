"""What a sequencer needs of a mapping, as tables: loops over tiles, where operands lie, and descriptors of products.

Rows say the number of their op in the table `ops`. `next` pointers are row numbers of the same table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from dfcompiler.columns import Column as Mapped
from dfcompiler.diagnostics import Infeasible
from dfcompiler.graph import Graph
from dfcompiler.grouping import form_of
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.moves import INNER, kept
from dfcompiler.nest import Nest
from dfcompiler.problem import NestOperand, Problem
from dfcompiler.rtl.cores import core_of, product_core_of
from dfcompiler.rtl.descriptors import END, Descriptor, table
from dfcompiler.rtl.names import snake
from dfcompiler.rtl.nests import nest
from dfcompiler.rtl.params import Column, Table
from dfcompiler.rtl.products import product_of
from dfcompiler.rtl.programs import Program, program
from dfcompiler.rtl.schedule import split
from dfcompiler.schedule import columns_of, mapping_of
from dfcompiler.tiles import tiles_of

KINDS = ("read", "write", "local")
LINE_BYTES = 64  # buffers begin at multiples of it: a DRAM's access of two bursts of 32 bytes (our estimate)
OUTSIDE = 0xFF  # position of an operand that is kept across no loop


@dataclass(frozen=True)
class Placed:
    """An operand of an op: `count` buffers of `tile_bytes` from `base` on, `room_bytes` in all; `strides` are the
    bytes of the whole operand that each loop moves on by, tiles lying one after another in the order of the loops."""

    operand: str
    kind: str
    base: int
    room_bytes: int
    tile_bytes: int
    since: int
    strides: tuple[int, ...]


def placed(problem: Problem, unit: Unit, helper: Unit | None, column: Mapped) -> tuple[Placed, ...]:
    """Where the operands of a mapped op lie in the memory of an instance of its unit: one after another."""
    t = column.tiling
    size = {x.name: np.array([float(t.tile[x.name])]) for x in problem.loops}
    ways = {x.name: np.array([float(t.ways.get(x.name, 1))]) for x in problem.loops}
    priced = Nest(problem, unit, tiles_of(problem, unit, helper, size, ways), t.order)
    rooms = priced.rooms(priced.choices(t.keeps))[0][:, 0].tolist()
    found, at = [], 0
    for o, bytes_ in zip(problem.operands, rooms, strict=True):
        keep, room = kept(o, t.keeps), ceil(bytes_)
        tile = ceil(float(priced.tiles.elements[o.name][0]) * o.bits / 8)
        since = keep.since if keep and keep.where == INNER else OUTSIDE
        trips = {n: int(priced.tiles.trips[n][0]) for n in t.order}
        found.append(Placed(o.name, o.kind, at, room, tile, since, _strides(o, tile, t.order, trips)))
        at += -(-room // LINE_BYTES) * LINE_BYTES
    return tuple(found)


def _strides(o: NestOperand, tile: int, order: tuple[str, ...], trips: Mapping[str, int]) -> tuple[int, ...]:
    found, block = [], tile
    for name in reversed(order):
        found.append(block if name in o.loops else 0)
        block *= trips[name] if name in o.loops else 1
    return tuple(reversed(found))


def tables(graph: Graph, chip: Chip) -> tuple[Table, ...]:
    """The tables `loops`, `buffers`, `desc` and `constants` of a mapped graph; those without rows are left out.

    `desc` has a row for every op that is one product on a unit with a reference core, whose addresses are lines of
    whole operands, as `dfc rtl --simulate` lays them out; and the rows of every op that is a program for two units,
    whose addresses are lines of their scratchpad. `constants` are words of those.
    """
    parts = [snake(name) for name in chip.parts]
    mapped = [task.column for _, layer in mapping_of(graph).starts() for task in layer.solution.tasks]
    tiled = [(i, c, _form(graph, c)) for i, c in enumerate(mapped)]
    known = [(i, c, p) for i, c, p in tiled if p is not None]
    depth = max((len(c.tiling.order) for _, c, _ in known), default=0)
    loops = [row for i, c, p in known for row in _loops(i, c, p)]
    spots = [(i, c, p, placed(p, chip.units[c.unit], _helper(chip, c), c)) for i, c, p in known]
    buffers = [row for i, c, _, some in spots for row in _buffers(i, c, some, chip, parts, depth)]
    labels = [f"{c.nodes[-1]}: {o.operand}" for _, c, _, some in spots for o in some]
    found = [*split("loops", "loops over tiles, of each op from the outermost in", LOOPS, _linked(loops))]
    found += split(
        "buffers", "where operands lie in the memory of their unit", _columns(depth), _linked(buffers), labels
    )
    run = {i: _program(i, c, p, chip, parts) for i, c, p in known}
    if made := [d for one in run.values() for d in one.descriptors]:
        whole = table(made)
        found += split(whole.name, whole.doc, whole.columns, whole.rows, whole.labels)
    words = tuple((i, 0, line, word & WORD) for i, one in run.items() for line, word in sorted(one.constants.items()))
    found += split("constants", "words that fill a line each before an op runs", CONSTANTS, words)
    return tuple(found)


LOOPS = (
    Column("op", 16, "row", "the op in the table `ops`"),
    Column("following", 16, "row", f"the next loop inside of this one; {END}: none"),
    Column("position", 8, "", "0 is the outermost"),
    Column("sums", 8, "", "1 where turns build up sums, so that they run one after another"),
    Column("ways", 16, "", "over how many instances the whole loop is split"),
    Column("trips", 32, "", "turns of one instance"),
    Column("tile", 32, "", "points per turn"),
    Column("last", 32, "", "points of the last turn of an instance that has a whole share"),
)


CONSTANTS = (
    Column("op", 16, "row", "the op in the table `ops`"),
    Column("reserved", 16, "", "0"),
    Column("line", 32, "line", "of the scratchpad"),
    Column("word", 32, "", "what every word of it is"),
)
WORD = 0xFFFFFFFF


def _columns(depth: int) -> tuple[Column, ...]:
    strides = (
        Column(f"stride_{i}", 64, "B", f"by which a turn of loop {i} moves in the operand") for i in range(depth)
    )
    return (
        Column("op", 16, "row", "the op in the table `ops`"),
        Column("following", 16, "row", f"the next operand of the op; {END}: none"),
        Column("memory", 8, "unit", "the part that holds it"),
        Column("kind", 8, "", f"{', '.join(f'{i} {k}' for i, k in enumerate(KINDS))}"),
        Column("since", 8, "", f"the loop from which inwards it stays where it is; {OUTSIDE}: none"),
        Column("reserved", 8, "", "0"),
        Column("base", 64, "B", "first byte in the share of the unit"),
        Column("room", 64, "B", "bytes from there on, all buffers together"),
        Column("tile", 64, "B", "bytes of a whole tile"),
        *strides,
    )


def _form(graph: Graph, c: Mapped) -> Problem | None:
    """The loop nest that a column tiles; None for exchanges, and for whole kernels, which have no tiles."""
    p = columns_of(graph).problems.get(c.nodes)
    form = form_of(p, c.tiling.tile) if p else None
    return form if form and {x.name for x in form.loops} == set(c.tiling.tile) else None


def _helper(chip: Chip, c: Mapped) -> Unit | None:
    return chip.units.get(chip.units[c.unit].vector or "")


def _loops(op: int, c: Mapped, p: Problem) -> Iterator[tuple[int, ...]]:
    by_name = {x.name: x for x in p.loops}
    for at, name in enumerate(c.tiling.order):
        loop, tile, ways = by_name[name], c.tiling.tile[name], c.tiling.ways.get(name, 1)
        share = ceil(loop.size / ways)
        trips = ceil(share / tile)
        yield (op, END, at, int(loop.reduced), ways, trips, tile, share - (trips - 1) * tile)


def _buffers(
    op: int, c: Mapped, some: tuple[Placed, ...], chip: Chip, parts: list[str], depth: int
) -> Iterator[tuple[int, ...]]:
    memory = parts.index(snake(chip.units[c.unit].levels[-1].part))
    for o in some:
        strides = (*o.strides, *[0] * (depth - len(o.strides)))
        yield (op, END, memory, KINDS.index(o.kind), o.since, 0, o.base, o.room_bytes, o.tile_bytes, *strides)


def _linked(rows: list[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Rows whose second column, the pointer, names the next row of the same op, which is the first column."""
    after = [i + 1 if i + 1 < len(rows) and rows[i + 1][0] == row[0] else END for i, row in enumerate(rows)]
    return tuple((row[0], pointer, *row[2:]) for row, pointer in zip(rows, after, strict=True))


def _program(op: int, c: Mapped, p: Problem, chip: Chip, parts: list[str]) -> Program:
    """The descriptors of a mapped op on reference cores; none for what is no program of theirs."""
    unit, helper = chip.units[c.unit], _helper(chip, c)
    memory = parts.index(snake(unit.levels[-1].part))
    label = f"op {op}: {c.nodes[-1]}"
    codes = tuple(parts.index(snake(u.name)) for u in (unit, helper or unit))
    try:
        core = product_core_of(unit.template)
        if p.facts.work.terms and helper:
            found = program(
                p, c.tiling.tile, c.tiling.ways, (core, core_of(helper.template)), (codes[0], codes[1]), memory
            )
            return replace(found, descriptors=tuple(replace(d, label=f"{label}: {d.label}") for d in found.descriptors))
        one = product_of(p, c.tiling.tile, c.tiling.ways, c.tiling.order)
        walked = nest(core, one.extents, one.tile, one.order)
    except Infeasible:
        return Program((), {}, {}, 0)
    return Program((Descriptor(label, walked, unit=codes[0], buffers=(memory, memory, memory)),), {}, {}, 0)
