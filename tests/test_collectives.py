"""Collective exchanges: algorithms against their messages, choices, measured data, and what is refused."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import messages
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import Network, apart, own
from test_registry import MakePlugin, plugin

from dfcompiler import content
from dfcompiler.algorithms import TOPOLOGIES, WAYS, way
from dfcompiler.diagnostics import Diag
from dfcompiler.fabrics import (
    Fabric,
    Guess,
    Library,
    Protocol,
    choose,
    collective_latency_s,
    exchange_time,
    fewest_bytes,
)
from dfcompiler.hardware import load_chip
from dfcompiler.hardware.tech import load_tech
from dfcompiler.hardware.template import Interconnect
from dfcompiler.libraries import library_names, load_library
from dfcompiler.registry import lookup, names
from dfcompiler.text.tree import Quantity

__all__ = ["plugin"]  # the fixture

ROOT = Path(__file__).resolve().parents[1]
DEVICES = range(2, 10)
GIB = 2.0**30


def link(kind: str, **axes: object) -> Interconnect:
    template = lookup("template", kind)(**axes)
    assert isinstance(template, Interconnect)
    return template


def one(op: str, algorithm: str, devices: int) -> tuple[float, float, float]:
    """Steps, share and both of an algorithm, on whatever topology runs it."""
    found = next(w for t in TOPOLOGIES if (w := way(op, algorithm, t, np.array(float(devices)))))
    return float(found.steps), float(found.share), float(found.both)


# ---- algorithms --------------------------------------------------------------------------------

ROUNDS: list[tuple[str, str, Callable[[int], messages.Rounds]]] = [
    *(("all_reduce", name, rounds) for name, rounds in messages.REDUCED.items()),
    *(("reduce_scatter", name, rounds) for name, rounds in messages.SCATTERED.items()),
    *(("all_gather", name, rounds) for name, rounds in messages.GATHERED.items()),
    *(("broadcast", name, rounds) for name, rounds in messages.BROADCAST.items()),
]


UNEVEN = {("all_reduce", "doubling"), ("broadcast", "tree")}


@pytest.mark.parametrize("devices", DEVICES)
@pytest.mark.parametrize(("op", "algorithm", "rounds"), ROUNDS, ids=lambda x: x if isinstance(x, str) else "")
def test_an_algorithm_takes_the_time_and_bytes_of_its_messages(
    op: str, algorithm: str, rounds: Callable[[int], messages.Rounds], devices: int
) -> None:
    everyone = frozenset(range(devices))
    # Where devices are no power of two, some need not wait for others here, and nothing says that they must not.
    exact = (op, algorithm) not in UNEVEN or devices & (devices - 1) == 0
    begin = {"all_gather": own(devices), "broadcast": apart(devices)}.get(op, apart(devices))
    for latency, chunk in ((1.0, 0.0), (0.0, 1.0), (0.25, 1.0), (3.0, 0.5)):
        net = Network([list(x) for x in begin], chunk, latency)
        for messages_ in rounds(devices):
            net.round(messages_)
        steps, share, both = one(op, algorithm, devices)
        counted = steps * latency + share * devices * chunk
        if exact:
            assert net.seconds == pytest.approx(counted)
        assert 0 < net.seconds <= counted * (1 + 1e-9)
    if op == "reduce_scatter":
        assert all(net.held[d][d] == everyone for d in range(devices))
    else:
        whole = [frozenset({0})] * devices if op == "broadcast" else [everyone] * devices
        assert all(net.held[d] == whole for d in range(devices))
    ports = range(devices)
    assert share >= max(max(net.sent[d], net.received[d]) for d in ports) / devices - 1e-12
    assert both >= max(net.sent[d] + net.received[d] for d in ports) / devices - 1e-12
    if exact:
        assert both == pytest.approx(max(net.sent[d] + net.received[d] for d in ports) / devices)


@pytest.mark.parametrize("devices", DEVICES)
def test_handing_on_in_pieces_comes_near_what_is_counted(devices: int) -> None:
    runs = [("all_reduce", "tree", messages.tree_run), ("all_reduce", "switch-reduced", messages.switch_run)]
    for op, algorithm, run in [*runs, ("broadcast", "ring", messages.chain_run)]:
        steps, share, _ = one(op, algorithm, devices)
        assert run(devices, 1, 1.0, 0.0)[0] == pytest.approx(steps)  # without bytes
        seconds, busiest = run(devices, 64, 0.0, 1.0)  # without latency
        assert busiest == pytest.approx(share)
        assert share - 1e-9 <= seconds <= 1.3 * share  # in the order of coming, which is not the best one


def test_a_chain_takes_one_piece_more_per_device() -> None:
    for n, pieces in itertools.product(DEVICES, (1, 4, 32)):
        seconds, _ = messages.chain_run(n, pieces, 0.5, 1.0)
        assert seconds == pytest.approx((n - 1) * 0.5 + 1 + (n - 2) / pieces)


@pytest.mark.parametrize("devices", DEVICES)
def test_all_to_all_moves_every_block(devices: int) -> None:
    """Direct: a block for each other device. In rounds: blocks by the bits of their distance. On a ring of links: each
    by the shorter way, those half around shared by both."""
    blocks = {(s, d) for s in range(devices) for d in range(devices)}
    steps, share, _ = one("all_to_all", "direct", devices)
    assert (steps, share * devices) == (1, pytest.approx(devices - 1))
    at, sent = {b: b[0] for b in blocks}, 0
    rounds = (devices - 1).bit_length()
    for k in range(rounds):
        moving = [b for b in blocks if (b[1] - b[0]) % devices >> k & 1]
        sent += sum(at[b] == 0 for b in moving)
        at |= {b: (at[b] + 2**k) % devices for b in moving}
    assert all(at[b] == b[1] for b in blocks)
    steps, share, _ = one("all_to_all", "doubling", devices)
    assert (steps, share * devices) == (rounds, pytest.approx(sent))
    load = [0.0, 0.0]  # of one link, clockwise and back, in blocks
    for far in range(1, devices):
        for way_, hops in enumerate((far, devices - far)):
            if hops <= devices - hops:
                load[way_] += hops * (0.5 if 2 * hops == devices else 1)
    steps, share, _ = one("all_to_all", "neighbours", devices)
    assert (steps, share * devices / 2) == (devices // 2, pytest.approx(max(load)))


# ---- choice ------------------------------------------------------------------------------------

OPS = st.sampled_from(sorted(WAYS))
LIBRARIES = st.sampled_from(["plain", "nccl-sm80", "nccl-sm90"])


@given(
    st.lists(st.tuples(OPS, st.integers(2, 64), st.floats(0, 1e12)), min_size=1, max_size=8), LIBRARIES, st.booleans()
)
def test_property_many_rows_are_each_alone(rows: list[tuple[str, int, float]], library: str, half: bool) -> None:
    fabric = Fabric(3e11, 5e-7, "switch-reduce", half, load_library(library))
    op, devices, size = zip(*rows, strict=True)
    seconds, algorithm = collective_latency_s(np.array(op), np.array(devices), np.array(size), fabric)
    for i, row in enumerate(rows):
        alone = exchange_time(*row, fabric)
        assert alone[0] == pytest.approx(seconds[i], rel=1e-12) and alone[1] == algorithm[i]
        assert alone[2] >= fewest_bytes(*row, fabric) * (1 - 1e-12)


@given(OPS, st.integers(2, 64), st.floats(0, 1e12), st.sampled_from(sorted(TOPOLOGIES)), st.booleans())
def test_property_without_a_library_the_fastest_is_taken(
    op: str, n: int, size: float, topology: str, half: bool
) -> None:
    fabric = Fabric(1e11, 1e-6, topology, half)
    ways = [w for a in WAYS[op] if (w := way(op, a, topology, np.array(float(n))))]
    if not ways:
        return
    times = [float(w.steps) * 1e-6 + size * float(w.both if half else w.share) / 1e11 for w in ways]
    seconds, _, moved = exchange_time(op, n, size, fabric)
    assert seconds == pytest.approx(min(times))
    assert seconds >= moved / 1e11


def test_the_algorithm_changes_with_size_and_topology() -> None:
    switch, adds = Fabric(450e9, 1e-6), Fabric(450e9, 1e-6, "switch-reduce")
    assert [exchange_time("all_reduce", 8, s, switch)[1] for s in (1e3, 1e8)] == ["one-shot", "direct"]
    assert exchange_time("all_reduce", 8, 1e9, adds)[1] == "switch-reduced"
    assert exchange_time("all_reduce", 8, 1e9, Fabric(450e9, 1e-6, "ring"))[1] == "ring"
    assert exchange_time("send", 4, 1e9, Fabric(3e11, topology="mesh"))[0] == pytest.approx(3 * 1e9 / 3e11)
    both, half = (exchange_time("all_reduce", 8, 1e9, Fabric(4e11, half_duplex=h))[0] for h in (False, True))
    assert half == pytest.approx(2 * both)


def test_a_library_that_guesses_does_not_always_choose_the_fastest() -> None:
    slow = Protocol("slow", algorithms=("ring",), efficiency=0.5, guess=Guess(0, 0, 1))
    fast = Protocol("fast", algorithms=("ring",), guess=Guess(1e-6, 0, 1))
    for protocols, taken in (((slow, fast), "ring-slow"), ((fast,), "ring-fast")):
        assert exchange_time("all_reduce", 4, 1e6, Fabric(1e11, library=Library("x", 0, protocols)))[1] == taken


def test_nccl_changes_protocols_where_its_own_estimates_cross() -> None:
    """By hand, for two devices over 300 GB/s: 6.6 + 2 x 0.6 us and 87.7 GB/s against 8.4 + 2 x 3.4 us and 240 GB/s."""
    crossing = (8.4 + 2 * 3.4 - 6.6 - 2 * 0.6) * 1e-6 / (1 / 87.7e9 - 1 / 240e9)
    fabric = link("nvlink3", count=12).fabric(1e9)
    found = [exchange_time("all_reduce", 2, size * crossing, fabric)[1] for size in (0.99, 1.01)]
    assert found == ["ring-ll", "ring-simple"]


# ---- links -------------------------------------------------------------------------------------

KINDS = [name for name in names("template") if name != "noc" and issubclass(lookup("template", name), Interconnect)]


@pytest.mark.parametrize(
    ("kind", "count", "gbps"),
    [("nvlink2", 6, 150), ("nvlink3", 12, 300), ("nvlink4", 18, 450), ("nvlink5", 18, 900), ("ici", 6, 300)],
)
def test_links_have_the_bandwidth_of_their_data_sheets(kind: str, count: int, gbps: float) -> None:
    """NVIDIA's and Google's totals, each way."""
    assert link(kind, count=count).fabric(1e9).bytes_per_s == gbps * 1e9


@pytest.mark.parametrize(("kind", "giga", "coded"), [("pcie3", 8, 128 / 130), ("pcie4", 16, 128 / 130)])
def test_pcie_has_16_lanes_of_its_rate(kind: str, giga: float, coded: float) -> None:
    assert link(kind).fabric(1e9).bytes_per_s == pytest.approx(16 * giga * 1e9 / 8 * coded, rel=2e-3)
    assert link("pcie5").fabric(1e9).bytes_per_s == pytest.approx(2 * link("pcie4").fabric(1e9).bytes_per_s)
    assert link("pcie6").fabric(1e9).bytes_per_s == pytest.approx(16 * 64e9 / 8 * 236 / 256, rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_area_energy_and_a_time(kind: str) -> None:
    tech, one_, two = load_tech(7), link(kind), link(kind, count=2)
    assert 0 < float(one_.area_mm2(tech)) == pytest.approx(float(two.area_mm2(tech)) / 2)
    assert 0 < float(one_.pj_per_byte(tech)) < 100
    op = "all_gather"
    slow, fast = (exchange_time(op, 4, GIB, part.fabric(1e9))[0] for part in (one_, two))
    assert GIB * 3 / 4 / two.fabric(1e9).bytes_per_s < fast < slow
    if two.fabric(1e9).library.name == "plain":
        assert slow > GIB * 3 / 4 / one_.fabric(1e9).bytes_per_s


def test_settings_of_a_link_reach_the_chip() -> None:
    assert load_chip("ador", {"link.topology": "ring"}).fingerprint() != load_chip("ador").fingerprint()
    faster = load_chip("ador", {"link.bandwidth": Quantity(128, "GB/s")})
    assert faster.link_bytes_per_s == 2 * load_chip("ador").link_bytes_per_s


# ---- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_bandwidth_must_be_positive(rate: float) -> None:
    with pytest.raises(Diag) as caught:
        Fabric(rate)
    assert caught.value.code == "bad-link"


@pytest.mark.parametrize("latency", [-1e-9, float("nan"), float("inf")])
def test_latency_must_not_be_negative(latency: float) -> None:
    with pytest.raises(Diag) as caught:
        Fabric(1e9, latency)
    assert caught.value.code == "bad-link"


@pytest.mark.parametrize(
    ("op", "devices", "size", "code"),
    [
        ("all_reduce", 1, 8, "bad-exchange"),
        ("all_reduce", 0, 8, "bad-exchange"),
        ("all_reduce", 2.5, 8, "bad-exchange"),
        ("all_reduce", float("nan"), 8, "bad-exchange"),
        ("all_reduce", [2, 1], 8, "bad-exchange"),
        ("all_reduce", 2, -1, "bad-exchange"),
        ("all_reduce", 2, [1, float("nan")], "bad-exchange"),
        ("all-reduce", 2, 8, "unknown-exchange"),
    ],
)
def test_rows_that_are_none(op: str, devices: object, size: object, code: str) -> None:
    with pytest.raises(Diag) as caught:
        collective_latency_s(op, devices, size, Fabric(1e9))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_what_is_not_known_lists_what_is() -> None:
    with pytest.raises(Diag) as caught:
        Fabric(1e9, topology="torus")
    assert caught.value.code == "unknown-topology" and all(t in str(caught.value.hint) for t in TOPOLOGIES)
    with pytest.raises(Diag) as caught:
        load_library("nccl-sm9")
    assert caught.value.code == "unknown-library" and "nccl-sm90" in str(caught.value.hint)
    with pytest.raises(Diag) as caught:
        lookup("template", "nvlink9")
    assert caught.value.code == "unknown-template" and "nvlink" in str(caught.value.hint)
    with pytest.raises(Diag) as caught:
        choose("broadcast", 4, 8, Fabric(1e9, topology="mesh", library=load_library("nccl-sm80")))
    assert caught.value.code == "bad-exchange"


def test_a_library_for_many_refuses_few() -> None:
    many = Fabric(1e9, library=Library("x", 0, (Protocol("p", least_devices=3),)))
    assert exchange_time("all_reduce", 3, 8, many)[0] > 0
    for asked in (lambda: exchange_time("all_reduce", 2, 8, many), lambda: choose("all_reduce", [3, 2], 8, many)):
        with pytest.raises(Diag) as caught:
            asked()
        assert caught.value.code == "bad-exchange" and "2 devices" in caught.value.message


@pytest.mark.parametrize(
    ("setting", "value"),
    [("bandwidth", Quantity(0, "GB/s")), ("bandwidth", Quantity(-1, "GB/s")), ("latency", Quantity(-1, "s"))],
)
def test_settings_of_a_link_are_refused_where_they_stand(setting: str, value: Quantity) -> None:
    with pytest.raises(Diag) as caught:
        load_chip("ador", {f"link.{setting}": value})
    assert caught.value.code == "illegal-value" and setting in caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[start", "not TOML"),
        ("start = 3", "no table"),
        ("[start]\nbase_s = 3", "source"),
        ('[start]\nbase_s = { value = -1, source = "x" }', "positive"),
        ('[start]\nbase_s = { value = nan, source = "x" }', "positive"),
        ('[ll]\nops = { value = 3, source = "x" }', "names"),
        ('[ll]\nspeed = { value = 3, source = "x" }', "ll.speed"),
        ('[ll]\nops = { value = "all-reduce", source = "x" }', "all-reduce"),
        ('[ll]\nalgorithms = { value = "rings", source = "x" }', "rings"),
    ],
)
def test_a_library_that_says_nonsense(plugin: MakePlugin, text: str, says: str) -> None:
    content.use([plugin("p", templates__libraries__mine=text)])
    assert "mine" in library_names()
    with pytest.raises(Diag) as caught:
        load_library("mine")
    assert says in f"{caught.value.message} {caught.value.hint}" and caught.value.span is not None


# ---- measured ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import validate_collectives
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    pytest.importorskip("scipy", reason="the baseline's minimiser comes with aiconfigurator-core")
    if not list(validate_collectives.validate_collectives()):
        pytest.skip("no measured exchanges: set DFC_DATA, or install aiconfigurator-core and pyarrow")
    return validate_collectives


def test_measured_exchanges_are_within_their_bars(measured: ModuleType) -> None:
    for result in measured.validate_collectives():
        assert result.meets(), result
        if result.bars is not None:
            assert result.all <= 0.75 * result.baseline_all, result


def test_no_row_is_both_fitted_and_tested(measured: ModuleType) -> None:
    data = sys.modules["collective_data"]
    rows = data.nccl("a100_sxm") or data.nccl("h100_sxm")
    fitted = data.folds(rows)
    keys = [set(zip(x.op, x.devices, x.bytes, strict=True)) for x in (rows[fitted], rows[~fitted])]
    assert not keys[0] & keys[1] and 0.4 < fitted.mean() < 0.6


def test_the_files_are_those_of_the_fit(measured: ModuleType) -> None:
    """Every fitted value is in its file; near it no single one does better by a hundredth on the rows of the fit."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import fit_collectives

    sys.path.remove(str(ROOT / "benchmarks"))
    data = sys.modules["collective_data"]
    for name, (device, _) in fit_collectives.GIVEN.items():
        rows = data.nccl(device)
        if rows is None:
            continue
        part = rows[data.folds(rows)]
        library = load_library(name)
        protocols = {p.name: p for p in library.protocols}
        values = {"start": {"base_s": library.base_s}}
        values |= {
            p: {k: getattr(protocols[p], k) for k in keys}
            for p, keys in fit_collectives.BEGIN.items()
            if p != "start" and p in protocols
        }
        assert fit_collectives.library(name, values).protocols[0].efficiency == protocols["ll"].efficiency
        least = fit_collectives.error_of(name, values, part.of(*data.OPS))
        for table, key in [(t, k) for t in values for k in values[t] if t != "p2p"]:
            for factor in (0.9, 1.1):
                other = values | {table: values[table] | {key: factor * values[table][key]}}
                assert fit_collectives.error_of(name, other, part.of(*data.OPS)) > least - 0.01 * least, (table, key)
