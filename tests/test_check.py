"""`dfc check` passes what is right and finds what is wrong, with its place; proofs that it takes are proofs."""

from __future__ import annotations

import ast
import copy
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segmentjson import mapping_of
from test_mapping import STEPS, chip, llama, shortest, small

from dfcompiler import certificate as proofs
from dfcompiler import check, ilp
from dfcompiler.api import compile_model
from dfcompiler.check.reading import At
from dfcompiler.cli import main
from dfcompiler.columns import Column
from dfcompiler.diagnostics import Diag
from dfcompiler.enumeration import none_before
from dfcompiler.listing import first_schedule, greedy
from dfcompiler.outputs import json_text, mapping_json
from dfcompiler.parallelism import Parallel
from dfcompiler.serial import in_turn
from dfcompiler.solution import Solution, Task
from dfcompiler.tiling import Tiling

CHECK = Path(check.__file__).parent
Json = dict[str, Any]
NOTHING = Tiling(1.0, 1.0, 0, 0, 0, 0, {}, {}, {}, (), (), 0, 0)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A step on three kinds of units; its layers hang on each other."""
    done = compile_model(llama(tmp_path_factory.mktemp("right")), chip("ador"), STEPS["decode"], time_limit_s=20.0)
    return json.loads(json_text(mapping_json(done, "right")))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """A step on two stages of two devices."""
    model, many = llama(tmp_path_factory.mktemp("staged")), Parallel(tp=2, pp=2)
    done = compile_model(model, chip("h100_sxm"), STEPS["prefill"], parallel=many, pipeline="greedy")
    return json.loads(json_text(mapping_json(done, "staged")))  # type: ignore[no-any-return]


def place(data: Json, path: str) -> tuple[Any, Any]:
    """The object or list that holds a place, and the place in it."""
    keys: list[Any] = [int(n) if n else name for name, n in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
    for key in keys[:-1]:
        data = data[key]
    return data, keys[-1]


def edited(data: Json, path: str, change: Callable[[Any], Any]) -> Json:
    found = copy.deepcopy(data)
    holder, key = place(found, path)
    holder[key] = change(holder[key])
    return found


def without(data: Json, path: str) -> Json:
    found = copy.deepcopy(data)
    holder, key = place(found, path)
    del holder[key]
    return found


def failing(data: Json) -> dict[str, list[tuple[str, str]]]:
    return {v.name: [(f.path, f.message) for f in v.faults] for v in check.check(data) if not v.ok}


# ---- what is right -----------------------------------------------------------------------------


def test_what_is_right_passes(right: Json, staged: Json) -> None:
    for data in (right, staged):
        assert failing(data) == {}
        nothing = ("stages", "planes", "aims", "pins", "rooms")  # that these files need not have
        assert all(v.count > 0 for v in check.check(data) if v.name not in nothing)
    assert len(staged["mapping"]["stages"]) == 2 and any(s["sends"] for s in staged["mapping"]["segments"])


def test_the_checker_knows_nothing_of_the_engine() -> None:
    """Nor does it load a solver, or numpy; what checks fronts of many designs, loaded by itself, uses numpy."""
    for path in CHECK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.startswith(("dfcompiler.check", "dfcompiler.diagnostics"))
                if path.name == "designs.py" and name.partition(".")[0] == "numpy":
                    continue
                assert ours or name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"
    code = "import sys, dfcompiler.check; print(*(m for m in sys.modules if m.partition('.')[0] in sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "numpy", "ortools", "networkx", "dfcompiler"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {m.split(".")[1] for m in done.stdout.split() if m.startswith("dfcompiler.")}
    assert loaded == {"check", "diagnostics"} and not re.search("numpy|ortools|networkx", done.stdout)


# ---- what is wrong -----------------------------------------------------------------------------

SEGMENT = "mapping.segments[1]"
LAST = 1 << 40

# (where, what is done there, the check that fails, where it says so, what it says)
WRONG: list[tuple[str, Callable[[Any], Any], str, str, str]] = [
    (f"{SEGMENT}.tasks[1].start", lambda x: x - 1, "columns", f"{SEGMENT}.tasks[1].end", r"not at \d+"),
    (f"{SEGMENT}.tasks[0].end", lambda x: x + 1, "columns", f"{SEGMENT}.tasks[0].end", r"not at \d+"),
    (f"{SEGMENT}.tasks", lambda x: moved(x, 2, -3), "order", f"{SEGMENT}.tasks[2].start", "before its operand `"),
    (f"{SEGMENT}.tasks[0].nodes", lambda x: x[1:], "nodes", f"{SEGMENT}.tasks", "is in no tasks"),
    (f"{SEGMENT}.tasks[0].nodes", lambda x: ["h_1"], "nodes", f"{SEGMENT}.tasks", "is in 2 tasks"),
    (f"{SEGMENT}.tasks[0].unit", lambda x: "npu", "columns", f"{SEGMENT}.tasks[0].unit", "is npu, the column has"),
    (f"{SEGMENT}.tasks[0].dram", lambda x: x - 1, "columns", f"{SEGMENT}.tasks[0].dram", "the column has"),
    (f"{SEGMENT}.tasks[0].column", lambda x: x + 1, "columns", f"{SEGMENT}.tasks[0]", "the column"),
    (f"{SEGMENT}.depends", lambda x: x[1:], "order", f"{SEGMENT}.depends", "is not listed"),
    (f"{SEGMENT}.depends", lambda x: [*x, reverse(x[0])], "order", f"{SEGMENT}.depends", "does not follow from"),
    (f"{SEGMENT}.next_run_depends", lambda x: x[1:], "runs", f"{SEGMENT}.next_run_depends", "is not listed"),
    (f"{SEGMENT}.period", lambda x: x - 1, "runs", f"{SEGMENT}.period", r"the next run's `\w+` starts at"),
    (f"{SEGMENT}.period", lambda x: 1, "units", f"{SEGMENT}.period", "are less than task"),
    (f"{SEGMENT}.start", lambda x: x + 1, "segments", f"{SEGMENT}.start", "the segment before ends at"),
    (f"{SEGMENT}.end", lambda x: x + 1, "segments", f"{SEGMENT}.end", "its runs end at"),
    (
        f"{SEGMENT}.cycles",
        lambda x: x - 1,
        "segments",
        f"{SEGMENT}.cycles",
        "the last task ends, and waits, at",
    ),
    ("mapping.cycles", lambda x: x - 1, "segments", "mapping.cycles", "the last segment ends at"),
    ("mapping.bound_cycles", lambda x: x + 1, "bounds", "mapping.bound_cycles", "the bounds of all segments are"),
    (f"{SEGMENT}.bound.all", lambda x: x - 1, "bounds", f"{SEGMENT}.bound.all", "the bounds of its runs are"),
    (f"{SEGMENT}.bound.cycles", lambda x: x + 1, "bounds", f"{SEGMENT}.bound.cycles", "the certificate says"),
    (f"{SEGMENT}.bound.cycles", lambda x: LAST, "bounds", f"{SEGMENT}.bound.cycles", "above the"),
    (f"{SEGMENT}.bound.period", lambda x: x + 1, "periods", f"{SEGMENT}.bound.period", "by `serial` it is at most"),
    (f"{SEGMENT}.carried", lambda x: [], "periods", f"{SEGMENT}.bound.period", "by `serial` it is at most 0"),
    (f"{SEGMENT}.tasks[0].buffer_bytes", lambda x: LAST, "buffers", f"{SEGMENT}.tasks[0].buffer_bytes", "has"),
    (f"{SEGMENT}.tasks[0].compute_cycles", lambda x: 1e9, "work", f"{SEGMENT}.tasks[0].compute_cycles", "reserves"),
    (f"{SEGMENT}.tasks[0].helper_cycles", lambda x: 1e9, "work", f"{SEGMENT}.tasks[0].helper_cycles", "reserves"),
    (f"{SEGMENT}.tasks[0].memory_cycles", lambda x: 1e9, "work", f"{SEGMENT}.tasks[0].memory_cycles", "reserves"),
    (f"{SEGMENT}.tasks[0].dram_bytes", lambda x: 1e12, "memory", f"{SEGMENT}.tasks[0].dram_bytes", "carries"),
    (f"{SEGMENT}.tasks[0].level_bytes.hbm", lambda x: x + 1, "traffic", "traffic_bytes.hbm", "the tasks add up to"),
    ("traffic_bytes", lambda x: {"hbm": x["hbm"]}, "traffic", "traffic_bytes", "lacks `"),
    ("latency_s", lambda x: 0.99 * x, "times", "latency_s", "the cycles at this clock take"),
    ("bound_s", lambda x: 0.99 * x, "times", "bound_s", "the longer of roofline and proven cycles is"),
    ("gap", lambda x: x + 0.01, "times", "gap", "value and bound leave"),
    ("status", lambda x: "FEASIBLE", "times", "status", "cycles and their bound say OPTIMAL"),
    ("roofline_s", lambda x: 2 * x, "times", "roofline_s", "the longest of the roofline's times is"),
    ("layers[1].period_s", lambda x: 2 * x, "times", "layers[1].period_s", "the segment has"),
    ("ops[2].start_s", lambda x: x + 1e-6, "ops", "ops[2].start_s", "the task has"),
    ("ops[2].unit", lambda x: "hbm", "ops", "ops[2].unit", "is 'hbm', the task has"),
    ("ops", lambda x: x[1:], "ops", "ops", r"there are \d+ tasks"),
    ("ops[2].energy_j", lambda x: x + 1.0, "energy", "energy_j", "ops and rest add up to"),
    ("area_mm2.total", lambda x: x + 1, "sizes", "area_mm2.total", "parts have"),
    ("capacity.weights_bytes", lambda x: 1e15, "sizes", "capacity.available_bytes", "that are stored"),
    ("hardware", lambda x: x | {"units": [], "parts": []}, "buffers", ".unit", "the chip has no `"),
]


def reverse(edge: Json) -> Json:
    return {"from": edge["to"], "to": edge["from"]}


def moved(tasks: list[Json], number: int, cycles: int) -> list[Json]:
    """The tasks, one of them at another time."""
    tasks[number]["start"] += cycles
    tasks[number]["end"] += cycles
    return tasks


@pytest.mark.parametrize(("path", "change", "name", "where", "says"), WRONG, ids=lambda x: x if str(x) == x else "")
def test_what_is_wrong_is_found(
    right: Json, path: str, change: Callable[[Any], Any], name: str, where: str, says: str
) -> None:
    found = failing(edited(right, path, change))
    assert name in found, found
    assert any(where in at and re.search(says, why) for at, why in found[name]), found[name]


@pytest.mark.parametrize(
    ("path", "change", "where", "says"),
    [
        ("stages[0].cycles", lambda x: x + 1, "stages[0].cycles", "its segments take"),
        ("stages[1].layers", lambda x: x[1:], "stages[1].layers", "is not what the segments run there"),
        ("stages", lambda x: x[:1], "stages", "the segments run on 2"),
        ("stages[0].send_bytes", lambda x: x + 1, "stages[0].send_bytes", "what is sent has"),
        ("stages[0].send_cycles", lambda x: x + 1, "stages[0].send_cycles", "what is sent takes"),
    ],
)
def test_wrong_stages_are_found(staged: Json, path: str, change: Callable[[Any], Any], where: str, says: str) -> None:
    found = failing(edited(staged, f"mapping.{path}", change))["stages"]
    assert any(at == f"mapping.{where}" and says in why for at, why in found), found


SHAPES: list[tuple[str, Callable[[Any], Any], str]] = [
    (f"{SEGMENT}.tasks[0].end", lambda x: "late", 'must be a whole number of at least 0, got "late"'),
    (f"{SEGMENT}.tasks[0].end", lambda x: 0, "must be after the start"),
    (f"{SEGMENT}.tasks[0].start", lambda x: -1, "must be a whole number of at least 0, got -1"),
    (f"{SEGMENT}.tasks[0].start", lambda x: 1.5, "must be a whole number of at least 0, got 1.5"),
    (f"{SEGMENT}.tasks[0].id", lambda x: 99, "tasks are numbered through the file"),
    (f"{SEGMENT}.tasks[0].column", lambda x: 9999, "must be a number below"),
    (f"{SEGMENT}.tasks[0].nodes[0]", lambda x: "nobody", "must be one of"),
    (f"{SEGMENT}.tasks[0].dram", lambda x: 17, "must be at most the whole, 16, got 17"),
    (f"{SEGMENT}.columns[0].nodes", lambda x: [], "must name one node or more, none twice"),
    (f"{SEGMENT}.columns[0].cycles", lambda x: True, "must be a whole number of at least 1, got true"),
    (f"{SEGMENT}.flow[0].to", lambda x: 3, "must be a string, got 3"),
    (f"{SEGMENT}.depends[0].to", lambda x: 0, "must be the number of a task of its segment"),
    (f"{SEGMENT}.runs", lambda x: [1], "must add up to `repeat`"),
    (f"{SEGMENT}.nodes", lambda x: x + x[:1], "names a node twice"),
    (f"{SEGMENT}.flow", lambda x: [*x, reverse(x[0])], "a node that waits for itself"),
    (f"{SEGMENT}.sends", lambda x: 0, "must be true or false"),
    (f"{SEGMENT}.certificate.kind", lambda x: "faith", "must be chain, dual, tree, enumeration or search"),
    ("mapping.segments", lambda x: {}, "must be a list, got {}"),
    ("hardware.clock_hz", lambda x: 0, "must be above 0"),
    ("latency_s", lambda x: float("nan"), "must be a finite number, got NaN"),
    ("area_mm2.total", lambda x: None, "must be a finite number, got null"),
    ("traffic_bytes", lambda x: [1], "must be an object"),
    ("status", lambda x: 1, "must be a string"),
]


@pytest.mark.parametrize(("path", "change", "says"), SHAPES, ids=lambda x: x if str(x) == x else "")
def test_what_has_the_wrong_shape_is_an_error_with_its_place(
    right: Json, path: str, change: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(Diag) as caught:
        check.check(edited(right, path, change))
    assert caught.value.code == "bad-mapping"
    assert caught.value.message.startswith(f"`{path}` ") and says in caught.value.message


def paths(at: At) -> list[str]:
    """Every place in a file, of lists the first two; but not what is set, whose names have points in them."""
    members = at.members().values() if isinstance(at.value, dict) else ()
    below = [*members, *(at.each()[:2] if isinstance(at.value, list) else ())]
    return [p for x in below if not x.path.endswith("settings") for p in (x.path, *paths(x))]


@given(data=st.data())
def test_no_damage_is_a_crash(right: Json, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(At(right))))
    value = data.draw(st.sampled_from([None, -1, 0, 1, 2.5, 10**30, "", "x", [], [0], {}, {"kind": "dual"}, True]))
    changed = without(right, path) if data.draw(st.booleans()) else edited(right, path, lambda x: value)
    try:
        check.check(changed)
    except Diag as error:
        assert error.code == "bad-mapping" and error.message.startswith("`")


# ---- proofs ------------------------------------------------------------------------------------


@cache
def solved(seed: int) -> tuple[nx.DiGraph[str], list[Column], Solution, int]:
    """A small problem, its shortest schedule by the solver, and by trying all."""
    flow, columns = small(seed)
    return flow, columns, ilp.solve(flow, columns, greedy(flow, columns), seconds=20, seed=0), shortest(flow, columns)


def wrong(mapping: Json) -> list[str]:
    return [f"{f.path}: {f.message}" for v in check.check_mapping(mapping) for f in v.faults]


@pytest.mark.parametrize("block", range(6))
def test_proofs_of_small_problems_hold(block: int) -> None:
    for seed in range(10 * block, 10 * block + 10):
        flow, columns, found, best = solved(seed)
        for target in (found.bound, found.cycles + 3):
            assert proofs.dual(flow, columns, target).bound <= best
        assert proofs.chain(flow, columns).bound <= best
        said = mapping_of(flow, columns, found)
        assert said["segments"][0]["certificate"]["kind"] != "search"
        assert wrong(said) == []
        assert not none_before(best + 1, flow, columns) and none_before(best, flow, columns)


@pytest.mark.parametrize("seed", range(1, 60, 4))
def test_proofs_hold_in_large_numbers(seed: int) -> None:
    """Cycles of a billion, where the solver's multipliers are far from exact: the proof still is, and loses little."""
    flow, columns, small_one, best = solved(seed)
    unit = 123_456_789
    large = [replace(c, cycles=c.cycles * unit) for c in columns]
    proof = proofs.dual(flow, large, best * unit)
    assert proofs.dual(flow, columns, best).bound * unit - unit < proof.bound <= best * unit
    tasks = tuple(Task(large[columns.index(t.column)], t.start * unit) for t in small_one.tasks)
    assert wrong(mapping_of(flow, large, Solution(tasks, best * unit, proof.bound, False))) == []


