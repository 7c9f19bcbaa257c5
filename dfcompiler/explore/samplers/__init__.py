"""Samplers by name: `sampler("random", scene, seed)`. Which modules they need is known only when one is asked for."""

from __future__ import annotations

import importlib

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore.samplers.sampler import Sampler, Scene, registered

DEFAULT = "nearing"

# The module of this package that defines a sampler, and the extra that it needs.
MODULES = {
    "all": ("plain", ""),
    "random": ("plain", ""),
    "nearing": ("nearing", ""),
    "screened": ("screened", ""),
    "sobol": ("sobol", "sobol"),
    "llmshare": ("llmshare", "llmshare"),
    "nsga2": ("nsga2", "nsga2"),
    "gp-ehvi": ("gp_ehvi", "gp-ehvi"),
}

__all__ = ["DEFAULT", "MODULES", "Sampler", "Scene", "names", "sampler"]


def names() -> list[str]:
    """Every sampler that can be asked for, sorted."""
    return sorted({*MODULES, *registered()})


def sampler(name: str, scene: Scene, seed: int) -> Sampler:
    """A sampler that has been told nothing yet. Raises `unknown-sampler`, and `missing-extra` where it needs one."""
    if name in MODULES and name not in registered():
        module, extra = MODULES[name]
        try:
            importlib.import_module(f"{__name__}.{module}")
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").startswith("dfcompiler"):
                raise
            message = f"the sampler `{name}` needs the package `{error.name}`"
            raise Diag("missing-extra", message, hint=f"pip install 'dfcompiler[{extra}]'") from error
    if name not in registered():
        raise unknown("sampler", name, names())
    return registered()[name](scene, seed)
