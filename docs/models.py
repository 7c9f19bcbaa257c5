"""Count the parameters of the models of docs/models.md and write its tables of them again.

Needs the distribution `aiconfigurator-core`, whose configurations most of the newer models come from.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from dfcompiler.models import load_model, model_names

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
sys.path.insert(0, str(ROOT / "tests"))

from published import COUNTED, EXACT, SERVED, Published, counted, served  # noqa: E402

TABLES = re.compile(r"(<!-- (\w+) -->\n)(?:\|.*\n)*")
HEAD = "| model | family | parameters | active | published |\n|---|---|---:|---:|---|\n"
Row: TypeAlias = str


def by_name() -> Iterator[Row]:
    """The configurations that ship."""
    for name in model_names():
        yield row(name, name)


def by_hand() -> Iterator[Row]:
    """Configurations written out in tests/published.py, with the exact counts of their checkpoints."""
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, count) in EXACT.items():
            yield row(name, written(Path(folder), config), f"{count:,}")


def by_file() -> Iterator[Row]:
    """Configurations of models that people serve; none where they are not installed."""
    folder = served()
    names: dict[str, Published | None] = {**SERVED, **dict.fromkeys(COUNTED)}
    for name, known in sorted(names.items(), key=lambda x: x[0].lower()) if folder else ():
        yield row(name.replace("--", "/"), str(folder / f"{name}_config.json"), said(known) if known else "")


def written(folder: Path, config: dict[str, Any]) -> str:
    """A file with a configuration."""
    file = folder / "config.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    return str(file)


def said(known: Published) -> str:
    """Published billions."""
    tables = "" if known.tables else " without embedding"
    return f"{known.total} B" + (f", {known.active} B active{tables}" if known.active else "")


def row(name: str, spec: str, published: str = "") -> Row:
    """The line of a model."""
    model = load_model(spec)
    found = counted(model)
    active = f"{found.active / 1e9:.3f} B" if found.active < found.total else "all"
    return f"| {name} | `{model.family.name}` | {found.total:,} | {active} | {published} |\n"


SOURCES = {"name": by_name, "hand": by_hand, "file": by_file}


def write() -> None:
    """Write the tables into docs/models.md."""
    if served() is None:
        sys.exit("aiconfigurator-core, whose configurations are counted, is not installed: pip install -e .[test]")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLES.sub(lambda t: t[1] + HEAD + "".join(SOURCES[t[2]]()), text), encoding="utf-8")


if __name__ == "__main__":
    write()
