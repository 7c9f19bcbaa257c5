"""Areas of dies from their parameters, against photographs of them.

Published areas of parts are measured on die photographs by the authors of LLMCompass (ISCA 2024, ae/figure6). Two
constants of `templates/tech/common.toml` come from one die, Aldebaran (AMD MI210): the control of a vector lane and
the logic of a cache slice. `constants()` computes them again; a memory's PHY and controller (`templates/dram.toml`)
are from there too. GA100 and the other dies give no constant. The form of the model (what grows with what) was
chosen with GA100's parts in sight, so that these are not blind; GH100 and GV100 were looked at afterwards. What a core
holds is as LLMCompass lists it (configs/*.json): fp64 lanes are those of the vector units. To count those of matrix
units as well (128 and 64 a core) makes the lane's control smaller and GA100 30 mm2 smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import fill

from dfcompiler import registry
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.tech import Tech, load_tech
from dfcompiler.hardware.template import Compute, Interconnect, Memory


@dataclass(frozen=True)
class Core:
    """An SM or CU: lanes of each kind, multiply-accumulates of its matrix units per cycle, KiB of memories."""

    lanes: int
    integer_lanes: int
    double_lanes: int
    matrix_macs: int
    registers_kib: int
    local_kib: int


@dataclass(frozen=True)
class Die:
    """`published` are mm2 by part, of a photograph, or only `total`."""

    node_nm: float
    cores: int
    core: Core
    l2_mib: int
    slices: int
    slice_bytes: int
    kind: str
    stacks: int
    links: int
    link_gbps: float
    host_lanes: int
    published: Mapping[str, float]
    transistors: float  # published, of the whole die


HOST_PHY_MM2, HOST_TRANSISTORS = 0.48, 3962500  # per lane of PCIe 4: LLMCompass (ISCA 2024) cost_model.py
CORE_BYTES = 64  # B/cycle between a core and the L2, each way: CUDA and CDNA documents
PARTS = ("cores", "network", "L2", "memory PHY", "memory controllers", "link PHY")  # of which photographs tell

# Parts: die photographs in LLMCompass (ISCA 2024), ae/figure6/real_hardware/die_area.csv, which show no controllers of
# GA100's links. Totals, transistors and units, of the full die: the white papers of CDNA 2, A100, H100 and V100.
ALDEBARAN = Die(
    node_nm=6, cores=112, core=Core(64, 64, 64, 512, 512, 80), l2_mib=8, slices=32, slice_bytes=128,
    kind="hbm2e", stacks=8, links=8, link_gbps=50, host_lanes=16,
    published={"cores": 446.22, "network": 33, "L2": 25.2, "memory PHY": 83.26, "memory controllers": 40.83,
               "total": 724},
    transistors=29.1e9,  # half of the 58.2 billion of the package
)  # fmt: skip
DIES = {
    "GA100": Die(
        node_nm=7, cores=128, core=Core(64, 64, 32, 1024, 256, 192), l2_mib=48, slices=96, slice_bytes=64,
        kind="hbm2e", stacks=6, links=12, link_gbps=25, host_lanes=16,
        published={"cores": 476.25, "network": 76.44, "L2": 119.31, "memory PHY": 58, "memory controllers": 31.77,
                   "link PHY": 20.95, "total": 826},
        transistors=54.2e9,
    ),
    "GH100": Die(
        node_nm=4, cores=144, core=Core(128, 64, 64, 2048, 256, 256), l2_mib=60, slices=96, slice_bytes=64,
        kind="hbm3", stacks=6, links=18, link_gbps=25, host_lanes=16, published={"total": 814}, transistors=80e9,
    ),
    "GV100": Die(
        node_nm=12, cores=84, core=Core(64, 64, 32, 512, 256, 128), l2_mib=6, slices=64, slice_bytes=32,
        kind="hbm2", stacks=4, links=6, link_gbps=25, host_lanes=16, published={"total": 815}, transistors=21.1e9,
    ),
}  # fmt: skip
CU_MM2 = 4.02  # one CU of Aldebaran: ae/figure6/test_cost_model.py


def core_parts(core: Core, tech: Tech) -> dict[str, float]:
    """mm2 of the parts of a core."""
    registers = memory("sram", capacity=core.registers_kib * 1024, banks=4, cell_ports=4)  # three operands, one result
    local = memory("sram", capacity=core.local_kib * 1024, banks=4)
    matrix = compute("mac-tree", width=16, trees=core.matrix_macs // 16)
    lanes = compute("vector-unit", lanes=core.lanes, integer_lanes=core.integer_lanes, double_lanes=core.double_lanes)
    parts = {"registers": registers, "local": local, "matrix": matrix, "lanes": lanes}
    return {name: float(one.area_mm2(tech)) for name, one in parts.items()}


def parts_of(die: Die) -> dict[str, float]:
    """mm2 of the parts of a die, and `total`."""
    tech = load_tech(die.node_nm)
    l2 = memory("sram", capacity=die.l2_mib * 2**20, banks=die.slices, cache="yes")
    network = interconnect("noc", bandwidth=float(CORE_BYTES), trunk=float(die.slices * die.slice_bytes))
    dram = memory("dram", kind=die.kind)
    stack = {"bandwidth": dram.channel("channel_gbps") * 1e9, "capacity": int(dram.channel("channel_gb") * 1e9)}
    link = interconnect("link", bandwidth=die.link_gbps * 1e9, count=die.links)
    phy, controllers = split(dram.with_axes(stack), die.node_nm)
    link_phy, link_controllers = split(link, die.node_nm)
    found = {
        "cores": die.cores * sum(core_parts(die.core, tech).values()),
        "network": die.cores * float(network.area_mm2(tech)),
        "L2": float(l2.area_mm2(tech)),
        "memory PHY": die.stacks * phy,
        "memory controllers": die.stacks * controllers,
        "link PHY": link_phy,
        "link controllers": link_controllers,
        "host": die.host_lanes * (HOST_PHY_MM2 + float(tech.logic_mm2(HOST_TRANSISTORS))),
    }
    return found | {"total": sum(found.values())}


def split(part: Memory | Interconnect, node_nm: float) -> tuple[float, float]:
    """Of the area of an interface, what stays on another node (the PHY), and what is logic."""
    here, there = load_tech(node_nm), load_tech(28)
    a, b = (float(part.area_mm2(t)) for t in (here, there))
    logic = (b - a) / (float(there.logic_mm2(1e6)) - float(here.logic_mm2(1e6))) * float(here.logic_mm2(1e6))
    return a - logic, logic


def constants() -> dict[str, float]:
    """The two constants that Aldebaran gives, in transistors: what its CU and its L2 have beyond what is modelled."""
    tech, die = load_tech(ALDEBARAN.node_nm), ALDEBARAN
    per_mm2 = tech.value("logic", "mtr_per_mm2") * 1e6
    lane, cut = (tech.value("logic", f"transistors_per_{x}") for x in ("vector_lane", "cache_slice"))
    beyond_cu = CU_MM2 - sum(core_parts(die.core, tech).values())
    beyond_l2 = die.published["L2"] - parts_of(die)["L2"]
    return {
        "transistors_per_vector_lane": lane + beyond_cu * per_mm2 / die.core.lanes,
        "transistors_per_cache_slice": cut + beyond_l2 * per_mm2 / die.slices,
    }


def compute(name: str, **axes: float | str) -> Compute:
    """A unit of a family."""
    made = registry.lookup("template", name)(**axes)
    assert isinstance(made, Compute)
    return made


def memory(name: str, **axes: float | str) -> Memory:
    """A memory of a family."""
    made = registry.lookup("template", name)(**axes)
    assert isinstance(made, Memory)
    return made


def interconnect(name: str, **axes: float | str) -> Interconnect:
    """A network or link of a family."""
    made = registry.lookup("template", name)(**axes)
    assert isinstance(made, Interconnect)
    return made


LANE, SLICE, CROSSING = (f"transistors_per_{x}" for x in ("vector_lane", "cache_slice", "crosspoint"))


def transistors(die: Die) -> dict[str, float]:
    """Of the die as it is modelled, by what they are for; interfaces are left out, six make a cell of SRAM."""
    tech, core = load_tech(die.node_nm), die.core
    lane, cut, crossing = (tech.value("logic", x) for x in (LANE, SLICE, CROSSING))
    by_bits = {bits: tech.at_bits("mac_transistors", bits) for bits in (16, 32, 64)}
    integer = tech.value("logic", "transistors_per_integer_lane")
    units = core.lanes * by_bits[32] + core.integer_lanes * integer + core.double_lanes * by_bits[64]
    stored = die.cores * (core.registers_kib + core.local_kib) * 1024 + die.l2_mib * 2**20
    found = {
        "control of lanes": die.cores * core.lanes * lane,
        "arithmetic": die.cores * (units + core.matrix_macs * by_bits[16]),
        "cells": 6 * 8 * stored,
        "cache slices": die.slices * cut,
        "network": die.cores * 8 * CORE_BYTES * 8 * die.slices * die.slice_bytes * crossing,
    }
    return found | {"total": sum(found.values())}


def lane_control(die: Die) -> float:
    """Transistors of a lane's control with which the die would have its published area, all else as modelled."""
    tech = load_tech(die.node_nm)
    beyond = parts_of(die)["total"] - die.published["total"]
    lanes = die.cores * die.core.lanes
    return tech.value("logic", LANE) - beyond / float(tech.logic_mm2(1.0)) / lanes


