"""Declarations by name, from files that are parsed when they are first asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dfcompiler.diagnostics import Diag, Note, Source
from dfcompiler.text import tree as t
from dfcompiler.text.outline import WORDS, Heading, heading, outline
from dfcompiler.text.parse import parse_content

D = TypeVar("D", bound=t.Item)


@dataclass(frozen=True)
class File:
    """A file of declarations and its text."""

    path: Path
    source: Source

    @functools.cached_property
    def headings(self) -> tuple[Heading, ...]:
        """What the file declares; parses it only where it is no row of items, which raises Diag `syntax`."""
        found = outline(self.source)
        return tuple(map(heading, parse_content(self.source))) if found is None else found

    @functools.cached_property
    def items(self) -> Mapping[tuple[type[t.Item], str], t.Item]:
        """The declarations by kind and name; parses the file. Raises Diag `syntax`."""
        return {(type(item), item.name): item for item in parse_content(self.source)}


@dataclass(frozen=True)
class Entry:
    """A heading, and its declaration or the file that holds it."""

    heading: Heading
    held: File | t.Item

    def item(self) -> t.Item:
        """The declaration; raises Diag `syntax` where its file, parsed now, has a fault."""
        return self.held.items[self.heading.kind, self.heading.name] if isinstance(self.held, File) else self.held

    def again(self, other: Entry) -> bool:
        """Whether both are one place of one file that was read twice."""
        one, two = self.heading.span, other.heading.span
        if one is None or two is None or (one.line, one.col) != (two.line, two.col):
            return False
        try:
            return one.source == two.source or os.path.samefile(self._path(), other._path())
        except (OSError, ValueError):  # a source that is no file
            return False

    def _path(self) -> Path:
        if isinstance(self.held, File):
            return self.held.path
        return Path(self.heading.span.source.name if self.heading.span else "")


@dataclass(frozen=True, eq=False)
class Shelf(Mapping[str, D]):
    """The declarations of one kind. To ask for a name's declaration may parse its file; the names are known."""

    kind: type[D]
    entries: Mapping[str, Entry]

    def __getitem__(self, name: str) -> D:
        item = self.entries[name].item()
        assert isinstance(item, self.kind)
        return item

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def headings(self) -> list[Heading]:
        """How the declarations begin, without parsing any."""
        return [entry.heading for entry in self.entries.values()]

    def joined(self, new: Iterable[Entry]) -> Shelf[D]:
        """With those of the entries that are of this kind; raises Diag `duplicate-name` naming both places."""
        entries = dict(self.entries)
        for entry in new:
            if entry.heading.kind is not self.kind:
                continue
            first = entries.setdefault(entry.heading.name, entry)
            if first is not entry and not first.again(entry):
                message = f"{WORDS[self.kind]} `{entry.heading.name}` is declared twice"
                notes = [Note("first declared here", first.heading.span)]
                raise Diag("duplicate-name", message, entry.heading.span, notes=notes)
        return Shelf(self.kind, entries)
