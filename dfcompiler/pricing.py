"""One op on a chip: its best tiling over all units, without a graph around it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from dfcompiler.amounts import pairs
from dfcompiler.calls import check_distinct, result_types
from dfcompiler.collectives import across
from dfcompiler.columns import column
from dfcompiler.compose import single
from dfcompiler.diagnostics import Diag, Infeasible, nearest, unknown
from dfcompiler.dtypes import DtypeMap, parse_dtypes
from dfcompiler.frames import Columns, Tabular
from dfcompiler.graph import Graph, Node, Tensor, TensorType
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.models import library
from dfcompiler.opshape import bind, evaluate, operand_axes
from dfcompiler.problem import Problem, problem
from dfcompiler.remedies import advice, suggestion
from dfcompiler.report import bound_by, utilization
from dfcompiler.tables import level_columns
from dfcompiler.text import tree as t
from dfcompiler.tiles import axes
from dfcompiler.tiling import Tiling, search

# Of a price, what is a number or a name.
PRICED = "op chip unit latency_s compute_s memory_s cycles utilization bound candidates seconds".split()
MOST_TILINGS = 200_000_000  # of one op on all units: some ten seconds, our estimate


@dataclass(frozen=True)
class Priced(Tabular):
    """One op on one unit at its best tiling; see the command line's contract for the units. Its table is one row."""

    op: str
    chip: str
    unit: str
    latency_s: float
    compute_s: float
    memory_s: float
    cycles: float
    bytes: Mapping[str, float]
    tile: Mapping[str, int]
    ways: Mapping[str, int]
    order: tuple[str, ...]
    keep: Mapping[str, str]
    utilization: float
    bound: str
    candidates: int
    seconds: float

    def title(self) -> str:
        """The op, the chip and the unit."""
        return f"{self.op} on {self.unit} of {self.chip}"

    def columns(self) -> Columns:
        """One row; tiles, splits, loops and what is kept as text."""
        texts = {"tile": pairs(self.tile), "ways": pairs(self.ways), "keep": pairs(self.keep)}
        plain = {name: getattr(self, name) for name in PRICED} | texts | {"order": " ".join(self.order)}
        return {name: [value] for name, value in plain.items()} | level_columns([self.bytes])


def price_op(
    op: str, dims: Mapping[str, Sequence[float]], chip: Chip, *, dtype: str = "w16a16kv16", unit: str | None = None
) -> Priced:
    """The best tiling of one op over all units of a chip (or on `unit`).

    `dims` gives the extent of every index, several for a pack of that many dimensions, and scalar attributes.
    Raises Diag for unknown names, missing sizes, exchanges between devices and `too-many-tilings`, Infeasible
    `no-mapping` with every unit's reason.
    """
    start = time.process_time()
    found = map_op(op, dims, chip, dtype=dtype, unit=unit)
    p, u, tiling, candidates = found.problem, found.unit, found.tiling, found.candidates
    chosen = column(p, u, tiling, chip)
    per_s = 1 / chip.clock_hz
    return Priced(
        op=op,
        chip=chip.name,
        unit=u.name,
        latency_s=tiling.cycles * per_s,
        compute_s=tiling.compute_cycles * per_s,
        memory_s=tiling.memory_cycles * per_s,
        cycles=tiling.cycles,
        bytes=dict(tiling.level_bytes),
        tile=dict(tiling.tile),
        ways=dict(tiling.ways),
        order=tiling.order,
        keep={k.operand: k.where for k in tiling.keeps},
        utilization=utilization(p, u, chip.units.get(chosen.helper or ""), tiling.cycles),
        bound=bound_by(chosen),
        candidates=candidates,
        seconds=time.process_time() - start,
    )


@dataclass(frozen=True)
class MappedOp:
    """One op on one unit at its best tiling, of so many candidates on all units."""

    node: str
    problem: Problem
    unit: Unit
    tiling: Tiling
    candidates: int


