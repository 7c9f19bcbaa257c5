"""What a load is for one design: a step of a model on some devices, or requests, with all options as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.designs import known_of
from dfcompiler.explore.references import value
from dfcompiler.explore.space import Value
from dfcompiler.parallelism import Parallel
from dfcompiler.steps import Step, phase
from dfcompiler.text import tree as t

WORDS = ("phase", "dtype", "lengths")  # options that are names, quoted or not


@dataclass(frozen=True)
class Load:
    """The options of a load with their values."""

    model: str
    said: tuple[tuple[str, Value], ...]

    @property
    def options(self) -> Mapping[str, Value]:
        """The options by name."""
        return dict(self.said)

    def number(self, name: str, otherwise: int) -> int:
        """A whole number among the options. Raises Diag `bad-option`."""
        found = self.options.get(name, otherwise)
        if isinstance(found, str) or found != int(found):
            raise Diag("bad-option", f"`{name}` of a load of `{self.model}` wants a whole number, got {found}")
        return int(found)

    def real(self, name: str, otherwise: float = 0.0) -> float:
        """A number among the options. Raises Diag `bad-option`."""
        found = self.options.get(name, otherwise)
        if isinstance(found, str):
            raise Diag("bad-option", f"`{name}` of a load of `{self.model}` wants a number, got `{found}`")
        return float(found)

    @property
    def dtype(self) -> str | None:
        """The types of its numbers; None where they are as the checkpoint stores them."""
        found = self.options.get("dtype")
        return None if found is None else str(found)

    @property
    def parallel(self) -> Parallel:
        """How its devices share it out."""
        ways = {name: self.number(name, 1) for name in ("tp", "ep", "pp", "dp")}
        return Parallel(devices=self.number("devices", 1) if "devices" in self.options else None, **ways)

    @property
    def step(self) -> Step:
        """The step that it is; raises Diag as `steps.phase` does."""
        given = {n: self.number(n, 0) if n in self.options else None for n in ("batch", "seq", "context")}
        return phase(str(self.options.get("phase", "decode")), **given)


def load_at(load: t.SLoad, values: Mapping[str, Value]) -> Load:
    """The load where the axes have these values."""
    known = known_of(values)
    found: dict[str, Value] = {}
    for option in load.options:
        word = option.name in WORDS and isinstance(option.value, t.Ref) and option.value.name not in values
        found[option.name] = option.value.name if word else value(option.value, known).item()  # type: ignore[union-attr]
    return Load(load.model, tuple(sorted(found.items())))
