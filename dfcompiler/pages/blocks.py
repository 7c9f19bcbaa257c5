"""What a page is made of: sections of facts, tables, figures and prose. Values only; the template draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """A label, what is said, and what the reader may want to know of it."""

    label: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Facts:
    """Labels and texts, one below the other."""

    rows: tuple[Fact, ...]
    title: str = ""
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Prose:
    """A paragraph; `tone` is `plain` or `warning`."""

    text: str
    tone: str = "plain"
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Column:
    """A column: `number` columns stand right and sort by value; of a `choose` column readers pick one value; a `long`
    one may wrap."""

    title: str
    number: bool = False
    choose: bool = False
    long: bool = False


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it sorts by where that is another value, and the file that it leads to, if any."""

    text: str
    key: float | str | None = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts by its titles; with `search` a field above it leaves the rows that hold a word."""

    id: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    search: bool = False
    kind: ClassVar[str] = "table"

    def choices(self, at: int) -> list[str]:
        """The different values of a column, sorted."""
        return sorted({row[at].text for row in self.rows})


@dataclass(frozen=True)
class View:
    """A button above a figure of time, which shows the seconds from `start` to `end`."""

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class Figure:
    """A figure of plotly: traces and layout. Figures of the same `time` show the same seconds; those of the same
    `brush` the same choice of points."""

    id: str
    title: str
    data: list[Json]
    layout: Json
    about: str = ""
    time: str = ""
    brush: str = ""
    views: tuple[View, ...] = ()
    half: bool = False  # whether two stand side by side in a wide window
    fits: bool = False  # whether the first axis up follows what of the first trace is seen
    finds: str = ""  # the table whose rows a click on a point looks for
    kind: ClassVar[str] = "figure"

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.layout["height"])


Block: TypeAlias = Facts | Prose | Table | Figure


@dataclass(frozen=True)
class Section:
    """A part of a page, with an entry in its contents."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Tile:
    """A number that is seen first: its name, the number, what it is beside."""

    label: str
    value: str
    about: str = ""


@dataclass(frozen=True)
class Chapter:
    """All that is told of one result."""

    title: str
    about: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    links: Mapping[str, str] = field(default_factory=dict)  # text -> a file beside the page
