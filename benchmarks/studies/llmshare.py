"""LLMShare's space (DAC 2025), all of it: the exact front, with times as goals, and what moving servers could gain.

    python benchmarks/studies/llmshare.py [--cold]

Prices are those of `prices = static`. Beside LLMShare's headline stand the same two systems priced here: its H100
cluster, and the one that it found. Every design is checked against the fronts by code that shares nothing with the
search (`dfcompiler/check/designs.py`).
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import markdown

from dfcompiler.diagnostics import Source
from dfcompiler.economics import price
from dfcompiler.explore.claims import checked
from dfcompiler.explore.declared import too_long
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.figures import added, block, figures
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.reallocation import cost_line, gap, overlapped, time_shared
from dfcompiler.explore.servers import bound, servers
from dfcompiler.explore.space import Space, load_space, resolve
from dfcompiler.explore.systems import Systems, explored, separated
from dfcompiler.hardware.chip import Chip
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import SpaceDecl

# servers, devices, links, GB, MB, cores, KiB, lanes, height, vector: Table and text of the paper.
NAMES = ("servers", "devices", "links", "memory", "global", "cores", "local", "lanes", "height", "vector")
UNITS = (1, 1, 1, 10**9, 10**6, 1, 1024, 1, 1, 1)
H100 = {"prefill": (7, 8, 18, 80, 50, 132, 256, 4, 16, 32), "decode": (6, 8, 18, 80, 50, 132, 256, 4, 16, 32)}
FOUND = {"prefill": (4, 4, 24, 112, 100, 156, 512, 1, 128, 32), "decode": (6, 12, 18, 80, 70, 72, 448, 2, 32, 16)}
TIMES = "  minimize ttft_s = prefill.prompt.latency_s\n  minimize tbt_s = decode.token.latency_s\n}\n"


def main() -> None:
    space = load_space("llmshare")
    with timed("prices"):
        prices = {n: StaticPrices(p) for n, p in space.pools.items()}
        for n, load in (("prefill", "prompt"), ("decode", "token")):
            prices[n].terms(load)
            prices[n].price(("usd",))
    with timed("front in cost and rate"):
        found = explored(space, prices)
    print(f"{space.points:.4g} systems with their batches; fronts of pools {sizes(found)}; front {len(found.values):,}")
    with timed("every design checked"):
        for v in checked(space, prices, found):
            print(f"  {v.name}: {v.count:,} looked at, {len(v.faults)} faults")
    headline(space, prices, found)
    times(space, prices)
    moving(space, prices, found)
    print(f"largest resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


@contextmanager
def timed(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - wall:.2f} s, CPU {time.process_time() - cpu:.2f} s")


def sizes(found: Systems) -> str:
    return ", ".join(f"{name} {len(f.rows):,} of {f.legal:,} legal" for name, f in found.pools.items())


def headline(space: Space, prices: Mapping[str, StaticPrices], found: Systems) -> None:
    """Cost and rate of both published systems, with the batches that serve most, beside the front."""
    rows = []
    base = priced(space, prices, H100)
    for name, one in (("H100 cluster", H100), ("LLMShare's best", FOUND)):
        cost, rate = priced(space, prices, one)
        rows.append([name, f"{cost:,.0f}", f"{rate:.3g}", f"{cost / base[0]:.2f}", f"{rate / base[1]:.2f}"])
    cost, rate = found.values[:, 0], found.values[:, 1]
    cheap = found.values[rate >= base[1]]
    fast = found.values[cost <= base[0]]
    for name, some, best in (("front, rate of the H100s", cheap, 0), ("front, cost of the H100s", fast, 1)):
        if len(some):
            at = some[np.argmin(some[:, 0]) if best == 0 else np.argmax(some[:, 1])]
            rows.append([name, f"{at[0]:,.0f}", f"{at[1]:.3g}", f"{at[0] / base[0]:.2f}", f"{at[1] / base[1]:.2f}"])
    rows.append(["published: LLMShare's best", "", "", "0.87", "4.11"])
    print(markdown(["system", "USD", "requests/s", "cost", "rate"], rows))


def priced(
    space: Space, prices: Mapping[str, StaticPrices], system: Mapping[str, Sequence[int]]
) -> tuple[float, float]:
    """Cost and rate of a system as the space defines them; limits are not asked."""
    cost, rates = 0.0, []
    for name, pool in space.pools.items():
        fixed = dict(zip(NAMES, (v * u for v, u in zip(system[name], UNITS, strict=True)), strict=True))
        free = next(a for a in pool.axes if a.name not in fixed)
        rows = [[a.values.index(fixed[a.name]) if a.name in fixed else i for a in pool.axes]
                for i in range(len(free.values))]  # fmt: skip
        known = figures(pool, block(pool, np.array(rows)), At(prices[name], np.array(rows)))
        rate = known(("rate",))
        rates.append(float(np.max(np.where(np.isfinite(rate), rate, 0))))
        values = {a.name: fixed.get(a.name, a.values[0]) for a in pool.axes}
        cost += fixed["servers"] * fixed["devices"] * price(in_one_exposure(chip_at(pool, values))).usd
    return cost, min(rates)


def in_one_exposure(chip: Chip) -> Chip:
    """The chip where dies may have any size: the published ones are larger than an exposure by our areas."""
    tables = {name: dict(table) for name, table in chip.tech.tables.items()}
    tables["wafer"]["reticle_mm2"] = replace(tables["wafer"]["reticle_mm2"], value=math.inf)
    return replace(chip, tech=replace(chip.tech, tables=tables))


class At:
    """Prices of some designs."""

    def __init__(self, prices: StaticPrices, rows: np.ndarray) -> None:
        self.prices, self.rows = prices, rows

    def price(self, path: tuple[str, ...]) -> np.ndarray:
        return added([self.taken(a) for a in self.prices.summands(path)])

    def taken(self, a: np.ndarray) -> np.ndarray:
        return np.asarray(a[tuple(self.rows[:, i] if n > 1 else 0 for i, n in enumerate(a.shape))])


def times(space: Space, prices: Mapping[str, StaticPrices]) -> None:
    """The front in cost, rate, time to the first token and time between tokens: counted, then asked."""
    source = Source("llmshare.space", space.source.text.rstrip().removesuffix("}") + TIMES)
    decl = next(x for x in parse_items(source) if isinstance(x, SpaceDecl))
    four = resolve(decl, source)
    with timed("fronts of pools in three goals"):
        whole = too_long(four, separated(four), prices)
    assert whole is not None, "few enough systems to list"
    rule, systems = whole
    with timed("systems counted"):
        count = rule.count()
    print(f"fronts of pools {sizes(systems)}; {count:,} systems on the front in four goals")
    with timed("1,000 look-ups"):
        rng = np.random.default_rng(0)
        for _ in range(1000):
            i, j = rng.integers(len(rule.first)), rng.integers(len(rule.second))
            rule.cheapest(max(rule.first[i, 1], rule.second[j, 1]), rule.first[i, 2], rule.second[j, 2])


def moving(space: Space, prices: Mapping[str, StaticPrices], found: Systems) -> None:
    """How much more servers that move between the pools could serve at the same cost, at most."""
    with timed("kinds of servers"):
        some = servers(space, prices)
    print(f"{len(some.cost):,} of {some.designs:,} kinds matter")
    rows = []
    cost, rate = found.values[:, 0], found.values[:, 1]
    for name, limit in (("a server in one phase at a time", time_shared), ("steps that hold both", overlapped)):
        with timed(f"bound: {name}"):
            usd, most, pairs = bound(some, limit)
        g = gap(cost, rate, usd, most)
        parts = [g[(rate >= a) & (rate < b)] for a, b in ((0, np.median(rate)), (np.median(rate), np.inf))]
        rows.append([name, f"{pairs:,}", *(f"{np.median(p):.3f}" for p in parts), f"{g.max():.2f}"])
    print(markdown(["bound over front at equal cost", "pairs", "median, small", "median, large", "largest"], rows))
    line = cost_line(some.cost, some.first, some.second)
    print(
        f"no system costs less than {line:,.0f} USD per request/s; the best fixed one costs {np.min(cost / rate):,.0f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cold", action="store_true", help="price everything again")
    if parser.parse_args().cold:
        with tempfile.TemporaryDirectory() as empty:
            os.environ["XDG_CACHE_HOME"] = empty
            main()
    else:
        main()
