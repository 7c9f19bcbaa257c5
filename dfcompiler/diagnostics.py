"""What went wrong, where, and what to do: every message that a user can cause.

`Source` and `Span` give places in text; `Loc` says where a value comes from, through calls and
passes; `Diag` is the one exception for bad input (exit code 2) and `Infeasible` the one for a
question whose answer is no (exit code 1). Anything else that reaches the top is a bug (exit code 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

WIDEST = 120  # characters of a source line that a message shows


@dataclass(frozen=True)
class Source:
    """A piece of text that can be pointed at: a file, or an option such as `--set`."""

    name: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """Line `number` (1-based) without its end, or the empty string past the end."""
        lines = self.text.splitlines()
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True)
class Span:
    """Columns `col` to `end` (1-based, `end` exclusive) of one line of a source."""

    source: Source = field(repr=False)
    line: int
    col: int
    end: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.col}"

    def carets(self) -> str:
        """The source line with the span underlined, indented by four; empty where there is no line.

        Of a line longer than `WIDEST` only what is around the span is shown.
        """
        text = self.source.line(self.line)
        if not text.strip():
            return ""
        start, end = self.col - 1, max(self.col, min(self.end - 1, len(text)))
        if len(text) > WIDEST:
            first = max(0, min(start - WIDEST // 3, len(text) - WIDEST))
            head, tail = "..." if first else "", "..." if first + WIDEST < len(text) else ""
            text = f"{head}{text[first : first + WIDEST]}{tail}"
            start, end = start - first + len(head), min(end - first + len(head), len(text))
        pad = "".join("\t" if c == "\t" else " " for c in text[:start])
        return f"    {text}\n    {pad}{'^' * max(1, end - start)}"


@dataclass(frozen=True)
class At:
    """A value written at this place."""

    span: Span


@dataclass(frozen=True)
class Called:
    """A value written inside a block that was called at `span`."""

    loc: Loc
    span: Span


@dataclass(frozen=True)
class Joined:
    """A value that a pass made of others."""

    locs: tuple[Loc, ...]
    by: str


Loc: TypeAlias = At | Called | Joined


def first_span(loc: Loc | None) -> Span | None:
    """The innermost place that a location names, or None where nothing is known."""
    while loc is not None:
        match loc:
            case At(span):
                return span
            case Called(inner, _):
                loc = inner
            case Joined(locs, _):
                loc = locs[0] if locs else None
    return None


@dataclass(frozen=True)
class Note:
    """A second place that explains the first."""

    message: str
    span: Span | None = None


class Diag(Exception):
    """Bad input, with a place, the reason and what to do. Exit code 2.

    `code` names the kind of fault (`unknown-chip`); `span` is where, `notes` are further places and
    `hint` says what would be right.
    """

    exit_code = 2
    severity = "error"

    def __init__(
        self,
        code: str,
        message: str,
        span: Span | None = None,
        *,
        notes: Sequence[Note] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.notes = tuple(notes)
        self.hint = hint

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled whole: it travels between processes."""
        return _again, (type(self), self.code, self.message, self.span, self.notes, self.hint)

    def render(self) -> str:
        """`file:line:col: error: message`, the line with carets, notes and hint; no trailing newline."""
        lines = [*_place(f"{self.severity}[{self.code}]", self.message, self.span)]
        for note in self.notes:
            lines += _place("note", note.message, note.span)
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class Infeasible(Diag):
    """A well-formed question whose answer is no, with the reason and the numbers. Exit code 1."""

    exit_code = 1
    severity = "infeasible"


def _again(kind: type[Diag], code: str, message: str, *rest: Any) -> Diag:
    span, notes, hint = rest
    return kind(code, message, span, notes=notes, hint=hint)


def _place(label: str, message: str, span: Span | None) -> list[str]:
    if span is None:
        return [f"{label}: {message}"]
    return [f"{span}: {label}: {message}", *filter(None, [span.carets()])]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the closest known ones first, then the list of all."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    shown = ", ".join(names[:24]) + (f", and {len(names) - 24} more" if len(names) > 24 else "")
    listed = f"known: {shown}" if names else "none is known"
    return f"did you mean `{close[0]}`? {listed}" if close else listed


def unknown(kind: str, name: str, known: Iterable[str], span: Span | None = None) -> Diag:
    """The error for a name that is not among `known`; its code is `unknown-KIND`, without what the kind is of."""
    code = "-".join(("unknown", *kind.partition(" of ")[0].split()))
    return Diag(code, f"unknown {kind} `{name}`", span, hint=nearest(name, known))
