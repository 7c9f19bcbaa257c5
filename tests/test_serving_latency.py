"""Tables of steps against steps compiled by themselves, and what they are made of against its definition."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from dfcompiler.api import compile_model
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.schedule import mapping_of
from dfcompiler.serving.capacity import CONTEXTS, graph_of, kv_room
from dfcompiler.serving.curves import Reach
from dfcompiler.serving.latency import StepLatency, measured, step_latency
from dfcompiler.serving.outlines import Outline, Setting, Sizes, outline
from dfcompiler.serving.pieces import Piece, Pricer
from dfcompiler.serving.refining import Refiner
from dfcompiler.serving.retiming import timing
from dfcompiler.serving.sampling import random_sizes, samples
from dfcompiler.serving.schedules import direct_s, layers
from dfcompiler.serving.spending import step_energy
from dfcompiler.serving.sweeps import sweep
from dfcompiler.serving.table import Rows, StepTable, to_plain
from dfcompiler.serving.tabulation import straight
from dfcompiler.serving.terraces import slopes, terraces

REACH, TOKENS = Reach(512, 2048, 32), 65_536
SIZES = Sizes(128, 128, 8, 300)
ERROR = 0.02  # of a step's time, at most, at any of the random steps


@cache
def setting(chip: str = "h100_sxm", model: str = "llama3-8b", tp: int = 1) -> Setting:
    return Setting(load_model(model), load_chip(chip), Parallel(tp=tp), None, "list")


@cache
def drawn(chip: str, sizes: Sizes = SIZES, tp: int = 1) -> Outline:
    return outline(setting(chip, tp=tp), sizes)


@cache
def steps(chip: str = "h100_sxm", model: str = "llama3-8b", tp: int = 1) -> StepLatency:
    s = setting(chip, model, tp)
    return step_latency(s.model, s.chip, REACH, TOKENS, parallel=s.parallel)


# ---- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "tp"), [("h100_sxm", 1), ("h100_sxm", 2), ("ador", 1)])
def test_a_table_is_close_to_steps_compiled_by_themselves(chip: str, tp: int) -> None:
    error = measured(steps(chip, tp=tp), 12, seed=3)
    assert error.mean <= ERROR / 2
    assert error.worst <= ERROR


def test_a_table_of_a_model_with_experts_is_close_too() -> None:
    assert measured(steps("h200", "mixtral-8x7b"), 6, seed=3).mean <= ERROR


def test_a_step_is_what_the_compiler_says_but_for_what_samples_tokens() -> None:
    s = setting()
    sizes = Sizes(0, 0, 8, 300)
    whole = compile_model(s.model, s.chip, sizes.step(), pipeline="list").report.latency_s
    assert direct_s(s, sizes) == pytest.approx(whole, rel=1e-12)  # every sequence is sampled where all decode
    chunk = compile_model(s.model, s.chip, Sizes(256, 0, 0, 0).step(), pipeline="list")
    mine = mapping_of(chunk.graph)
    behind = {n for x in mine.layers[-1:] for n in x.segment.nodes}
    assert behind == drawn("h100_sxm", Sizes(256, 0, 0, 0)).tail
    assert direct_s(s, Sizes(256, 0, 0, 0)) < chunk.report.latency_s


@pytest.mark.parametrize("chip", ["h100_sxm", "ador"])
def test_listing_is_close_to_the_solver_where_one_part_runs(chip: str) -> None:
    s = setting(chip)
    for sizes in (Sizes(0, 0, 16, 1000), Sizes(512, 0, 0, 0)):
        listed, solved = (
            compile_model(s.model, s.chip, sizes.step(), pipeline=p).report.latency_s for p in ("list", "default")
        )
        assert solved <= listed * (1 + 1e-9)
        assert listed <= solved * 1.01


def test_unequal_contexts_cost_what_equal_ones_do() -> None:
    """Engines tell the sum of contexts only: an unequal batch is taken for an equal one."""
    s = setting()
    equal, unequal = ([900] * 16, [300] * 8 + [1500] * 8)
    from dfcompiler.steps import step

    one, other = (
        compile_model(s.model, s.chip, step(decode=c), pipeline="list").report.latency_s for c in (equal, unequal)
    )
    assert other == pytest.approx(one, rel=0.01)


def test_a_table_is_kept_and_read_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    first = steps()
    start = time.process_time()
    s = setting()
    again = step_latency(s.model, s.chip, REACH, TOKENS)
    assert time.process_time() - start < 1.0
    assert to_plain(again.steps) == to_plain(first.steps)


def test_a_round_on_stages_is_close_to_micro_batches_compiled_by_themselves() -> None:
    s = setting()
    made = step_latency(s.model, s.chip, REACH, TOKENS, parallel=Parallel(pp=2))
    assert measured(made, 6, seed=3).worst <= ERROR
    table = made.table(0.0, TOKENS)
    # two halves of a batch, each on one half of the layers at a time, against both on all layers of one device
    alone = steps().table(0.0, TOKENS).step_s(0, 0, 8, 8 * 500)
    assert table.step_s(0, 0, 16, 16 * 500) == pytest.approx(alone, rel=0.1)
    assert direct_s(made.setting, Sizes(0, 0, 2, 64)) > direct_s(s, Sizes(0, 0, 1, 64)) * 0.99


@given(st.integers(1, 4096), st.integers(1, 1 << 15), st.integers(1, 512), st.integers(1, 1 << 20))
def test_random_steps_and_the_sample_lie_within_reach(prefill: int, context: int, batch: int, tokens: int) -> None:
    reach = Reach(prefill, context, batch)
    made = samples(load_chip("ador"), reach)
    for s in (*(s for some in made.values() for s in some), *random_sizes(reach, max(tokens, batch), 6, 0)):
        assert 0 <= s.prefill <= prefill and 0 <= s.past <= max(context, prefill) and 0 <= s.batch <= batch
        assert s.prefill or s.batch
        s.step()


# ---- pieces and schedules ----------------------------------------------------------------------


@pytest.mark.parametrize(("chip", "tp"), [("h100_sxm", 1), ("h100_sxm", 2), ("ador", 1)])
@pytest.mark.parametrize("other", [Sizes(96, 40, 5, 777), Sizes(300, 0, 31, 11)])
def test_an_outline_at_other_sizes_is_the_step_of_these_sizes(chip: str, tp: int, other: Sizes) -> None:
    mine, fresh = drawn(chip, tp=tp).at(other), outline(setting(chip, tp=tp), other).offered
    assert list(mine.nodes) == list(fresh.nodes)
    for name, node in fresh.nodes.items():
        assert mine.nodes[name].attrs == node.attrs
        assert [mine.type_of(a) for a in node.args] == [fresh.type_of(a) for a in node.args]


@pytest.mark.parametrize(("chip", "tp"), [("h100_sxm", 1), ("h100_sxm", 2), ("ador", 1)])
def test_pieces_cost_what_they_cost_in_a_schedule(chip: str, tp: int) -> None:
    here = drawn(chip, tp=tp)
    pricer = Pricer(here.setting.chip, here.setting.context(SIZES).need("dtypes"))
    for layer in mapping_of(here.mapped).layers:
        for task in layer.solution.tasks:
            cycles = pricer.cycles(Piece.of(here, task.column), SIZES)
            assert task.column.cycles - 1 < cycles <= task.column.cycles


def test_pieces_at_other_sizes_follow_their_rule() -> None:
    """Numbers of groups read off a rule are those of a graph at these sizes."""
    here, other = drawn("h100_sxm"), Sizes(77, 31, 13, 1234)
    ruled, looked = (Pricer(here.setting.chip, here.setting.context(SIZES).need("dtypes")) for _ in range(2))
    pieces = {Piece.of(here, t.column) for x in mapping_of(here.mapped).layers for t in x.solution.tasks}
    looked.rules = dict.fromkeys(pieces)
    for piece in pieces:
        assert ruled.cycles(piece, other) == looked.cycles(piece, other)
    assert all(r is not None for r in ruled.rules.values())


@pytest.mark.parametrize("chip", ["h100_sxm", "ador"])
def test_a_schedule_timed_again_with_its_own_times_is_itself(chip: str) -> None:
    here = drawn(chip)
    for layer in mapping_of(here.mapped).layers:
        again = timing(here.mapped, layer, layer.segment.repeat).cycles(lambda c: np.asarray(float(c.cycles)))
        assert float(again) == layer.cycles


def test_a_schedule_with_longer_tasks_keeps_its_order() -> None:
    here = drawn("ador")
    body = layers(here)[0]
    layer = max(body, key=lambda x: x.cycles)
    one = timing(here.mapped, layer, layer.segment.repeat)
    each = float(one.cycles(lambda c: np.asarray(float(c.cycles))))
    assert float(one.cycles(lambda c: np.asarray(2.0 * c.cycles))) == 2 * each
    first = layer.solution.tasks[0].column
    longer = float(one.cycles(lambda c: np.asarray(float(c.cycles) + 1000 * (c is first))))
    assert each <= longer <= each + 1000 * layer.segment.repeat


@pytest.mark.parametrize("size", [(1, 0), (2, 31), (97, 1500), (512, 7)])
def test_a_kernel_over_all_sizes_costs_what_it_costs_at_each(size: tuple[int, int]) -> None:
    """Formulas at numbers that are read off a few problems, against the problem of every size."""
    here = drawn("h100_sxm")
    pricer = Pricer(here.setting.chip, here.setting.context(SIZES).need("dtypes"))
    swept = 0
    for column in (t.column for x in mapping_of(here.mapped).layers for t in x.solution.tasks):
        piece = Piece.of(here, column)
        for first, second in (("prefill", "past"), ("batch", "context")):

            def at(p: tuple[int, ...], a: str = first, b: str = second) -> Sizes:
                return SIZES._replace(**{a: p[0], b: p[1]})

            found = sweep(lambda p, x=piece, f=at: pricer.formula(x, f(p)), (1, 0), (512, 2048), 1.0)  # type: ignore[misc]
            if found is not None:
                swept += 1
                clock = here.setting.chip.units[piece.unit].clock_hz
                told = found.at([np.array([float(x)]) for x in size])[0] * clock
                assert told == pytest.approx(pricer.cycles(piece, at(size)), rel=1e-9)
    assert swept > 10


@how(max_examples=50)
@given(st.integers(2, 60), st.integers(1, 5), st.floats(0.001, 0.1), st.integers(0, 2**32 - 1))
def test_straight_pieces_pass_all_points_within_their_room(points: int, rows: int, room: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.integers(1, 9, points)).astype(float)
    values = 1 + np.cumsum(rng.random((rows, points)) * rng.choice([0, 0, 0.01, 3], (rows, points)), axis=1)
    for kept, row in zip(straight(x, values, room * values), values, strict=True):
        told = np.interp(x, x[kept], row[kept])
        assert np.all(np.abs(told - row) <= room * row + 1e-9)


@how(max_examples=50)
@given(st.integers(5, 200), st.sampled_from([4, 8, 16, 24]), st.integers(0, 3))
def test_waves_are_found_where_they_end(most: int, wave: int, special: int) -> None:
    """A step with each wave of sequences, and powers of two that do better than their neighbours."""

    def seconds(point: tuple[int, ...]) -> float:
        n, t = point
        better = 0.7 if n in (4 * 2**special, 4) else 1.0
        return better * -(-n // wave) * (100.0 + 2.0 * t + 3.0 * (t % 64 > 0))

    grid = terraces(Refiner(seconds, lambda _p, v: v, 0.001), most, [1, 64, 1000, 4096], 400)
    n = np.arange(1.0, most + 1)
    for t in (64, 4096):
        true = np.array([seconds((int(x), t)) for x in n])
        np.testing.assert_allclose(grid.at([n, np.array(float(t))]), true, rtol=0.002)


def test_many_even_waves_are_looked_at_here_and_there() -> None:
    refiner = Refiner(lambda p: -(-p[0] // 16) * (50.0 + p[1]), lambda _p, v: v, 0.001)
    grid = terraces(refiner, 1024, [1, 4096], 400)
    n = np.arange(1.0, 1025)
    np.testing.assert_allclose(grid.at([n, np.array(4096.0)]), np.ceil(n / 16) * 4146.0, rtol=1e-9)
    assert len(refiner.known) < 60


@how(max_examples=50)
@given(st.floats(0.1, 10), st.integers(2, 500), st.one_of(st.none(), st.integers(64, 4000)))
def test_a_chunk_is_lines_along_what_lies_before_it(rate: float, bend: int, window: int | None) -> None:
    """Pairs of a chunk with what lies before it, within a window where there is one, and rows that cost more from some
    number on."""

    def seconds(p: tuple[int, ...]) -> float:
        n, t = p
        return 1000.0 + rate * n * min(t, window or t) / 100 + 2.0 * max(0, n - bend)

    refiner = Refiner(seconds, lambda _p, v: v, 0.002)
    grid = slopes(refiner, [1, 4, 16, 64, 256, 512], sorted({0, 64, 1024, window or 1024, 4096}), 120)
    n, t = np.meshgrid(np.arange(1.0, 513, 3), np.arange(0.0, 4097, 64), indexing="ij")
    true = np.array([[seconds((int(a), int(b))) for b in t[0]] for a in n[:, 0]])
    assert np.abs(grid.at([n, t]) / true - 1).max() <= 0.01
    assert len(refiner.known) <= 120 + 36


def test_a_function_that_is_no_line_and_a_bend_is_refined_in_both() -> None:
    def seconds(p: tuple[int, ...]) -> float:
        return 1000.0 + 5.0 * max(0, p[1] - 8 * p[0])

    grid = slopes(Refiner(seconds, lambda _p, v: v, 0.002), [1, 4, 16, 64, 256, 512], [0, 64, 256, 1024, 4096], 400)
    for point in ((64, 1024), (16, 256), (512, 4096)):
        told = float(grid.at([np.array(float(x)) for x in point]))
        assert told == pytest.approx(seconds(point), rel=0.05)


@how(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.booleans())
def test_a_step_of_one_part_is_told_by_its_row(seed: int, most: int, together: bool) -> None:
    """Rows against numpy's interpolation; a step of both parts is the sum of them, less what both do at once."""
    rng = np.random.default_rng(seed)

    def rows() -> Rows:
        lengths = rng.integers(1, 5, most + 1)
        knots = np.concatenate([np.cumsum(rng.integers(1, 50, n)) - 1 for n in lengths])
        beside = rng.random(most + 1) if together else None
        return Rows(np.concatenate([[0], np.cumsum(lengths)]), knots, 1 + rng.random(len(knots)), beside)

    chunks, decodes, one = rows(), rows(), np.zeros(1, dtype=np.int64)
    alone = rng.random(2 * most + 1)
    table = StepTable(one, one, one, one, np.full((1, 1, 1, 1), 0.5), tokens=alone, chunks=chunks, decodes=decodes)

    def told(r: Rows, n: int, x: float) -> float:
        a, b = r.starts[n], r.starts[n + 1]
        return float(np.interp(x, r.knots[a:b], r.values[a:b]))

    p, b = (int(x) for x in rng.integers(1, most + 1, 2))
    past, each = (
        int(rng.integers(x.knots[x.starts[n]], x.knots[x.starts[n + 1] - 1] + 1))
        for x, n in ((chunks, p), (decodes, b))
    )
    assert table.step_s(p, past, 0, 0) == pytest.approx(told(chunks, p, past))
    assert table.step_s(0, 0, b, b * each) == pytest.approx(told(decodes, b, each))
    both = 0.5 + alone[p + b]
    if chunks.beside is not None and decodes.beside is not None:
        both += told(chunks, p, past) - chunks.beside[p] + told(decodes, b, each) - decodes.beside[b]
    assert table.step_s(p, past, b, b * each) == pytest.approx(both)


