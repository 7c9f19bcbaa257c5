"""What is given by name, by path or as it was made: models and chips; and all names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dfcompiler import content, registry
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.models import Model, library, load_model, model_names
from dfcompiler.pipeline import PIPELINES
from dfcompiler.text.parse import read_source

AnyModel: TypeAlias = Model | str | Path
AnyChip: TypeAlias = Chip | str | Path
Setting: TypeAlias = Mapping[str, str | int | float]


def _space_names() -> Sequence[str]:
    from dfcompiler.explore.space import space_names  # only who asks for them waits for what explores them

    return space_names()


_NAMES: dict[str, Callable[[], Sequence[str]]] = {
    "ops": lambda: sorted(library().ops),
    "models": model_names,
    "templates": lambda: registry.names("template"),
    "chips": chip_names,
    "spaces": _space_names,
    "passes": lambda: registry.names("pass"),
    "pipelines": lambda: list(PIPELINES),
    "policies": lambda: registry.names("policy"),
    "routers": lambda: registry.names("router"),
    "workloads": lambda: sorted(p.stem for p in content.files("ir", ".json", "workloads")),
}


def names(kind: str) -> list[str]:
    """The names of all `ops`, `models`, `templates`, `chips`, `spaces`, `passes`, `pipelines`, `policies`, `routers` or
    `workloads`, ours and those of plug-ins. Raises Diag `unknown-kind`."""
    if kind not in _NAMES:
        raise unknown("kind", kind, _NAMES)
    return list(_NAMES[kind]())


def model(spec: str | Path) -> Model:
    """A model by its name, a `config.json`, a folder with one, or a `.dfm` file. Raises what `load_model` raises."""
    return load_model(str(spec))


def chip(spec: str | Path, *, set: Setting | Sequence[str] = (), without: Sequence[str] = ()) -> Chip:
    """A chip by its name or from a `.chip` file.

    `set` changes it: `{"sa.rows": 128, "hbm.bandwidth": "3 TB/s"}`, or the texts `sa.rows=128` of the command line, of
    which the last for an axis wins; `without` leaves compute units out. Raises what `load_chip` raises.
    """
    texts = [f"{name}={value}" for name, value in set.items()] if isinstance(set, Mapping) else set
    return load_chip(str(spec), overrides(texts), without)


def graph_of(given: object) -> Graph | None:
    """A graph that was made, or of a `.dfir` file; None where it is neither. Raises what `parse_graph` raises."""
    if isinstance(given, str | Path) and Path(given).suffix == ".dfir":
        return parse_graph(read_source(given), library())
    return given if isinstance(given, Graph) else None


def model_of(given: AnyModel) -> Model:
    """A model that was made, or is named."""
    return given if isinstance(given, Model) else model(given)


def chip_of(given: AnyChip) -> Chip:
    """A chip that was made, or is named."""
    return given if isinstance(given, Chip) else chip(given)


def checked_seed(seed: int) -> int:
    """A seed of the solver; raises Diag `bad-option` where it takes none such."""
    if not 0 <= seed < 2**31:
        raise Diag("bad-option", f"--seed must be from 0 to {2**31 - 1}, got {seed}")
    return seed
