"""The state of the lazy engine for compiled functions: one pointer to the addresses of its arrays.

Arrays passed as they are would be fifty arguments of seven words each, with references counted at every call.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import boolean, float64, int8, int32, int64, types
from numba.core import cgutils
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    overload,
    register_model,
    typeof_impl,
    unbox,
)

from dfcompiler.serving.layout import State


class Pointers:
    """The addresses of the arrays of a state, which live as long as this does."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.addresses = np.array([getattr(state, name).ctypes.data for name in FIELDS], dtype=np.uintp)
        self.address = int(self.addresses.ctypes.data)


class PointersType(types.Type):  # type: ignore[misc]
    """The type of `Pointers`, for numba."""

    def __init__(self) -> None:
        super().__init__(name="Pointers")


POINTERS = PointersType()
ENTRIES = {"Bits": int8, "Small": int32, "Large": int64, "Reals": float64}
FIELDS = {
    name: (place, types.CPointer(ENTRIES[kind])) for place, (name, kind) in enumerate(State.__annotations__.items())
}
KINDS = {"State": POINTERS, "int": int64, "float": float64, "bool": boolean}

register_model(PointersType)(models.OpaqueModel)


@typeof_impl.register(Pointers)  # type: ignore[untyped-decorator]
def _typeof(value: Pointers, context: Any) -> PointersType:
    return POINTERS


@unbox(PointersType)  # type: ignore[untyped-decorator]
def _unbox(kind: PointersType, value: Any, c: Any) -> Any:
    address = c.pyapi.object_getattr_string(value, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = PointersType

    def generic_resolve(self, kind: PointersType, name: str) -> Any:
        return FIELDS[name][1] if name in FIELDS else None


@lower_getattr_generic(PointersType)  # type: ignore[untyped-decorator]
def _getattr(context: Any, builder: Any, kind: PointersType, value: Any, name: str) -> Any:
    place, entry = FIELDS[name]
    addresses = builder.bitcast(value, context.get_value_type(types.CPointer(types.CPointer(int8))))
    address = builder.load(builder.gep(addresses, [context.get_constant(types.intp, place)]))
    return builder.bitcast(address, context.get_value_type(entry))


@overload(bisect_right)  # type: ignore[untyped-decorator]
def _bisect_right(a: Any, x: Any, lo: Any, hi: Any) -> Any:
    """The function of Python's library, of which numba has none."""

    def found(a: Any, x: Any, lo: Any, hi: Any) -> Any:
        while lo < hi:
            middle = (lo + hi) >> 1
            if x < a[middle]:
                hi = middle
            else:
                lo = middle + 1
        return lo

    return found if isinstance(a, types.CPointer) else None


def signature(function: Callable[..., Any]) -> tuple[Any, ...] | None:
    """The types of a function's parameters by its annotations; None where they hold for arrays of several types."""
    names = [kind for name, kind in function.__annotations__.items() if name != "return"]
    return tuple(KINDS[name] for name in names) if all(name in KINDS for name in names) else None
