"""Where the prefix is."""

from dfcompiler.serving.policy import Router, Weights


class PrefixAware(Router, name="prefix-aware"):
    """The replica with the fewest tokens before the request and of it, less those that it has cached."""

    weights = Weights(tokens=1, cached=-1)
