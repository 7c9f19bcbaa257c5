"""Which passes and templates exist: classes by name, filled when content files are imported."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Note, Source, Span, unknown

KINDS = {"template": "templates", "pass": "passes", "policy": "policies", "router": "policies"}

_classes: dict[tuple[str, str], type] = {}
_imported: set[tuple[Path, ...]] = set()  # the files of a kind, when all of them had been imported


def register(kind: str, name: str, cls: type) -> None:
    """Make `cls` known as the `kind` (`pass` or `template`) called `name`.

    Raises `duplicate-name` where another class has that name; the same class of the same file, seen
    again, takes the place of the earlier one.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind `{kind}`; there are {', '.join(KINDS)}")
    held = _classes.get((kind, name))
    if held is not None and _origin(held) != _origin(cls):
        notes = [Note(f"first defined in {_origin(held)[0]}", _span(held))]
        message = f"{kind} `{name}` is defined again in {_origin(cls)[0]}"
        raise Diag("duplicate-name", message, _span(cls), notes=notes, hint="rename one of the two")
    _classes[kind, name] = cls


def lookup(kind: str, name: str, span: Span | None = None) -> type:
    """The class of this kind and name; raises `unknown-pass` or `unknown-template` at `span`.

    Raises `bad-plugin` where the class lacks a method that its kind must have.
    """
    load(kind)
    cls = _classes.get((kind, name))
    if cls is None:
        raise unknown(kind, name, names(kind), span)
    if inspect.isabstract(cls):
        lacks = ", ".join(f"`{m}`" for m in sorted(getattr(cls, "__abstractmethods__", ())))
        raise Diag("bad-plugin", f"the {kind} `{name}` lacks {lacks}", _span(cls), hint="every one must be there")
    return cls


def names(kind: str) -> list[str]:
    """The names of all passes or templates, sorted."""
    load(kind)
    return sorted(name for k, name in _classes if k == kind)


def load(*kinds: str) -> None:
    """Import the files of these kinds (all, where none is named), ours and the plug-ins'; again it costs nothing.

    Raises `bad-plugin`, with the place, where a plug-in's file cannot be imported. A fault in a file of
    ours is a bug and is raised as it is.
    """
    for folder in dict.fromkeys(KINDS[kind] for kind in kinds or KINDS):
        paths = tuple(content.files(folder, ".py"))
        if paths not in _imported:
            for path in paths:
                _import(path)
            _imported.add(paths)


def started() -> bool:
    """Whether any class is known in this process yet; then there may be some that no content file holds."""
    return bool(_classes)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What becomes known inside is forgotten at the end, so that its file can be read again."""
    load()
    held, imported, modules = dict(_classes), set(_imported), set(sys.modules)
    try:
        yield
    finally:
        _classes.clear()
        _classes.update(held)
        _imported.intersection_update(imported)
        for name in [m for m in sys.modules if m not in modules and m.startswith(f"{content.__name__}.")]:
            del sys.modules[name]


def _import(path: Path) -> None:
    try:
        importlib.import_module(content.module_name(path))
    except Diag as error:
        error.span = error.span or _fault(path, error)
        raise
    except Exception as error:
        if path.is_relative_to(content.root()):
            raise
        message = f"the plug-in file cannot be imported: {type(error).__name__}: {error}"
        raise Diag("bad-plugin", message, _fault(path, error)) from error


def fault(error: Exception) -> Diag | None:
    """What to tell where an error came through a plug-in's file: the last place there; None for an error of ours."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if any(path.is_relative_to(folder) for folder in content.plugins()):
            message = f"the plug-in failed: {type(error).__name__}: {error}"
            return Diag("bad-plugin", message, _line(path, frame.lineno or 1), hint="DFC_DEBUG=1 prints the traceback")
    return None


def _fault(path: Path, error: Exception) -> Span:
    """The line of `path` that failed: where its syntax breaks, or the innermost call made from it."""
    frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        frames.append(error.lineno)
    return _line(path, frames[-1] or 1 if frames else 1)


def _line(path: Path, number: int) -> Span:
    source = Source(str(path), path.read_text(encoding="utf-8", errors="replace"))
    text = source.line(number)
    return Span(source, number, len(text) - len(text.lstrip()) + 1, len(text) + 1)


def _origin(cls: type) -> tuple[str, str]:
    try:
        return inspect.getfile(cls), cls.__qualname__
    except (OSError, TypeError):
        return cls.__module__, cls.__qualname__


def _span(cls: type) -> Span | None:
    try:
        return _line(Path(inspect.getfile(cls)), inspect.getsourcelines(cls)[1])
    except (OSError, TypeError):
        return None
