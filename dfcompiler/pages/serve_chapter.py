"""The chapter on a run of `dfc serve`: what users feel over the rate, and what replicas did over time."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcompiler.amounts import digits, joules, large, percent, seconds
from dfcompiler.diagnostics import Diag
from dfcompiler.pages.blocks import Block, Cell, Chapter, Column, Fact, Facts, Figure, Json, Prose, Section, Table, Tile
from dfcompiler.pages.results import Result, damaged
from dfcompiler.pages.style import INK, PALETTE, axis, layout
from dfcompiler.pages.trust import trust_blocks

TIMES = (("ttft", "time to first token"), ("tbt", "time between tokens"), ("tpot", "time per output token"))
LEVELS = ("p50", "p90", "p99")
BINS = 800  # columns of pixels of a figure over time
COUNTS = 200  # points of a distribution

Floats = NDArray[np.float64]


def serve_chapter(result: Result) -> Chapter:
    """All that is told of it. Raises Diag `bad-result` where a table beside it is not what `dfc serve` writes."""
    r = result.said
    sections = [Section("felt", "What users feel", tuple(_felt(result)))]
    if r.get("curve"):
        sections.append(Section("rates", "Over the rate", tuple(_curves(r))))
    sections.append(Section("replicas", "What replicas did", tuple(_series(result))))
    chips = list(dict.fromkeys(pool["chip"] for pool in r.get("pools", ())))
    sections.append(Section("trust-serving", "How far to trust it",
                            tuple(block for chip in chips for block in trust_blocks(chip, False))))  # fmt: skip
    sections.append(Section("origin-serving", "Where it comes from", tuple(_origin(result))))
    files = ("serve.json", "requests.csv", "series.csv", "requests.parquet", "series.parquet")
    links = {name: name for name in files if (result.folder / name).is_file()}
    if r.get("pools") and not (result.folder / "mapping.json").is_file() and (result.folder / "trace.json").is_file():
        links["a window as a trace, for ui.perfetto.dev"] = "trace.json"
    return Chapter(f"{r.get('model', 'a model')} on {r.get('chip', 'a chip')}, serving", r.get("load", ""),
                   tuple(_tiles(r)), tuple(sections), links)  # fmt: skip


def _tiles(r: Mapping[str, Any]) -> Iterator[Tile]:
    if r.get("max_rate_req_s"):
        what = f"requests/s keep the objective for {percent(r.get('attain', 0.99))}"
        yield Tile("the highest rate", f"{digits(r['max_rate_req_s'], 3)}/s", what)
    yield Tile(
        "throughput", f"{digits(r['throughput_tok_s'])} tokens/s", f"{digits(r['throughput_req_s'], 3)} requests/s"
    )
    for name, what in TIMES:
        spread = r[f"{name}_s"]
        if spread["p50"] is not None:
            said = f"median; p99 {seconds(spread['p99'])}" + (f"; at most {seconds(r['slo'][name])} asked for"
                                                              if name in r.get("slo", {}) else "")  # fmt: skip
            yield Tile(what, seconds(spread["p50"]), said)
    if r.get("slo"):
        yield Tile(
            "objective kept", percent(r["slo_attainment"]), f"goodput {digits(r['goodput_req_s'], 3)} requests/s"
        )
    if spent := r.get("spending"):
        usd = f"; {digits(spent['usd'], 3)} USD" if spent["usd"] is not None else ""
        yield Tile("a million tokens", joules(spent["joules"]), f"{digits(spent['average_w'], 3)} W on average{usd}")


# ---- over the rate -----------------------------------------------------------------------------


def _curves(r: Mapping[str, Any]) -> Iterator[Block]:
    points = sorted(r["curve"], key=lambda p: p["rate_req_s"])
    for name, what in TIMES:
        yield _curve(r, points, name, what)
    yield _goodput(r, points)
    columns = (Column("requests/s", number=True), *(Column(f"{n.upper()} {q}", number=True) for n, _ in TIMES for q in LEVELS),
               Column("kept", number=True), Column("goodput/s", number=True), Column("tokens/s", number=True))  # fmt: skip
    rows = tuple(
        (
            Cell(digits(p["rate_req_s"]), p["rate_req_s"]),
            *(_time(p[f"{n}_s"][q]) for n, _ in TIMES for q in LEVELS),
            Cell(percent(p["slo_attainment"]), p["slo_attainment"]),
            Cell(digits(p["goodput_req_s"], 3), p["goodput_req_s"]),
            Cell(digits(p["throughput_tok_s"]), p["throughput_tok_s"]),
        )
        for p in points
    )
    yield Table("rates-table", columns, rows, "All rates that were tried")


def _time(value: float | None) -> Cell:
    return Cell("-" if value is None else seconds(value), value)


def _curve(r: Mapping[str, Any], points: Sequence[Mapping[str, Any]], name: str, what: str) -> Figure:
    """Percentiles of one time over the rate, with the limit that was asked for and the highest rate that keeps it."""
    data: list[Json] = []
    for level, colour, dash in zip(LEVELS, PALETTE, ("solid", "dash", "dot"), strict=False):
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": level, "x": [p["rate_req_s"] for p in points],
            "y": [p[f"{name}_s"][level] for p in points], "line": {"color": colour, "dash": dash, "width": 2},
            "marker": {"size": 6},
            "hovertemplate": f"{level}: %{{y:.4s}}s at %{{x:.4g}} requests/s<extra></extra>",
        })  # fmt: skip
    lines, notes = [], []
    if (limit := r.get("slo", {}).get(name)) is not None:
        lines.append(_rule("y", limit))
        notes.append(
            _note(f"asked for: {seconds(limit)}", x=0, xref="paper", xanchor="left", y=np.log10(limit), yref="y")
        )
    if highest := r.get("max_rate_req_s"):
        lines.append(_rule("x", highest))
        notes.append(_note(f"{digits(highest, 3)}/s", x=highest, xref="x", xanchor="right", y=1, yref="paper"))
    return Figure(
        f"curve-{name}",
        f"{what[0].upper()}{what[1:]} ({name.upper()})",
        data,
        layout(
            320,
            xaxis=axis("requests per second", rangemode="tozero"),
            yaxis=axis("seconds", "s", log=True),
            shapes=lines,
            annotations=notes,
        ),
    )


def _rule(along: str, value: float) -> Json:
    other = "x" if along == "y" else "y"
    return {
        "type": "line", f"{along}0": value, f"{along}1": value, f"{other}0": 0, f"{other}1": 1,
        f"{other}ref": "paper", "line": {"color": INK, "width": 1.5, "dash": "dashdot"},
    }  # fmt: skip


def _note(text: str, **place: Any) -> Json:
    return {"text": text, "showarrow": False, "yanchor": "bottom", "font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.8)"} | place  # fmt: skip


def _goodput(r: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> Figure:
    rates = [p["rate_req_s"] for p in points]
    data = [
        {"type": "scatter", "mode": "lines", "name": "what comes", "x": rates, "y": rates,
         "line": {"color": "#8a929b", "dash": "dot", "width": 1.5}, "hoverinfo": "skip"},
        *({"type": "scatter", "mode": "lines+markers", "name": what, "x": rates, "y": [p[key] for p in points],
           "line": {"color": colour, "width": 2}, "marker": {"size": 6, "symbol": symbol},
           "hovertemplate": f"{what}: %{{y:.4g}}/s at %{{x:.4g}}/s<extra></extra>"}
          for key, what, colour, symbol in (("throughput_req_s", "served", PALETTE[0], "circle"),
                                            ("goodput_req_s", "goodput: served within the objective", PALETTE[1], "square"))),
    ]  # fmt: skip
    return Figure("goodput", "Throughput and goodput", data,
                  layout(320, xaxis=axis("requests per second that come", rangemode="tozero"),
                         yaxis=axis("requests per second", rangemode="tozero")),
                  about="Served requests per second are counted to the last token, so short runs stay below what comes.")  # fmt: skip


# ---- what users feel, and over time ------------------------------------------------------------


def _felt(result: Result) -> Iterator[Block]:
    r = result.said
    columns = (Column("seconds"), *(Column(q, number=True) for q in ("mean", "p50", "p90", "p95", "p99")))
    names = (*TIMES, ("e2e", "end to end"))
    rows = tuple(
        (Cell(what), *(_time(r[f"{n}_s"][q]) for q in ("mean", "p50", "p90", "p95", "p99"))) for n, what in names
    )
    rate = f" at {digits(r['rate_req_s'], 3)} requests/s" if r.get("rate_req_s") else ""
    lost = f", {r['rejected']:,} rejected" if r.get("rejected") else ""
    yield Prose(
        f"{r['completed']:,} of {r['requests']:,} requests were served{rate}{lost}, with {r['preemptions']:,} preemptions."
    )
    yield Table("felt-table", columns, rows, "")
    requests = table_in(result, "requests")
    if requests is not None:
        yield _distributions(r, requests)


def _distributions(r: Mapping[str, Any], requests: Mapping[str, Floats]) -> Figure:
    """The part of the requests whose time is at most so long."""
    data: list[Json] = []
    shown = (
        ("ttft_s", "to the first token"),
        ("max_tbt_s", "longest gap between tokens"),
        ("tpot_s", "per output token"),
    )
    for (key, what), colour, dash in zip(shown, PALETTE, ("solid", "dash", "dot"), strict=False):
        values = np.sort(requests[key][np.isfinite(requests[key])])
        if len(values):
            at = np.unique(np.linspace(0, len(values) - 1, min(COUNTS, len(values))).astype(int))
            data.append({
                "type": "scatter", "mode": "lines", "name": what, "x": _short(values[at]),
                "y": _short((at + 1) / len(values)), "line": {"color": colour, "dash": dash, "width": 2, "shape": "hv"},
                "hovertemplate": f"{what}: %{{y:.1%}} take at most %{{x:.4s}}s<extra></extra>",
            })  # fmt: skip
    return Figure(
        "distributions", "How long requests wait", data,
        layout(340, xaxis=axis("seconds", "s", log=True), yaxis=axis("part of the requests", tickformat=".0%", range=[0, 1.02])),
        about="For every time, the part of the requests for which it is at most so long.",
    )  # fmt: skip


def _series(result: Result) -> Iterator[Block]:
    series = table_in(result, "series")
    if series is None or not len(series["start_s"]):
        yield Prose("`dfc serve -o DIR` writes what replicas did over time beside serve.json; it is not there.")
    else:
        yield _over_time(series)
    yield Table("pools", _POOLS, tuple(_pool(p) for p in result.said.get("pools", ())), "Pools")


def _over_time(series: Mapping[str, Floats]) -> Figure:
    """Sequences, cache and queue: means over equal spans of time, of all replicas together."""
    start, end = series["start_s"], series["end_s"]
    edges = np.linspace(float(start.min()), float(end.max()), BINS + 1)
    rows = (("batch", "sequences", "sequences that decode", PALETTE[0]), ("prefill", "tokens", "tokens of a prefill in a step", PALETTE[2]),
            ("waiting", "requests", "requests that wait", PALETTE[1]), ("kv_part", "part", "part of the cache in use", PALETTE[3]))  # fmt: skip
    many = len(np.unique(series["replica"]))
    data, axes = [], {}
    for i, (key, unit, what, colour) in enumerate(rows):
        mean = binned(start, end, series[key], edges) / (many if key == "kv_part" else 1)
        n = "" if not i else str(i + 1)
        top = 1 - i * 0.26
        axes[f"yaxis{n}"] = axis(unit, domain=[top - 0.2, top], rangemode="tozero", fixedrange=True,
                                 **({"tickformat": ".0%"} if key == "kv_part" else {}))  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines", "name": what, "x": _short(edges[:-1]), "y": _short(mean), "yaxis": f"y{n}",
            "line": {"color": colour, "width": 1.5, "shape": "hv"}, "fill": "tozeroy",
            "hovertemplate": f"{what}: %{{y:.4~g}}<extra></extra>",
        })  # fmt: skip
    each = f" of all {many} replicas together" if many > 1 else ""
    return Figure(
        "over-time", "Batch, prefill, queue and cache over time", data,
        layout(620, dragmode="pan", hovermode="x unified", xaxis=axis("seconds from the first arrival", anchor=f"y{len(rows)}"), **axes),
        about=f"Means{each} over {BINS} equal spans of {seconds(float(edges[1] - edges[0]))}. Drag to move, scroll to zoom.",
    )  # fmt: skip


def binned(start: Floats, end: Floats, values: Floats, edges: Floats) -> Floats:
    """The time average within each bin of values that hold from `start` to `end`; rows of several replicas add up."""
    total = np.zeros(len(edges))
    order = np.argsort(np.concatenate([start, end]), kind="stable")
    times = np.concatenate([start, end])[order]
    change = np.concatenate([values, -values])[order]
    level = np.cumsum(change)  # from times[i] on
    area = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    at = np.searchsorted(times, edges, side="right") - 1
    inside = np.clip(at, 0, len(times) - 1)
    total = np.where(at < 0, 0.0, area[inside] + level[inside] * (edges - times[inside]))
    found: Floats = np.diff(total) / np.diff(edges)
    return np.maximum(found, 0.0)


_POOLS = (Column("role"), Column("chip"), Column("replicas", number=True), Column("devices each", number=True),
          Column("tokens of cache", number=True), Column("weights", number=True), Column("host's part of a step", number=True))  # fmt: skip


def _pool(p: Mapping[str, Any]) -> tuple[Cell, ...]:
    kv = p["kv"]
    return (
        Cell(p["role"]), Cell(p["chip"]), Cell(f"{p['replicas']}", p["replicas"]), Cell(f"{p['devices']}", p["devices"]),
        Cell(f"{kv['tokens']:,}", kv["tokens"]), Cell(large(kv["weights_bytes"], "B"), kv["weights_bytes"]),
        Cell(seconds(p["host_s"]), p["host_s"]),
    )  # fmt: skip


def _origin(result: Result) -> Iterator[Block]:
    r = result.said
    rows = [
        Fact("requests", r.get("load", "not said")),
        Fact("serve.json", result.sha256, "SHA-256 of all but its running time"),
    ]
    if r.get("max_rate"):
        m = r["max_rate"]
        high = f"{digits(m['too_high_per_s'], 4)}/s is too high" if m["too_high_per_s"] else "no rate is too high"
        rows.append(Fact("the highest rate", f"{digits(m['rate_per_s'], 4)}/s keeps the objective for {percent(m['attained'])}; "
                         f"{high}; {m['runs']} runs"))  # fmt: skip
    if r.get("sim_cpu_s") is not None:
        rows.append(Fact("simulated in", f"{seconds(r['sim_cpu_s'])} of CPU time"))
    yield Facts(tuple(rows))


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


def _short(values: Floats) -> list[float | None]:
    """Six digits of each: as many as a picture shows."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.tolist()]
