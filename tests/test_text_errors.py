"""What a syntax error says: place, line, carets, what was expected, notes and hint, to the letter."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag, Source
from dfcompiler.text.parse import parse_items, parse_setting

EXAMPLES = int(os.environ.get("DFC_FUZZ", "150"))


def error(text: str) -> Diag:
    with pytest.raises(Diag) as caught:
        parse_items(Source("t", text))
    return caught.value


def statement(text: str) -> str:
    return f"op f(a: [m, k], b: [m, k]) -> (c: [m]) {{\n  {text}\n}}\n"


# Each case: text, then the whole rendered error.
CASES = [
    (
        statement("c[m] = sum(k) a[m, k] b[m, k]"),
        """t:2:25: error[syntax]: unexpected `b`, expected a new line, an operator or `}`
      c[m] = sum(k) a[m, k] b[m, k]
                            ^""",
    ),
    (
        statement("c[m] = max(a[m], b[m])"),
        """t:2:15: error[syntax]: unexpected `[`, expected `)` or `,`
      c[m] = max(a[m], b[m])
                  ^
hint: use maximum(a, b)""",
    ),
    (
        statement("c[m] = 1 + min(a[m], b[m])"),
        """t:2:14: error[syntax]: `min` is a reduction, not a function
      c[m] = 1 + min(a[m], b[m])
                 ^^^
hint: use minimum(a, b)""",
    ),
    (
        statement("c[m] = max(a, b)"),
        """t:3:1: error[syntax]: unexpected `}`, expected an expression
    }
    ^
hint: use maximum(a, b)""",
    ),
    (
        statement("c[m] = sum(k) a[m, k] * sum(j) b[m, j]"),
        """t:2:34: error[syntax]: unexpected `b`, expected a new line, an operator or `}`
      c[m] = sum(k) a[m, k] * sum(j) b[m, j]
                                     ^
hint: one reduction per statement: give the inner sum a name""",
    ),
    (
        statement("c[m] = sum(k) sum(j) a[m, k]"),
        """t:2:24: error[syntax]: unexpected `a`, expected a new line, an operator or `}`
      c[m] = sum(k) sum(j) a[m, k]
                           ^
