"""Deliberately wrong passes and deliberately wrong prices are caught, and the message names the culprit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from dfcompiler import nest, registry
from dfcompiler.api import check_pass
from dfcompiler.audit import audit
from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph, Node, Offer, Region
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.nest import Nest
from dfcompiler.pipeline import Context
from dfcompiler.replay import walk
from dfcompiler.steps import step

DTYPES = parse_dtypes("w16a16kv16")


def context() -> Context:
    return Context(model=load_model("llama3-8b"), step=step(decode=[2000] * 16), dtypes=DTYPES, chip=load_chip("ador"))


def ran(name: str, graph: Graph) -> Graph:
    return registry.lookup("pass", name)().run(graph, context())  # type: ignore[no-any-return]


@cache
def lowered() -> Graph:
    return ran("lower-model", Graph("g"))


@cache
def mapped() -> Graph:
    graph = ran("fuse-elementwise", lowered())
    return ran("map-greedy", ran("tile", graph))


# ---- wrong passes ------------------------------------------------------------------------------


def without_attribute(graph: Graph) -> Graph:
    """Forgets how many tokens are cached."""
    return graph.map_nodes(lambda n: replace(n, attrs=tuple(a for a in n.attrs if a[0] != "past")))


def with_operands_swapped(graph: Graph) -> Graph:
    """Takes the gate for the other projection."""

    def swap(n: Node) -> Node:
        return replace(n, args=n.args[::-1]) if n.op.name == "silu_mul" else n

    return graph.map_nodes(swap)


def with_a_detour(graph: Graph) -> Graph:
    """Offers the first and the last node of a layer as one op; what lies between is not in it."""
    nodes = [i for r in graph.body if isinstance(r, Region) for i in r.body if isinstance(i, Node)]
    return graph.offer(Offer("test", (nodes[0].name, nodes[-1].name)))


def with_a_layer_less(graph: Graph) -> Graph:
    """Runs the layers once."""
    return replace(graph, body=tuple(replace(i, count=1) if isinstance(i, Region) else i for i in graph.body))


WRONG_PASSES: dict[Callable[[Graph], Graph], str] = {
    without_attribute: "changed what the graph computes",
    with_operands_swapped: "changed what the graph computes",
    with_a_detour: "lies between them and is not one of them",
    with_a_layer_less: "before and",
}


def test_a_right_pass_is_not_caught() -> None:
    check_pass("fuse-elementwise", lowered(), ran("fuse-elementwise", lowered()), context())


@pytest.mark.parametrize("wrong", WRONG_PASSES)
def test_a_wrong_pass_is_caught(wrong: Callable[[Graph], Graph]) -> None:
    with pytest.raises(Diag) as caught:
        check_pass("test-wrong", lowered(), wrong(lowered()), context())
    assert caught.value.code == "wrong-pass"
    assert "the pass `test-wrong`" in str(caught.value) and WRONG_PASSES[wrong] in str(caught.value)


# ---- wrong prices ------------------------------------------------------------------------------


def test_right_prices_are_not_caught() -> None:
    found = audit(mapped(), load_chip("ador"), DTYPES)
    assert found.run >= 8 and not found.left
    assert str(found) == f"{found.run} mapped ops executed tile by tile: values, bytes, time agree"


WRONG_PRICES: dict[str, tuple[Any, Any]] = {
    "spread": (nest, lambda unit, tiles, o: 1.0),  # one copy, however many instances want their own part
    "_mean_elements": (Nest, lambda nest, o, keep: nest.tiles.elements[o.name]),  # ragged edges as whole tiles
    "all_of": (Nest, lambda nest, whole: 2.0),  # loads of what is kept, twice
}


@pytest.mark.parametrize("name", WRONG_PRICES)
def test_a_wrong_price_of_bytes_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping is made with the wrong formula too, so it is the execution that tells."""
    where, wrong = WRONG_PRICES[name]
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises(Diag) as caught:
        audit(ran("map-greedy", ran("tile", lowered())), load_chip("ador"), DTYPES)
    assert caught.value.code == "wrong-nest"
    assert all(word in caught.value.message for word in (" on `", " B of `", " at `", "are claimed", "counted"))


def test_a_wrong_price_of_time_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads that are never waited for."""
    cycles = Nest.cycles

    def hidden(nest: Nest, traffic: Any, shares: Any) -> Any:
        terms = traffic.terms
        half = replace(terms, near=terms.near / 2, above=terms.above / 2, dram=terms.dram / 2)
        return cycles(nest, replace(traffic, terms=half), shares)

    monkeypatch.setattr(Nest, "cycles", hidden)
    with pytest.raises(Diag) as caught:
        audit(ran("map-greedy", ran("tile", lowered())), load_chip("ador"), DTYPES)
    assert caught.value.code == "wrong-nest" and "cycles are claimed" in caught.value.message


def test_numbers_that_are_not_those_of_the_cost_model_are_caught() -> None:
    """A mapper that writes down less than its tiling takes."""
    graph = mapped()
    assert graph.mapping is not None
    first, *others = graph.mapping.layers
    task, *rest = first.solution.tasks
    fast = replace(task, column=replace(task.column, tiling=replace(task.column.tiling, cycles=1.0)))
    layer = replace(first, solution=replace(first.solution, tasks=(fast, *rest)))
    wrong = replace(graph, mapping=replace(graph.mapping, layers=(layer, *others)))
    with pytest.raises(Diag, match=r"1\.0 cycles are claimed") as caught:
        audit(wrong, load_chip("ador"), DTYPES)
    assert f"`{task.column.nodes[0]}`" in caught.value.message


def test_a_tile_that_is_not_run_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its last step a walk leaves results unwritten."""
    start = walk.Walk.__init__

    def short(self: walk.Walk, *args: Any) -> None:
        start(self, *args)
        self.steps = self.steps[:-1] or self.steps

    monkeypatch.setattr(walk.Walk, "__init__", short)
    with pytest.raises(Diag, match=r"tile by tile and .* by its text"):
        audit(mapped(), load_chip("ador"), DTYPES)
