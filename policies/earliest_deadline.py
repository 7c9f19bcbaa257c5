"""Earliest deadline first."""

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class EarliestDeadline(Policy, name="edf"):
    """By the time at which the first token is due; without a promise, last."""

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> Floats:
        return requests.arrival_s + requests.ttft_slo_s
