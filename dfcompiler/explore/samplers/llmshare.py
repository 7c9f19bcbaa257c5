"""LLMShare's search (DAC 2025), written again from what its paper says, with choices of ours where it is silent.

First points: designs are grouped by the percentile of their total memory, and in each group transductive experimental
design takes the points that tell most of the others. Then, for each objective, a Gaussian process with a deep tree
kernel, and the point of the largest expected hypervolume improvement; in a round of several, each is believed to have
the values that are expected of it. Objectives are modelled in logarithms, as by all our samplers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.candidates import candidates
from dfcompiler.explore.samplers.deep_tree import DeepTree
from dfcompiler.explore.samplers.improvement import expected_improvement
from dfcompiler.explore.samplers.magnitudes import scale
from dfcompiler.explore.samplers.sampler import Integers, Sampler, Scene, points_of
from dfcompiler.explore.samplers.transductive import transductive
from dfcompiler.explore.samplers.trees import memory_axes, tree

Floats = NDArray[np.float64]

GROUPS = 5  # percentile groups of total memory; our choice
LEARNED_FROM = 400  # points at most that a model learns from: its cost grows with their cube


class LLMShare(Sampler, name="llmshare"):
    """Raises `bad-goals` for more than two objectives, whose improvement has no closed form here."""

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(scene, seed)
        if len(scene.goals) > 2:
            raise Diag("bad-goals", f"the sampler `llmshare` takes one or two objectives, not {len(scene.goals)}")
        self.root = tree(scene.dimensions)
        self.steps = np.array([max(1, len(d.values) - 1) for d in scene.dimensions], dtype=np.float64)

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        rng = self.rng()
        points, values = self.feasible()
        offered = candidates(self, rng)
        if len(points) < 2:
            return points_of(offered[self._first(offered, count)])
        points, values = points[-LEARNED_FROM:], values[-LEARNED_FROM:]
        scales = [scale(column) for column in values.T]
        known = np.stack([s(column) for s, column in zip(scales, values.T, strict=True)], axis=1)
        models = [DeepTree(self.root, points / self.steps, column, rng) for column in known.T]
        beliefs = [model(offered / self.steps) for model in models]
        mean, deviation = (np.stack([b[i] for b in beliefs], axis=1) for i in (0, 1))
        reference = known.max(axis=0) + 0.1
        chosen: list[int] = []
        for _ in range(min(count, len(offered))):
            gain = expected_improvement(known, reference, mean, deviation)
            gain[chosen] = -np.inf
            chosen.append(int(gain.argmax()))
            known = np.concatenate([known, mean[chosen[-1:]]])
        return points_of(offered[chosen])

    def _first(self, offered: Integers, count: int) -> list[int]:
        """Rows of `offered`, each group of memory giving its share."""
        order = np.argsort(self._memory(offered), kind="stable")
        groups = np.array_split(order, min(GROUPS, max(1, count)))
        shares = [len(part) for part in np.array_split(np.arange(min(count, len(offered))), len(groups))]
        return [
            int(group[i])
            for group, share in zip(groups, shares, strict=True)
            for i in transductive(offered[group] / self.steps, share)
        ]

    def _memory(self, offered: Integers) -> Floats:
        """Total memory of each design in bytes; 0 where no axis is one of memory."""
        total = np.zeros(len(offered))
        for axis, counts, unit in memory_axes(self.root):
            part = np.full(len(offered), unit)
            for i in (axis, *counts):
                part = part * np.array(self.scene.dimensions[i].values, dtype=np.float64)[offered[:, i]]
            total += part
        return total
