"""What serving spends: joules and dollars per million tokens.

The dynamic energy of a step is taken to grow straight with its prefill tokens, its sequences and their context, which
four compiled steps tell; a mixed step then counts the weights' way twice where it moves them once, so it is no less
than it would be compiled. What goes at rest goes all the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dfcompiler.api import compile_model
from dfcompiler.cache import kept
from dfcompiler.diagnostics import Infeasible
from dfcompiler.economics import Ownership, price, usd_per_million_tokens
from dfcompiler.power import static_w
from dfcompiler.serving.latency import StepLatency, content_of
from dfcompiler.serving.outlines import Sizes
from dfcompiler.serving.requests import Floats
from dfcompiler.serving.served import Served


@dataclass(frozen=True)
class StepEnergy:
    """Dynamic joules of a step on all devices: of each that prefills or decodes, per prefill token, per sequence, per
    token of context."""

    prefill_j: float
    token_j: float
    decode_j: float
    sequence_j: float
    context_j: float


@dataclass(frozen=True)
class Spending:
    """Per million generated tokens, of all devices; dollars are None where a device cannot be made, or has no price."""

    joules: float
    average_w: float
    usd: float | None


def step_energy(steps: StepLatency) -> StepEnergy:
    """From five compiled steps; kept between runs."""
    given = kept([b"energy", *content_of(steps.setting, steps.reach, steps.tokens, 0)], lambda: _joules(steps))
    return StepEnergy(*given)


def _joules(steps: StepLatency) -> list[float]:
    s, reach = steps.setting, steps.reach

    def dynamic(sizes: Sizes) -> float:
        found = compile_model(
            s.model, s.chip, sizes.step(), dtype=s.dtype, parallel=s.parallel, pipeline=s.pipeline
        ).report
        return found.energy_j - found.static_j

    p, b, c = max(2, min(1024, reach.prefill)), max(2, min(16, reach.batch)), max(2, min(2048, reach.context) // 2)
    less, more = dynamic(Sizes(p // 2, 0, 0, 0)), dynamic(Sizes(p, 0, 0, 0))
    few, many, longer = (dynamic(Sizes(0, 0, *x)) for x in ((b // 2, c), (b, c), (b, 2 * c)))
    token, context = (more - less) / (p - p // 2), (longer - many) / (b * c)
    sequence = (many - few) / (b - b // 2) - context * c
    return [more - token * p, token, many - b * (sequence + context * c), sequence, context]


@dataclass(frozen=True)
class Spender:
    """Replicas of one kind, and the steps that they make."""

    steps: StepLatency
    replicas: int

    @property
    def devices(self) -> int:
        """Devices of all of them."""
        return self.steps.setting.parallel.count * self.replicas

    def dynamic_j(self, rows: Mapping[str, Floats]) -> float:
        """Joules of the steps that these rows of a series tell, what goes at rest aside. With stages of devices every
        micro-batch of a step moves the weights."""
        e, x, batches = step_energy(self.steps), rows, self.steps.setting.parallel.pp
        grown = x["context"] + x["batch"] * (x["steps"] - 1) / 2  # the mean of a run of steps
        chunks, sequences = np.minimum(x["prefill"], batches), np.minimum(x["batch"], batches)
        decode = sequences * e.decode_j + x["batch"] * e.sequence_j + grown * e.context_j
        return float(np.sum(chunks * e.prefill_j + x["prefill"] * e.token_j + x["steps"] * decode))


def spending(spenders: Sequence[Spender], served: Served, tokens: int, duration_s: float) -> Spending | None:
    """Energy of a run and its dollars per million of its tokens, of pools in the order of their replicas' numbers; None
    where the run kept no series or made nothing."""
    if served.series is None or not tokens or duration_s <= 0:
        return None
    number = served.series.column("replica")
    each = {n: served.series.column(n) for n in ("steps", "prefill", "batch", "context")}
    joules, first = 0.0, 0
    for s in spenders:
        mine = (number >= first) & (number < first + s.replicas)
        joules += s.dynamic_j({n: x[mine] for n, x in each.items()})
        joules += s.devices * static_w(s.steps.setting.chip) * duration_s
        first += s.replicas
    watts = joules / duration_s
    return Spending(joules / tokens * 1e6, watts, _usd(spenders, watts, tokens / duration_s))


def _usd(spenders: Sequence[Spender], watts: float, tokens_per_s: float) -> float | None:
    try:
        made = sum(price(s.steps.setting.chip).usd * s.devices for s in spenders)
    except Infeasible:
        return None
    kept_busy = Ownership(utilisation=1.0, busy_w=watts, idle_w=0.0)  # what the served trace leaves idle is in both
    return float(usd_per_million_tokens(made, tokens_per_s, kept_busy))
