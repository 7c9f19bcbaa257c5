"""The model behind `params.json`: what an RTL parameter package holds, when it is valid, and its JSON form.

Every name is lower_snake without the package's prefix; every value is a non-negative integer, or the
name of an enum's member. Files are rendered from this and from nothing else.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dfcompiler.diagnostics import Diag
from dfcompiler.rtl import codec
from dfcompiler.rtl.names import KEYWORDS, check_identifiers, check_name, check_package_name, symbol

SCHEMA = 1
WIDEST = 64
# IEEE 1364-2005 4.3.1 promises vectors of 65536 bits and no more.
WIDEST_TABLE = 65536

Origin = Literal["axis", "derived", "mapping"]
Factor = str | int


@dataclass(frozen=True)
class Parameter:
    """One number, `bits` wide (1 to 64), or the name of a member of an enum (`member` or `enum.member`).

    `group` is the name of the part of the chip it belongs to, empty for the chip as a whole.
    """

    name: str
    value: int | str
    unit: str
    doc: str
    origin: Origin
    bits: int = 32
    group: str = ""


@dataclass(frozen=True)
class Enum:
    """Names for the codes 0, 1, 2 ... in this order."""

    name: str
    members: tuple[str, ...]
    doc: str


@dataclass(frozen=True)
class Column:
    """One field of a table's rows, `bits` wide."""

    name: str
    bits: int
    unit: str
    doc: str


@dataclass(frozen=True)
class Table:
    """Rows of numbers, one row per op or descriptor; `labels` (if any) name the rows in comments."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A part of the chip: parameters of the same group stand together under this title."""

    name: str
    doc: str


@dataclass(frozen=True)
class Relation:
    """What must hold between parameters, checked here and again by every tool at elaboration.

    `product`: the product of `left` equals that of `right` (names and numbers). `index_width`: `left` is the
    bits that count 0 to `right`-1, at least 1. `count_width`: `left` is the bits that count 0 to `right`.
    """

    kind: Literal["product", "index_width", "count_width"]
    left: tuple[Factor, ...]
    right: tuple[Factor, ...]


