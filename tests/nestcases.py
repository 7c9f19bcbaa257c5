"""Random mappings of small problems on small machines: what the tests of prices run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from math import ceil, prod
from typing import Any

import numpy as np

from dfcompiler import registry
from dfcompiler.audit.check import random_operands
from dfcompiler.compose import Group, group, single
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.hardware.template import Ports
from dfcompiler.models import library
from dfcompiler.moves import INNER, OUTER, Keep
from dfcompiler.nest import Nest
from dfcompiler.pricing import op_graph
from dfcompiler.problem import NestOperand, Problem, problem
from dfcompiler.replay import Mapped
from dfcompiler.replay.points import Space
from dfcompiler.semantics import run_op
from dfcompiler.text import tree as t
from dfcompiler.tiles import splits, tiles_of

MOST = 20_000  # points of an op, or elements of a tensor
DTYPES = parse_dtypes("w16a16kv16acc32")

# ---- machines ----------------------------------------------------------------------------------


def level(part: str, rng: random.Random, instances: int = 1, **fixed: Any) -> Level:
    fill, drain = rng.choice([4, 16, 64, 256]), rng.choice([4, 16, 64, 256])
    source, sink = fill * rng.choice([1, instances]), drain * rng.choice([1, instances])
    values: dict[str, Any] = dict(  # noqa: C408
        part=part, instances=instances, capacity_bytes=1 << 20, fill_bytes_per_cycle=fill, drain_bytes_per_cycle=drain,
        source_bytes_per_cycle=source, sink_bytes_per_cycle=sink, multicast=False, half_duplex=False,
        latency_cycles=rng.choice([0, 20]), pj_per_byte=1.0, wire_pj_per_byte=0.0,
    )  # fmt: skip
    return Level(**(values | fixed))


def machine(rng: random.Random, name: str) -> tuple[Unit, Unit]:
    """A unit of the family and a vector unit beside it, on 2 or 3 levels."""
    inf = float("inf")
    top = level(
        "dram", rng, half_duplex=rng.random() < 0.5, fill_bytes_per_cycle=inf, drain_bytes_per_cycle=inf,
        source_bytes_per_cycle=inf, sink_bytes_per_cycle=inf, latency_cycles=0,
    )  # fmt: skip
    instances = rng.choice([1, 1, 2, 3, 4, 8])
    middle = (level("global", rng),) if rng.random() < 0.5 else ()
    levels = (top, *middle, level("local", rng, instances, multicast=rng.random() < 0.5))
    lookup = lambda n: registry.lookup("template", n)  # noqa: E731
    template: Any = {
        "systolic-array": lambda: lookup("systolic-array")(
            rows=rng.choice([2, 4]),
            cols=rng.choice([2, 4]),
            reload=rng.choice(["exposed", "double-buffered", "serial"]),
        ),
        "mac-tree": lambda: lookup("mac-tree")(width=rng.choice([2, 4]), trees=rng.choice([2, 4])),
        "vector-unit": lambda: lookup("vector-unit")(lanes=rng.choice([2, 8])),
    }[name]()
    vector: Any = lookup("vector-unit")(lanes=rng.choice([4, 16]))
    ports = Ports(64, 64, 64, 64)
    return Unit("u", template, instances, levels, ports, "v", 1e9), Unit(
        "v", vector, instances, levels, ports, None, 1e9
    )


# ---- problems from text ------------------------------------------------------------------------

Text = tuple[str, str]  # a graph's items, and the nodes that are one op
CASES: dict[str, Callable[[random.Random], Text]] = {}


def case(f: Callable[[random.Random], Text]) -> Callable[[random.Random], Text]:
    CASES[f.__name__] = f
    return f


def few(rng: random.Random, low: int = 1, high: int = 9) -> int:
    return rng.randint(low, high)


def act(name: str, *dims: int, kind: str = "input") -> str:
    return f"{kind} {name}: bf16 {list(dims)}"


def made(name: str, dims: list[int], call: str) -> str:
    return f"{name}: bf16 {dims} = {call}"


@case
def linear(r: random.Random) -> Text:
    t, k, n = few(r), few(r), few(r, 2)
    return f"{act('x', t, k)}\n{act('w', n, k, kind='weight')}\ny: bf16 [{t}, {n}] = linear(x, w)", "y"


@case
def merge(r: random.Random) -> Text:
    t, g, e, n = few(r), few(r, 1, 4), few(r, 1, 4), few(r, 2)
    return f"{act('x', t, g, e)}\n{act('w', n, g, e, kind='weight')}\ny: bf16 [{t}, {n}] = merge(x, w)", "y"


@case
def matmul(r: random.Random) -> Text:
    t, k, n = few(r), few(r), few(r, 2)
    return f"{act('x', t, k)}\n{act('w', k, n, kind='weight')}\ny: bf16 [{t}, {n}] = matmul(x, w)", "y"


@case
def bmm(r: random.Random) -> Text:
    z, t, k, n = few(r, 1, 4), few(r, 1, 6), few(r, 1, 6), few(r, 2, 6)
    return f"{act('x', z, t, k)}\n{act('w', z, k, n)}\ny: bf16 [{z}, {t}, {n}] = bmm(x, w)", "y"


@case
def silu_mul(r: random.Random) -> Text:
    t, k = few(r), few(r)
    return f"{act('x', t, k)}\n{act('w', t, k)}\ny: bf16 [{t}, {k}] = silu_mul(x, w)", "y"


@case
def bias_add(r: random.Random) -> Text:
    t, k = few(r), few(r)
    return f"{act('x', t, k)}\n{act('w', k, kind='weight')}\ny: bf16 [{t}, {k}] = bias_add(x, w)", "y"


@case
def rmsnorm(r: random.Random) -> Text:
    t, k = few(r), few(r)
    return f"{act('x', t, k)}\n{act('w', k, kind='weight')}\ny: bf16 [{t}, {k}] = rmsnorm(x, w)", "y"


@case
def rope(r: random.Random) -> Text:
    dims = [few(r, 1, 3), few(r, 1, 5), few(r, 1, 4), 2 * few(r, 1, 3)]
    return f"{act('x', *dims)}\ny: bf16 {dims} = rope(x) {{past = 3}}", "y"


@case
def gather(r: random.Random) -> Text:
    v, d, t = few(r, 2, 30), few(r, 1, 6), few(r, 1, 12)
    return f"{act('w', v, d, kind='weight')}\ninput x: int32 [{t}] in {v}\ny: bf16 [{t}, {d}] = gather(w, x)", "y"


@case
def append(r: random.Random) -> Text:
    b, s, h, past = few(r, 1, 3), few(r, 1, 5), few(r, 1, 4), few(r, 0, 4)
    cache = act("c", b, s + past, h, kind="state")
    return f"{cache}\n{act('x', b, s, h)}\ny: bf16 [{b}, {s + past}, {h}] = append(c, x) {{past = {past}}}", "y"


@case
def linear_then_silu_mul(r: random.Random) -> Text:
    t, n = few(r), few(r, 2)
    return _linear_then(r, t, n, "silu_mul")


@case
def linear_then_add(r: random.Random) -> Text:
    t, n = few(r), few(r, 2)
    return _linear_then(r, t, n, "add")


def _linear_then(r: random.Random, t: int, n: int, op: str) -> Text:
    k = few(r)
    operands = f"{act('x', t, k)}\n{act('w', n, k, kind='weight')}\n{act('g', t, n)}"
    return f"{operands}\nu: bf16 [{t}, {n}] = linear(x, w)\ny: bf16 [{t}, {n}] = {op}(u, g)", "u y"


@case
def gate_up_act(r: random.Random) -> Text:
    t, k, n = few(r), few(r), few(r, 2)
    operands = f"{act('x', t, k)}\n{act('w', n, k, kind='weight')}\n{act('v', n, k, kind='weight')}"
    made = [
        f"{o}: bf16 [{t}, {n}] = {f}"
        for o, f in (("u", "linear(x, w)"), ("g", "linear(x, v)"), ("y", "silu_mul(u, g)"))
    ]
    return "\n".join((operands, *made)), "u g y"


def attention(b: int, s: int, t: int, g: int, heads: int, attrs: str) -> Text:
    operands = [act("q", b, s, g, heads, 2), act("k", b, t, g, 2, kind="state"), act("v", b, t, g, 2, kind="state")]
    return "\n".join((*operands, f"o: bf16 [{b}, {s}, {g}, {heads}, 2] = attention(q, k, v) {{{attrs}}}")), "o"


@case
def causal(r: random.Random) -> Text:
    s, past = few(r, 1, 8), few(r, 0, 6)
    return attention(few(r, 1, 2), s, s + past, few(r, 1, 2), few(r, 1, 2), f"past = {past}")


@case
def window(r: random.Random) -> Text:
    s, past = few(r), few(r, 0, 8)
    return attention(1, s, s + past, few(r, 1, 2), 1, f"past = {past}, window = {few(r, 1, 5)}, sink = {few(r, 0, 3)}")


@case
def ragged(r: random.Random) -> Text:
    b, s = few(r, 2, 4), few(r, 1, 3)
    past = [few(r, 0, 9) for _ in range(b)]
    return attention(b, s, s + max(past), few(r, 1, 2), 1, f"past = {past}")


@case
def fresh(r: random.Random) -> Text:
    b, past = few(r, 2, 3), few(r, 0, 3)
    new = [few(r, 1, 5) for _ in range(b)]
    return attention(b, max(new), max(new) + past, 1, 1, f"past = {past}, fresh = {new}")


@case
def mla(r: random.Random) -> Text:
    b, s, h, past = few(r, 1, 2), few(r, 1, 4), few(r, 1, 3), few(r, 0, 6)
    operands = [act("q", b, s, h, 4), act("p", b, s, h, 2)]
    caches = [act(n, b, s + past, d, kind="state") for n, d in (("c", 4), ("k", 2))]
    return "\n".join((*operands, *caches, f"y: bf16 [{b}, {s}, {h}, 4] = mla(q, p, c, k) {{past = {past}}}")), "y"


# ---- groups ------------------------------------------------------------------------------------


@case
def norm_then_linear(r: random.Random) -> Text:
    t, d, n = few(r), few(r), few(r, 2)
    operands = [act("x", t, d), act("g", d, kind="weight"), act("w", n, d, kind="weight")]
    return "\n".join((*operands, made("h", [t, d], "rmsnorm(x, g)"), made("y", [t, n], "linear(h, w)"))), "h y"


@case
def linear_then_norm(r: random.Random) -> Text:
    t, d, n = few(r), few(r), few(r, 2)
    operands = [act("x", t, d), act("a", t, n), act("g", n, kind="weight"), act("w", n, d, kind="weight")]
    nodes = [("u", "linear(x, w)"), ("v", "add(u, a)"), ("y", "rmsnorm(v, g)")]
    return "\n".join((*operands, *(made(o, [t, n], f) for o, f in nodes))), "u v y"


@case
def softmax_then_linear(r: random.Random) -> Text:
    t, d, n = few(r), few(r), few(r, 2)
    operands = [act("x", t, d), act("w", n, d, kind="weight")]
    return "\n".join((*operands, made("h", [t, d], "softmax(x)"), made("y", [t, n], "linear(h, w)"))), "h y"


@case
def norm_then_two(r: random.Random) -> Text:
    t, d, n, m = few(r), few(r), few(r, 2), few(r, 2)
    operands = [
        act("x", t, d),
        act("g", d, kind="weight"),
        act("w", n, d, kind="weight"),
        act("v", m, d, kind="weight"),
    ]
    nodes = [("h", [t, d], "rmsnorm(x, g)"), ("q", [t, n], "linear(h, w)"), ("y", [t, m], "linear(h, v)")]
    return "\n".join((*operands, *(made(*x) for x in nodes))), "h q y"


@case
def feed_forward(r: random.Random) -> Text:
    t, d, f = few(r, 1, 6), few(r, 1, 6), few(r, 2, 7)
    weights = [act(n, f, d, kind="weight") for n in "wv"] + [act("z", d, f, kind="weight")]
    nodes = [(o, [t, f], c) for o, c in (("u", "linear(x, w)"), ("g", "linear(x, v)"), ("m", "silu_mul(u, g)"))]
    return "\n".join(
        (act("x", t, d), *weights, *(made(*x) for x in (*nodes, ("y", [t, d], "linear(m, z)"))))
    ), "u g m y"


@case
def append_then_attention(r: random.Random) -> Text:
    b, s, g, h, past = few(r, 1, 2), few(r, 1, 4), few(r, 1, 2), few(r, 1, 2), few(r, 0, 4)
    cache_ = [b, s + past, g, 2]
    operands = [act("q", b, s, g, h, 2), act("n", b, s, g, 2), *(act(c, *cache_, kind="state") for c in "kv")]
    nodes = [
        ("c", cache_, f"append(k, n) {{past = {past}}}"),
        ("o", [b, s, g, h, 2], f"attention(q, c, v) {{past = {past}}}"),
    ]
    return "\n".join((*operands, *(made(*x) for x in nodes))), "c o"


def joined(text: Text) -> Problem:
    """The nodes of a text as one problem."""
    body, names = text
    graph = parse_graph(Source("g", f"graph g {{\n{body}\noutput {names.split()[-1]}\n}}"), library())
    whole = group(graph, names.split())
    assert isinstance(whole, Group), whole
    return problem(whole, DTYPES)


# ---- every operator ----------------------------------------------------------------------------


@cache
def operators() -> list[str]:
    """All ops that are declared."""
    return sorted(library().ops)


def any_sizes(name: str, rng: random.Random) -> Problem:
    """An op of the library on random sizes that fit together; if some do, such as give numbers and no empty sums."""
    decl = library().ops[name]
    dims = {d for p in decl.params for d in p.type.dims}
    packs = {d.name for d in dims if isinstance(d, t.Pack)}
    names = sorted(packs | {d.name for d in dims if isinstance(d, t.Ref | t.DeviceDim)})
    defined = {s.name for s in decl.body if isinstance(s, t.DimDef)}
    attrs = {s.name: s.default for s in decl.body if isinstance(s, t.Attr)}
    needed = [n for n, x in attrs.items() if x is None]
    counts = [n for n, x in attrs.items() if isinstance(x, t.Num) and x.value > 1]  # such as the size of a chunk
    fitting: list[Problem] = []
    for _ in range(100):
        most, others = rng.choice([2, 4, 8]), [*needed, *(counts if rng.random() < 0.5 else ())]
        extents = {n: [few(rng, 1, most) for _ in range(few(rng, 1, 2) if n in packs else 1)] for n in names}
        sizes: dict[str, list[float]] = {n: [*e] for n, e in extents.items() if n not in defined}
        sizes |= {n: [few(rng, 1, 4)] for n in others}
        try:
            graph, node = op_graph(decl, sizes, DTYPES)
            whole = single(graph, node)
            points = (prod(whole.sizes[i] for i in s.indices if i in whole.sizes) for s in whole.shape.body)
            if max(*points, *(prod(x.shape) for x in whole.types.values())) > MOST:
                continue
            found = run_op(whole.shape, whole.sizes, whole.attrs, random_operands(whole, 0))
        except (Diag, ValueError):
            continue
        p = problem(whole, DTYPES)
        fitting.append(p)
        if all(np.isfinite(a).all() for a in found.values()) and not _empty_sums(p):
            return p
    return fitting[0]


def _empty_sums(p: Problem) -> bool:
    """Whether the clauses leave some sum without points: no mapping runs a tile for it."""
    space = Space(p)
    for s in (x for x in p.group.shape.body if x.over):
        try:
            points, ends = (space.points([i for i in names if i in space.sizes]) for names in (s.indices, s.free))
        except Infeasible:  # the points hang on values
            return False
        loops = space.loops_of(tuple(ends.values))
        if set(space.number(points, loops).tolist()) < set(space.number(ends, loops).tolist()):
            return True
    return False


# ---- mappings ----------------------------------------------------------------------------------


def mapping(name: str, seed: int) -> Mapped:
    """A random machine, problem, tiling, order and residency, of a group above or of an op of the library."""
    rng = random.Random(f"{name} {seed}")
    return drawn(joined(CASES[name](rng)) if name in CASES else any_sizes(name, rng), rng)


def drawn(p: Problem, rng: random.Random) -> Mapped:
    """The same of a problem."""
    unit, helper = machine(rng, rng.choice(["systolic-array", "mac-tree"]) if p.contractions else "vector-unit")
    beside = helper if p.contractions else None
    parallel = [x for x in p.loops if not x.reduced]
    chosen = rng.choice(splits([x.size for x in parallel], unit.instances, spread=unit.levels[-1].multicast))
    ways = {x.name: 1 for x in p.loops} | dict(zip((x.name for x in parallel), chosen, strict=True))
    whole = rng.random() < 0.3  # of random sizes few divide
    size = {x.name: rng.choice(list(_sizes(ceil(x.size / ways[x.name]), whole))) for x in p.loops}
    live = [x.name for x in p.loops if ceil(ceil(x.size / ways[x.name]) / size[x.name]) > 1]
    rng.shuffle(live)

    def one(d: dict[str, int]) -> dict[str, Any]:
        return {n: np.array([float(v)]) for n, v in d.items()}

    nest = Nest(p, unit, tiles_of(p, unit, beside, one(size), one(ways)), live)
    places = [INNER] if len(unit.levels) == 2 else [INNER, OUTER]
    held = [rng.choice([None, *_keeps(nest, o, places)]) for o in p.operands]
    here = pinned(p, rng) if len(unit.levels) > 2 else p
    return Mapped(here, unit, beside, size, ways, tuple(live), tuple(k for k in held if k))


def pinned(p: Problem, rng: random.Random) -> Problem:
    """The problem with some of its operands in the memory above, or none."""
    names = {o.name for o in p.operands if o.kind != "local"}
    here = {n for n in sorted(names) if rng.random() < 0.5} if rng.random() < 0.5 else set()
    return replace(p, operands=tuple(replace(o, pinned=o.name in here) for o in p.operands))


def _keeps(nest: Nest, o: NestOperand, places: Sequence[str]) -> list[Keep]:
    spots = nest.moves.idle_positions(o) if o.kind != "local" else []
    return [Keep(o.name, w, p, o.kind) for p in spots for w in places]


def _sizes(shard: int, whole: bool) -> Iterator[int]:
    return (n for n in range(1, shard + 1) if not whole or shard % n == 0)
