"""How far the constants of a model may be off, as `templates/uncertainty.toml` or a file of the user's states it.

A constant is moved by a factor. Constants of a process decide what a device costs; axes of templates are settings of
parts, so a space under another one is the same space with one more `set`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.explore.perturbation import Constant
from dfcompiler.explore.plans import own_chip
from dfcompiler.explore.space import Pool, Space
from dfcompiler.hardware.axes import Template
from dfcompiler.text import tree as t

FILE = "uncertainty.toml"
Settings: TypeAlias = tuple[tuple[str, float], ...]  # names of settings of parts, and what they are multiplied by

KEYS = ("low", "high", "source")


@dataclass(frozen=True)
class Moved:
    """A space under other constants: with `settings` of its parts moved, and factors of constants of its processes."""

    space: Space
    settings: Settings
    process: Mapping[str, float]


def stated(path: Path | None = None) -> tuple[Constant, ...]:
    """The constants of a file, each as a factor that is 1. Raises Diag `bad-perturbation`."""
    where = path or content.root() / "templates" / FILE
    try:
        text = where.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Diag("bad-perturbation", f"`{where}` cannot be read: {why}", hint=_example()) from None
    return tuple(_constant(name, entry, Source(str(where), text)) for name, entry in tables.items())


def _constant(name: str, entry: object, file: Source) -> Constant:
    at = next((i for i, line in enumerate(file.text.splitlines(), 1) if line.strip(' []"') == name), 1)
    span = Span(file, at, 1, len(file.line(at)) + 1)
    low, high, source = (entry.get(k) for k in KEYS) if isinstance(entry, dict) else (None, None, None)
    numbers = all(isinstance(x, (int, float)) and x > 0 for x in (low, high))
    if not numbers or not isinstance(source, str) or not source or set(entry) - set(KEYS):  # type: ignore[call-overload]
        raise Diag("bad-perturbation", f"`{name}` wants two factors and their source", span, hint=_example())
    try:
        return Constant(name, 1.0, float(low), float(high), source)  # type: ignore[arg-type]
    except Diag as fault:
        raise Diag(fault.code, fault.message, span, hint=_example()) from None


def _example() -> str:
    return '["wafer.usd"], then `low = 0.8`, `high = 1.25`, `source = "..."`, a line each'


def known(space: Space, constants: tuple[Constant, ...]) -> tuple[Constant, ...]:
    """Those that some chip of a space has. Raises Diag `unknown-constant` for names that none could have."""
    found = []
    for one in constants:
        table, _, key = one.name.partition(".")
        chips = [own_chip(p.chip, frozenset()) for p in space.pools.values()]
        tables = [c.tech.tables for c in chips]
        if any(table in x and (not key or key in x[table]) for x in tables) or any(
            _paths(p, one.name) for p in space.pools.values()
        ):
            found.append(one)
        elif table not in registry.names("template"):
            every = {f"{n}.{k}" for x in tables for n, entries in x.items() for k in entries}
            raise unknown("constant", one.name, every | {n for x in tables for n in x})
    return tuple(found)


def moved(space: Space, factors: Mapping[str, float]) -> Moved:
    """The space where constants are so many times what they are."""
    changed = {n: f for n, f in factors.items() if f != 1}
    parts = of_parts(space, changed)
    pools = {name: _moved(pool, {n: changed[n] for n in parts}) for name, pool in space.pools.items()}
    settings = tuple(sorted((n, changed[n]) for n in parts))
    process = {n: f for n, f in changed.items() if n not in parts}
    return Moved(replace(space, pools=pools) if settings else space, settings, process)


def of_parts(space: Space, names: Iterable[str]) -> frozenset[str]:
    """Those of some constants that are settings of parts, which change what loads take as well."""
    return frozenset(n for n in names if any(_paths(p, n) for p in space.pools.values()))


def _moved(pool: Pool, factors: Mapping[str, float]) -> Pool:
    sets = {s.path: s for s in pool.sets}
    for name, factor in factors.items():
        for path, now in _paths(pool, name).items():
            old = sets[path].value if path in sets else t.Num(now)
            sets[path] = t.SSet(path, t.Bin("*", old, t.Num(factor)))
    return replace(pool, sets=tuple(sets.values()))


def _paths(pool: Pool, name: str) -> dict[str, float]:
    """The settings of a pool's parts that an axis of a template is, with their values."""
    table, _, axis = name.partition(".")
    parts = own_chip(pool.chip, frozenset()).parts
    found = {}
    for part in parts.values():
        one = part.template
        if one.template_name == table and isinstance(one, Template):
            type(one).axis(axis)  # `unknown-axis`
            found[f"{part.name}.{axis}"] = float(one.settings()[axis])
    return found
