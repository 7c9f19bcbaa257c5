"""Ops that update a tensor in place: no tiling that the facts allow reads what another tile has overwritten.

The execution tile by tile is one oracle, which takes away what other tiles have overwritten; all pairs of points that
touch one element are the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inplace import declared, in_place
from nestcases import drawn, mapping

from dfcompiler import facts as facts_
from dfcompiler import hazards
from dfcompiler.audit import check
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.facts import facts
from dfcompiler.opshape import OpShape
from dfcompiler.problem import Problem
from dfcompiler.replay import Mapped
from dfcompiler.replay.points import Space
from dfcompiler.text import tree as t

SEEDS = st.integers(0, 1 << 32)
HEAD = "op f(inout c: kv [b, t], x: [b, s], w: w [e, s], id: int [b, s] in t) -> "


@pytest.fixture
def any_tiling() -> Iterator[pytest.MonkeyPatch]:
    """Every index of an op in place may be tiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts_, "overwritten", lambda shape, index, built: None)
        forget()
        yield patch
    forget()


def forget() -> None:
    """What was derived with other rules."""
    facts.cache_clear()
    hazards.clashes.cache_clear()


def wrong(mapped: Mapped, seed: int) -> list[str]:
    """Results that an execution gets wrong. A look-up beside other reads of one operand is priced from above."""
    return [f"{f.tensor}: {f.why}" for f in check(mapped, seed).faults if f.what == "value"]


def forbidden(p: Problem) -> set[str]:
    """Indices that lie whole in a tile because of what is overwritten."""
    known = facts(p.group.shape)
    return {i for i in known.indices if hazards.overwritten(known.shape, i, known.reduced | known.sequential)}


def cut(mapped: Mapped) -> set[str]:
    """Indices of which there are several tiles."""
    p = mapped.problem
    return {i for x in p.loops if mapped.size[x.name] < x.size for i in x.indices}


# ---- executed ----------------------------------------------------------------------------------


def wrong_by_chance(seed: int) -> tuple[Mapped, list[str]] | None:
    """A random mapping of a random op with the results that it gets wrong; None where it gets none wrong."""
    rng = random.Random(seed)
    try:
        mapped = drawn(in_place(rng), rng)
        faults = wrong(mapped, seed)
    except (Diag, Infeasible) as no:  # by chance nothing is left to do, or something lies outside
        assert no.code in ("no-replay", "out-of-range")
        return None
    return (mapped, faults) if faults else None


@settings(max_examples=150)
@given(seed=SEEDS)
def test_tilings_that_are_allowed_do_what_the_text_says(seed: int) -> None:
    assert wrong_by_chance(seed) is None


def test_tilings_that_go_wrong_are_refused(any_tiling: pytest.MonkeyPatch) -> None:
    """Were all tilings allowed many would give wrong values, each by an index that the facts forbid."""
    found = [x for seed in range(150) if (x := wrong_by_chance(seed))]
    assert len(found) >= 20
    for mapped, faults in found:
        assert forbidden(mapped.problem) & cut(mapped), faults


def test_a_window_that_moves_up_is_not_split(any_tiling: pytest.MonkeyPatch) -> None:
    """Two instances with new tokens of their own would both move the window; one moves what the other has moved."""
    mapped = mapping("slide_window", 364)
    assert mapped.ways["s"] == 2
    assert any("what another has overwritten" in f for f in wrong(mapped, 0))
    any_tiling.undo()
    forget()
    assert [x.name for x in facts(mapped.problem.group.shape).loops] == ["bh"]


