"""Prices of loop nests against their execution: random ops, sizes, machines, tilings, orders and residencies.

What must be equal and what is a bound is data, in `dfcompiler/audit/rules.py`; `check` holds a mapping against it, and
its values, with not-a-number in all that its tiles do not declare, against the op's text.
"""

from __future__ import annotations

import ast
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from inplace import declared
from nestcases import CASES, drawn, mapping, operators

import dfcompiler.replay
from dfcompiler import nest
from dfcompiler.audit import check
from dfcompiler.audit.check import random_operands
from dfcompiler.audit.claim import traits
from dfcompiler.audit.rules import RULES
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.facts import Facts, facts
from dfcompiler.late import Late
from dfcompiler.moves import Choices, Moves
from dfcompiler.nest import Floats, Nest
from dfcompiler.problem import Band, Problem
from dfcompiler.replay import Mapped, replay
from dfcompiler.semantics import Arrays, run_op
from dfcompiler.tiles import tiles_of

PER_CASE = max(5, int(EXAMPLES or "0") // 20)
SEEDS = st.integers(0, 1 << 32)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # a seed has no simpler one


def holds(name: str, seed: int) -> None:
    """A random mapping keeps what the rules promise."""
    mapped = mapping(name, seed)
    found = check(mapped, seed if name in CASES else 0)  # operands for which an operator's sizes were chosen
    assert not found.faults, (name, seed, sorted(found.traits), found.faults, mapped.size, mapped.ways, mapped.order)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=2 * PER_CASE, phases=PHASES)
@given(seed=SEEDS)
def test_groups_run_as_their_text_and_price_say(name: str, seed: int) -> None:
    holds(name, seed)


@pytest.mark.parametrize("name", operators())
@settings(max_examples=PER_CASE, phases=PHASES)
@given(seed=SEEDS)
def test_operators_run_as_their_text_and_price_say(name: str, seed: int) -> None:
    try:
        holds(name, seed)
    except Infeasible as no:
        assert no.code == "no-replay" and ("only the values of" in no.message or "has points" in no.message)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("append_then_attention", 29320816),  # rows end in a step of their own on each instance
        ("causal", 900050),  # a load that is late in any class of steps beside a store that is late in one
        ("ragged", 901921),  # sequences end in a step of their own on each instance
        ("mla", 900159),
        ("append_then_attention", 901005),  # what is kept above leaves while it stays below
        ("softmax_then_linear", 5938),  # seven of eight instances have one tile, which stays
        ("block_indexer", 437),  # a mask between three loops leaves fewer steps, over which less is spread
    ],
)
def test_what_was_once_claimed_wrong(name: str, seed: int) -> None:
    holds(name, seed)


def test_an_only_tile_is_not_loaded_again() -> None:
    """Nine tiles on eight instances, again for each step of the sum: the sums of seven of them never leave."""
    mapped = mapping("softmax_then_linear", 5938)
    t, d, n = (x.size for x in mapped.problem.loops)
    assert (t, mapped.ways["t"], mapped.size["t"], mapped.order) == (9, 8, 1, ("d", "t"))
    out = sum(2 * (d - 1) * 2 * n * 4 for instance in range(8) if len(range(instance, t, 8)) > 1)  # and back, 4 bytes
    assert check(mapped).claim.parts["y"]["dram"] == out + t * n * 2


def test_both_kinds_of_rules_are_met() -> None:
    """Random mappings have every trait that a rule is about, and none."""
    seen = [traits(mapping(name, seed)) for name in CASES for seed in range(12)]
    assert frozenset() in seen
    assert frozenset().union(*seen) >= {"masked", "look-ups", "in place", "redone", "edges", "uneven", "idle", "spills"}


# ---- values ------------------------------------------------------------------------------------


def differs(mapped: Mapped, given_: Arrays) -> float:
    """The largest error of a replay, over the largest magnitude."""
    g = mapped.problem.group
    wanted, found = run_op(g.shape, g.sizes, g.attrs, given_), replay(mapped, given_, (1.0,))
    gaps = [
        np.abs(wanted[n].ravel() - found.results[n])[found.due[n]].max() / np.abs(wanted[n]).max() for n in found.due
    ]
    return float(max(gaps))


