"""Static prices of all designs at once: pairs of a design and an op per second, LLMShare's whole space, and how far the
model is from the full compiler.

A rate on two cores is what a CPU second prices, times the threads: other work on a machine takes wall time, and threads
share nothing but what they read."""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tables import table

from dfcompiler import cache
from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.mapped import compiled, load_at
from dfcompiler.explore.prices.compiled import available
from dfcompiler.explore.prices.pricing import Kind, Pricing
from dfcompiler.explore.prices.products import Product, product_of
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.prices.steps import step_work
from dfcompiler.explore.space import Pool, load_space
from dfcompiler.tiling import search

SPACE = "llmshare"
STEPS = (("prefill", "prompt", {"devices": 8, "prompts": 1}), ("decode", "token", {"devices": 8, "sequences": 32}))
BARS = {("prefill", True): 75_000, ("decode", True): 500_000, ("prefill", False): 700, ("decode", False): 700}
FEW = 24  # designs priced one by one
LARGE = 1 << 20  # bytes of a local memory
SLICE = 6  # of so many groups of columns numpy sweeps one


def products(pool: Pool, load: str, at: dict[str, int], kind: Kind) -> list[Product]:
    """The distinct products of a step."""
    values = {a.name: at.get(a.name, a.values[0]) for a in pool.axes}
    work = step_work(load_at(pool.loads[load], values), kind.one)
    found = (x for op in work.ops if (x := product_of(op.problem)))
    return list({x.key: x for x in found}.values())


def designs(pool: Pool, count: int, seed: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(int(rng.integers(n)) for n in pool.shape) for _ in range(count)]


def chip(pool: Pool, design: tuple[int, ...]):
    return chip_at(pool, {a.name: a.values[i] for a, i in zip(pool.axes, design, strict=True)})


def pick(a: np.ndarray, design: tuple[int, ...]) -> float:
    a = a.reshape((1,) * (len(design) - a.ndim) + a.shape)
    return float(a[tuple(i if n > 1 else 0 for i, n in zip(design, a.shape, strict=True))])


def ratios(found: Sequence[float]) -> str:
    """Distribution of ratios."""
    p = np.percentile(found, [0, 10, 50, 90, 100])
    return " / ".join(f"{x:.3f}" for x in p)


