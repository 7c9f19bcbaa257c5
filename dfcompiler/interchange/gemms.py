"""Lists of layers as SCALE-Sim reads them (`topologies/*.csv`): a row per GEMM, or per convolution.

A row of GEMM has M, N and K. A row of a convolution becomes the GEMM of its unfolded input, as SCALE-Sim prices it:
a row of M per output pixel and image, K of the filter's points, N filters.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from dfcompiler.diagnostics import Diag, Source, Span
from dfcompiler.dtypes import DtypeMap
from dfcompiler.interchange.documents import Dropped
from dfcompiler.interchange.machine import identifier

GEMM = ("m", "n", "k")
CONVOLUTION = (
    "ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter", "strides",
)  # fmt: skip
MOST = 2**40  # as sizes of a graph
OP = """\
op imported_gemm(x: [m, k], w: w [k, n]) -> (y: [m, n]) {
  y[m, n] = sum(k) x[m, k] * w[k, n]
}
"""


@dataclass(frozen=True)
class Gemm:
    """`[m, k] x [k, n]`."""

    name: str
    m: int
    n: int
    k: int


def read_graph(source: Source, name: str, dtypes: DtypeMap) -> tuple[str, tuple[Dropped, ...]]:
    """The graph of a list: a node per row, none of which waits for another.

    Raises Diag `missing-input` for columns, `bad-table` for a row, each at its place.
    """
    lines = [(i, line) for i, line in enumerate(source.text.splitlines(), 1) if line.strip()]
    if not lines:
        raise Diag("bad-table", f"`{source.name}` is empty", Span(source, 1, 1, 2))
    columns = [_title(c) for c in _cells(lines[0][1])]
    wanted = next((w for w in (GEMM, CONVOLUTION) if set(w) <= set(columns)), None)
    if wanted is None:
        hint = f"a list of GEMMs has the columns {', '.join(GEMM)}; one of convolutions {', '.join(CONVOLUTION)}"
        raise Diag(
            "missing-input", f"`{source.name}` has the columns {', '.join(columns)}", _line(source, 1), hint=hint
        )
    used = set[str]()
    found = [_row(source, i, dict(zip(columns, _cells(line), strict=False)), wanted, used) for i, line in lines[1:]]
    if not found:
        raise Diag("bad-table", f"`{source.name}` has no rows", _line(source, 1))
    first = source.line(lines[0][0])
    left = (c for c in columns[1:] if c and c not in (*wanted, "batch size", "layer", "layer name"))
    dropped = tuple(Dropped(c, "no size of a GEMM", _column(source, lines[0][0], first, c)) for c in left)
    return _text(identifier(name), found, dtypes), dropped


def _cells(line: str) -> list[str]:
    return [c.strip() for c in next(csv.reader([line]), [])]


def _title(cell: str) -> str:
    return re.sub(r"\s+", " ", cell.strip().lower())


def _line(source: Source, number: int) -> Span:
    return Span(source, number, 1, len(source.line(number)) + 1)


def _column(source: Source, number: int, line: str, title: str) -> Span:
    start = max(0, line.lower().find(title)) + 1
    return Span(source, number, start, start + len(title))


def _row(source: Source, number: int, cells: Mapping[str, str], wanted: Sequence[str], used: set[str]) -> Gemm:
    line = _line(source, number)

    def size(column: str) -> int:
        text = cells.get(column, "")
        if not re.fullmatch(r"\d+", text) or not 1 <= int(text) <= MOST:
            raise Diag("bad-table", f"`{text}` is no size of `{column}`: a whole number from 1 to 2^40", line)
        return int(text)

    name = _unique(identifier(next(iter(cells.values()))), used)
    if wanted is GEMM:
        return Gemm(name, *(size(c) for c in GEMM))
    high, wide, over, across, channels, filters, stride = (size(c) for c in CONVOLUTION)
    if over > high or across > wide:
        raise Diag("bad-table", f"a filter of {over} x {across} on an input of {high} x {wide}", line)
    images = size("batch size") if cells.get("batch size") else 1
    pixels = ((high - over) // stride + 1) * ((wide - across) // stride + 1)
    return Gemm(name, images * pixels, filters, over * across * channels)


def _unique(name: str, used: set[str]) -> str:
    """The name, or the first with a number, that leaves room for those of its operands."""
    numbered = (name if n == 1 else f"{name}_{n}" for n in count(1))
    found = next(n for n in numbered if used.isdisjoint(_names(n)))
    used.update(_names(found))
    return found


def _names(name: str) -> tuple[str, str, str]:
    return name, f"{name}_x", f"{name}_w"


def _text(name: str, gemms: Sequence[Gemm], dtypes: DtypeMap) -> str:
    return f'{OP}\ngraph "{name}" {{\n' + "".join(f"  {line}\n" for line in _lines(gemms, dtypes)) + "}\n"


def _lines(gemms: Sequence[Gemm], dtypes: DtypeMap) -> Iterator[str]:
    dtype, stored = dtypes.of(None), dtypes.of("w")
    for g in gemms:
        yield f"input {g.name}_x: {dtype} [{g.m}, {g.k}]"
        yield f"weight {g.name}_w: {stored} [{g.k}, {g.n}]"
        yield f"{g.name}: {dtype} [{g.m}, {g.n}] = imported_gemm({g.name}_x, {g.name}_w)"
    yield f"output {', '.join(g.name for g in gemms)}"
