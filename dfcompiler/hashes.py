"""Hashes of deep trees that are computed once: what is looked up by an op's text goes through all of it but once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)
_KEPT = "_hash"


def hashed_once(kind: Kind) -> Kind:
    """A frozen dataclass that remembers its hash. Text hashes differently in another process: it is not pickled."""
    first: Callable[[Any], int] = vars(kind)["__hash__"]

    def remembered(self: Any) -> int:
        found = self.__dict__.get(_KEPT)
        if found is None:
            found = first(self)
            object.__setattr__(self, _KEPT, found)
        return int(found)

    def state(self: Any) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != _KEPT}

    for name, method in (("__hash__", remembered), ("__getstate__", state)):
        setattr(kind, name, method)
    return kind
