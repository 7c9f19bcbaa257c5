"""Modelled over measured times as a picture: both axes logarithmic, one colour per bound, a line where they agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

SIZE, EDGE = 480, 56
COLOURS = ("#1f5fa8", "#e08214", "#4d9a3f", "#9b59a8")


def scatter(title: str, points: Sequence[tuple[float, float, str]]) -> str:
    """An SVG of (measured seconds, modelled seconds, bound); all times positive."""
    every = [math.log10(x) for measured, modelled, _ in points for x in (measured, modelled)]
    low, high = math.floor(min(every)), math.ceil(max(every))
    high = max(high, low + 1)

    def at(seconds: float) -> float:
        return (math.log10(seconds) - low) / (high - low) * (SIZE - 2 * EDGE) + EDGE

    kinds = list(dict.fromkeys(bound for *_, bound in points))
    colour = {kind: COLOURS[i % len(COLOURS)] for i, kind in enumerate(kinds)}
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" font-family="sans-serif" '
             f'font-size="11">', f'<text x="{EDGE}" y="20" font-size="14">{escape(title)}</text>',
             f'<rect x="{EDGE}" y="{EDGE}" width="{SIZE - 2 * EDGE}" height="{SIZE - 2 * EDGE}" fill="none" '
             f'stroke="#999"/>', f'<path d="M{EDGE} {SIZE - EDGE}L{SIZE - EDGE} {EDGE}" stroke="#999"/>']  # fmt: skip
    for decade in range(low, high + 1):
        x, label = at(10.0**decade), _label(decade)
        lines.append(f'<text x="{x:.1f}" y="{SIZE - EDGE + 16}" text-anchor="middle">{label}</text>')
        lines.append(f'<text x="{EDGE - 6}" y="{SIZE - x + 4:.1f}" text-anchor="end">{label}</text>')
    for measured, modelled, bound in points:
        x, y = at(measured), SIZE - at(modelled)
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour[bound]}" fill-opacity="0.6"/>')
    for i, kind in enumerate(kinds):
        lines.append(f'<text x="{EDGE + 8}" y="{EDGE + 16 + 14 * i}" fill="{colour[kind]}">{escape(kind)}</text>')
    lines.append(f'<text x="{SIZE / 2}" y="{SIZE - 14}" text-anchor="middle">measured</text>')
    lines.append(f'<text x="14" y="{SIZE / 2}" transform="rotate(-90 14 {SIZE / 2})">modelled</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _label(decade: int) -> str:
    units = {-9: "ns", -6: "µs", -3: "ms", 0: "s"}
    base = max((b for b in units if b <= decade), default=-9)
    return f"{10 ** (decade - base)} {units[base]}"
