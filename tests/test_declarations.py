"""An operator's text is checked where it is first used: names are known, and used as they are declared."""

from __future__ import annotations

import pytest

from dfcompiler.declarations import check
from dfcompiler.diagnostics import WIDEST, Diag, Source, Span
from dfcompiler.models import library
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import OpDecl


def an_op(text: str) -> OpDecl:
    (item,) = parse_items(Source("t", text))
    assert isinstance(item, OpDecl)
    return item


@pytest.mark.parametrize("name", sorted(library().ops))
def test_shipped_ops_are_well(name: str) -> None:
    check(library().ops[name])


HEAD = "op f(x: [*t, d], g: w [d]) -> (y: [*t, d]) {\n  "


@pytest.mark.parametrize(
    ("body", "code", "place", "said"),
    [
        ("y[*t, d] = z[*t, d]", "unknown-name", "2:14", "`z` has no value here"),
        ("y[*t, d] = u[*t, d]\n  u[*t, d] = x[*t, d]", "unknown-name", "2:14", "`u`"),
        ("y[*t, d] = x[*t, d] * k", "unknown-name", "2:25", "`k`"),
        ("y[*t, d] = x[*t, d] * |k|", "unknown-name", "2:26", "`k`"),
        ("y[*t, d] = x[*t, d] * g[*t, d]", "bad-statement", "2:25", "takes 1 subscript, not 1 subscript and those"),
        ("y[*t] = sum(d) x[*t, d]", "bad-statement", "2:3", "`y` takes 1 subscript and those of `*t`"),
        (
            "u[d] = g[d]\n  y[*t, d] = u[d, d] * x[*t, d]",
            "bad-statement",
            "3:14",
            "takes 1 subscript, not 2 subscripts",
        ),
        ("y[*t, d] = sum(d) x[*t, d]", "bad-statement", "2:3", "reduced index `d`"),
        ("y[*t, d], u[d] = x[*t, d]", "bad-statement", "2:3", "one value for 2 targets"),
        ("attr a = a\n  y[*t, d] = x[*t, d] * a", "unknown-name", "2:12", "`a`"),
        ("attr a = b\n  attr b = a\n  y[*t, d] = x[*t, d] * a", "unknown-name", "2:12", "`b`"),
    ],
)
def test_faults_have_a_place(body: str, code: str, place: str, said: str) -> None:
    with pytest.raises(Diag) as caught:
        check(an_op(f"{HEAD}{body}\n}}\n"))
    assert (caught.value.code, str(caught.value.span)) == (code, f"t:{place}")
    assert said in str(caught.value)


@pytest.mark.parametrize("col", [1, 50, 500, 990, 1000])
def test_of_a_long_line_what_is_around_the_place_is_shown(col: int) -> None:
    line = "".join(chr(ord("a") + i % 26) for i in range(1000))
    shown, carets = Span(Source("s", line), 1, col, col + 1).carets().splitlines()
    assert len(shown) <= WIDEST + 4 + 6
    assert carets.count("^") == 1 and shown[carets.index("^")] == line[col - 1]
