"""From the parts of a chip and its mapped ops to a validated package: integers in exact units, derived widths.

Units. A whole number keeps its unit. Seconds become picoseconds (`_ps`), joules femtojoules (`_fj`), watts
microwatts (`_uw`) and volts microvolts (`_uv`), whole or not, so that a name does not change with its value. Any
other fraction becomes the coarsest of thousandths, millionths and billionths that is exact (`_milli`, `_micro`,
`_nano`); `rtl-unit` where none is. Bytes, bytes per second, hertz and FLOPs are 64 bits wide, the rest 32 unless
the value needs 64. An unbounded axis (inf) cannot be a localparam: it is left out and listed under `omitted`.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import NamedTuple, TypeAlias

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.rtl.names import snake
from dfcompiler.rtl.params import Enum, Group, Omitted, Package, Parameter, Region, Relation, Table, clog2, validate
from dfcompiler.rtl.schedule import OpRow, schedule

Value: TypeAlias = int | float | str


class Axis(NamedTuple):
    """One axis of a part. `legal` lists the names that a name-valued axis can take, so that codes stay put."""

    name: str
    value: Value
    unit: str
    doc: str
    legal: tuple[str, ...] = ()


AxisLike: TypeAlias = Axis | tuple[str, Value, str, str]


class PartSpec(NamedTuple):
    """One part of the chip: `instances` of the hardware family `template`, all with these axes."""

    name: str
    template: str
    instances: int
    axes: tuple[AxisLike, ...]


# What is counted one by one, and so gets an index width and a counter width.
COUNTED = frozenset("instances rows cols columns lanes banks depth ports channels trees inputs entries cores".split())
CAPACITY = frozenset(("capacity", "bytes", "size", "capacity_bytes", "size_bytes"))
WIDTH = frozenset(("width", "word", "port", "width_bits", "word_bits", "port_bits", "word_bytes", "port_bytes"))
BYTES = frozenset(("B", "byte", "bytes"))
BITS = frozenset(("b", "bit", "bits"))

_FIXED = {"s": ("ps", 12), "J": ("fJ", 15), "W": ("uW", 6), "V": ("uV", 6)}
_SCALES = (("milli", "1/1000", 3), ("micro", "1/1000000", 6), ("nano", "1/1000000000", 9))
_WIDE = (*BYTES, "B/s", "Hz", "FLOP", "FLOP/s")


def package(
    name: str, parts: Sequence[PartSpec], ops: Sequence[OpRow], clock_hz: int, more: Sequence[Table] = ()
) -> Package:
    """The package `name` of a chip with these parts, running at `clock_hz`, of its schedule `ops` (may be empty) and of
    `more` tables.

    Raises `rtl-unit` for a value with no exact integer unit, and as `params.validate` does.
    """
    clock_hz = operator.index(clock_hz)
    clock = Parameter("clock_hz", clock_hz, "Hz", "clock of all compute units", "axis", 64)
    draft = _Draft([clock])
    specs = [PartSpec(p.name, p.template, operator.index(p.instances), tuple(Axis(*a) for a in p.axes)) for p in parts]
    _check_parts(specs)
    draft.enums += _axis_enums(specs)
    for spec in specs:
        _add_part(draft, spec)
    _derive_cycles(draft, clock_hz)
    regions = _regions(draft)
    enums, tables = schedule(ops, [snake(p.name) for p in specs])
    made = Package(
        name=snake(name),
        parameters=tuple(sorted(draft.parameters, key=lambda p: draft.order(p.group))),
        enums=(*draft.enums, *enums),
        tables=(*tables, *more),
        source_hash=_hash(snake(name), specs, ops, clock_hz, more),
        groups=tuple(draft.groups),
        relations=tuple(draft.relations),
        omitted=tuple(draft.omitted),
        regions=regions,
    )
    return validate(made)


@dataclass
class _Draft:
    parameters: list[Parameter]
    groups: list[Group] = field(default_factory=list)
    enums: list[Enum] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    omitted: list[Omitted] = field(default_factory=list)

    def order(self, group: str) -> int:
        return -1 if not group else [g.name for g in self.groups].index(group)

    def derive(self, made: Parameter, *relations: Relation) -> None:
        """Add a derived parameter and what must hold of it; an axis of that name stays what it is."""
        if any(p.name == made.name for p in self.parameters):
            return
        self.parameters.append(made)
        self.relations += relations


def _check_parts(specs: Sequence[PartSpec]) -> None:
    owners: dict[str, str] = {}
    for spec in specs:
        other = owners.setdefault(snake(spec.name), spec.name)
        if other != spec.name:
            said = f"the parts `{other}` and `{spec.name}` would both be emitted as `{snake(spec.name)}`"
            raise Diag("rtl-collision", said, hint="rename one")


def _axis_enums(specs: Sequence[PartSpec]) -> list[Enum]:
    """One enum per name of a name-valued axis: all legal names, else those in use, sorted."""
    members: dict[str, dict[str, None]] = {}
    for axis in (Axis(*a) for spec in specs for a in spec.axes):
        if isinstance(axis.value, str):
            names = (*axis.legal, axis.value)
            members.setdefault(snake(axis.name), {}).update(dict.fromkeys(snake(n) for n in names))
    listed = {snake(a[0]) for spec in specs for a in spec.axes if Axis(*a).legal}
    return [
        Enum(name, tuple(found if name in listed else sorted(found)), f"values of the axis `{name}`")
        for name, found in members.items()
    ]


def _add_part(draft: _Draft, spec: PartSpec) -> None:
    part = snake(spec.name)
    draft.groups.append(Group(part, f"{spec.name}: {spec.template}"))
    axes = {snake(a[0]): Axis(*a) for a in spec.axes}
    if "instances" not in axes:
        axes = {"instances": Axis("instances", spec.instances, "", f"instances of {spec.name}")} | axes
    for name, axis in axes.items():
        _add_axis(draft, part, name, axis)
    own = {p.name[len(part) + 1 :]: p for p in draft.parameters if p.group == part and isinstance(p.value, int)}
    _derive_array(draft, part, own)
    _derive_memory(draft, part, own)
    for name in [n for n in own if n in COUNTED] + (["depth"] if "depth" not in own else []):
        _derive_widths(draft, f"{part}_{name}", part)


def _add_axis(draft: _Draft, part: str, name: str, axis: Axis) -> None:
    full = f"{part}_{name}"
    value = axis.value.item() if isinstance(axis.value, np.generic) else axis.value
    if isinstance(value, str):
        enum = next(e for e in draft.enums if e.name == name)
        bits = max(1, clog2(len(enum.members)))
        draft.parameters.append(Parameter(full, f"{name}.{snake(value)}", "", axis.doc, "axis", bits, part))
        return
    if value == math.inf:
        draft.omitted.append(Omitted(full, "unbounded"))
        return
    suffix, unit, whole = exact(value, axis.unit, full)
    bits = 64 if unit in _WIDE or whole >> 32 else 32
    draft.parameters.append(Parameter(full + suffix, whole, unit, axis.doc, "axis", bits, part))


def exact(value: int | float, unit: str, what: str) -> tuple[str, str, int]:
    """(suffix of the name, unit, integer) that say exactly `value` in `unit`; raises `rtl-unit` where none does.

    A float with a fraction is read as its 15-digit decimal, the digits that a double keeps: 0.1 is a tenth.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise Diag("rtl-unit", f"`{what}` is {value}, no number")
    whole_already = isinstance(value, int) or value.is_integer()
    decimal = Decimal(int(value)) if whole_already else Decimal(f"{value:.15g}")
    if unit in _FIXED:
        fixed, digits = _FIXED[unit]
        scales = [(f"_{fixed.lower()}", fixed, digits)]
    else:
        scales = [("", unit, 0), *((f"_{n}", f"{share} {unit}".strip(), d) for n, share, d in _SCALES)]
    for suffix, scaled, digits in scales:
        whole = decimal.scaleb(digits)
        if whole == whole.to_integral_value():
            return suffix, scaled, int(whole)
    tried = ", ".join(s[1] for s in scales)
    raise Diag("rtl-unit", f"`{what}` = {value!r} {unit} is no whole number of {tried}", hint="round the axis")


