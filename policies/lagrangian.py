"""Prompts inserted once waiting costs more."""

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class Lagrangian(Policy, name="lagrangian"):
    """Longest answer first; decoding stops for prompts once empty seats have cost `price` times what that costs.

    The hybrid schedule of arXiv 2502.15763: seats are packed longest first, and a multiplier weighs the seconds for
    which decoding requests would stand still against those for which seats stood empty. Our reading of it: both
    are counted in seconds times seats, and the empty ones add up from one prefill to the next.
    """

    price: float = 1.0

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> Ints:
        return generated - requests.output_tokens

    def insertion_price(self) -> float:
        return self.price
