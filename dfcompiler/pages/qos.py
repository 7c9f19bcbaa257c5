"""Quality of service over the rate: percentiles of what users feel, with what was asked for, and goodput."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log10
from typing import Any

from dfcompiler.amounts import digits, percent, seconds
from dfcompiler.pages.blocks import Block, Cell, Column, Figure, Json, Table
from dfcompiler.pages.style import INK, PALETTE, axis, decades, layout

TIMES = (("ttft", "time to first token"), ("tbt", "time between tokens"), ("tpot", "time per output token"))
LEVELS = ("p50", "p90", "p99")


def curves(r: Mapping[str, Any]) -> Iterator[Block]:
    """Figures of all rates that were tried, and their table."""
    points = sorted(r["curve"], key=lambda p: p["rate_req_s"])
    for name, what in TIMES:
        yield _curve(r, points, name, what)
    yield _goodput(r, points)
    columns = (
        Column("requests/s", number=True),
        *(Column(f"{n.upper()} {q}", number=True) for n, _ in TIMES for q in LEVELS),
        Column("kept", number=True),
        Column("goodput/s", number=True),
        Column("tokens/s", number=True),
    )
    rows = tuple(
        (
            Cell(digits(p["rate_req_s"]), p["rate_req_s"]),
            *(time_cell(p[f"{n}_s"][q]) for n, _ in TIMES for q in LEVELS),
            Cell(percent(p["slo_attainment"]), p["slo_attainment"]),
            Cell(digits(p["goodput_req_s"], 3), p["goodput_req_s"]),
            Cell(digits(p["throughput_tok_s"]), p["throughput_tok_s"]),
        )
        for p in points
    )
    yield Table("rates-table", columns, rows, "All rates that were tried")


def time_cell(value: float | None) -> Cell:
    """A time, or that there is none."""
    return Cell("-" if value is None else seconds(value), value)


def _curve(r: Mapping[str, Any], points: Sequence[Mapping[str, Any]], name: str, what: str) -> Figure:
    """Percentiles of one time over the rate, with the limit that was asked for and the highest rate that keeps it."""
    data: list[Json] = []
    for level, colour, dash in zip(LEVELS, PALETTE, ("solid", "dash", "dot"), strict=False):
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": level,
                "x": [p["rate_req_s"] for p in points],
                "y": [p[f"{name}_s"][level] for p in points],
                "line": {"color": colour, "dash": dash, "width": 2},
                "marker": {"size": 6},
                "hovertemplate": f"{level}: %{{y:.4s}}s at %{{x:.4g}} requests/s<extra></extra>",
            }
        )
    lines, notes, limits = [], [], [v for p in points for q in LEVELS if (v := p[f"{name}_s"][q])]
    if (limit := r.get("slo", {}).get(name)) is not None:
        lines.append(_rule("y", limit))
        limits.append(limit)
        notes.append(_note(f"asked for: {seconds(limit)}", x=0, xref="paper", xanchor="left", y=log10(limit), yref="y"))
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
            yaxis=axis("", **decades(min(limits) / 1.5, max(limits) * 1.8, seconds)) if limits else axis("", "s"),
            shapes=lines,
            annotations=notes,
        ),
        half=True,
    )


def _rule(along: str, value: float) -> Json:
    other = "x" if along == "y" else "y"
    return {
        "type": "line",
        f"{along}0": value,
        f"{along}1": value,
        f"{other}0": 0,
        f"{other}1": 1,
        f"{other}ref": "paper",
        "line": {"color": INK, "width": 1.5, "dash": "dashdot"},
    }


def _note(text: str, **place: Any) -> Json:
    return {
        "text": text,
        "showarrow": False,
        "yanchor": "bottom",
        "font": {"size": 11},
        "bgcolor": "rgba(255,255,255,0.8)",
    } | place


def _goodput(r: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> Figure:
    rates = [p["rate_req_s"] for p in points]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "what comes",
            "x": rates,
            "y": rates,
            "line": {"color": "#8a929b", "dash": "dot", "width": 1.5},
            "hoverinfo": "skip",
        },
        *(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": what,
                "x": rates,
                "y": [p[key] for p in points],
                "line": {"color": colour, "width": 2},
                "marker": {"size": 6, "symbol": symbol},
                "hovertemplate": f"{what}: %{{y:.4g}}/s at %{{x:.4g}}/s<extra></extra>",
            }
            for key, what, colour, symbol in (
                ("throughput_req_s", "served", PALETTE[0], "circle"),
                ("goodput_req_s", "goodput: served within the objective", PALETTE[1], "square"),
            )
        ),
    ]
    return Figure(
        "goodput",
        "Throughput and goodput",
        data,
        layout(
            320,
            xaxis=axis("requests per second that come", rangemode="tozero"),
            yaxis=axis("requests per second", rangemode="tozero"),
        ),
        half=True,
    )
