"""Tables beside a result: the columns of a CSV or Parquet file as numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.pages.results import Result, damaged

Floats = NDArray[np.float64]


def table_in(result: Result, name: str) -> dict[str, Floats] | None:
    """The columns of `NAME.csv` or `NAME.parquet` beside the result; None where there is neither."""
    for path in (result.folder / f"{name}.csv", result.folder / f"{name}.parquet"):
        if path.is_file():
            try:
                return _csv(path) if path.suffix == ".csv" else _parquet(path)
            except (ValueError, KeyError, StopIteration, csv.Error) as error:
                raise damaged(result.kind, path, f"is no table of numbers: {error}") from None
    return None


def _csv(path: Path) -> dict[str, Floats]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        titles = next(rows)
        values = np.array([[float(x or "nan") for x in row] for row in rows], dtype=np.float64).reshape(-1, len(titles))
    return {title: values[:, i] for i, title in enumerate(titles)}


def _parquet(path: Path) -> dict[str, Floats]:
    try:
        import pyarrow.parquet  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        hint = "pip install pyarrow, or serve without --parquet"
        raise Diag("no-pyarrow", f"`{path}` wants pyarrow, which is not installed", hint=hint) from error
    read = pyarrow.parquet.read_table(path)
    return {n: np.asarray(read.column(n).to_numpy(), dtype=np.float64) for n in read.column_names}


def short(values: Floats) -> list[float | None]:
    """Six digits of each: as many as a picture shows."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]
