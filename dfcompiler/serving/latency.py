"""StepLatency: the compiled model as a table over what a step works on, kept between runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler import content
from dfcompiler.cache import kept
from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import Model
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.curves import Reach
from dfcompiler.serving.outlines import Setting, Sizes
from dfcompiler.serving.schedules import StepModel, direct_s, step_model
from dfcompiler.serving.table import StepTable

Floats = npt.NDArray[np.float64]
Axes: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
Table: TypeAlias = tuple[Axes, Floats, Floats]
PIPELINE = "list"  # a step is mapped without a solver
LINE = 0.004  # of a step's time: how far a table may be from what it tabulates along each axis
NONE = (0.0, 0.0)  # sequences that decode, and their context
FIRST = 2048  # prefill tokens, context: of a step that is mapped in full, at most


@dataclass(frozen=True)
class Error:
    """How far a table is from steps compiled by themselves: parts of their time, over so many random steps."""

    steps: int
    mean: float
    p95: float
    worst: float


@dataclass(frozen=True, eq=False)
class StepLatency:
    """The table of a model on a chip, up to `reach`; `error` where it was measured."""

    setting: Setting
    reach: Reach
    tokens: int
    axes: Axes
    values: Floats
    by_tokens: Floats
    error: Error | None = None

    def table(self, host_s: float, tokens_capacity: int) -> StepTable:
        """What engines look steps up in."""
        prefill, past, batch, context = self.axes
        return StepTable(prefill, past, batch, context, self.values, host_s, tokens_capacity, self.by_tokens)


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

    Raises Diag `bad-option` for stages of devices, and what compiling a step raises.
    """
    if parallel.pp > 1:
        raise Diag("bad-option", f"--pp {parallel.pp}: serving has no stages yet", hint="split with --tp")
    setting = Setting(model, chip, parallel, dtype, pipeline)
    plain = kept(content_of(setting, reach, tokens, check), lambda: _made(setting, reach, tokens, check))
    a, b, c, d = (np.array(a, dtype=np.int64) for a in plain["axes"])
    axes = a, b, c, d
    values = np.frombuffer(plain["values"]).reshape([len(a) for a in axes])
    error = Error(**plain["error"]) if plain["error"] else None
    return StepLatency(setting, reach, tokens, axes, values, np.frombuffer(plain["by_tokens"]), error)


def content_of(setting: Setting, reach: Reach, tokens: int, check: int) -> list[bytes]:
    """All that a table follows from."""
    m = setting.model
    said = (m.name, sorted(m.params.items()), m.quantization, setting.parallel, setting.dtype, setting.pipeline)
    asked = repr((said, reach, tokens, check)).encode()
    return [b"steps", setting.chip.fingerprint().encode(), asked, *content.state()]


def _made(setting: Setting, reach: Reach, tokens: int, check: int) -> dict[str, Any]:
    known = step_model(setting, reach, samples(setting.chip, reach))
    grid, values, by_tokens = tabulate(known, reach, tokens)
    made = StepLatency(setting, reach, tokens, grid, values, by_tokens)
    error = asdict(measured(made, check, seed=0)) if check else None
    plain = {"values": values.tobytes(), "by_tokens": by_tokens.tobytes(), "error": error}
    return plain | {"axes": [a.tolist() for a in grid]}


