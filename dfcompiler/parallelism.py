"""How a step is shared out: so many ways of splitting sequences, experts, tensors and layers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dfcompiler.diagnostics import Diag, Source
from dfcompiler.pipeline import Pipeline, parse_pipeline, show_pipeline

# Devices come after these: types decide how many bytes are exchanged.
GRAPH_MAKERS = ("lower-model", "rewrite-same", "quantize")
SHARD = "shard"


@dataclass(frozen=True)
class Parallel:
    """Devices along each way of sharing out a step; `devices` is their product, or all of `tp` where nothing else is
    given.

    Raises Diag `bad-option` for numbers below 1 and for a product that is not `devices`.
    """

    devices: int | None = None
    tp: int = 1
    ep: int = 1
    dp: int = 1
    pp: int = 1

    def __post_init__(self) -> None:
        for name, n in (("devices", self.devices), *self.ways.items()):
            if n is not None and n < 1:
                raise Diag("bad-option", f"--{name} must be at least 1, got {n}")
        if self.devices is not None and max(self.ways.values()) == 1:
            object.__setattr__(self, "tp", self.devices)
        if self.devices not in (None, self.count):
            made = " x ".join(f"--{name} {n}" for name, n in self.ways.items() if n > 1)
            message = f"--devices {self.devices}: {made} makes {self.count}"
            rest, left = divmod(self.devices or 0, self.count // self.tp)
            fits = f"--tp {rest} would make {self.devices}" if not left else f"leave --devices out for {self.count}"
            raise Diag("bad-option", message, hint=fits)

    @property
    def ways(self) -> dict[str, int]:
        """Every way by name."""
        return {"tp": self.tp, "ep": self.ep, "dp": self.dp, "pp": self.pp}

    @property
    def count(self) -> int:
        """Devices in all."""
        return prod(self.ways.values())

    def inserted(self, pipeline: str) -> str:
        """The text of a pipeline with the passes that share the step out; as it is for one device.

        Raises what `parse_pipeline` raises, and Diag `bad-option` where the pipeline shares out itself.
        """
        given = parse_pipeline(Source("--pipeline", pipeline))
        shared = ",".join(f"{name}={n}" for name, n in self.ways.items() if n > 1)
        if not shared:
            return pipeline
        if any(p.name == SHARD for p in given):
            hint = "leave it or the options for several devices out"
            raise Diag("bad-option", f"the pipeline has a pass `{SHARD}` already", hint=hint)
        at = 1 + max((i for i, p in enumerate(given) if p.name in GRAPH_MAKERS), default=-1)
        parts = [show_pipeline(given[:at]), f"{SHARD}{{{shared}}}", show_pipeline(given[at:])]
        return ",".join(x for x in parts if x)


def settled(pipeline: Pipeline) -> int:
    """After how many passes it is known what a device holds."""
    return 1 + max((i for i, p in enumerate(pipeline) if p.name in (*GRAPH_MAKERS, SHARD)), default=0)
