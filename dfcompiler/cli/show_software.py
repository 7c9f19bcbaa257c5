"""Models, operators, passes and pipelines for people."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

from rich.text import Text

from dfcompiler import registry
from dfcompiler.census import census, declared
from dfcompiler.cli import display
from dfcompiler.cli.display import Column, capacity, large
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.facts import Facts, facts
from dfcompiler.graph import Graph
from dfcompiler.models import Library, Model, library
from dfcompiler.opshape import bind
from dfcompiler.parameters import Names, Value, shown
from dfcompiler.pipeline import (
    PIPELINES,
    Context,
    Pass,
    options,
    parse_pipeline,
    run_pipeline,
)
from dfcompiler.pipeline import show_pipeline as pipeline_text
from dfcompiler.steps import phase
from dfcompiler.text import tree as t
from dfcompiler.text.show import show
from dfcompiler.text.show_expressions import comma, show_expr, show_rel

TOKENS = 1024  # of the step by which the KV cache is measured


def show_model(model: Model) -> None:
    """A model: where it comes from, parameters, weights, KV cache."""
    graph, _ = run_pipeline(
        parse_pipeline(Source("show", "lower-model")),
        Graph(model.name),
        Context(model=model, step=phase("prefill", 1, TOKENS, 0), dtypes=parse_dtypes("w16a16kv16"), stored=True),
    )
    weights = census(graph)
    size = sum(x.type.bytes * n for x, n in declared(graph.body, 1) if x.kind == "weight")
    states = sum(x.type.bytes * n for x, n in declared(graph.body, 1) if x.kind == "state") / TOKENS
    layers = _layers(model.family.body, Names(model.config, dict(model.params)))
    display.heading(f"model {model.name}")
    architectures = f" ({', '.join(r.name for r in model.family.readers)})" if model.family.readers else ""
    display.facts(
        [
            ("family", f"{model.family.name}{architectures}, declared in {model.family.span}"),
            ("weights", f"{large(weights.total, '')} ({weights.total:,}), {large(2 * weights.total, 'B')} at 16 bit"),
            *([("active", f"{large(weights.active, '')} per token")] if weights.active < weights.total else []),
            *([("stored", f"{large(size, 'B')} by {how.method}")] if (how := model.quantization) else []),
            ("KV cache", f"{capacity(states)} per token and sequence at 16 bit"),
            ("layers", f"{layers}, {len(graph.nodes)} operators in the text of one step"),
        ]
    )
    display.plain()
    found = {s.name: s for s in params(model.family.body, model.library)}
    rows = [[n, _value(v), " else ".join(map(show_expr, found[n].choices))] for n, v in model.params.items()]
    display.table(
        (Column("parameter", style="bold"), Column("value", right=True), Column("from", style="cyan", wrap=True)), rows
    )


def params(stmts: Iterable[t.MStmt], library: Library) -> Iterator[t.MParam]:
    """The parameters that statements bind outside of layers, also those that families share."""
    for s in stmts:
        match s:
            case t.MParam():
                yield s
            case t.Read(name) if name in library.configs:
                yield from params(library.configs[name].body, library)
            case t.Cond(_, body, orelse):
                yield from params((*body, *orelse), library)


def _value(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else shown(value).strip('"')


def _layers(stmts: Iterable[t.MStmt], names: Names) -> int:
    """Layers of a family's text: how often what repeats does so."""
    found = 0
    for s in stmts:
        match s:
            case t.Repeat(count):
                found += int(names.number(count))
            case t.Cond(clauses, body, orelse):
                found += _layers(body if names.holds(clauses) else orelse, names)
    return found


def show_op(name: str) -> None:
    """An operator: its text, and what follows from it."""
    op = library().ops[name]
    display.heading(f"op {name}, declared in {op.span}")
    display.plain(show(op))
    display.plain()
    ranks = tuple(len(p.type.dims) for p in op.params)
    packs = list(dict.fromkeys(d.name for p in op.params for d in p.type.dims if isinstance(d, t.Pack)))
    note = f", each of {comma(f'*{p}' for p in packs)} as one dimension" if packs else ""
    display.heading(f"what follows from it{note}")
    display.facts(_derived(facts(bind(op, ranks))))


def _derived(f: Facts) -> Iterator[tuple[str, str | Text]]:
    sums = sorted(f.reduced)
    yield "loops", comma(_loop(x.name, x.indices) for x in f.loops) or "none: one tile"
    if sums:
        yield "reduced", comma(sums)
    for index, blocked in f.whole.items():
        yield "whole", f"{index}: {blocked.why}" + (f" ({blocked.span})" if blocked.span else "")
    for clause in f.shape.where:
        yield "only where", " or ".join(map(show_rel, clause))
    for c in f.work.contractions:
        parts = (("batch", c.batch), ("m", c.m), ("n", c.n), ("k", c.k))
        held = ", ".join(f"{k} = {' '.join(v)}" for k, v in parts if v)
        yield "contraction", f"{c.a} streams, {c.b} stays: {held}"
    for term in f.work.terms:
        yield "arithmetic", f"one {term.kind} per point of [{comma(term.indices)}]"
    if not f.work.contractions and not f.work.terms:
        yield "arithmetic", "none: it moves data"
    if f.elementwise:
        yield "elementwise", "every result element needs the same element of each operand only"


def _loop(name: str, indices: tuple[str, ...]) -> str:
    return name if indices == (name,) else f"{name} ({' '.join(indices)} as one)"


def show_pass(name: str) -> None:
    """A pass: what it does and its options."""
    cls = registry.lookup("pass", name)
    assert issubclass(cls, Pass)
    display.heading(f"pass {name}")
    display.prose(inspect.getdoc(cls) or "")
    rows = [[option, wants, default] for option, wants, default in options(cls)]
    if rows:
        display.plain()
        display.table(
            (Column("option", style="bold"), Column("wants", style="cyan", wrap=True), Column("default")), rows
        )
    used = [p for p, text in PIPELINES.items() if name in [x.name for x in parse_pipeline(Source(p, text))]]
    if used:
        display.plain()
        display.facts([("pipelines", ", ".join(used))])


def show_pipeline(name: str) -> None:
    """A pipeline: its passes in order."""
    passes = parse_pipeline(Source("pipeline", PIPELINES[name]))
    display.heading(f"pipeline {name}")
    display.plain(PIPELINES[name])
    display.plain()
    rows = [[pipeline_text((p,)), display.first_sentence(inspect.getdoc(type(p)))] for p in passes]
    display.table((Column("pass", style="cyan"), Column("what", wrap=True)), rows)
