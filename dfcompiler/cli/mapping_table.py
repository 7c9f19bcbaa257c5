"""The report of a mapping for people: what it costs, how good that is, and every op in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from dfcompiler.cli import display
from dfcompiler.cli.display import Column, digits, joules, large, pairs, percent, seconds

Json = Mapping[str, Any]

COLUMNS = (
    Column("name", style="bold"),
    Column("op", drop=5),
    Column("xN", right=True, drop=6),
    Column("unit", style="cyan"),
    Column("start µs", right=True),
    Column("end µs", right=True),
    Column("compute µs", right=True, drop=4),
    Column("memory µs", right=True, drop=4),
    Column("energy", right=True, drop=1),
    Column("util", right=True, drop=8),
    Column("bound", drop=9),
    Column("tile", drop=3),
    Column("split", drop=2),
)
BOUNDS = {"compute": "green", "vector": "blue", "memory": "yellow", "network": "magenta", "link": "red"}


def print_mapping(report: Json) -> None:
    """Print a report (`Report.to_json()`, or a `mapping.json`): headline, then one row per scheduled op."""
    many = f"{report['devices']} x " if report["devices"] > 1 else ""
    display.heading(f"{report['model']} on {many}{report['chip']}: {report['step']}, {report['dtype']}")
    display.facts(_headline(report))
    display.plain()
    rows, rules = _rows(report)
    display.table(COLUMNS, rows, rules=rules)
    for note in report.get("notes", ()):
        display.plain(f"note: {note}")


def _headline(r: Json) -> Iterator[tuple[str, str | Text]]:
    latency = r["latency_s"]
    yield "latency", _latency(r)
    yield "proof", _proof(r)
    if r.get("stages"):
        yield "stages", _stages(r)
    reached = percent(_share(r["roofline_s"], latency))
    yield "roofline", f"{seconds(r['roofline_s'])}, by {_limit(r['roofline'])}; the mapping is at {reached} of it"
    c = r["capacity"]
    used = c["weights_bytes"] + c["kv_bytes"] + c["activation_bytes"]
    kinds = (("weights", "weights_bytes"), ("KV cache", "kv_bytes"), ("activations", "activation_bytes"))
    parts = ", ".join(f"{name} {large(c[key], 'B')}" for name, key in kinds)
    where = " on each device" if r["devices"] > 1 else ""
    yield "capacity", f"{large(used, 'B')} of {large(c['available_bytes'], 'B')}{where}: {parts}"
    yield "traffic", _traffic(r)
    if r.get("pinned"):
        yield "pinned", _pinned(r)
    static = f"{digits(_share(r['static_j'], latency), 3)} W of it at rest"
    yield "energy", f"{joules(r['energy_j'])}, {digits(_share(r['energy_j'], latency), 3)} W, {static}"
    yield "area", _area(r["area_mm2"])
    if r["cost_usd"] is not None:
        yield "cost", f"{digits(r['cost_usd'])} USD to make: dies, packages and memories"
    if r.get("usd_per_million_tokens"):
        yield "tokens", per_million_tokens(r["usd_per_million_tokens"], r["terms"])
    yield "search", _search(r)


def per_million_tokens(parts: Json, terms: Json) -> str:
    """USD of a million tokens, by what it is paid for and on which terms."""
    said = ", ".join(f"{name} {digits(usd, 3)}" for name, usd in parts.items())
    used = f"{terms['years']:g} years at {percent(terms['utilisation'])}"
    return f"{digits(sum(parts.values()), 3)} USD per million over {used}: {said}"


def _latency(r: Json) -> Text:
    latency = r["latency_s"]
    text = Text(seconds(latency), style="bold")
    if r.get("tokens"):
        text.append(f", {digits(_share(r['tokens'], latency))} tokens/s", style="not bold")
    repeated = max(r["layers"], key=lambda x: x["repeat"], default=None)
    if repeated and repeated["repeat"] > 1:
        equal = repeated["repeat"] == r["layer_count"]  # else layers differ, or several run as one
        each = f" of {seconds(r['layer_latency_s'])}" if equal else ""
        text.append(f"; {r['layer_count']} layers{each}", style="not bold")
    return text


def _stages(r: Json) -> str:
    """How many layers each stage has, and how soon the next step may start."""
    counts = " + ".join(str(sum(n for _, n in s["layers"])) for s in r["stages"])
    sent = sum(s["send_s"] for s in r["stages"])
    tokens = digits(_share(r["tokens"], r["interval_s"]))
    steady = f"a step every {seconds(r['interval_s'])}, {tokens} tokens/s"
    return f"{counts} layers, {seconds(sent)} between them; {steady}"


def _proof(r: Json) -> Text:
    """The gap to the proven bound, of the objective where that is not the latency alone."""
    text = Text(r["status"], style="bold green" if r["status"] == "OPTIMAL" else "bold yellow")
    least = {"energy": joules(r["objective_bound"]), "edp": f"{digits(r['objective_bound'])} J s"}
    bound = least.get(r["objective"]) or seconds(r["bound_s"])
    of = "" if r["objective"] == "latency" else f" by {r['objective']}"
    text.append(f"{of}, gap {percent(r['gap'])}: proven bound {bound}", style="not bold default")
    return text


def _limit(limit: Json) -> str:
    names = {"compute_s": "the multipliers", "vector_s": "the vector lanes", "memory_s": "the DRAM's bandwidth"}
    names["link_s"] = "the links"
    longest = max(names, key=lambda k: limit.get(k, 0.0))
    return names[longest]


def _traffic(r: Json) -> str:
    compulsory = r["compulsory_bytes"]
    levels = [f"{level} {large(moved, 'B')}" for level, moved in r["traffic_bytes"].items()]
    if levels and compulsory:
        first = next(iter(r["traffic_bytes"].values()))
        levels[0] += f" ({digits(first / compulsory)} x the compulsory {large(compulsory, 'B')})"
    return ", ".join(levels) or "none"


def _pinned(r: Json) -> str:
    """What stays on the chip from one op to another."""
    return "; ".join(
        f"{', '.join(x['tensors'])} in {x['memory']}, at most {large(x['most_bytes'], 'B')} of "
        f"{large(x['room_bytes'], 'B')}"
        for x in r["pinned"]
    )


def _area(area: Json) -> str:
    parts = sorted(((n, a) for n, a in area.items() if n != "total" and a), key=lambda x: -x[1])
    return f"{digits(area['total'])} mm2: " + ", ".join(f"{name} {digits(a, 3)}" for name, a in parts)


def _search(r: Json) -> str:
    total = sum(r["seconds"].values())
    slow = [f"{n} {seconds(s)}" for n, s in r["seconds"].items() if s >= 0.1]
    parts = f" ({', '.join(slow)})" if slow else ""
    return f"{r['candidates']:,} tilings, {r['columns']:,} kept, by {r['mapper']} in {seconds(total)}{parts}"


def _share(a: float, b: float) -> float:
    return a / b if b else 0.0


def _rows(r: Json) -> tuple[list[list[str | Text]], list[int]]:
    """Rows, and those at which a new segment begins; times are from the start of the segment."""
    starts = [layer["start_s"] for layer in r["layers"]]
    rows: list[list[str | Text]] = []
    rules: list[int] = []
    before = -1
    for op in r["ops"]:
        segment = _segment(starts, op["start_s"])
        if segment != before:
            rules.append(len(rows))
        before = segment
        rows.append(_row(op, starts[segment] if starts else 0.0))
    return rows, rules


def _segment(starts: Sequence[float], at: float) -> int:
    return max((i for i, s in enumerate(starts) if s <= at * (1 + 1e-12)), default=0)


def _row(op: Json, zero: float) -> list[str | Text]:
    return [
        op["name"],
        op["op"],
        f"x{op['repeat']}",
        op["unit"] + (f"+{op['helper']}" if op["helper"] else ""),
        *(_us(op[key] - zero) for key in ("start_s", "end_s")),
        *(_us(op[key]) for key in ("compute_s", "memory_s")),
        joules(op["energy_j"]),
        percent(op["utilization"]),
        Text(op["bound"], style=BOUNDS.get(op["bound"], "")),
        op.get("algorithm") or pairs(op["tile"]),
        pairs(op["ways"]),
    ]


def _us(value: float) -> str:
    return f"{max(0.0, value) * 1e6:,.2f}"
