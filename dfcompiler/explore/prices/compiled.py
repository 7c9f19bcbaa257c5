"""The sweep over tilings: compiled by numba where it is installed, else in numpy; the answers are the same.

What numba compiled is kept in the folder of `cache`, under the state of the engine's files: numba itself would not
notice that a function which another calls has changed.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeAlias

from dfcompiler import cache
from dfcompiler.explore.prices import kernel, sweep
from dfcompiler.explore.prices.layout import one_tile

Lower: TypeAlias = Callable[..., int]


def available() -> bool:
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def lower(compile_it: bool) -> Lower:
    """`kernel.lower` compiled, which leaves other threads to run, or `sweep.lower`."""
    return _kept() if compile_it else sweep.lower


def _kept() -> Lower:
    from numba import config

    home, before = cache.folder(), config.CACHE_DIR
    if home is None:
        return _made(keep=False)
    config.CACHE_DIR = str(home / cache.engine() / "numba")
    try:
        return _made(keep=True)
    except OSError:  # the folder is full, or was removed meanwhile
        return _made(keep=False)
    finally:
        config.CACHE_DIR = before


def _made(*, keep: bool) -> Lower:
    """Copies of the kernel's functions that call each other's copies."""
    from numba import njit

    found = {n: f for n, f in vars(kernel).items() if isinstance(f, FunctionType) and f.__module__ == kernel.__name__}
    scope: dict[str, Any] = dict(vars(kernel))
    for name, f in found.items():
        scope[name] = njit(FunctionType(f.__code__, scope, name), cache=keep, error_model="numpy", nogil=True)
    made: Lower = scope["lower"]
    made(*one_tile())  # compiles all of them: what is wrong with the folder shows here, and not in mid-run
    return made
