"""The chapter on a compiled step."""

from __future__ import annotations

from collections.abc import Iterator

from dfcompiler.amounts import digits, joules, large, percent, seconds
from dfcompiler.pages.blocks import Chapter, Section, Tile
from dfcompiler.pages.floor import floor_plan
from dfcompiler.pages.lanes import schedule
from dfcompiler.pages.memory import memory_blocks
from dfcompiler.pages.ops import op_table
from dfcompiler.pages.proof import LIMITS, cost_blocks, origin_blocks, parts_blocks, proof_blocks
from dfcompiler.pages.results import Result
from dfcompiler.pages.roofline import roofline
from dfcompiler.pages.step import Step, read_step
from dfcompiler.pages.trust import trust_blocks


def step_chapter(result: Result) -> Chapter:
    """All that is told of it. Raises what `read_step` does."""
    step = read_step(result)
    r = step.said
    many = f"{r['devices']} x " if r["devices"] > 1 else ""
    changed = any(s["by"] == "override" for s in r["hardware"]["settings"].values())
    sections = (
        Section("plan", "The chip", (floor_plan(step.mapped.chip), *parts_blocks(step))),
        Section("time", "The schedule", (schedule(step),)),
        Section("roof", "The roofline", (roofline(step),)),
        Section("table", "The ops", (op_table(step),)),
        Section("memory-map", "The memory", tuple(memory_blocks(step))),
        Section("proof", "The proof", tuple(proof_blocks(step))),
        Section("cost", "Energy and cost", tuple(cost_blocks(step))),
        Section("trust", "How far to trust it", tuple(trust_blocks(r["hardware"]["name"], changed, "step"))),
        Section("origin", "Where it comes from", tuple(origin_blocks(step, result.folder, result.sha256))),
    )
    there = {"the schedule as a trace, for ui.perfetto.dev": "trace.json", "mapping.json": "mapping.json",
             "graph.dfir": "graph.dfir", "chip.chip": "chip.chip"}  # fmt: skip
    links = {text: file for text, file in there.items() if (result.folder / file).is_file()}
    title = f"{r['model']} on {many}{r['chip']}"
    return Chapter(title, f"{r['step']}, {r['dtype']}", tuple(_tiles(step)), sections, links)


def _tiles(step: Step) -> Iterator[Tile]:
    r = step.said
    latency, limit = r["latency_s"], r["roofline"]
    each = f"{digits(r['tokens'] / latency)} tokens/s" if r["tokens"] and latency else ""
    yield Tile("latency of a step", seconds(latency), each)
    proven = "proven optimal" if r["status"] == "OPTIMAL" else "the best that was found"
    yield Tile("gap to the bound", percent(r["gap"]), f"{proven}; bound {seconds(r['bound_s'])}")
    longest = max(LIMITS, key=lambda k: limit[k])
    reached = r["roofline_s"] / latency if latency else 0.0
    yield Tile("of the roofline", percent(reached), f"limited by {LIMITS[longest]}")
    c = r["capacity"]
    used = sum(c[k] for k in ("weights_bytes", "kv_bytes", "activation_bytes"))
    where = "of each device" if r["devices"] > 1 else "of the device"
    yield Tile("memory in use", percent(used / c["available_bytes"]), f"{large(used, 'B')} {where}")
    moved = next(iter(r["traffic_bytes"].values()), 0.0)
    least = f"{digits(moved / r['compulsory_bytes'])} x what must move" if r["compulsory_bytes"] else ""
    yield Tile("DRAM traffic", large(moved, "B"), least)
    watts = r["energy_j"] / latency if latency else 0.0
    yield Tile("energy of a step", joules(r["energy_j"]), f"{digits(watts, 3)} W on average")
    chip = step.mapped.chip
    yield Tile("die", f"{digits(chip.die_mm2(), 3)} mm²", f"at {chip.node_nm:g} nm and {large(chip.clock_hz, 'Hz')}")
    if r["cost_usd"] is not None:
        tokens = r["usd_per_million_tokens"]
        per = f"{digits(sum(tokens.values()), 3)} USD per million tokens" if tokens else ""
        yield Tile("to make", f"{digits(r['cost_usd'], 4)} USD", per)
