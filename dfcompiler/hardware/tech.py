"""Process constants: one `templates/tech/*.toml` per node, every figure with its source.

A node's file may leave figures out, and a node between two files needs none: what is missing is interpolated
between the nearest nodes that have it, linearly in the logarithms of node and figure, and its source says so.
Beyond the smallest and the largest node there is no figure, and asking for one is an error.
"""

from __future__ import annotations

import tomllib
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import exp, log
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.hardware.axes import Array


@dataclass(frozen=True)
class Figure:
    """A number with where it comes from; `between` names the two nodes in nm where it is interpolated."""

    value: float
    source: str
    between: tuple[float, ...] = ()


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

    def but(self, factors: Mapping[str, float]) -> Tech:
        """The node where constants are so many times what they are, by `table.key`, or `table` for all of it."""
        changed = {
            table: {
                key: replace(f, value=f.value * factors.get(f"{table}.{key}", factors.get(table, 1.0)))
                for key, f in entries.items()
            }
            for table, entries in self.tables.items()
        }
        return replace(self, tables=changed)

    def at_bits(self, table: str, bits: int) -> float:
        """The value of the narrowest width in a table by bits that holds `bits`."""
        widths = sorted(int(k) for k in self.tables.get(table, {}))
        wide = next((w for w in widths if w >= bits), bits)
        return self.value(table, str(wide))

    @property
    def interpolated(self) -> tuple[str, ...]:
        """`table.key` of every figure that no file of this node holds."""
        every = ((f"{table}.{key}", f) for table, entries in self.tables.items() for key, f in entries.items())
        return tuple(name for name, f in every if f.between)

    def logic_mm2(self, transistors: Array) -> Array:
        """The area of so many transistors of logic."""
        return transistors / (self.value("logic", "mtr_per_mm2") * 1e6)

    def mac_mm2(self, bits: Array) -> Array:
        """The area of one multiply-accumulate unit for operands of `bits`."""
        return self.logic_mm2(self._each("mac_transistors", bits))

    def pj_per_mac(self, bits: int) -> float:
        """The energy of one multiply-accumulate of operands of `bits`: integers up to 8, floats above."""
        return self.at_bits("pj_per_mac", bits)

    def float_factor(self, bits: int) -> float:
        """How much more a multiply-accumulate of floats of `bits` takes than `pj_per_mac` says."""
        return self.at_bits("float_over_integer", bits)

    def sram_pj_per_byte(self, capacity_bytes: Array) -> Array:
        """Energy of one byte of a macro: log-log through the table's capacities, last slope kept beyond."""
        x, y = self._by_size("sram_pj_per_8_bytes")
        at = np.log2(np.asarray(capacity_bytes, dtype=float))
        beyond = np.maximum(at - x[-1], 0) * (y[-1] - y[-2]) / (x[-1] - x[-2])
        result: Array = np.exp2(np.interp(at, x, y) + beyond) / 8
        return result

    def array_efficiency(self, capacity_bytes: Array) -> Array:
        """Bit cells' part of a macro's area, decoders and sense amplifiers being the rest: log-log through the table,
        its ends kept beyond."""
        x, y = self._by_size("array_efficiency")
        result: Array = np.exp2(np.interp(np.log2(np.asarray(capacity_bytes, dtype=float)), x, y))
        return result

    def sram_mm2(self, capacity_bytes: Array, banks: Array = 1, ports: Array = 1) -> Array:
        """The area of a memory of `banks` macros whose cells have `ports`: cells, periphery, what joins the macros.

        Every port beyond the first adds a word line to a cell's height and two bit lines to its width, each a wiring
        track of the cell's lowest layers.
        """
        high, wide = self.value("sram", "cell_tracks_high"), self.value("sram", "cell_tracks_wide")
        more = np.asarray(ports) - 1
        cell_um2 = self.value("sram", "cell_um2") * (high + more) * (wide + 2 * more) / (high * wide)
        macro = self.array_efficiency(np.asarray(capacity_bytes) / banks)
        result: Array = np.asarray(capacity_bytes) * 8 * cell_um2 / 1e6 / macro / self.value("sram", "macros_of_memory")
        return result

    def _by_size(self, table: str) -> tuple[np.ndarray, np.ndarray]:
        """Logarithms of a table by capacity in bytes."""
        points = {int(k): f.value for k, f in sorted(self.tables[table].items(), key=_size)}
        return np.log2(list(points)), np.log2(list(points.values()))

    def _each(self, table: str, bits: Array) -> Array:
        if np.ndim(bits) == 0:
            return self.at_bits(table, int(bits))
        return np.array([self.at_bits(table, int(b)) for b in np.ravel(bits)]).reshape(np.shape(bits))


def _size(entry: tuple[str, Figure]) -> int:
    return int(entry[0])


def load_tech(node_nm: float, span: Span | None = None) -> Tech:
    """The constants of a node in nm; `Diag` `unknown-node` outside of the known ones, which it lists."""
    nodes = techs()
    if node_nm in nodes:
        return nodes[node_nm]
    if not nodes or not min(nodes) < node_nm < max(nodes):
        listed = ", ".join(f"{n:g}" for n in nodes)
        hint = f"from {min(nodes):g} to {max(nodes):g} nm; known: {listed}" if nodes else "none is known"
        raise Diag("unknown-node", f"unknown node `{node_nm:g} nm`", span, hint=hint)
    common, own = _files()
    return Tech(f"{node_nm:g}nm", node_nm, _filled(node_nm, {}, common, own))


def techs() -> dict[float, Tech]:
    """Node in nm -> constants, ascending. A file without `node_nm` holds what is equal on every node."""
    common, own = _files()
    return {node: Tech(name, node, _filled(node, tables, common, own)) for node, (name, tables) in own.items()}


_Own: TypeAlias = dict[float, tuple[str, Tables]]


def _files() -> tuple[Tables, _Own]:
    """What is equal on every node, and each node's file by its node, ascending."""
    read = [(path.stem, *_read(path)) for path in content.files("templates", ".toml", "tech")]
    common = _merged([tables for _, node, tables in read if node is None])
    return common, dict(sorted((node, (name, tables)) for name, node, tables in read if node is not None))


def _filled(node_nm: float, tables: Tables, common: Tables, own: _Own) -> Tables:
    """A node's tables with what its file leaves out, where files of smaller and larger nodes have it."""
    every = {(table, key): None for _, t in own.values() for table, entries in t.items() for key in entries}
    found: dict[str, dict[str, Figure]] = {name: dict(entries) for name, entries in _merged([common, tables]).items()}
    for table, key in every:
        if key in found.get(table, {}):
            continue
        known = {n: t[table][key].value for n, (_, t) in own.items() if key in t.get(table, {})}
        if known and min(known) < node_nm < max(known):
            found.setdefault(table, {})[key] = _interpolated(node_nm, sorted(known.items()))
    return found


def _interpolated(node_nm: float, known: Sequence[tuple[float, float]]) -> Figure:
    """Between the two nearest nodes, linear in logarithms."""
    at = bisect(known, (node_nm,))
    (low, a), (high, b) = known[at - 1 : at + 1]
    part = log(node_nm / low) / log(high / low)
    source = f"interpolated in logarithms between {low:g} nm and {high:g} nm"
    return Figure(exp((1 - part) * log(a) + part * log(b)), source, (low, high))


def _merged(parts: list[Tables]) -> Tables:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: {k: v for part in parts for k, v in part.get(name, {}).items()} for name in names}


def figures(path: Path) -> Tables:
    """The tables of a file that is equal on every node; `Diag` `bad-tech` as in `techs`."""
    return _read(path)[1]


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
