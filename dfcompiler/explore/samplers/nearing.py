"""Our default: ask for what is expected to bring the front that is known nearest to the one that there is.

A Gaussian process of each objective draws possible worlds. In each, the candidates have a front, and every candidate on
it would shorten the mean distance (ADRS) from that front to what is known. The candidate that does so most over all
worlds is asked for; for the next of a round it counts as known, in each world with its value there. So a measure of
fronts is improved directly, for any number of objectives, with no reference point to choose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcompiler.explore.fronts import covered, front
from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.candidates import LOOKED_AT, candidates
from dfcompiler.explore.samplers.gaussian import Process
from dfcompiler.explore.samplers.magnitudes import scale
from dfcompiler.explore.samplers.sampler import Coordinates, Integers, Sampler, Scene, points_of
from dfcompiler.explore.samplers.transductive import transductive

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

WORLDS = 64
MORE = 8  # times as many points are looked at where bounds, which cost little, can rule them out
LEARNED_FROM = 400  # points at most that a model learns from: its cost grows with their cube


@dataclass
class World:
    """One possible truth: its front's distances to what is known [targets], and to candidates that lie on it."""

    members: Indices  # candidates on the front
    known: Floats  # [targets]
    each: Floats  # [targets, members]

    def gains(self) -> Floats:
        """By how much each member would shorten the mean distance."""
        shorter: Floats = np.maximum(self.known[:, None] - self.each, 0.0).mean(axis=0)
        return shorter

    def learn(self, candidate: int) -> None:
        """The candidate counts as known."""
        here = np.flatnonzero(self.members == candidate)
        if len(here):
            self.known = np.minimum(self.known, self.each[:, here[0]])


