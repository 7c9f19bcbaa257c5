"""Algorithms of collective exchanges: how many steps each takes and how many bytes cross the busiest port of a device.

A step is a message of every device that waits for one of the step before. Bytes are a share of the message, which is
what a device holds before an all-reduce, a reduce-scatter, an all-to-all, a broadcast or a send, and after an
all-gather. Sources: Thakur, Rabenseifner, Gropp (2005) for ring, doubling and halving; Bruck et al. (1997) for numbers
of devices that are no powers of two; Sanders, Speck, Traeff (2009) for two trees; a switch that adds or copies takes
each byte once from every device and gives it once to every device that wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


class Way(NamedTuple):
    """`steps`; `share` of the message that crosses the busier direction of the busiest port, `both` directions
    together. Trees, chains and switches hand a message on in pieces: what small pieces come near is counted."""

    steps: Any
    share: Any
    both: Any


def _even(steps: Any, share: Any) -> Way:
    """Every device sends as much as it receives."""
    return Way(steps, share, 2 * share)


def _rounds(n: Floats) -> Any:
    return np.ceil(np.log2(n))


def _others(n: Floats) -> Any:
    return (n - 1) / n


def _doubling(n: Floats) -> Way:
    """Whole messages between partners at growing distance; devices beyond a power of two hand theirs in before and
    get the sum after."""
    folded = 2 * (np.log2(n) % 1 > 0)
    return _even(np.floor(np.log2(n)) + folded, np.floor(np.log2(n)) + folded)


def _bruck(n: Floats) -> Way:
    """All-to-all in rounds: in round k a device passes on every block whose distance has bit k."""
    rounds = np.arange(int(np.max(_rounds(n), initial=0)))
    period = 2.0 ** (rounds + 1)
    n_ = n[..., None]
    moved = np.floor(n_ / period) * period / 2 + np.maximum(n_ % period - period / 2, 0)
    return _even(_rounds(n), moved.sum(-1) / n)


def _neighbours(n: Floats) -> Way:
    """All-to-all on a ring of links: blocks take the shorter way around, half of the links in each direction."""
    return _even(np.floor(n / 2), np.floor(n * n / 4) / n)


# Exchange -> algorithm -> its way, for an array of numbers of devices.
WAYS: dict[str, dict[str, Callable[[Floats], Way]]] = {
    "all_reduce": {
        "ring": lambda n: _even(2 * (n - 1), 2 * _others(n)),
        "tree": lambda n: _even(2 * np.floor(np.log2(n)), np.minimum(2, n / 2)),  # two trees, half a message each
        "direct": lambda n: _even(2 + 0 * n, 2 * _others(n)),  # everyone adds one slice, then hands it to all
        "one-shot": lambda n: _even(1 + 0 * n, n - 1),  # everyone gets all, and adds
        "doubling": _doubling,
        "halving": lambda n: _even(2 * _rounds(n), 2 * _others(n)),
        "switch-reduced": lambda n: _even(2 + 0 * n, 1 + 1 / n),  # a sum of own slices, then to all
    },
    "reduce_scatter": {
        "ring": lambda n: _even(n - 1, _others(n)),
        "direct": lambda n: _even(1 + 0 * n, _others(n)),
        "halving": lambda n: _even(_rounds(n), _others(n)),
        "switch-reduced": lambda n: Way(1 + 0 * n, 1 + 0 * n, 1 + 1 / n),
    },
    "all_gather": {
        "ring": lambda n: _even(n - 1, _others(n)),
        "direct": lambda n: _even(1 + 0 * n, _others(n)),
        "doubling": lambda n: _even(_rounds(n), _others(n)),
        "switch-reduced": lambda n: Way(1 + 0 * n, 1 + 0 * n, 1 + 1 / n),
    },
    "all_to_all": {
        "direct": lambda n: _even(1 + 0 * n, _others(n)),
        "doubling": _bruck,
        "neighbours": _neighbours,
    },
    "broadcast": {
        "ring": lambda n: Way(n - 1, 1 + 0 * n, 2 + 0 * n),  # a chain
        "tree": lambda n: Way(_rounds(n), _rounds(n), _rounds(n)),
        "one-shot": lambda n: Way(1 + 0 * n, n - 1, n - 1),
        "switch-reduced": lambda n: Way(1 + 0 * n, 1 + 0 * n, 1 + 0 * n),
    },
    "send": {
        "direct": lambda n: Way(1 + 0 * n, 1 + 0 * n, 1 + 0 * n),
    },
}

# What a topology can carry at the bandwidth of all links of a device: in a switch all, but sums in it only where it
# adds; between all pairs what uses all pairs at once; in a ring of links what goes around, half of it each way.
TOPOLOGIES: dict[str, frozenset[str]] = {
    "switch-reduce": frozenset(
        {"ring", "tree", "direct", "one-shot", "doubling", "halving", "switch-reduced"}  # NVSwitch 3 and later
    ),
    "switch": frozenset({"ring", "tree", "direct", "one-shot", "doubling", "halving"}),
    "mesh": frozenset({"direct", "one-shot"}),
    "ring": frozenset({"ring", "neighbours"}),
}


def way(op: str, algorithm: str, topology: str, devices: Floats) -> Way | None:
    """The way of an algorithm over a topology; None where it does not run. `op`, `topology` are known names."""
    if op == "send" and topology in ("mesh", "ring"):  # over the links to one neighbour only
        links = devices - 1 if topology == "mesh" else np.minimum(devices - 1, 2)
        return Way(1 + 0 * devices, links, links) if algorithm == "direct" else None
    found = WAYS[op].get(algorithm)
    return found(devices) if found and algorithm in TOPOLOGIES[topology] else None
