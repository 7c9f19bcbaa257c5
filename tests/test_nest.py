"""Prices of loop nests against an executor that walks them tile by tile (`loopwalk.py`).

Where a price is exact and where it is a bound from above:
- bytes are exact for loops without masks, ragged edges included. With masks they are exact where the row tiles
  pass outside of the columns; where only some rows of a tile have points, the whole tile is counted. Tiles of
  look-ups are counted as whole ones. An instance that has fewer tiles than others is taken to reload like them.
- time charges every tile, edges included, as a whole one, and sums that leave unfinished at the accumulator's
  width each time: exact where nothing is ragged, masked or spilled, never below the executor's time otherwise.
  Stores of a result that stays in memory across a reduced loop are charged in that loop's first pass, not in
  its last, so there the time may be off, either way, by what these stores take.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Any

import numpy as np
import pytest
from loopwalk import Executor, Mapped, Points, Run

from dfcompiler import registry
from dfcompiler.compose import Group, group
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.hardware.template import Ports
from dfcompiler.models import library
from dfcompiler.nest import DRAM_READ, DRAM_WRITE, INNER, OUTER, Keep, Nest, Traffic
from dfcompiler.problem import Problem, problem
from dfcompiler.tiles import splits, tiles_of

SHARES = (1.0, 0.25)
MASKED = ("causal", "window", "ragged", "fresh", "mla")
DTYPES = parse_dtypes("w16a16kv16acc32")

# ---- small machines and problems ---------------------------------------------------------------


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
    return Unit("u", template, instances, levels, ports, "v"), Unit("v", vector, instances, levels, ports, None)


# ---- small problems ----------------------------------------------------------------------------

Text = tuple[str, str]  # a graph's items, and the nodes that are one op
CASES: dict[str, Callable[[random.Random], Text]] = {}


def case(f: Callable[[random.Random], Text]) -> Callable[[random.Random], Text]:
    CASES[f.__name__] = f
    return f


def few(rng: random.Random, low: int = 1, high: int = 9) -> int:
    return rng.randint(low, high)


def act(name: str, *dims: int, kind: str = "input") -> str:
    return f"{kind} {name}: bf16 {list(dims)}"


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


def joined(text: Text) -> Problem:
    body, names = text
    graph = parse_graph(Source("g", f"graph g {{\n{body}\noutput {names.split()[-1]}\n}}"), library())
    whole = group(graph, names.split())
    assert isinstance(whole, Group), whole
    return problem(whole, DTYPES)


# ---- comparison --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A mapping of a small problem with what is claimed and what an execution gave."""

    name: str
    problem: Problem
    unit: Unit
    mapped: Mapped
    nest: Nest
    run: Run
    dram_bytes: float
    moved_bytes: float
    cycles: Mapping[float, float]

    @property
    def even(self) -> bool:
        """Whether all tiles are whole ones and all instances have equally many."""
        m = self.mapped
        return all(x.size % (m.size[x.name] * m.ways[x.name]) == 0 for x in self.problem.loops)

    @property
    def dealt(self) -> bool:
        """Whether all instances have equally many tiles, or all have one at most."""
        tiles = {x.name: ceil(x.size / self.mapped.size[x.name]) for x in self.problem.loops}
        return all(n % self.mapped.ways[x] == 0 or n <= self.mapped.ways[x] for x, n in tiles.items())

    @property
    def outputs(self) -> list[tuple[Any, list[int]]]:
        """Results with the positions of the reduced loops that run over their tiles again."""
        reduced = {x.name for x in self.problem.loops if x.reduced}
        found = [(o, self.nest.idle_positions(o)) for o in self.problem.operands if o.kind == "write"]
        return [(o, [p for p in ps if self.mapped.order[p] in reduced]) for o, ps in found]

    @property
    def spills(self) -> bool:
        """Whether unfinished sums leave the unit's memory."""
        inner = {k.operand: k.since for k in self.mapped.keeps if k.where == INNER}
        return any(o.partial_bits and p < inner.get(o.name, 99) for o, ps in self.outputs for p in ps)

    @property
    def held(self) -> float:
        """Bytes of results that stay across a reduced loop."""
        kept = {k.operand for k in self.mapped.keeps}
        return sum(o.total_bytes for o, ps in self.outputs if ps and (o.name in kept or not o.partial_bits))

    def slack(self, share: float) -> float:
        """Cycles that the stores of held results take, at the slowest of the ways that they go."""
        top, local = self.unit.levels[1], self.unit.levels[-1]
        rates = [top.sink_bytes_per_cycle, top.drain_bytes_per_cycle, local.drain_bytes_per_cycle]
        return self.held / (share * min(*rates, local.sink_bytes_per_cycle))