hint: one reduction per statement: give the inner sum a name""",
    ),
    (
        statement("c[m] = (a[m, 0] + 1"),
        """t:2:22: error[syntax]: unexpected end of the line, expected an operator or `)`
      c[m] = (a[m, 0] + 1
                         ^
t:2:10: note: this `(` is not closed by `)`
      c[m] = (a[m, 0] + 1
             ^""",
    ),
    (
        statement("c[m] = a[m, ]"),
        """t:2:15: error[syntax]: unexpected `]`, expected an expression or `*`
      c[m] = a[m, ]
                  ^""",
    ),
    (
        statement("c[m] = a[m, 0] $ 2"),
        """t:2:18: error[syntax]: unexpected character `$`, expected a new line, an operator or `}`
      c[m] = a[m, 0] $ 2
                     ^""",
    ),
    (
        "op f(a: [m]) -> (b: [m]) {\n  b[m] = a[m]  # no end\n\n",
        """t:2:24: error[syntax]: unexpected end of the text, expected a name, `attr`, `dim`, `scan`, `where` or `}`
      b[m] = a[m]  # no end
                           ^
t:1:26: note: this `{` is not closed by `}`
    op f(a: [m]) -> (b: [m]) {
                             ^""",
    ),
    (
        "op f(a: [m]) -> (b: [m]) {\n  b[m] = a[m]\n\nop g(a: [m]) -> (b: [m]) {\n}\n",
        """t:4:4: error[syntax]: unexpected `g`, expected `[`
    op g(a: [m]) -> (b: [m]) {
       ^
t:1:26: note: this `{` is not closed by `}`
    op f(a: [m]) -> (b: [m]) {
                             ^""",
    ),
    (
        "op f(a: activation [m]) -> (b: [m]) {\n}",
        """t:1:9: error[syntax]: unexpected `activation`, expected a role (`int`, `act`, `kv`, `w`, `f32`) or `[`
    op f(a: activation [m]) -> (b: [m]) {
            ^^^^^^^^^^""",
    ),
    (
        "oqs",
        """t:1:1: error[syntax]: unexpected `oqs`, \
expected the end of the text, `block`, `chip`, `config`, `graph`, `model`, `op` or `space`
    oqs
    ^^^""",
    ),
    (
        'graph "a\n',
        """t:1:7: error[syntax]: unexpected character `"`, expected a name or a quoted text
    graph "a
          ^
hint: a quoted text ends on the line where it starts""",
    ),
    (
        'graph "a\\q" {\n}',
        """t:1:7: error[syntax]: unreadable escape in a quoted text
    graph "a\\q" {
          ^^^^^
hint: escapes are those of JSON, such as \\" and \\\\""",
    ),
    (
        "op f(a: [m], a: [m]) -> (b: [m]) {\n}",
        """t:1:14: error[duplicate-name]: operand or attribute `a` is declared twice
    op f(a: [m], a: [m]) -> (b: [m]) {
                 ^
t:1:6: note: first declared here
    op f(a: [m], a: [m]) -> (b: [m]) {
         ^""",
    ),
    (
        "op f(a: [m]) -> (b: [m]) {\n  attr k = 1\n  dim k = 2\n}",
        """t:3:7: error[duplicate-name]: attribute or dimension `k` is declared twice
      dim k = 2
          ^
t:2:8: note: first declared here
      attr k = 1
           ^""",
    ),
    (
        "model m {\n  h = rmsnorm(x, g)\n  {eps=1, eps=2}\n}",
        """t:3:11: error[duplicate-name]: attribute `eps` is declared twice
      {eps=1, eps=2}
              ^^^
t:3:4: note: first declared here
      {eps=1, eps=2}
       ^^^""",
    ),
    (
        "chip c {\n  part sa: { rows = 3 }\n}",
        """t:2:12: error[syntax]: unexpected `{`, expected a name
      part sa: { rows = 3 }
               ^""",
    ),
    (
        "chip c {\n\tnode = 7 nm 8\n}",
        """t:2:14: error[syntax]: unexpected `8`, expected a new line or `}`
    \tnode = 7 nm 8
    \t            ^""",
    ),
    (
        "chip c {\n  part a: x {\n    rows = 1\n    rows = 2\n  }\n}",
        """t:4:5: error[duplicate-name]: setting `rows` is declared twice
        rows = 2
        ^^^^
t:3:5: note: first declared here
        rows = 1
        ^^^^""",
    ),
    (
        "chip c {\n  part a: x\n  group g x 2 {\n    part a: y\n  }\n}",
        """t:4:10: error[duplicate-name]: part `a` is declared twice
        part a: y
             ^
t:2:8: note: first declared here
      part a: x
           ^""",
    ),
]


@pytest.mark.parametrize(("text", "rendered"), CASES, ids=[c[1].split(": ", 2)[2].split("\n")[0] for c in CASES])
def test_rendered_error(text: str, rendered: str) -> None:
    assert error(text).render() == rendered


DEEP = [
    statement("c[m] = " + "-" * 5000 + "1"),
    statement("c[m] = " + "1" + " + 1" * 5000),
    statement("c[m] = " + "a[" * 5000 + "m" + "]" * 5000),
    statement("c[m] = " + "exp(" * 5000 + "m" + ")" * 5000),
    "model m {\n" + "repeat 2 {\n" * 5000 + "output x\n" + "}\n" * 5000 + "}",
    'graph "g" {\n' + "x = repeat 2 () {\n" * 5000 + "yield y\n}\n" * 5000 + "}",
    'graph "g" {\n  x: bf16 [1] = f() {a = ' + "[" * 5000 + "]" * 5000 + "}\n}",
]


@pytest.mark.parametrize("text", DEEP, ids=lambda t: t[40:70])
def test_deep_nesting_is_an_error_with_a_place(text: str) -> None:
    diag = error(text)
    assert diag.message == "nested more than 120 deep"
    assert diag.span is not None


def test_deep_parentheses_are_no_nesting() -> None:
    deep, flat = ("(" * 5000 + "m" + ")" * 5000), "m"
    assert parse_items(Source("t", statement(f"c[m] = {deep}"))) == parse_items(
        Source("t", statement(f"c[m] = {flat}"))
    )


@pytest.mark.parametrize("digits", ["9" * 5000, "9" * 4001, "9" * 400, str(2**63)], ids=len)
def test_number_with_too_many_digits(digits: str) -> None:
    assert error(statement(f"c[m] = {digits}")).message == "a whole number of more than 63 bits"
    assert parse_items(Source("t", statement(f"c[m] = {2**63 - 1}")))


PIECES = (
    "op model block graph chip attr dim where scan from param else require reject weight state input repeat each if "
    "output offer place on yield part group connect x for in distinct inout int kv w sum( max( topk inf a b9 c-d "
    'bf16 1 2.5 1e-5 GiB % bit/cycle "s" "\\u " ( ) [ ] { } | , : = == <= < > + - -> * / // % @ . # \n \r\n \t '
    "é \u2028 \x00 'q"
).split(" ")


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.text(max_size=60))
def test_fuzz_any_text_parses_or_raises_diag(text: str) -> None:
    for parse in (parse_items, parse_setting):
        try:
            parse(Source("t", text))
        except Diag as diag:
            assert diag.code in ("syntax", "duplicate-name")
            assert diag.span is not None and diag.render()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([c[0] for c in CASES]), st.data())
def test_fuzz_damaged_text(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + data.draw(st.integers(0, 5)) :]
    try:
        parse_items(Source("t", text))
    except Diag as diag:
        assert diag.render()