def rates() -> str:
    rows, far, held = [], [], []
    for name, load, at in STEPS:
        pool = load_space(SPACE).pools[name]
        alone = []
        for numba in (True, False):
            if numba and not available():
                continue
            pricing = Pricing(pool, numba)
            (kind,) = pricing.kinds
            every = products(pool, load, at, kind)
            pricing.products(kind, every[:1])  # compiles, and builds units
            wall, cpu = time.perf_counter(), time.process_time()
            if numba:
                before = pricing.pairs
                taken = pricing.products(kind, every)
                pairs = pricing.pairs - before
            else:
                pairs = slice_of(pricing, kind, every)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            threads = pricing.workers if numba else 1
            rows.append(row(f"{name}, {'numba' if numba else 'numpy'}", pairs, wall, cpu, threads))
            bar, two = BARS[name, numba], min(2, threads) * pairs / cpu
            holds = "holds" if two >= bar else f"misses, {bar / two:.1f} times"
            held.append(f"{rows[-1][0]}: {two:,.0f} of {bar:,} pairs a second on two cores, {holds}.")
            if numba:
                alone = [(x, d, pick(taken[x.key], d)) for x in every for d in designs(pool, FEW // len(every) + 1, 1)]
        cpu, wall = time.process_time(), time.perf_counter()
        for x, d, seconds in alone:
            c = chip(pool, d)
            result = search(x.problem, c.units["sa"], None, (1.0,))
            if result.tilings:
                far.append((name, seconds * c.clock_hz / result.tilings[0].cycles))
        if alone:
            one = time.perf_counter() - wall, time.process_time() - cpu
            rows.append(row(f"{name}, the compiler's search, one by one", len(alone), *one, 1))
    heads = (
        "products of a step (GPT-3 175B, 8 devices)",
        "pairs",
        "wall s",
        "CPU s",
        "threads",
        "pairs/s",
        "pairs/CPU s",
    )
    notes = [
        f"{name}: price over the compiler's for the same product alone, min / 10 % / median / 90 % / max: "
        f"{ratios([r for n, r in far if n == name])}."
        for name, _, _ in STEPS
        if any(n == name for n, _ in far)
    ]
    notes = ["\n".join(f"- {x}" for x in held), "", *notes, f"Load average {load_average()}."]
    return table("Exact prices of products for many designs", heads, rows, notes)


def load_average() -> str:
    return ", ".join(f"{x:.1f}" for x in os.getloadavg())


def row(name: str, pairs: int, wall: float, cpu: float, threads: int) -> tuple[object, ...]:
    return name, f"{pairs:,}", f"{wall:.2f}", f"{cpu:.2f}", threads, f"{pairs / wall:,.0f}", f"{pairs / cpu:,.0f}"


def slice_of(pricing: Pricing, kind: Kind, every: Sequence[Product]) -> int:
    """Some of the sweeps, one after another; how many pairs they priced."""
    from dfcompiler.explore.prices.compiled import lower

    pairs = 0
    for x in every:
        for columns in pricing.columns(x, kind):
            for group in columns.groups[::SLICE]:
                found, _ = columns.cycles(x, group, lower(False))
                pairs += sum(a.size for a in found)
    return pairs


def whole() -> str:
    rows = []
    home = cache.folder()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        cache.folder.cache_clear()
        for state in ("cold", "kept"):
            wall, cpu, pairs = time.perf_counter(), time.process_time(), 0
            for name, load, _ in STEPS:
                prices = StaticPrices(load_space(SPACE).pools[name])
                prices.terms(load)
                pairs += prices.pricing.pairs
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            rows.append((state, f"{pairs:,}", f"{wall:.2f}", f"{cpu:.2f}", f"{most:,.0f}"))
        refused = [f"{n}: {StaticPrices(load_space(SPACE).pools[n]).refused(x)}" for n, x, _ in STEPS]
    os.environ.pop("XDG_CACHE_HOME")
    cache.folder.cache_clear()
    assert cache.folder() == home
    heads = ("both pools, all batches", "pairs of a product and a design", "wall s", "CPU s", "peak MB")
    notes = [f"Designs that cannot run their load, {'; '.join(refused)}.", f"Load average {load_average()}."]
    return table("LLMShare's space under static prices", heads, rows, notes)


def against_compiler(count: int) -> str:
    """Designs as they are, and with local memories that are larger than any of the space's."""
    rows = []
    for name, load, _ in STEPS:
        pool = load_space(SPACE).pools[name]
        for local in (None, LARGE):
            found, spent, codes = [], 0.0, Counter()
            for d in designs(pool, 50 * count, 7):
                one = alone(pool, d, local)
                static = StaticPrices(one, compile_it=False).price((load, "latency_s")).item()
                if not np.isfinite(static):
                    continue
                start, values = time.process_time(), {a.name: a.values[0] for a in one.axes}
                try:
                    full = compiled(load_at(one.loads[load], values), chip_at(one, values)).report.latency_s
                    found.append(static / full)
                except Infeasible as fault:
                    codes[fault.code] += 1
                spent += time.process_time() - start
                if len(found) + codes.total() == count:
                    break
            where = f"{name}, local memories {'of the space' if local is None else f'of {local >> 10:,} KiB'}"
            refused = ", ".join(f"{n} {code}" for code, n in codes.items()) or "-"
            rows.append((where, count, len(found), refused, ratios(found) if found else "-", f"{spent / count:.1f}"))
    heads = (
        "designs that the static model can run",
        "drawn",
        "compiled",
        "refused",
        "static over compiled: min / 10 % / median / 90 % / max",
        "CPU s each",
    )
    notes = [
        "The static model runs ops in turn and fuses none, and takes rooflines for all but products; the compiler "
        "fuses, overlaps, and prices every op on its units: a vector unit must hold whole rows of a norm."
    ]
    return table("Static prices against the full compiler", heads, rows, notes)


def alone(pool: Pool, design: tuple[int, ...], local: int | None) -> Pool:
    """A pool of one design."""
    axes = (replace(a, values=(a.values[i],)) for a, i in zip(pool.axes, design, strict=True))
    return replace(pool, axes=tuple(replace(a, values=(local,)) if local and a.name == "local" else a for a in axes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compile", type=int, default=10, help="designs of each kind that the full compiler maps")
    parser.add_argument("-o", "--out", type=Path, help="a file for the page")
    args = parser.parse_args()
    said = f"Written by `python benchmarks/prices.py --compile {args.compile} -o benchmarks/PRICES.md`."
    parts = ("# Static prices", said, str(__doc__).strip(), rates(), whole(), against_compiler(args.compile))
    text = "\n\n".join(parts)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
