"""Pieces of decoders in plain numpy, for one sequence without a cache, written from public descriptions of the models.

x[s, d] are tokens, q[s, h, e] and k, v[t, g, e] heads; the query heads of a group are neighbours.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph, Item, Region, Tensor

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class Weights:
    """The weights of a graph by the names that the family's text gives them, in the order of layers.

    `w("wq")` is the next one that was declared under this name; `left()` are those that were not asked for.
    """

    def __init__(self, graph: Graph) -> None:
        self.inputs = random_inputs(graph)
        self.queues: defaultdict[str, deque[Floats]] = defaultdict(deque)
        for name, value in self._declared(graph.body, 0, False):
            self.queues[re.sub(r"_\d+$", "", name)].append(value)

    def _declared(self, body: Sequence[Item], layer: int, inside: bool) -> Iterator[tuple[str, Floats]]:
        for item in body:
            if isinstance(item, Region):
                for i in range(item.count):
                    yield from self._declared(item.body, layer * item.count + i, True)
            elif isinstance(item, Tensor) and item.kind == "weight":
                value = self.inputs[item.name]
                yield item.name, value[layer] if inside else value

    def __call__(self, name: str) -> Floats:
        return self.queues[name].popleft()

    def left(self) -> list[str]:
        return [name for name, queue in self.queues.items() if queue]


def check(graph: Graph, forward: Callable[[Weights, Any], Floats]) -> None:
    """Assert that a prefill of one sequence gives the logits of `forward(weights, ids)`, which uses every weight."""
    w = Weights(graph)
    (ids,) = (v for k, v in w.inputs.items() if k == "ids")
    expected = forward(w, ids[0])
    assert w.left() == []
    np.testing.assert_allclose(run_graph(graph, w.inputs)[graph.outputs[0]][0], expected, rtol=1e-9, atol=1e-9)


def sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def silu(x: Floats) -> Floats:
    return x * sigmoid(x)


def gelu_tanh(x: Floats) -> Floats:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def rms(x: Floats, gain: Floats | float, eps: float = 1e-6) -> Floats:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain)


def heads(x: Floats, w: Floats) -> Floats:
    """Projection by w[..., e, d], all dims but the last two joined to one of heads."""
    return np.einsum("sd,hed->she", x, w.reshape(-1, *w.shape[-2:]))


def back(o: Floats, w: Floats) -> Floats:
    """Projection of heads to the width by w[d, g, r, e]."""
    return np.einsum("she,dhe->sd", o, w.reshape(len(w), -1, w.shape[-1]))


def turn(
    x: Floats, theta: float, turned: int | None = None, exponent: int | None = None, reach: int | None = None
) -> Floats:
    """Rotary embedding of the first `turned` elements, element i with i + reach, at theta^(-2 i / exponent)."""
    turned = turned or x.shape[-1]
    half = turned // 2
    reach = reach or half
    angle = np.arange(len(x))[:, None] * theta ** (-2 * np.arange(half) / (exponent or turned))
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    y = x.copy()
    a, b = x[..., :half], x[..., reach : reach + half]
    y[..., :half], y[..., reach : reach + half] = a * c - b * s, b * c + a * s
    return y


def causal(n: int, window: float = np.inf) -> Floats:
    """seen[s, t]: t is at or before s, and fewer than `window` before."""
    s, t = np.indices((n, n))
    return (t <= s) & (t > s - window)


def attend(q: Floats, k: Floats, v: Floats, seen: Any, scale: float, sink: Floats | None = None) -> Floats:
    """seen[s, t] or, per KV group, seen[g, s, t]; `sink` has one more score per query head, which has no value."""
    per = q.shape[1] // k.shape[1]
    x = np.einsum("she,the->hst", q, np.repeat(k, per, 1)) * scale
    x = np.where(np.repeat(seen, per, 0) if seen.ndim == 3 else seen, x, -np.inf)
    if sink is not None:
        x = np.concatenate([x, np.broadcast_to(sink.reshape(-1, 1, 1), (*x.shape[:2], 1))], -1)
    return np.einsum("hst,the->she", softmax(x)[..., : len(k)], np.repeat(v, per, 1))


def mixture(h: Floats, picks: Sequence[Sequence[tuple[int, float]]], expert: Callable[[int, Floats], Floats]) -> Floats:
    """Every token's sum of what its experts make of it, weighed."""
    return np.array([sum(p * expert(e, x) for e, p in chosen) for x, chosen in zip(h, picks, strict=True)])


def top(scores: Floats, count: int) -> list[int]:
    return [int(i) for i in np.argsort(-scores, kind="stable")[:count]]
