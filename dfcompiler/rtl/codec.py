"""Frozen dataclasses of strings, numbers and tuples, read back from JSON with every type checked."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from dfcompiler.diagnostics import Diag

T = TypeVar("T")


def decode(cls: type[T], data: object, where: str) -> T:
    """The dataclass `cls` that the JSON object `data` holds; raises `rtl-json` naming the place that is wrong."""
    if not isinstance(data, dict):
        raise _wrong(where, "an object", data)
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cast(Any, cls))}
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise Diag("rtl-json", f"{where} has an unknown key `{unknown[0]}`", hint=f"known: {', '.join(known)}")
    missing = [n for n, f in known.items() if n not in data and f.default is MISSING]
    if missing:
        raise Diag("rtl-json", f"{where} has no `{missing[0]}`")
    return cls(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in data.items()})


def _value(hint: Any, value: object, where: str) -> object:
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return decode(cast("type[Any]", hint), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Literal:
        if value not in args:
            raise _wrong(where, " or ".join(args), value)
        return value
    allowed = args if origin in (Union, types.UnionType) else (hint,)
    if type(value) not in allowed:  # not isinstance: true is no number
        raise _wrong(where, " or ".join(t.__name__ for t in allowed), value)
    return value


def _wrong(where: str, wanted: str, value: object) -> Diag:
    return Diag("rtl-json", f"{where} is {value!r:.60}, not {wanted}")
