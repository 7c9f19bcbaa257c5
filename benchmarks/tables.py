"""Tables for a terminal and for a page at once: Markdown with aligned columns."""

from __future__ import annotations

from collections.abc import Sequence


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> str:
    """A Markdown table under a heading; numbers are to be formatted before."""
    cells = [[str(c) for c in row] for row in (headers, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join([f"## {title}", "", *lines, *(["", *notes] if notes else [])])


def milliseconds(seconds: float) -> str:
    """`12.345 ms`."""
    return f"{seconds * 1e3:,.3f} ms"
