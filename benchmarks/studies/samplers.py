"""Samplers by LLMShare's protocol: 1,055 systems of its space, 10 first points, 20 more one by one, 50 seeds.

    python benchmarks/studies/samplers.py -o benchmarks/studies/SAMPLERS.md

Systems are drawn at random from those that keep all limits and run all loads, and cost and serve what static prices
say. ADRS is the mean distance of the table's front to what was found, each objective in shares of the front's extent;
the hypervolume is a share of that of the table's front, below a reference 10 % of the extent beyond its worst values.
Both come from the exact front of the table. A sampler whose extra is not installed is left out, and said to be.

Our default is also run with proven bounds: the cost, which is known, and the rate that rooflines of all ops allow.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small: threads only wait for each other

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import markdown

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import adrs, front, hypervolume
from dfcompiler.explore.prices.protocol import protocol_points, values_at
from dfcompiler.explore.prices.static import StaticPrices
from dfcompiler.explore.question import Answer, Dimension, Goal
from dfcompiler.explore.samplers import DEFAULT, Scene, sampler
from dfcompiler.explore.space import Axis, Space, load_space
from dfcompiler.explore.standing import MARGIN

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ORDER = ("random", "sobol", "nsga2", "llmshare", "gp-ehvi", DEFAULT)
RIVALS = ("llmshare", "nsga2", "random")  # the default's mean ADRS is to be below each of theirs
# Where an axis of a pool hangs in the tree that LLMShare's kernel reads, and how many of its units are one there.
TREE = {
    "servers": ("servers", 1),
    "devices": ("server.devices", 1),
    "links": ("server.device.links", 1),
    "memory": ("server.device.memory_gb", 10**9),
    "global": ("server.device.global_mb", 10**6),
    "cores": ("server.device.cores", 1),
    "local": ("server.device.core.local_kib", 1024),
    "lanes": ("server.device.core.lanes", 1),
    "height": ("server.device.core.lane.height", 1),
    "vector": ("server.device.core.lane.vector", 1),
    "prompts": ("batch", 1),
    "sequences": ("batch", 1),
}


@dataclass(frozen=True)
class Run:
    """What a run found: its ADRS, and its share of the hypervolume."""

    adrs: float
    volume: float


class Table:
    """Systems whose objectives are known; `below` are proven bounds of these, all minimised, `[system, goal]`."""

    def __init__(self, space: Space, seed: int) -> None:
        drawn = protocol_points(space, seed)
        roofs = {name: StaticPrices(pool, roofs=True) for name, pool in space.pools.items()}
        signs = [1.0 if g.sense == "min" else -1.0 for g in space.goals]
        dimensions = tuple(dimension(name, a) for name, p in space.pools.items() for a in p.axes)
        goals = tuple(Goal(g.name, g.sense) for g in space.goals)
        self.scene = Scene(dimensions, goals, drawn.points)
        self.rows = {tuple(p): i for i, p in enumerate(drawn.points.tolist())}
        self.values = drawn.values
        self.costs = drawn.values * signs
        self.below = values_at(space, drawn.points, roofs)[0] * signs
        assert (self.below <= self.costs).all(), "a bound that is none"
        self.front = self.costs[front(self.costs)]
        extent = np.ptp(self.front, axis=0)
        self.reference = self.front.max(axis=0) + MARGIN * extent
        self.whole = hypervolume(self.front, self.reference)

    def bounds(self, points: Integers) -> Floats:
        """As `Scene.bounds`."""
        return self.below[[self.rows[tuple(p)] for p in points.tolist()]]

    def answer(self, point: tuple[int, ...]) -> Answer:
        row = self.values[self.rows[point]]
        return Answer(dict(zip((g.name for g in self.scene.goals), row.tolist(), strict=True)))

    def search(self, name: str, seed: int, scene: Scene, initial: int, iterations: int) -> Run:
        """One run of a sampler."""
        asked = []
        made = sampler(name, scene, seed)
        for count in [initial] + [1] * iterations:
            points = made.ask(count)
            made.tell(points, [self.answer(p) for p in points])
            asked += [self.rows[p] for p in points]
        found = self.costs[asked]
        return Run(adrs(found[front(found)], self.front), hypervolume(found, self.reference) / self.whole)


def dimension(pool: str, axis: Axis) -> Dimension:
    """An axis of a pool, named by its place in the tree."""
    name, unit = TREE[axis.name]
    return Dimension(f"{pool}.{name}", tuple(v if isinstance(v, str) else v / unit for v in axis.values))


def report(args: argparse.Namespace) -> Iterator[str]:
    """The lines of the page."""
    table = Table(load_space("llmshare"), args.subset)
    yield "# Samplers by LLMShare's protocol\n"
    left_out = ", ".join(f"`{name}`" for name in ORDER if name not in args.samplers.split(","))
    without = f" (without {left_out})" if left_out else ""
    yield (
        f"Written by `{shlex.join(['python', 'benchmarks/studies/samplers.py', *sys.argv[1:]])}`{without}: "
        f"{len(table.values):,} random systems of `llmshare` under static prices, {len(table.front)} of them on the "
        f"front; {args.initial} + {args.iterations} points, "
        f"{args.seeds} seeds, the systems drawn with seed {args.subset}. In the middle a system serves "
        f"{np.median(table.costs[:, 1] / table.below[:, 1]):.2f} of the rate that it is bounded by.\n"
    )
    found: dict[str, Floats] = {}
    rows = []
    for label, name, scene in scenes(table, args.samplers.split(",")):
        start = time.process_time()
        search = partial(table.search, name, scene=scene, initial=args.initial, iterations=args.iterations)
        try:
            runs = [search(seed) for seed in range(args.first_seed, args.first_seed + args.seeds)]
        except Diag as error:
            print(f"{label} is left out: {error.message}", file=sys.stderr)
            continue
        cpu = (time.process_time() - start) / len(runs)
        found[label] = np.array([r.adrs for r in runs])
        rows.append([label, *spread(found[label]), *spread(np.array([r.volume for r in runs])), f"{cpu:.2f}"])
        print(*rows[-1], file=sys.stderr, flush=True)
    heads = ["ADRS", "deviation of a run", "of the mean", "hypervolume", "deviation of a run", "of the mean"]
    yield markdown(["sampler", *heads, "CPU s a run"], rows) + "\n"
    yield from compared(found)


def scenes(table: Table, names: Sequence[str]) -> Iterator[tuple[str, str, Scene]]:
    for name in names:
        yield name, name, table.scene
        if name == DEFAULT:
            yield f"{DEFAULT}, with bounds", name, replace(table.scene, bounds=table.bounds)


def spread(values: Floats) -> list[str]:
    """Mean, deviation of one run, deviation of the mean."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return [f"{x:.4f}" for x in (values.mean(), deviation, deviation / len(values) ** 0.5)]


def compared(found: dict[str, Floats]) -> Iterator[str]:
    """Run by run, how much nearer the default comes than the others."""
    for rival in RIVALS:
        if rival in found and DEFAULT in found:
            less = found[rival] - found[DEFAULT]
            mean, _, error = spread(less)
            holds = "below" if float(mean) > 0 else "NOT below"
            yield (
                f"- `{DEFAULT}` is {holds} `{rival}`, by {mean} on average (deviation of the mean {error}), and in "
                f"{np.count_nonzero(less > 0)} of {len(less)} seeds"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--initial", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--samplers", default=",".join(ORDER))
    parser.add_argument("--subset", type=int, default=0, help="seed of the systems")
    parser.add_argument("-o", "--out", type=Path, help="a file for the page")
    args = parser.parse_args()
    text = "\n".join(report(args)) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
