"""All mapped ops of a graph, each distinct one once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from dfcompiler.audit.check import Fault, check
from dfcompiler.audit.claim import claim
from dfcompiler.audit.rules import ROUNDING
from dfcompiler.audit.small import describe, mapped_as, scaled
from dfcompiler.columns import Column
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Diag, Infeasible, Note
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import Graph
from dfcompiler.grouping import form_of, routed
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.pins import with_pins
from dfcompiler.problem import Problem, problem
from dfcompiler.replay import Mapped
from dfcompiler.rows import own_rows
from dfcompiler.schedule import columns_of
from dfcompiler.verify import shrink

BUDGET_S = 8.0  # processor time
POINTS = 10_000  # of a statement, or elements of a tensor, up to which a mapping is run as it is


@dataclass(frozen=True)
class Audit:
    """How many distinct mapped ops were run, and those that were not, with the reason."""

    run: int
    left: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        left = "".join(f"; not `{name}`: {why}" for name, why in self.left)
        return f"{self.run} mapped ops executed tile by tile: values, bytes, time agree{left}"


def audit(
    graph: Graph,
    chip: Chip,
    dtypes: DtypeMap,
    *,
    small: Graph | None = None,
    seed: int = 0,
    budget_s: float = BUDGET_S,
) -> Audit:
    """Run every distinct mapped op of a mapped graph; `small` is the graph at small sizes, where `shrink` cannot make
    it: on devices.

    Raises Diag `wrong-nest` for the first that differs: it names the op, the tensor, the level, what is claimed and
    what was counted.
    """
    start, small, ran = time.process_time(), small or shrink(graph), 0
    left: list[tuple[str, str]] = []
    for column in _distinct(graph):
        if isinstance(chip.units[column.unit].template, KernelCompute):
            left = left or [(column.nodes[0], "nor others: a whole kernel of a library has no tiles to execute")]
            continue
        if ran and time.process_time() - start > budget_s:
            left.append((column.nodes[0], f"{budget_s:g} s are over"))
            continue
        large = _mapped(with_pins(columns_of(graph).problems[column.nodes], column.pins), chip, column)
        _recorded(graph, column, large)
        try:
            for mapped in _instances(large, small, column, dtypes):
                for fault in check(mapped, seed).faults:
                    raise _wrong(graph, column, mapped, fault)
        except Infeasible as no:
            left.append((column.nodes[0], no.message))
            continue
        ran += 1
    return Audit(ran, tuple(left))


def chosen(graph: Graph) -> tuple[Column, ...]:
    """The columns that a mapper chose; none where none has run."""
    layers = graph.mapping.layers if graph.mapping else ()
    return tuple(t.column for layer in layers for t in layer.solution.tasks)


def _distinct(graph: Graph) -> Iterator[Column]:
    """The columns that were chosen, but for those that differ from an earlier one in names only."""
    problems, seen = columns_of(graph).problems, set()
    for column in (c for c in chosen(graph) if c.nodes in problems):  # exchanges have no tiles
        g = problems[column.nodes].group
        how = g.sizes, g.attrs, g.types.values(), column.unit, column.tiling, len(column.pins)
        key = replace(g.shape, name=""), repr(how)
        if key not in seen:
            seen.add(key)
            yield column


def _mapped(p: Problem, chip: Chip, column: Column) -> Mapped:
    unit = chip.units[column.unit]
    return mapped_as(form_of(p, column.tiling.tile), unit, chip.units.get(unit.vector or ""), column.tiling)


def _instances(large: Mapped, small: Graph, column: Column, dtypes: DtypeMap) -> Iterator[Mapped]:
    """What is run for a mapping: itself where it is small, else two small ones, with whole tiles and ragged ones."""
    if _extent(large.problem) <= POINTS and large.problem.crowd is None:
        yield large
        return
    joined = group(small, column.nodes)
    if not isinstance(joined, Group):
        raise Diag("wrong-nest", f"{', '.join(column.nodes)} cannot run as one op: {joined.why}", joined.span)
    own = own_rows(joined)
    p = with_pins(problem(routed(own, large.size) or own, dtypes), column.pins)
    both = [scaled(large, p, even=even) for even in (True, False)]
    yield from both[: 1 if both[0] == both[1] else 2]


def _extent(p: Problem) -> int:
    points = (prod(p.group.sizes[i] for i in s.indices if i in p.group.sizes) for s in p.group.shape.body)
    return max(*points, *(prod(x.shape) for x in p.group.types.values()))


def _recorded(graph: Graph, column: Column, large: Mapped) -> None:
    """The numbers of the column must be those of the cost model for its tiling."""
    tiling = column.tiling
    said = claim(large, (tiling.share,))
    levels = [x.part for x in large.unit.levels]
    names = {levels[0]: "dram", **({levels[-2]: "above"} if len(levels) > 2 else {}), levels[-1]: "inner"}
    pairs = {part: (tiling.level_bytes[part], said.bytes[name]) for part, name in names.items()}
    pairs["time"] = (tiling.cycles, said.cycles[tiling.share])
    for what, (noted, priced) in pairs.items():
        if abs(noted - priced) > ROUNDING * 10 * max(abs(priced), 1.0):
            raise _wrong(graph, column, large, Fault(what, "", noted, priced, "must be what the cost model says"))


def _wrong(graph: Graph, column: Column, mapped: Mapped, fault: Fault) -> Diag:
    node = graph.nodes[column.nodes[0]]
    ops = "+".join(graph.nodes[n].op.name for n in column.nodes)
    op = f"`{', '.join(column.nodes)}` ({ops}) on `{column.unit}`"
    parts = dict(zip(("dram", "above", "inner"), _parts(mapped), strict=True))
    if fault.what == "value":
        message = f"{op}: `{fault.tensor}` is {fault.counted!r} tile by tile and {fault.claimed!r} by its text"
        message += f" ({fault.why})"
    elif fault.what == "time":
        message = f"{op}: {fault.claimed:,.1f} cycles are claimed, {fault.counted:,.1f} counted ({fault.why})"
    else:
        where = parts.get(fault.what, fault.what)
        message = (
            f"{op}: {fault.claimed:,.1f} B of `{fault.tensor}` at `{where}` are claimed, {fault.counted:,.1f} counted"
        )
        message += f" ({fault.why})"
    tiles = ", ".join(f"{n} {w}" for n, w in describe(mapped).items())
    kept = ", ".join(f"{k.operand} {k.where} from {k.since}" for k in mapped.keeps) or "none"
    notes = [Note(f"run with size:tile/instances {tiles}; order {' '.join(mapped.order) or '-'}; kept: {kept}")]
    return Diag("wrong-nest", message, node.op.span, notes=notes)


def _parts(mapped: Mapped) -> tuple[str, str, str]:
    levels = [x.part for x in mapped.unit.levels]
    return levels[0], levels[-2], levels[-1]
