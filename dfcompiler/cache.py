"""What is kept between runs: values under the hash of everything that they follow from.

A value lies in a folder of the user's own, by engine and then by hash, so nothing that is read can be out of
date. It is a pickle, which is why a folder that others could write to is not used, and why nothing but plain
values and the classes of trees and places is read back. Where there is no such folder, or a file in it is
damaged, everything works and takes longer.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from dfcompiler import __version__

T = TypeVar("T")

READABLE = ("dfcompiler.text.", "dfcompiler.diagnostics")  # modules whose classes a kept value may name
ENGINES = 4  # how many states of the engine keep their values


def kept(inputs: Iterable[bytes], make: Callable[[], T]) -> T:
    """`make()`, or what it gave in an earlier run of this engine for the same inputs.

    The value must be plain (numbers, texts, lists, dictionaries) or a tree of the language. What `make` raises
    is raised and not kept.
    """
    home = folder()
    if home is None:
        return make()
    digest = hashlib.sha256()
    for part in inputs:
        digest.update(b"%d:" % len(part) + part)
    path = home / engine() / digest.hexdigest()
    try:
        with path.open("rb") as file:
            value: T = _Reader(file).load()
            return value
    except Exception:  # absent or damaged: a pickle can fail in any way
        value = make()
        _write(path, value)
        return value


@functools.cache
def folder() -> Path | None:
    """The folder that values are kept in (`$XDG_CACHE_HOME/dfcompiler`), or None where it is not ours alone."""
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dfcompiler")
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except (OSError, RuntimeError, ValueError):
        return None
    return path if status.st_uid == os.getuid() and not status.st_mode & 0o022 else None


@functools.cache
def engine() -> str:
    """A name for the state of the engine's source files: their paths, sizes and times."""
    state = [__version__, sys.version]
    for where, _, names in sorted(os.walk(Path(__file__).parent)):
        if "_content" in where.split(os.sep):
            continue
        for name in sorted(n for n in names if n.endswith(".py")):
            s = os.stat(os.path.join(where, name))
            state.append(f"{where}/{name} {s.st_size} {s.st_mtime_ns}")
    return "engine-" + hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]


class _Reader(pickle.Unpickler):
    """Reads plain values and trees; a pickle that names anything else is damaged."""

    def find_class(self, module: str, name: str) -> Any:
        if not module.startswith(READABLE) or "." in name:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _write(path: Path, value: object) -> None:
    """Keep a value; a reader sees all of it or nothing."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _forget(path.parent.parent)
        draft.write_bytes(pickle.dumps(value, protocol=5))
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)


def _forget(home: Path) -> None:
    """Remove the values of all but the latest engines."""
    for old in sorted(home.glob("engine-*"), key=lambda p: -p.stat().st_mtime)[ENGINES:]:
        shutil.rmtree(old, ignore_errors=True)
