"""In turn."""

from dfcompiler.serving.policy import Router, Weights


class RoundRobin(Router, name="round-robin"):
    """The replica that was given the fewest requests so far."""

    weights = Weights(assigned=1)