@pytest.mark.parametrize("seed", range(0, 60, 5))
@pytest.mark.parametrize("mapper", [greedy, first_schedule, in_turn])
def test_schedules_of_lists_pass(mapper: Callable[..., Solution], seed: int) -> None:
    flow, columns, _, best = solved(seed)
    found = mapper(flow, columns)
    assert wrong(mapping_of(flow, columns, found)) == [] and found.bound <= best <= found.cycles


def test_every_kind_of_proof_is_met() -> None:
    kinds = [mapping_of(*solved(seed)[:3])["segments"][0]["certificate"]["kind"] for seed in range(30)]
    assert {"chain", "dual", "enumeration"} == set(kinds)


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_no_proof_of_more_than_the_shortest_is_taken(seed: int) -> None:
    """Numbers of a proof are changed at random: what still passes is true."""
    flow, columns, found, best = solved(seed)
    rng = random.Random(seed)
    said = mapping_of(flow, columns, found)
    dual = proofs.dual(flow, columns, found.cycles).to_json()
    taken = 0
    cases = proofs.by_cases(flow, columns, best)
    proven = [said["segments"][0]["certificate"], dual, {"kind": "enumeration", "bound": best}]
    for start in [*proven, *([cases.to_json()] if cases else [])]:
        for claim in (best, best + 1, best + 2) * 10:
            proof = disturbed(start, rng) | {"kind": start["kind"], "bound": claim}
            said["segments"][0]["certificate"] = proof
            try:
                bounds = next(v for v in check.check_mapping(said) if v.name == "bounds")
            except Diag:
                continue
            ok = not any("certificate" in f.path for f in bounds.faults)
            assert not (ok and claim > best), proof
            taken += ok
    assert taken


