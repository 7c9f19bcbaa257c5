"""Process constants: one `templates/tech/*.toml` per node, every figure with its source.

There is no interpolation between nodes: a node without a file is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.hardware.axes import Array


@dataclass(frozen=True)
class Figure:
    """A number with where it comes from."""

    value: float
    source: str


Tables: TypeAlias = Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True)
class Tech:
    """One process node. `tables` is table -> key -> figure, as in the file."""

    name: str
    node_nm: float
    tables: Tables = field(repr=False, hash=False)

    def figure(self, table: str, key: str) -> Figure:
        """One constant; `Diag` `unknown-tech-value` lists what the node has."""
        known = self.tables.get(table, {})
        if key in known:
            return known[key]
        raise unknown("tech value", f"{table}.{key}", (f"{table}.{k}" for k in known))

    def value(self, table: str, key: str) -> float:
        """The number of `figure`."""
        return self.figure(table, key).value

    def at_bits(self, table: str, bits: int) -> float:
        """The value of the narrowest width in a table by bits that holds `bits`."""
        widths = sorted(int(k) for k in self.tables.get(table, {}))
        wide = next((w for w in widths if w >= bits), bits)
        return self.value(table, str(wide))

    def logic_mm2(self, transistors: Array) -> Array:
        """The area of so many transistors of logic."""
        return transistors / (self.value("logic", "mtr_per_mm2") * 1e6)

    def mac_mm2(self, bits: Array) -> Array:
        """The area of one multiply-accumulate unit for operands of `bits`."""
        return self.logic_mm2(self._each("mac_transistors", bits))

    def pj_per_mac(self, bits: int) -> float:
        """The energy of one multiply-accumulate of operands of `bits`."""
        return self.at_bits("pj_per_mac", bits)

    def sram_pj_per_byte(self, capacity_bytes: Array) -> Array:
        """Energy of one byte of a macro: log-log through the table's capacities, last slope kept beyond."""
        table = {int(k): v.value for k, v in sorted(self.tables["sram_pj_per_8_bytes"].items(), key=_size)}
        x, y = np.log2(list(table)), np.log2(list(table.values()))
        at = np.log2(np.asarray(capacity_bytes, dtype=float))
        beyond = np.maximum(at - x[-1], 0) * (y[-1] - y[-2]) / (x[-1] - x[-2])
        result: Array = np.exp2(np.interp(at, x, y) + beyond) / 8
        return result

    def _each(self, table: str, bits: Array) -> Array:
        if np.ndim(bits) == 0:
            return self.at_bits(table, int(bits))
        return np.array([self.at_bits(table, int(b)) for b in np.ravel(bits)]).reshape(np.shape(bits))


def _size(entry: tuple[str, Figure]) -> int:
    return int(entry[0])


def load_tech(node_nm: float, span: Span | None = None) -> Tech:
    """The constants of a node in nm; `Diag` `unknown-node` lists the known ones."""
    nodes = techs()
    if node_nm in nodes:
        return nodes[node_nm]
    raise unknown("node", f"{node_nm:g} nm", (f"{n:g} nm" for n in nodes), span)


def techs() -> dict[float, Tech]:
    """Node in nm -> constants. A file without `node_nm` holds what is equal on every node."""
    read = [(path.stem, *_read(path)) for path in content.files("templates", ".toml", "tech")]
    common = [tables for _, node, tables in read if node is None]
    return {node: Tech(name, node, _merged([*common, tables])) for name, node, tables in read if node is not None}


def _merged(parts: list[Tables]) -> Tables:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: {k: v for part in parts for k, v in part.get(name, {}).items()} for name in names}


@cache
def _read(path: Path) -> tuple[float | None, Tables]:
    """One file; `Diag` `bad-tech` where it is not TOML, or a figure has no value or no source."""
    text = path.read_text(encoding="utf-8")
    where = Span(Source(str(path), text), 1, 1, 2)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Diag("bad-tech", f"not TOML: {error}", where) from error
    node = raw.pop("node_nm", None)
    if node is not None and not isinstance(node, (int, float)):
        raise Diag("bad-tech", "`node_nm` is no number", where)
    return node, {name: _table(name, entries, where) for name, entries in raw.items()}


def _table(name: str, entries: object, where: Span) -> dict[str, Figure]:
    if not isinstance(entries, dict):
        raise Diag("bad-tech", f"`{name}` is no table", where)
    return {key: _figure(f"{name}.{key}", entry, where) for key, entry in entries.items()}


def _figure(name: str, entry: object, where: Span) -> Figure:
    value, source = (entry.get("value"), entry.get("source")) if isinstance(entry, dict) else (None, None)
    if not isinstance(value, (int, float)) or not value > 0 or not isinstance(source, str) or not source:
        raise Diag("bad-tech", f'`{name}` must be {{ value = positive number, source = "..." }}', where)
    return Figure(float(value), source)
