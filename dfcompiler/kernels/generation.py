"""A generation of kernels: the constants of `templates/kernels/NAME.toml`, every one with its source.

A file either has the constants, or is `like` another generation: the same kernels, or, with `macs_per_clock`, kernels
that a vendor will have balanced for a tensor core so much faster than that other one's (our estimate).
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from dfcompiler import content
from dfcompiler.cache import kept
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.kernels.contraction import ContractionKernels
from dfcompiler.kernels.decode import DecodeKernels
from dfcompiler.kernels.elementwise import ElementwiseKernels
from dfcompiler.kernels.grouped import GroupedKernels
from dfcompiler.kernels.prefill import PrefillKernels

BALANCED = ("step_clocks", "epilogue_clocks")  # of a contraction: shrink as the tensor core grows
DELIVERED = ("l2_efficiency",)  # of a contraction: grows with it


@dataclass(frozen=True)
class Scale:
    """How a chip differs from where its kernels were fitted, in what no data sheet tells: factors, 1 where not.
    `tensor` is that of all that kernels do inside of an SM."""

    launch: float = 1.0
    tensor: float = 1.0
    dram: float = 1.0


@dataclass(frozen=True)
class Generation:
    """All kernels of one generation. `macs_per_clock` is the tensor core on which they were fitted, at 16 bit."""

    name: str
    macs_per_clock: float
    contraction: ContractionKernels
    narrow: ContractionKernels  # of operands of 8 bits and less: those of 16 where a file has no others
    prefill: PrefillKernels
    decode: DecodeKernels
    grouped: GroupedKernels
    elementwise: ElementwiseKernels

    def balanced(self, name: str, macs_per_clock: float) -> Generation:
        """These kernels on another tensor core: a step and an epilogue of the vendor's contractions keep their
        proportion to it. Experts have no such library: Triton's pipeline is of as many stages on any chip, and the
        latency of a step stays what it is in clocks."""
        by = self.macs_per_clock / macs_per_clock

        def products(kernels: ContractionKernels) -> ContractionKernels:
            shrunk = {f: getattr(kernels, f) * by for f in BALANCED}
            return dataclasses.replace(kernels, **shrunk, **{f: getattr(kernels, f) / by for f in DELIVERED})

        return dataclasses.replace(
            self,
            name=name,
            macs_per_clock=macs_per_clock,
            contraction=products(self.contraction),
            narrow=products(self.narrow),
        )

    def scaled(self, scale: Scale) -> Generation:
        """These kernels with launches, tensor cores and DRAM as a calibration found them."""
        if scale == Scale():
            return self
        by = {"launch_us": scale.launch, "launch_clocks": scale.launch, "dram_efficiency": scale.dram}
        by |= dict.fromkeys((*DELIVERED, "tensor_efficiency"), scale.tensor)
        by |= dict.fromkeys((*BALANCED, "cta_us"), 1 / scale.tensor)
        kinds = {}
        for kind in FAMILIES:
            family = getattr(self, kind)
            has = {f.name for f in dataclasses.fields(family)} & set(by)
            has -= set() if kind in ("contraction", "narrow") else set(DELIVERED)
            kinds[kind] = dataclasses.replace(family, **{f: getattr(family, f) * by[f] for f in has})
        return dataclasses.replace(self, **kinds)


FAMILIES: dict[str, type[Any]] = {
    "contraction": ContractionKernels,
    "narrow": ContractionKernels,
    "prefill": PrefillKernels,
    "decode": DecodeKernels,
    "grouped": GroupedKernels,
    "elementwise": ElementwiseKernels,
}


def generations() -> tuple[str, ...]:
    """Names of all generations that have a file."""
    return tuple(sorted({p.stem for p in content.files("templates", ".toml", "kernels")}))


@cache
def load_generation(name: str) -> Generation:
    """The kernels of a generation. Raises Diag `unknown-kernels`, `bad-kernels`."""
    path = content.find("templates/kernels", f"{name}.toml")
    if path is None:
        raise unknown("kernels", name, generations())
    text = path.read_text(encoding="utf-8")
    where = Span(Source(str(path), text), 1, 1, 2)
    try:
        raw = kept([text.encode()], lambda: tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Diag("bad-kernels", f"not TOML: {error}", where) from error
    return read_generation(name, raw, where)


def read_generation(name: str, raw: dict[str, Any], where: Span | None = None) -> Generation:
    """A generation from tables as `tomllib` gives them. Raises Diag `bad-kernels`, `unknown-kernels`."""
    if "like" in raw:
        base = load_generation(str(raw["like"]))
        macs = raw.get("macs_per_clock")
        return dataclasses.replace(base, name=name) if macs is None else base.balanced(name, float(macs))
    macs = raw.get("macs_per_clock")
    if not isinstance(macs, int | float) or not macs > 0:
        raise Diag("bad-kernels", "`macs_per_clock` must be a positive number", where)
    raw = {"narrow": raw.get("contraction"), **raw}
    kinds = {kind: _family(kind, family, raw.get(kind), where) for kind, family in FAMILIES.items()}
    return Generation(name, float(macs), **kinds)


def _family(kind: str, family: type[Any], raw: object, where: Span | None) -> Any:
    fields = [f.name for f in dataclasses.fields(family)]
    if not isinstance(raw, dict) or set(raw) != set(fields):
        given = set(raw) if isinstance(raw, dict) else set()
        wrong = ", ".join(f"`{x}`" for x in sorted(set(fields) ^ given))
        raise Diag("bad-kernels", f"`{kind}` has too much or too little: {wrong}", where)
    return family(**{f: _value(f"{kind}.{f}", raw[f], where) for f in fields})


def _value(name: str, entry: object, where: Span | None) -> float | tuple[Any, ...]:
    value, source = (entry.get("value"), entry.get("source")) if isinstance(entry, dict) else (None, None)
    if not isinstance(source, str) or not source:
        raise Diag("bad-kernels", f'`{name}` must be {{ value = ..., source = "..." }}', where)
    if isinstance(value, list):
        return tuple(tuple(float(x) for x in row) if isinstance(row, list) else float(row) for row in value)
    if not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise Diag("bad-kernels", f"`{name}` must be a number that is not negative", where)
    return float(value)
