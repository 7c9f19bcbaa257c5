"""An append-only file of records, a JSON object with a checksum of its own per line.

What `append` has returned from is on the disk. A process that is killed while it writes, or a disk that fills up,
leaves at most a torn end: a line without an end, or one whose checksum is wrong with no good line after it. That is
cut off when the file is opened again; damage before good lines is not repaired silently.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dfcompiler.diagnostics import Diag, Source, Span

Record = dict[str, Any]

_CHECKSUM = ',"crc32":"%08x"}'
_LENGTH = len(_CHECKSUM % 0)


class Journal:
    """A journal that is open for appending. One process at a time may have it open: the caller sees to that."""

    def __init__(self, path: Path, end: int) -> None:
        """Append from byte `end` of the file; what is after it is cut off. Raises `study-not-written`."""
        self.path, self.end = path, end
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.ftruncate(self.file, end)
                os.fsync(self.file)
            except OSError:
                os.close(self.file)
                raise
        except OSError as error:
            raise unwritten(path, error) from error

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records and wait until they are on the disk.

        Raises `study-not-written` where they cannot be, and takes back what was written of them.
        """
        data = b"".join(map(line, records))
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self.file, data[done:], self.end + done)
            os.fsync(self.file)
        except OSError as error:
            self._take_back()
            raise unwritten(self.path, error) from error
        self.end += len(data)

    def _take_back(self) -> None:
        try:
            os.ftruncate(self.file, self.end)
        except OSError:
            return  # what is left is a torn end, which the next reader cuts off

    def close(self) -> None:
        """Close the file; again it does nothing."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def line(record: Mapping[str, Any]) -> bytes:
    """A record as the journal holds it; raises ValueError for numbers that are not finite."""
    body = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return (body[:-1] + _CHECKSUM % zlib.crc32(body.encode()) + "\n").encode()


def read(path: Path) -> tuple[list[Record], int]:
    """The records of a journal and the byte at which a torn end begins, or the size of the file; ([], 0) without one.

    Raises `damaged-study` at the first line that is damaged where good ones follow.
    """
    records: list[Record] = []
    end = 0
    torn: tuple[int, bytes] | None = None
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                record = _checked(text)
                if record is None:
                    torn = torn or (number, text)
                    continue
                if torn is not None:
                    raise _damaged(path, *torn)
                records.append(record)
                end += len(text)
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise Diag("study-not-read", f"`{path}` cannot be read: {error.strerror}") from error
    return records, end


def unwritten(path: Path, error: OSError) -> Diag:
    """The message for a file of a study that cannot be written."""
    message = f"`{path}` cannot be written: {error.strerror}"
    return Diag("study-not-written", message, hint="what was written before is kept; make room and use `--resume`")


def _checked(text: bytes) -> Record | None:
    if not text.endswith(b"}\n") or len(text) <= _LENGTH:
        return None
    body, checksum = text[: -_LENGTH - 1] + b"}", text[-_LENGTH - 1 : -1]
    if checksum != (_CHECKSUM % zlib.crc32(body)).encode():
        return None
    record: Record = json.loads(body)
    return record


def _damaged(path: Path, number: int, text: bytes) -> Diag:
    source = Source(str(path), "\n" * (number - 1) + text.decode(errors="replace").rstrip("\n"))
    span = Span(source, number, 1, len(source.line(number)) + 1)
    message = "this line is damaged: its checksum is wrong, and good lines follow it"
    return Diag("damaged-study", message, span, hint="take the line out; what it held is evaluated again")
