"""Libraries of collective exchanges: `templates/libraries/*.toml`, every figure with its source.

A file has a table `start` (`base_s`) and one table per protocol, whose keys are the fields of
`fabrics.Protocol`, with `guess_base_s`, `guess_step_s` and `guess_efficiency` where the library chooses by estimates.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from dfcompiler import content
from dfcompiler.algorithms import WAYS
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.fabrics import PLAIN, Guess, Library, Protocol

TEXTS = ("ops", "algorithms")
GUESSES = ("guess_base_s", "guess_step_s", "guess_efficiency")
START = ("base_s",)


def library_names() -> list[str]:
    """`plain`, and the names of the files."""
    return [PLAIN.name, *_paths()]


def load_library(name: str, span: Span | None = None) -> Library:
    """A library by name; raises Diag `unknown-library`, which lists the known, or `bad-library`."""
    if name == PLAIN.name:
        return PLAIN
    if path := _paths().get(name):
        return _read(path)
    raise unknown("library", name, library_names(), span)


def _paths() -> dict[str, Path]:
    return {path.stem: path for path in content.files("templates", ".toml", "libraries")}


@cache
def _read(path: Path) -> Library:
    text = path.read_text(encoding="utf-8")
    where = Span(Source(str(path), text), 1, 1, 2)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Diag("bad-library", f"not TOML: {error}", where) from error
    start = _values(raw.pop("start", {}), "start", START, where)
    return Library(path.stem, **start, protocols=tuple(_protocol(n, entries, where) for n, entries in raw.items()))


def _protocol(name: str, entries: Any, where: Span) -> Protocol:
    known = [f.name for f in fields(Protocol) if f.name not in ("name", "guess")]
    values = _values(entries, name, [*known, *GUESSES], where)
    _named(values, where)
    base, step, efficiency = (values.pop(key, 0.0) for key in GUESSES)
    return Protocol(name, guess=Guess(base, step, efficiency) if efficiency else None, **values)


def _named(values: Mapping[str, Any], where: Span) -> None:
    """Raises Diag `unknown-exchange` or `unknown-algorithm`."""
    for op in values.get("ops", ()):
        if op not in WAYS:
            raise unknown("exchange", op, WAYS, where)
    known = sorted({a for ways in WAYS.values() for a in ways})
    for algorithm in values.get("algorithms", ()):
        if algorithm not in known:
            raise unknown("algorithm", algorithm, known, where)


def _values(entries: Any, table: str, known: Any, where: Span) -> dict[str, Any]:
    if not isinstance(entries, dict):
        raise Diag("bad-library", f"`{table}` is no table", where)
    for key in entries:
        if key not in known:
            raise unknown("library value", f"{table}.{key}", [f"{table}.{k}" for k in known], where)
    return {key: _figure(f"{table}.{key}", key in TEXTS, entry, where) for key, entry in entries.items()}


def _figure(name: str, text: bool, entry: Mapping[str, Any] | Any, where: Span) -> Any:
    value, source = (entry.get("value"), entry.get("source")) if isinstance(entry, dict) else (None, None)
    legal = isinstance(value, str) if text else isinstance(value, (int, float)) and 0 < value < float("inf")
    if not legal or not isinstance(source, str) or not source:
        wanted = "names" if text else "positive number"
        raise Diag("bad-library", f'`{name}` must be {{ value = {wanted}, source = "..." }}', where)
    return tuple(str(value).split()) if text else float(value)  # type: ignore[arg-type]
