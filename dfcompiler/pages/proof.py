"""How good a mapping is proven to be, what it costs, and what it was made from: sections of facts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dfcompiler.amounts import digits, joules, large, percent, quantity, seconds
from dfcompiler.diagnostics import Infeasible
from dfcompiler.economics import price
from dfcompiler.pages.blocks import Block, Cell, Column, Fact, Facts, Table
from dfcompiler.pages.floor import area_rows
from dfcompiler.pages.step import Step

OWN = {"clock": ("Hz", ""), "node": ("nm", ""), "uncore": ("mm2", "")}  # units of a chip's own settings
LIMITS = {"compute_s": "multipliers", "vector_s": "vector lanes", "memory_s": "the DRAM's bandwidth", "link_s": "links"}


def proof_blocks(step: Step) -> Iterator[Block]:
    """The proof of every segment, the roofline's limits, and the map space."""
    r, mapping = step.said, step.said["mapping"]
    limits = ", ".join(f"{name} {seconds(r['roofline'][key])}" for key, name in LIMITS.items() if r["roofline"][key])
    by = "" if r["objective"] == "latency" else f" by {r['objective']}"
    rows = [
        Fact("status", f"{r['status']}{by}: the gap to the proven bound is {percent(r['gap'])}"),
        Fact("latency", f"{seconds(r['latency_s'])}; nothing in the map space takes less than {seconds(r['bound_s'])}"),
        Fact("roofline", f"{seconds(r['roofline_s'])}, which no mapping at all undercuts: {limits}"),
        Fact("map space", f"{r['candidates']:,} tilings priced, {r['columns']:,} kept; scheduled by {r['mapper']}"),
        Fact("refused", f"{len(mapping['refused']):,} pairs of ops and units: cannot run there, or were not tried"),
        Fact("traffic", ", ".join(f"{level} {large(moved, 'B')}" for level, moved in r["traffic_bytes"].items())),
    ]
    if r["hidden"] is not None:
        hidden = f"{percent(r['hidden'])} of the shorter ones runs beside the longest"
        rows.append(Fact("overlap", f"parts one after another take {seconds(r['serial_s'])}; {hidden}"))
    yield Facts(tuple(rows))
    numbers = ("segment", "runs", "one run", "proven bound", "all runs")
    columns = (*(Column(n, number=True) for n in numbers), Column("proof", long=True))
    yield Table("segments", columns, tuple(_segments(step)), "Segments")


def _segments(step: Step) -> Iterator[tuple[Cell, ...]]:
    hz = step.clock_hz
    for number, s in enumerate(step.said["mapping"]["segments"], 1):
        cycles = (s["cycles"], s["bound"]["cycles"], s["end"] - s["start"])
        once, least, whole = (Cell(seconds(x / hz), x) for x in cycles)
        yield (
            Cell(f"{number}", number),
            Cell(f"{s['repeat']}", s["repeat"]),
            once,
            least,
            whole,
            Cell(s["bound"]["proof"]),
        )


def cost_blocks(step: Step) -> Iterator[Block]:
    """Energy, and what devices and tokens cost."""
    r, chip = step.said, step.mapped.chip
    yield Facts(tuple(_energy(step)), "Energy")
    rows = []
    if r["cost_usd"] is not None:
        rows.append(Fact("all devices", f"{digits(r['cost_usd'])} USD to make, with the switches between them"))
    try:
        p = price(chip)
        parts = (("die", p.die), ("memories", p.memory), ("interposer", p.interposer), ("assembly", p.assembly))
        said = ", ".join(f"{name} {digits(usd, 3)}" for name, usd in parts if usd)
        rows.append(Fact("one device", f"{digits(p.usd)} USD: {said}"))
    except Infeasible as why:
        rows.append(Fact("one device", f"has no price: {why.message}"))
    if tokens := r["usd_per_million_tokens"]:
        said = ", ".join(f"{name} {digits(usd, 3)}" for name, usd in tokens.items())
        t = r["terms"]
        terms = f"over {t['years']:g} years at {percent(t['utilisation'])}, "
        terms += f"{t['usd_per_kwh']:g} USD per kWh, PUE {t['pue']:g}"
        rows.append(Fact("a million tokens", f"{digits(sum(tokens.values()), 3)} USD: {said}; {terms}"))
    yield Facts((*rows, *(Fact("note", n) for n in r["notes"])), "Cost, without design, masks and margins")