def map_op(
    op: str, dims: Mapping[str, Sequence[float]], chip: Chip, *, dtype: str = "w16a16kv16", unit: str | None = None
) -> MappedOp:
    """The best tiling of one op over all units of a chip (or on `unit`); raises as `price_op` does."""
    decls = library().ops
    if op not in decls:
        raise unknown("op", op, decls)
    if unit is not None and unit not in chip.units:
        raise unknown("unit", unit, chip.units)
    if across(decls[op]):
        hint = "`dfc compile --tp N` prices exchanges on the links of a chip"
        raise Diag("bad-exchange", f"`{op}` lies between devices: one chip alone has no price for it", hint=hint)
    dtypes = parse_dtypes(dtype)
    graph, node = op_graph(decls[op], dims, dtypes)
    p = problem(single(graph, node), dtypes)
    units = [u for u in chip.units.values() if unit in (None, u.name)]
    _check_search(p, units, decls[op])
    best, reasons, candidates = None, [], 0
    for u in units:
        found = search(p, u, chip.units.get(u.vector or ""), (1.0,))
        candidates += found.candidates
        reasons.append(f"{u.name}: {found.why}")
        for tiling in found.tilings:
            if best is None or tiling.cycles < best[1].cycles:
                best = (u, tiling)
    if best is None:
        offered = {u.name: change for u in units if (change := suggestion(p, u, chip))}
        message = f"no unit can run `{op}`:\n  " + "\n  ".join(reasons)
        raise Infeasible("no-mapping", message, hint=advice(offered, p))
    u, tiling = best
    return MappedOp(node.name, p, u, tiling, candidates)


def _check_search(p: Problem, units: Sequence[Unit], decl: t.OpDecl) -> None:
    """Raise Diag `too-many-tilings` before a search of minutes begins."""
    searched = [u for u in units if not isinstance(u.template, KernelCompute)]  # others have one way to run an op
    count = sum(prod(map(len, sizes)) for u in searched for sizes, _ in axes(p, u))
    if count > MOST_TILINGS:
        loops = ", ".join(f"`{x.name}` {x.size:,}" for x in p.loops)
        message = f"`{decl.name}` has {count:.2g} tilings with loops {loops}; up to {MOST_TILINGS:.2g} are searched"
        raise Diag("too-many-tilings", message, decl.span, hint="smaller sizes, or one unit with `--unit`")


def op_graph(decl: t.OpDecl, dims: Mapping[str, Sequence[float]], dtypes: DtypeMap) -> tuple[Graph, Node]:
    """A graph of one node with operands of the given extents."""
    packs = {d.name for p in decl.params for d in p.type.dims if isinstance(d, t.Pack)}
    attrs = {s.name for s in decl.body if isinstance(s, t.Attr)}
    defined = {s.name for s in decl.body if isinstance(s, t.DimDef)}
    indices = {d.name for p in decl.params for d in p.type.dims if isinstance(d, t.Ref | t.DeviceDim)} - defined
    for name, values in dims.items():
        if name not in packs | attrs | indices:
            raise unknown(f"dimension of {decl.name}", name, packs | attrs | indices)
        if name not in packs and len(values) != 1:
            raise Diag("bad-size", f"`{name}` wants one number, got {len(values)}")
        if name not in attrs and any(v < 1 or v != int(v) or v > 1 << 40 for v in values):
            raise Diag(
                "bad-size", f"`{name}` must be a whole number from 1 to 2^40, got {', '.join(f'{v:g}' for v in values)}"
            )
    missing = sorted((indices | packs) - set(dims))
    if missing:
        raise Diag(
            "bad-size",
            f"`{decl.name}` needs a size for {', '.join(f'`{m}`' for m in missing)}",
            hint=nearest("", packs | indices),
        )
    given = {n: tuple(int(v) for v in vs) for n, vs in dims.items() if n not in attrs}
    shape = bind(
        decl,
        tuple(
            sum(len(given.get(d.name, ())) if isinstance(d, t.Pack) else 1 for d in p.type.dims) for p in decl.params
        ),
    )
    sizes = {i: v for n, vs in given.items() for i, v in zip(_pack_names(n, len(vs), n in packs), vs, strict=True)}
    scalars = {n: vs[0] for n, vs in dims.items() if n in attrs}
    for d in shape.dims:
        value = evaluate(d.expr, sizes, scalars, {a.name: a.default for a in shape.attrs if a.default is not None})
        if value is not None:
            sizes.setdefault(d.name, value)
    operands = []
    for o in shape.params:
        kind = {"w": "weight", "kv": "state"}.get(o.role or "", "input")
        within = sizes.get(o.within) if o.within else None
        type_ = TensorType(dtypes.of(o.role), operand_axes(o, sizes), within, bool(o.distinct))
        check_distinct(o, type_)
        operands.append(Tensor(o.name, type_, kind))
    types = result_types(shape, sizes, dtypes, scalars)
    results = tuple(Tensor(f"{o.name}.", ty) for o, ty in zip(shape.results, types, strict=True))
    node = Node(decl, tuple(x.name for x in operands), results, tuple(scalars.items()))
    return Graph(decl.name, (*operands, node), tuple(r.name for r in results)), node


def _pack_names(name: str, count: int, pack: bool) -> list[str]:
    return [name] if not pack or count == 1 else [f"{name}{i}" for i in range(count)]
