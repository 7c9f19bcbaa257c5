"""Memory over time: what the DRAM holds, and what each unit fills of its share of the memories on the chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfcompiler.amounts import capacity, large, percent
from dfcompiler.pages.blocks import Block, Figure, Json, Prose
from dfcompiler.pages.lanes import BAR, LANE, about_op, views
from dfcompiler.pages.lives import Life, lives
from dfcompiler.pages.step import Step
from dfcompiler.pages.style import GROUND, INK, PALETTE, axis, faded, grounds, layout, seconds_axis

STORED = (
    ("weights", "weights_bytes", PALETTE[0]),
    ("KV cache and states", "kv_bytes", PALETTE[1]),
    ("activations at their peak", "activation_bytes", PALETTE[2]),
)
VALUES_PX, AROUND = 170, 110
VALUES = (
    "Values are in DRAM from the start of the op that makes them to the end of the last that reads them; weights and "
    "caches are there throughout, and what only one fused op sees never is."
)
LANES = (
    "Below, a lane for each unit's share of a memory on the chip: a bar is as high as what the op that runs fills of "
    "it, buffers doubled where they are."
)
NO_LANES = "Kernels of a library use the memories on the chip as they see fit: no partition is known."
NAMED = 8  # values that are named where one points at a moment


def memory_blocks(step: Step) -> Iterator[Block]:
    """The figures, or why one cannot be drawn."""
    yield held(step.said["capacity"], step.mapped.chip.dram.name, step.said["devices"])
    if step.said["stages"]:
        yield Prose("Devices are in stages, each with values of its own: what is alive when is not drawn.")
        return
    yield over_time(step)


def held(c: Mapping[str, float], dram: str, devices: int) -> Figure:
    """What the DRAM of a device holds, beside what it has."""
    rows = [(name, c[key], colour) for name, key, colour in STORED]
    free = c["available_bytes"] - sum(b for _, b, _ in rows)
    data = [_held(n, b, colour, c["available_bytes"]) for n, b, colour in [*rows, ("free", free, "#e6e9ed")]]
    each = "each device's" if devices > 1 else "the device's"
    return Figure(
        "held",
        f"What {dram} holds: {large(c['available_bytes'] - free, 'B')} of {large(c['available_bytes'], 'B')}",
        data,
        layout(
            210,
            barmode="stack",
            xaxis=axis(f"bytes of {each} {dram}", "B", range=[0, c["available_bytes"]]),
            yaxis=axis("", showticklabels=False, ticks="", fixedrange=True),
            margin={"l": 24, "r": 24, "t": 36, "b": 48},
        ),
    )


def _held(name: str, size: float, colour: str, whole: float) -> Json:
    said = f"{name}: {large(size, 'B')}, {percent(size / whole)}" if whole else name
    return {
        "type": "bar", "orientation": "h", "x": [size], "y": [""], "name": f"{name} {large(size, 'B')}",
        "marker": {"color": colour, "line": {"color": GROUND, "width": 1}}, "hovertext": [said], "hoverinfo": "text",
    }  # fmt: skip


@dataclass(frozen=True)
class Share:
    """What a unit may use of a memory on the chip: bytes of one instance, and the task's member that says how much an
    op uses."""

    unit: str
    memory: str
    bytes: int
    part: float
    used: str

    @property
    def label(self) -> str:
        """Two lines for a lane."""
        return f"{self.memory}: {self.unit}<br>{percent(self.part)}, {capacity(self.bytes)}"


def shares(step: Step) -> list[Share]:
    """The partition of the memories on the chip among units, innermost first, of those that some op uses."""
    chip, found = step.mapped.chip, []
    for back, used in ((1, "buffer_bytes"), (2, "buffer_above_bytes")):
        for unit in chip.units.values():
            level = unit.levels[-back] if len(unit.levels) > back else None
            if level and any(t[used] for t in step.tasks if t["unit"] == unit.name):
                whole = sum(u.levels[-back].capacity_bytes for u in chip.units.values()
                            if len(u.levels) > back and u.levels[-back].part == level.part)  # fmt: skip
                found.append(Share(unit.name, level.part, level.capacity_bytes, level.capacity_bytes / whole, used))
    return sorted(found, key=lambda s: (s.used != "buffer_bytes", s.memory, -s.part))


def over_time(step: Step) -> Figure:
    """Values alive in DRAM, and a lane per share: the height of a bar is what the op fills of it."""
    mine, per_s, shown = shares(step), 1 / step.clock_hz, step.shown
    alive = lives(step.mapped.graph, step.mapped.layers)
    height = VALUES_PX + AROUND + LANE * len(mine)
    low = LANE * len(mine) / (height - AROUND)
    data = [_values(alive, per_s)]
    for group, colour in step.colours.items():
        data += _filled(step, mine, group, colour)
    steps = levels(alive)
    peak = max(steps.values(), default=0.0)
    seen = (b for at, b in steps.items() if shown.start <= at * per_s <= shown.start + shown.length)
    most = 1.08 * max(seen, default=1.0)
    return Figure(
        "memory",
        f"Memory over time: values take {large(peak, 'B')} at most",
        data,
        layout(
            height,
            legend=len(step.colours) > 1 and bool(mine),
            dragmode="zoom",
            **({"shapes": grounds(len(mine), BAR, "y2"), "barmode": "overlay"} if mine else {}),
            xaxis=seconds_axis(range=[shown.start, shown.start + shown.length], anchor="y2" if mine else "y"),
            yaxis=axis("values in DRAM", "B", domain=[low + 0.08 if mine else 0, 1], range=[0, most], fixedrange=True),
            **({"yaxis2": _lane_axis(mine, low)} if mine else {}),
        ),
        about=f"{VALUES} {LANES if mine else NO_LANES}",
        fits=True,
        time="step",
        views=tuple(views(step)),
        finds="ops",
    )


def levels(alive: Sequence[Life]) -> dict[int, float]:
    """Cycle -> bytes that are kept from then on, at every cycle at which that changes."""
    changes: dict[int, float] = {}
    for x in alive:
        changes[x.start] = changes.get(x.start, 0.0) + x.bytes
        changes[x.end] = changes.get(x.end, 0.0) - x.bytes
    total, found = 0.0, {}
    for at in sorted(changes):
        total += changes[at]
        found[at] = max(0.0, total)
    return found


def _values(alive: Sequence[Life], per_s: float) -> Json:
    steps = levels(alive)
    said, now, ahead = [], dict[str, float](), 0
    for at in steps:
        while ahead < len(alive) and alive[ahead].start <= at:
            now[f"{ahead}"], ahead = alive[ahead].bytes, ahead + 1
        now = {i: b for i, b in now.items() if alive[int(i)].end > at}
        largest = sorted(now, key=lambda i: -now[i])[:NAMED]
        lines = [f"{alive[int(i)].name} {large(now[i], 'B')}" for i in largest]
        rest = [f"and {len(now) - NAMED} more"] if len(now) > NAMED else []
        said.append("<br>".join([f"<b>{large(steps[at], 'B')}</b> alive", *lines, *rest]))
    return {
        "type": "scatter", "mode": "lines", "x": [at * per_s for at in steps], "y": list(steps.values()),
        "line": {"shape": "hv", "color": PALETTE[2], "width": 1.5}, "fill": "tozeroy",
        "fillcolor": faded(PALETTE[2], 0.3), "hovertext": said, "hoverinfo": "text", "name": "values in DRAM",
        "showlegend": False,
    }  # fmt: skip


def _filled(step: Step, mine: Sequence[Share], group: str, colour: str) -> Iterator[Json]:
    rows: list[tuple[int, int, Share, Mapping[str, Any]]] = []
    for i, (op, task) in enumerate(zip(step.ops, step.tasks, strict=True)):
        if step.group(op) == group:
            own = [(at, s) for at, s in enumerate(mine) if s.unit == op["unit"] and task[s.used]]
            rows += [(i, len(mine) - 1 - at, s, task) for at, s in own]
    if not rows:
        return
    yield {
        "type": "bar", "orientation": "h", "name": group, "yaxis": "y2",
        "base": [step.ops[i]["start_s"] for i, *_ in rows],
        "x": [step.ops[i]["end_s"] - step.ops[i]["start_s"] for i, *_ in rows],
        "y": [lane for _, lane, _, _ in rows],
        "width": [BAR * min(1.0, task[s.used] / s.bytes) for _, _, s, task in rows],
        "offset": [-BAR / 2] * len(rows),
        "marker": {"color": colour, "line": {"color": GROUND, "width": 1}},
        "hovertext": [f"{large(task[s.used], 'B')} of {capacity(s.bytes)}, {percent(min(1.0, task[s.used] / s.bytes))}"
                      f"<br>{about_op(step, i)}" for i, _, s, task in rows],
        "hoverinfo": "text", "customdata": [step.ops[i]["name"] for i, *_ in rows],
    }  # fmt: skip


def _lane_axis(mine: Sequence[Share], low: float) -> Json:
    return axis(
        "", range=[-0.6, len(mine) - 0.4], tickvals=list(range(len(mine))), domain=[0, low], zeroline=False,
        ticktext=[s.label for s in reversed(mine)], fixedrange=True, showgrid=False,
        tickfont={"size": 11, "color": INK},
    )  # fmt: skip
