"""What is written of a run: a row per request, what the replicas did over time, a trace of a window for Perfetto."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.frames import arrow
from dfcompiler.serving.answers import Objectives, met, times
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Series, Served
from dfcompiler.writing import whole, write_text

Arrays = Mapping[str, npt.NDArray[Any]]
Event = dict[str, Any]
PARQUET = ".parquet"
SHOWN = 2000  # requests of a window: more make a trace that no browser opens


def request_columns(requests: Requests, served: Served, wanted: Objectives) -> Arrays:
    """A row per request, in order of arrival; nan where it was rejected."""
    seen = times(requests, served)
    return {
        "arrival_s": requests.arrival_s,
        "prompt_tokens": requests.prompt_tokens,
        "output_tokens": requests.output_tokens,
        "first_token_s": served.first_token_s,
        "done_s": served.done_s,
        "ttft_s": seen.ttft,
        "tpot_s": seen.tpot,
        "max_tbt_s": seen.tbt,
        "e2e_s": seen.e2e,
        "preemptions": served.preemptions,
        "replica": served.replica,
        "rejected": served.rejected.astype(np.int64),
        "met": met(requests, served, wanted).astype(np.int64),
    }


def series_columns(series: Series, blocks: int) -> Arrays:
    """A row per step, or run of equal ones: batch, what it works on, the part of the cache in use, the queue."""
    names = ("replica", "start_s", "end_s", "steps", "prefill", "batch", "context", "waiting")
    return {n: series.column(n) for n in names} | {"kv_part": series.column("blocks") / max(1, blocks)}


def write_columns(columns: Arrays, path: Path) -> None:
    """A CSV, or a Parquet file where the name ends so. Raises Diag `no-pyarrow` where that is not installed."""
    if path.suffix == PARQUET:
        table = arrow(columns)
        with whole(path) as partial:
            importlib.import_module("pyarrow.parquet").write_table(table, partial)
        return
    with whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*(a.tolist() for a in columns.values()), strict=True))


# ---- Perfetto ----------------------------------------------------------------------------------


def window_trace(
    requests: Requests, served: Served, start_s: float, end_s: float, blocks: int, name: str
) -> dict[str, Any]:
    """A window in Chrome's event format: replicas are threads with their steps, requests slices that are waiting and
    then generating, batch, cache and queue are counters. Times are in microseconds.

    Raises Diag `bad-window` where it is empty or the run kept no series.
    """
    if not start_s < end_s or served.series is None:
        raise Diag("bad-window", f"there is nothing to show from {start_s:g} s to {end_s:g} s")
    inside = (requests.arrival_s < end_s) & (served.done_s > start_s)
    events = [*_names(name, served), *_steps(served.series, start_s, end_s, blocks)]
    for i in np.flatnonzero(inside)[:SHOWN].tolist():
        events += _request(i, requests, served)
    about = {"start_s": start_s, "end_s": end_s, "requests": int(inside.sum()), "shown": min(SHOWN, int(inside.sum()))}
    return {"displayTimeUnit": "ms", "otherData": about, "traceEvents": events}


def write_trace(trace: Mapping[str, Any], path: Path) -> None:
    """One JSON file, for https://ui.perfetto.dev."""
    write_text(path, json.dumps(trace, allow_nan=False))


def _names(name: str, served: Served) -> Iterator[Event]:
    for pid, title in ((1, name), (2, "requests")):
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": title}}
    for r in np.unique(served.replica[served.replica >= 0]).tolist():
        yield {"ph": "M", "name": "thread_name", "pid": 1, "tid": r, "args": {"name": f"replica {r}"}}


def _steps(series: Series, start_s: float, end_s: float, blocks: int) -> Iterator[Event]:
    columns = series_columns(series, blocks)
    inside = (columns["start_s"] < end_s) & (columns["end_s"] > start_s)
    rows = zip(*(columns[n][inside].tolist() for n in columns), strict=True)
    for row in rows:
        x = dict(zip(columns, row, strict=True))
        kind = "mixed" if x["prefill"] and x["batch"] else "prefill" if x["prefill"] else "decode"
        args = {n: x[n] for n in ("steps", "prefill", "batch", "context")}
        span = {"ts": _us(x["start_s"]), "dur": _us(x["end_s"] - x["start_s"])}
        yield {"ph": "X", "name": kind, "cat": kind, "pid": 1, "tid": int(x["replica"]), **span, "args": args}
        for title, value in (("batch", x["batch"]), ("queue", x["waiting"]), ("cache %", 100 * x["kv_part"])):
            said = f"{title}, replica {int(x['replica'])}"
            yield {"ph": "C", "name": said, "pid": 1, "ts": _us(x["start_s"]), "args": {title: round(value, 3)}}


def _request(i: int, requests: Requests, served: Served) -> Iterator[Event]:
    arrival, first, done = (float(x[i]) for x in (requests.arrival_s, served.first_token_s, served.done_s))
    args = {"prompt_tokens": int(requests.prompt_tokens[i]), "output_tokens": int(requests.output_tokens[i])}
    for title, a, b in (("to first token", arrival, first), ("tokens", first, done)):
        yield {
            "ph": "X",
            "name": title,
            "cat": title,
            "pid": 2,
            "tid": i,
            "ts": _us(a),
            "dur": _us(b - a),
            "args": args,
        }


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
