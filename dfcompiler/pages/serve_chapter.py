"""The chapter on a run of `dfc serve`: what users feel over the rate, and what replicas did over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dfcompiler.amounts import digits, joules, large, percent, seconds
from dfcompiler.pages.blocks import Block, Cell, Chapter, Column, Fact, Facts, Figure, Json, Prose, Section, Table, Tile
from dfcompiler.pages.qos import TIMES, curves, time_cell
from dfcompiler.pages.replicas import over_time
from dfcompiler.pages.results import Result
from dfcompiler.pages.style import PALETTE, axis, decades, layout
from dfcompiler.pages.tables import Floats, short, table_in
from dfcompiler.pages.trust import trust_blocks

ONE_RATE = "This run tried one rate. `dfc serve` with --find-rate or --curve N keeps the answers at several."
COUNTS = 200  # points of a distribution
QUANTILES = ("mean", "p50", "p90", "p95", "p99")
SHOWN = (
    ("ttft_s", "to the first token"),
    ("max_tbt_s", "longest gap between tokens"),
    ("tpot_s", "per output token"),
)


def serve_chapter(result: Result) -> Chapter:
    """All that is told of it. Raises Diag `bad-result` where a table beside it is not what `dfc serve` writes."""
    r = result.said
    sections = [Section("felt", "What users feel", tuple(_felt(result)))]
    over = tuple(curves(r)) if r.get("curve") else (Prose(ONE_RATE),)
    sections.append(Section("rates", "Over the rate", over))
    sections.append(Section("replicas", "What replicas did", tuple(_series(result))))
    chips = list(dict.fromkeys(pool["chip"] for pool in r.get("pools", ())))
    sections.append(
        Section(
            "trust-serving",
            "How far to trust it",
            tuple(block for chip in chips for block in trust_blocks(chip, False, "serving")),
        )
    )
    sections.append(Section("origin-serving", "Where it comes from", tuple(_origin(result))))
    files = ("serve.json", "requests.csv", "series.csv", "requests.parquet", "series.parquet")
    links = {name: name for name in files if (result.folder / name).is_file()}
    if r.get("pools") and not (result.folder / "mapping.json").is_file() and (result.folder / "trace.json").is_file():
        links["a window as a trace, for ui.perfetto.dev"] = "trace.json"
    return Chapter(
        f"{r.get('model', 'a model')} on {r.get('chip', 'a chip')}, serving",
        r.get("load", ""),
        tuple(_tiles(r)),
        tuple(sections),
        links,
    )


def _tiles(r: Mapping[str, Any]) -> Iterator[Tile]:
    if r.get("max_rate_req_s"):
        what, found = f"requests/s keep the objective for {percent(r.get('attain', 0.99))}", r.get("max_rate")
        most = found is not None and found["too_high_per_s"] is None  # so few requests that none is too high
        yield Tile("the highest rate", "any" if most else f"{digits(r['max_rate_req_s'], 3)}/s", what)
    yield Tile("tokens per second", digits(r["throughput_tok_s"]), f"{digits(r['throughput_req_s'], 3)} requests/s")
    for name, what in TIMES:
        spread = r[f"{name}_s"]
        if spread["p50"] is not None:
            said = f"median; p99 {seconds(spread['p99'])}" + (
                f"; at most {seconds(r['slo'][name])} asked for" if name in r.get("slo", {}) else ""
            )
            yield Tile(what, seconds(spread["p50"]), said)
    if r.get("slo"):
        yield Tile(
            "objective kept", percent(r["slo_attainment"]), f"goodput {digits(r['goodput_req_s'], 3)} requests/s"
        )
    if spent := r.get("spending"):
        usd = f"; {digits(spent['usd'], 3)} USD" if spent["usd"] is not None else ""
        yield Tile("a million tokens", joules(spent["joules"]), f"{digits(spent['average_w'], 3)} W on average{usd}")


def _felt(result: Result) -> Iterator[Block]:
    r = result.said
    columns = (Column("seconds"), *(Column(q, number=True) for q in QUANTILES))
    names = (*TIMES, ("e2e", "end to end"))
    rows = tuple((Cell(what), *(time_cell(r[f"{n}_s"][q]) for q in QUANTILES)) for n, what in names)
    rate = f" at {digits(r['rate_req_s'], 3)} requests/s" if r.get("rate_req_s") else ""
    lost = f", {r['rejected']:,} rejected" if r.get("rejected") else ""
    again = f", with {r['preemptions']:,} preemptions"
    yield Prose(f"{r['completed']:,} of {r['requests']:,} requests were served{rate}{lost}{again}.")
    yield Table("felt-table", columns, rows, "")
    requests = table_in(result, "requests")
    if requests is not None:
        yield _distributions(r, requests)


def _distributions(r: Mapping[str, Any], requests: Mapping[str, Floats]) -> Figure:
    """The part of the requests whose time is at most so long."""
    data: list[Json] = []
    ends = (1.0, 1.0)
    for (key, what), colour, dash in zip(SHOWN, PALETTE, ("solid", "dash", "dot"), strict=False):
        values = np.sort(requests[key][requests[key] > 0])  # one token has no gap, and a rejected request no time
        if len(values):
            ends = min(ends[0], float(values[0])), max(ends[1], float(values[-1]))
            at = np.unique(np.linspace(0, len(values) - 1, min(COUNTS, len(values))).astype(int))
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": what,
                    "x": short(values[at]),
                    "y": short((at + 1) / len(values)),
                    "line": {"color": colour, "dash": dash, "width": 2, "shape": "hv"},
                    "hovertemplate": f"{what}: %{{y:.1%}} take at most %{{x:.4s}}s<extra></extra>",
                }
            )
    return Figure(
        "distributions",
        "How long requests wait",
        data,
        layout(
            340,
            xaxis=axis("", **decades(ends[0] / 1.2, ends[1] * 1.2, seconds)),
            yaxis=axis("part of the requests", tickformat=".0%", range=[0, 1.02]),
        ),
        about="For every time, the part of the requests for which it is at most so long.",
    )


def _series(result: Result) -> Iterator[Block]:
    series = table_in(result, "series")
    if series is None or not len(series["start_s"]):
        yield Prose("`dfc serve -o DIR` writes what replicas did over time beside serve.json; it is not there.")
    else:
        yield over_time(series)
    yield Table("pools", _POOLS, tuple(_pool(p) for p in result.said.get("pools", ())), "Pools")


_POOLS = (
    Column("role"),
    Column("chip"),
    Column("replicas", number=True),
    Column("devices each", number=True),
    Column("tokens of cache", number=True),
    Column("weights", number=True),
    Column("host's part of a step", number=True),
)


def _pool(p: Mapping[str, Any]) -> tuple[Cell, ...]:
    kv = p["kv"]
    return (
        Cell(p["role"]),
        Cell(p["chip"]),
        Cell(f"{p['replicas']}", p["replicas"]),
        Cell(f"{p['devices']}", p["devices"]),
        Cell(f"{kv['tokens']:,}", kv["tokens"]),
        Cell(large(kv["weights_bytes"], "B"), kv["weights_bytes"]),
        Cell(seconds(p["host_s"]), p["host_s"]),
    )


def _origin(result: Result) -> Iterator[Block]:
    r = result.said
    rows = [
        Fact("requests", r.get("load", "not said")),
        Fact("serve.json", result.sha256, "SHA-256 of all but its running time"),
    ]
    if r.get("max_rate"):
        m = r["max_rate"]
        high = f"{digits(m['too_high_per_s'], 4)}/s is too high" if m["too_high_per_s"] else "no rate is too high"
        rows.append(
            Fact(
                "the highest rate",
                f"{digits(m['rate_per_s'], 4)}/s keeps the objective for {percent(m['attained'])}; "
                f"{high}; {m['runs']} runs",
            )
        )
    if r.get("sim_cpu_s") is not None:
        rows.append(Fact("simulated in", f"{seconds(r['sim_cpu_s'])} of CPU time"))
    yield Facts(tuple(rows))
