"""Points under `where` clauses of every form against brute force; many designs in one call against one by one."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.counts import counts
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.facts import facts
from dfcompiler.masks import Mask
from dfcompiler.models import library
from dfcompiler.opshape import OpShape, bind
from dfcompiler.problem import Band, NestLoop
from dfcompiler.scalars import Along, attributes
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

FUZZ = int(os.environ.get("DFC_FUZZ", "400"))
INDICES = ("b", "s", "t")
Point = dict[str, int]

VALUES = st.sampled_from(["s", "t", "t", "p[b]", "a", "1", "2", "b"])


@st.composite
def expressions(draw: Any, depth: int = 2) -> str:
    """Sums, floor divisions and remainders of indices and attributes."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return str(draw(VALUES))
    inner = draw(expressions(depth - 1))
    match draw(st.integers(0, 5)):
        case 0 | 1 | 2:
            return f"({inner} {draw(st.sampled_from('+-'))} {draw(expressions(depth - 1))})"
        case 3:
            return f"({inner} // {draw(st.integers(1, 4))})"
        case 4:
            return f"({inner} % {draw(st.integers(1, 4))})"
        case _:
            return f"({inner} * {draw(st.integers(1, 3))})"


RELATIONS = (
    st.tuples(expressions(), st.sampled_from(["<", "<=", "==", ">=", ">"]), expressions())
    .map(" ".join)
    .filter(lambda text: {"s", "t", "b"} & set(text.replace("p[b]", "b")))
)
CLAUSES = st.lists(st.lists(RELATIONS, min_size=1, max_size=2).map(" or ".join), min_size=1, max_size=3)


def masked(clauses: Sequence[str]) -> OpShape:
    where = ", ".join(clauses)
    text = f"""op f(x: [b, s, t]) -> (y: [b, s, t]) {{
  attr a = 1
  attr p[b] = 0
  where {where}
  y[b, s, t] = x[b, s, t]
}}"""
    (op,) = parse_items(Source("op", text))
    assert isinstance(op, t.OpDecl)
    return bind(op, (3,))


def points(clauses: Sequence[str], sizes: Mapping[str, int], attrs: Mapping[str, Any]) -> Iterator[Point]:
    """By trying them all."""
    tests = [compile(c.replace(" or ", ") or (").join("()"), "clause", "eval") for c in clauses]
    for values in itertools.product(*(range(sizes[n]) for n in INDICES)):
        point = dict(zip(INDICES, values, strict=True))
        if all(eval(x, dict(attrs), point) for x in tests):
            yield point


@st.composite
def cases(draw: Any) -> tuple[list[str], dict[str, int], dict[str, Any]]:
    sizes = {"b": draw(st.integers(1, 3)), "s": draw(st.integers(1, 7)), "t": draw(st.integers(1, 12))}
    past = draw(st.lists(st.integers(-2, 9), min_size=sizes["b"], max_size=sizes["b"]))
    return draw(CLAUSES), sizes, {"a": draw(st.integers(-2, 6)), "p": tuple(past)}


@settings(deadline=None, max_examples=FUZZ)
@given(cases(), st.sets(st.sampled_from(INDICES), min_size=1))
def test_property_any_clause_is_counted_exactly(
    case: tuple[list[str], dict[str, int], dict[str, Any]], seen: set[str]
) -> None:
    clauses, sizes, attrs = case
    shape = masked(clauses)
    mask = Mask(shape, sizes, attributes(shape, sizes, attrs))
    there = list(points(clauses, sizes, attrs))
    wanted = tuple(n for n in INDICES if n in seen)
    assert mask.count(INDICES) == len(there)
    assert mask.touched(INDICES, wanted) == len({tuple(p[n] for n in wanted) for p in there})
    inter = mask.intervals(INDICES)
    if inter:
        apart, rest = inter.apart(), [n for n in INDICES if n not in (*inter.rows, inter.col)]
        for p in there:  # a bound from above: no point is left out
            lo, hi = (a[(slice(None), *(p[r] for r in inter.rows))] for a in (apart.lo, apart.hi))
            assert np.any((lo <= p[inter.col]) & (p[inter.col] < hi)), (p, rest)


