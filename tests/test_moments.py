"""Which columns can run at one moment, against all sets of small problems; what the sets prove of many parts."""

from __future__ import annotations

import itertools
from dataclasses import replace

import networkx as nx
import pytest
from segmentjson import mapping_of
from test_check import wrong
from test_mapping import shortest, small

from dfcompiler import ilp
from dfcompiler.budget import Budget
from dfcompiler.certificate import dual
from dfcompiler.choice import choice
from dfcompiler.columns import Column
from dfcompiler.listing import first_schedule, fits, greedy
from dfcompiler.moments import apart_in_run, moments
from dfcompiler.solution import Solution
from dfcompiler.tiling import Tiling

NOTHING = Tiling(1.0, 1.0, 0, 0, 0, 0, {}, {}, {}, (), (), 0, 0)


def beside(flow: nx.DiGraph[str], a: Column, b: Column) -> bool:
    """Whether two columns have no node in common and neither waits for the other."""
    pairs = itertools.product(a.nodes, b.nodes)
    return not any(u == v or nx.has_path(flow, u, v) or nx.has_path(flow, v, u) for u, v in pairs)


def largest(flow: nx.DiGraph[str], columns: list[Column]) -> set[frozenset[int]]:
    """The largest sets, by trying all sets of up to four columns."""
    near = {(i, j) for (i, a), (j, b) in itertools.combinations(enumerate(columns), 2) if beside(flow, a, b)}
    legal = [
        frozenset(s)
        for n in range(1, 5)
        for s in itertools.combinations(range(len(columns)), n)
        if set(itertools.combinations(s, 2)) <= near and fits([columns[i] for i in s])
    ]
    return {s for s in legal if not any(s < x for x in legal)}


@pytest.mark.parametrize("seed", range(30))
def test_moments_are_all_that_can_be(seed: int) -> None:
    """Every largest set is one column of each kind of some set found, and each of these is one for some columns."""
    flow, columns = small(seed)
    found = moments(apart_in_run(flow), columns, 10_000)
    assert found is not None
    assert sorted(i for some in found.kinds for i in some) == list(range(len(columns)))
    made = {frozenset(s) for each in found.sets for s in itertools.product(*(found.kinds[k] for k in each))}
    every = largest(flow, columns)
    assert all(any(s <= x for x in made) for s in every)
    first = [min(some, key=lambda i: columns[i].beside) for some in found.kinds]
    assert {frozenset(first[k] for k in each) for each in found.sets} <= every
    assert len(set(found.sets)) == len(found.sets)


def test_moments_stop_where_there_are_too_many() -> None:
    flow, columns = small(1)
    found = moments(apart_in_run(flow), columns, 10_000)
    assert found is not None
    many = len(found.sets)
    assert (
        moments(apart_in_run(flow), columns, many) is not None
        and moments(apart_in_run(flow), columns, many - 1) is None
    )


def test_a_bound_knows_what_cannot_run_beside_each_other() -> None:
    """Two parts that do one thing together or each by itself: half of the way to memory is of no use to what is done
    together, as all else waits for it."""
    flow: nx.DiGraph[str] = nx.DiGraph([(f"{a}{n}", f"{b}{n}") for a, b in ("uv", "vw") for n in (0, 1)])
    columns = [Column((v,), unit, None, n, 8, 0, NOTHING) for v in flow for unit, n in (("x", 100), ("y", 180))]
    columns += [Column((f"{v}0", f"{v}1"), "x", None, 110, 8, 0, NOTHING) for v in "uvw"]
    proof, best = dual(flow, columns, 10_000), first_schedule(flow, columns)
    assert best.cycles == 330  # on one unit after another
    assert 3 * 110 / 2 < proof.bound <= 330  # what memory alone would allow
    assert proof.bound > 290
    found = Solution(best.tasks, best.cycles, proof.bound, False)
    assert wrong(mapping_of(flow, columns, found)) == []


@pytest.mark.parametrize("seed", range(0, 60, 3))
@pytest.mark.parametrize("unit", [1, 123_456_789])
def test_a_choice_runs_every_node_and_bounds_every_schedule(seed: int, unit: int) -> None:
    flow, few = small(seed)
    best = shortest(flow, few) * unit
    columns = [replace(c, cycles=c.cycles * unit) for c in few]
    found = choice(flow, columns, greedy(flow, columns).cycles, Budget.of(60))
    assert found is not None and found.bound <= best
    assert sorted(v for c in found.columns for v in c.nodes) == sorted(flow)
    assert dual(flow, columns, best).bound <= found.bound + best * 1e-6 + 1


def test_a_choice_keeps_to_its_budget() -> None:
    flow, columns = small(0)
    assert choice(flow, columns, greedy(flow, columns).cycles, Budget.of(0.0)) is None


def test_parts_beside_each_other_are_scheduled_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts whose columns differ: what the relaxation chooses is best, and no search over all columns is needed."""
    flow: nx.DiGraph[str] = nx.DiGraph([("a", "b"), ("b", "c"), ("d", "e")])
    sizes = {"a": 40, "b": 70, "c": 30, "d": 20, "e": 30}
    half = {"a": 1.05, "b": 1.9, "c": 1.1, "d": 2.0, "e": 2.0}
    columns = [Column((v,), "x" if v in "abc" else "y", None, n, 16, 0, NOTHING) for v, n in sizes.items()]
    columns += [replace(c, cycles=int(c.cycles * half[c.nodes[0]]), dram=8) for c in columns]
    tried: list[int] = []
    search = ilp._search
    monkeypatch.setattr(ilp, "_search", lambda f, cs, *a: (tried.append(len(cs)), search(f, cs, *a))[1])
    found = ilp.solve(flow, columns, greedy(flow, columns), seconds=20, seed=0)
    assert found.optimal and found.cycles == shortest(flow, columns)
    assert tried and len(columns) not in tried
