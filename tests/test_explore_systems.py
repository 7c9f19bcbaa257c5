"""Fronts of spaces that separate, against every system tried one by one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfcompiler.diagnostics import Diag, Source
from dfcompiler.explore.claims import checked
from dfcompiler.explore.figures import figures, grid, kept
from dfcompiler.explore.fronts import front
from dfcompiler.explore.reallocation import gap, overlapped, time_shared
from dfcompiler.explore.references import Array, paths, value
from dfcompiler.explore.separation import Combined, combined, inlined, scaling_axis
from dfcompiler.explore.servers import bound, servers
from dfcompiler.explore.space import Pool, Space, resolve
from dfcompiler.explore.systems import Systems, explored, limited_pool
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

AXES = """
  pool a, b on tpu128 {
    axis servers = 1 .. 2
    axis rows = 8, 16
    axis memory = 10 GB, 20 GB
    set sa.rows = rows
    set hbm.capacity = memory
    let rate = servers / work.latency_s
    let bill = servers * (usd + 3)
  }
  pool a { load work: llama3-8b { phase = decode, batch = 1 } }
  pool b {
    axis batch = 1, 2, 4
    load work: llama3-8b { phase = decode, batch = batch }
  }
"""
SHARED = "  axis link = 1, 2, 3\n" + AXES.replace("let rate = servers", "let rate = link * servers")
TWO = "  minimize cost = a.bill + 2 * b.bill\n  maximize rate = minimum(a.rate, b.rate * b.batch)\n"
FOUR = TWO + "  minimize ttft = a.work.latency_s\n  minimize tbt = b.work.latency_s\n"
GOALS = {
    "cost-rate": TWO,
    "times": FOUR,
    "worst": "  minimize worst = maximum(a.work.latency_s, b.work.latency_s / 2)\n  minimize cost = a.usd + b.usd\n",
    "sum-of-energy": "  minimize pj = a.work.energy_j + b.work.energy_j\n  maximize r = 3 * minimum(a.rate, b.rate)\n",
    "limited": "  limit a.work.latency_s <= 0.6\n  limit b.bill <= 9\n" + TWO,
}


def space(goals: str, axes: str = AXES) -> Space:
    source = Source("s.space", f"space s {{\n{axes}{goals}}}\n")
    decl = parse_items(source)[0]
    assert isinstance(decl, t.SpaceDecl)
    return resolve(decl, source)


@dataclass
class Drawn:
    """Random prices along some of the axes that set the chip, or that the load reads; some of them are inf."""

    pool: Pool
    seed: int

    def price(self, path: tuple[str, ...]) -> Array:
        rng = np.random.default_rng([self.seed, *".".join(path).encode()])
        read = {"rows", "memory", "batch"} if path[0] == "work" else {"rows", "memory"}
        axes = zip(self.pool.axes, self.pool.shape, strict=True)
        own = [n if a.name in read and rng.random() < 0.8 else 1 for a, n in axes]
        some = 2.0 ** rng.integers(-2, 3, size=own)  # what is computed of these is exact
        return np.where(rng.random(own) < 0.1, np.inf, some) if path[0] == "work" else some


@dataclass
class Priced(Drawn):
    """The same, of chips that cost what those of another pool do."""

    usd: Array = field(default_factory=lambda: np.zeros(1))

    def price(self, path: tuple[str, ...]) -> Array:
        return self.usd[..., None] if path == ("usd",) else super().price(path)


def one_by_one(s: Space, prices: dict[str, Drawn]) -> set[tuple[float, ...]]:
    """Goals of the front, every system computed by itself."""
    names = list(s.pools)
    pools = {n: limited_pool(s, s.pools[n]) for n in names}
    known = {n: figures(p, grid(p), prices[n]) for n, p in pools.items()}
    alive = {n: np.broadcast_to(kept(p, known[n]), p.shape) for n, p in pools.items()}
    found = []
    wholes = [inlined(g.expr, s.lets) for g in s.goals]
    asked = {(p[0], ("work", "latency_s")) for e in wholes for p, _ in paths(e) if p[1] in ("rate", "work")}
    for rows in product(*(np.ndindex(*pools[n].shape) for n in names)):
        at = dict(zip(names, rows, strict=True))
        shared = [{r[i] for n, r in at.items() for i, a in enumerate(pools[n].axes) if a == x} for x in s.shared]
        if any(len(v) > 1 for v in shared) or not all(alive[n][at[n]] for n in names):
            continue

        def read(path: tuple[str, ...], at: dict[str, tuple[int, ...]] = at) -> Array:
            if path[0] in s.lets:
                return value(s.lets[path[0]].value, read)
            pool = path[0]
            return np.broadcast_to(known[pool](path[1:]), pools[pool].shape)[at[pool]]

        if any(np.isinf(np.broadcast_to(known[n](path), pools[n].shape)[at[n]]) for n, path in asked):
            continue
        goals = [float(value(g.expr, read)) * (1 if g.sense == "min" else -1) for g in s.goals]
        if np.all(np.isfinite(goals)):
            found.append(goals)
    rows = np.array(found).reshape(-1, len(s.goals))
    return {tuple(r) for r in rows[front(rows)]}


@given(seed=st.integers(0, 2**16), goals=st.sampled_from(sorted(GOALS)))
def test_the_front_is_that_of_all_systems(seed: int, goals: str) -> None:
    s = space(GOALS[goals])
    prices = {n: Drawn(p, seed + i) for i, (n, p) in enumerate(s.pools.items())}
    found = explored(s, prices)
    signs = np.array([g.sign for g in found.goals])
    assert {tuple(r) for r in found.values * signs} == one_by_one(s, prices)
    assert len(found.values) == len({tuple(r) for r in found.values})
    assert found.points == prod(p.designs for p in s.pools.values())


@given(seed=st.integers(0, 2**16), goals=st.sampled_from(sorted(GOALS)), data=st.data())
def test_the_checker_finds_nothing_and_what_is_missing(seed: int, goals: str, data: st.DataObject) -> None:
    s = space(GOALS[goals])
    prices = {n: Drawn(p, seed + i) for i, (n, p) in enumerate(s.pools.items())}
    found = explored(s, prices)
    verdicts = checked(s, prices, found)
    assert [v.faults for v in verdicts] == [()] * len(verdicts)
    assert [v.count for v in verdicts if v.name == "designs"] == [p.designs for p in s.pools.values()]
    name = data.draw(st.sampled_from(sorted(s.pools)))
    rows = found.pools[name]
    if not len(rows.rows):
        return
    lost = data.draw(st.integers(0, len(rows.rows) - 1))
    fewer = replace(rows, rows=np.delete(rows.rows, lost, 0), values=np.delete(rows.values, lost, 0))
    wrong = replace(found, pools={**found.pools, name: fewer}, choice=found.choice[:0], values=found.values[:0])
    assert any(not v.ok for v in checked(s, prices, wrong) if name in v.what)
    if len(found.values):
        gone = data.draw(st.integers(0, len(found.values) - 1))
        short = replace(found, values=np.delete(found.values, gone, 0), choice=np.delete(found.choice, gone, 0))
        assert not all(v.ok for v in checked(s, prices, short) if v.name == "systems")


@given(seed=st.integers(0, 2**16), goals=st.sampled_from(sorted(GOALS)), data=st.data())
def test_the_checker_knows_shared_axes_and_what_is_made_up(seed: int, goals: str, data: st.DataObject) -> None:
    s = space(GOALS[goals], SHARED)
    prices = {n: Drawn(p, seed + i) for i, (n, p) in enumerate(s.pools.items())}
    found = explored(s, prices)
    verdicts = checked(s, prices, found)
    assert [v.faults for v in verdicts] == [()] * len(verdicts)
    assert [v.count for v in verdicts if v.name == "designs"] == [p.designs for p in s.pools.values()]
    if not len(found.values):
        return

    def caught(wrong: Systems, *names: str) -> bool:
        return any(not v.ok for v in checked(s, prices, wrong) if v.name in names)

    one = data.draw(st.integers(0, len(found.values) - 1))
    better = found.values.copy()
    better[one, 0] *= 0.5
    assert caught(replace(found, values=better), "members"), "no system has such goals"
    fewer = replace(found, values=np.delete(found.values, one, 0), choice=np.delete(found.choice, one, 0))
    assert caught(fewer, "systems"), "a system is missing"
    name = data.draw(st.sampled_from(sorted(s.pools)))
    part = found.pools[name]
    row = data.draw(st.integers(0, len(part.rows) - 1))
    worth = part.values.copy()
    worth[row, 0] -= 1
    wrong = replace(found, pools={**found.pools, name: replace(part, values=worth)})
    assert caught(wrong, "rows"), "no design has such terms"
    lost = replace(part, rows=part.rows[:0], values=part.values[:0])
    none = replace(found, pools={**found.pools, name: lost}, choice=found.choice[:0], values=better[:0])
    assert caught(none, "designs")
    assert caught(replace(found, choice=found.choice[:0], values=better[:0]), "systems"), "nothing is no front"
    moved = part.rows.copy()
    moved[found.choice[one, list(s.pools).index(name)], 0] ^= 1
    astray = replace(found, pools={**found.pools, name: replace(part, rows=moved)})
    assert caught(astray, "members"), "pools that do not agree make no system"


@given(seed=st.integers(0, 2**16))
def test_pools_agree_on_shared_axes(seed: int) -> None:
    s = space(TWO, SHARED)
    prices = {n: Drawn(p, seed + i) for i, (n, p) in enumerate(s.pools.items())}
    found = explored(s, prices)
    signs = np.array([g.sign for g in found.goals])
    assert {tuple(r) for r in found.values * signs} == one_by_one(s, prices)
    assert found.points == prod(p.designs for p in s.pools.values()) // 3
    rows = {n: f.rows[found.choice[:, i]] for i, (n, f) in enumerate(found.pools.items())}
    assert (rows["a"][:, 0] == rows["b"][:, 0]).all()


def test_servers_scale_and_nothing_else_does() -> None:
    s = space(TWO)
    terms = [combined(g.expr, s) for g in s.goals]
    assert all(isinstance(x, Combined) for x in terms)
    pool = s.pools["a"]
    assert scaling_axis(pool, [x.terms["a"] for x in terms if isinstance(x, Combined)]) == "servers"
    late = space(FOUR)  # the first token comes no later with more servers, and no earlier
    own = [x.terms["a"] for g in late.goals if isinstance(x := combined(g.expr, late), Combined) and "a" in x.terms]
    assert len(own) == 3
    assert scaling_axis(late.pools["a"], own) == "servers"
    mixed = space("  minimize x = a.bill + a.usd + b.usd\n" + TWO)
    read = [x.terms["a"] for g in mixed.goals if isinstance(x := combined(g.expr, mixed), Combined)]
    assert scaling_axis(mixed.pools["a"], read) is None


@pytest.mark.parametrize(
    ("goals", "code", "words"),
    [
        ("  minimize x = a.usd * b.usd\n", "unseparable-goal", "mixes a, b by more than a sum"),
        ("  minimize x = a.usd + minimum(a.usd, b.usd)\n", "unseparable-goal", "lies within"),
        ("  minimize x = a.usd - b.usd\n", "unseparable-goal", "mixes a, b"),
        ("  limit a.usd + b.usd <= 4\n" + TWO, "unseparable-goal", "spans several pools"),
        ("  minimize x = a.usd\n", "unused-pool", "no goal reads the pool `b`"),
    ],
)
def test_what_does_not_separate_is_said(goals: str, code: str, words: str) -> None:
    s = space(goals)
    with pytest.raises(Diag) as raised:
        explored(s, {n: Drawn(p, 0) for n, p in s.pools.items()})
    assert raised.value.code == code
    assert words in str(raised.value)


@given(seed=st.integers(0, 2**16))
def test_servers_that_move_are_bounded_from_above(seed: int) -> None:
    """Every system of fixed pools is within both bounds; kinds are those of a loop over designs."""
    s = space("  minimize cost = a.bill + b.bill\n  maximize rate = minimum(a.rate, b.rate * b.batch)\n")
    prices = {"a": Drawn(s.pools["a"], seed), "b": Drawn(s.pools["b"], seed)}
    usd = prices["a"].price(("usd",))
    prices["b"] = Priced(s.pools["b"], seed + 1, usd)
    found, some = explored(s, prices), servers(s, prices)
    for rate in (time_shared, overlapped):
        if not len(some.cost):
            continue
        cost, most, _ = bound(some, rate)
        both = gap(found.values[:, 0], found.values[:, 1], cost, most)
        allowed = [most[cost <= c * (1 + 1e-12)].max(initial=0) for c in found.values[:, 0]]
        assert all(r <= a * (1 + 1e-12) for r, a in zip(found.values[:, 1], allowed, strict=True)), both
    each = {}
    for name, p in s.pools.items():
        known = figures(p, grid(p), prices[name])
        alive = np.broadcast_to(kept(p, known), p.shape)
        alive = alive & np.isfinite(prices[name].price(("work", "latency_s")))
        speed = np.broadcast_to(known(("rate",)) * (known(("batch",)) if name == "b" else 1), p.shape)
        each[name] = np.where(alive, speed, 0)[0]
    prefill, decode = each["a"].ravel(), each["b"].max(-1).ravel()
    price = np.broadcast_to(figures(s.pools["a"], grid(s.pools["a"]), prices["a"])(("bill",)), s.pools["a"].shape)[0]
    rows = np.stack([price.ravel(), -prefill, -decode], 1)[(prefill > 0) | (decode > 0)]
    want = {tuple(r) for r in rows[front(rows)]} if len(rows) else set()
    assert {(c, -a, -b) for c, a, b in zip(some.cost, some.first, some.second, strict=True)} == want
    assert some.designs == 4
