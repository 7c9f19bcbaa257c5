"""Solvers of different kinds find the same shortest schedules, and so does trying all mappings."""

from __future__ import annotations

import itertools
import random

import milp
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_mapping import STEPS, chip, legal, llama, mapped, shortest, small

from dfcompiler import ilp
from dfcompiler.columns import Column, flow_of
from dfcompiler.listing import first_schedule, greedy
from dfcompiler.models import Model
from dfcompiler.schedule import mapping_of
from dfcompiler.serial import in_turn


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 30))
def test_two_solvers_and_all_mappings_agree(seed: int) -> None:
    flow, columns = small(seed)
    hint = greedy(flow, columns)
    one = ilp.solve(flow, columns, hint, seconds=20, seed=0)
    two = milp.solve(flow, columns, hint, seconds=20, seed=0)
    assert one.optimal and two.optimal and legal(flow, two)
    assert one.cycles == two.cycles == shortest(flow, columns)
    assert one.bound == two.bound == two.cycles


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return llama(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("on", ["ador", "tpu128"])
@pytest.mark.parametrize("what", ["prefill", "decode", "mixed"])
def test_they_agree_on_what_is_before_and_after_layers(model: Model, what: str, on: str) -> None:
    graph = mapped(model, chip(on), STEPS[what], "default", time_limit_s=20)
    small_ones = [x for x in mapping_of(graph).layers if len(x.segment.nodes) <= 4]
    assert small_ones
    for layer in small_ones:
        flow, columns = flow_of(graph, layer.segment), graph.columns.of(layer.segment)  # type: ignore[union-attr]
        found = milp.solve(flow, columns, first_schedule(flow, columns), seconds=20, seed=0)
        assert legal(flow, found) and found.optimal and found.cycles == layer.solution.cycles == shortest(flow, columns)


# ---- one after another -------------------------------------------------------------------------


def chained(seed: int) -> tuple[nx.DiGraph[str], list[Column]]:
    """The columns of a small problem on a chain of its nodes."""
    _, columns = small(seed)
    names = sorted({v for c in columns for v in c.nodes})
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(names)
    flow.add_edges_from(itertools.pairwise(names))
    near = {tuple(names[i : i + n]) for n in (1, 2, 3) for i in range(len(names))}
    return flow, [c for c in columns if c.nodes in near]


@given(seed=st.integers(0, 1 << 30))
def test_on_a_chain_nothing_is_shorter_than_in_turn(seed: int) -> None:
    flow, columns = chained(seed)
    found = in_turn(flow, columns)
    assert legal(flow, found) and found.optimal
    assert found.cycles == found.bound == shortest(flow, columns)


def serial(flow: nx.DiGraph[str], columns: list[Column]) -> int:
    """The least sum of cycles over all sequences of groups that can run one after another."""
    fastest = {c.nodes: min(x.cycles for x in columns if x.nodes == c.nodes) for c in columns}

    def rest(done: frozenset[str]) -> int:
        found = [0] if done == set(flow) else []
        for g, cycles in fastest.items():
            ready = all(u in done or u in g for v in g for u in flow.predecessors(v))
            if ready and not done & set(g):
                found.append(cycles + rest(done | set(g)))
        return min(found, default=1 << 40)

    return rest(frozenset())


@given(seed=st.integers(0, 1 << 30))
def test_in_turn_is_the_best_sequence_moved_forward(seed: int) -> None:
    flow, columns = small(seed)
    found = in_turn(flow, columns)
    assert legal(flow, found)
    assert sum(t.column.cycles for t in found.tasks) == serial(flow, columns) >= found.cycles
    assert found.bound <= shortest(flow, columns) <= found.cycles
    assert not found.optimal or found.cycles == shortest(flow, columns)


def test_a_group_that_waits_for_a_node_between_its_own() -> None:
    """`a` and `c` run as one only after `b`, which comes between them in the order of the graph."""
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from("abc")
    flow.add_edge("b", "c")
    nothing = small(0)[1][0].tiling
    columns = [Column((v,), "x", None, 10, 0, 0, nothing) for v in "abc"]
    columns.append(Column(("a", "c"), "x", None, 11, 0, 0, nothing))
    found = in_turn(flow, columns)
    assert [t.column.nodes for t in found.tasks] == [("b",), ("a", "c")] and found.cycles == 21


@pytest.mark.parametrize("count", [40, 200])
def test_long_segments_take_no_time(count: int) -> None:
    """Many branches, and groups all over them: the number of sets of nodes that may be done is not what counts."""
    rng = random.Random(count)
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_nodes_from(names := [f"n{i:03}" for i in range(count)])
    flow.add_edges_from((names[i], names[i + 4]) for i in range(count - 4))
    nothing = small(0)[1][0].tiling
    groups = [(v,) for v in names] + [(names[i], names[i + 4]) for i in range(count - 4)]
    columns = [Column(g, "x", None, rng.randint(5, 9) * len(g) - len(g) // 2, 0, 0, nothing) for g in groups]
    found = in_turn(flow, columns)
    least = sum(min(c.cycles for c in columns if c.nodes == (v,)) for v in names)
    assert legal(flow, found) and found.cycles < least


@pytest.mark.parametrize("what", ["prefill", "decode"])
def test_the_pass_is_no_worse_than_lists_without_fusion(model: Model, what: str) -> None:
    pipeline = "lower-model,fuse-elementwise{max-chain=1},fuse-norm,tile,map-%s,schedule"
    dp, plain = (mapping_of(mapped(model, chip("tpu128"), STEPS[what], pipeline % name)) for name in ("dp", "greedy"))
    assert dp.by == "map-dp"
    assert [x.solution.cycles for x in dp.layers] <= [x.solution.cycles for x in plain.layers]
    for layer in dp.layers:
        assert layer.solution.bound <= layer.solution.cycles