def disturbed(proof: Any, rng: random.Random) -> Any:
    """A proof with some of its numbers changed, cases exchanged, and members of lists left out."""
    if isinstance(proof, list):
        return [disturbed(x, rng) for x in proof if rng.random() < 0.98]
    if not isinstance(proof, dict):
        return proof
    found = {k: disturbed(v, rng) for k, v in proof.items()}
    for key in found.keys() & {"cycles", "weight"}:
        found[key] *= 1 if rng.random() < 0.9 else rng.choice([0, 2])
    for v in found.get("worth", {}):
        found["worth"][v] *= 1.0 if rng.random() < 0.8 else rng.choice([0.5, 1.1, 2.0])
    for a, b in (("with", "without"), ("first", "second")):
        if a in found and rng.random() < 0.2:
            found[a] = found[b] = found[rng.choice([a, b])]
    return found | {"above": [0]} if "above" in found and rng.random() < 0.3 else found


@pytest.mark.parametrize("block", range(6))
def test_cases_prove_what_is_shortest(block: int) -> None:
    """By cases everything is proven that is true, and nothing else."""
    proven = 0
    for seed in range(10 * block, 10 * block + 10):
        flow, columns, found, best = solved(seed)
        assert proofs.by_cases(flow, columns, best + 1) is None
        proof = proofs.by_cases(flow, columns, best)
        if proof is not None:
            said = mapping_of(flow, columns, found)
            said["segments"][0]["certificate"] = proof.to_json()
            assert wrong(said) == []
            proven += 1
    assert proven >= 8


