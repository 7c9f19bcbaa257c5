"""Prefixes that requests share, from the tokens of their prompts.

Requests whose first tokens are the same are one group, and its chain is what all of them are held against: a prompt
that goes on where the chain ends makes it longer, as the turns of a conversation do, another one shares what it has in
common with it. So two requests of a group have in common at least the less of what both share; that they have more in
common with each other than with the chain is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

HEAD = 16  # tokens by which groups are told apart: a block of vLLM, less than which is never found


def shared_prefixes(prompts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Group, or -1, and shared tokens of each prompt, in order of arrival."""
    chains: dict[tuple[int, ...], list[int]] = {}
    number: dict[tuple[int, ...], int] = {}
    groups, shared = [], []
    for prompt in prompts:
        head = tuple(prompt[:HEAD])
        if len(head) < HEAD:
            groups.append(-1)
            shared.append(0)
            continue
        chain = chains.setdefault(head, list(prompt))
        common = common_length(chain, prompt)
        if common == len(chain):
            chains[head], common = list(prompt), len(prompt)
        groups.append(number.setdefault(head, len(number)))
        shared.append(common)
    return groups, shared


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
