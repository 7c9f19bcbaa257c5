"""How far the times of a chip can be trusted: how the models of its kind did against measurements, or that none exist.

`measured.json` beside this file is written by `make validate`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from dfcompiler.pages.blocks import Block, Cell, Column, Prose, Table

NEVER = (
    "The chip `{}` has never been measured: nothing here was compared with silicon of it. What is proven is proven of "
    "the model: the mapping within its map space, and prices against executed loop nests."
)
SINGLE = (
    "Errors are of single kernels and exchanges, in % of the measured time, on rows that nothing was fitted on; the "
    "mean is of absolute errors, and a bias above 0 says that the model is slower. "
)
COLUMNS = (
    Column("what was measured"),
    Column("kernel or exchange"),
    Column("the model was fitted on"),
    Column("rows", number=True),
    Column("mean error", number=True),
    Column("from 50 µs up", number=True),
    Column("median", number=True),
    Column("90 of 100 below", number=True),
    Column("bias", number=True),
)


def measured(chip: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """What was measured on a chip of this name: single times, and runs of a server."""
    found = json.loads(files(__package__).joinpath("measured.json").read_text(encoding="utf-8"))
    rows, served = ([row for row in found[kind] if row["chip"] == chip] for kind in ("rows", "served"))
    return rows, served


def trust_blocks(chip: str, changed: bool, where: str) -> Iterator[Block]:
    """The errors on a chip; `changed` says that settings of it were, so that it is not the one that was measured.
    `where` makes ids different."""
    rows, served = measured(chip)
    if not rows and not served:
        yield Prose(NEVER.format(chip), "warning")
        return
    if changed:
        yield Prose(f"Settings of `{chip}` were changed: these errors are of the chip as its file has it.", "warning")
    for run in served:
        errors = f"mean TPOT {run['tpot']:+.1f} %, TTFT {run['ttft']:+.1f} %, latency {run['latency']:+.1f} %"
        host = f"{run['host_us']:,} µs of the host in a step"
        yield Prose(f"The model against a real server ({run['what']}), with {host}: {errors}.")
    if rows:
        yield Table(
            f"measured-{where}-{chip}", COLUMNS, tuple(_row(x) for x in rows), "Modelled against measured times"
        )
        yield Prose(
            SINGLE + ("Whole runs are those above." if served else "Whole steps of this chip were not measured.")
        )


def _row(x: Mapping[str, Any]) -> tuple[Cell, ...]:
    numbers = (x[k] for k in ("mape", "mape_from_50us", "median", "p90"))
    return (
        Cell(x["what"]),
        Cell(x["operator"]),
        Cell(x["fitted_on"]),
        Cell(f"{x['rows']:,}", x["rows"]),
        *(Cell(f"{v:.1f} %", v) for v in numbers),
        Cell(f"{x['bias']:+.1f} %", x["bias"]),
    )
