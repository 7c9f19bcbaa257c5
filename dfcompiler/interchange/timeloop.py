"""Architecture YAML of Timeloop v4: components in the order in which data pass them, containers that fan out.

A storage holds `depth` rows of `width` bits and moves so many words of `datawidth` bits per cycle; one that does not
say how many moves any. Fan-out above the memory beside the multipliers makes cores of it, fan-out below it an array.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.interchange.documents import Value
from dfcompiler.interchange.machine import Machine, Part, Said, identifier, quantity

FAMILY = "architecture"
VERSION = "0.4"
SMALLEST = 64  # bytes of a buffer of ours: what holds less is registers
ANY = 2**20  # B/cycle: the widest port of ours
DEFAULTS = {"datawidth": "8"}  # bits: Timeloop v4

REASONS = {
    "architecture.version": "it says how to read the file",
    "architecture.nodes.*.constraints.*": "our mapper tries all loop orders and tiles, and proves its choice",
    "architecture.nodes.*.subclass": "energies follow from the node",
    "architecture.nodes.*.attributes.n_banks": "a buffer has one bank unless `banks` is set",
    "architecture.nodes.*.attributes.*adder_width": "sums have 32 bits unless `acc_bits` is set",
    "architecture.nodes.*.attributes.type": "the kind of DRAM: set `kind` where energy, area and price matter",
    "architecture.nodes.*.attributes.width": "of DRAM: its bandwidth counts",
    "architecture.nodes.*.attributes.*": "no figure of a family of ours",
    "architecture.nodes.*.class": "what it is follows from its figures",
    "architecture.nodes.*": "no figure of a family of ours",
    "*": "only `architecture` is read",
}


@dataclass(frozen=True)
class Level:
    """Storages side by side, and what fans out between the level above and this one."""

    storages: tuple[Value, ...]
    across: int  # meshX
    down: int  # meshY


@dataclass
class Walk:
    """The way of data through the nodes."""

    levels: list[Level] = field(default_factory=list)
    above: dict[str, Value] = field(default_factory=dict)  # attributes of containers
    multiplier: Value | None = None
    across: int = 1
    down: int = 1


def read_machine(root: Value, name: str) -> Machine:
    """The machine of a file, called `name`.

    Raises Diag for what is wrong, Infeasible `not-expressible` for what a chip of ours cannot be.
    """
    top = root.at("architecture")
    if (version := top.at("version").text()) != VERSION:
        raise Diag("unknown-format", f"architecture version {version}; {VERSION} is read", top.at("version").span)
    walk = Walk()
    _walk(top.at("nodes").list(), walk)
    if walk.multiplier is None:
        raise Infeasible("not-expressible", "no component computes", top.span, hint="one whose class is a `mac`")
    (dram,), shared, cores, local, array = _places(walk, top)
    return Machine(
        name=identifier(name),
        origin="imported from an architecture file of Timeloop v4",
        node=_node(walk.above),
        clock=_clock(walk.above),
        dram=_dram(dram),
        shared=_buffer("global", shared) if shared else None,
        local=_buffer("local", local),
        array=_array(walk.multiplier, array),
        lanes=Part("vu", (("lanes", Said(str(max(array)), "ours, so that whole models compile")),)),
        cores=cores,
    )


def _walk(nodes: Sequence[Value], walk: Walk) -> None:
    for node in nodes:
        if node.has("name"):
            node.at("name").text()
        if node.tag in ("Parallel", "Hierarchical"):
            inner = node.at("nodes").list()
            if node.tag == "Parallel":
                _step(tuple(inner), walk)
            else:
                _walk(inner, walk)
        elif node.tag in ("Container", "Component"):
            _fan(node, walk)
            if node.tag == "Component":
                _step((node,), walk)
            elif node.has("attributes"):
                walk.above.update(node.at("attributes").items())
        else:
            raise Diag(
                "bad-document", f"`{node.path}` is no !Component, !Container, !Parallel or !Hierarchical", node.span
            )


def _fan(node: Value, walk: Walk) -> None:
    if node.has("spatial"):
        for name, value in node.at("spatial").items():
            if name == "meshX":
                walk.across *= value.whole()
            elif name == "meshY":
                walk.down *= value.whole()


def _step(nodes: tuple[Value, ...], walk: Walk) -> None:
    """Components side by side: storages, or the multiplier that ends the way."""
    found = []
    for node in nodes:
        kind = node.at("class").text().lower()
        if "mac" in kind:
            walk.multiplier = node
        elif node.has("attributes", "depth") or "dram" in kind:
            found.append(node)
        else:
            raise Infeasible(
                "not-expressible", f"`{kind}` is neither a storage nor a multiplier", node.at("class").span
            )
    if found:
        walk.levels.append(Level(tuple(found), walk.across, walk.down))
        walk.across = walk.down = 1


def _places(walk: Walk, top: Value) -> tuple[tuple[Value], tuple[Value, ...], int, tuple[Value, ...], tuple[int, int]]:
    """The DRAM, the buffer of all cores, how many cores, the buffer of each, and rows and columns of its array."""
    levels, across, down = list(walk.levels), walk.across, walk.down
    while len(levels) > 2 and sum(map(_capacity, levels[-1].storages)) < SMALLEST:
        registers = levels.pop()
        across, down = across * registers.across, down * registers.down
    if not levels or len(levels[0].storages) != 1:
        raise Infeasible("not-expressible", "the outermost storage is to be one DRAM", top.span)
    if len(levels) not in (2, 3):
        message = f"{len(levels) - 1} buffers between the DRAM and the multipliers; a chip of ours has one or two"
        raise Infeasible("not-expressible", message, top.span, hint="leave a level out, or join two")
    cores = prod(x.across * x.down for x in levels)
    if len(levels) == 3 and (many := prod(x.across * x.down for x in levels[:2])) > 1:
        message = f"{many} buffers, each with cores of its own; ours is one for all cores"
        raise Infeasible("not-expressible", message, levels[1].storages[0].span)
    shared = levels[1].storages if len(levels) == 3 else ()
    return (levels[0].storages[0],), shared, cores, levels[-1].storages, (down, across)


def _attribute(node: Value, name: str) -> Iterator[Value]:
    if node.has("attributes", name):
        yield node.at("attributes", name)


def _bits(node: Value) -> float:
    """Of a word."""
    return next((v.positive() for v in _attribute(node, "datawidth")), float(DEFAULTS["datawidth"]))


def _capacity(node: Value) -> float:
    return node.at("attributes", "depth").positive() * node.at("attributes", "width").positive() / 8


def _rate(node: Value, name: str) -> tuple[float, str]:
    """Bytes per cycle, and where that is said."""
    told = next(_attribute(node, name), next(_attribute(node, "shared_bandwidth"), None))
    if told is None:
        return ANY, f"{node.at('name').text()} tells no {name}: without limit"
    return told.positive() * _bits(node) / 8, f"{told.path.removeprefix('architecture.')} words of {_bits(node):g} bits"


def _buffer(name: str, storages: Sequence[Value]) -> Part:
    """Storages side by side as one: its capacity is theirs in all, and so are the ways to other memories."""
    names = " + ".join(s.at("name").text() for s in storages)
    joined = f"{names}, one buffer of ours: what each holds may differ" if len(storages) > 1 else names
    rates = {way: [_rate(s, f"{way}_bandwidth") for s in storages] for way in ("read", "write")}
    found = [("capacity", Said(quantity(int(sum(map(_capacity, storages))), "B"), f"{joined}: depth x width / 8"))]
    for port, way in (("input", "read"), ("weight", "read"), ("psum_read", "read"), ("psum_write", "write")):
        rate, said = max(rates[way])
        found.append((port, Said(quantity(rate, "B/cycle"), f"{said}; for each operand, and at once")))
    for port, way in (("dma_read", "read"), ("dma_write", "write")):
        rate = min(ANY, sum(r for r, _ in rates[way]))
        found.append((port, Said(quantity(rate, "B/cycle"), f"{joined}: {way}_bandwidth")))
    return Part(name, tuple(found))


def _dram(node: Value) -> Part:
    (read, said), (write, _) = _rate(node, "read_bandwidth"), _rate(node, "write_bandwidth")
    if read != write:
        raise Infeasible("not-expressible", "a DRAM that reads faster than it writes is not imported", node.span)
    shared = any(_attribute(node, "shared_bandwidth"))
    return Part(
        "mem",
        (
            ("kind", Said("hbm2e", "assumed: it decides energy, area and price, not cycles")),
            ("capacity", Said("80 GB", "assumed: DRAM of Timeloop has no end")),
            ("bandwidth", Said(quantity(read, "B/cycle"), said)),
            ("duplex", Said("half" if shared else "full", "one shared_bandwidth, or one each way")),
        ),
    )


def _array(multiplier: Value, size: tuple[int, int]) -> Part:
    width = next((v for n in ("multiplier_width", "datawidth") for v in _attribute(multiplier, n)), None)
    bits = next((w for w in (4, 8, 16, 32) if width is not None and w >= width.whole()), 16)
    where = "assumed: Timeloop lets any loop be spatial; sums of ours run over rows"
    return Part(
        "sa",
        (
            ("rows", Said(str(size[0]), f"meshY above the multiplier; {where}")),
            ("cols", Said(str(size[1]), "meshX above the multiplier")),
            ("operand_bits", Said(str(bits), width.path if width else "assumed")),
        ),
    )


def _node(above: Mapping[str, Value]) -> Said:
    if "technology" not in above:
        return Said("7 nm", "assumed: cycles do not depend on it")
    text = above["technology"].text().strip().lower().removesuffix("nm").strip()
    if not text.replace(".", "", 1).isdigit():
        raise above["technology"].fault("a process node such as `45nm`")
    return Said(f"{text} nm", "technology")


def _clock(above: Mapping[str, Value]) -> Said:
    if "global_cycle_seconds" not in above:
        return Said("1 GHz", "assumed: cycles do not depend on it")
    return Said(quantity(round(1 / above["global_cycle_seconds"].positive()), "Hz"), "1 / global_cycle_seconds")
