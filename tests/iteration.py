"""An iteration-level server in plain Python, written apart from the engines: an oracle of their vLLM V1 semantics where
caches are never short, nothing is shared and everyone is served in order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

Step = Callable[[Sequence[tuple[int, int]], Sequence[int]], float]  # chunks (new, past), contexts -> seconds


def serve(
    requests: Sequence[tuple[float, int, int]], step_s: Step, budget: int, seats: int
) -> list[tuple[float, float, float]]:
    """First token, last token and longest gap of requests `(arrival, prompt, output)` in order of arrival."""
    waiting = deque(range(len(requests)))
    running: list[int] = []
    done_prompt = [0] * len(requests)
    tokens: list[list[float]] = [[] for _ in requests]
    now = 0.0
    while waiting or running:
        if not running and requests[waiting[0]][0] > now:
            now = requests[waiting[0]][0]
        left = budget
        decode = [i for i in running if done_prompt[i] == requests[i][1]]
        left -= len(decode)
        chunks: list[tuple[int, int, int]] = []
        for i in running:
            take = min(left, requests[i][1] - done_prompt[i])
            if take > 0:
                chunks.append((i, take, done_prompt[i]))
                left -= take
        while waiting and requests[waiting[0]][0] <= now + 1e-9 and len(running) < seats and left > 0:
            i = waiting.popleft()
            running.append(i)
            take = min(left, requests[i][1])
            chunks.append((i, take, 0))
            left -= take
        contexts = [requests[i][1] + len(tokens[i]) - 1 for i in decode]
        now += step_s([(take, past) for _, take, past in chunks], contexts)
        for i, take, _ in chunks:
            done_prompt[i] += take
        for i in [*decode, *(i for i, _, _ in chunks if done_prompt[i] == requests[i][1])]:
            tokens[i].append(now)
        running = [i for i in running if len(tokens[i]) < requests[i][2]]
    return [(t[0], t[-1], max((b - a for a, b in pairwise(t)), default=0.0)) for t in tokens]