def _energy(step: Step) -> Iterator[Fact]:
    r = step.said
    whole, static = r["energy_j"], r["static_j"]
    yield Fact("a step", f"{joules(whole)}, {digits(whole / r['latency_s'], 3)} W on average")
    yield Fact(
        "at rest", f"{joules(static)} of it, {percent(static / whole)}: leakage, clocks, memories without traffic"
    )
    if r["tokens"]:
        yield Fact("a token", joules(whole / r["tokens"]))
    each = sorted(step.ops, key=lambda op: -op["energy_j"] * op["repeat"])[:4]
    most = ", ".join(f"{op['name']} {joules(op['energy_j'] * op['repeat'])}" for op in each)
    yield Fact("most of the rest", f"{most}, on one device")


def parts_blocks(step: Step) -> Iterator[Block]:
    """The area of every part, and every setting with who set it and why."""
    chip, settings = step.mapped.chip, step.said["hardware"]["settings"]
    areas = (Column("part"), Column("family"), Column("how many", number=True), Column("mm²", number=True),
             Column("of the die", number=True))  # fmt: skip
    rows = []
    for name, mm2, share in area_rows(chip):
        part = chip.parts.get(name)
        many = part.instances if part else 1
        family = part.template.template_name if part else "what is around: host interface, whitespace"
        rows.append((Cell(name), Cell(family), Cell(f"{many}", many), Cell(digits(mm2, 4), mm2), Cell(share, mm2)))
    yield Table("areas", areas, tuple(rows), "Area by part")
    columns = (Column("setting"), Column("value", number=True), Column("set by", choose=True),
               Column("source, as its line says", long=True))  # fmt: skip
    units = OWN | {f"{p.name}.{a.name}": (a.unit, a.doc) for p in chip.parts.values() for a in p.template.axes()}
    lines = []
    for name, s in settings.items():
        unit, doc = units.get(name, ("", ""))
        number = s["value"] if isinstance(s["value"], int | float) else None
        why = s.get("remark") or (doc if s["by"] == "default" else "")
        lines.append((Cell(name), Cell(quantity(s["value"], unit), number), Cell(s["by"]), Cell(why)))
    yield Table("settings", columns, tuple(lines), _assumed(step), search=True)


def _assumed(step: Step) -> str:
    """How many settings are assumed, by their own lines."""
    said = [s.get("remark", "") for s in step.said["hardware"]["settings"].values()]
    many = sum("assumed" in x or "our estimate" in x for x in said)
    silent = sum(s["by"] == "chip" and not s.get("remark") for s in step.said["hardware"]["settings"].values())
    return f"{len(said)} settings: {many} say that they are assumed, {silent} of the chip's own name no source"


def origin_blocks(step: Step, folder: Path, sha256: str) -> Iterator[Block]:
    """What made the folder, and hashes of what it holds."""
    r = step.said
    versions = ", ".join(f"{name} {v}" for name, v in r["versions"].items())
    dtypes = ", ".join(f"{role} {d}" for role, d in r["request"]["dtypes"].items())
    took = ", ".join(f"{name} {seconds(s)}" for name, s in r["seconds"].items() if s >= 0.01)
    hashes = [(f, hashlib.sha256((folder / f).read_bytes()).hexdigest()) for f in ("graph.dfir", "chip.chip")]
    yield Facts(
        (
            Fact("made by", versions),
            Fact("asked for", f"{r['model']} on {r['devices']} x {r['chip']}: {r['step']}; {r['objective']}"),
            Fact("numbers", f"{r['dtype']} ({dtypes})"),
            Fact("seed", f"{r['request']['seed']}"),
            Fact("chip", r["hardware"]["fingerprint"], "the SHA-256 of everything that a price can depend on"),
            *(Fact(f, digest, "SHA-256") for f, digest in hashes),
            Fact("mapping.json", sha256, "SHA-256 of all but its running times"),
            Fact("took", took, "running times of the passes"),
        )
    )
