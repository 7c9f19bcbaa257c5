"""Where content lives: our `ir/`, `templates/`, `passes/`, `policies/`, `explanations/`, and those of plug-ins.

This module has a `__path__`, so a Python file of ours is `dfcompiler.content.passes.x` both in a
checkout and in a wheel. A file of a plug-in folder is `dfcompiler.content.plugin_<hash>.passes.x`,
where the hash is that of the folder's path. Such names can be imported in any process that knows the
folder: the plug-in folders in use are kept in the environment variable `DFCOMPILER_PLUGINS`, which
worker processes inherit, and nowhere else; so pickled classes of plug-ins arrive.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

from dfcompiler.diagnostics import Diag, Note, Source, Span

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

KINDS = ("ir", "templates", "passes", "policies", "explanations")
ENTRY_POINTS = "dfcompiler.plugins"
VARIABLE = "DFCOMPILER_PLUGINS"
JUST_NOW_NS = 100_000_000  # more than any file system's clock takes for a tick

_known: dict[tuple[Path, str], tuple[int, tuple[Path, ...]]] = {}  # folder and suffix: when it changed, its files


@functools.cache
def root() -> Path:
    """The folder that holds our content, `ir/` and the others: `_content` in a wheel, else the checkout."""
    here = Path(__file__).resolve().parent
    packed = here / "_content"
    return packed if packed.is_dir() else here.parent


def use(dirs: Sequence[Path]) -> None:
    """Add plug-in folders, each with some of the five sub-folders; a folder in use already is left as it is.

    Raises `no-such-plugin` where a folder is missing or has none of the five.
    """
    kept = _used()
    added = dict.fromkeys(_checked(Path(d), "the plug-in folder") for d in dirs)
    os.environ[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys([*kept, *added])))


def plugins() -> list[Path]:
    """The plug-in folders: those in use, then those of installed packages (entry points `dfcompiler.plugins`)."""
    return list(dict.fromkeys([*_used(), *_installed()]))


def folders(kind: str, sub: str = "") -> list[Path]:
    """Every folder `kind/sub` that exists, ours first: `folders("templates", "chips")`."""
    return [d for base in (root(), *plugins()) if (d := base / kind / sub).is_dir()]


def files(kind: str, suffix: str, sub: str = "") -> list[Path]:
    """Every file of `folders(kind, sub)` whose name ends in `suffix`, sorted within each folder."""
    return [path for base in (root(), *plugins()) for path in _listed(_inside(base, kind, sub), suffix)]


@functools.cache
def _inside(base: Path, kind: str, sub: str) -> Path:
    return base / kind / sub


def _listed(folder: Path, suffix: str) -> tuple[Path, ...]:
    """Files of a folder, none where it is none; it is read again only after a change. One that changed just now is not
    remembered: its time may not tell the next change."""
    try:
        changed_ns = folder.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return ()
    known_ns, known = _known.get((folder, suffix), (-1, ()))
    if known_ns == changed_ns:
        return known
    found = tuple(path for path in sorted(folder.glob(f"*{suffix}")) if path.is_file())
    if time.time_ns() - changed_ns > JUST_NOW_NS:
        _known[folder, suffix] = changed_ns, found
    return found


def find(where: str, name: str) -> Path | None:
    """The file `name` in the folders `where`: `find("templates/chips", "ador.chip")`.

    Raises `duplicate-name` where several folders have one.
    """
    found = [path for d in folders(where) if (path := d / name).is_file()]
    if len(found) > 1:
        message = f"`{found[1]}` has the name of another file"
        raise Diag(
            "duplicate-name", message, notes=[Note("the other one", _top(found[0]))], hint="rename one of the two"
        )
    return found[0] if found else None


def title(path: Path) -> str:
    """How messages call a file of a content folder: ours as in the project (`ir/ops/dense.dfir`), others in full."""
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def state() -> Iterable[bytes]:
    """Names and bytes of all content, ours and the plug-ins': what every answer about content follows from."""
    for base in (root(), *plugins()):
        yield os.fsencode(base)
        for where, inner, names in (entry for kind in KINDS for entry in os.walk(base / kind)):
            inner[:] = sorted(d for d in inner if d != "__pycache__")
            for name in sorted(names):
                path = Path(where, name)
                yield os.fsencode(path)
                yield path.read_bytes() if path.is_file() else b""


def module_name(path: Path) -> str:
    """The name under which a Python file of a content folder is imported."""
    for base in (root(), *plugins()):
        if path.is_relative_to(base):
            inside = path.relative_to(base).with_suffix("").parts
            return ".".join([__name__ if base == root() else _package(base), *inside])
    raise ValueError(f"{path} is in no content folder")


def _package(plugin: Path) -> str:
    return f"{__name__}.plugin_{hashlib.sha256(os.fsencode(plugin)).hexdigest()[:12]}"


def _used() -> list[Path]:
    listed = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    return [_checked(Path(p), f"a plug-in folder of ${VARIABLE}") for p in listed]


def _checked(folder: Path, what: str) -> Path:
    folder = folder.expanduser().resolve()
    wanted = ", ".join(f"`{k}/`" for k in KINDS)
    if not folder.is_dir():
        lacks = "is a file" if folder.exists() else "does not exist"
        raise Diag("no-such-plugin", f"{what} `{folder}` {lacks}", hint=f"name a folder that holds {wanted}")
    if not any((folder / kind).is_dir() for kind in KINDS):
        raise Diag("no-such-plugin", f"{what} `{folder}` holds no content", hint=f"it needs at least one of {wanted}")
    if os.pathsep in str(folder):
        raise Diag("no-such-plugin", f"{what} `{folder}` has `{os.pathsep}` in its path", hint="rename the folder")
    return folder


def _top(path: Path) -> Span:
    return Span(Source(str(path), ""), 1, 1, 2)


@functools.cache
def _installed() -> tuple[Path, ...]:
    from importlib.metadata import entry_points  # as slow as half of `dfc --help`, which needs no plug-ins

    return tuple(_folder_of(entry) for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda e: e.name))


def _folder_of(entry: EntryPoint) -> Path:
    what = f"the installed plug-in `{entry.name} = {entry.value}`"
    try:
        spec = importlib.util.find_spec(entry.module)
    except ImportError as error:
        raise Diag("no-such-plugin", f"{what} cannot be imported: {error}") from error
    if spec is None:
        raise Diag("no-such-plugin", f"{what} cannot be imported: no module `{entry.module}`")
    inside = list(spec.submodule_search_locations or [])
    return _checked(Path(inside[0]) if inside else Path(spec.origin or "").parent, f"the folder of {what}:")


class _PluginFinder:
    """Finds the package `dfcompiler.content.plugin_<hash>`; what is inside, Python finds by its path."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.rpartition(".")[0] != __name__ or not name.startswith(f"{__name__}.plugin_"):
            return None
        folder = next((d for d in plugins() if _package(d) == name), None)
        if folder is None:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec


__path__ = [str(root())]
sys.meta_path.append(_PluginFinder)