def _derive_array(draft: _Draft, part: str, own: Mapping[str, Parameter]) -> None:
    columns = "cols" if "cols" in own else "columns"
    if "rows" not in own or columns not in own:
        return
    rows, cols = own["rows"], own[columns]
    assert isinstance(rows.value, int)
    assert isinstance(cols.value, int)
    name = f"{part}_elements"
    made = Parameter(name, rows.value * cols.value, rows.unit, "rows x columns", "derived", 32, part)
    draft.derive(made, Relation("product", (name,), (rows.name, cols.name)))


def _derive_memory(draft: _Draft, part: str, own: Mapping[str, Parameter]) -> None:
    """Words of `width` bits in each bank, where the part has a capacity and a width."""
    capacity = next((p for n, p in own.items() if n in CAPACITY and p.unit in BYTES), None)
    width = next((p for n, p in own.items() if n in WIDTH and p.unit in BYTES | BITS), None)
    if capacity is None or width is None or "depth" in own:
        return
    assert isinstance(capacity.value, int)
    assert isinstance(width.value, int)
    banks = own["banks"].value if "banks" in own else 1
    assert isinstance(banks, int)
    factors: tuple[str | int, ...] = (width.name, *((own["banks"].name,) if "banks" in own else ()))
    in_bits = width.value * (8 if width.unit in BYTES else 1)
    depth, rest = divmod(capacity.value * 8, max(1, in_bits * banks))
    if rest or not depth:
        reason = f"{capacity.value} bytes are no whole number of {in_bits}-bit words in {banks} banks"
        draft.omitted.append(Omitted(f"{part}_depth", reason))
        return
    left: tuple[str | int, ...] = (capacity.name, 8) if width.unit in BITS else (capacity.name,)
    made = Parameter(f"{part}_depth", depth, "word", "words in one bank", "derived", 32, part)
    draft.derive(made, Relation("product", left, (made.name, *factors)))


