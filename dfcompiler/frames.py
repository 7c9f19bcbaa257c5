"""Results as tables: for pandas, polars and Arrow, each imported when it is asked for, and for notebooks."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import islice
from typing import Any, Protocol, TypeAlias

from dfcompiler.diagnostics import Diag

SHOWN = 60  # rows of a notebook's table


class Values(Protocol):
    """A column: a list, or an array of one dimension."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


Columns: TypeAlias = Mapping[str, Values]


class Tabular(ABC):
    """A result with a table: `columns` of equal length by name, units last in the names."""

    @abstractmethod
    def columns(self) -> Columns:
        """The table, column by column."""

    @abstractmethod
    def title(self) -> str:
        """What the table is of, on one line."""

    def facts(self) -> Mapping[str, str]:
        """What is said above the table, by label."""
        return {}

    def records(self) -> list[dict[str, Any]]:
        """The table, a dictionary per row."""
        columns = self.columns()
        plain = [getattr(values, "tolist", lambda v=values: v)() for values in columns.values()]  # of arrays, numbers
        return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame`; raises Diag `no-pandas`."""
        return package("pandas").DataFrame(dict(self.columns()))

    def to_polars(self) -> Any:
        """The table as a `polars.DataFrame`; raises Diag `no-polars`."""
        return package("polars").DataFrame(dict(self.columns()))

    def to_arrow(self) -> Any:
        """The table as a `pyarrow.Table`; raises Diag `no-pyarrow`."""
        return arrow(self.columns())

    def _repr_html_(self) -> str:
        """Title, facts and the first rows, for notebooks."""
        columns = self.columns()
        count = len(next(iter(columns.values()), ()))
        facts = "".join(_row("td", (f"<b>{escape(k)}</b>", escape(v)), left=True) for k, v in self.facts().items())
        rows = islice(zip(*columns.values(), strict=True), SHOWN)
        body = "".join(_row("td", (escape(_said(v)) for v in row)) for row in rows)
        rest = f"<p>and {count - SHOWN:,} rows more: <code>.to_pandas()</code></p>" if count > SHOWN else ""
        head = _row("th", map(escape, columns))
        return f"<h4>{escape(self.title())}</h4><table>{facts}</table><table>{head}{body}</table>{rest}"


def arrow(columns: Columns) -> Any:
    """Columns as a `pyarrow.Table`; raises Diag `no-pyarrow`."""
    pyarrow = package("pyarrow")
    return pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})


def package(name: str) -> Any:
    """A package that only some need; raises Diag `no-pandas`, `no-polars` or `no-pyarrow` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        codes = {"pandas": "no-pandas", "polars": "no-polars", "pyarrow": "no-pyarrow"}
        hint = f"pip install {name}; `.records()` and CSV files need nothing"
        raise Diag(codes[name], f"this needs the package `{name}`, which is not installed", hint=hint) from error


def _row(kind: str, cells: Iterable[str], left: bool = False) -> str:
    style = ' style="text-align:left"' if left else ""
    return "<tr>" + "".join(f"<{kind}{style}>{cell}</{kind}>" for cell in cells) + "</tr>"


def _said(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
