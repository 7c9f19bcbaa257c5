"""`dfc check`: a `mapping.json`, checked by code that made none of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dfcompiler.check import Verdict, check
from dfcompiler.diagnostics import Diag, Infeasible

SHOWN = 5  # faults of one check that are told


def run(args: argparse.Namespace) -> None:
    """Print what was checked; raises Diag `bad-mapping`, and Infeasible `wrong-mapping` where a check fails."""
    path = Path(args.file)
    path = path / "mapping.json" if path.is_dir() else path
    verdicts = check(_json(path))
    if args.json:
        print(json.dumps(_object(verdicts), allow_nan=False))
    else:
        _print(path, verdicts)
    if failed := [v.name for v in verdicts if not v.ok]:
        raise Infeasible("wrong-mapping", f"`{path}` fails {len(failed)} of {len(verdicts)}: {', '.join(failed)}")


def _json(path: Path) -> Any:
    """The content of a file; raises Diag `unreadable` or `bad-mapping`."""
    from dfcompiler.text.parse import read_source

    try:
        return json.loads(read_source(path).text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Diag("bad-mapping", f"`{path}` is no mapping: {error}", hint="`dfc compile -o DIR` writes one") from None


def _object(verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    return {
        "ok": all(v.ok for v in verdicts),
        "checks": [
            {
                "name": v.name,
                "what": v.what,
                "count": v.count,
                "ok": v.ok,
                "faults": [{"path": f.path, "message": f.message} for f in v.faults],
                "notes": list(v.notes),
            }
            for v in verdicts
        ],
    }


def _print(path: Path, verdicts: tuple[Verdict, ...]) -> None:
    from rich.text import Text

    from dfcompiler.cli import display

    display.heading(str(path))
    columns = (
        display.Column("check", style="bold"),
        display.Column("what holds", wrap=True),
        display.Column("looked at", right=True),
        display.Column(""),
    )
    says = {True: Text("ok", style="green"), False: Text("FAIL", style="bold red")}
    display.table(columns, [[v.name, v.what, f"{v.count:,}", says[v.ok]] for v in verdicts])
    for v in verdicts:
        for f in v.faults[:SHOWN]:
            display.plain(f"FAIL {v.name}: `{f.path}` {f.message}")
        if len(v.faults) > SHOWN:
            display.plain(f"FAIL {v.name}: and {len(v.faults) - SHOWN} more")
        for note in v.notes:
            display.plain(f"note: {note}")
