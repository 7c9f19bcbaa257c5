"""The longest answer first."""

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class LongestFirst(Policy, name="longest-first"):
    """The order in which list scheduling packs requests onto seats; it knows every answer's length."""

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> Ints:
        return generated - requests.output_tokens
