"""Samplers by LLMShare's protocol: a table of 1,055 systems, 10 first points, 20 more one by one, 50 seeds.

ADRS is the mean distance of the table's front to what was found, each objective in shares of the front's extent;
the hypervolume is a share of that of the table's front, below a reference 10 % of the extent beyond its worst values.
Both come from the exact front of the table. `--table DIR` takes priced systems: `dims.json` (a list of `[name,
values]`), `goals.json` (a list of `[name, "min" or "max"]`), `points.npy` [systems, axes] of indices and `values.npy`
[systems, goals]; by default a stand-in under rooflines (`standin.py`). A sampler whose extra is not installed is left
out, and said to be. With `--bounds` our default is also run with proven bounds (the stand-in's, or `bounds.npy`
[systems, goals], all minimised).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import standin
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import adrs, front, hypervolume
from dfcompiler.explore.question import Answer, Dimension, Goal
from dfcompiler.explore.samplers import DEFAULT, Scene, sampler
from dfcompiler.explore.standing import MARGIN

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ORDER = ("random", "sobol", "nsga2", "llmshare", "gp-ehvi", DEFAULT)
SYSTEMS = 1055


class Table:
    """Systems whose objectives are known."""

    def __init__(self, dimensions: tuple[Dimension, ...], goals: tuple[Goal, ...], points: Integers, values: Floats):
        self.scene = Scene(dimensions, goals, points)
        self.rows = {tuple(p): i for i, p in enumerate(points.tolist())}
        self.values = values
        self.costs = values * [1.0 if g.sense == "min" else -1.0 for g in goals]
        self.front = self.costs[front(self.costs)]
        extent = np.ptp(self.front, axis=0)
        self.reference = self.front.max(axis=0) + MARGIN * extent
        self.whole = hypervolume(self.front, self.reference)

    def answer(self, point: tuple[int, ...]) -> Answer:
        row = self.values[self.rows[point]]
        return Answer(dict(zip((g.name for g in self.scene.goals), row.tolist(), strict=True)))

    def search(self, name: str, seed: int, scene: Scene, initial: int, iterations: int) -> tuple[float, float]:
        """ADRS and share of the hypervolume of one run."""
        asked = []
        made = sampler(name, scene, seed)
        for count in [initial] + [1] * iterations:
            points = made.ask(count)
            made.tell(points, [self.answer(p) for p in points])
            asked += [self.rows[p] for p in points]
        found = self.costs[asked]
        return adrs(found[front(found)], self.front), hypervolume(found, self.reference) / self.whole


def read(folder: Path) -> tuple[Table, Floats | None]:
    dimensions = tuple(Dimension(n, tuple(v)) for n, v in json.loads((folder / "dims.json").read_text()))
    goals = tuple(Goal(n, s) for n, s in json.loads((folder / "goals.json").read_text()))
    below = folder / "bounds.npy"
    table = Table(dimensions, goals, np.load(folder / "points.npy"), np.load(folder / "values.npy"))
    return table, np.load(below) if below.is_file() else None


def stand_in(seed: int) -> tuple[Table, Floats]:
    points, values = standin.subset(SYSTEMS, seed)
    return Table(standin.DIMENSIONS, standin.GOALS, points, values), standin.bounds(points)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--initial", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--samplers", default=",".join(ORDER))
    parser.add_argument("--subset", type=int, default=0, help="seed of the stand-in's systems")
    parser.add_argument("--bounds", action="store_true")
    args = parser.parse_args()
    table, below = read(args.table) if args.table else stand_in(args.subset)
    scenes = [(name, name, table.scene) for name in args.samplers.split(",")]
    if args.bounds and below is not None:
        bound = below
        at = lambda points: bound[[table.rows[tuple(p)] for p in points.tolist()]]  # noqa: E731
        scenes.append((f"{DEFAULT}, with bounds", DEFAULT, replace(table.scene, bounds=at)))
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    print(f"{len(table.values):,} systems, {len(table.front)} on the front; ", end="")
    print(f"{args.initial} + {args.iterations} points, {args.seeds} seeds\n")
    print("| sampler | ADRS | deviation of a run | of the mean | hypervolume | deviation | CPU s a run |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for label, name, scene in scenes:
        start = time.process_time()
        try:
            runs = np.array([table.search(name, s, scene, args.initial, args.iterations) for s in seeds])
        except Diag as error:
            print(f"{label} is left out: {error.message}", file=sys.stderr)
            continue
        cpu = (time.process_time() - start) / len(runs)
        mean, deviation = runs.mean(axis=0), runs.std(axis=0)
        print(
            f"| {label} | {mean[0]:.4f} | {deviation[0]:.4f} | {deviation[0] / len(runs) ** 0.5:.4f} | {mean[1]:.4f} "
            f"| {deviation[1]:.4f} | {cpu:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
