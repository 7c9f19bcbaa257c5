"""Searches of earlier runs: what was found for a problem on a unit is found once.

A search depends on the content of a problem (names aside, but it answers in the problem's names), on all numbers of the
unit and of the one beside it, on the engine's code, and on the files beside their templates and those that they derive
from. `cache` keeps it under the hash of these: chips that differ in other parts share it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dfcompiler.cache import kept
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Unit
from dfcompiler.moves import Keep
from dfcompiler.problem import Problem
from dfcompiler.tiling import Search, Tiling


@dataclass(frozen=True)
class Known:
    """A search that was done, and within how many cycles for each share."""

    problem: Problem
    limits: Mapping[float, float]
    found: Search

    def answers(self, limits: Mapping[float, float], spent: bool) -> bool:
        """Whether it says what a search within these limits would, or more."""
        every = {t.share for t in self.found.tilings} == set(limits) and not spent
        return every or all(self.limits[s] >= limits[s] for s in limits)


def found_before(units: tuple[Unit, Unit | None], asked: object, search: Callable[[], Search]) -> Search:
    """`search()` on a unit with one beside it, or what it gave in an earlier run for the same `asked`, a value whose
    text says all that it is."""
    families = {c for u in units if u for c in type(u.template).__mro__ if issubclass(c, Template)}
    folders = sorted({Path(inspect.getfile(c)).parent for c in families})
    inputs = (b"search", repr((units, asked)).encode(), *(_state(x) for x in folders))
    return _search(kept(inputs, lambda: asdict(search())))


@lru_cache(maxsize=64)
def _state(folder: Path) -> bytes:
    """Names, sizes and times of all files below a folder, but what Python makes of them."""
    files = sorted(x for x in folder.rglob("*") if x.is_file() and x.suffix != ".pyc")
    states = ((x, x.stat()) for x in files)
    return "\n".join(f"{x} {s.st_size} {s.st_mtime_ns}" for x, s in states).encode()


def _search(plain: dict[str, Any]) -> Search:
    return Search(tuple(_tiling(x) for x in plain["tilings"]), plain["candidates"], plain["why"])


def _tiling(plain: dict[str, Any]) -> Tiling:
    return Tiling(**{**plain, "order": tuple(plain["order"]), "keeps": tuple(Keep(**k) for k in plain["keeps"])})
