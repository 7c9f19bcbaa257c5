"""Devices on a mesh: its axes in a graph's text, and how the indices of an op lie on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from dfcompiler.diagnostics import Diag, Note, unknown
from dfcompiler.graph import device_index
from dfcompiler.opshape import Operand, OpShape
from dfcompiler.sharding import groups_of, split
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t

Mesh = Mapping[str, int]
Over = Mapping[str, tuple[str, ...]]


def read_mesh(stmts: Sequence[t.GStmt]) -> dict[str, int]:
    """The mesh that a graph's text declares; raises Diag `bad-mesh` for sizes that are not whole and positive."""
    mesh: dict[str, int] = {}
    for s in stmts:
        for axis in s.axes if isinstance(s, t.GMesh) else ():
            if not isinstance(axis.value, int) or axis.value < 1:
                raise Diag("bad-mesh", f"axis `{axis.name}` wants a positive number of devices", axis.span)
            if axis.name in mesh:
                raise Diag("bad-mesh", f"axis `{axis.name}` is declared twice", axis.span)
            mesh[axis.name] = axis.value
    return mesh


def read_over(s: t.GNode, mesh: Mesh) -> dict[str, tuple[str, ...]]:
    """Which indices a node's text spreads over the mesh; raises Diag `unknown-axis` and `bad-split`."""
    for o in s.over:
        for axis in o.axes:
            if axis not in mesh:
                raise unknown("axis", axis, mesh, o.span)
    found = {o.index: o.axes for o in s.over}
    if len(found) < len(s.over) or any(len(set(axes)) < len(axes) for axes in found.values()):
        raise Diag("bad-split", f"`{s.op}` spreads an index twice", s.span)
    return found


def check_over(s: t.GNode, op: t.OpDecl, shape: OpShape) -> None:
    """Raise Diag `unknown-index` or `bad-split` where the op has no such index or it cannot be split."""
    known = {d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)}
    across = any(device_index(p) for p in (*op.params, *op.results))
    led = {g for o in s.over for g in groups_of(shape, o.index)}
    for o in s.over:
        if o.index not in known:
            raise unknown("index", o.index, known, o.span)
        answer = None if across or o.index in led else split(shape, o.index)
        if isinstance(answer, Blocked):
            message = f"`{o.index}` of `{s.op}` cannot be split: {answer.why}"
            raise Diag("bad-split", message, o.span, notes=[Note("it is declared here", answer.span)])


def whole_sizes(sizes: Mapping[str, int], over: Over, mesh: Mesh) -> dict[str, int]:
    """Extents over all devices, from those of one device."""
    return {i: size * prod(mesh[a] for a in over.get(i, ())) for i, size in sizes.items()}


def own_result(o: Operand, declared: t.Param, over: Over) -> Operand:
    """A result as one device holds it: without the axis of devices."""
    return replace(o, dims=o.dims[1:]) if device_index(declared) in over else o
