"""First come, first served."""

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class Fcfs(Policy, name="fcfs"):
    """By arrival; the default of every engine."""

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> float:
        return 0.0