@dataclass(frozen=True)
class Omitted:
    """A value that has no place in RTL (unbounded, not a whole number of words), and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Region:
    """A memory in the address map, in bytes: instance i begins at `base + i * stride`."""

    name: str
    base: int
    stride: int
    instances: int
    capacity: int


@dataclass(frozen=True)
class Package:
    """Everything that is rendered. `source_hash` is the SHA-256 of the inputs, in hexadecimal."""

    name: str
    parameters: tuple[Parameter, ...]
    enums: tuple[Enum, ...]
    tables: tuple[Table, ...]
    source_hash: str
    groups: tuple[Group, ...] = ()
    relations: tuple[Relation, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    regions: tuple[Region, ...] = ()


def to_json(package: Package) -> str:
    """The text of `params.json`: keys in the order of the fields above, two spaces, a newline at the end."""
    head = {"generator": "dfcompiler", "schema": SCHEMA}
    return json.dumps(head | asdict(package), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Package:
    """The valid package that `text` holds. Raises `rtl-json` where it is not one, and as `validate` does."""
    try:
        data: Any = json.loads(text)
    except ValueError as error:
        raise Diag("rtl-json", f"params.json is not JSON: {error}") from error
    if not isinstance(data, Mapping) or data.get("generator") != "dfcompiler":
        raise Diag("rtl-json", "params.json was not written by dfcompiler: its `generator` is missing")
    if data.get("schema") != SCHEMA:
        raise Diag("rtl-json", f"params.json has schema {data.get('schema')!r}, not {SCHEMA}", hint="write it again")
    body = {key: value for key, value in data.items() if key not in ("generator", "schema")}
    return validate(codec.decode(Package, body, "params.json"))


def enum_value(package: Package, name: str) -> tuple[Enum, str]:
    """The enum and the member that `member` or `enum.member` names; raises `rtl-enum` where not exactly one does."""
    enum_name, dot, member = name.rpartition(".")
    found = [e for e in package.enums if member in e.members and (not dot or e.name == enum_name)]
    if len(found) == 1:
        return found[0], member
    known = ", ".join(f"{e.name}.{m}" for e in package.enums for m in e.members) or "none"
    problem = "is in several enums" if found else "is in no enum"
    raise Diag("rtl-enum", f"the enum value `{name}` {problem}", hint=f"known: {known}")


def number(package: Package, parameter: Parameter) -> int:
    """The parameter's number: the value itself, or the code of the enum's member."""
    if isinstance(parameter.value, int):
        return parameter.value
    enum, member = enum_value(package, parameter.value)
    return enum.members.index(member)


def packed(table: Table, row: Sequence[int]) -> int:
    """A row as one number: the first column in the lowest bits."""
    whole = at = 0
    for column, value in zip(table.columns, row, strict=True):
        whole |= value << at
        at += column.bits
    return whole


def clog2(n: int) -> int:
    """The number of bits that count 0 to n-1, as `$clog2`; 0 for n of 0 and 1."""
    return max(n - 1, 0).bit_length()


def identifiers(package: Package) -> Iterator[tuple[str, str]]:
    """Every (identifier, owner) that any of the files defines, in whatever language."""
    pre = package.name
    for fixed in ("source_id", "params_vh", "params_h", "pkg", "check", "require", "stop"):
        yield symbol(pre, fixed), f"the generator's own `{fixed}`"
    for p in package.parameters:
        yield symbol(pre, p.name), f"parameter `{p.name}`"
    for e in package.enums:
        yield symbol(pre, e.name, "count"), f"the size of enum `{e.name}`"
        yield from ((symbol(pre, e.name, m), f"member `{m}` of enum `{e.name}`") for m in e.members)
    for t in package.tables:
        yield symbol(pre, t.name), f"table `{t.name}`"
        yield symbol(pre, t.name, "rows"), f"the number of rows of table `{t.name}`"
        yield symbol(pre, t.name, "row_w"), f"the row width of table `{t.name}`"
        yield f"{pre}_{t.name}_row_t", f"the row type of table `{t.name}`"
        for c in t.columns:
            owner = f"column `{c.name}` of table `{t.name}`"
            yield f"{pre}_{t.name}_{c.name}", owner
            yield symbol(pre, t.name, c.name, "lsb"), owner
            yield symbol(pre, t.name, c.name, "w"), owner


def validate(package: Package) -> Package:
    """The package itself, if every tool will take it.

    Raises `rtl-name`, `rtl-collision`, `rtl-value` (does not fit its bits, negative), `rtl-enum`, `rtl-table`,
    `rtl-relation`, `rtl-json` (the hash).
    """
    check_package_name(package.name)
    if not re.fullmatch(r"[0-9a-f]{16,64}", package.source_hash):
        raise Diag("rtl-json", f"the source hash `{package.source_hash}` is not 16 to 64 hexadecimal digits")
    _check_unique(package)
    check_identifiers(identifiers(package))
    for parameter in package.parameters:
        _check_parameter(package, parameter)
    for enum in package.enums:
        _check_enum(enum)
    for table in package.tables:
        _check_table(table)
    _check_regions(package.regions)
    values = {p.name: number(package, p) for p in package.parameters}
    for relation in package.relations:
        _check_relation(relation, values)
    return package


def _check_unique(package: Package) -> None:
    kinds = {
        "parameter": [p.name for p in package.parameters],
        "enum": [e.name for e in package.enums],
        "table": [t.name for t in package.tables],
        "group": [g.name for g in package.groups],
        **{f"member of enum `{e.name}`": list(e.members) for e in package.enums},
        **{f"column of table `{t.name}`": [c.name for c in t.columns] for t in package.tables},
    }
    for kind, names in kinds.items():
        folded = [n.casefold() for n in names]
        twice = next((n for i, n in enumerate(names) if n.casefold() in folded[:i]), None)
        if twice is not None:
            raise Diag("rtl-collision", f"the name `{twice}` is used for more than one {kind}", hint="rename one")


def _check_parameter(package: Package, parameter: Parameter) -> None:
    what = f"parameter `{parameter.name}`"
    check_name(parameter.name, what)
    if parameter.group and parameter.group not in {g.name for g in package.groups}:
        raise Diag("rtl-json", f"{what} is in the group `{parameter.group}`, which does not exist")
    _check_value(number(package, parameter), parameter.bits, what)


def _check_value(value: int, bits: int, what: str) -> None:
    if not 1 <= bits <= WIDEST:
        raise Diag("rtl-value", f"{what} is {bits} bits wide", hint=f"a width is 1 to {WIDEST}")
    if value < 0:
        raise Diag("rtl-value", f"{what} is {value}: negative values have no place in a package")
    if value >> bits:
        said = f"{what} is {value}, which needs {value.bit_length()} bits and has {bits}"
        raise Diag("rtl-value", said, hint=f"at most {WIDEST} bits are possible" if value >> WIDEST else "widen it")


def _check_enum(enum: Enum) -> None:
    check_name(enum.name, f"enum `{enum.name}`")
    if not enum.members:
        raise Diag("rtl-enum", f"enum `{enum.name}` has no member")
    for member in enum.members:
        check_name(member, f"a member of enum `{enum.name}`")


def _check_table(table: Table) -> None:
    what = f"table `{table.name}`"
    check_name(table.name, what)
    if not table.columns or not table.rows:
        raise Diag("rtl-table", f"{what} is empty", hint="leave the table out instead")
    if table.labels and len(table.labels) != len(table.rows):
        raise Diag("rtl-table", f"{what} has {len(table.rows)} rows and {len(table.labels)} labels")
    for column in table.columns:
        check_name(column.name, f"a column of {what}")
        if column.name in KEYWORDS:  # a column is a bare field of a struct
            raise Diag("rtl-name", f"the name `{column.name}` of a column of {what} is a keyword", hint="rename it")
    for i, row in enumerate(table.rows):
        if len(row) != len(table.columns):
            raise Diag("rtl-table", f"row {i} of {what} has {len(row)} values for {len(table.columns)} columns")
        for column, value in zip(table.columns, row, strict=True):
            _check_value(value, column.bits, f"`{column.name}` in row {i} of {what}")
    bits = len(table.rows) * sum(c.bits for c in table.columns)
    if bits > WIDEST_TABLE:
        hint = f"Verilog promises vectors of {WIDEST_TABLE} bits: split the table"
        raise Diag("rtl-table", f"{what} is {bits} bits, too wide for one vector", hint=hint)


def _check_regions(regions: Sequence[Region]) -> None:
    """No two memories have an address in common, and none needs more than 64 bits."""
    end, last = 0, ""
    for r in sorted(regions, key=lambda r: r.base):
        check_name(r.name, f"the memory `{r.name}`")
        if r.capacity < 1 or r.instances < 1 or r.stride < r.capacity or r.base < end:
            raise Diag("rtl-map", f"the memory `{r.name}` overlaps `{last or r.name}` in the address map")
        end, last = r.base + r.stride * (r.instances - 1) + r.capacity, r.name
        if end >> WIDEST:
            raise Diag("rtl-map", f"the memory `{r.name}` ends beyond {WIDEST} bits of address")


def _check_relation(relation: Relation, values: Mapping[str, int]) -> None:
    missing = [f for f in (*relation.left, *relation.right) if isinstance(f, str) and f not in values]
    said = f"the relation {relation.kind} of {relation.left} to {relation.right}"
    if missing:
        raise Diag("rtl-relation", f"{said} names `{missing[0]}`, which is no parameter")
    left, right = (math.prod(values.get(f, 0) if isinstance(f, str) else f for f in side)
                   for side in (relation.left, relation.right))  # fmt: skip
    if not relation.left or not relation.right or max(left, right) >> (WIDEST - 1):
        raise Diag("rtl-relation", f"{said} cannot be checked in {WIDEST} bits")
    wanted = {"product": right, "index_width": max(1, clog2(right)), "count_width": clog2(right + 1)}[relation.kind]
    if left != wanted:
        raise Diag("rtl-relation", f"{said} does not hold: {left} is not {wanted}")
