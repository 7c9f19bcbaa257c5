"""A step of a model, and one op, on a chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from dfcompiler.api import Compiled, compile_graph, compile_model
from dfcompiler.diagnostics import Diag, Note
from dfcompiler.graph import Graph
from dfcompiler.parallelism import Parallel
from dfcompiler.pricing import Priced, price_op
from dfcompiler.public.given import AnyChip, AnyModel, checked_seed, chip_of, graph_of, model_of
from dfcompiler.steps import Step
from dfcompiler.steps import phase as phase_of

Size: TypeAlias = float | Sequence[float]


def compile(
    model: AnyModel | Graph,
    chip: AnyChip,
    step: Step | str = "prefill",
    *,
    batch: int | None = None,
    seq: int | None = None,
    context: int | None = None,
    dtype: str | None = None,
    devices: int | None = None,
    tp: int = 1,
    ep: int = 1,
    dp: int = 1,
    pp: int = 1,
    pipeline: str = "default",
    objective: str = "latency",
    power_w: float | None = None,
    time_limit_s: float = 60.0,
    seed: int = 0,
    verify: bool = False,
    on_note: Callable[[Note], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    after: Callable[[str, Graph, float], None] | None = None,
) -> Compiled:
    """Map one step of a model onto a chip: `prefill`, `decode` or `mixed` with `batch`, `seq` and `context` as
    `--phase` has them, or any step that `dfcompiler.steps.step` makes; or a graph, which has its own sizes, made or in
    a `.dfir` file.

    `devices`, `tp`, `ep`, `dp`, `pp` split it over several chips. `after(name, graph, seconds)` sees the graph behind
    each pass, `on_note` hears what passes remark, `on_progress` how much of a pass is done, and of how much. Raises
    what `compile_model` raises, and Diag `bad-option`.
    """
    sized, parallel = (batch, seq, context) != (None, None, None), Parallel(devices, tp, ep, dp, pp)
    how: dict[str, Any] = {
        "pipeline": pipeline,
        "objective": objective,
        "power_w": power_w,
        "time_limit_s": time_limit_s,
        "seed": checked_seed(seed),
        "verify": verify,
        "on_note": on_note,
        "on_progress": on_progress,
        "after": after,
    }
    graph = graph_of(model)
    if graph is not None:
        if sized or parallel.count > 1:
            message = "a graph has its own sizes and is of one device"
            raise Diag("bad-option", message, hint="batch, seq, context and devices are for models")
        return compile_graph(graph, chip_of(chip), dtype=dtype or "w16a16kv16", **how)
    if isinstance(step, Step) and sized:
        raise Diag("bad-option", "a step that is made has its own batch, seq and context")
    assert not isinstance(model, Graph)
    work = step if isinstance(step, Step) else phase_of(step, batch, seq, context)
    return compile_model(model_of(model), chip_of(chip), work, dtype=dtype, parallel=parallel, **how)


def price(
    op: str, sizes: Mapping[str, Size], chip: AnyChip, *, dtype: str = "w16a16kv16", unit: str | None = None
) -> Priced:
    """The best tiling of one op over all units of a chip (or on `unit`): `price("linear", {"t": (1, 2048), "k": 4096,
    "n": 4096}, "ador")`. Raises what `price_op` raises."""
    given = {name: tuple(size) if isinstance(size, Sequence) else (size,) for name, size in sizes.items()}
    return price_op(op, given, chip_of(chip), dtype=dtype, unit=unit)
