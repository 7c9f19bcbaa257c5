"""The state of the lazy engine in one box: compiled functions pass it on as one pointer, not as fifty arrays."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.experimental import structref

from dfcompiler.serving.layout import State


@structref.register
class BoxType(types.StructRef):  # type: ignore[misc]
    """The type of a box, for numba."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Types of the fields, without their literal values."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Box(structref.StructRefProxy):  # type: ignore[misc]
    """The arrays of a `State`, which it shares."""


structref.define_proxy(Box, BoxType, list(State._fields))


def box(state: State) -> Any:
    """A box with the arrays of this state."""
    return Box(*state)
