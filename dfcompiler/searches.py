"""Searches of earlier runs: what was found for a problem on a unit is found once.

A search depends on the content of a problem (names aside, but it answers in the problem's names), on all numbers of the
chip, and on the code of the engine and of the chip's templates with those that they derive from. `cache` keeps it under
the hash of these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from dfcompiler.cache import kept
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Chip
from dfcompiler.moves import Keep
from dfcompiler.tiling import Search, Tiling


def found_before(chip: Chip, asked: object, search: Callable[[], Search]) -> Search:
    """`search()`, or what it gave in an earlier run for the same `asked`, a value whose text says all that it is."""
    families = {c for p in chip.parts.values() for c in type(p.template).__mro__ if issubclass(c, Template)}
    sources = sorted({inspect.getfile(c) for c in families})
    inputs = (b"search", chip.fingerprint().encode(), repr(asked).encode(), *(_source(x) for x in sources))
    return _search(kept(inputs, lambda: asdict(search())))


@lru_cache(maxsize=256)
def _source(path: str) -> bytes:
    return Path(path).read_bytes()


def _search(plain: dict[str, Any]) -> Search:
    return Search(tuple(_tiling(x) for x in plain["tilings"]), plain["candidates"], plain["why"])


def _tiling(plain: dict[str, Any]) -> Tiling:
    return Tiling(**{**plain, "order": tuple(plain["order"]), "keeps": tuple(Keep(**k) for k in plain["keeps"])})