@pytest.mark.parametrize("name", ["causal", "softmax_then_linear", "mla"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_streamed_sums_do_not_overflow(name: str, size: float) -> None:
    """Scores of thousands, whose exponentials are no numbers: sums are rescaled by differences only."""
    several = 0
    for seed in range(20):
        mapped = mapping(name, seed)
        streamed = [x for x in mapped.problem.loops if x.reduced and x.name in mapped.order]
        several += bool(streamed)
        given_ = {n: v * size for n, v in random_operands(mapped.problem.group, seed).items()}
        assert differs(mapped, given_) <= 1e-9
    assert several >= 5


@pytest.mark.parametrize("name", ["window", "ragged", "fresh", "gather"])
def test_elements_outside_of_tiles_are_not_read(name: str) -> None:
    """Operands hold not-a-number in all that no point touches: masked keys, rows of a table that nobody looks up."""
    poisoned = 0
    for seed in range(12):
        mapped = mapping(name, seed)
        g, given_ = mapped.problem.group, random_operands(mapped.problem.group, seed)
        wanted = run_op(g.shape, g.sizes, g.attrs, given_)
        for operand in [o.name for o in g.shape.params if g.types[o.name].within is None]:
            for place in np.ndindex(*g.types[operand].shape[:2]):
                touched = {**given_, operand: given_[operand].copy()}
                touched[operand][place] = np.nan
                again = run_op(g.shape, g.sizes, g.attrs, touched)
                if all(np.array_equal(wanted[n], again[n], equal_nan=True) for n in wanted):
                    assert differs(mapped, touched) <= 1e-9
                    poisoned += 1
    assert poisoned >= 3


def test_a_mapping_that_hides_a_dependence_reads_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile that touches less than its statements read is found by its values."""
    from dfcompiler.replay.run import _Run

    touched = _Run._touched
    monkeypatch.setattr(
        _Run, "_touched", lambda self, name: [(n, p[:, :1].repeat(p.shape[1], 1)) for n, p in touched(self, name)]
    )
    found = [f for seed in range(6) for f in check(mapping("linear", seed), seed).faults]
    assert any((f.what == "value" and f.why == "element [0, 0]") or "does not declare" in f.why for f in found)


SHOWN = """op f(x: [t, k], w: w [n]) -> (y: [t], z: [t, n]) {
  y[t] = sum(k) x[t, k]
  z[t, n] = y[t] * w[n]
}"""


def test_a_sum_that_leaves_and_is_read_is_made_in_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the loop split in which it is read, each instance would add to it all over again."""

    def faults() -> set[str]:
        facts.cache_clear()
        p = declared(SHOWN, t=4, k=4, n=4)
        return {f.what for seed in range(40) for f in check(drawn(p, random.Random(seed)), seed).faults}

    assert not faults()
    assert (
        facts(declared(SHOWN, t=4, k=4, n=4).group.shape).whole["n"].why == "a tile of `n` would redo a sum that leaves"
    )
    monkeypatch.setattr(Facts, "_shown", lambda known, s: False)
    assert "value" in faults()
    facts.cache_clear()


def test_what_is_not_one_factor_cannot_be_streamed() -> None:
    from dfcompiler.replay.rescale import factor

    mapped = mapping("layernorm", 0)
    with pytest.raises(Diag, match="does not change by one factor"):
        factor(mapped.problem.group.shape, 1, ["d"])


# ---- wrong formulas ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "name", "wrong"),
    [
        (nest, "spread", lambda unit, tiles, o: 1.0),  # one copy, however many instances want their own part
        (Moves, "_spills", lambda moves, o, keep: moves.classes < 0),  # sums that stay though there is no room
        (Nest, "_mean_elements", lambda nest, o, keep: nest.tiles.elements[o.name]),  # ragged edges as whole tiles
        (Moves, "idle_positions", lambda moves, o: []),  # nothing is ever loaded again
        (Nest, "single", lambda nest, o, x: np.zeros_like(nest.tiles.compute)),  # all reload as if all had as many
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_wrong_formula_is_caught(where: object, name: str, wrong: object, monkeypatch: pytest.MonkeyPatch) -> None:
    mappings = [mapping("linear", seed) for seed in range(40)]
    monkeypatch.setattr(where, name, wrong)
    faults = [f for seed, m in enumerate(mappings) for f in check(m, seed).faults]
    assert faults and {f.tensor for f in faults if f.what == "dram"} <= {"x", "w", "y"}
    assert any(f.what == "dram" and f.claimed != f.counted for f in faults)


# ---- room ---------------------------------------------------------------------------------------


def room(mapped: Mapped) -> float:
    """Bytes of an instance's memory that operands are given."""
    size, ways = ({n: np.array([float(v)]) for n, v in d.items()} for d in (mapped.size, mapped.ways))
    tiles = tiles_of(mapped.problem, mapped.unit, mapped.helper, size, ways)
    outer = replace(mapped.problem, operands=tuple(o for o in mapped.problem.operands if o.kind != "local"))
    return float(np.asarray(Nest(outer, mapped.unit, tiles, mapped.order).traffic(mapped.keeps).room).ravel()[0])


@pytest.mark.parametrize("name", [name for name in CASES if "look-ups" not in traits(mapping(name, 0))])
@settings(max_examples=PER_CASE, phases=PHASES)
@given(seed=SEEDS)
def test_what_an_instance_holds_has_room(name: str, seed: int) -> None:
    """But for rows that are looked up: they have room as many as are expected."""
    mapped = mapping(name, seed)
    held = replay(mapped, random_operands(mapped.problem.group, seed), ()).held_bytes
    assert 0 < held <= room(mapped) * (1 + 1e-9), (name, seed, mapped.size, mapped.order, mapped.keeps)


def test_room_for_one_tile_where_two_are_needed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = Nest.rooms

    def of_one_tile(nest: Nest, choices: Choices) -> tuple[Floats, Floats]:
        bare = replace(nest.problem, operands=tuple(replace(o, loops=frozenset()) for o in nest.problem.operands))
        return rooms(Nest(bare, nest.unit, nest.tiles, nest.moves), choices)

    monkeypatch.setattr(Nest, "rooms", of_one_tile)
    mappings = [m for seed in range(20) if "spills" not in traits(m := mapping("linear", seed))]
    held = [replay(m, random_operands(m.problem.group, 0), ()).held_bytes for m in mappings]
    assert any(h > room(m) for h, m in zip(held, mappings, strict=True))


# ---- independence ------------------------------------------------------------------------------


PRICING = (
    "nest",
    "traffic",
    "late",
    "overlaps",
    "residency",
    "tiles",
    "blocks",
    "tiling",
    "columns",
    "counts",
    "routing",
)


def test_the_execution_shares_no_formula_with_the_prices() -> None:
    """Of the modules that price it takes types only."""
    prices: dict[str, set[str]] = {"moves": {"INNER", "OUTER", "Keep"}, "problem": {"Problem", "NestOperand"}}
    for path in Path(dfcompiler.replay.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = node.module.removeprefix("dfcompiler.")
                assert module not in PRICING, path
                assert {a.name for a in node.names} <= prices.get(module, {a.name for a in node.names}), path


def test_no_price_is_below_what_is_counted() -> None:
    """The promise itself: nothing but equal or from above."""
    assert {r.low for r in RULES} == {1}


@pytest.mark.parametrize(
    ("case", "owner", "method", "wrong"),
    [
        ("window", Late, "taken_out", lambda late, choices, terms: terms),
        ("window", Band, "steps", lambda band, loop, block: np.ones(len(block))),  # as if one step had points
        ("bank_append", Problem, "proportional", lambda p, o: o.loops),  # pieces of other loops are charged once
        ("append_then_attention", Band, "flush", lambda band, loop, ends=False: True),  # as if all ended in one step
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_price_that_leaves_out_a_move_is_caught(
    case: str, owner: type, method: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = [*range(30), 5001, 29320816]  # of these instances come to their first points, and last, in different steps
    mappings = {seed: mapping(case, seed) for seed in seeds}
    monkeypatch.setattr(owner, method, wrong)
    faults = [f for seed, m in mappings.items() for f in check(m, seed if case in CASES else 0).faults]
    assert any(f.claimed < f.counted for f in faults)