def beside(die: Die) -> float:
    """The part of a photographed die that is none of the parts told apart: whitespace, clocks, host, control."""
    return 1 - sum(mm2 for part, mm2 in die.published.items() if part != "total") / die.published["total"]


# LLMCompass (ISCA 2024) cost_model.py: cell and array efficiency of SRAM, transistors of a lane and a core's network.
THEIR_CELL_UM2, THEIR_EFFICIENCY, THEIR_LANE, THEIR_NETWORK = 0.17, 0.602, 996200, 44.3e6
WIDTH = 118
ADOR_MM2 = 516  # arXiv 2503.04253


def ador() -> dict[str, tuple[float, float]]:
    """Parts of `ador`: our mm2, and what LLMCompass's constants, on which its authors built, make of the same parts.
    Interfaces are told apart into what stays on another node and what shrinks."""
    chip = load_chip("ador")
    ours, tech, local = chip.area_mm2(), chip.tech, chip.parts["local"]
    vu, sa, mt = (chip.units[name] for name in ("vu", "sa", "mt"))
    theirs = {
        name: part.instances * 8e-6 * part.template.settings()["capacity"] * THEIR_CELL_UM2 / THEIR_EFFICIENCY
        for name, part in chip.parts.items()
        if part.template.template_name == "sram"
    }
    theirs["noc"] = local.instances * float(tech.logic_mm2(THEIR_NETWORK))
    lanes = vu.instances * vu.template.settings()["lanes"]
    theirs["vu"] = lanes * float(tech.mac_mm2(32) + tech.logic_mm2(THEIR_LANE))
    for unit in (sa, mt):
        theirs[unit.name] = float(unit.template.peak_macs_per_cycle() * tech.mac_mm2(16)) * unit.instances
    found: dict[str, tuple[float, float]] = {}
    for name, mm2 in ours.items():
        part = chip.parts.get(name)
        if part is None or name in theirs:
            found[name] = mm2, theirs.get(name, mm2)
        elif isinstance(part.template, Memory | Interconnect):
            for what, each in zip(("PHY", "controllers"), split(part.template, chip.node_nm), strict=True):
                found[f"{name} {what}"] = part.instances * each, part.instances * each
    del found["total"]
    sums = [sum(column) for column in zip(*found.values(), strict=True)]
    most = max(map(beside, (ALDEBARAN, DIES["GA100"])))
    found["parts"] = sums[0], sums[1]
    found["beside them"] = sums[0] * most / (1 - most), sums[1] * most / (1 - most)
    rest = [ADOR_MM2 - total / (1 - most) for total in sums]
    return found | {"not explained": (rest[0], rest[1]), "published": (ADOR_MM2, ADOR_MM2)}