def trial(seed: int, name: str) -> Trial:
    rng = random.Random(f"{name} {seed}")
    p = joined(CASES[name](rng))
    unit, helper = machine(rng, rng.choice(["systolic-array", "mac-tree"]) if p.contractions else "vector-unit")
    beside = helper if p.contractions else None
    parallel = [x for x in p.loops if not x.reduced]
    chosen = rng.choice(splits([x.size for x in parallel], unit.instances, spread=unit.levels[-1].multicast))
    ways = {x.name: 1 for x in p.loops} | dict(zip((x.name for x in parallel), chosen, strict=True))
    size = {x.name: rng.randint(1, ceil(x.size / ways[x.name])) for x in p.loops}
    live = [x.name for x in p.loops if ceil(ceil(x.size / ways[x.name]) / size[x.name]) > 1]
    rng.shuffle(live)
    one = lambda d: {n: np.array([float(v)]) for n, v in d.items()}  # noqa: E731
    nest = Nest(p, unit, tiles_of(p, unit, beside, one(size), one(ways)), live)
    places = [INNER] if len(unit.levels) == 2 else [INNER, OUTER]
    keeps, traffic = rng.choice(list(nest.options(places, np.inf, np.inf)))
    if name == "gather":
        keeps = tuple(k for k in keeps if k.operand != "table")
        traffic = _with(nest, keeps)
    mapped = Mapped(size, ways, tuple(live), keeps)
    run = Executor(Points(p), unit, beside, mapped).run(SHARES)
    bytes_ = nest.bytes(keeps)[:, 0]
    cycles = {s: float(c[0]) for s, c in zip(SHARES, nest.cycles(traffic, SHARES), strict=True)}
    dram = float(bytes_[DRAM_READ] + bytes_[DRAM_WRITE])
    return Trial(name, p, unit, mapped, nest, run, dram, float(bytes_[:2].sum()), cycles)


def _with(nest: Nest, keeps: Sequence[Keep]) -> Traffic:
    kept = {k.operand: k for k in keeps}
    total = nest.nothing
    for o in nest.problem.operands:
        total = total + nest.part(o, kept.get(o.name))
    return total


@cache
def trials(name: str, count: int) -> tuple[Trial, ...]:
    return tuple(trial(seed, name) for seed in range(count))


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-6)


PLAIN = [n for n in CASES if n not in MASKED]


@pytest.mark.parametrize("name", PLAIN)
def test_bytes_without_masks_are_exact(name: str) -> None:
    for x in trials(name, 60):
        dram = x.run.dram_read + x.run.dram_write
        assert x.dram_bytes >= dram * (1 - 1e-9), x
        if x.dealt and (name != "gather" or x.even):
            assert x.dram_bytes == near(dram), x
            assert x.moved_bytes == near(x.run.inner) or not x.even, x


@pytest.mark.parametrize("name", MASKED)
def test_bytes_of_masked_tiles_are_never_too_few(name: str) -> None:
    found = trials(name, 120)
    claimed = [x.dram_bytes for x in found]
    moved = [x.run.dram_read + x.run.dram_write for x in found]
    assert all(c >= m * (1 - 1e-9) for c, m in zip(claimed, moved, strict=True))
    assert sum(c == near(m) for c, m in zip(claimed, moved, strict=True)) >= 0.6 * len(found)
    assert sum(claimed) <= 1.15 * sum(moved)


@pytest.mark.parametrize("name", CASES)
def test_time_is_never_too_short(name: str) -> None:
    for x in trials(name, 120 if name in MASKED else 60):
        for share in SHARES:
            assert x.cycles[share] * (1 + 1e-9) >= x.run.cycles[share] - x.slack(share), x


@pytest.mark.parametrize("name", PLAIN)
def test_time_of_whole_tiles_is_exact(name: str) -> None:
    same = 0
    for x in trials(name, 60):
        if x.even and not x.spills:
            for share in SHARES:
                assert x.cycles[share] == pytest.approx(x.run.cycles[share], rel=1e-9, abs=x.slack(share)), x
            same += 1
    assert same >= 4


def test_steps_of_masked_tiles_are_counted() -> None:
    found = [x for name in MASKED for x in trials(name, 120)]
    steps = [float(x.nest.counts[:, 0].sum()) for x in found]
    assert all(s >= x.run.steps - 1e-9 for s, x in zip(steps, found, strict=True))
    assert sum(s == near(x.run.steps) for s, x in zip(steps, found, strict=True)) >= 0.98 * len(found)


# ---- a wrong formula is caught -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("_spread", lambda nest, o: 1.0),  # one copy, however many instances want their own part
        ("_spills", lambda nest, o, moved, keep: False),  # sums that stay though there is no room
        ("_mean_elements", lambda nest, o, keep: nest.tiles.elements[o.name]),  # ragged edges as whole tiles
        ("idle_positions", lambda nest, o: []),  # nothing is ever loaded again
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_wrong_formula_is_caught(method: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nest, method, wrong)
    found = [trial(seed, "linear") for seed in range(40)]
    assert any(x.dealt and x.dram_bytes != near(x.run.dram_read + x.run.dram_write) for x in found)


def test_time_of_edges_as_fractions_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest of two averages is less than the average of the longest."""
    part = Nest.part

    def scaled(nest: Nest, o: Any, keep: Keep | None) -> Traffic:
        mean = nest._mean_elements(o, keep) if o.kind != "local" else nest.tiles.elements[o.name]
        tiles = replace(nest.tiles, elements={**nest.tiles.elements, o.name: mean})
        return part(Nest(nest.problem, nest.unit, tiles, nest.order), o, keep)

    monkeypatch.setattr(Nest, "part", scaled)
    found = [trial(seed, "linear") for seed in range(60)]
    assert any(x.cycles[1.0] * (1 + 1e-9) < x.run.cycles[1.0] - x.slack(1.0) for x in found)
