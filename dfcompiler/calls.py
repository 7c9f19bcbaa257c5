"""Calling an op: the types of its results, names for them, and errors that point at the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dfcompiler.diagnostics import Diag, Note, Span
from dfcompiler.dtypes import DtypeMap
from dfcompiler.graph import Tensor, TensorType
from dfcompiler.opshape import OpShape, operand_axes


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


def result_types(shape: OpShape, sizes: Mapping[str, int], dtypes: DtypeMap) -> list[TensorType]:
    """Types of an op's results: shapes from the declaration, element types by role."""
    types = []
    for o in shape.results:
        within = sizes[o.within] if o.within else None
        types.append(TensorType(dtypes.of(o.role), operand_axes(o, sizes), within, bool(o.distinct)))
    return types


def at_call(error: Diag, span: Span | None, args: Sequence[Tensor]) -> Diag:
    """A fault found in an op's declaration, moved to where the op is called with these operands."""
    shapes = ", ".join(f"`{a.name}` {list(a.type.shape)}" for a in args)
    place = [Note("declared here", error.span)] if error.span else []
    return Diag(
        error.code, error.message, span, notes=[*error.notes, *place, Note(f"operands: {shapes}")], hint=error.hint
    )
