"""What replicas did over time: the sequences that decode, prefills, the queue and the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dfcompiler.amounts import seconds
from dfcompiler.pages.blocks import Figure
from dfcompiler.pages.style import PALETTE, axis, layout
from dfcompiler.pages.tables import Floats, short

BINS = 800  # columns of pixels of a figure over time
ROWS = (
    ("batch", "sequences", "sequences that decode", PALETTE[0]),
    ("prefill", "tokens", "tokens of a prefill in a step", PALETTE[2]),
    ("waiting", "requests", "requests that wait", PALETTE[1]),
    ("kv_part", "part", "part of the cache in use", PALETTE[3]),
)


def over_time(series: Mapping[str, Floats]) -> Figure:
    """Sequences, cache and queue: means over equal spans of time, of all replicas together."""
    start, end = series["start_s"], series["end_s"]
    edges = np.linspace(float(start.min()), float(end.max()), BINS + 1)
    many = len(np.unique(series["replica"]))
    data, axes = [], dict[str, Any]()
    for i, (key, unit, what, colour) in enumerate(ROWS):
        mean = binned(start, end, series[key], edges) / (many if key == "kv_part" else 1)
        n = "" if not i else str(i + 1)
        top = 1 - i * 0.26
        axes[f"yaxis{n}"] = axis(
            unit,
            domain=[top - 0.2, top],
            rangemode="tozero",
            fixedrange=True,
            **({"tickformat": ".0%"} if key == "kv_part" else {}),
        )
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": what,
                "x": short(edges[:-1]),
                "y": short(mean),
                "yaxis": f"y{n}",
                "line": {"color": colour, "width": 1.5, "shape": "hv"},
                "fill": "tozeroy",
                "hovertemplate": f"{what}: %{{y:.4~g}}<extra></extra>",
            }
        )
    each = f" of all {many} replicas together" if many > 1 else ""
    return Figure(
        "over-time",
        "Batch, prefill, queue and cache over time",
        data,
        layout(
            620,
            dragmode="zoom",
            hovermode="x unified",
            xaxis=axis("seconds from the first arrival", anchor=f"y{len(ROWS)}"),
            **axes,
        ),
        about=f"Means{each} over {BINS} equal spans of {seconds(float(edges[1] - edges[0]))}. Drag over one to zoom.",
    )


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