LINES = ["t <= s + p[b]", "t > s + p[b] - a", "t > s + p[b] - a or t < 2", "s < a", "t - s == a", "t < 4 or s > 1"]


@settings(deadline=None, max_examples=FUZZ)
@given(st.sets(st.sampled_from(LINES), min_size=1, max_size=3), cases(), st.sets(st.sampled_from(INDICES)))
def test_property_lines_in_closed_form_are_rows_one_by_one(chosen: set[str], case: Any, seen: set[str]) -> None:
    _, sizes, attrs = case
    shape = masked(sorted(chosen))
    given_ = attributes(shape, sizes, attrs)
    closed, by_rows = Mask(shape, sizes, given_), Mask(shape, sizes, given_)
    for mask in (closed, by_rows):
        mask.intervals(INDICES)
    for known in by_rows._cache.values():
        known.__dict__["strips"] = None
    used = [known.strips for known in closed._cache.values() if known.slide]
    assert None not in used, "not in closed form"
    assert closed.touched(INDICES, seen) == by_rows.touched(INDICES, seen)


# ---- block-sparse masks, by name of what they are ----------------------------------------------

BLOCKED = {
    "block-causal": ["t // 4 <= s // 4"],
    "block window": ["t // 4 <= s // 4", "s // 4 - t // 4 < 2"],
    "chunked": ["t // 8 == (s + p[b]) // 8", "t <= s + p[b]"],
    "strided blocks": ["t <= s", "t // 2 % 4 == 0 or t > s - 3"],
    "dilated": ["t <= s", "(s - t) % 3 == 0"],
    "lambda": ["t <= s + p[b]", "t > s + p[b] - 5 or t < 2"],
    "blocks by row": ["(t // 4 + s // 4) % 2 == 0", "t <= s"],
}


GAPS = ("dilated", "blocks by row")  # rows differ in which columns they pick


