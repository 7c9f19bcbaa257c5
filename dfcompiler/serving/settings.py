"""How an engine makes its steps: the rules of the engines that people run, as data, and their sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dfcompiler.diagnostics import Diag, unknown

Reserve = Literal["chunk", "prompt", "all"]


@dataclass(frozen=True)
class Rules:
    """What engines differ in.

    mixed      prompts and decodes share a step; else a step with prompts stops all decoding
    chunked    a prompt may be computed in pieces, as the token budget allows; else it waits until it fits as a whole
    budgeted   a step has at most `max_batched_tokens` tokens
    reserve    blocks are taken as tokens are computed (`chunk`), for all of the prompt when it is admitted
               (`prompt`), or for prompt and output (`all`), so that nobody is ever preempted
    watermark  part of the blocks that an admission must leave free
    price      where steps are not mixed, prompts come in once the empty seats have cost so many times what the
               decoding requests lose by waiting: 0 at once, inf when nobody decodes any more
    """

    mixed: bool
    chunked: bool
    budgeted: bool
    reserve: Reserve
    watermark: float = 0.0
    price: float = 0.0


SEMANTICS = {
    # vLLM V1: decodes first, then chunks of prompts in what is left of the budget; blocks as tokens come.
    "vllm-v1": Rules(mixed=True, chunked=True, budgeted=True, reserve="chunk"),
    # vLLM V0: prompts come first and alone; a watermark of 1 % is the default of its block manager.
    "vllm-v0": Rules(mixed=False, chunked=False, budgeted=True, reserve="prompt", watermark=0.01),
    # ORCA (OSDI 2022): iteration-level scheduling of whole prompts, with memory for the longest answer reserved.
    "orca": Rules(mixed=True, chunked=False, budgeted=False, reserve="all"),
    # A batch is served to its end before the next one starts. The seats of those that end earlier stay empty.
    "static": Rules(mixed=False, chunked=False, budgeted=False, reserve="all", price=math.inf),
    # Sarathi-Serve (OSDI 2024): chunked prompts beside decodes, on the block manager of vLLM V0.
    "sarathi": Rules(mixed=True, chunked=True, budgeted=True, reserve="prompt", watermark=0.01),
}


@dataclass(frozen=True)
class Settings:
    """The rules of an engine and its sizes; defaults are those of vLLM V1 on a small GPU.

    Raises Diag `bad-engine`, or `unknown-semantics`.
    """

    semantics: str = "vllm-v1"
    max_batched_tokens: int = 2048  # default of vLLM V1 where the GPU has less than 70 GiB
    max_sequences: int = 256  # the same
    block_tokens: int = 16  # default of vLLM
    prefix_caching: bool = False

    def __post_init__(self) -> None:
        if self.semantics not in SEMANTICS:
            raise unknown("semantics", self.semantics, SEMANTICS)
        for name, most in (("max_batched_tokens", 1 << 30), ("max_sequences", 1 << 20), ("block_tokens", 1 << 20)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise Diag("bad-engine", f"`{name}` must be from 1 to {most:,}, not {value}")
        rules = SEMANTICS[self.semantics]
        if rules.budgeted and self.max_batched_tokens < self.max_sequences:
            message = f"{self.max_sequences} sequences cannot decode in a step of {self.max_batched_tokens} tokens"
            raise Diag("bad-engine", message, hint="raise `max_batched_tokens` or lower `max_sequences`")

    @property
    def rules(self) -> Rules:
        """The rules that the name of the semantics stands for."""
        return SEMANTICS[self.semantics]
