"""What lies between devices, and the time of an exchange over it: the alpha-beta model with protocols.

A step costs a latency, a byte the inverse of the bandwidth. A software library adds what it costs to start, and for
each of its protocols a latency per step and per device, the part of the bandwidth that is reached, and the time to fill
its buffers, which grows with the chunk that a device handles and levels off. It may choose a protocol by estimates of
its own, which need not be the fastest; without those the fastest is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfcompiler.algorithms import TOPOLOGIES, WAYS, Floats, Way, way
from dfcompiler.diagnostics import Diag, Span, unknown


@dataclass(frozen=True)
class Guess:
    """How a library estimates a protocol when it chooses: seconds, and the part of the bandwidth."""

    base_s: float
    step_s: float
    efficiency: float


@dataclass(frozen=True)
class Protocol:
    """One way of a library to move bytes, for some exchanges by some algorithms (empty: all), from `least_devices` on.

    Latency is `step_s` per step and `device_s` per device. A chunk is the message over the number of devices: of c
    bytes, filling takes c / (c + fill_bytes) of `fill_s`, and of `fill_device_s` per device. A device also copies its
    own chunk, of which `tail_chunks` are not hidden.
    """

    name: str = ""
    ops: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    least_devices: float = 2
    step_s: float = 0.0
    device_s: float = 0.0
    efficiency: float = 1.0
    fill_s: float = 0.0
    fill_device_s: float = 0.0
    fill_bytes: float = 1.0
    tail_chunks: float = 0.0
    guess: Guess | None = None


@dataclass(frozen=True)
class Library:
    """What runs exchanges: `base_s` to start one. `plain` is hardware alone."""

    name: str = "plain"
    base_s: float = 0.0
    protocols: tuple[Protocol, ...] = (Protocol(),)


PLAIN = Library()


@dataclass(frozen=True)
class Fabric:
    """Links of a device: bytes per second each way of all together, seconds of a step, topology, whether one direction
    takes from the other, and the library. Raises Diag `bad-link`, `unknown-topology`."""

    bytes_per_s: float
    latency_s: float = 0.0
    topology: str = "switch"
    half_duplex: bool = False
    library: Library = PLAIN
    span: Span | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.bytes_per_s) and self.bytes_per_s > 0):
            raise Diag("bad-link", f"a link of {self.bytes_per_s:g} B/s", self.span, hint="a positive bandwidth")
        if not (np.isfinite(self.latency_s) and self.latency_s >= 0):
            raise Diag("bad-link", f"a link with {self.latency_s:g} s of latency", self.span, hint="0 s or more")
        if self.topology not in TOPOLOGIES:
            raise unknown("topology", self.topology, TOPOLOGIES, self.span)


@dataclass(frozen=True)
class Choice:
    """Per row: seconds, the algorithm (with the protocol), and bytes through the busiest port of a device."""

    seconds: Floats
    algorithm: NDArray[np.str_]
    bytes: Floats


def collective_latency_s(
    op: ArrayLike, devices: ArrayLike, message_bytes: ArrayLike, fabric: Fabric
) -> tuple[Floats, NDArray[np.str_]]:
    """Seconds of exchanges and the algorithm of each; `op`, `devices` and `message_bytes` broadcast.

    `message_bytes` is what a device holds before an `all_reduce`, `reduce_scatter`, `all_to_all`, `broadcast` or
    `send`, and after an `all_gather`. Raises Diag `unknown-exchange`, `bad-exchange` (fewer than two devices, no whole
    number of them, a size that is negative or no number; no algorithm for the topology).
    """
    found = choose(op, devices, message_bytes, fabric)
    return found.seconds, found.algorithm


def choose(op: ArrayLike, devices: ArrayLike, message_bytes: ArrayLike, fabric: Fabric) -> Choice:
    """As `collective_latency_s`, with the bytes."""
    ops, n, size = np.broadcast_arrays(
        np.asarray(op), np.asarray(devices, dtype=float), np.asarray(message_bytes, dtype=float)
    )
    _check(n, size, fabric.span)
    seconds, moved = np.empty(n.shape), np.empty(n.shape)
    names = np.empty(n.shape, dtype="U32")
    for one in np.unique(ops):
        rows = ops == one
        best = _best(str(one), n[rows], size[rows], fabric)
        seconds[rows], names[rows], moved[rows] = best.seconds, best.algorithm, best.bytes
    return Choice(seconds, names, moved)


def _check(devices: Floats, size: Floats, span: Span | None) -> None:
    if (bad := ~((devices >= 2) & (devices % 1 == 0) & np.isfinite(devices))).any():
        message = f"an exchange between {devices[bad].flat[0]:g} devices"
        raise Diag("bad-exchange", message, span, hint="a whole number of devices, 2 or more")
    if (bad := ~(np.isfinite(size) & (size >= 0))).any():
        raise Diag("bad-exchange", f"a message of {size[bad].flat[0]:g} bytes", span, hint="0 bytes or more")


Candidate: TypeAlias = tuple[str, Protocol, Way]


def _candidates(op: str, n: Floats, fabric: Fabric) -> list[Candidate]:
    """Algorithms by protocols that the library and the topology have for an exchange."""
    if op not in WAYS:
        raise unknown("exchange", op, WAYS, fabric.span)
    found = [
        ("-".join(filter(None, [algorithm, protocol.name])), protocol, one)
        for protocol in fabric.library.protocols
        if not protocol.ops or op in protocol.ops
        for algorithm in protocol.algorithms or WAYS[op]
        if (one := way(op, algorithm, fabric.topology, n))
    ]
    if not found or np.min(n, initial=np.inf) < min(p.least_devices for _, p, _ in found):
        asked = f"`{op}` between {np.min(n):g} devices over a `{fabric.topology}`"
        message = f"`{fabric.library.name}` has no algorithm for {asked}"
        raise Diag("bad-exchange", message, fabric.span, hint="another topology, or the library `plain`")
    return found


def _best(op: str, n: Floats, size: Floats, fabric: Fabric) -> Choice:
    found = _candidates(op, n, fabric)
    seconds = [_seconds(p, w, n, size, fabric) for _, p, w in found]
    guesses = _guesses(found, size, fabric) or seconds
    rank = [np.where(n >= p.least_devices, g, np.inf) for (_, p, _), g in zip(found, guesses, strict=True)]
    at = np.argmin(rank, axis=0)[None]
    moved = np.array([_bytes(w, size, fabric) for _, _, w in found])
    names = np.array([name for name, _, _ in found])[at[0]]
    return Choice(np.take_along_axis(np.array(seconds), at, 0)[0], names, np.take_along_axis(moved, at, 0)[0])


def _guesses(found: Sequence[Candidate], size: Any, fabric: Fabric) -> list[Any] | None:
    """What the library estimates, where it estimates everything."""
    guesses = [(p.guess, w) for _, p, w in found if p.guess]
    return [_guess(g, w, size, fabric) for g, w in guesses] if len(guesses) == len(found) else None


def _bytes(found: Way, size: Any, fabric: Fabric) -> Any:
    return (found.both if fabric.half_duplex else found.share) * size


def _seconds(p: Protocol, found: Way, n: Any, size: Any, fabric: Fabric) -> Any:
    """Of numbers or of arrays, as all that it calls."""
    chunk = size / n
    wire = (_bytes(found, size, fabric) + p.tail_chunks * chunk) / (fabric.bytes_per_s * p.efficiency)
    step_s = max(p.step_s, fabric.latency_s)  # what a library takes for a step was measured over some link
    fill = (p.fill_s + n * p.fill_device_s) * chunk / (chunk + p.fill_bytes)
    return fabric.library.base_s + n * p.device_s + found.steps * step_s + fill + wire


def _guess(guess: Guess, found: Way, size: Any, fabric: Fabric) -> Any:
    wire = _bytes(found, size, fabric) / (fabric.bytes_per_s * guess.efficiency)
    return guess.base_s + found.steps * guess.step_s + wire


def fewest_bytes(op: str, devices: int, message_bytes: float, fabric: Fabric) -> float:
    """The least that any algorithm of the topology moves through a device's busiest port."""
    n, size = np.array(float(devices)), np.array(message_bytes)
    ways = (way(op, a, fabric.topology, n) for a in WAYS[op])
    return min((float(_bytes(w, size, fabric)) for w in ways if w), default=0.0)


@lru_cache(maxsize=256)
def _alone(op: str, devices: int, fabric: Fabric) -> tuple[Candidate, ...]:
    """The candidates of one row, in plain numbers."""
    _check(np.array(float(devices)), np.array(0.0), fabric.span)
    found = _candidates(op, np.array(float(devices)), fabric)
    return tuple((name, p, Way(*map(float, w))) for name, p, w in found if devices >= p.least_devices)


@lru_cache(maxsize=4096)
def exchange_time(op: str, devices: int, message_bytes: float, fabric: Fabric) -> tuple[float, str, float]:
    """One row of `choose` without arrays, kept, since a search asks for many: seconds, algorithm, bytes."""
    found = _alone(op, devices, fabric)
    n, size = float(devices), message_bytes
    _check(np.array(n), np.array(size), fabric.span)
    seconds = [_seconds(p, w, n, size, fabric) for _, p, w in found]
    rank = _guesses(found, size, fabric) or seconds
    at = min(range(len(rank)), key=rank.__getitem__)
    return float(seconds[at]), found[at][0], float(_bytes(found[at][2], size, fabric))