def _regions(draft: _Draft) -> tuple[Region, ...]:
    """The address map: memories with a capacity in bytes, the largest first, each instance at a multiple of a power of
    two that it fits into."""
    values = {p.name: p for p in draft.parameters}
    found: list[tuple[str, int, int]] = []
    for group in draft.groups:
        sized = (values.get(f"{group.name}_{name}") for name in sorted(CAPACITY))
        whole = next((p.value for p in sized if p and p.unit in BYTES and isinstance(p.value, int) and p.value), None)
        many = values[f"{group.name}_instances"].value
        if whole is not None and isinstance(many, int) and many:
            found.append((group.name, whole, many))
    regions, at = [], 0
    for name, capacity, many in sorted(found, key=lambda x: -(1 << clog2(x[1]))):
        stride = 1 << clog2(capacity)
        regions.append(Region(name, at, stride, many, capacity))
        at += stride * many
    return tuple(regions)


def _derive_widths(draft: _Draft, name: str, part: str) -> None:
    counted = next((p for p in draft.parameters if p.name == name), None)
    if counted is None or not isinstance(counted.value, int) or not counted.value:
        return
    index = f"{part}_addr_w" if name == f"{part}_depth" else f"{name}_w"
    count = f"{name}_count_w"
    n = counted.value
    draft.derive(
        Parameter(index, max(1, clog2(n)), "bit", f"to count 0 to {name} - 1", "derived", 32, part),
        Relation("index_width", (index,), (name,)),
    )
    draft.derive(
        Parameter(count, clog2(n + 1), "bit", f"to count 0 to {name}", "derived", 32, part),
        Relation("count_width", (count,), (name,)),
    )


def _derive_cycles(draft: _Draft, clock_hz: int) -> None:
    """Times in whole cycles, and rates in bytes per cycle where that is a whole number."""
    if clock_hz < 1:
        raise Diag("rtl-value", f"the clock is {clock_hz} Hz", hint="a package needs a positive clock")
    for p in [p for p in draft.parameters if p.origin == "axis"]:
        if isinstance(p.value, str):
            continue
        if p.unit == "ps":
            name = f"{p.name.removesuffix('_ps')}_cycles"
            cycles = -(-p.value * clock_hz // 10**12)
            draft.derive(Parameter(name, cycles, "cycle", "the same, rounded up", "derived", 64, p.group))
        if p.unit == "B/s" and p.value and p.value % clock_hz == 0:
            name = f"{p.name}_per_cycle"
            made = Parameter(name, p.value // clock_hz, "B/cycle", "the same at this clock", "derived", 32, p.group)
            draft.derive(made, Relation("product", (name, "clock_hz"), (p.name,)))


def _hash(name: str, specs: Sequence[PartSpec], ops: Sequence[OpRow], clock_hz: int, more: Sequence[Table]) -> str:
    inputs = [name, specs, [(*op[:6], dict(op.tile), op.order, op.period) for op in ops], clock_hz]
    inputs += [asdict(t) for t in more]
    text = json.dumps(inputs, sort_keys=True, default=lambda v: v.item())
    return hashlib.sha256(text.encode()).hexdigest()
