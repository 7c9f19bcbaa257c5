"""Files that are whole or not there: what is cut off in the middle leaves the old one as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dfcompiler.diagnostics import Diag

ELSEWHERE = "choose another folder with -o"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` at the end; where an error or Ctrl-C comes first, nothing is left.

    Raises Diag `bad-output` where the file system refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file at once, in UTF-8. Raises Diag `bad-output`."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(out: Path) -> None:
    """Raise Diag `bad-output` where a folder cannot be made, before a long run finds out."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise Diag("bad-output", f"`{there}` is not a folder", hint=ELSEWHERE)
    if not os.access(there, os.W_OK | os.X_OK):
        raise Diag("bad-output", f"`{there}` is not writable", hint=ELSEWHERE)


def make_folder(out: Path) -> None:
    """Make a folder with those above it. Raises Diag `bad-output`."""
    if out.exists() and not out.is_dir():
        raise Diag("bad-output", f"`{out}` is a file, not a folder", hint=ELSEWHERE)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error


def cannot_write(out: Path, error: OSError) -> Diag:
    """The error for a file system that refuses."""
    what = f"`{error.filename or out}` cannot be written: {error.strerror or error}"
    return Diag("bad-output", what, hint=ELSEWHERE)
