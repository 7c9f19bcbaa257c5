"""One process at a time works on a study.

The lock is a record lock of POSIX: the kernel holds it for a process, not for an open file, so that of a process that
died, in whatever way, is gone with it, and no worker process inherits it, not even between its fork and its exec. What
the file says is only for the message.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.journal import unwritten

_ours: set[Path] = set()  # what this process holds: the kernel would let it in again, and out for both


class Occupancy:
    """Held from construction to `release`."""

    def __init__(self, folder: Path) -> None:
        """Raises `study-in-use` where another process works on the folder, `study-not-written` where none could."""
        path = folder.resolve() / "lock"
        if path in _ours:
            raise _in_use(folder, "this one")
        try:
            self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise unwritten(path, error) from error
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self.file, 0)
            os.pwrite(self.file, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except (BlockingIOError, PermissionError):
            holder = os.pread(self.file, 200, 0).decode(errors="replace").strip() or "unknown"
            os.close(self.file)
            message = f"a process works on the study `{folder}`: {holder}"
            raise Diag(
                "study-in-use", message, hint="wait for it or end it; a second study needs another folder"
            ) from None
        except OSError as error:
            os.close(self.file)
            raise unwritten(path, error) from error
        self.path = path
        _ours.add(path)

    def release(self) -> None:
        """Let others work on the folder; again it does nothing."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
            _ours.discard(self.path)


def _in_use(folder: Path, holder: str) -> Diag:
    hint = "wait for it or end it; a second study needs another folder"
    return Diag("study-in-use", f"a process works on the study `{folder}`: {holder}", hint=hint)
