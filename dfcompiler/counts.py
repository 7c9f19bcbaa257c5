"""What an op works and moves, for one size or for many designs in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.clauses import clause_indices
from dfcompiler.diagnostics import Diag
from dfcompiler.facts import Array, Facts, facts
from dfcompiler.masks import Mask
from dfcompiler.opshape import OpShape, accesses, indices_of
from dfcompiler.reuse import written_before
from dfcompiler.scalars import Along, Floats, Ints, attributes, scalar
from dfcompiler.text import tree as t
from dfcompiler.work import index_set

_ROWS = 1 << 22  # rows of all designs at once
_DESIGN = "design"

Value: TypeAlias = int | float | Along


@dataclass(frozen=True)
class Counts:
    """Exact counts as arrays over `axes`, the named axes of the sizes and attributes asked for.

    `macs` are multiply-accumulates of contractions and `vector` scalar operations by kind; `read` and `written`
    are the elements of each operand that must move at least once, expected ones where a tensor's values decide.
    """

    axes: tuple[str, ...]
    macs: Ints
    vector: Mapping[str, Ints]
    read: Mapping[str, Floats]
    written: Mapping[str, Floats]


def counts(shape: OpShape, sizes: Mapping[str, Value], attrs: Mapping[str, Value] | None = None) -> Counts:
    """Work and compulsory traffic of an op, where any size and attribute is a number or an array along named axes.

    `counts(shape, {"t": Along(contexts, ("context",)), ...}, {"window": Along(windows, ("window",))})` counts every
    context with every window. Axes with the name of an attribute's own index are that index. Sizes that `dim` defines
    are left out. Raises Diag `bad-axes` where axes do not fit, `op-size` for a missing size, `bad-attribute`
    and `bad-mask`.
    """
    own = {a.name: a.dims for a in shape.attrs}
    given = {**sizes, **(attrs or {})}
    extents: dict[str, int] = {}
    for name, value in given.items():
        for axis, n in zip(value.axes, np.shape(value.values), strict=False) if isinstance(value, Along) else ():
            if axis not in own.get(name, ()) and extents.setdefault(axis, n) != n:
                raise Diag("bad-axes", f"the axis `{axis}` has {extents[axis]} values, but `{name}` has {n}")
    full = tuple(extents.values())
    flat = {n: _flat(v, own.get(n, ()), extents) for n, v in given.items()}
    block = max(1, _ROWS // _rows(shape, {n: int(np.max(flat[n])) for n in sizes}))
    parts = []
    for start in range(0, prod(full), block):
        some = {n: v[..., start : start + block] if isinstance(v, np.ndarray) else v for n, v in flat.items()}
        parts.append(_block(shape, {n: some[n] for n in sizes}, {n: some[n] for n in attrs or {}}))
    macs, vector, read, written = (
        {k: np.concatenate([np.atleast_1d(p[i][k]) for p in parts]).reshape(full) for k in parts[0][i]}
        for i in range(4)
    )
    return Counts(tuple(extents), macs["mac"], vector, read, written)


def moved(known: Facts, mask: Mask, operand: str, axes: Sequence[Array]) -> dict[str, Array]:
    """Elements of an operand of this shape that must be read and written at least once.

    A row that was written inside the op before need not be read: what an append writes, attention finds on chip.
    """
    count: dict[str, Array] = {}
    whole: Array = prod(axes, start=1.0)
    for way in ("read", "write"):
        each = [_elements(known, mask, p.subs, axes) for p in known.accessed(operand, way)]
        if way == "read":
            found = (written_before(known, mask, operand, p.subs, axes) for p in known.accessed(operand, way))
            each = [np.maximum(0.0, n - there) for n, there in zip(each, found, strict=True)]
        count[way] = np.minimum(whole, sum(each, start=0.0))
    return {way: n for way, n in count.items() if np.any(n)}


def _elements(known: Facts, mask: Mask, subs: tuple[t.Expr, ...], axes: Sequence[Array]) -> Array:
    """Elements that one access pattern touches: exact where it is plain, behind a look-up those expected, and no
    more than there are points that look up."""
    names = [s.name for s in subs if isinstance(s, t.Ref)]
    plain = len(names) == len(subs)
    looks = any(a.name in known.patterns for s in subs for a in accesses(s))
    asked = list(dict.fromkeys(i for s in subs for i in index_set(known.shape, s)))
    users = [s.indices for s in known.shape.body if set(asked) <= set(s.indices)]
    points = [mask.touched(indices, asked) for indices in users] if plain or looks else []
    if plain and points:
        return np.asarray(np.max(points, axis=0), dtype=np.float64)
    full: dict[str, Array] = {i: np.asarray(n, dtype=np.float64) for i, n in mask.sizes.items()}
    reached = known.reach_of(subs, full, mask.sizes, axes, alike=mask.attrs)  # a bound from below where shifts differ
    return np.minimum(reached, np.max(points, axis=0)) if points else reached


def _flat(value: Value, dims: Sequence[str], extents: Mapping[str, int]) -> Floats | int | float:
    """Values along named axes as `[the attribute's own indices..., designs]`; others as they are."""
    if not isinstance(value, Along):
        return value
    placed = value.placed((*dims, *extents))
    own = placed.shape[: len(dims)]
    return np.broadcast_to(placed, (*own, *extents.values())).reshape(*own, -1)


def _rows(shape: OpShape, most: Mapping[str, int]) -> int:
    """Rows that clauses may be gone through by, for one design."""
    used = {i: most.get(i, 1) for c in shape.where for i in clause_indices(shape, c)}
    return max(1, prod(used.values()) // max(used.values(), default=1))


def _block(
    shape: OpShape, sizes: Mapping[str, Floats | float], attrs: Mapping[str, Floats | float]
) -> tuple[dict[str, Ints], dict[str, Ints], dict[str, Floats], dict[str, Floats]]:
    """Counts of some designs: multiply-accumulates, scalar operations, elements read, elements written."""
    designs = (max((v.shape[-1] for v in (*sizes.values(), *attrs.values()) if isinstance(v, np.ndarray)), default=1),)
    extents = _extents(shape, sizes, attrs)
    dims = {a.name: a.dims for a in shape.attrs}
    named = {n: Along(v, (*dims.get(n, ()), _DESIGN)) if isinstance(v, np.ndarray) else v for n, v in attrs.items()}
    values = attributes(shape, extents, named, (_DESIGN,))
    mask, known = Mask(shape, extents, values, designs), facts(shape)
    macs, vector = np.zeros(designs, dtype=np.int64), dict[str, Any]()
    for c in known.work.contractions:
        macs = macs + mask.count(c.indices)
    for term in known.work.terms:
        vector[term.kind] = vector.get(term.kind, 0) + mask.count(term.indices)
    ways = {
        o.name: moved(known, mask, o.name, [np.asarray(scalar(d, extents, values, extents)) for d in o.dims])
        for o in shape.operands
    }
    read, written = (
        {n: np.broadcast_to(w[way], designs).astype(np.float64) for n, w in ways.items() if way in w}
        for way in ("read", "write")
    )
    return {"mac": macs}, vector, read, written


def _extents(
    shape: OpShape, sizes: Mapping[str, Floats | float], attrs: Mapping[str, Floats | float]
) -> dict[str, Any]:
    """The sizes as whole numbers, and those that `dim` defines."""
    found: dict[str, Any] = {n: v.astype(np.int64) if isinstance(v, np.ndarray) else int(v) for n, v in sizes.items()}
    for d in shape.dims:
        asked = {a.name: a.default for a in shape.attrs if not a.dims and a.name in indices_of(d.expr)}
        values = {n: np.asarray(scalar(e, found, {}, {})) for n, e in asked.items() if e}
        values |= {n: np.asarray(attrs[n]) for n in asked if n in attrs}
        extent = scalar(d.expr, found, values, {}).astype(np.int64)
        found.setdefault(d.name, extent if extent.ndim else int(extent))
    missing = [i for i in facts(shape).indices if i not in found]
    if missing:
        raise Diag("op-size", f"`{shape.name}` needs a size for {', '.join(f'`{i}`' for i in missing)}", shape.span)
    return found
