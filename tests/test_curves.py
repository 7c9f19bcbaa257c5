"""The plot of a study: where its curves run."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "studies"))

from curves import HIGH, TOP, Panel, curves

BATCHES, SVG = (16, 32, 64), "{http://www.w3.org/2000/svg}"


def test_curves_run_where_their_values_are() -> None:
    lines, beside = {"a": [1.0, 2.0, 4.0], "b": [3.0, 0.5, 1.5]}, {"a": [1.5, 2.5, 3.5], "b": [2.0, 2.0, 2.0]}
    drawn = ET.fromstring(curves(BATCHES, [Panel("times", lines, beside, 2.51, "the paper")]))
    ways = [[p.split(",") for p in x.attrib["points"].split()] for x in drawn.iter(f"{SVG}polyline")]
    for way, values in zip(ways, (lines["a"], beside["a"], lines["b"], beside["b"]), strict=True):
        assert [float(y) for _, y in way] == pytest.approx([TOP + HIGH * (1 - v / 4) for v in values], abs=0.1)
        across = [float(x) for x, _ in way]
        assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2), "batches double evenly"
    (level,) = (x for x in drawn.iter(f"{SVG}line") if x.attrib["class"] == "level")
    assert float(level.attrib["y1"]) == pytest.approx(TOP + HIGH * (1 - 2.51 / 4), abs=0.1)
    assert {"a", "b", "times", "the paper 2.51", "16", "32", "64"} <= {x.text for x in drawn.iter(f"{SVG}text")}
