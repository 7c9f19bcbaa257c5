"""From arguments to an exit code: 0 done, 1 the answer is no, 2 bad input, 3 a bug of ours."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

from dfcompiler.cli.arguments import parse
from dfcompiler.diagnostics import Diag

BUG, INTERRUPTED, BROKEN_PIPE = 3, 130, 141
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dfc` with these arguments (those of the process by default) and return the exit code.

    The answer goes to stdout, everything else to stderr. Nothing is raised.
    """
    _tolerate_any_encoding()
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except SystemExit as end:  # argparse, after it has printed a help text
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return _tell("dfc: interrupted", INTERRUPTED)
    except BrokenPipeError:
        _silence(sys.stdout)
        return BROKEN_PIPE
    except Diag as error:
        return _tell(_coloured(error), error.exit_code)
    except Exception as error:
        blamed = _of_disk(error) or _of_plugin(error)
        return _tell(_coloured(blamed), blamed.exit_code) if blamed else _tell(_bug(error), BUG)
    return 0


def _run(argv: list[str]) -> None:
    args = parse(argv)
    if args is None:
        return
    if args.plugins:
        from pathlib import Path

        from dfcompiler import content

        content.use([Path(p) for p in args.plugins])
    importlib.import_module(f"dfcompiler.cli.{args.module}").run(args)


def _tell(text: str, code: int) -> int:
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)
    return code


def _coloured(error: Diag) -> str:
    text = error.render()
    if not _in_colour():
        return text
    label = f"{error.severity}[{error.code}]"
    return text.replace(label, f"\033[1;31m{label}\033[0m", 1)


def _in_colour() -> bool:
    """Whether stderr takes colours: a terminal does, unless NO_COLOR says otherwise; a pipe where FORCE_COLOR does."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stderr.isatty() and os.environ.get("TERM") != "dumb")


def _of_disk(error: Exception) -> Diag | None:
    """The message for an answer that found no room where stdout leads."""
    if not isinstance(error, OSError) or error.errno not in NO_ROOM:
        return None
    _silence(sys.stdout)
    return Diag("bad-output", f"the answer cannot be written: {error.strerror}")


def _of_plugin(error: Exception) -> Diag | None:
    """The message for an error that a plug-in's file caused, where the traceback is not asked for."""
    from dfcompiler import content, registry

    return None if os.environ.get("DFC_DEBUG") or not content.plugins() else registry.fault(error)


def _bug(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if os.environ.get("DFC_DEBUG"):
        import traceback

        return "".join(traceback.format_exception(error)) + f"internal error: {said}"
    return f"internal error (a bug of dfc, not of your input): {said}; please report it with what DFC_DEBUG=1 prints"


def _tolerate_any_encoding() -> None:
    """A sign that the terminal's encoding lacks becomes `?` instead of an error; a closed stream takes what it gets."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _silence(stream: object) -> None:
    """Give a stream whose reader has left somewhere to flush to when Python ends."""
    if isinstance(stream, io.TextIOWrapper):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