@how(max_examples=50)
@given(st.lists(st.integers(2, 400), min_size=1, max_size=4, unique=True), st.floats(1, 30))
def test_stairs_are_found_where_they_are(edges: list[int], height: float) -> None:
    def stairs(x: int) -> float:
        return 100.0 + 0.1 * x + height * sum(x >= e for e in edges)

    refiner = Refiner(lambda p: stairs(p[0]), lambda _p, v: v, 0.001)
    grid = refiner.grid([[1, *range(16, 512, 16), 512]], 300)
    x = np.arange(1, 513, dtype=np.float64)
    error = np.abs(grid.at([x]) / np.array([stairs(int(v)) for v in x]) - 1)
    assert error.max() <= 0.01 + height / 100 * (len(edges) > 1)
    assert error.mean() <= 0.01


@how(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=3, unique_by=lambda x: x[0]),
    st.floats(10, 1e4),
)
def test_lines_are_found_where_they_meet(pieces: list[tuple[int, int]], least: float) -> None:
    """The largest of some lines: knots lie where they meet, and little is evaluated where there is one."""

    def seconds(x: int) -> float:
        return least + x * 0.1 + sum(max(0, x - start) * slope for start, slope in pieces)

    refiner = Refiner(lambda p: seconds(p[0]), lambda _p, v: v, 0.002)
    grid = refiner.line([1, 4, 16, 64, 256, 512], 60)
    x = np.arange(1, 513, dtype=np.float64)
    assert np.abs(grid.at([x]) / np.array([seconds(int(v)) for v in x]) - 1).max() <= 0.002 + 1e-9
    assert len(refiner.known) <= 6 + 10 * len(pieces)


