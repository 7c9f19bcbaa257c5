"""The state of the lazy engine in one box: compiled functions pass it on as one pointer, not as fifty arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import boolean, float64, int8, int32, int64, types
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


ARRAYS = {"Bits": int8[::1], "Small": int32[::1], "Large": int64[::1], "Reals": float64[::1]}
KINDS = {
    "State": BoxType([(name, ARRAYS[kind.__forward_arg__]) for name, kind in State.__annotations__.items()]),
    "int": int64,
    "float": float64,
    "bool": boolean,
}


def signature(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    """The types of a function's parameters by its annotations; None where they hold for arrays of several types."""
    names = [kind for name, kind in function.__annotations__.items() if name != "return"]
    return tuple(KINDS[name] for name in names) if all(name in KINDS for name in names) else None


def box(state: State) -> Any:
    """A box with the arrays of this state."""
    return Box(*state)
