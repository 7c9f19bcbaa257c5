"""Text to tree: reads sources and parses items, values and settings."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import lark

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.text.build import Builder
from dfcompiler.text.explain import explain
from dfcompiler.text.tree import CSetting, CValue, Item


def read_source(path: str | Path) -> Source:
    """The text of a file, named as given. Raises Diag: `no-such-file`, `not-a-file` or `not-text`."""
    try:
        return Source(str(path), Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Diag("no-such-file", f"there is no file `{path}`") from None
    except UnicodeDecodeError as error:
        raise Diag("not-text", f"`{path}` is not UTF-8 text (byte {error.start})") from None
    except IsADirectoryError:
        raise Diag("not-a-file", f"`{path}` is a directory", hint="name a file in it") from None
    except (OSError, ValueError) as error:
        raise Diag("not-a-file", f"`{path}` cannot be read: {error}") from None


def parse_items(source: Source) -> tuple[Item, ...]:
    """The ops, models, blocks, graphs and chips of a source. Raises Diag: `syntax`, `duplicate-name`."""
    items: tuple[Item, ...] = _parse(source, "start")
    return items


def parse_value(source: Source) -> CValue:
    """One value as in a chip, such as `64`, `1.5 GHz` or `weight-stationary`. Raises Diag: `syntax`."""
    value: CValue = _parse(source, "one_value")
    return value


def parse_setting(source: Source) -> CSetting:
    """One setting with a dotted name, such as `sa.rows = 64`. Raises Diag: `syntax`."""
    setting: CSetting = _parse(source, "one_setting")
    return setting


def _parse(source: Source, start: str) -> Any:
    parser = _parser(content.root() / "ir" / "grammar.lark")
    try:
        parsed = parser.parse(source.text, start)
    except lark.UnexpectedInput as error:
        raise explain(error, source, parser) from None
    return Builder(source).build(parsed)


@functools.cache
def _parser(path: Path) -> lark.Lark:
    grammar = path.read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", start=["start", "one_value", "one_setting"], cache=_tables(grammar))


def _tables(grammar: str) -> str | bool:
    """Where lark keeps the tables of this grammar, or False where there is no such place.

    lark itself checks the file, rebuilds a damaged one and goes on where it cannot write.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home, "dfcompiler")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    digest = hashlib.sha256(grammar.encode()).hexdigest()[:16]
    return str(folder / f"grammar-{digest}-{lark.__version__}.tables")