class Nearing(Sampler, name="nearing"):
    """What `Scene.bounds` rule out is not looked at, and only what they leave open is modelled.

    With bounds the first points are spread over the front that the bounds have; without, over sizes of designs.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        super().__init__(scene, seed)
        self.place = Coordinates(scene.dimensions)

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        rng = self.rng()
        points, values = self.feasible()
        known = values[front(values)]
        offered = self._offered(known, count, rng)
        if len(points) < 2:
            return points_of(self._first(offered, count))
        worlds = [world_of(known, truth) for truth in self._truths(points, values, offered, rng)]
        chosen: list[int] = []
        while len(chosen) < min(count, len(offered)):
            total = np.zeros(len(offered))
            for world in worlds:
                total[world.members] += world.gains()
            total[chosen] = 0.0
            best = int(total.argmax())
            if total[best] == 0.0:  # nothing that is left is on any front: look elsewhere
                rest = np.setdiff1d(np.arange(len(offered)), chosen)
                best = int(rng.choice(rest))
            chosen.append(best)
            for world in worlds:
                world.learn(best)
        return points_of(offered[chosen])

    def _offered(self, known: Floats, count: int, rng: np.random.Generator) -> Integers:
        """Points to choose from; those that bounds keep off the front only where too few others are left."""
        if self.scene.bounds is None:
            return candidates(self, rng)
        offered = candidates(self, rng, MORE * LOOKED_AT)
        hopeless = covered(self.scene.bounds(offered), known)
        order = np.argsort(hopeless[shuffled := rng.permutation(len(offered))], kind="stable")
        hopes = max(count, min(LOOKED_AT, int((~hopeless).sum())))
        return offered[shuffled[order[:hopes]]]

    def _first(self, offered: Integers, count: int) -> Integers:
        """Before there is a model: points spread over the front of the bounds, then over what is behind it.

        Without bounds, designs in the order of their mean coordinate, as a measure of size, are cut into groups, and
        of each the one is taken that tells most of its group.
        """
        if self.scene.bounds is None:
            places = self.place(offered)
            groups = np.array_split(np.argsort(places.mean(axis=1), kind="stable"), min(count, len(offered)))
            return offered[[int(group[transductive(places[group], 1)[0]]) for group in groups]]
        below = self.scene.bounds(offered)
        chosen: list[int] = []
        left = np.arange(len(offered))
        while len(left) and len(chosen) < count:
            layer = left[front(below[left])]
            chosen += layer[spread(below[layer], count - len(chosen))].tolist()
            left = np.setdiff1d(left, layer)
        return offered[chosen]

    def _truths(self, points: Integers, values: Floats, offered: Integers, rng: np.random.Generator) -> list[Floats]:
        """Objectives of the candidates in each world [candidates, goals]; infinite where a point cannot be."""
        seen = self._learned_from(points, values, rng)
        worlds = np.stack(
            [self._drawn(points[seen], values[seen], offered, goal, rng) for goal in range(values.shape[1])], axis=2
        )
        cannot = np.array([p for p, a in self.told.items() if a.values is None][-LEARNED_FROM:], dtype=np.int64)
        if len(cannot):
            labels = np.concatenate([np.ones(len(seen)), -np.ones(len(cannot))])
            both = self.place(np.concatenate([points[seen], cannot]))
            can = Process(both, labels - labels.mean()).paths(self.place(offered), WORLDS, rng) + labels.mean() > 0
            worlds[~can] = np.inf
        return [worlds[:, i] for i in range(WORLDS)]

    def _learned_from(self, points: Integers, values: Floats, rng: np.random.Generator) -> Indices:
        """All points while they are few; then the front and others at random."""
        if len(points) <= LEARNED_FROM:
            return np.arange(len(points))
        best = front(values)[: LEARNED_FROM // 2]
        others = rng.permutation(np.setdiff1d(np.arange(len(points)), best))
        return np.sort(np.concatenate([best, others[: LEARNED_FROM - len(best)]]))

    def _drawn(
        self, points: Integers, values: Floats, offered: Integers, goal: int, rng: np.random.Generator
    ) -> Floats:
        """One objective of the candidates in all worlds [candidates, worlds]."""
        whole = scale(values[:, goal])
        rest, floor = whole(values[:, goal]), None
        if self.scene.bounds is not None:
            below, ahead = (self.scene.bounds(p)[:, goal] for p in (points, offered))
            if whole.takes(below) and whole.takes(ahead):  # a bound of 0 of what is positive tells nothing
                rest, floor = rest - whole(below), whole(ahead)
        inner = scale(rest, 0)
        drawn = inner.back(Process(self.place(points), inner(rest)).paths(self.place(offered), WORLDS, rng))
        if floor is not None:
            drawn = np.maximum(drawn, 0.0) + floor[:, None]
        return whole.back(drawn)


def world_of(known: Floats, truth: Floats) -> World:
    """How far the front of a world is from what is known, in shares of that front's extent."""
    members = front(truth)
    members = members[np.isfinite(truth[members]).all(axis=1)]
    members = members[~covered(truth[members], known)] if len(members) else members
    both = np.concatenate([known, truth[members]])
    targets = both[front(both)]
    extent = np.ptp(targets, axis=0)
    extent = np.where(extent > 0, extent, 1.0)
    targets, known, there = targets / extent, known / extent, truth[members] / extent
    return World(members, _apart(targets, known).min(axis=1), _apart(targets, there))


def spread(rows: Floats, count: int) -> list[int]:
    """Up to `count` rows [n, k] far from each other: from the least in the first column, each the farthest next."""
    extent = np.ptp(rows, axis=0)
    places = rows / np.where(extent > 0, extent, 1.0)
    chosen = [int(places[:, 0].argmin())]
    distance = _apart(places, places[chosen])[:, 0]
    while len(chosen) < min(count, len(rows)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, _apart(places, places[chosen[-1:]])[:, 0])
        distance[chosen] = -1.0
    return chosen


def _apart(a: Floats, b: Floats) -> Floats:
    distances: Floats = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    return distances