def report() -> str:
    """Every die, part by part, as a text that keeps its columns."""
    lines = ["## Areas of dies", "", "```"]
    for name, die in {"Aldebaran (gives constants)": ALDEBARAN, **DIES}.items():
        lines += [f"{name}, {die.node_nm:g} nm"]
        for part, mm2 in parts_of(die).items():
            known = die.published.get(part)
            against = f"{known:8.1f} published {100 * (mm2 / known - 1):+6.1f} %" if known else ""
            lines.append(f"  {part:20}{mm2:8.1f} {against}".rstrip())
        lines.append("")
    lines += ["```", "", counted(), "", "```"]
    head = ["", *DIES_BY_NAME]
    counts = [transistors(die) for die in DIES_BY_NAME.values()]
    rows = [[part, *(f"{c[part] / 1e9:.1f}" for c in counts)] for part in counts[0]]
    rows.append(["published", *(f"{d.transistors / 1e9:.1f}" for d in DIES_BY_NAME.values())])
    density = [(d.transistors / 1e6 / d.published["total"], d.node_nm) for d in DIES_BY_NAME.values()]
    rows.append(["per mm2, millions", *(f"{each:.0f}" for each, _ in density)])
    rows.append(
        ["of the node's", *(f"{100 * x / load_tech(nm).value('logic', 'mtr_per_mm2'):.0f} %" for x, nm in density)]
    )
    rows.append(["a lane, millions", *(f"{lane_control(d) / 1e6:.2f}" for d in DIES_BY_NAME.values())])
    lines += ["".join(f"{cell:18}" if i == 0 else f"{cell:>12}" for i, cell in enumerate(row)) for row in (head, *rows)]
    lines += ["```", "", unexplained(), "", "```"]
    lines.append(f"{'ador, mm2':20}{'ours':>10}{'LLMCompass':>12}")
    lines += [f"{part:20}{mm2:10.1f}{other:12.1f}" for part, (mm2, other) in ador().items()]
    return "\n".join([*lines, "```", ""])


