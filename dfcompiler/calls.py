"""Calling an op: the types of its results, names for them, and errors that point at the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from dfcompiler.diagnostics import Diag, Note, Span
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import Tensor, TensorType
from dfcompiler.opshape import Operand, OpShape, operand_axes
from dfcompiler.scalars import attributes


@dataclass
class Names:
    """Hands out names that are unique: the name itself, then numbered."""

    taken: dict[str, int] = field(default_factory=dict)

    def fresh(self, name: str) -> str:
        """`name`, or `name_1`, `name_2`, ... where it is taken."""
        if name not in self.taken:
            self.taken[name] = 0
            return name
        self.taken[name] += 1
        numbered = f"{name}_{self.taken[name]}"
        if numbered in self.taken:
            return self.fresh(name)
        self.taken[numbered] = 0
        return numbered


def result_types(
    shape: OpShape, sizes: Mapping[str, int], dtypes: DtypeMap, attrs: Mapping[str, object]
) -> list[TensorType]:
    """Types of an op's results: shapes from the declaration, element types by role, skew by attribute.

    Raises Diag `bad-attribute`, `bad-size`.
    """
    types = []
    for o in shape.results:
        within = sizes[o.within] if o.within else None
        skew = skew_of(shape, o, sizes, attrs)
        types.append(TensorType(dtypes.of(o.role), operand_axes(o, sizes), within, bool(o.distinct), skew))
        check_distinct(o, types[-1])
    return types


def check_distinct(o: Operand, kind: TensorType) -> None:
    """Raise Diag `bad-size` where an index tensor would need more different places than there are."""
    if kind.distinct and kind.within is not None and kind.shape[-1] > kind.within:
        message = f"`{o.name}` cannot point to {kind.shape[-1]} different places out of {kind.within}"
        raise Diag("bad-size", message, o.span, hint=f"`{o.distinct}` is at most `{o.within}`")


def skew_of(shape: OpShape, o: Operand, sizes: Mapping[str, int], attrs: Mapping[str, object]) -> float:
    """How unlike in popularity the places are that an operand points to, by the attribute that says so.

    Raises Diag `bad-attribute` for what is negative or no number.
    """
    if o.skewed is None:
        return 0.0
    values = attributes(shape, sizes, attrs)
    value = values[o.skewed] if o.skewed in values else np.empty(0)
    if value.ndim or not 0 <= value < inf:
        raise Diag("bad-attribute", f"`{o.skewed}` of `{shape.name}` must be a number that is not negative", o.span)
    return float(value)


def at_call(error: Diag, span: Span | None, args: Sequence[Tensor]) -> Diag:
    """A fault found in an op's declaration, moved to where the op is called with these operands."""
    shapes = ", ".join(f"`{a.name}` {list(a.type.shape)}" for a in args)
    place = [Note("declared here", error.span)] if error.span else []
    return Diag(
        error.code, error.message, span, notes=[*error.notes, *place, Note(f"operands: {shapes}")], hint=error.hint
    )
