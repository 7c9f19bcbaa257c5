"""Tensors that stay on the chip between ops: which may, that nothing better is missed, and that a checker would see."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from nestcases import CASES, joined, machine
from segmentjson import mapping_of as segment_json
from segments import NOTHING, check_resources, covers

from dfcompiler import ilp
from dfcompiler.addresses import Life, lives, placed
from dfcompiler.check import check, check_mapping
from dfcompiler.cli import main
from dfcompiler.columns import Column
from dfcompiler.explore.floors import floor, site
from dfcompiler.explore.needs import needs
from dfcompiler.listing import first_schedule
from dfcompiler.pins import Pin
from dfcompiler.solution import Solution, Task
from dfcompiler.tiling import search

ROOM = 3
SEEDS = 14


# ---- small segments, against all schedules -----------------------------------------------------


def small(seed: int) -> tuple[nx.DiGraph[str], list[Column]]:
    """Up to 4 nodes, whose columns are faster where tensors are pinned, in less room than all of them take."""
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(rng.randint(2, 4))]
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(names)
    flow.add_edges_from((u, v) for u, v in itertools.combinations(names, 2) if rng.random() < 0.5)
    pins = [
        Pin(f"t{v}", v, tuple(flow.successors(v)), rng.randint(1, 2), "global", ROOM)
        for v in names
        if list(flow.successors(v))
    ]
    groups = [(v,) for v in names] + [e for e in flow.edges if rng.random() < 0.3 and _alone(flow, e)]
    return flow, [c for g in groups for c in _columns(rng, g, [p for p in pins if p.crosses(g)])]


def _alone(flow: nx.DiGraph[str], edge: tuple[str, str]) -> bool:
    u, v = edge
    return not (nx.descendants(flow, u) & nx.ancestors(flow, v))


def _columns(rng: random.Random, nodes: tuple[str, ...], near: Sequence[Pin]) -> Iterator[Column]:
    unit, dram, cycles = rng.choice("ab"), rng.choice([4, 8, 16]), rng.randint(3, 4)
    for some in (x for n in range(len(near) + 1) for x in itertools.combinations(sorted(near), n)):
        if sum(p.bytes for p in some) <= ROOM:
            yield Column(nodes, unit, None, max(1, cycles - rng.randint(0, 2) * len(some)), dram, 0, NOTHING, 1.0, some)


def agreed(columns: Sequence[Column]) -> bool:
    """Whether all who touch a tensor with others find it in one place."""
    pins = {p for c in columns for p in c.pins}
    return all(p in c.pins for p in pins for c in columns if p.crosses(c.nodes))


def fits(tasks: Sequence[Task]) -> bool:
    """Whether some addresses keep all pinned tensors apart: all of them are tried."""
    every = list(lives(tasks).values())
    places = itertools.product(*(range(ROOM - x.bytes + 1) for x in every))
    return any(all(_apart(*x, *y) for x, y in itertools.combinations(zip(every, at, strict=True), 2)) for at in places)


def _apart(x: Life, a: int, y: Life, b: int) -> bool:
    return not x.beside(y) or a + x.bytes <= b or b + y.bytes <= a


def shortest(flow: nx.DiGraph[str], columns: Sequence[Column], most: int) -> int:
    """Cycles of the shortest schedule: every cover, every column, every start."""
    for cover in covers(flow, columns):
        for chosen in itertools.product(*([c for c in columns if c.nodes == g] for g in cover)):
            if agreed(chosen):
                most = min(most, _shortest(flow, chosen, (), most))
    return most


def _shortest(flow: nx.DiGraph[str], rest: Sequence[Column], done: tuple[Task, ...], most: int) -> int:
    if not rest:
        return max(t.end for t in done) if fits(done) else most
    ends = {v: t.end for t in done for v in t.column.nodes}
    c = next(c for c in rest if all(u in ends or u in c.nodes for v in c.nodes for u in flow.predecessors(v)))
    earliest = max((ends[u] for v in c.nodes for u in flow.predecessors(v) if u in ends), default=0)
    for start in range(earliest, most - c.cycles):
        tasks = (*done, Task(c, start))
        try:
            check_resources(tasks)
        except AssertionError:
            continue
        most = min(most, _shortest(flow, [x for x in rest if x is not c], tasks, most))
    return most


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_schedule_with_pins_is_shorter(seed: int) -> None:
    flow, columns = small(seed)
    hint = first_schedule(flow, columns)
    found = ilp.solve(flow, columns, hint, seconds=20, seed=0)
    assert found.optimal
    assert found.cycles == shortest(flow, columns, hint.cycles + 1)
    assert agreed([t.column for t in found.tasks]) and fits(found.tasks)
    assert all(v.ok for v in check_mapping(segment_json(flow, columns, found))), seed


def test_some_of_them_pin() -> None:
    solved = [ilp.solve(*x, first_schedule(*x), seconds=20, seed=0) for x in map(small, range(SEEDS))]
    pinned = [s for s in solved if any(t.column.pins for t in s.tasks)]
    assert len(pinned) > SEEDS // 3


def test_more_than_fits_at_every_moment_may_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the allocator finds no places, the solver is told to keep them apart, and does."""
    flow, columns = next(x for x in map(small, range(SEEDS)) if _pins_two(*x))
    told: list[tuple[Pin, ...]] = []

    def once(tasks: Sequence[Task]) -> dict[Pin, int] | tuple[Pin, ...]:
        pins = tuple(sorted({p for t in tasks for p in t.column.pins}))
        if len(pins) > 1 and not told:
            told.append(pins)
            return pins
        return placed(tasks)

    plain = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=20, seed=0)
    monkeypatch.setattr(ilp, "placed", once)
    found = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=20, seed=0)
    assert told and found.cycles == plain.cycles and fits(found.tasks)


