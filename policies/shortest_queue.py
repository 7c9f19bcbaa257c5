"""Fewest tokens."""

from dfcompiler.serving.policy import Router, Weights


class ShortestQueue(Router, name="shortest-queue"):
    """The replica whose requests have the fewest tokens: joining the shortest queue."""

    weights = Weights(tokens=1)
