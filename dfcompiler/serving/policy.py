"""Policies and routers: who is served first, and where. Each is a class in one file of a folder `policies/`.

    class ShortestPrompt(Policy, name="shortest-prompt"):
        def key(self, requests, now_s, generated):
            return requests.prompt_tokens

    class Packed(Router, name="packed"):
        weights = Weights(cache=-1)

Dropping the file into `policies/`, ours or a plug-in's, registers the class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, dataclass_transform

from numpy.typing import ArrayLike

from dfcompiler import registry
from dfcompiler.serving.requests import Floats, Ints, Requests


@dataclass_transform(frozen_default=True)
class Policy(ABC):
    """An order of requests; a frozen dataclass, whose fields are its options.

    Those with smaller keys are admitted first and preempted last; equal keys go by arrival. A request gets its key
    when it comes. Where `period_s` is finite, all that are not done get new ones after each such time.
    """

    name: ClassVar[str]
    period_s: ClassVar[float] = math.inf

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        dataclass(frozen=True)(cls)
        if name is None:
            return
        cls.name = name
        registry.register("policy", name, cls)

    @abstractmethod
    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> ArrayLike:
        """Keys of these requests, each at its time, with so many tokens generated; shape `[n]` or a scalar."""

    def insertion_price(self) -> float | None:
        """The `price` of `settings.Rules`, in place of that of the semantics; None leaves it."""
        return None


@dataclass(frozen=True)
class Weights:
    """What a request's place costs, as a sum of what is true of a replica, each with its weight.

    assigned     requests that it was given so far
    outstanding  requests that it has and that are not done
    tokens       tokens of these requests: prompts, and outputs so far
    cache        part of its blocks that are in use or asked for, 0 to 1 or more
    cached       tokens of the request that it has in its cache of prefixes
    """

    assigned: float = 0.0
    outstanding: float = 0.0
    tokens: float = 0.0
    cache: float = 0.0
    cached: float = 0.0

    def numbers(self) -> tuple[float, float, float, float, float]:
        """The weights in the order above."""
        return self.assigned, self.outstanding, self.tokens, self.cache, self.cached


@dataclass(frozen=True)
class Load:
    """One replica that could take a request, as its latest step will leave it. The numbers are those of `Weights`."""

    replica: int
    assigned: int
    outstanding: int
    tokens: int
    cache: float
    cached: int


@dataclass_transform(frozen_default=True)
class Router(ABC):
    """A choice of replica; a frozen dataclass, whose fields are its options.

    The replica with the least weighted sum takes the request, the first of them where several have it. A router that
    wants more overrides `choose`; it is then called for every request, which costs microseconds.
    """

    name: ClassVar[str]
    weights: ClassVar[Weights] = Weights()

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        dataclass(frozen=True)(cls)
        if name is None:
            return
        cls.name = name
        registry.register("router", name, cls)

    def choose(self, requests: Requests, request: int, loads: Sequence[Load]) -> int:
        """Which of `loads` (never empty) takes the request; an index into `loads`."""
        a, o, t, k, c = self.weights.numbers()
        costs = [a * x.assigned + o * x.outstanding + t * x.tokens + k * x.cache + c * x.cached for x in loads]
        return costs.index(min(costs))

    @property
    def linear(self) -> bool:
        """Whether the weights say all."""
        return type(self).choose is Router.choose


def policy(name: str) -> Policy:
    """The policy of this name with its defaults; raises Diag `unknown-policy`."""
    made = registry.lookup("policy", name)()
    assert isinstance(made, Policy)
    return made


def router(name: str) -> Router:
    """The router of this name with its defaults; raises Diag `unknown-router`."""
    made = registry.lookup("router", name)()
    assert isinstance(made, Router)
    return made
