"""Random ops that update a tensor in place: what they read of it and write to it lies where it does by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator

from dfcompiler.compose import single
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.pricing import op_graph
from dfcompiler.problem import Problem, problem
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

DTYPES = parse_dtypes("w16a16kv16acc32")
PLACES = "{i}; {i} + 1; {i} + 3; {i} + n; {i} + p[b]; {i} * 2; {i} // 2; |t| - |s| + {i}; |t| - 1 - {i}".split("; ")
READ = ("look", "each", "pick", "move", "scale", "sum", "run")
LIMITS = ("{i} < n", "{i} >= n", "{i} < p[b]", "{i} >= |s|", "{i} < |s|", "{i} > 2")


def declared(text: str, **sizes: int) -> Problem:
    """The problem of an op's text at these sizes."""
    (op,) = parse_items(Source("op.dfir", text))
    assert isinstance(op, t.OpDecl)
    graph, node = op_graph(op, {n: (float(v),) for n, v in sizes.items()}, DTYPES)
    return problem(single(graph, node), DTYPES)


def in_place(rng: random.Random) -> Problem:
    """An op of one to three steps on a state `c` of |t| rows, with |s| new rows and an index `e` beside."""
    kinds = [rng.choice((*READ, "put")) for _ in range(rng.randint(1, 3))]
    lines = [x for number, kind in enumerate(kinds) for x in _step(rng, kind, number)]
    results = [x.split("[")[0] for x in lines if x.startswith("y")]
    dims = {"y": "s", "z": "s, e"}
    shown = ", ".join(f"{n}: [b, {dims[n[-1]]}]" for n in dict.fromkeys(results))
    text = "\n  ".join(
        (
            "op f(inout c: kv [b, t], x: [b, s], w: w [e], id: int [b, s] in t)",
            f"-> ({shown or 'o: kv [b, t]'}) {{",
            f"attr n = {rng.randint(0, 4)}",
            f"attr p[b] = {rng.randint(0, 4)}",
            *lines,
        )
    )
    sizes = {"b": rng.randint(1, 2), "t": rng.randint(2, 7), "s": rng.randint(1, 5), "e": rng.randint(1, 2)}
    return declared(f"{text}\n}}", **sizes)


def _step(rng: random.Random, kind: str, n: int) -> Iterator[str]:
    """A statement that reads the state, writes it or does both, with what it needs."""
    match kind:
        case "look":
            yield f"y{n}y[b, s] = x[b, s] + c[b, {_place(rng, 's')}]"
        case "each":
            yield f"y{n}z[b, s, e] = w[e] * c[b, s]"
            yield "where s < |t|"
        case "pick":
            yield f"y{n}y[b, s] = c[b, id[b, s]]"
        case "put":
            place = _place(rng, f"j{n}")
            yield f"dim j{n} = |s|"
            yield f"where {place} < |t|, {place} >= 0{_limit(rng, f'j{n}')}"
            yield f"c[b, {place}] = x[b, j{n}]"
        case "move":
            places = [_place(rng, f"k{n}") for _ in range(2)]
            yield f"dim k{n} = |t|"
            yield "where " + ", ".join(f"{p} < |t|, {p} >= 0" for p in places) + _limit(rng, f"k{n}")
            yield f"c[b, {places[0]}] = 2 * c[b, {places[1]}]"
        case "scale":
            yield "c[b, t] = 3 * c[b, t]"
        case "sum":
            yield f"a{n}[b] = sum(t) c[b, t]"
            yield f"c[b, t] = c[b, t] - a{n}[b]"
        case _:
            yield f"dim r{n} = |s|"
            yield f"a{n}[b, t] = sum(r{n}) x[b, r{n}] * c[b, t]"
            yield f"c[b, t] = a{n}[b, t]"


def _place(rng: random.Random, index: str) -> str:
    return rng.choice(PLACES).format(i=index)


def _limit(rng: random.Random, index: str) -> str:
    return f", {rng.choice(LIMITS).format(i=index)}" if rng.random() < 0.5 else ""
