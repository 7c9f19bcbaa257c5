"""Studies as folders: nothing is lost or done twice, whatever ends them; other studies are refused."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import studycases
from hypothesis import given
from hypothesis import strategies as st
from studycases import Bowl

from dfcompiler.diagnostics import Diag
from dfcompiler.explore import evaluation, journal
from dfcompiler.explore.journal import Journal
from dfcompiler.explore.question import Answer, Goal
from dfcompiler.explore.standing import Standing, standing
from dfcompiler.explore.study import Header, Study, read
from dfcompiler.explore.watch import Watch, duration
from dfcompiler.explore.workers import Workers

KILLS = max(50, int(os.environ.get("DFC_FUZZ", "0")))
PROGRAM = [sys.executable, studycases.__file__]
HEADER = Header("abc", "axes x\n", "random", 0, 4)


def lines(folder: Path) -> list[str]:
    """The journal in an order that does not depend on who answered when."""
    return sorted((folder / "results.jsonl").read_text().splitlines())


def program(*arguments: object, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([*PROGRAM, *map(str, arguments)], stderr=subprocess.PIPE, text=True, **how)


def study_until_killed(executioner: subprocess.Popen[str], folder: Path, log: Path, after_s: float, n: int) -> bool:
    """Go on with the study; it is killed after so many seconds. Whether it had not ended by then."""
    resume = ["--resume"] if (folder / "study.json").exists() else []
    arguments = [str(folder), "--workers", str(n), "--log", str(log), "--pause", "0.0005", *resume]
    assert executioner.stdin is not None and executioner.stdout is not None
    print(json.dumps([after_s, arguments]), file=executioner.stdin, flush=True)
    status = int(executioner.stdout.readline())
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.fixture
def executioner() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*PROGRAM, "--kill"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started


def evaluated(log: Path, after: int = 0) -> list[tuple[int, ...]]:
    """The points that were evaluated, in order, without the first `after`; the last line may be torn."""
    texts = log.read_text().split("\n")[after:-1] if log.exists() else []
    return [tuple(json.loads(f"[{text}]")) for text in texts]


@pytest.mark.parametrize(("workers", "kills", "longest_s"), [(1, KILLS, 0.25), (2, KILLS // 8, 1.0)])
def test_a_study_killed_at_random_times_loses_nothing_and_repeats_nothing(
    tmp_path: Path, executioner: subprocess.Popen[str], workers: int, kills: int, longest_s: float
) -> None:
    whole = tmp_path / "whole"
    studycases.explore(Bowl(), whole, 200)
    seed = time.time_ns()
    rng, killed, number = random.Random(seed), 0, 0
    folder, log = tmp_path / "study0", tmp_path / "log0"
    known: set[tuple[int, ...]] = set()
    while killed < kills:
        before = len(evaluated(log))
        alive = study_until_killed(executioner, folder, log, rng.uniform(0.002, longest_s), workers)
        killed += alive
        assert known.isdisjoint(evaluated(log, before)), f"seed {seed}: evaluated again"
        held = set(read(folder).answers or {})
        assert known <= held, f"seed {seed}: lost {known - held}"
        known = held
        if not alive:
            assert lines(folder) == lines(whole), f"seed {seed}"
            number += 1
            folder, log, known = tmp_path / f"study{number}", tmp_path / f"log{number}", set()
    assert number > 0 or (folder / "results.jsonl").exists()


def test_one_worker_and_many_give_the_same_results(tmp_path: Path) -> None:
    studycases.explore(Bowl(), tmp_path / "one", 230)
    studycases.explore(Bowl(), tmp_path / "three", 230, by=Workers(Bowl(), 3))
    assert lines(tmp_path / "one") == lines(tmp_path / "three")
    fronts = [
        standing(Bowl().goals, list((read(tmp_path / name).answers or {}).items())).points for name in ("one", "three")
    ]
    assert fronts[0] == fronts[1] and fronts[0]


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(tmp_path: Path) -> None:
    studycases.explore(Bowl(), tmp_path / "whole", 230)
    assert studycases.explore(Bowl(), tmp_path / "parts", 110) == "budget"
    assert len(read(tmp_path / "parts").answers or {}) == 110
    studycases.explore(Bowl(), tmp_path / "parts", 230, resume=True)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_a_space_that_ends_before_the_budget_is_evaluated_whole(tmp_path: Path) -> None:
    small = Bowl(size=3, axes=3)
    for name in ("random", "all"):
        assert studycases.explore(small, tmp_path / name, 1000, name=name, round_points=7) == "space"
        assert len(read(tmp_path / name).answers or {}) == 27


def test_a_worker_that_dies_is_replaced_and_its_work_done_again(tmp_path: Path) -> None:
    studycases.explore(Bowl(), tmp_path / "whole", 160)
    points = [p for r in read(tmp_path / "whole").rounds for p in r]
    frail = Bowl(deaths=tuple(points[3:160:40]), times=1, marks=str(tmp_path))
    studycases.explore(frail, tmp_path / "frail", 160, by=Workers(frail, 2))
    assert lines(tmp_path / "frail") == lines(tmp_path / "whole")
    assert len(list(tmp_path.glob("(*"))) == 4, "four workers should have died"


def test_a_point_that_workers_die_of_ends_the_study_and_is_named(tmp_path: Path) -> None:
    studycases.explore(Bowl(), tmp_path / "whole", 80)
    bad = read(tmp_path / "whole").rounds[1][5]
    frail = Bowl(deaths=(bad,), times=99, marks=str(tmp_path))
    with pytest.raises(Diag, match=f"{bad}".replace("(", r"\(").replace(")", r"\)")) as told:
        studycases.explore(frail, tmp_path / "s", 80, by=Workers(frail, 2))
    assert told.value.code == "worker-died" and "SIGKILL" in told.value.message
    studycases.explore(Bowl(), tmp_path / "s", 80, resume=True)
    assert lines(tmp_path / "s") == lines(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [("diag", Diag, "five is not"), ("bug", RuntimeError, "ZeroDivisionError"), ("nan", RuntimeError, "not finite")],
)
def test_what_a_question_raises_ends_the_study_which_can_be_resumed(
    tmp_path: Path, workers: int, fault: str, kind: type[Exception], text: str
) -> None:
    wrong = Bowl(size=4, axes=2, fault=fault)
    with pytest.raises(kind, match=text):
        studycases.explore(wrong, tmp_path / "s", 16, by=studycases.engine(wrong, workers))
    studycases.explore(Bowl(size=4, axes=2), tmp_path / "s", 16, resume=True)
    assert len(read(tmp_path / "s").answers or {}) == 16


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_with_130_and_leaves_no_process_and_all_answers(tmp_path: Path, workers: int) -> None:
    whole, folder, log = tmp_path / "whole", tmp_path / "s", tmp_path / "log"
    studycases.explore(Bowl(), whole, 200)
    with program(folder, "--workers", workers, "--pause", 0.05, "--log", log, start_new_session=True) as started:
        deadline = time.monotonic() + 30
        while not (log.exists() and len(read(folder).answers or {}) > 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        assert started.wait(20) == 130
    gone = time.monotonic() + 5
    while time.monotonic() < gone:
        try:
            os.killpg(started.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a worker outlived the study")
    assert 0 < len(read(folder).answers or {}) < 200
    studycases.explore(Bowl(), folder, 200, resume=True)
    assert lines(folder) == lines(whole)


def test_two_processes_cannot_work_on_one_study_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with program(folder, "--pause", 0.05) as started:
        deadline = time.monotonic() + 30
        while not (folder / "results.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(Diag, match=str(started.pid)) as told:
            studycases.explore(Bowl(), folder, 200, resume=True)
        assert told.value.code == "study-in-use"
        started.kill()
    studycases.explore(Bowl(), folder, 200, resume=True)
    assert len(read(folder).answers or {}) == 200


def test_a_process_cannot_work_on_one_study_twice(tmp_path: Path) -> None:
    with Study(tmp_path, HEADER):
        with pytest.raises(Diag, match="this one"):
            Study(tmp_path, HEADER, resume=True)
        with program(tmp_path) as started:
            assert started.wait(30) == 2, "the first still holds it"
    Study(tmp_path, HEADER, resume=True).close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_question_is_kept_answer_by_answer(tmp_path: Path, workers: int) -> None:
    """Of chunks of many points what is done comes back in time."""
    slow = Bowl(pause_s=evaluation.SLICE_S / 2)
    points = [(i, 0, 0) for i in range(9)]
    with studycases.engine(slow, workers) as at:
        sizes = [len(batch) for batch in at.run(points)]
    assert sum(sizes) == 9 and max(sizes) <= 3 * workers


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"format": 99}, "study-of-another-format", "format 99"),
        ({"program": "0.0.7"}, "study-of-another-version", "0.0.7"),
        ({"identity": "other", "space": "axes y\n"}, "study-of-another-space", "only there: axes y"),
        ({"seed": 5}, "study-differs", "seed 5, not 0"),
        ({"sampler": "sobol"}, "study-differs", "sampler sobol, not random"),
        ({"round_points": 3}, "study-differs", "round points 3, not 4"),
    ],
)
def test_another_study_is_refused_saying_in_what_it_differs(
    tmp_path: Path, change: dict[str, Any], code: str, says: str
) -> None:
    Study(tmp_path, HEADER).close()
    there = json.loads((tmp_path / "study.json").read_text())
    (tmp_path / "study.json").write_text(json.dumps(there | change))
    with pytest.raises(Diag) as told:
        Study(tmp_path, HEADER, resume=True)
    assert told.value.code == code and says in told.value.render()
    (tmp_path / "study.json").write_text(json.dumps(there))
    Study(tmp_path, HEADER, resume=True).close()


def test_a_folder_without_a_study_a_second_study_and_lost_headers_are_refused(tmp_path: Path) -> None:
    def code(resume: bool) -> str:
        with pytest.raises(Diag) as told:
            Study(tmp_path / "s", HEADER, resume=resume)
        return told.value.code

    assert code(True) == "no-such-study"
    Study(tmp_path / "s", HEADER).close()
    assert code(False) == "study-exists"
    (tmp_path / "s" / "study.json").write_text("[]")
    assert code(True) == "damaged-study"
    (tmp_path / "s" / "study.json").unlink()
    assert code(False) == "damaged-study"
    with pytest.raises(Diag, match="at least one point"):
        replace(HEADER, round_points=0)


RECORDS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=8), min_size=1), max_size=6)


@given(RECORDS, RECORDS, st.data())
def test_a_journal_cut_at_any_byte_keeps_every_whole_line(
    tmp_path_factory: pytest.TempPathFactory, before: list[Any], after: list[Any], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    with Journal(path, 0) as kept:
        kept.append(before)
        end = kept.end
        kept.append(after)
    whole = path.read_bytes()
    cut = data.draw(st.integers(end, len(whole)))
    path.write_bytes(whole[:cut] + data.draw(st.sampled_from([b"", b"\0" * 9, b"\xff{}\n"])))
    records, good = journal.read(path)
    assert records[: len(before)] == before and records == (before + after)[: len(records)]
    with Journal(path, good) as kept:
        kept.append(after)
    assert journal.read(path)[0] == records + after


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_before_good_lines_is_found_at_its_line(
    tmp_path_factory: pytest.TempPathFactory, where: int, change: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    rows = [{"point": [i], "values": {"a": i / 7}} for i in range(5)]
    data = bytearray(b"".join(map(journal.line, rows)))
    where %= len(data) - sum(len(journal.line(row)) for row in rows[-2:])  # a lost line end joins two lines
    data[where] ^= change
    path.write_bytes(data)
    with pytest.raises(Diag) as told:
        journal.read(path)
    number = len(b"".join(map(journal.line, rows))[:where].splitlines()) if where else 1
    assert told.value.code == "damaged-study" and told.value.span is not None
    assert told.value.span.line in (number, number + 1)


def test_a_disk_that_fills_up_leaves_a_study_that_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studycases.explore(Bowl(), tmp_path / "whole", 200)
    room = 6000
    write = os.pwrite

    def little(file: int, data: bytes, offset: int) -> int:
        if offset + len(data) <= room:
            return write(file, data, offset)
        if offset < room:
            return write(file, data[: room - offset], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", little)
        with pytest.raises(Diag, match="No space left") as told:
            studycases.explore(Bowl(), tmp_path / "s", 200)
    assert told.value.code == "study-not-written" and "--resume" in (told.value.hint or "")
    assert 0 < len(read(tmp_path / "s").answers or {}) < 200
    studycases.explore(Bowl(), tmp_path / "s", 200, resume=True)
    assert lines(tmp_path / "s") == lines(tmp_path / "whole")


def test_a_limit_of_the_system_is_met_with_a_message_and_exit_code_2(tmp_path: Path) -> None:
    """The kernel itself refuses to let the file grow, in the middle of a line."""
    studycases.explore(Bowl(), tmp_path / "whole", 200)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # noqa: E731
    with program(tmp_path / "s", preexec_fn=limit) as started:
        assert started.wait(30) == 2
        assert started.stderr is not None and "File too large" in started.stderr.read()
    studycases.explore(Bowl(), tmp_path / "s", 200, resume=True)
    assert lines(tmp_path / "s") == lines(tmp_path / "whole")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "s", tmp_path / "file", Path("/proc/none")):
        with pytest.raises(Diag) as told:
            Study(folder, HEADER)
        assert told.value.code == "study-not-written"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_tells_rate_volume_and_time_left_on_a_terminal_only() -> None:
    times = iter([0.0, 2.0, 4.0])
    good = [((0,), Answer({"usd": 1.0, "rate": 2.0})), ((1,), Answer({"usd": 2.0, "rate": 3.0})), ((2,), Answer(None))]
    goals = (Goal("usd", "min"), Goal("rate", "max"))
    screen, pipe = Screen(), io.StringIO()
    with Watch(Standing(goals), 12, screen, lambda: next(times)) as watch:
        watch(good)
        watch([((3,), Answer({"usd": 0.5, "rate": 3.5}))])
    first, last = screen.getvalue().split("\r\033[K")[1:3]
    assert first == "3 of 12 points, 1.5/s, 2 on the front, hypervolume 0.21, 6 s left"
    assert last == "4 of 12 points, 1/s, 1 on the front, hypervolume 2.56, 8 s left"
    assert screen.getvalue().endswith("\r\033[K")
    with Watch(Standing(goals), 12, pipe, lambda: 0.0) as watch:
        watch(good)
    assert pipe.getvalue() == ""
    assert [duration(s) for s in (0.4, 75, 7300)] == ["0 s", "1 min 15 s", "2 h 1 min"]
