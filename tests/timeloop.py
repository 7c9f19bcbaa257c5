"""Timeloop v4's own reading of a mapping, from the text alone: what its front end requires of a file, and how its model
turns factors and permutations into loops. Neither is to be had from a registry of packages, so their rules stand here.

Front end: Accelergy-Project/timeloopfe, timeloopfe/v4/arch.py, problem.py, constraints.py and the transpiler to the
model's format, timeloopfe/common/version_transpilers/v4_to_v3.py. Model: NVlabs/timeloop, src/mapping/parser.cpp.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import yaml

STORAGE, COMPUTE = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage"), ("mac", "intmac", "fpmac", "compute")
LEAF = {"tag", "name", "attributes", "spatial", "constraints", "sparse_optimizations"}
COMPONENT = LEAF | {"class", "subclass", "required_actions", "area_share", "enabled"}
ATTRIBUTES = {"datawidth", "width", "depth", "technology", "n_banks", "block_size", "cluster_size", "entries", "sizeKB"}
FACTOR = re.compile(r"([A-Za-z]+)\s*=*\s*([0-9]+)(,([0-9]+))?")  # of the model's parser
KEYS = {
    "temporal": {"type", "target", "factors", "permutation", "no_reuse", "rmw_first_update"},
    "spatial": {"type", "target", "factors", "permutation", "no_reuse", "no_link_transfer", "split"},
    "dataspace": {"type", "target", "keep", "bypass", "no_coalesce"},
}


class Loader(yaml.SafeLoader):
    """Takes Timeloop's tags for plain maps."""


for tag in ("!Component", "!Container"):
    Loader.add_constructor(tag, lambda loader, node: {**loader.construct_mapping(node, deep=True), "tag": node.tag})


@dataclass(frozen=True)
class Level:
    """A storage with the operands it keeps, or a fan-out; its loops, outermost first: dimension, rounds, and those of
    the last round of the loops outside."""

    name: str
    keeps: tuple[str, ...]
    loops: tuple[tuple[str, int, int], ...]
    spatial: bool


@dataclass(frozen=True)
class Read:
    """A file as the model has it: sizes, dimensions of each operand, levels from DRAM inwards."""

    sizes: dict[str, int]
    operands: dict[str, tuple[str, ...]]
    depth: dict[str, int]
    levels: tuple[Level, ...]

    def tile(self, level: int, operand: str) -> int:
        """Elements of an operand below a level's loops outside: what its storage holds at one time."""
        inside = [x for one in self.levels[level:] for x in one.loops if x[0] in self.operands[operand]]
        return prod(rounds for _, rounds, _ in inside)


def read(text: str) -> Read:
    """The file; AssertionError for what Timeloop would refuse."""
    said = yaml.load(text, Loader)
    assert set(said) == {"problem", "architecture", "mapping"}
    sizes, operands = problem(said["problem"])
    nodes = {n["name"]: n for n in said["architecture"]["nodes"]}
    assert str(said["architecture"]["version"]) == "0.4" and set(said["architecture"]) == {"version", "nodes"}
    assert len(nodes) == len(said["architecture"]["nodes"])
    for n in nodes.values():
        component(n)
    *_, last = nodes.values()
    assert last.get("class") in COMPUTE  # the last node must be what computes
    by: dict[tuple[str, str], Any] = {}
    for d in said["mapping"]:
        assert set(d) <= KEYS[d["type"]] and (d["target"], d["type"]) not in by
        by[d["target"], d["type"]] = d
    assert {target for target, _ in by} <= set(nodes)
    levels = tuple(level for n in nodes.values() for level in levels_of(n, by, sizes, operands))
    for dim, size in sizes.items():
        assert size == whole([x for level in levels for x in level.loops if x[0] == dim]), dim
    depth = {n["name"]: n["attributes"]["depth"] for n in nodes.values() if "depth" in n.get("attributes", {})}
    return Read(sizes, operands, depth, levels)


def problem(said: dict[str, Any]) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    assert set(said) == {"version", "shape", "instance"} and str(said["version"]) == "0.4"
    shape = said["shape"]
    assert set(shape) <= {"name", "dimensions", "data_spaces", "coefficients"} and isinstance(shape["name"], str)
    dims = shape["dimensions"]
    assert all(isinstance(d, str) and re.fullmatch("[A-Za-z]", d) for d in dims) and len(set(dims)) == len(dims)
    assert set(said["instance"]) == set(dims) and all(type(n) is int for n in said["instance"].values())
    operands = {}
    for space in shape["data_spaces"]:
        assert set(space) <= {"name", "projection", "read_write"} and isinstance(space["name"], str)
        operands[space["name"]] = tuple(d for ((d,),) in space["projection"])
        assert set(operands[space["name"]]) <= set(dims)
    assert len(operands) == len(shape["data_spaces"])
    assert sum(space.get("read_write", False) for space in shape["data_spaces"]) == 1
    return said["instance"], operands


def component(n: dict[str, Any]) -> None:
    """A node of the architecture has the members of its class."""
    assert isinstance(n["name"], str) and set(n.get("spatial", {})) <= {"meshX", "meshY"}
    if n["tag"] == "!Container":
        assert set(n) <= LEAF | {"networks"}
        return
    assert set(n) <= COMPONENT and n["class"] in (*STORAGE, *COMPUTE)
    if n["class"] in STORAGE:
        assert set(n["attributes"]) <= ATTRIBUTES and type(n["attributes"]["datawidth"]) is int
        assert n["class"] == "DRAM" or n["attributes"]["depth"] > 0


def levels_of(n: dict[str, Any], by: dict[tuple[str, str], Any], sizes: dict[str, int], operands: Any) -> list[Level]:
    """A node's levels: a storage's loops in time, then what its fan-out unrolls."""
    fan = prod(n.get("spatial", {}).values())
    found = []
    if n.get("class") in STORAGE:
        held = by[n["name"], "dataspace"]
        assert sorted([*held["keep"], *held["bypass"]]) == sorted(operands)
        found.append(Level(n["name"], tuple(held["keep"]), loops_of(by[n["name"], "temporal"], sizes), False))
    if fan > 1 or (n["name"], "spatial") in by:
        loops = loops_of(by[n["name"], "spatial"], sizes)
        assert prod(rounds for _, rounds, _ in loops) <= fan  # all of them along X, where no split is given
        found.append(Level(n["name"], (), loops, True))
    return found


def loops_of(directive: dict[str, Any], sizes: dict[str, int]) -> tuple[tuple[str, int, int], ...]:
    """The front end joins lists, factors by commas and permutations by nothing; the model reads one letter at a time,
    from the innermost loop, and after a factor's rounds those of its last round where a number follows the comma."""
    factors, order = directive["factors"], directive["permutation"]
    assert all(isinstance(x, str) for x in (*factors, *order))
    bounds = {m[1]: (int(m[2]), int(m[4] or m[2])) for m in FACTOR.finditer(",".join(factors))}
    assert len(bounds) == len(factors) and set(bounds) == set(sizes) == set("".join(order))
    assert all(1 <= last <= rounds for rounds, last in bounds.values())
    return tuple((d, *bounds[d]) for d in reversed("".join(order)))


def whole(loops: list[tuple[str, int, int]]) -> int:
    """The size that loops of one dimension make, as the model checks it: ((r3-1)*p2 + r2-1)*p1 + r1-1 and so on."""
    points = 0
    for _, rounds, last in loops:
        points = points * rounds + last - 1
    return points + 1
