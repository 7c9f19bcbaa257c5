"""Figures of one design in full: its chip elaborated, its steps compiled, its requests served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import numpy as np

from dfcompiler.api import Compiled, compile_model
from dfcompiler.economics import price
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.loads import Load, load_at
from dfcompiler.explore.plans import PIPELINE, own_chip, plan
from dfcompiler.explore.references import Array, value
from dfcompiler.explore.served import served
from dfcompiler.explore.space import DESIGN, SERVED, Pool, Value
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import load_model
from dfcompiler.power import peak_w, static_w

REMEMBERED = 4096  # loads on chips in one process


def compiled(load: Load, chip: Chip, pipeline: str = PIPELINE, seed: int = 0) -> Compiled:
    """The step of a load on a chip. Raises what `compile_model` raises."""
    return compile_model(
        load_model(load.model),
        chip,
        load.step,
        dtype=load.dtype,
        parallel=load.parallel,
        pipeline=pipeline,
        seed=seed,
    )


@dataclass
class Mapped:
    """Figures of one design of a pool, each computed when it is first asked for. What a device costs is by `process`:
    constants that are so many times what they are (`Tech.but`)."""

    pool: Pool
    values: Mapping[str, Value]
    pipeline: str = PIPELINE
    process: Mapping[str, float] = field(default_factory=dict)
    _held: dict[tuple[str, ...], Array] = field(default_factory=dict)
    _chip: Chip | None = None

    @property
    def chip(self) -> Chip:
        """The chip; raises what `chip_at` raises."""
        if self._chip is None:
            self._chip = chip_at(self.pool, self.values)
        return self._chip

    def figure(self, path: tuple[str, ...]) -> Array:
        """A figure by its name within the pool. Raises Infeasible where the design has none."""
        if path not in self._held:
            self._held[path] = self._found(path)
        return self._held[path]

    def _step(self, load: Load) -> Mapping[str, float]:
        gone = own_chip(self.pool.chip, frozenset()).units.keys() - self.chip.units.keys()
        return _step(load, self.chip, own_chip(self.pool.chip, frozenset(gone)), self.pipeline)

    def _found(self, path: tuple[str, ...]) -> Array:
        name = path[0]
        if name in self.values:
            return np.asarray(self.values[name])
        if name in self.pool.lets:
            return value(self.pool.lets[name].value, self.figure)
        if name in DESIGN:
            return np.asarray(design_figure(under(self.chip, self.process), name))
        load = load_at(self.pool.loads[name], self.values)
        found = _felt(load, self.chip) if path[1] in SERVED else self._step(load)
        self._held |= {(name, figure): np.asarray(x, dtype=np.float64) for figure, x in found.items()}
        return self._held[path]


@lru_cache(maxsize=REMEMBERED)
def _step(load: Load, chip: Chip, base: Chip, pipeline: str) -> Mapping[str, float]:
    """The figures of `STEP`: points that differ in what these do not read, such as servers, share them."""
    return asdict(plan(load, base, pipeline).on(chip))


@lru_cache(maxsize=REMEMBERED)
def _felt(load: Load, chip: Chip) -> Mapping[str, float]:
    return served(load, chip)


def under(chip: Chip, process: Mapping[str, float]) -> Chip:
    """A chip whose constants of its process are so many times what they are, where it is built already: energies of
    its memories stay."""
    return replace(chip, tech=chip.tech.but(process)) if process else chip


def design_figure(chip: Chip, name: str) -> float:
    """What one device is, whatever it runs; raises Infeasible `beyond-reticle` for the price of a die too large."""
    match name:
        case "area_mm2":
            return chip.area_mm2()["total"]
        case "die_mm2":
            return chip.die_mm2()
        case "usd":
            return price(chip).usd
        case "static_w":
            return static_w(chip)
        case "peak_w":
            return peak_w(chip)
        case "dram_bytes":
            return chip.dram_capacity_bytes
        case "dram_bytes_per_s":
            return chip.dram_bytes_per_s
        case "link_bytes_per_s":
            return chip.link_bytes_per_s
    raise KeyError(name)
