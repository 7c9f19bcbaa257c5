"""What a source declares, without parsing it: kind, name and place of every item.

An item ends with the brace that closes its body. So comments, quoted texts and braces are all that has to be told
apart, however the source is laid out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dfcompiler.diagnostics import Source, Span
from dfcompiler.text import tree as t

KINDS: dict[str, type[t.Item]] = {
    "op": t.OpDecl,
    "model": t.ModelDecl,
    "block": t.BlockDecl,
    "config": t.ConfigDecl,
    "graph": t.GraphDecl,
    "chip": t.ChipDecl,
    "space": t.SpaceDecl,
}
WORDS: dict[type, str] = {kind: word for word, kind in KINDS.items()}

_QUOTED = r'"(?:\\[^\n]|[^"\\\n])*"'
_COMMENT = re.compile(rf"({_QUOTED})|#[^\n]*")
_HEAD = re.compile(rf"\s*({'|'.join(KINDS)})\s*([a-zA-Z_]\w*(?:-\w+)*|{_QUOTED})", re.ASCII)
_MARK = re.compile(rf"[{{}}]|{_QUOTED}")


@dataclass(frozen=True)
class Heading:
    """How an item begins. `texts` are what it quotes before its body: the architectures of a family."""

    kind: type[t.Item]
    name: str
    span: Span | None
    texts: tuple[str, ...] = ()


def heading(item: t.Item) -> Heading:
    """The heading of an item that was parsed."""
    texts = tuple(r.name for r in item.readers) if isinstance(item, t.ModelDecl) else ()
    return Heading(type(item), item.name, item.span, texts)


def outline(source: Source) -> tuple[Heading, ...] | None:
    """The headings of all items in order, as they would be parsed; None where the source is no row of items."""
    try:
        return tuple(_headings(source))
    except ValueError:
        return None


def _headings(source: Source) -> Iterator[Heading]:
    text = _COMMENT.sub(lambda found: found[1] or " " * len(found[0]), source.text)
    at = 0
    while head := _HEAD.match(text, at):
        texts, at = _body(text, head.end())
        yield Heading(KINDS[head[1]], _said(head[2]), _span(source, head), texts)
    if text[at:].strip():
        raise ValueError


def _body(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """What is quoted before the body, and where the body ends."""
    texts: list[str] = []
    depth = 0
    for mark in _MARK.finditer(text, at):
        if mark[0] == "{":
            depth += 1
        elif mark[0] == "}":
            depth -= 1
            if depth == 0:
                return tuple(texts), mark.end()
        elif depth == 0:
            texts.append(_said(mark[0]))
    raise ValueError


def _said(name: str) -> str:
    return str(json.loads(name, strict=False)) if name.startswith('"') else name


def _span(source: Source, head: re.Match[str]) -> Span:
    start, end = head.span(2)
    col = start - source.text.rfind("\n", 0, start)
    return Span(source, source.text.count("\n", 0, start) + 1, col, col + end - start)
