"""Keep the figures of benchmarks/RESULTS.md as the baseline, and say how others compare with it.

A figure is a number in a table: known by the heading above, by the words at the start of its row, and by its column.
Times of machines differ, so a baseline names its machine; ratios are for the same one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from tables import table

HERE = Path(__file__).resolve().parent
RESULTS, BASELINE = HERE / "RESULTS.md", HERE / "baseline.json"
TITLE = "Beside the baseline"
NUMBER = re.compile(r"([+-]?[\d,]*\.?\d+)( ?(?:ms|us|µs|s|x|%|mm2|MB))?")
TOLD = 0.05  # ratios nearer to 1 are counted, not listed

Figures: TypeAlias = dict[str, float]


def number(cell: str) -> float | None:
    """`1,234.5 ms` without its unit; None where a cell is no number."""
    found = NUMBER.fullmatch(cell.strip())
    return float(found[1].replace(",", "")) if found else None


def rows(text: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Heading, titles and cells of every row of every table."""
    heading, titles = "", list[str]()
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            titles = []
            continue
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not titles:
            titles = cells
        elif not all(set(c) <= {"-", ":"} for c in cells):
            yield heading, titles, cells


def figures(text: str) -> Figures:
    """Every figure of a page; those of a comparison with a baseline are none."""
    found: Figures = {}
    for heading, titles, cells in rows(text):
        if heading == TITLE:
            continue
        first = next((i for i, c in enumerate(cells) if number(c) is not None), len(cells))
        words = " ".join(cells[: max(first, 1)])
        for title, cell in list(zip(titles, cells, strict=False))[max(first, 1) :]:
            if (value := number(cell)) is not None:
                found.setdefault(f"{heading} / {words} / {title}", value)
    return found


def machine(text: str) -> str:
    """What a page says of where it was measured."""
    return next((x.partition("`make bench`. ")[2] for x in text.splitlines() if x.startswith("Written by")), "")


def kept() -> Mapping[str, object]:
    """The baseline: `machine` and `figures`."""
    found: Mapping[str, object] = json.loads(BASELINE.read_text(encoding="utf-8"))
    return found


def compared(text: str, baseline: Mapping[str, object]) -> str:
    """A table of the figures that differ from the baseline, the largest ratios first."""
    before, now = baseline["figures"], figures(text)
    assert isinstance(before, dict)
    ratios = {n: now[n] / before[n] for n in now if before.get(n) and now[n] > 0}
    moved = sorted((n for n in ratios if abs(ratios[n] - 1) > TOLD), key=lambda n: -ratios[n])
    same = len(ratios) - len(moved)
    notes = [
        f"Baseline: {baseline['machine']} {same} of {len(ratios)} figures are within {TOLD:.0%} of it; "
        f"{len(now.keys() - before.keys())} are new, {len(before.keys() - now.keys())} are gone."
    ]
    lines = [[n.replace(" / ", ": "), f"{before[n]:g}", f"{now[n]:g}", f"{ratios[n]:.2f}"] for n in moved]
    return table(TITLE, ["figure", "baseline", "now", "now / baseline"], lines, notes) + "\n"


def keep() -> None:
    """Make what RESULTS.md holds the baseline."""
    text = RESULTS.read_text(encoding="utf-8")
    said = {"machine": machine(text), "figures": figures(text)}
    BASELINE.write_text(json.dumps(said, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep()