@pytest.mark.parametrize("name", BLOCKED)
def test_blocked_masks_and_their_tiles(name: str) -> None:
    """Counts and touched rows are exact; non-empty tiles are exact, or where a tile's rows leave gaps, no fewer."""
    sizes, attrs = {"b": 1, "s": 21, "t": 30}, {"p": (5,), "a": 0}
    shape = masked(BLOCKED[name])
    mask = Mask(shape, sizes, attributes(shape, sizes, attrs))
    there = {(p["s"], p["t"]) for p in points(BLOCKED[name], sizes, attrs)}
    assert mask.count(INDICES) == len(there)
    assert mask.touched(INDICES, ("t",)) == len({t for _, t in there})
    inter = mask.intervals(INDICES)
    assert inter and inter.col in ("s", "t")
    row = "s" if inter.col == "t" else "t"
    loops = [NestLoop(n, (n,), sizes[n], False) for n in ("s", "t")]
    band = Band(inter.col, row, loops, sizes, inter.apart())
    for size in itertools.product((1, 2, 3, 4, 8, 21), (1, 2, 3, 4, 8, 30)):
        tile = dict(zip(("s", "t"), size, strict=True))
        full = {(s // tile["s"], t // tile["t"]) for s, t in there}
        found = band.pairs_of(tile[row], np.array([tile[inter.col]]), ())[0]
        assert found >= len(full)
        if name not in GAPS and (name != "strided blocks" or tile[row] == 1):
            assert found == len(full), (tile, name)


def test_a_clause_that_cannot_be_counted_says_where() -> None:
    shape = masked(["s * t % 7 == 0"])
    sizes = {"b": 1, "s": 1 << 14, "t": 1 << 14}
    mask = Mask(shape, sizes, attributes(shape, sizes, {}))
    with pytest.raises(Diag, match="try one by one") as error:
        mask.count(INDICES)
    assert error.value.code == "bad-mask" and error.value.span and error.value.span.line == 4
    with pytest.raises(Diag, match="must use an index"):
        Mask(masked(["a > 2"]), sizes, {})


# ---- many designs in one call ------------------------------------------------------------------


def attention() -> OpShape:
    return bind(library().ops["attention"], (5, 4, 4))


BASE = {"b": 1, "s": 1, "g": 2, "r": 4, "e": 8, "f": 8, "t": 64}


def alone(sizes: dict[str, Any], attrs: dict[str, Any]) -> tuple[int, dict[str, int], dict[str, float]]:
    """One design by a mask of its own, read elements by brute force over the plain subscripts."""
    shape = attention()
    mask = Mask(shape, sizes, attributes(shape, sizes, attrs))
    known = facts(shape)
    vector: dict[str, int] = {}
    for term in known.work.terms:
        vector[term.kind] = vector.get(term.kind, 0) + mask.count(term.indices)
    rows = mask.touched(("b", "s", "g", "r", "t", "e"), ("b", "t", "g", "e"))
    return sum(mask.count(c.indices) for c in known.work.contractions), vector, {"k": rows}


@settings(deadline=None, max_examples=max(20, FUZZ // 20))
@given(st.data())
def test_property_many_designs_are_a_loop_of_single_ones(data: st.DataObject) -> None:
    n, w, b = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    whole = lambda low, high, k: data.draw(st.lists(st.integers(low, high), min_size=k, max_size=k))  # noqa: E731
    contexts, news, windows, sinks = whole(1, 40, n), whole(1, 5, n), whole(1, 20, w), whole(0, 3, w)
    past = np.array([[data.draw(st.integers(0, t)) for _ in range(b)] for t in contexts])
    sizes = {**BASE, "b": b, "t": Along(contexts, ("context",)), "s": Along(news, ("context",))}
    attrs = {
        "past": Along(past, ("context", "b")),
        "window": Along(windows, ("window",)),
        "sink": Along(sinks, ("window",)),
    }
    found = counts(attention(), sizes, attrs)
    assert found.axes == ("context", "window") and found.macs.shape == (n, w)
    for i, j in itertools.product(range(n), range(w)):
        one = {**BASE, "b": b, "t": contexts[i], "s": news[i]}
        macs, vector, read = alone(one, {"past": tuple(past[i]), "window": windows[j], "sink": sinks[j]})
        assert found.macs[i, j] == macs
        assert {k: int(v[i, j]) for k, v in found.vector.items()} == vector
        assert found.read["k"][i, j] == read["k"]


def test_counts_of_one_design_and_axes_that_do_not_fit() -> None:
    one = counts(attention(), {**BASE, "s": 3}, {"past": 10})
    assert one.axes == () and one.macs == 2 * 8 * 8 * (11 + 12 + 13)
    assert one.read["k"] == 13 * 2 * 8 and one.written["o"] == 3 * 8 * 8
    with pytest.raises(Diag, match="the axis `x` has 2 values"):
        counts(attention(), {**BASE, "t": Along([8, 9], ("x",))}, {"past": Along([1, 2, 3], ("x",))})
    with pytest.raises(Diag, match="needs a size for `t`"):
        counts(attention(), {k: v for k, v in BASE.items() if k != "t"})
    with pytest.raises(Diag, match="do not fit the axes"):
        Along([1, 2], ("x", "y")).placed(("x", "y"))


def test_ten_thousand_contexts_in_closed_form() -> None:
    n = 10_000
    contexts = np.arange(1, n + 1) * 13
    sizes = {**BASE, "s": 512, "t": Along(contexts + 512, ("context",))}
    found = counts(attention(), sizes, {"past": Along(contexts, ("context",))})
    assert np.array_equal(found.macs, 2 * 8 * 8 * (512 * contexts + 512 * 513 // 2))
