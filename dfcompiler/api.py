"""A step of a model on a chip, mapped and reported; one op at its best price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from dfcompiler.cost import check_capacity, check_resident, roofline
from dfcompiler.diagnostics import Diag, Note, Source, unknown
from dfcompiler.dtypes import DtypeMap, parse_dtypes
from dfcompiler.frames import Columns, Tabular
from dfcompiler.goals import OBJECTIVES
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.layers import layer_count
from dfcompiler.models import Model
from dfcompiler.parallelism import Parallel, settled
from dfcompiler.pipeline import PIPELINES, Context, Pipeline, parse_pipeline, run_pipeline, show_pipeline
from dfcompiler.report import Report, report
from dfcompiler.resizing import equivalent_on_devices, shrink_alike
from dfcompiler.steps import Step
from dfcompiler.tables import facts, op_columns, title

# Of a price, what is a number or a name.
PRICED = "op chip unit latency_s compute_s memory_s cycles utilization bound candidates seconds".split()


@dataclass(frozen=True)
class Compiled(Tabular):
    """A mapped graph with its report, and what it was mapped for. Its table has a row per scheduled group of ops."""

    graph: Graph
    chip: Chip
    report: Report
    context: Context

    def title(self) -> str:
        """Model, chip and step."""
        return title(self.report)

    def facts(self) -> Mapping[str, str]:
        """The figures that are looked at first."""
        return facts(self.report)

    def columns(self) -> Columns:
        """A row per scheduled group of ops, in the order of the report."""
        return op_columns(self.report.ops)


def compile_model(
    model: Model,
    chip: Chip,
    step: Step,
    *,
    dtype: str | None = None,
    parallel: Parallel = Parallel(),
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
    """Map one step of a model onto a chip, or onto several of them as `parallel` says: what is mapped and reported then
    is one device. Without a `dtype` numbers are as the checkpoint stores them, bf16 where it says nothing.

    Raises Diag for bad input, and Infeasible where the model does not fit or no unit can run an op.
    """
    limits = Limits(objective, power_w, time_limit_s, seed, verify)
    ctx = replace(context(model, chip, step, dtype), on_note=on_note, on_progress=on_progress)
    passes = parse_pipeline(Source("--pipeline", parallel.inserted(pipeline)))
    stored = ctx.stored and model.quantization is not None
    said = f"as stored ({model.quantization.method})" if stored and model.quantization else dtype or "w16a16kv16"
    about = About(step.describe(), step.tokens, said, layer_count(model))
    return _compiled(Graph(model.name), passes, ctx, limits, about, after)


def compile_graph(
    graph: Graph,
    chip: Chip,
    *,
    dtype: str = "w16a16kv16",
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
    """Map a graph onto a chip, by the passes of a pipeline that do not write a graph themselves. Types of values are
    those of the graph; `dtype` says those of sums and of what passes make.

    Raises as `compile_model` does.
    """
    limits = Limits(objective, power_w, time_limit_s, seed, verify)
    ctx = Context(dtypes=parse_dtypes(dtype), chip=chip, on_note=on_note, on_progress=on_progress)
    passes = tuple(p for p in parse_pipeline(Source("--pipeline", pipeline)) if not p.lowers)
    return _compiled(graph, passes, ctx, limits, About("a graph", 0, "types as written", 0), after)


@dataclass(frozen=True)
class Limits:
    """What a mapping is to be best at, and within what; raises Diag `unknown-objective`, `bad-option`."""

    objective: str
    power_w: float | None
    time_limit_s: float
    seed: int
    verify: bool

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise unknown("objective", self.objective, OBJECTIVES)
        if self.power_w is not None and not 0 < self.power_w < inf:
            raise Diag("bad-option", f"the power must be positive, got {self.power_w} W")
        if not 0 < self.time_limit_s < inf:
            raise Diag("bad-option", f"the time limit must be positive, got {self.time_limit_s}")


@dataclass(frozen=True)
class About:
    """What a report says of the input: the step in words, its tokens (0: no step of a model), number types in words,
    layers of the model."""

    step: str
    tokens: int
    dtype: str
    layers: int


def _compiled(
    start: Graph,
    passes: Pipeline,
    ctx: Context,
    limits: Limits,
    about: About,
    after: Callable[[str, Graph, float], None] | None,
) -> Compiled:
    """Run the passes on a graph, an empty one where the first of them writes it, and report."""
    chip: Chip = ctx.need("chip")
    ctx = replace(
        ctx, objective=limits.objective, power_w=limits.power_w, seed=limits.seed, time_limit_s=limits.time_limit_s
    )
    if not any(p.maps for p in passes):
        hint = f"a whole one is `{PIPELINES['default']}`; `dfc opt` runs a few passes on a graph"
        raise Diag("missing-input", f"the pipeline `{show_pipeline(passes)}` ends without a mapping", hint=hint)
    previous = whole = start
    done = 0

    def watch(name: str, graph: Graph, seconds: float) -> None:
        nonlocal previous, whole, done
        if limits.verify and previous.nodes:
            check_pass(name, previous, graph, ctx, whole)
        if not graph.mesh:
            whole = graph
        previous, done = graph, done + 1
        if done == settled(passes):
            check_capacity(graph, chip)
        if after:
            after(name, graph, seconds)

    graph, seconds = run_pipeline(passes, start, ctx, after=watch)
    check_resident(graph, chip)
    found = report(
        graph,
        chip,
        step=about.step,
        tokens=about.tokens,
        dtype=about.dtype,
        capacity=check_capacity(graph, chip),
        limit=roofline(graph, chip, ctx.need("dtypes")),
        seconds=seconds,
        layer_count=about.layers,
    )
    return Compiled(graph, chip, found, ctx)


def context(model: Model, chip: Chip, step: Step, dtype: str | None = None) -> Context:
    """What passes may know of one step of a model on a chip. Without a `dtype` numbers are as the checkpoint stores
    them, bf16 where it says nothing."""
    stored = model.quantization if dtype is None else None
    dtypes = DtypeMap(kv=stored.kv or "bf16") if stored else parse_dtypes(dtype or "w16a16kv16")
    return Context(model, step, dtypes, chip, stored=stored is not None)


def check_pass(name: str, before: Graph, after: Graph, ctx: Context | None = None, whole: Graph | None = None) -> None:
    """Run both graphs, and what the second offers or places as one op, on small random shapes; and, with a
    context, every op that the pass mapped, tile by tile. On devices it is `whole` that the second is compared with, the
    last graph of one device.

    Raises Diag `wrong-pass` where the graphs differ, `wrong-nest` where a mapped op does from its text or its price.
    """
    from dfcompiler.audit import audit, chosen  # only who verifies waits for what runs graphs
    from dfcompiler.verify import check_groups, equivalent, shrink

    if after.mesh:
        whole = whole or before
        difference, small = equivalent_on_devices(whole, after), shrink_alike(whole, after)[1]
    else:
        small = shrink(after)
        difference = equivalent(shrink(before), small)
    difference = difference or check_groups(small)
    if difference:
        raise Diag("wrong-pass", f"the pass `{name}` changed what the graph computes: {difference}")
    if ctx is not None and after.mapping is not None and chosen(after) != chosen(before):
        ctx.note(f"verified: {audit(after, ctx.need('chip'), ctx.need('dtypes'), small=small, seed=ctx.seed)}")