def samples(chip: Chip, reach: Reach) -> list[Sizes]:
    """The steps that are mapped in full. On one kind of unit one amid of what is asked for will do; of several kinds
    another one is the best for many sequences and long chunks."""
    chunk = max(1, min(FIRST, reach.prefill) // 4)
    amid = Sizes(chunk, min(chunk, reach.context), max(1, reach.batch // 16), max(1, min(FIRST, reach.context) // 2))
    large = amid._replace(prefill=max(1, reach.prefill * 3 // 4), batch=max(1, reach.batch * 3 // 4))
    return [amid] if len(chip.units) == 1 else [amid, large]


# ---- error -------------------------------------------------------------------------------------


def random_sizes(reach: Reach, tokens: int, count: int, seed: int) -> list[Sizes]:
    """Steps within reach, a third of each make: prefill, decode, both. Tokens and sequences are log-uniform, context is
    uniform; half of the mixed steps are filled up to the most tokens, as a budget does."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        prefill = int(math.exp(rng.uniform(0, math.log(reach.prefill)))) if i % 3 != 1 else 0
        batch = int(math.exp(rng.uniform(0, math.log(reach.batch)))) if i % 3 != 0 else 0
        if prefill and batch and i % 2:
            prefill = max(1, reach.prefill - batch)
        past = int(rng.integers(0, reach.context // 2 + 1)) if prefill and rng.random() < 0.5 else 0
        context = int(rng.integers(1, max(2, min(reach.context, tokens // batch)))) if batch else 0
        found.append(Sizes(prefill, past, batch, context))
    return found


def measured(made: StepLatency, count: int, seed: int) -> Error:
    """The error of a table at random steps, each of them compiled by itself."""
    table = made.table(0.0, made.tokens)
    found = []
    for s in random_sizes(made.reach, made.tokens, count, seed):
        direct = direct_s(made.setting, s)
        found.append(abs(table.step_s(s.prefill, s.past, s.batch, s.batch * s.context) / direct - 1))
    return Error(count, float(np.mean(found)), float(np.quantile(found, 0.95)), float(np.max(found)))


# ---- knots -------------------------------------------------------------------------------------


def tabulate(known: StepModel, reach: Reach, tokens: int) -> Table:
    """Knots, seconds, and seconds by tokens of a table up to `reach`, and to so many tokens in the caches of all that
    decode.

    What works on all tokens of a step is taken out first, and told for every number of them, where the rest is then
    closer to straight lines: on chips that run one op after the other.
    """
    every = np.arange(4 * (reach.prefill + reach.batch) + 1.0)
    found = [_tabulated(known, reach, tokens, by) for by in (known.on_tokens(every), np.zeros(1))]
    return min(found, key=lambda t: _blur(known, t, reach, tokens))


def _blur(known: StepModel, table: Table, reach: Reach, tokens: int) -> float:
    """The mean part by which a table is off what it tabulates, at steps as they come."""
    made = StepTable(*table[0], table[1], tokens=table[2])
    some = random_sizes(reach, tokens, 300, seed=1)
    seen = [made.step_s(s.prefill, s.past, s.batch, s.batch * s.context) for s in some]
    p, c, b, each = np.array(some, dtype=np.float64).T
    true = known.at(p, c, b, b * each)
    return float(np.mean(np.abs(seen / true - 1)))


def _tabulated(known: StepModel, reach: Reach, tokens: int, by_tokens: Floats) -> Table:
    """A table of what is left without what tokens add. Knots lie as far apart as straight lines between them stay
    within `LINE` of cuts through it."""

    def rest(p: Floats | float, c: Floats | float, b: Floats | float, t: Floats | float) -> Floats:
        at = np.minimum(np.asarray(p) + np.asarray(b), len(by_tokens) - 1).astype(np.int64)
        return np.asarray(np.maximum(known.at(p, c, b, t) - by_tokens[at], 0.0))

    prefill = np.arange(reach.prefill + 1.0)
    past = np.unique(np.geomspace(1, reach.context, 400).astype(np.int64)).astype(np.float64)
    batch = np.arange(1, reach.batch + 1.0)
    context = np.unique(np.geomspace(1, max(tokens, 2), 800).astype(np.int64)).astype(np.float64)
    few = [float(x) for x in np.unique(np.geomspace(1, reach.batch, 5).astype(np.int64))]
    some = [float(x) for x in np.unique(np.geomspace(16, reach.prefill, 4).astype(np.int64))]
    held = [float(x) for x in np.geomspace(reach.batch, tokens, 4)]
    beside = [(b, held[2]) for b in few[1:4]]  # what decodes beside a chunk
    found = (
        _knots(prefill[1:], [rest(prefill[1:], p, *d) for p in (0.0, reach.context / 4) for d in (NONE, *beside)]),
        _knots(past, [rest(p, past, *d) for p in some for d in (NONE, *beside[1:2])]),
        _knots(batch, [rest(p, 0.0, batch, c) for c in held for p in (0.0, *some[:3:2])]),
        _knots(context, [rest(p, 0.0, b, context) for b in few for p in (0.0, *some[:3:2])]),
    )
    first, second, third, fourth = (np.array([0, *a], dtype=np.int64) for a in found)
    axes = first, second, third, fourth
    p, c, b, t = (a.astype(np.float64) for a in axes)
    return axes, rest(p[:, None, None, None], c[:, None, None], b[:, None], t), by_tokens


def _knots(x: Floats, cuts: Sequence[Floats]) -> list[int]:
    """Of these coordinates few between which straight lines stay close to all cuts: each as far from the last as can be
    found by doubling and halving."""
    values = np.stack(cuts)
    found, last = [0], len(x) - 1
    while found[-1] < last:
        low, high = found[-1] + 1, found[-1] + 2
        while high <= last and _straight(x, values, found[-1], high):
            low, high = high, found[-1] + 2 * (high - found[-1])
        high = min(high, last + 1)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _straight(x, values, found[-1], middle) else (low, middle)
        found.append(low)
    return [int(x[i]) for i in found]


def _straight(x: Floats, values: Floats, a: int, b: int) -> bool:
    part = (x[a : b + 1] - x[a]) / (x[b] - x[a])
    line = values[:, a, None] + (values[:, b] - values[:, a])[:, None] * part
    return bool(np.all(np.abs(line - values[:, a : b + 1]) <= LINE * values[:, a : b + 1]))