DIES_BY_NAME = {"Aldebaran": ALDEBARAN, **DIES}


def counted() -> str:
    """Which part of a die is off, and why, with figures that are worked out."""
    constant = load_tech(7).value("logic", LANE)
    more = 100 * (transistors(ALDEBARAN)["total"] / ALDEBARAN.transistors - 1)
    old, new = DIES["GV100"], DIES["GH100"]
    alone = 100 * transistors(old)["control of lanes"] / old.transistors
    less, half = (lane_control(d) / constant for d in (old, new))
    return fill(
        f"Which part is off, and why: billions of transistors as modelled and as published, and the control of a lane "
        f"with which a die would have its area. The constant for it, {constant / 1e6:.2f} million, is what Aldebaran's "
        f"cores have beyond all else, as if laid out at the full density of the node. They are not: Aldebaran as "
        f"modelled has {more:.0f} % more transistors than AMD counts, so the constant is space in part. In GV100 it "
        f"alone would be {alone:.0f} % of all transistors; {less:.2f} of it make the area right: cores of 2017 have "
        f"less around a lane. In GH100, with twice the lanes in a core, {half:.2f} of it do: what is around lanes does "
        f"not double with them. Any other part would have to vanish to make up for either difference alone.",
        WIDTH,
    )


def unexplained() -> str:
    """What is beside parts, by photographs, and what that leaves of ador."""
    here, there = (100 * beside(d) for d in (ALDEBARAN, DIES["GA100"]))
    cell = THEIR_CELL_UM2 / load_tech(7).value("sram", "cell_um2")
    return fill(
        f"What no photograph names as a part (whitespace, clocks, power, test, host, control) is {here:.0f} % of "
        f"Aldebaran and {there:.0f} % of GA100. The model has PHYs and controllers of memory and links, and a host "
        f"interface as `uncore`; it has no whitespace. With the larger of these shares, `beside them`, ador is still "
        f"short of its published area, by our constants and by LLMCompass's. The largest difference between the two "
        f"are memories: LLMCompass's cell is {cell:.1f} times that which TSMC published for 7 nm. For the rest we "
        f"know no source.",
        WIDTH,
    )


if __name__ == "__main__":
    print(report())
