"""Results as files: packages for an RTL team, and folders as `-o` leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from dfcompiler.api import Compiled
from dfcompiler.diagnostics import Diag, Note
from dfcompiler.outputs import rtl_package, write_outputs
from dfcompiler.public.given import AnyChip, chip_of
from dfcompiler.rtl import Package, from_json, render
from dfcompiler.rtl import validate as validated
from dfcompiler.rtl import write as write_package
from dfcompiler.rtl.benches import cores as cores_of
from dfcompiler.serving.runs import Run
from dfcompiler.text.parse import read_source


def rtl(
    source: Compiled | AnyChip,
    *,
    name: str,
    style: str = "portable",
    cores: bool = False,
    on_note: Callable[[Note], None] | None = None,
) -> dict[str, str]:
    """The parameter package for an RTL team of a chip, of a mapping onto one, or of a folder that holds such a mapping:
    file name to text; `save` writes them. With `cores` the reference cores of a chip's units are among them, and
    `on_note` is told which unit has none.

    Raises Diag `unknown-style`, `rtl-name`, `no-such-file`, and what the package itself raises.
    """
    folder = Path(source) if isinstance(source, str | Path) and Path(source).is_dir() else None
    if folder is not None and cores:
        raise Diag("bad-option", "cores are made of a chip: a folder holds its parameters only")
    on = source.chip if isinstance(source, Compiled) else None if folder else chip_of(source)
    if folder is not None:
        package = _kept(folder, name)
    elif isinstance(source, Compiled):
        package = rtl_package(source.chip, source.report, name, source.graph)
    else:
        package = rtl_package(chip_of(source), None, name)
    files = render(package, style)
    if on is None or not cores:
        return files
    units = {unit.name: unit.template for unit in on.units.values()}
    return files | cores_of(package, units, lambda said: on_note(Note(said)) if on_note else None)


def _kept(folder: Path, name: str) -> Package:
    """The package that `save` left in a folder, under another name."""
    path = folder / "rtl" / "params.json"
    if not path.is_file():
        raise Diag("no-such-file", f"`{folder}` holds no rtl/params.json", hint="`dfc compile -o DIR` writes one")
    return validated(replace(from_json(read_source(path).text), name=name))


def save(result: Compiled | Run | Mapping[str, str], out: str | Path) -> list[Path]:
    """Write a result into a folder, as `-o` of the command line does, and return the paths.

    Files of RTL are written only over files of ours. Raises Diag `bad-output`, `rtl-output`.
    """
    folder = Path(out)
    if isinstance(result, Compiled):
        return write_outputs(result, folder, result.report.model)
    if isinstance(result, Run):
        return result.write(folder)
    write_package(result, folder)
    return [folder / name for name in result]
