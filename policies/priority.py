"""By priority, then by arrival."""

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class Priority(Policy, name="priority"):
    """The smaller number first, as vLLM's `--scheduling-policy priority`."""

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> Ints:
        return requests.priority
