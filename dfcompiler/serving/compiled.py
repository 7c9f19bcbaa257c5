"""Functions of the lazy engine, compiled by numba where it is installed: the same source runs without it.

What numba compiled is kept in the folder of `cache`, under the state of the engine's files: numba itself would not
notice that a function in another file has changed.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

from dfcompiler import cache
from dfcompiler.serving import admission, driving, gaps, interpolation, memory, queues, stepping
from dfcompiler.serving.layout import State

MODULES = (gaps, interpolation, queues, memory, admission, stepping, driving)

# Those that are called from Python.
CALLED = frozenset("drive land able spills spilled outstanding tokens load found tokens_generated queue_again".split())


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def kept() -> bool:
    """Whether an earlier run compiled the functions as they are now."""
    home = _home()
    return home is not None and next(home.rglob("*.nbc"), None) is not None


def _home() -> Path | None:
    home = cache.folder()
    return home / cache.engine() / "numba" if home else None


@functools.cache
def functions(compile_them: bool) -> Any:
    """The functions of all these modules by name, as they stand or compiled."""
    found: dict[str, FunctionType] = {}
    for module in MODULES:
        for name, f in _of(module):
            assert found.setdefault(name, f) is f, f"two functions are called {name}"
    return SimpleNamespace(**(_compiled(found) if compile_them else found))


def handle(state: State, compile_them: bool) -> Any:
    """What the functions take for a state: one of lists as it is, one of arrays as their addresses."""
    if not compile_them:
        return state
    from dfcompiler.serving.pointers import Pointers

    return Pointers(state)


def _of(module: ModuleType) -> list[tuple[str, FunctionType]]:
    """The functions that a module defines."""
    return [(n, f) for n, f in vars(module).items() if isinstance(f, FunctionType) and f.__module__ == module.__name__]


def _compiled(found: dict[str, FunctionType]) -> dict[str, Any]:
    """Copies of the functions that call each other's copies, compiled for the types that annotations say."""
    from numba import config

    home, before = _home(), config.CACHE_DIR
    if home is None:
        return _made(found, keep=False)
    config.CACHE_DIR = str(home)
    try:
        return _made(found, keep=True)
    except OSError:  # the folder is full, or was removed meanwhile
        return _made(found, keep=False)
    finally:
        config.CACHE_DIR = before


def _made(found: dict[str, FunctionType], *, keep: bool) -> dict[str, Any]:
    from numba import njit

    from dfcompiler.serving.pointers import signature

    made: dict[str, Any] = {}
    scope = {name: value for f in found.values() for name, value in f.__globals__.items()}
    for name, f in found.items():
        copy = FunctionType(f.__code__, scope, name, f.__defaults__)
        inside = name not in CALLED
        jit = njit(cache=keep, error_model="numpy", no_cpython_wrapper=inside, no_cfunc_wrapper=True)
        made[name] = scope[name] = jit(copy)
    for name, f in found.items():
        kinds = signature(f)
        if kinds is not None:
            made[name].compile(kinds)
    return made