def two(share: int = 16) -> tuple[nx.DiGraph[str], list[Column], Solution]:
    """Two chains of two nodes beside each other, on one unit each; the second half of a chain takes longer."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_edges_from([("a", "b"), ("c", "d")])
    times = {"a": ("x", 4), "b": ("y", 8), "c": ("x", 4), "d": ("y", 8)}
    columns = [Column((v,), unit, None, n, share if v in "bd" else 0, 0, NOTHING) for v, (unit, n) in times.items()]
    starts = dict(zip("abcd", (0, 4, 4, 12), strict=True))
    tasks = tuple(sorted((Task(c, starts[c.nodes[0]]) for c in columns), key=lambda t: (t.start, t.column.nodes)))
    return flow, columns, Solution(tasks, 20, 20, True)


def test_proofs_that_say_too_much_are_refused() -> None:
    flow, columns, found = two()
    said = mapping_of(flow, columns, found)
    assert said["segments"][0]["certificate"]["kind"] == "enumeration" and wrong(said) == []
    first = "segments[0].certificate"
    inside = ["a", "b", "c", "d"]
    section = {"after": None, "before": None, "inside": inside}

    def dual(row: Json, sections: list[Json], worth: Json) -> Json:
        rows = [row | {"weight": 1.0}]
        return {"kind": "dual", "bound": 20, "worth": worth, "sections": sections, "rows": rows, "above": []}

    def together(weights: dict[int, float]) -> Json:
        return {
            "kind": "together",
            "section": 0,
            "weights": [{"columns": [i], "weight": w} for i, w in weights.items()],
        }

    def tree(root: Json) -> Json:
        return {"kind": "tree", "bound": 20, "above": [], "sections": [], "root": root}

    none = dict.fromkeys("abcd", 0.0)
    leaf: Json = {"rows": [], "worth": none}
    for proof, says in [
        ({"kind": "chain", "bound": 20, "chain": [{"node": v, "cycles": 10} for v in "ab"]}, "runs in 4"),
        ({"kind": "chain", "bound": 20, "chain": [{"node": v, "cycles": 4} for v in "ad"]}, "does not wait for `a`"),
        ({"kind": "chain", "bound": 20, "chain": [{"node": v, "cycles": 4} for v in "ab"]}, "the chain proves 8"),
        ({"kind": "enumeration", "bound": 21}, "the enumeration proves 0"),
        (dual({"kind": "end", "node": "a"}, [], none | {"b": 21.0}), "are worth 21.0, it costs 0.0"),
        (dual({"kind": "order", "from": "a", "to": "d"}, [], none), "`d` does not wait for `a`"),
        (dual({"kind": "order", "from": "a", "to": "b"}, [], none), "a later start of `b` would help"),
        (dual({"kind": "dram", "section": 0}, [section | {"after": "a"}], none), "`a` need not run after `a`"),
        (dual({"kind": "dram", "section": 0}, [section | {"before": "b"}], none), "`b` need not run before `b`"),
        (
            dual(together({0: 1.0, 3: 1.0}), [section], none),
            "`a` on x and `d` on y can run at one moment, and weigh 2.0",
        ),
        (dual(together({0: 1.0, 3: 2.0**-52}), [section], none), "can run at one moment, and weigh"),
        (dual(together({0: 1.5}), [section], none), "`a` on x can run at one moment, and weigh 1.5"),
        (dual(together({0: 1.0, 1: 1.0, 2: 1.0}), [section], none), "`b` on y and `c` on x can run at one moment"),
        (dual(together({0: 1.0, 1: 1.0}), [section], none), "the dual proves 0"),
        (dual({"kind": "end", "node": "b"}, [], none) | {"above": [0]}, "column 0 is left out"),
        (tree({"columns": [0, 1], "with": leaf, "without": leaf}), "are not columns of the same nodes"),
        (tree({"nodes": ["a", "b"], "first": leaf, "second": leaf}), "`a` on x can run beside `b` on y"),
        (tree({"nodes": ["a", "c"], "first": leaf, "second": leaf}), "the tree proves 0"),
    ]:
        changed = edited({"mapping": said}, f"mapping.{first}", lambda x, proof=proof: proof)["mapping"]
        assert any(f"mapping.{first}" in w and says in w for w in wrong(changed)), (says, wrong(changed))


def test_runs_that_overlap_are_checked() -> None:
    """The next run's first halves run beside the last second half of this one."""
    flow, columns, found = two()
    carried = [("b", "b")]
    proof = proofs.from_run_to_run(flow, columns, carried, 8).to_json()
    assert proof["bound"] == 8
    assert wrong(mapping_of(flow, columns, found, runs=5, period=16, carried=carried, proof=proof)) == []
    sooner = wrong(mapping_of(flow, columns, found, runs=5, period=15, carried=carried, proof=proof))
    assert any("`y` runs task" in w for w in sooner)
    columns[0] = Column(("a",), "x", None, 4, 1, 0, NOTHING)
    found = Solution((Task(columns[0], 0), *found.tasks[1:]), 20, 20, True)
    shared = wrong(mapping_of(flow, columns, found, runs=5, period=16, carried=carried, proof=proof))
    assert any("`DRAM` is reserved to 17 of 16 at 16" in w for w in shared), shared
    in_turn = mapping_of(flow, columns, found, runs=5, period=16, carried=carried, proof={"kind": "in turn"})
    assert any("by `in turn` it is at most 0" in w for w in wrong(in_turn))


# ---- the command -------------------------------------------------------------------------------


def test_the_command_tells_and_exits(right: Json, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mapping.json").write_text(json.dumps(right))
    assert main(["check", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = [line for line in out.splitlines() if line.endswith(" ok")]
    assert len(rows) == len(check.check(right)) and "FAIL" not in out
    (tmp_path / "mapping.json").write_text(json.dumps(edited(right, "latency_s", lambda x: 0.99 * x)))
    assert main(["check", str(tmp_path / "mapping.json")]) == 1
    told = capsys.readouterr()
    assert "FAIL times: `latency_s` is " in told.out and "infeasible[wrong-mapping]" in told.err
    assert main(["check", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    (failed,) = (c for c in found["checks"] if not c["ok"])
    assert not found["ok"] and failed["name"] == "times" and "latency_s" in {f["path"] for f in failed["faults"]}


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{", "{}", '{"mapping": 1, "hardware": {"clock_hz": 1}}', "[" * 100_000]
)
def test_what_is_no_mapping_is_bad_input(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mapping.json").write_text(text)
    assert main(["check", str(tmp_path)]) == 2
    assert "error[bad-mapping]" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "mapping.json")]) == 2
    assert "error[no-such-file]" in capsys.readouterr().err
