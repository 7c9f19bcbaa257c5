"""Tables for a terminal and for a page at once: Markdown with aligned columns."""

from __future__ import annotations

from collections.abc import Sequence


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> str:
    """A Markdown table under a heading; numbers are to be formatted before."""
    return "\n".join([f"## {title}", "", markdown(headers, rows), *(["", *notes] if notes else [])])


def markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [[str(c) for c in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def milliseconds(seconds: float) -> str:
    """`12.345 ms`."""
    return f"{seconds * 1e3:,.3f} ms"
