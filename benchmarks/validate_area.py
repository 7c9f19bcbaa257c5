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


HOST_PHY_MM2, HOST_TRANSISTORS = 0.48, 3962500  # per lane of PCIe 4: LLMCompass (ISCA 2024) cost_model.py
CORE_BYTES = 64  # B/cycle between a core and the L2, each way: CUDA and CDNA documents
PARTS = ("cores", "network", "L2", "memory PHY", "memory controllers", "link PHY")  # of which photographs tell

# Parts: die photographs in LLMCompass (ISCA 2024), ae/figure6/real_hardware/die_area.csv, which show no controllers of
# GA100's links. Totals and numbers of units, of the full die: the white papers of CDNA 2, A100, H100 and V100.
ALDEBARAN = Die(
    node_nm=6, cores=112, core=Core(64, 64, 64, 512, 512, 80), l2_mib=8, slices=32, slice_bytes=128,
    kind="hbm2e", stacks=8, links=8, link_gbps=50, host_lanes=16,
    published={"cores": 446.22, "network": 33, "L2": 25.2, "memory PHY": 83.26, "memory controllers": 40.83,
               "total": 724},
)  # fmt: skip
DIES = {
    "GA100": Die(
        node_nm=7, cores=128, core=Core(64, 64, 32, 1024, 256, 192), l2_mib=48, slices=96, slice_bytes=64,
        kind="hbm2e", stacks=6, links=12, link_gbps=25, host_lanes=16,
        published={"cores": 476.25, "network": 76.44, "L2": 119.31, "memory PHY": 58, "memory controllers": 31.77,
                   "link PHY": 20.95, "total": 826},
    ),
    "GH100": Die(
        node_nm=4, cores=144, core=Core(128, 64, 64, 2048, 256, 256), l2_mib=60, slices=96, slice_bytes=64,
        kind="hbm3", stacks=6, links=18, link_gbps=25, host_lanes=16, published={"total": 814},
    ),
    "GV100": Die(
        node_nm=12, cores=84, core=Core(64, 64, 32, 512, 256, 128), l2_mib=6, slices=64, slice_bytes=32,
        kind="hbm2", stacks=4, links=6, link_gbps=25, host_lanes=16, published={"total": 815},
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


# LLMCompass (ISCA 2024) cost_model.py: cell and array efficiency of SRAM, transistors of a lane and a core's network.
THEIR_CELL_UM2, THEIR_EFFICIENCY, THEIR_LANE, THEIR_NETWORK = 0.17, 0.602, 996200, 44.3e6
ADOR_MM2 = 516  # arXiv 2503.04253


def ador() -> dict[str, tuple[float, float]]:
    """Parts of `ador`: our mm2, and what LLMCompass's constants, on which its authors built, make of the same parts."""
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
    found = {name: (mm2, theirs.get(name, mm2)) for name, mm2 in ours.items() if name != "total"}
    return found | {"total": (ours["total"], sum(b for _, b in found.values()))}


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
    lines.append(f"ador, 7 nm: published {ADOR_MM2} mm2; by our constants, and by LLMCompass's")
    lines += [f"  {part:20}{mm2:8.1f} {other:8.1f}" for part, (mm2, other) in ador().items()]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    print(report())
