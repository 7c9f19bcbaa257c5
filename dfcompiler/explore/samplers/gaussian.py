"""Gaussian processes without a package: one objective over coordinates between 0 and 1, in numpy alone.

Before data an objective of variance 1 is a constant, a linear trend and a smooth rest with a length scale for each
coordinate. Length scales are log-normal around values that grow with the square root of the number of coordinates, so
that with few points a coordinate counts only as far as the data insist (Hvarfner, Hellsten and Nardi, "Vanilla Bayesian
Optimization Performs Great in High Dimensions", ICML 2024; centre and spread are our choice). Hyperparameters are the
most likely ones after data.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONSTANT = 10.0  # variance of the constant
REST, TREND, NOISE = 0.5, 4.0, 1e-3  # variances before data: of the rest, of the whole trend, of noise
SPREADS = (1.0, 1.0, 1.5)  # standard deviations of their logarithms
NEAR, SPREAD = math.sqrt(2.0) / math.e, 1.0  # length scale over sqrt(coordinates), and of its logarithm
JITTER = 1e-6  # added to noise: keeps covariances positive definite
FEATURES = 256  # cosines in a path drawn before data
STEPS, STEP = 60, 0.1  # of the ascent, by Adam


class Process:
    """The process after it has seen `columns` [n, d] with `values` [n] of mean 0 and variance near 1."""

    def __init__(self, columns: Floats, values: Floats) -> None:
        self.columns, self.values = columns, values
        width = columns.shape[1]
        centre = [math.log(REST), math.log(TREND / max(1, width)), math.log(NOISE)]
        near = math.log(NEAR * math.sqrt(max(1, width)))
        self.centre = np.array(centre + [near] * width)
        self.spread = np.array([*SPREADS, *[SPREAD] * width])
        self.logs = self._ascend(self.centre)
        self.factor = np.linalg.cholesky(self._seen(self.logs)[0])

    def paths(self, columns: Floats, count: int, rng: np.random.Generator) -> Floats:
        """So many functions drawn from the process, at points [m, d]: an array [m, count].

        A function is drawn before data, from random cosines, and then corrected by what data say of its values at the
        points that were seen (Wilson et al., "Efficiently Sampling Functions from Gaussian Process Posteriors", ICML
        2020): a cost that grows linearly with the points.
        """
        rest, trend, noise = np.exp(self.logs[:3])
        n, width = self.columns.shape
        together = np.concatenate([self.columns, columns])
        waves = rng.standard_normal((width, FEATURES)) / np.exp(self.logs[3:])[:, None]
        cosines = np.cos(together @ waves + rng.uniform(0.0, 2.0 * np.pi, FEATURES))
        drawn = math.sqrt(2.0 * rest / FEATURES) * cosines @ rng.standard_normal((FEATURES, count))
        drawn += math.sqrt(trend) * (together - 0.5) @ rng.standard_normal((width, count))
        drawn += math.sqrt(CONSTANT) * rng.standard_normal(count)
        wrong = self.values[:, None] - drawn[:n] - math.sqrt(noise) * rng.standard_normal((n, count))
        pull = np.linalg.solve(self.factor.T, np.linalg.solve(self.factor, wrong))
        found: Floats = drawn[n:] + self._between(columns) @ pull
        return found

    def _between(self, columns: Floats) -> Floats:
        scales = np.exp(self.logs[3:])
        trend = np.exp(self.logs[1]) * (columns - 0.5) @ (self.columns - 0.5).T
        found: Floats = np.exp(self.logs[0]) * _radial(columns / scales, self.columns / scales) + trend + CONSTANT
        return found

    def _seen(self, logs: Floats) -> tuple[Floats, Floats, Floats]:
        """Covariance of what was seen, and its parts: the rest and the trend."""
        scaled = self.columns / np.exp(logs[3:])
        rest: Floats = np.exp(logs[0]) * _radial(scaled, scaled)
        trend: Floats = np.exp(logs[1]) * (self.columns - 0.5) @ (self.columns - 0.5).T
        noise = (np.exp(logs[2]) + JITTER) * np.eye(len(self.columns))
        return rest + trend + CONSTANT + noise, rest, trend

    def _slope(self, logs: Floats) -> Floats:
        """The gradient of the negative log posterior of the hyperparameters."""
        covariance, rest, trend = self._seen(logs)
        inverse = np.linalg.inv(covariance)
        pull = inverse @ self.values
        outer = 0.5 * (inverse - np.outer(pull, pull))
        shaped = outer * rest
        apart = 2.0 * (shaped.sum(axis=1) @ self.columns**2 - ((shaped @ self.columns) * self.columns).sum(axis=0))
        whole = [shaped.sum(), (outer * trend).sum(), np.exp(logs[2]) * np.trace(outer)]
        prior = (logs - self.centre) / self.spread**2
        slope: Floats = np.concatenate([whole, apart * np.exp(-2.0 * logs[3:])]) + prior
        return slope

    def _ascend(self, start: Floats) -> Floats:
        """Adam (Kingma and Ba, ICLR 2015) with its usual constants and a step that falls to nothing."""
        logs, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
        for i in range(1, STEPS + 1):
            slope = self._slope(logs)
            first = 0.9 * first + 0.1 * slope
            second = 0.999 * second + 0.001 * slope**2
            size = STEP * (1.0 - (i - 1) / STEPS)
            logs = logs - size * (first / (1.0 - 0.9**i)) / (np.sqrt(second / (1.0 - 0.999**i)) + 1e-12)
        return logs


def _radial(a: Floats, b: Floats) -> Floats:
    apart = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * a @ b.T
    radial: Floats = np.exp(-0.5 * np.maximum(apart, 0.0))
    return radial
