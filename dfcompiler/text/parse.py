"""Text to tree: reads sources and parses items, values and settings."""

from __future__ import annotations

import difflib
import functools
import gc
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfcompiler import content
from dfcompiler.cache import folder, kept
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.text.tree import CSetting, Item

if TYPE_CHECKING:
    import lark


def read_source(path: str | Path) -> Source:
    """The text of a file, named as given. Raises Diag: `no-such-file`, `not-a-file` or `not-text`."""
    try:
        return Source(str(path), Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Diag("no-such-file", f"there is no file `{path}`", hint=_beside(Path(path))) from None
    except UnicodeDecodeError as error:
        raise Diag("not-text", f"`{path}` is not UTF-8 text (byte {error.start})") from None
    except IsADirectoryError:
        raise Diag("not-a-file", f"`{path}` is a directory", hint="name a file in it") from None
    except (OSError, ValueError) as error:
        raise Diag("not-a-file", f"`{path}` cannot be read: {error}") from None


def _beside(path: Path) -> str | None:
    """A hint at a file that is called nearly so."""
    try:
        close = difflib.get_close_matches(path.name, os.listdir(path.parent), n=1)
    except OSError:
        return None
    return f"did you mean `{path.with_name(close[0])}`?" if close else None


def parse_items(source: Source) -> tuple[Item, ...]:
    """The ops, models, blocks, graphs, chips and spaces of a source. Raises Diag: `syntax`, `duplicate-name`."""
    items: tuple[Item, ...] = _parse(source, "start")
    return items


def parse_content(source: Source) -> tuple[Item, ...]:
    """The items of a file that is read again and again: those of the same text are kept between runs."""
    inputs = (_grammar().read_bytes(), os.fsencode(source.name), source.text.encode())
    return kept(inputs, lambda: parse_items(source))


def parse_setting(source: Source) -> CSetting:
    """One setting with a dotted name, such as `sa.rows = 64`. Raises Diag: `syntax`."""
    setting: CSetting = _parse(source, "one_setting")
    return setting


def _parse(source: Source, start: str) -> Any:
    import lark  # only who meets a text that is not kept waits for it

    from dfcompiler.text.build_spaces import WholeBuilder
    from dfcompiler.text.explain import explain

    parser = _parser(_grammar())
    try:
        parsed = parser.parse(source.text, start)
    except lark.UnexpectedInput as error:
        raise explain(error, source, parser) from None
    return WholeBuilder(source).build(parsed)


def _grammar() -> Path:
    return content.root() / "ir" / "grammar.lark"


@functools.cache
def _parser(path: Path) -> lark.Lark:
    import lark

    grammar = path.read_text(encoding="utf-8")
    collects = gc.isenabled()
    gc.disable()  # all of the many small objects stay: to look for garbage among them takes a fifth as long again
    try:
        return lark.Lark(grammar, parser="lalr", start=["start", "one_setting"], cache=_tables(grammar))
    finally:
        if collects:
            gc.enable()


def _tables(grammar: str) -> str | bool:
    """Where lark keeps the tables of this grammar, or False where there is no such place.

    lark itself checks the file, rebuilds a damaged one and goes on where it cannot write.
    """
    import lark

    home = folder()
    digest = hashlib.sha256(grammar.encode()).hexdigest()[:16]
    return str(home / f"grammar-{digest}-{lark.__version__}.tables") if home else False
