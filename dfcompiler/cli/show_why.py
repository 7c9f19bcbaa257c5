"""Why an op of a written mapping has its unit and its tile, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from dfcompiler.cli import display
from dfcompiler.cli.display import Column, digits, joules, large, pairs, percent, quantity, seconds
from dfcompiler.cli.progress import Progress
from dfcompiler.cli.show import mapping_in, read_mapping
from dfcompiler.columns import Column as Priced
from dfcompiler.diagnostics import Diag
from dfcompiler.explanation import Choice, Explanation, RunnerUp, ShadowPrice, Worth, explain
from dfcompiler.outputs.recall import recalled
from dfcompiler.tiling import RESOLUTION

UNITS = (
    Column("unit", style="cyan"),
    Column("µs", right=True),
    Column("more µs", right=True),
    Column("energy", right=True, drop=1),
    Column("tile, or why it has none", wrap=True),
)
PRICES = (
    Column("more", right=True),
    Column("of", style="cyan"),
    Column("op µs", right=True),
    Column("DRAM bytes", right=True),
    Column("", wrap=True),
)


def show_why(thing: str, op: str, as_json: bool) -> None:
    """Print why the op of the mapping in a folder is as it is; raises Diag `bad-mapping` and `unknown-node`."""
    path = mapping_in(Path(thing))
    if path is None:
        hint = "`dfc compile -o DIR` writes one, of whose ops `dfc show DIR` prints the names"
        raise Diag("bad-mapping", f"`{thing}` holds no mapping", hint=hint)
    with Progress([(f"reasons of {op}", None)]):
        found = explain(recalled(read_mapping(path), path.parent), op)
    if as_json:
        print(json.dumps(_json(found), allow_nan=False))
    else:
        _print(found)


def _json(e: Explanation) -> dict[str, Any]:
    """The explanation with its times in seconds beside its cycles."""
    runners = [
        asdict(r) | {"more_s": None if r.step_cycles is None else (r.step_cycles - e.step_cycles) / e.clock_hz}
        for r in e.runners_up
    ]
    return asdict(e) | {"step_s": e.step_cycles / e.clock_hz, "runners_up": runners}


def _print(e: Explanation) -> None:
    display.heading(f"{'+'.join(e.nodes)} on {_units(e.column)}, {_runs(e.repeat)}")
    display.facts(_chosen(e))
    display.plain()
    if e.choices:  # none for an exchange
        display.table(UNITS, (_choice(e, c) for c in e.choices))
        display.plain()
    display.facts((f"without this {r.without}", _runner(e, r)) for r in e.runners_up)
    display.plain()
    display.table(PRICES, (row for p in e.shadow_prices for row in _rows(e, p)))


def _runs(repeat: int) -> str:
    return f"{repeat} times in a step" if repeat > 1 else "once in a step"


def _units(c: Priced) -> str:
    return f"{c.unit}+{c.helper}" if c.helper else c.unit


def _chosen(e: Explanation) -> Iterator[tuple[str, str]]:
    c, t = e.column, e.column.tiling
    yield "time", f"{seconds(c.cycles / e.clock_hz)}, {c.cycles:,} cycles"
    busy = {"compute": t.compute_cycles, "vector": t.helper_cycles, "DRAM": t.memory_cycles}
    shares = ", ".join(f"{name} {percent(min(1.0, n / c.cycles))}" for name, n in busy.items() if n)
    yield "bound", f"by {e.bound}; of its time {shares}"
    held = f"{percent(c.dram / RESOLUTION)} of the DRAM's bandwidth"
    yield "reserves", held + (f", {percent(c.beside / RESOLUTION)} of {c.helper}" if c.helper else "")
    yield "traffic", ", ".join(f"{level} {large(moved, 'B')}" for level, moved in t.level_bytes.items())
    yield "energy", joules(c.pj * 1e-12)
    if t.tile:
        yield "tile", _tile(c)
        yield "loops", " ".join(t.order) or "one tile"
        where = {"inner": "beside the unit", "outer": "one memory above"}
        kept = (f"{k.operand} {where[k.where]} from {'loop ' + str(k.since)}" for k in t.keeps)
        yield "keeps", ", ".join(kept) or "nothing"
        yield "buffers", f"{large(t.room_bytes, 'B')}, and {large(t.room_above_bytes, 'B')} above"


def _tile(c: Priced) -> str:
    return pairs(c.tiling.tile) + (f", split {pairs(c.tiling.ways)}" if c.tiling.ways else "")


def _choice(e: Explanation, c: Choice) -> list[str | Text]:
    if c.column is None:
        return [c.unit, "-", "-", "-", c.why]
    more = c.column.cycles - e.column.cycles
    time = _us(e, c.column.cycles)
    return [_units(c.column), time, _signed(_us(e, more), more), joules(c.column.pj * 1e-12), _tile(c.column)]


def _runner(e: Explanation, r: RunnerUp) -> str:
    if r.step_cycles is None:
        return r.why
    more = r.step_cycles - e.step_cycles
    instead = ", ".join(f"{'+'.join(c.nodes)} on {_units(c)}" for c in r.instead)
    part = percent(abs(more) / e.step_cycles)
    change = f"{_us(e, abs(more))} µs {'more' if more > 0 else 'less'} ({part})" if more else "as long"
    return f"the step takes {change}, gap {percent(r.gap)}: {instead}"


def _rows(e: Explanation, p: ShadowPrice) -> Iterator[list[str | Text]]:
    yield _row(e, p, p.one, "")
    if p.least is None:
        yield ["any", f"{p.part}.{p.axis}", "0", "0", "no more of it changes anything"]
    elif p.least.more != p.one.more:
        beyond = f"; its tiling needs {digits(p.least.beyond_bytes, 6)} B more than the unit has"
        yield _row(e, p, p.least, "the least that changes anything" + (beyond if p.least.beyond_bytes else ""))


def _row(e: Explanation, p: ShadowPrice, w: Worth, why: str) -> list[str | Text]:
    time = _signed(_us(e, w.cycles, 4), w.cycles)
    return [
        quantity(int(w.more), p.unit),
        f"{p.part}.{p.axis}",
        time,
        _signed(large(w.dram_bytes, "B"), w.dram_bytes),
        why,
    ]


def _us(e: Explanation, cycles: float, count: int = 2) -> str:
    return f"{cycles / e.clock_hz * 1e6:,.{count}f}"


def _signed(text: str, value: float) -> str:
    return f"+{text}" if value > 0 else text if value else "0"
