"""Numbers with units, and tables that fit the terminal."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160  # where there is no terminal and COLUMNS says nothing
WRAPPED = 24  # characters of a wrapped column at least, before others give way
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))


def console() -> Console:
    """stdout; without colours in a pipe and under NO_COLOR."""
    return Console(file=sys.stdout, width=_width(), highlight=False, emoji=False, markup=False, soft_wrap=False)


def _width() -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or PIPE_WIDTH
    except (OSError, ValueError):
        return PIPE_WIDTH


# ---- numbers -----------------------------------------------------------------------------------


def digits(value: float, count: int = 4) -> str:
    """`count` significant digits, never in exponents: 9.776, 97.76, 1,637."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    rounded = float(f"{abs(value):.{count - 1}e}")
    after = max(0, count - 1 - math.floor(math.log10(rounded)))
    return f"{value:,.{min(after, 12)}f}"


def seconds(value: float) -> str:
    """`9.776 ms`."""
    return _scaled(value, "s", SMALL)


def joules(value: float) -> str:
    """`62.78 mJ`."""
    return _scaled(value, "J", SMALL)


def large(value: float, unit: str) -> str:
    """`19.46 GB`, `2 TB/s`, `8.03 G`."""
    return _scaled(value, unit, SCALES)


def _scaled(value: float, unit: str, scales: Sequence[tuple[float, str]]) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    scale, prefix = next((s for s in scales if abs(value) >= s[0] * 0.99995), scales[-1])
    return f"{_trimmed(digits(value / scale), value / scale)} {prefix}{unit}".strip()


def _trimmed(text: str, value: float) -> str:
    """Without zeros behind the point where the number is exact."""
    return text.rstrip("0").rstrip(".") if "." in text and float(text.replace(",", "")) == value else text


def percent(share: float) -> str:
    """`8.1 %`; never rounded to 100 or 0 where it is not."""
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    if 0 < share < 0.0005 or 0.9995 <= share < 1:
        return "<0.1 %" if share < 0.5 else ">99.9 %"
    return f"{100 * share:.1f} %"


def capacity(size: float) -> str:
    """`2 MiB` where that is exact, else `80 GB`."""
    for scale, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= scale and size % scale == 0 and size / scale < 4096:
            return f"{size / scale:g} {unit}"
    return large(size, "B")


def quantity(value: int | float | str, unit: str) -> str:
    """An axis value with its unit, as one would write it in a chip."""
    if isinstance(value, str):
        return value
    from dfcompiler.hardware.settings import DIMENSIONS  # who shows an axis has them already

    match unit:
        case "B":
            return capacity(value)
        case "B/s" | "Hz":
            return large(value, unit)
        case "s":
            return seconds(value)
        case _:
            return f"{value:,.10g} {unit if unit in DIMENSIONS else ''}".strip()


def pairs(values: Mapping[str, object]) -> str:
    """`n=64 k=64`."""
    return " ".join(f"{k}={v}" for k, v in values.items())


def first_sentence(doc: str | None) -> str:
    """The first sentence of a text, on one line."""
    words = " ".join((doc or "").split())
    head, stop, _ = words.partition(". ")
    return head + stop.strip() if stop else words


# ---- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """A column: `drop` is its turn to go on a narrow terminal (1 first), 0 to stay."""

    title: str
    right: bool = False
    drop: int = 0
    style: str = ""
    wrap: bool = False


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, rules: Iterable[int] = (), titles: bool = True
) -> None:
    """Print rows under titles. Columns go in their turn until the rest fits; `rules` are rows with a line above."""
    out, body, lines = console(), [list(r) for r in rows], set(rules)
    kept = list(range(len(columns)))
    while True:
        drawn = _table(columns, body, kept, lines, titles)
        leaving = [i for i in kept if columns[i].drop]
        if not leaving or _fits(out, drawn, [columns[i] for i in kept]):
            break
        kept.remove(min(leaving, key=lambda i: columns[i].drop))
    _print(out, drawn)


def _print(out: Console, drawn: Table | Text) -> None:
    with out.capture() as taken:
        out.print(drawn)
    plain("\n".join(line.rstrip() for line in taken.get().splitlines()))


def _fits(out: Console, drawn: Table, columns: Sequence[Column]) -> bool:
    size = Measurement.get(out, out.options.update(width=100_000), drawn)
    return size.maximum <= out.width or (any(c.wrap for c in columns) and size.minimum <= out.width)


def _table(
    columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], kept: Sequence[int], rules: set[int], titles: bool
) -> Table:
    drawn = Table(
        show_header=titles,
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for i in kept:
        c = columns[i]
        drawn.add_column(
            Text(c.title),
            justify="right" if c.right else "left",
            style=c.style,
            no_wrap=not c.wrap,
            overflow="fold" if c.wrap else "ellipsis",
            min_width=min(WRAPPED, max((len(r[i]) for r in rows), default=0)) if c.wrap else None,
        )
    for number, row in enumerate(rows):
        if number in rules and number:
            drawn.add_section()
        drawn.add_row(*(row[i] if isinstance(row[i], Text) else Text(str(row[i])) for i in kept))
    return drawn


def facts(lines: Iterable[tuple[str, str | Text]]) -> None:
    """Print `label  text` lines; long texts go on below themselves."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in lines:
        grid.add_row(Text(label), text if isinstance(text, Text) else Text(text))
    _print(console(), grid)


def heading(text: str) -> None:
    """Print a bold line."""
    console().print(Text(text, style="bold"))


def prose(text: str) -> None:
    """Print a text as one paragraph, wrapped."""
    _print(console(), Text(" ".join(text.split())))


def plain(text: str = "") -> None:
    """Print a text as it is."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
