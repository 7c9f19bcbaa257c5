"""What the templates see: every name, literal, width and comment ready to print, from params.json's content alone.

Variables of a template: `package` (name), `pre` (its prefix in macros), `source_id`, `groups`, `enums`, `tables`,
`checks`, `omitted`, `params` (the JSON object as it is), and `file` (the name of the file).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from dfcompiler.rtl.names import symbol
from dfcompiler.rtl.params import (
    WIDEST,
    Column,
    Enum,
    Factor,
    Package,
    Parameter,
    Region,
    Relation,
    Table,
    clog2,
    enum_value,
    number,
    packed,
    to_json,
)

View: TypeAlias = dict[str, Any]

C_BITS = (8, 16, 32, 64)
_PLAIN = str.maketrans({"\\": "/", "`": "'", '"': "'"})


def view(package: Package) -> View:
    """The variables of the templates."""
    return {
        "package": package.name,
        "pre": package.name.upper(),
        "source_id": f"{int(package.source_hash[:16], 16):016x}",
        "source_hash": package.source_hash,
        "groups": [*_groups(package)],
        "enums": [_enum(package, e) for e in package.enums],
        "tables": [_table(package, t) for t in package.tables],
        "checks": [*_checks(package)],
        "regions": [_region(package, r) for r in package.regions],
        "omitted": [{"name": symbol(package.name, o.name), "reason": comment(o.reason)} for o in package.omitted],
        "params": json.loads(to_json(package)),
    }


def comment(text: str) -> str:
    """`text` on one line, safe in comments of C, Verilog and file lists: no comment marks, trigraphs, backslashes."""
    shown = "".join(c if c.isprintable() else " " for c in text).translate(_PLAIN)
    for mark, spaced in (("*/", "* /"), ("/*", "/ *"), ("??", "? ?")):
        while mark in shown:
            shown = shown.replace(mark, spaced)
    return " ".join(shown.split())


def _described(unit: str, doc: str) -> str:
    return comment(f"[{unit or '-'}] {doc}")


def _sized(value: int, bits: int) -> str:
    return f"{bits}'d{value}"


def _c(value: int, bits: int) -> str:
    return f"UINT{_c_bits(bits)}_C({value})"


def _c_bits(bits: int) -> int:
    return next(n for n in C_BITS if bits <= n)


def _type(bits: int) -> str:
    return f"logic [{bits - 1}:0]"


def _widths(rows: Iterable[View]) -> dict[str, int]:
    """The longest text under each key of the rows, for columns that stand in line."""
    widths: dict[str, int] = {}
    for row in rows:
        for key, value in row.items():
            widths[key] = max(widths.get(key, 0), len(str(value)))
    return widths


def _groups(package: Package) -> Iterable[View]:
    titles = {"": "the chip as a whole"} | {g.name: g.doc for g in package.groups}
    for name, title in titles.items():
        rows = [_parameter(package, p) for p in package.parameters if p.group == name]
        if rows:
            yield {"name": name, "title": comment(title), "parameters": rows, "width": _widths(rows)}


def _parameter(package: Package, p: Parameter) -> View:
    doc = f"derived: {p.doc}" if p.origin == "derived" else p.doc
    sv, vh, c = _literals(package, p)
    typed = _type(p.bits) if isinstance(p.value, int) else f"{package.name}_{enum_value(package, p.value)[0].name}_t"
    shown = p.value if isinstance(p.value, int) else enum_value(package, p.value)[1]
    return {
        "typed": typed if sv.isidentifier() else _type(p.bits),
        "top": p.bits - 1,
        "number": _sized(number(package, p), p.bits),
        "shown": shown,
        "unit": comment(p.unit),
        "doc": comment(p.doc),
        "origin": p.origin,
        "symbol": symbol(package.name, p.name),
        "type": _type(p.bits),
        "sv": sv,
        "sv_end": f"{sv};",
        "vh": vh,
        "c": c,
        "comment": _described(p.unit, doc),
    }


def _literals(package: Package, p: Parameter) -> tuple[str, str, str]:
    """The value in SystemVerilog, Verilog and C; a member of an enum by its name, where it is as wide as that."""
    if isinstance(p.value, int):
        return _sized(p.value, p.bits), _sized(p.value, p.bits), _c(p.value, max(p.bits, 32))
    enum, member = enum_value(package, p.value)
    name = symbol(package.name, enum.name, member)
    if _code_bits(enum) == p.bits:
        return name, f"`{name}", name
    literal = _sized(enum.members.index(member), p.bits)
    return literal, literal, name


def _code_bits(enum: Enum) -> int:
    return max(1, clog2(len(enum.members)))


def _enum(package: Package, e: Enum) -> View:
    bits = _code_bits(e)
    codes = [(m, i, bits) for i, m in enumerate(e.members)]
    *members, count = (
        {"symbol": symbol(package.name, e.name, n), "type": _type(b), "sv": _sized(i, b), "c": _c(i, 32)}
        for n, i, b in [*codes, ("count", len(codes), 32)]
    )
    title = comment(f"{e.name}: {e.doc}")
    kind = {"type": _type(bits), "type_name": f"{package.name}_{e.name}_t"}
    return kind | {
        "name": e.name,
        "title": title,
        "members": members,
        "count": count,
        "width": _widths([*members, count]),
    }


def _table(package: Package, t: Table) -> View:
    pre = package.name
    row_bits = sum(c.bits for c in t.columns)
    columns, lsb = [], 0
    for c in t.columns:
        columns.append(_column(package, t, c, lsb, row_bits))
        lsb += c.bits
    cells = [[_sized(v, c.bits) for c, v in zip(t.columns, row, strict=True)] for row in t.rows]
    wide = [max(len(c.name), *(len(row[i]) for row in cells)) for i, c in enumerate(t.columns)]
    labels = t.labels or ("",) * len(t.rows)
    rows = [
        {
            "index": i,
            "label": comment(label),
            "hex": f"{packed(t, values):0{-(-row_bits // 4)}x}",
            "sv": ", ".join(cell.rjust(w) for cell, w in zip(reversed(row), reversed(wide), strict=True)),
            "c": ", ".join(_c(v, max(c.bits, 32)) for c, v in zip(t.columns, values, strict=True)),
        }
        for i, (label, row, values) in enumerate(zip(labels, cells, t.rows, strict=True))
    ]
    return {
        "name": t.name,
        "symbol": symbol(pre, t.name),
        "title": comment(f"{t.name}: {t.doc}"),
        "type": _type(len(t.rows) * row_bits),
        "rows": rows,
        "head": ", ".join(c.name.rjust(w) for c, w in zip(reversed(t.columns), reversed(wide), strict=True)),
        "columns": columns,
        "width": _widths(columns),
        "row_count": {"symbol": symbol(pre, t.name, "rows"), "sv": _sized(len(t.rows), 32), "c": _c(len(t.rows), 32)},
        "row_w": {"symbol": symbol(pre, t.name, "row_w"), "sv": _sized(row_bits, 32), "c": _c(row_bits, 32)},
        "c_type": f"{pre}_{t.name}_row_t",
        "bits": row_bits,
        "count": len(t.rows),
        "last": len(t.rows) - 1,
        "index": f"[{max(1, clog2(len(t.rows))) - 1}:0]",
        "exact": exact_in_c(t),
        "file": f"{pre}_{t.name}.memh",
    }


def _column(package: Package, t: Table, c: Column, lsb: int, row_bits: int) -> View:
    offset = f" + {_sized(lsb, 32)}" if lsb else ""
    return {
        "name": c.name,
        "field": f"{c.name};",
        "function": f"{package.name}_{t.name}_{c.name}",
        "type": _type(c.bits),
        "select": f"row*{_sized(row_bits, 32)}{offset} +: {c.bits}",
        "lsb_symbol": symbol(package.name, t.name, c.name, "lsb"),
        "lsb": _sized(lsb, 32),
        "w_symbol": symbol(package.name, t.name, c.name, "w"),
        "w": _sized(c.bits, 32),
        "c_type": f"uint{_c_bits(c.bits)}_t",
        "comment": _described(c.unit, c.doc),
        "at": lsb,
        "span": f"{lsb + c.bits - 1}:{lsb}" if c.bits > 1 else str(lsb),
        "unit": comment(c.unit),
        "doc": comment(c.doc),
    }


def exact_in_c(t: Table) -> bool:
    """Whether a C struct of the columns has no padding, so that it holds the same bits as a packed row."""
    at = 0
    for c in t.columns:
        if c.bits not in C_BITS or at % c.bits:
            return False
        at += c.bits
    return at % max(c.bits for c in t.columns) == 0


def _region(package: Package, r: Region) -> View:
    size = r.stride * (r.instances - 1) + r.capacity
    return {
        "name": r.name,
        "title": comment(f"{r.instances} x {r.capacity} bytes, one every {r.stride}"),
        "base": f"64'h{r.base:x}",
        "size": f"64'h{size:x}",
        "first": f"0x{r.base:x}",
        "last": f"0x{r.base + size - 1:x}",
        "stride": r.stride,
        "instances": r.instances,
        "capacity": r.capacity,
    }


def _checks(package: Package) -> Iterable[View]:
    pkg = f"{package.name}_pkg"
    made = f"64'h{int(package.source_hash[:16], 16):016x}"
    source = f"{pkg}::{symbol(package.name, 'source_id')}"
    text = f"{pkg} and this check are of one source"
    yield {"label": "same_source", "condition": f"{source} == {made}", "text": text}
    bits = {p.name: p.bits for p in package.parameters}
    for i, relation in enumerate(package.relations):
        condition, text = _relation(package, relation, bits)
        yield {"label": f"relation_{i}", "condition": condition, "text": text}
    for t in package.tables:
        for c in range(len(t.columns)):
            yield from _ends(package, t, c)
    for p in package.parameters:
        if isinstance(p.value, str):
            count = symbol(package.name, enum_value(package, p.value)[0].name, "count")
            name = symbol(package.name, p.name)
            condition = f"{_wide(package, p.name, bits)} < {{32'd0, {pkg}::{count}}}"
            yield {"label": f"code_{p.name}", "condition": condition, "text": f"{name} is below {count}"}


def _ends(package: Package, t: Table, column: int) -> Iterable[View]:
    """The first and the last row of a column, read through its accessor."""
    c = t.columns[column]
    for row in sorted({0, len(t.rows) - 1}):
        condition = f"{package.name}_pkg::{package.name}_{t.name}_{c.name}({_sized(row, 32)})"
        value = _sized(t.rows[row][column], c.bits)
        text = f"{symbol(package.name, t.name)} row {row} has {c.name} {t.rows[row][column]}"
        yield {"label": f"{t.name}_{c.name}_row_{row}", "condition": f"{condition} == {value}", "text": text}


def _relation(package: Package, relation: Relation, bits: dict[str, int]) -> tuple[str, str]:
    """The condition in SystemVerilog, all in 64 bits, and the same as text."""
    left = " * ".join(_wide(package, f, bits) for f in relation.left)
    right = " * ".join(_wide(package, f, bits) for f in relation.right)
    said = [" * ".join(_said(package, f) for f in side) for side in (relation.left, relation.right)]
    if relation.kind == "product":
        return f"{left} == {right}", f"{said[0]} is {said[1]}"
    if relation.kind == "count_width":
        return f"{left} == {{32'd0, $unsigned($clog2({right} + 64'd1))}}", f"{said[0]} bits count 0 to {said[1]}"
    need = f"({right} > 64'd1 ? {{32'd0, $unsigned($clog2({right}))}} : 64'd1)"
    return f"{left} == {need}", f"{said[0]} bits count 0 to {said[1]} - 1"


def _wide(package: Package, factor: Factor, bits: dict[str, int]) -> str:
    if isinstance(factor, int):
        return _sized(factor, WIDEST)
    name = f"{package.name}_pkg::{symbol(package.name, factor)}"
    return name if bits[factor] == WIDEST else f"{{{WIDEST - bits[factor]}'d0, {name}}}"


def _said(package: Package, factor: Factor) -> str:
    return str(factor) if isinstance(factor, int) else symbol(package.name, factor)
