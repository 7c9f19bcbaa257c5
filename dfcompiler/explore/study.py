"""A study as a folder: what is asked (`study.json`), and what was asked for and answered (`results.jsonl`).

Points are asked for in rounds whose size does not depend on who evaluates them. A round is written before any point
of it is evaluated, an answer as soon as it is there; so a study that was ended in any way goes on where it was, asks
for the same points, and evaluates those that have no answer yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from dfcompiler import __version__
from dfcompiler.diagnostics import Diag, Note
from dfcompiler.explore import journal
from dfcompiler.explore.journal import Journal, Record, unwritten
from dfcompiler.explore.occupancy import Occupancy
from dfcompiler.explore.question import Answer, Point, Question

FORMAT = 1  # of the folder; another one is refused


@dataclass(frozen=True)
class Header:
    """What a study is: the same header gives the same results."""

    identity: str  # of the question
    space: str  # its text, for people
    sampler: str  # with its options, as text
    seed: int
    round_points: int  # points that are asked for at a time
    format: int = FORMAT
    program: str = __version__

    def __post_init__(self) -> None:
        if self.round_points < 1:
            raise Diag("bad-study", f"a round has at least one point, not {self.round_points}")


@dataclass(frozen=True)
class Held:
    """What a folder holds: rounds that were asked for, answers by point, and where the journal's torn end begins."""

    rounds: tuple[tuple[Point, ...], ...] = ()
    answers: Mapping[Point, Answer] | None = None
    end: int = 0


class Study:
    """A folder that this process works on; a context manager."""

    def __init__(self, folder: Path, header: Header, *, resume: bool = False) -> None:
        """Begin a study in a new or empty folder, or go on with the one in it.

        Raises `study-exists` and `no-such-study` where `resume` does not fit what is there, `study-in-use`,
        `study-of-another-format`, `study-of-another-version`, `study-of-another-space`, `study-differs`,
        `damaged-study` and `study-not-written`.
        """
        self.folder, self.header = folder, header
        if resume and not (folder / "study.json").is_file():
            raise Diag("no-such-study", f"`{folder}` holds no study", hint="without `--resume` a new one begins")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritten(folder, error) from error
        self.lock = Occupancy(folder)
        try:
            held = self._held(resume)
            self.journal = Journal(folder / "results.jsonl", held.end)
        except BaseException:
            self.lock.release()
            raise
        self.rounds: list[tuple[Point, ...]] = list(held.rounds)
        self.answers: dict[Point, Answer] = dict(held.answers or {})

    def _held(self, resume: bool) -> Held:
        if not (self.folder / "study.json").exists():
            if (self.folder / "results.jsonl").exists():
                raise Diag(
                    "damaged-study", f"`{self.folder}` has results but no `study.json`: what they are of is lost"
                )
            _write_header(self.folder, self.header)
            return Held()
        check(self.folder, read_header(self.folder), self.header)
        if not resume:
            hint = "`--resume` goes on with it; `-o` names another folder"
            raise Diag("study-exists", f"`{self.folder}` holds a study already", hint=hint)
        return read(self.folder)

    def asked(self, points: Sequence[Point]) -> None:
        """Keep a round before any of it is evaluated."""
        self.journal.append([{"round": len(self.rounds), "points": [list(p) for p in points]}])
        self.rounds.append(tuple(points))

    def answered(self, answers: Iterable[tuple[Point, Answer]]) -> None:
        """Keep answers, in the order in which they came."""
        batch = list(answers)
        self.journal.append(_record(point, answer) for point, answer in batch)
        self.answers.update(batch)

    def close(self) -> None:
        """Let go of the folder; it can be resumed at any time."""
        self.journal.close()
        self.lock.release()

    def __enter__(self) -> Study:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def header_of(question: Question, space: str, sampler: str, seed: int, round_points: int) -> Header:
    """The header of a study of this question."""
    return Header(question.identity(), space, sampler, seed, round_points)


def read(folder: Path) -> Held:
    """What a study's folder holds, also while another process works on it. Raises `damaged-study`."""
    records, end = journal.read(folder / "results.jsonl")
    rounds: list[tuple[Point, ...]] = []
    answers: dict[Point, Answer] = {}
    for record in records:
        if "round" in record:
            if record["round"] != len(rounds):
                raise Diag("damaged-study", f"`{folder}` lacks round {len(rounds)}: its lines are not in order")
            rounds.append(tuple(tuple(p) for p in record["points"]))
        else:
            answers[tuple(record["point"])] = _answer(record)
    return Held(tuple(rounds), answers, end)


def read_header(folder: Path) -> dict[str, Any]:
    """`study.json` of a folder. Raises `damaged-study` where it is no JSON object."""
    path = folder / "study.json"
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Diag("damaged-study", f"`{path}` cannot be read: {error}") from error
    if not isinstance(header, dict):
        raise Diag("damaged-study", f"`{path}` is not a JSON object")
    return header


def check(folder: Path, there: Mapping[str, Any], here: Header) -> None:
    """Refuse a folder whose study is another one, saying in what."""
    if there.get("format") != here.format:
        message = f"`{folder}` has format {there.get('format')}, this program writes format {here.format}"
        raise Diag("study-of-another-format", message, hint="go on with the version that began it")
    if there.get("program") != here.program:
        message = f"`{folder}` was begun by version {there.get('program')}, this is {here.program}: prices may differ"
        raise Diag("study-of-another-version", message, hint="go on with that version, or begin another study")
    if there.get("identity") != here.identity:
        notes = [Note(text) for text in _lines_that_differ(str(there.get("space", "")), here.space)]
        message = f"`{folder}` is a study of another space: {there.get('identity')} there, {here.identity} here"
        hint = "the space, a model, a chip or a workload that it names has changed; begin another study"
        raise Diag("study-of-another-space", message, notes=notes, hint=hint)
    for name in ("sampler", "seed", "round_points"):
        if there.get(name) != getattr(here, name):
            message = f"`{folder}` has {name.replace('_', ' ')} {there.get(name)}, not {getattr(here, name)}"
            raise Diag("study-differs", message, hint=f"name the same {name.replace('_', ' ')}, or another folder")


def _lines_that_differ(there: str, here: str, most: int = 6) -> list[str]:
    then, now = there.splitlines(), here.splitlines()
    gone = [f"only there: {line.strip()}" for line in then if line not in now]
    come = [f"only here: {line.strip()}" for line in now if line not in then]
    return (gone + come)[:most]


def _answer(record: Record) -> Answer:
    sides = record.get("sides")
    return Answer(record.get("values"), record.get("why", ""), (sides[0], sides[1]) if sides else None)


def _record(point: Point, answer: Answer) -> Record:
    if answer.values is None:
        return {"point": list(point), "why": answer.why} | ({"sides": list(answer.sides)} if answer.sides else {})
    return {"point": list(point), "values": dict(answer.values)}


def _write_header(folder: Path, header: Header) -> None:
    """A reader sees all of the header or nothing, and no results come before it."""
    draft = folder / "study.json.draft"
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(header.__dict__, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / "study.json")
        there = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(there)
        finally:
            os.close(there)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise unwritten(folder / "study.json", error) from error
