"""Syntax errors in words: what was found, what was expected, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import lark
from lark import Token
from lark.lexer import PatternStr

from dfcompiler.diagnostics import Diag, Note, Source, Span
from dfcompiler.text.build import SCALAR, call_hint

# What a terminal is called where its text varies. The others are called by their text.
PHRASES = {
    "$END": "the end of the text",
    "_NL": "a new line",
    "NAME": "a name",
    "PATH": "a name",
    "WORD": "a name",
    "NUMBER": "a number",
    "INT": "a whole number",
    "STRING": "a quoted text",
    "UNIT": "a unit",
    "CMP": "a comparison",
    "ROLE": "a role (`int`, `act`, `kv`, `w`, `f32`)",
    "KIND": "`input`, `state`, `weight`",
    "REDUCER": "a reduction",
    "ADD": "an operator",
    "MUL": "an operator",
    "DOT": "an operator",
}
# Terminals that may begin any expression: together they are "an expression".
EXPRESSION = frozenset({"NUMBER", "NAME", "INF", "NEG", "VBAR", "LPAR", "STRING"})
OPEN = {"LBRACE": "}", "LPAR": ")", "LSQB": "]"}
USED_REDUCER = re.compile(r"\b(?P<fn>sum|max|min|topk)[ \t]*\((?P<args>[^()\n]*)(?P<closed>\)\s*)?$")
ITEM = re.compile(r"(op|model|block|config|graph|chip|space)[ \t]+[\"a-zA-Z_]")


def explain(error: lark.UnexpectedInput, source: Source, parser: lark.Lark) -> Diag:
    """The diagnostic for an error of the lexer or the parser."""
    state: Any = error.interactive_parser
    expected = listed(phrases(state.accepts(), parser))
    if isinstance(error, lark.UnexpectedCharacters):
        span = Span(source, error.line, error.column, error.column + 1)
        advice = "a quoted text ends on the line where it starts" if error.char == '"' else None
        return Diag("syntax", f"unexpected character `{printable(error.char)}`, expected {expected}", span, hint=advice)
    assert isinstance(error, lark.UnexpectedToken)
    token = error.token
    opened = [x for x in state.parser_state.value_stack if isinstance(x, Token) and x.type in OPEN]
    return Diag(
        "syntax",
        f"{describe(token)}, expected {expected}",
        place(token, source),
        notes=unclosed(opened[-1:], token, source),
        hint=_hint(source.text[: token.start_pos], token) if token.type != "$END" else None,
    )


def _hint(before: str, token: Token) -> str | None:
    return reduction_hint(before, token) or unfinished_hint(before)


def unfinished_hint(before: str) -> str | None:
    """Of a line that goes on with the one above, which ends with `=`."""
    *above, _ = (line.partition("#")[0].strip() for line in before.split("\n"))
    last = next((line for line in reversed(above) if line), "")
    return f"`{printable(last)}` ends without a value, so this line is read as one" if last.endswith("=") else None


def place(token: Token, source: Source) -> Span:
    """Where a token stands; the end of the text is after its last visible character."""
    if token.type == "$END":
        lines = source.text.rstrip().split("\n")
        return Span(source, len(lines), len(lines[-1]) + 1, len(lines[-1]) + 2)
    line, col = token.line or 1, token.column or 1
    return Span(source, line, col, col + len(token.split("\n")[0]))


def describe(token: Token) -> str:
    """What was found."""
    if token.type == "$END":
        return "unexpected end of the text"
    if token.type == "_NL":
        return "unexpected end of the line"
    return f"unexpected `{printable(token)}`"


def printable(text: str) -> str:
    """The text, or its escapes where it does not print; long texts are cut."""
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= 40 else shown[:40] + "..."


def phrases(terminals: Iterable[str], parser: lark.Lark) -> list[str]:
    """What the terminals are called, sorted; those of an expression are taken together."""
    names = set(terminals)
    if "$END" in names:
        names.discard("_NL")
    words: set[str] = set()
    if names >= EXPRESSION:
        names -= EXPRESSION
        words.add("an expression")
    for name in names:
        pattern = parser.get_terminal(name).pattern if name not in PHRASES else None
        text = pattern.value if isinstance(pattern, PatternStr) else name.strip("_").lower()
        words.add(PHRASES.get(name, f"`{text}`"))
    return sorted(words, key=lambda word: (word.startswith("`"), word))


def listed(words: list[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]])) or "nothing"


def unclosed(opened: list[Token], token: Token, source: Source) -> list[Note]:
    """A note at the innermost open bracket, where the text, the line or the item ends before it is closed."""
    for opener in opened:
        next_item = (token.line or 1) > (opener.line or 1) and ITEM.match(source.line(token.line or 1))
        if token.type == "$END" or next_item or (token.type == "_NL" and opener.type != "LBRACE"):
            return [Note(f"this `{opener}` is not closed by `{OPEN[opener.type]}`", place(opener, source))]
    return []


def reduction_hint(before: str, token: Token) -> str | None:
    """What is right where a reduction was used like a function, or inside an expression."""
    used = USED_REDUCER.search(before)
    if not used or not (used["closed"] or token == "["):
        return None
    several = bool(token == "[" or "," in used["args"])
    first = before[: used.start()].rstrip().endswith("=")
    return None if first and not (several and SCALAR[used["fn"]]) else call_hint(used["fn"], several)