def _pins_two(flow: nx.DiGraph[str], columns: Sequence[Column]) -> bool:
    found: Solution = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=20, seed=0)
    return len({p for t in found.tasks for p in t.column.pins}) > 1


# ---- bounds of many designs --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "rmsnorm", "silu_mul", "gate_up_act", "causal"])
def test_bounds_hold_where_tensors_may_be_pinned(name: str) -> None:
    """What ops hand to each other need not move from or to DRAM: no bound counts it where room is set aside."""
    pinned = 0
    for seed in range(12):
        rng = random.Random(f"{name} {seed}")
        p = joined(CASES[name](rng))
        unit, helper = machine(rng, "mac-tree" if p.contractions else "vector-unit")
        if len(unit.levels) < 3 or prod(x.size for x in p.loops) > 3000:
            continue
        above = replace(unit.levels[1], pinned_bytes=1)
        unit = replace(unit, levels=(unit.levels[0], above, unit.levels[2]))
        p = replace(p, group=replace(p.group, kinds=dict.fromkeys(p.group.kinds, "value")))
        every = replace(p, operands=tuple(replace(o, pinned=o.kind != "local") for o in p.operands))
        found = search(every, unit, helper if p.contractions else None)
        bound = floor(needs(p), site(unit, helper if p.contractions else None))
        assert bound.held <= min(t.cycles for t in found.tilings) * (1 + 1e-9)
        assert bound.dram == 0 and all(t.dram_bytes == 0 for t in found.tilings)
        pinned += 1
    assert pinned


# ---- a layer -----------------------------------------------------------------------------------

STEP = "--on ador --phase prefill --batch 1 --seq 64 --set noc.multicast=yes".split()


def compiled(folder: Path, capsys: pytest.CaptureFixture[str], model: str, *more: str) -> dict[str, Any]:
    assert main(["compile", model, *STEP, *more, "--verify", "-o", str(folder), "--json"]) == 0
    capsys.readouterr()
    found: dict[str, Any] = json.loads((folder / "mapping.json").read_text())
    return found


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's configuration, with two layers."""
    path = tmp_path_factory.mktemp("model") / "config.json"
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    more = {"num_hidden_layers": 2, "vocab_size": 512, "rms_norm_eps": 1e-5, "rope_theta": 1e4}
    said = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 512, **sizes, **more}
    path.write_text(json.dumps(said))
    return path


def test_what_is_pinned_saves_dram_and_time(layer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Room that is set aside never makes a step longer than a memory that is smaller by as much; here it is shorter."""
    pinned = compiled(tmp_path / "pinned", capsys, str(layer), "--set", "global.pinned=4 MiB")
    less = compiled(tmp_path / "less", capsys, str(layer), "--set", "global.capacity=12 MiB")
    assert pinned["status"] == less["status"] == "OPTIMAL"
    assert pinned["latency_s"] < less["latency_s"]
    assert pinned["traffic_bytes"]["hbm"] < less["traffic_bytes"]["hbm"]
    assert not less["pinned"] and pinned["pinned"][0]["memory"] == "global"
    tensors = {t for x in pinned["pinned"] for t in x["tensors"]}
    may = {t["tensor"] for s in pinned["mapping"]["segments"] for t in s["pins"]}
    assert tensors and tensors <= may and not any(t.startswith(("kc", "vc")) for t in may)
    assert all(v.ok for v in check(pinned))
    for change, name in DAMAGE:
        damaged = copy.deepcopy(pinned)
        change(next(s for s in damaged["mapping"]["segments"] if len(s["pinned"]) > 1))
        assert name in {v.name for v in check(damaged) if not v.ok}, name


def test_a_pinned_op_is_explained_as_it_was_mapped(
    layer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compiled(tmp_path / "pinned", capsys, str(layer), "--set", "global.pinned=4 MiB")
    tensor = found["pinned"][0]["tensors"][0]
    assert main(["show", str(tmp_path / "pinned"), "--op", tensor, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    op = next(x for x in found["ops"] if tensor in x["nodes"])
    assert told["column"]["unit"] == op["unit"] and told["runners_up"]


@pytest.mark.parametrize("room", ["16 MiB", "17 MiB"])
def test_room_for_tiles_is_left(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ador", "--set", f"global.pinned={room}"]) == 2
    assert "bad-share" in (said := capsys.readouterr().err) and "sets aside" in said


def _off(s: dict[str, Any]) -> None:
    s["pinned"].pop()


def _together(s: dict[str, Any]) -> None:
    for x in s["pinned"]:
        x |= {"address": 0, "start": 0, "end": s["cycles"]}


def _late(s: dict[str, Any]) -> None:
    s["pinned"][0]["start"] += 1


def _high(s: dict[str, Any]) -> None:
    s["pinned"][0]["address"] = s["pins"][0]["room_bytes"]


def _elsewhere(s: dict[str, Any]) -> None:
    for pin in s["pins"]:
        pin["memory"] = "local"


def _more(s: dict[str, Any]) -> None:
    s["pins"][0]["room_bytes"] *= 100


DAMAGE = [(x, "pins") for x in (_off, _together, _late, _high)] + [(x, "rooms") for x in (_elsewhere, _more)]