# ---- room for caches ---------------------------------------------------------------------------


def test_caches_have_what_weights_and_values_leave() -> None:
    """Llama 3 8B: 8,030,261,248 parameters of 2 bytes; 32 layers x 2 x 8 heads x 128 x 2 B per token."""
    room = kv_room(setting(), 512, 32, utilization=0.5)
    assert room.weights_bytes == pytest.approx(8_030_261_248 * 2, rel=1e-3)
    assert (room.token_bytes, room.state_bytes) == (131_072, 0)
    left = 0.5 * room.memory_bytes - room.weights_bytes - room.reserve_bytes
    assert room.tokens == left // 131_072


def test_devices_share_weights_and_caches() -> None:
    one, two = (kv_room(setting(tp=n), 512, 32) for n in (1, 2))
    assert two.token_bytes == one.token_bytes / 2
    assert two.weights_bytes == pytest.approx(one.weights_bytes / 2, rel=0.01)


def test_states_that_do_not_grow_are_taken_off_for_every_sequence() -> None:
    s = setting(model="qwen2-7b")
    assert kv_room(s, 64, 4).state_bytes == 0
    windowed = replace(s.model, params={**s.model.params})
    assert windowed == s.model
    assert CONTEXTS[0] < CONTEXTS[1]
    assert graph_of(s, Sizes(0, 0, 1, 8)).nodes


@pytest.mark.parametrize("utilization", [0.0, -1.0, 1.5])
def test_no_part_of_the_memory_is_refused(utilization: float) -> None:
    with pytest.raises(Diag):
        kv_room(setting(), 512, 32, utilization)


def test_a_model_that_leaves_no_room_is_told() -> None:
    with pytest.raises(Infeasible, match="leaves no room"):
        kv_room(setting("l4", "llama3-70b"), 512, 32)


def test_energy_of_steps_is_that_of_compiled_ones() -> None:
    s, e = steps().setting, step_energy(steps())
    step = Sizes(0, 0, 12, 500)
    found = compile_model(s.model, s.chip, step.step(), pipeline="list").report
    told = e.decode_j + 12 * e.sequence_j + 12 * 500 * e.context_j
    assert told == pytest.approx(found.energy_j - found.static_j, rel=0.05)
    assert min(e.token_j, e.sequence_j, e.context_j) > 0
