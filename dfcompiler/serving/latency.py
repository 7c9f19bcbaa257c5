"""StepLatency: the compiled model as a table over what a step works on, kept between runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dfcompiler import content
from dfcompiler.cache import kept
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import Model
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.curves import Reach
from dfcompiler.serving.outlines import Setting
from dfcompiler.serving.sampling import random_sizes, samples
from dfcompiler.serving.schedules import direct_s, step_model
from dfcompiler.serving.table import StepTable, from_plain, to_plain
from dfcompiler.serving.tabulation import tabulate

PIPELINE = "list"  # a step is mapped without a solver


@dataclass(frozen=True)
class Error:
    """How far a table is from steps compiled by themselves: parts of their time, over so many random steps."""

    steps: int
    mean: float
    p95: float
    worst: float


@dataclass(frozen=True, eq=False)
class StepLatency:
    """The steps of a model on a chip, up to `reach` and to so many `tokens` in all caches; `error` where it was
    measured."""

    setting: Setting
    reach: Reach
    tokens: int
    steps: StepTable
    error: Error | None = None

    def table(self, host_s: float, tokens_capacity: int) -> StepTable:
        """What engines look steps up in."""
        return replace(self.steps, host_s=host_s, tokens_capacity=tokens_capacity)


def step_latency(
    model: Model,
    chip: Chip,
    reach: Reach,
    tokens: int,
    *,
    parallel: Parallel = Parallel(),
    dtype: str | None = None,
    pipeline: str = PIPELINE,
    check: int = 0,
) -> StepLatency:
    """Tabulate the steps of a model on a chip: `tokens` are what the caches of all that decode hold at most. With
    `check` so many random steps are compiled by themselves as well, which takes about a second each.

    On stages of devices a step is a round of as many micro-batches. Raises what compiling a step raises.
    """
    setting = Setting(model, chip, parallel, dtype, pipeline)
    plain = kept(content_of(setting, reach, tokens, check), lambda: _made(setting, reach, tokens, check))
    error = Error(**plain["error"]) if plain["error"] else None
    return StepLatency(setting, reach, tokens, from_plain(plain["steps"]), error)


def content_of(setting: Setting, reach: Reach, tokens: int, check: int) -> list[bytes]:
    """All that a table follows from."""
    m = setting.model
    said = (m.name, sorted(m.params.items()), m.quantization, setting.parallel, setting.dtype, setting.pipeline)
    asked = repr((said, reach, tokens, check)).encode()
    return [b"steps", setting.chip.fingerprint().encode(), asked, *content.state()]


def _made(setting: Setting, reach: Reach, tokens: int, check: int) -> dict[str, Any]:
    steps = tabulated(setting, reach, tokens)
    error = asdict(measured(steps, check, seed=0)) if check else None
    return {"steps": to_plain(steps.steps), "error": error}


def tabulated(setting: Setting, reach: Reach, tokens: int) -> StepLatency:
    """The table, made anew."""
    stages = setting.parallel.pp
    mine = reach.part(stages)
    known = step_model(setting, mine, samples(setting.chip, mine))
    steps = tabulate(known, mine, max(1, tokens // stages))
    return StepLatency(setting, reach, tokens, replace(steps, stages=stages))


def measured(made: StepLatency, count: int, seed: int) -> Error:
    """The error of a table at random steps, each of them compiled by itself."""
    table = made.table(0.0, made.tokens)
    found = []
    for s in random_sizes(made.reach, made.tokens, count, seed):
        direct = direct_s(made.setting, s)
        found.append(abs(table.step_s(s.prefill, s.past, s.batch, s.batch * s.context) / direct - 1))
    return Error(count, float(np.mean(found)), float(np.quantile(found, 0.95)), float(np.max(found)))
