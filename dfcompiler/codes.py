"""What every code of a message means, and what to do: the Markdown files of `explanations/`, ours and the plug-ins'.

    # Chips                              the group of the codes below
    ## unknown-axis                      a code
    No such axis ...                     what it means, in one paragraph
        dfc show ador --set sa.row=8     the smallest example, indented by four: a command, a session of Python, or
                                         the lines of a text that are wrong; it may be left out
    Change: ...                          what to change

Empty lines lie between the parts. The checks of a `mapping.json` have their names in place of codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Note, Source, Span, unknown
from dfcompiler.text.parse import read_source

CHANGE = "Change: "
INDENT = "    "
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Explanation:
    """One code: `meaning` and `change` are paragraphs, `example` lines or empty; `span` is where it is written."""

    code: str
    group: str
    meaning: str
    example: str
    change: str
    span: Span


def explain(code: str) -> Explanation:
    """What a code means. Raises Diag `unknown-code`, and what `explanations` raises."""
    known = explanations()
    if code not in known:
        raise unknown("code", code, known)
    return known[code]


def explanations() -> dict[str, Explanation]:
    """Every code that is explained, in the order of the files. Raises Diag `bad-explanation` and `duplicate-name`."""
    found: dict[str, Explanation] = {}
    for path in content.files("explanations", ".md"):
        source = read_source(path)
        for one in read(Source(content.title(path), source.text)):
            if one.code in found:
                notes = [Note("first explained here", found[one.code].span)]
                raise Diag("duplicate-name", f"`{one.code}` is explained twice", one.span, notes=notes)
            found[one.code] = one
    return found


def read(source: Source) -> Iterator[Explanation]:
    """The explanations in a file; raises Diag `bad-explanation` at the line that is wrong."""
    group, heading, body = "", None, list[str]()
    for number, line in enumerate([*source.text.splitlines(), "## "], 1):
        span = Span(source, number, 1, len(line) + 1)
        if not line.startswith("#"):
            if line and heading is None:
                raise Diag("bad-explanation", "this belongs to no code", span, hint="write `## code` above it")
            body.append(line)
            continue
        if heading is not None:
            yield _explanation(group, heading, body)
        body = []
        if line.startswith("# "):
            group, heading = line[2:].strip(), None
        else:
            heading = span


def _explanation(group: str, heading: Span, body: list[str]) -> Explanation:
    code = heading.source.line(heading.line).removeprefix("## ").strip()
    example = "\n".join(line.removeprefix(INDENT) for line in body if line.startswith(INDENT))
    prose = " ".join(line for line in body if line and not line.startswith(INDENT))
    meaning, change, rest = prose.partition(CHANGE)
    lacks = {"a group": group, "a meaning": meaning, "`Change: ...`": change and rest}
    missing = [what for what, there in lacks.items() if not there.strip()]
    if not CODE.fullmatch(code):
        raise Diag("bad-explanation", f"`{code}` is no code", heading, hint="lower case words with `-` between them")
    if missing:
        raise Diag("bad-explanation", f"`{code}` has no {missing[0].removeprefix('a ')}", heading)
    return Explanation(code, group, meaning.strip(), example, rest.strip(), heading)
