"""A Gaussian process with a deep tree kernel: a design's place is computed up its tree, from its leaves.

A leaf's embedding is tanh(a v + b) of its value, an inner node's tanh(W children + b) of its children's; nodes of one
kind share their weights. The kernel is a radial one between the roots' embeddings. Weights, amplitude and noise are
those of the largest marginal likelihood times a normal prior of the weights, found by L-BFGS with exact gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from dfcompiler.explore.samplers.trees import Node

Floats = NDArray[np.float64]

WIDTH = 4  # numbers in an embedding: our choice
DECAY = 1.0  # precision of the prior of the weights: our choice
STEPS = 40
NOISE = np.log(1e-2)  # of a variance of 1, where the ascent starts


@dataclass(frozen=True)
class Layout:
    """Where the weights of each kind of node lie in one vector; the last two numbers are log amplitude and noise."""

    places: dict[str, tuple[slice, tuple[int, int]]]
    size: int


def layout(root: Node) -> Layout:
    """The layout of a tree: per kind a matrix [WIDTH, inputs + 1], the last column for the constant."""
    places: dict[str, tuple[slice, tuple[int, int]]] = {}
    end = 0

    def place(node: Node) -> None:
        nonlocal end
        for child in node.children:
            place(child)
        if node.kind not in places:
            shape = (WIDTH, (1 if node.axis is not None else WIDTH * len(node.children)) + 1)
            places[node.kind] = slice(end, end + shape[0] * shape[1]), shape
            end += shape[0] * shape[1]

    place(root)
    return Layout(places, end + 2)


def embed(node: Node, at: Layout, weights: Floats, columns: Floats) -> tuple[Floats, Callable[[Floats, Floats], None]]:
    """Embeddings [n, WIDTH] of designs [n, axes], and what adds the gradient of weights for one of embeddings."""
    place, shape = at.places[node.kind]
    matrix = weights[place].reshape(shape)
    if node.axis is not None:
        inputs, below = columns[:, [node.axis]], []
    else:
        below = [embed(child, at, weights, columns) for child in node.children]
        inputs = np.concatenate([values for values, _ in below], axis=1)
    outputs = np.tanh(inputs @ matrix[:, :-1].T + matrix[:, -1])

    def backward(wanted: Floats, gradient: Floats) -> None:
        inner = wanted * (1.0 - outputs**2)
        gradient[place] += np.concatenate([inner.T @ inputs, inner.sum(axis=0)[:, None]], axis=1).ravel()
        down = inner @ matrix[:, :-1]
        for i, (_, back) in enumerate(below):
            back(down[:, i * WIDTH : (i + 1) * WIDTH], gradient)

    return outputs, backward


class DeepTree:
    """The process after it has seen `columns` [n, axes], between 0 and 1, and `values` [n], of variance near 1."""

    def __init__(self, root: Node, columns: Floats, values: Floats, rng: np.random.Generator) -> None:
        self.root, self.at, self.values = root, layout(root), values
        start = np.append(rng.normal(0.0, 0.5, self.at.size - 2), [0.0, NOISE])
        found = minimize(self._loss, start, (columns,), jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
        self.weights: Floats = found.x
        self.seen, _ = embed(root, self.at, self.weights, columns)
        self.factor = cho_factor(self._covariance(self.seen))
        self.pull: Floats = cho_solve(self.factor, values)

    def __call__(self, columns: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation [n] at designs [n, axes]."""
        there, _ = embed(self.root, self.at, self.weights, columns)
        amplitude = float(np.exp(self.weights[-2]))
        across = amplitude * _radial(there, self.seen)
        variance = amplitude - (across * cho_solve(self.factor, across.T).T).sum(axis=1)
        return across @ self.pull, np.sqrt(np.maximum(variance, 1e-10))

    def _covariance(self, seen: Floats) -> Floats:
        noise = float(np.exp(self.weights[-1])) + 1e-6
        covariance: Floats = np.exp(self.weights[-2]) * _radial(seen, seen) + noise * np.eye(len(seen))
        return covariance

    def _loss(self, weights: Floats, columns: Floats) -> tuple[float, Floats]:
        self.weights = np.append(weights[:-2], np.clip(weights[-2:], [-5.0, np.log(1e-5)], [5.0, 1.0]))
        seen, backward = embed(self.root, self.at, self.weights, columns)
        covariance = self._covariance(seen)
        factor = cho_factor(covariance)
        pull = cho_solve(factor, self.values)
        loss = 0.5 * self.values @ pull + np.log(np.diag(factor[0])).sum()
        slope = 0.5 * (cho_solve(factor, np.eye(len(seen))) - np.outer(pull, pull))
        shaped = slope * np.exp(self.weights[-2]) * _radial(seen, seen)
        gradient = np.zeros_like(weights)
        backward(-2.0 * (shaped.sum(axis=1)[:, None] * seen - shaped @ seen), gradient)
        gradient[-2:] = shaped.sum(), np.exp(self.weights[-1]) * np.trace(slope)
        prior = np.append(weights[:-2] * DECAY, (weights[-2:] - [0.0, NOISE]) / 4.0)
        loss += 0.5 * DECAY * weights[:-2] @ weights[:-2] + 0.125 * ((weights[-2:] - [0.0, NOISE]) ** 2).sum()
        return float(loss), gradient + prior


def _radial(a: Floats, b: Floats) -> Floats:
    distance = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * a @ b.T
    radial: Floats = np.exp(-0.5 * np.maximum(distance, 0.0))
    return radial
