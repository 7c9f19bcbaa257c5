"""A compiler that maps large language models onto chips made of heterogeneous dataflow units.

`import dfcompiler as dfc` gives the functions and types of `__all__`; docs/python.md shows them. Each is imported when
it is first asked for, so that what needs none of them starts at once.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfcompiler.api import Compiled
    from dfcompiler.diagnostics import Diag, Infeasible
    from dfcompiler.explore.exploration import Exploration
    from dfcompiler.explore.space import Space
    from dfcompiler.hardware.chip import Chip
    from dfcompiler.models import Model
    from dfcompiler.pricing import Priced
    from dfcompiler.public.exploring import explore, report, space
    from dfcompiler.public.files import rtl, save
    from dfcompiler.public.given import chip, model, names
    from dfcompiler.public.mapping import compile, price
    from dfcompiler.public.measuring import validate
    from dfcompiler.public.serving import rank, serve, trace, workload
    from dfcompiler.serving.answers import Objectives
    from dfcompiler.serving.loads import Load
    from dfcompiler.serving.requests import Requests
    from dfcompiler.serving.runs import Run
    from dfcompiler.steps import Step, step
    from dfcompiler.validation import Validation

__version__ = "0.1.0"

__all__ = [
    "Chip",
    "Compiled",
    "Diag",
    "Exploration",
    "Infeasible",
    "Load",
    "Model",
    "Objectives",
    "Priced",
    "Requests",
    "Run",
    "Space",
    "Step",
    "Validation",
    "__version__",
    "chip",
    "compile",
    "explore",
    "model",
    "names",
    "price",
    "rank",
    "report",
    "rtl",
    "save",
    "serve",
    "space",
    "step",
    "trace",
    "validate",
    "workload",
]

_HOMES = {
    "dfcompiler.api": ("Compiled",),
    "dfcompiler.diagnostics": ("Diag", "Infeasible"),
    "dfcompiler.hardware.chip": ("Chip",),
    "dfcompiler.models": ("Model",),
    "dfcompiler.pricing": ("Priced",),
    "dfcompiler.explore.exploration": ("Exploration",),
    "dfcompiler.explore.space": ("Space",),
    "dfcompiler.public.exploring": ("explore", "report", "space"),
    "dfcompiler.public.files": ("rtl", "save"),
    "dfcompiler.public.given": ("chip", "model", "names"),
    "dfcompiler.public.mapping": ("compile", "price"),
    "dfcompiler.public.measuring": ("validate",),
    "dfcompiler.public.serving": ("rank", "serve", "trace", "workload"),
    "dfcompiler.serving.answers": ("Objectives",),
    "dfcompiler.serving.loads": ("Load",),
    "dfcompiler.serving.requests": ("Requests",),
    "dfcompiler.serving.runs": ("Run",),
    "dfcompiler.steps": ("Step", "step"),
    "dfcompiler.validation": ("Validation",),
}
_HOME_OF = {name: home for home, held in _HOMES.items() for name in held}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'dfcompiler' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """The package, where a function keeps its name although a module of that name (`rtl`) is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
