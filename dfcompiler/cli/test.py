"""`dfc test`: file tests, of ours or of a user's passes."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from dfcompiler.cli.filetest import agrees, outcome, read, updated
from dfcompiler.cli.main import main
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.writing import write_text


def run(args: argparse.Namespace) -> None:
    """Run file tests and print what differs; raises Infeasible `failed-tests`, Diag `no-such-file` and `bad-test`."""
    paths = [path for name in args.files for path in _tests(Path(name))]
    failed = [str(path) for path in paths if not _holds(path, update=args.update)]
    print(f"{len(paths) - len(failed)} of {len(paths)} file tests hold")
    if failed:
        hint = "`dfc test --update` writes what is printed now"
        raise Infeasible("failed-tests", f"{len(failed)} file tests fail: {', '.join(failed)}", hint=hint)


def _tests(path: Path) -> list[Path]:
    """The tests that a path means: itself, or all below a folder."""
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("*.test"))
    if not found:
        raise Diag("no-such-file", f"no file below `{path}` ends in `.test`")
    return found


def _holds(path: Path, *, update: bool) -> bool:
    test = read(path)
    printed = outcome(test, main, path.resolve().parent)
    if agrees(test.expected, printed):
        return True
    if update:
        write_text(path, updated(test, printed))
        print(f"{path}: updated")
        return True
    lines = (test.expected.splitlines(), printed.splitlines())
    print(*difflib.unified_diff(*lines, f"{path}: expected", f"{path}: printed", lineterm=""), sep="\n")
    return False
