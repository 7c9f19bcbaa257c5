"""Curves over batch sizes as one SVG picture: a panel for each quantity, lines, and a level to compare them with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

WIDE, HIGH, LEFT, TOP, BELOW, APART = 400, 260, 48, 56, 44, 150  # of a panel and around it, in pixels
COLOURS = "#0072B2", "#E69F00", "#009E73"  # Okabe and Ito
STYLE = """text { font: 12px "Helvetica Neue", Helvetica, Arial, sans-serif; fill: #24292f }
.title { font-weight: 600 } .grid { stroke: #d8dee4 } .level { stroke: #24292f; stroke-dasharray: 6 4 }"""


@dataclass(frozen=True)
class Panel:
    """A quantity over batches: `lines` and, dashed, `beside` by a name, `[batch]`; `level` and what it is."""

    title: str
    lines: Mapping[str, Sequence[float]]
    beside: Mapping[str, Sequence[float]]
    level: float
    said: str


def curves(batches: Sequence[int], panels: Sequence[Panel]) -> str:
    """The picture; batches are powers of two."""
    width, height = len(panels) * (LEFT + WIDE + APART), TOP + HIGH + BELOW
    body = [_panel(batches, p, LEFT + i * (LEFT + WIDE + APART)) for i, p in enumerate(panels)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    back = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", back, *body, "</svg>", ""])


def _panel(batches: Sequence[int], p: Panel, left: int) -> str:
    most = ceil(max(p.level, *(x for some in (*p.lines.values(), *p.beside.values()) for x in some)))

    def x(batch: float) -> float:
        return left + WIDE * log2(batch / batches[0]) / log2(batches[-1] / batches[0])

    def y(value: float) -> float:
        return TOP + HIGH * (1 - value / most)

    found = [f'<text class="title" x="{left}" y="{TOP - 24}">{p.title}</text>']
    for tick in range(most + 1):
        found += [
            f'<line class="grid" x1="{left}" x2="{left + WIDE}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>',
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>',
        ]
    found += [f'<text x="{x(b):.1f}" y="{TOP + HIGH + 18}" text-anchor="middle">{b}</text>' for b in batches]
    found.append(f'<text x="{left + WIDE / 2}" y="{TOP + HIGH + 36}" text-anchor="middle">batch</text>')
    found.append(f'<line class="level" x1="{left}" x2="{left + WIDE}" y1="{y(p.level):.1f}" y2="{y(p.level):.1f}"/>')
    found.append(f'<text x="{left + WIDE + 6}" y="{y(p.level) + 4:.1f}">{p.said} {p.level:g}</text>')
    last = TOP + HIGH
    for colour, (name, values) in zip(COLOURS, p.lines.items(), strict=False):
        for some, dashes in ((values, ""), (p.beside[name], ' stroke-dasharray="3 3" opacity="0.7"')):
            way = " ".join(f"{x(b):.1f},{y(v):.1f}" for b, v in zip(batches, some, strict=True))
            found.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        last = min(last - 16, y(values[-1]) + 4) if last < TOP + HIGH else y(values[-1]) + 20
        found.append(f'<text x="{left + WIDE + 6}" y="{last:.1f}" style="fill: {colour}">{name}</text>')
    return "\n".join(found)
