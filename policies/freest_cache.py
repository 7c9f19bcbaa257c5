"""Most room in the cache."""

from dfcompiler.serving.policy import Router, Weights


class FreestCache(Router, name="freest-cache"):
    """The replica with the smallest part of its cache in use or asked for."""

    weights = Weights(cache=1)
