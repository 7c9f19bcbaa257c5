"""Runs that overlap: against every schedule and period of small segments, and against their runs written out."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from segmentjson import mapping_of
from segments import NOTHING, check_resources, covers, legal, small
from test_check import wrong
from test_mapping import STEPS, chip, llama

from dfcompiler import certificate, check, ilp
from dfcompiler.api import compile_model
from dfcompiler.circuits import Steady
from dfcompiler.columns import Column
from dfcompiler.diagnostics import Source
from dfcompiler.listing import first_schedule
from dfcompiler.outputs.mapping import schedule_json
from dfcompiler.pipeline import Context, parse_pipeline, run_pipeline
from dfcompiler.repetition import Repeated, repeated
from dfcompiler.schedule import mapping_of as scheduled
from dfcompiler.solution import Solution, Task

Edge = tuple[str, str]
RUNS = 4
SEEDS = range(16)


@cache
def case(seed: int) -> tuple[nx.DiGraph[str], list[Column], list[Edge]]:
    """A small segment of short columns, with values that it hands on to its next run."""
    flow, columns = small(seed)
    keep = list(flow)[:4]
    flow = nx.DiGraph(flow.subgraph(keep))
    columns = [replace(c, cycles=-(-c.cycles // 3)) for c in columns if set(c.nodes) <= set(keep)]
    rng = random.Random(seed)
    pairs = [(u, v) for u in keep for v in keep if u == v or not nx.has_path(flow, u, v)]
    return flow, columns, sorted(set(rng.choices(pairs, k=rng.randint(1, 3))))


@cache
def in_turn(seed: int) -> Repeated:
    """The shortest schedule of one run, one after the other."""
    flow, columns, _ = case(seed)
    found = ilp.solve(flow, columns, first_schedule(flow, columns), seconds=5.0, seed=0)
    assert found.optimal
    return Repeated(found, found.cycles, 0)


@cache
def over(seed: int, runs: int = RUNS) -> Repeated:
    return repeated(*case(seed), in_turn(seed), [runs], seconds=20.0, seed=0)


# ---- every schedule ----------------------------------------------------------------------------


def chosen(flow: nx.DiGraph[str], columns: Sequence[Column]) -> Iterator[tuple[Column, ...]]:
    for cover in covers(flow, columns):
        yield from itertools.product(*([c for c in columns if c.nodes == g] for g in cover))


@cache
def least(seed: int, runs: int) -> tuple[int, int]:
    """Cycles of the best of all schedules that start again after any period, and the shortest period of all."""
    flow, columns, carried = case(seed)
    best, shortest = in_turn(seed).cycles([runs]), in_turn(seed).period
    for mine in chosen(flow, columns):
        of = {v: k for k, c in enumerate(mine) for v in c.nodes}
        waits = [(of[u], of[v], 0) for u, v in flow.edges if of[u] != of[v]] + [(of[u], of[v], 1) for u, v in carried]
        for period in range(max(c.cycles for c in mine if c), in_turn(seed).period + 1):
            span = _span(mine, waits, period, 2 * period)
            if span is not None:
                best, shortest = min(best, span + (runs - 1) * period), min(shortest, period)
    return best, shortest


def _span(mine: Sequence[Column], waits: Sequence[tuple[int, int, int]], period: int, most: int) -> int | None:
    """The least makespan of these columns, started in all ways that a period allows; None where there is none."""
    best: list[int] = []

    def place(starts: tuple[int, ...], held: dict[tuple[str, int], int]) -> None:
        k, limit = len(starts), min([*best, most + 1]) - 1
        if any(starts[a] + mine[a].cycles > starts[b] + far * period for a, b, far in waits if a < k and b < k):
            return
        if k == len(mine):
            best.append(max(s + c.cycles for s, c in zip(starts, mine, strict=True)))
            return
        c = mine[k]
        for start in range(limit - c.cycles + 1):
            more = dict(held)
            for t in range(start, start + c.cycles):
                for name, n in (("", c.dram), (c.unit, 16), (c.helper or "-", c.beside)):
                    more[name, t % period] = more.get((name, t % period), 0) + n
            if all(n <= 16 for n in more.values()):
                place((*starts, start), more)

    place((), {})
    return min(best, default=None)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_shorter_of_all_schedules_that_start_again(seed: int) -> None:
    """Nor is any period below the bound, and what is proven of all runs is no more than the best takes."""
    found, (best, shortest) = over(seed), least(seed, RUNS)
    assert found.cycles([RUNS]) == best <= in_turn(seed).cycles([RUNS])
    assert found.floor <= shortest and found.bound([RUNS]) <= best


def test_overlap_pays_and_does_not() -> None:
    shorter = [over(seed).cycles([RUNS]) < in_turn(seed).cycles([RUNS]) for seed in SEEDS]
    assert any(shorter) and not all(shorter)
    assert sum(over(seed).cycles([RUNS]) == over(seed).bound([RUNS]) for seed in SEEDS) > len(SEEDS) / 2


# ---- runs written out --------------------------------------------------------------------------


def written_out(seed: int, runs: int) -> tuple[nx.DiGraph[str], list[Column]]:
    """All runs as one segment: nodes of run i are `v.i`."""
    flow, columns, carried = case(seed)
    whole: nx.DiGraph[str] = nx.DiGraph()
    whole.add_nodes_from(f"{v}.{i}" for i in range(runs) for v in flow)
    whole.add_edges_from((f"{u}.{i}", f"{v}.{i}") for i in range(runs) for u, v in flow.edges)
    whole.add_edges_from((f"{u}.{i}", f"{v}.{i + 1}") for i in range(runs - 1) for u, v in carried)
    return whole, [of_run(c, i) for i in range(runs) for c in columns]


def of_run(c: Column, i: int) -> Column:
    return replace(c, nodes=tuple(f"{v}.{i}" for v in c.nodes))


@pytest.mark.parametrize("seed", SEEDS)
def test_runs_written_out_take_what_is_said(seed: int) -> None:
    """Filling and draining are exact; a schedule of all runs at once, which may be unlike, is no longer, and no shorter
    than what duals prove of its periods."""
    found, (whole, columns) = over(seed, 3), written_out(seed, 3)
    tasks = tuple(Task(of_run(t.column, i), t.start + i * found.period) for i in range(3) for t in found.solution.tasks)
    check_resources(tasks)
    every = Solution(tasks, max(t.end for t in tasks), 0, False)
    assert legal(whole, every) and every.cycles == found.cycles([3])
    direct = ilp.solve(whole, columns, first_schedule(whole, columns), seconds=20.0, seed=0)
    assert direct.optimal and direct.cycles <= found.cycles([3])
    flow, mine, carried = case(seed)
    proven = Steady(flow, mine, carried, found.period).solve(frozenset())
    mean = sum(proven.worth.values()) / sum(w * r.makespan for r, w in proven.rows)
    assert 3 * mean <= direct.cycles + 1e-6


# ---- proofs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_checker_takes_the_proof_of_a_period(seed: int) -> None:
    flow, columns, carried = case(seed)
    found = over(seed)
    proof = certificate.from_run_to_run(flow, columns, carried, found.period).to_json()
    assert proof["bound"] <= least(seed, RUNS)[1]
    told = {"flow": flow, "columns": columns, "found": found.solution, "runs": RUNS, "carried": carried}
    assert wrong(mapping_of(**told, period=found.period, proof=proof)) == []
    assert wrong(mapping_of(**told, period=found.period, proof={**proof, "bound": proof["bound"] + 1}))
    word = {"kind": "search", "bound": found.floor, "certified": proof}
    assert wrong(mapping_of(**told, period=found.period, proof=word)) == []


def test_a_circuit_that_is_none_proves_nothing() -> None:
    """What b makes of the last run's c, a reads in the next one: 6 + 6 + 4 cycles in two periods."""
    flow: nx.DiGraph[str] = nx.DiGraph([("a", "c")])
    flow.add_node("b")
    units = {"a": ("x", 6), "c": ("z", 6), "b": ("y", 4)}
    columns = [Column((v,), unit, None, n, 4, 0, NOTHING) for v, (unit, n) in units.items()]
    carried = [("c", "b"), ("b", "a")]
    found = Solution((Task(columns[2], 4), Task(columns[0], 0), Task(columns[1], 6)), 12, 12, True)
    proof = certificate.from_run_to_run(flow, columns, carried, 8).to_json()
    assert proof["kind"] == "dual" and proof["bound"] == 8
    (row,) = (r for r in proof["rows"] if r["kind"] == "circuit")
    assert [x["next"] for x in row["links"]].count(True) == 2

    def faults(proof: dict[str, Any], carried: list[Edge] = carried) -> list[str]:
        return wrong(mapping_of(flow, columns, found, runs=5, carried=carried, period=8, proof=proof))

    assert faults(proof) == []
    assert any("does not wait for" in w for w in faults(proof, carried[:1]))
    broken = [{**r, "links": r["links"][:1]} if r["kind"] == "circuit" else r for r in proof["rows"]]
    assert any("breaks at" in w for w in faults({**proof, "rows": broken}))
    order = [{"kind": "order", "from": "a", "to": "c", "weight": 1.0}]
    assert any("says nothing of the period" in w for w in faults({**proof, "rows": order}))
    part = [{"after": "a", "before": None, "inside": ["c"]}]
    inside = [{"kind": "dram", "section": 0, "weight": 1.0}]
    assert any("a part of a run says nothing" in w for w in faults({**proof, "sections": part, "rows": inside}))


# ---- whole steps -------------------------------------------------------------------------------


def test_a_step_with_overlap_is_no_slower_and_checks(tmp_path: Path) -> None:
    plain = compile_model(llama(tmp_path), chip("ador"), STEPS["mixed"], time_limit_s=4.0)
    again = parse_pipeline(Source("pipeline", "schedule{overlap=true, time-limit-s=2}"))
    graph, _ = run_pipeline(again, plain.graph, Context())
    assert scheduled(graph).cycles <= scheduled(plain.graph).cycles
    layer = max(scheduled(graph).layers, key=lambda x: x.segment.repeat)
    assert layer.sought and layer.period_floor <= layer.period <= layer.solution.cycles
    verdicts = check.check_mapping(json.loads(json.dumps(schedule_json(graph))))
    assert [f for v in verdicts for f in v.faults] == []
