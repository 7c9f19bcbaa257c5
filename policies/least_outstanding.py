"""Fewest requests."""

from dfcompiler.serving.policy import Router, Weights


class LeastOutstanding(Router, name="least-outstanding"):
    """The replica with the fewest requests that are not done."""

    weights = Weights(outstanding=1)
