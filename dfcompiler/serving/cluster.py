"""A cluster: pools of equal replicas, a router before them, and the links over which caches move."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.layout import ARRIVALS, CACHES, HANDS_ON
from dfcompiler.serving.policy import Policy, Router, policy, router
from dfcompiler.serving.requests import Ints, Requests
from dfcompiler.serving.settings import SEMANTICS, Settings
from dfcompiler.serving.table import StepTable

Role = Literal["both", "prefill", "decode"]

UNLIMITED = 1 << 40  # tokens in a step

ROLES: dict[str, int] = {"both": ARRIVALS, "prefill": ARRIVALS | HANDS_ON, "decode": CACHES}


@dataclass(frozen=True)
class Pool:
    """Replicas of one kind: `both` serves requests to the end, `prefill` to the first token, `decode` from there."""

    table: StepTable
    settings: Settings = field(default_factory=Settings)
    replicas: int = 1
    role: Role = "both"

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise Diag("bad-cluster", f"a pool needs at least one replica, not {self.replicas}")

    @property
    def blocks(self) -> int:
        """Blocks of the cache of one replica."""
        return self.table.tokens_capacity // self.settings.block_tokens

    @property
    def budget(self) -> int:
        """Tokens that a step may have."""
        return self.settings.max_batched_tokens if self.settings.rules.budgeted else UNLIMITED

    @property
    def watermark(self) -> int:
        """Blocks that an admission must leave free."""
        return math.ceil(self.settings.rules.watermark * self.blocks)

    def holds(self, tokens: Ints) -> NDArray[np.bool_]:
        """Whether a request that is alone can have so many tokens in the cache, computed anew if need be."""
        fits: NDArray[np.bool_] = -(-tokens // self.settings.block_tokens) <= self.blocks - self.watermark
        return fits if self.settings.rules.chunked else fits & (tokens <= self.budget)


@dataclass(frozen=True)
class Link:
    """How a cache leaves the replica that computed it: `bytes_per_token` over `bytes_per_s`, then `latency_s`.

    The cache of a layer can leave once the layer is computed, where `layers` is more than 1; a step is taken to
    spend equal time in each. What one replica sends goes one after the other; `shared` is one link for all of them.
    """

    bytes_per_s: float
    bytes_per_token: float
    latency_s: float = 0.0
    layers: int = 1
    shared: bool = False

    def __post_init__(self) -> None:
        if not (self.bytes_per_s > 0 and 0 <= self.bytes_per_token < math.inf and 0 <= self.latency_s < math.inf):
            raise Diag("bad-cluster", f"a link needs a positive bandwidth, and finite sizes and latency: {self}")
        if self.layers < 1:
            raise Diag("bad-cluster", f"a cache has at least one layer, not {self.layers}")


@dataclass(frozen=True)
class Spill:
    """When replicas help those of another role, as Splitwise's mixed pool does (ISCA 2024).

    A request whose prefill replica has more than `tokens` waiting goes to a decode replica that has fewer, and stays
    there. A cache stays where it was computed while every decode replica has more than the share `cache` of its
    blocks in use or asked for. Raises Diag `bad-cluster`.
    """

    tokens: int
    cache: float

    def __post_init__(self) -> None:
        if not (self.tokens >= 0 and 0 <= self.cache < math.inf):
            raise Diag("bad-cluster", f"pools help each other from so many tokens, and a part of a cache, on: {self}")


@dataclass(frozen=True)
class Cluster:
    """Pools, and what decides between them. A policy or router given by name is one that `dfc list` knows.

    Raises Diag `bad-cluster` where requests could not get in, or not to the end.
    """

    pools: tuple[Pool, ...]
    policy: Policy = field(default_factory=lambda: policy("fcfs"))
    router: Router = field(default_factory=lambda: router("round-robin"))
    link: Link | None = None
    spill: Spill | None = None

    def __post_init__(self) -> None:
        roles = {p.role for p in self.pools}
        if not roles & {"both", "prefill"}:
            raise Diag("bad-cluster", "no pool takes requests", hint="one must have the role `both` or `prefill`")
        if ("prefill" in roles) != ("decode" in roles):
            raise Diag("bad-cluster", "pools of the roles `prefill` and `decode` need each other")
        if ("prefill" in roles) != (self.link is not None):
            raise Diag("bad-cluster", "a link is for pools of the roles `prefill` and `decode`, and they need one")
        if self.spill is not None and "prefill" not in roles:
            raise Diag("bad-cluster", "only pools of the roles `prefill` and `decode` spill into each other")
        if not self.policy.period_s > 0:
            raise Diag("bad-cluster", f"the policy `{self.policy.name}` must have a positive period")
        price = self.policy.insertion_price()
        if price is not None and not price >= 0:
            raise Diag("bad-cluster", f"the policy `{self.policy.name}` has the negative price {price}")
        if price is not None and any(p.settings.rules.mixed for p in self.pools):
            fit = ", ".join(name for name, rules in SEMANTICS.items() if not rules.mixed)
            message = f"the policy `{self.policy.name}` decides when prompts stop decoding, which mixed steps never do"
            raise Diag("bad-cluster", message, hint=f"semantics without mixed steps are {fit}")

    def fitting(self, requests: Requests) -> NDArray[np.bool_]:
        """Which pool can take which request, shape `[pools, n]`; a pool of prefills needs one that decodes it."""
        prompt, final = requests.prompt_tokens, requests.prompt_tokens + requests.output_tokens - 1
        decoded = np.zeros(len(requests), dtype=np.bool_)
        for pool in self.pools:
            decoded |= pool.holds(final) & (pool.role == "decode")
        return np.array([p.holds(prompt) & decoded if p.role == "prefill" else p.holds(final) for p in self.pools])
