"""Measured against modelled: a table of measurements, priced in one call where kernels are, and how far off it is."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.algorithms import WAYS
from dfcompiler.amounts import percent
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.dtypes import DtypeMap, bits, parse_dtypes
from dfcompiler.exchanges import links_of
from dfcompiler.fabrics import collective_latency_s
from dfcompiler.frames import Columns, Tabular
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.kernels import Device, Generation, Scale, device_of, load_generation
from dfcompiler.kernels.latency import Floats
from dfcompiler.kernels.tables import KINDS, price_table
from dfcompiler.models import library
from dfcompiler.pricing import price_op
from dfcompiler.text.parse import read_source

Tick: TypeAlias = Callable[[int, int], None]

LATENCIES = {"latency_ms": 1e-3, "latency_us": 1e-6, "latency_s": 1.0}  # column -> seconds
EXCHANGED = ("num_gpus", "message_bytes")  # columns of a table of exchanges
WORDS = ("distribution", "kernel_source", "op_name", "dataflow")  # columns that are text


@dataclass(frozen=True)
class Measured:
    """A table: `columns` by name, numbers as floats, and the seconds (or cycles) of every row."""

    name: str
    columns: Mapping[str, Any]
    seconds: Floats

    def __len__(self) -> int:
        return len(self.seconds)

    def rows(self, which: Any) -> Measured:
        """Some of the rows."""
        return Measured(self.name, {n: v[which] for n, v in self.columns.items()}, self.seconds[which])


@dataclass(frozen=True)
class Row:
    """One measurement; `error` is modelled over measured, less 1."""

    sizes: Mapping[str, Any]
    measured_s: float
    modelled_s: float
    error: float
    bound: str


@dataclass(frozen=True)
class Validation(Tabular):
    """Relative errors: means, median and so on of |error|, `bias` the mean with its sign. `rows` are worst first, and
    the table is of them."""

    n: int
    mape: float
    median: float
    p90: float
    max: float
    bias: float
    rows: tuple[Row, ...]

    def title(self) -> str:
        """How many rows."""
        return f"{self.n:,} measured rows, worst first"

    def facts(self) -> Mapping[str, str]:
        """Errors in words."""
        error = f"mean {percent(self.mape)}, median {percent(self.median)}, 90 % of the rows within {percent(self.p90)}"
        return {"error": f"{error}, the worst {percent(self.max)}", "bias": f"{100 * self.bias:+.1f} %"}

    def columns(self) -> Columns:
        """A row per measurement: its sizes, both times in seconds, and the error."""
        names = dict.fromkeys(name for row in self.rows for name in row.sizes)
        sizes = {name: [row.sizes.get(name) for row in self.rows] for name in names}
        return sizes | {
            n: [getattr(row, n) for row in self.rows] for n in ("measured_s", "modelled_s", "error", "bound")
        }


def read_measured(path: Path, clock_hz: float) -> Measured:
    """A CSV with a column of latencies, or `cycles` of the chip. Raises Diag with the line of what is wrong."""
    source = read_source(path)
    lines = list(csv.reader(io.StringIO(source.text)))
    if len(lines) < 2:
        raise Diag("bad-table", "a table has a line of names and at least one row", Span(source, 1, 1, 2))
    names = [name.strip() for name in lines[0]]
    scales = {**LATENCIES, "cycles": 1 / clock_hz}
    timed = [n for n in names if n in scales]
    if len(timed) != 1:
        message = f"a table has one column of times, this one has {len(timed)}"
        raise Diag("bad-table", message, Span(source, 1, 1, 2), hint=f"known: {', '.join(scales)}")
    columns: dict[str, Any] = {}
    for place, name in enumerate(names):
        texts = [_cell(row, place, len(names), number, source) for number, row in enumerate(lines[1:], 2)]
        columns[name] = np.array(texts) if name in WORDS else _numbers(texts, name, source)
    return Measured(path.name, columns, columns.pop(timed[0]) * scales[timed[0]])


def _cell(row: Sequence[str], place: int, wanted: int, number: int, source: Source) -> str:
    if len(row) != wanted:
        raise Diag("bad-table", f"this row has {len(row)} values, the names are {wanted}", Span(source, number, 1, 2))
    return row[place].strip()


def _numbers(texts: Sequence[str], name: str, source: Source) -> Any:
    """A column as numbers, or as it stands where none of it is a number."""
    values = [_number(text) for text in texts]
    if all(v is None for v in values):
        return np.array(texts)
    for number, (text, value) in enumerate(zip(texts, values, strict=True), 2):
        if value is None or not math.isfinite(value) or value < 0 or (value == 0 and name in (*LATENCIES, "cycles")):
            raise Diag("bad-table", f"`{text}` is no size and no time of `{name}`", Span(source, number, 1, 2))
    return np.array(values, dtype=np.float64)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def validate(
    table: Measured,
    op: str,
    chip: Chip,
    *,
    dtype: str = "w16a16kv16",
    min_us: float = 0.0,
    warm: bool = True,
    tick: Tick | None = None,
) -> Validation:
    """Compare every row from `min_us` up. `op` is a kind of kernel table (`gemm`, `prefill`, ...) on a chip that runs
    whole kernels, an exchange between `num_gpus` devices of `message_bytes` (rows of other `op_name`s are left out),
    else an operator, whose dimensions are the columns.

    `tick` is told how many rows are done where they are priced one by one, and how many there are.

    `warm`: operands that fit are found in L2, as in a benchmark that repeats itself. Raises Diag `bad-table` for
    missing columns and for a table without a row that long, `unknown-op`.
    """
    mine = table.columns["op_name"] == op if op in WAYS and "op_name" in table.columns else True
    table = table.rows((table.seconds >= min_us * 1e-6) & mine)
    if not len(table):
        raise Diag("bad-table", f"no row of `{table.name}` is of `{op}` and takes {min_us:g} us")
    modelled, bounds = modelled_s(table, op, chip, dtype, warm=warm, tick=tick)
    error = modelled / table.seconds - 1
    size = np.abs(error)
    rows = tuple(
        Row({n: _plain(v[i]) for n, v in table.columns.items()}, float(table.seconds[i]), float(modelled[i]),
            float(error[i]), bounds[i])
        for i in np.argsort(-size, kind="stable")
    )  # fmt: skip
    figures = (size.mean(), np.median(size), np.quantile(size, 0.9), size.max(), error.mean())
    mape, median, p90, most, bias = (float(f) for f in figures)
    return Validation(len(rows), mape, median, p90, most, bias, rows)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    return int(value) if float(value).is_integer() else float(value)


def modelled_s(
    table: Measured, op: str, chip: Chip, dtype: str, *, warm: bool, tick: Tick | None = None
) -> tuple[Floats, list[str]]:
    """Seconds of every row and what bounds it; see `validate`."""
    if op in WAYS and set(EXCHANGED) <= set(table.columns):
        devices, sizes = (table.columns[n] for n in EXCHANGED)
        seconds, algorithms = collective_latency_s(op, devices, sizes, links_of(chip).fabric)
        return np.asarray(seconds), algorithms.tolist()
    found = kernel_unit(chip)
    if found is None or op not in KINDS:
        return _by_op(table, op, chip, dtype, kinds=found is not None, tick=tick)
    missing = [n for n in KINDS[op].columns if n not in table.columns]
    if missing:
        hint = f"`{op}` needs {', '.join(KINDS[op].columns)}"
        raise Diag("bad-table", f"`{table.name}` has no column `{missing[0]}`", hint=hint)
    dtypes = parse_dtypes(dtype)
    width = bits(_stored(op, dtypes)) / 8
    device, kernels = on_kernels(*found, bits=_wide(dtypes))
    priced = price_table(op, table.columns, device, kernels, width=width, warm=warm)
    return priced.seconds, priced.bound().tolist()


def _stored(op: str, dtypes: DtypeMap) -> str:
    return dtypes.kv if op == "decode" else dtypes.weight if op in ("gemm", "moe") else dtypes.activation


def _wide(dtypes: DtypeMap) -> int:
    """Bits of the wider operand, which sets the rate of the tensor cores."""
    return math.ceil(max(bits(dtypes.weight), bits(dtypes.activation)))


def kernel_unit(chip: Chip) -> tuple[Unit, KernelCompute] | None:
    """The unit of a chip that runs whole kernels, None where there is none."""
    for unit in chip.units.values():
        if isinstance(unit.template, KernelCompute):
            return unit, unit.template
    return None


def on_kernels(unit: Unit, template: KernelCompute, bits: int) -> tuple[Device, Generation]:
    """A unit as kernels see it, and its generation of kernels with its calibration."""
    name, scale = template.generation()
    kernels = load_generation(name)
    return device_of(unit, template, bits), kernels.scaled(scale) if isinstance(scale, Scale) else kernels


def _by_op(
    table: Measured, op: str, chip: Chip, dtype: str, *, kinds: bool, tick: Tick | None
) -> tuple[Floats, list[str]]:
    """Row by row as `price` does, equal rows once."""
    if op not in library().ops:
        raise unknown("op", op, [*(KINDS if kinds else ()), *library().ops])
    names = [n for n, v in table.columns.items() if v.dtype.kind == "f"]
    known: dict[tuple[float, ...], tuple[float, str]] = {}
    found = []
    for row in zip(*(table.columns[n].tolist() for n in names), strict=True):
        if row not in known:
            priced = price_op(op, {n: (v,) for n, v in zip(names, row, strict=True)}, chip, dtype=dtype)
            known[row] = priced.latency_s, priced.bound
        found.append(known[row])
        if tick:
            tick(len(found), len(table))
    return np.array([s for s, _ in found]), [b for _, b in found]
