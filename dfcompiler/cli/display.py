"""Tables and lines that fit the terminal; numbers with units are those of `dfcompiler.amounts`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from dfcompiler.amounts import capacity, digits, joules, large, pairs, percent, quantity, seconds

__all__ = [
    "Column",
    "capacity",
    "console",
    "digits",
    "facts",
    "first_sentence",
    "heading",
    "joules",
    "large",
    "pairs",
    "percent",
    "plain",
    "prose",
    "quantity",
    "seconds",
    "table",
]

PIPE_WIDTH = 160  # where there is no terminal and COLUMNS says nothing
WRAPPED = 24  # characters of a wrapped column at least, before others give way


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