@pytest.mark.parametrize(
    ("owner", "name", "rule"),
    [
        (hazards, "same_values", lambda shape, one, other: frozenset(i for s in shape.body for i in s.indices)),
        (hazards._Apart, "proves", lambda apart, one, other: True),
        (hazards, "_in_order", lambda shape, clash, index: True),
        (hazards, "_again", lambda shape, clash, index: True),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_rule_that_allows_too_much_is_caught(
    owner: object, name: str, rule: object, any_tiling: pytest.MonkeyPatch
) -> None:
    any_tiling.undo()
    any_tiling.setattr(owner, name, rule)
    assert any(wrong_by_chance(seed) for seed in range(400))


# ---- point by point ----------------------------------------------------------------------------


@given(seed=SEEDS)
def test_what_is_said_of_two_accesses_holds_at_all_points(seed: int) -> None:
    """Those that are no clash never meet; where others meet the indices that are said to be the same are."""
    p = in_place(random.Random(seed))
    shape, space = p.group.shape, Space(p)
    found = {(c.before, c.after, c.reads): c.same for c in hazards.clashes(shape)}
    for (i, one), (j, other) in product(touches(shape), touches(shape)):
        if not other.write or (i > j if not one.write else i >= j) or looks_up(one):
            continue
        points, others = (space.points(shape.body[n].indices) for n in (i, j))
        at, end = (
            np.stack([np.broadcast_to(space.value(s, v.values), v.count) for s in a.subs])
            for a, v in ((one, points), (other, others))
        )
        meet = (at[:, :, None] == end[:, None, :]).all(0)
        same = found.get((i, j, not one.write))
        assert same is not None or not meet.any()
        for index in same or ():
            assert not (meet & (points.values[index][:, None] != others.values[index][None, :])).any()


def looks_up(a: facts_.Pattern) -> bool:
    return any(isinstance(s, t.Access) for s in a.subs)


def touches(shape: OpShape) -> list[tuple[int, facts_.Pattern]]:
    """The accesses to the state, one for each statement and way."""
    found = []
    for number, s in enumerate(shape.body):
        found += [(number, facts_.Pattern(a.subs, write=True)) for a in s.targets if a.name == "c"]
        found += [(number, facts_.Pattern(a.subs, write=False)) for a in hazards.accesses(s.expr) if a.name == "c"]
    return found


# ---- what is read ------------------------------------------------------------------------------


def needed(p: Problem) -> int:
    """Elements of the state that a statement reads and none before has written, point by point."""
    space, made, found = Space(p), set[tuple[float, ...]](), set[tuple[float, ...]]()
    for number, s in enumerate(p.group.shape.body):
        points = space.points([i for i in s.indices if i in space.sizes])
        mine = [a for n, a in touches(p.group.shape) if n == number]
        for wanted in (False, True):
            for a in (x for x in mine if x.write is wanted):
                at = np.stack([np.broadcast_to(space.value(e, points.values), points.count) for e in a.subs])
                (made if wanted else found).update({tuple(x) for x in at.T.tolist()} - (set() if wanted else made))
    return len(found)


def read_elements(p: Problem) -> float:
    return sum(o.total_bytes * 8 / o.bits for o in p.operands if (o.name, o.kind) == ("c", "read"))


@settings(max_examples=150)
@given(seed=SEEDS)
def test_no_less_is_read_than_was_not_written_before(seed: int) -> None:
    rng = random.Random(seed)
    try:
        p = in_place(rng)
        found = check(drawn(p, rng), seed)
    except (Diag, Infeasible) as no:
        assert no.code in ("no-replay", "out-of-range")
        return
    assert not [f for f in found.faults if f.claimed < f.counted or f.what == "value"]
    if not any(looks_up(a) for _, a in touches(p.group.shape)):
        assert read_elements(p) >= needed(p)


@pytest.mark.parametrize(
    "body",
    [
        "(y: [b, s]) { c[b, s] = x[b, s]\n y[b, s] = 2 * c[b, |t| - |s| + s] }",  # other rows
        "(y: [b, t]) { dim j = |s|\n where t >= 4\n c[b, j] = x[b, j]\n y[b, t] = 2 * c[b, t] }",  # none of them
        "(y: [b, t]) { dim j = |s|\n where t >= 2\n c[b, j] = x[b, j]\n y[b, t] = 2 * c[b, t] }",  # one of them
        "(y: [b, t]) { attr p[b] = 2\n c[b, s + p[b]] = x[b, s]\n y[b, t] = 2 * c[b, t] }",  # the rest of all
        "(y: [b, t]) { c[b, s] = x[b, s]\n c[b, s] = 2 * x[b, s]\n y[b, t] = 2 * c[b, t] }",  # written twice
        "(y: [b, s]) { c[b, t] = 1\n y[b, s] = 2 * c[b, |t| - |s| + s] }",  # of what is all written
        "(y: [b, t]) { y[b, t] = 2 * c[b, t]\n c[b, s] = x[b, s] }",  # before it is written
    ],
)
def test_what_an_op_has_written_itself_is_not_read(body: str) -> None:
    p = declared(HEAD + body.replace(" }", "\n}").replace("{ ", "{\n "), b=2, t=9, s=3, e=2)
    assert read_elements(p) == needed(p)


# ---- one by one --------------------------------------------------------------------------------

NEW = "c[b, s + p[b]] = x[b, s]"


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (f"(o: kv [b, t]) {{ attr p[b] = 2\n {NEW} }}", ""),  # nothing is read
        ("(o: kv [b, t]) { c[b, t] = 2 * c[b, t] }", ""),  # each its own
        ("(o: kv [b, t]) { attr p[b] = 2\n c[b, s + p[b]] = c[b, s + p[b]] + x[b, s] }", ""),
        ("(o: kv [b, t]) { c[b, s + 1] = c[b, s] + x[b, s] }", "s"),  # by a constant
        ("(o: kv [b, t]) { attr p[b] = 2\n c[b, s + p[b]] = c[b, s] + x[b, s] }", "s"),  # by an attribute
        ("(o: kv [b, t]) { c[b, s] = c[b, id[b, s]] + x[b, s] }", "s"),  # by data
        ("(o: kv [b, t]) { c[b, s] = c[b, |t| - |s| + s] + x[b, s] }", "s"),  # may meet where |t| < 2 |s|
        ("(o: kv [b, t]) { c[b, s] = c[b, |s| + s] + x[b, s] }", ""),  # one half of the other
        ("(o: kv [b, t]) { c[b, 2 * s] = c[b, 2 * s + 1] }", "s"),  # odd and even: no bound tells them apart
        (f"(y: [b, t]) {{ attr p[b] = 2\n where t < p[b]\n y[b, t] = c[b, t]\n {NEW} }}", ""),  # what was there
        (f"(y: [b, t]) {{ attr p[b] = 2\n where t <= p[b]\n y[b, t] = c[b, t]\n {NEW} }}", "s t"),
        ("(y: [b, s, e]) { y[b, s, e] = c[b, s] * w[e, s]\n c[b, s] = x[b, s] }", "e"),  # once for each e
        ("(o: kv [b, t]) { dim j = |s|\n c[b, s] = 1\n c[b, j] = x[b, j] }", "j s"),  # the second must be the last
        ("(y: [b, e]) { c[b, s] = 1\n c[b, s] = x[b, s]\n y[b, e] = sum(s) x[b, s] * w[e, s] }", ""),
        # of sums, tiles run in order: the read is done in the first, or the write in the last
        ("(y: [b, e]) { y[b, e] = sum(s) x[b, s] * w[e, s]\n c[b, t] = 2 * c[b, t] }", "e"),
        ("(o: kv [b, t]) { a[b, t] = c[b, t] * 2\n y[b] = sum(s) x[b, s]\n c[b, t] = a[b, t] + y[b] }", ""),
        ("(o: kv [b, t]) { a[b, t] = sum(s) x[b, s] * c[b, t]\n c[b, t] = a[b, t] }", "s"),  # written while it grows
        ("(o: kv [b, t]) { a[b] = sum(t) c[b, t]\n c[b, t] = c[b, t] + a[b] }", ""),  # the sum forbids it
    ],
)  # fmt: skip
def test_which_indices_lie_whole_in_a_tile(body: str, whole: str) -> None:
    p = declared(HEAD + body.replace(" }", "\n}").replace("{ ", "{\n "), b=2, t=8, s=3, e=2)
    assert forbidden(p) == set(whole.split()) <= set(p.facts.whole)
    for seed in range(12):
        assert not wrong(drawn(p, random.Random(seed)), seed)


def test_the_reason_names_the_statement() -> None:
    p = declared(HEAD + "(o: kv [b, t]) {\n  c[b, t] = 2 * c[b, t - t]\n}", b=2, t=8, s=3, e=2)
    (blocked,) = (b for i, b in p.facts.whole.items() if i == "t")
    assert blocked.why and blocked.span and blocked.span.line == 2
