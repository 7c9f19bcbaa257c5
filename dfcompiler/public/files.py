"""Results as files: packages for an RTL team, and folders as `-o` leaves them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from dfcompiler.api import Compiled
from dfcompiler.diagnostics import Diag, Note
from dfcompiler.hardware.elaboration import chip_names
from dfcompiler.outputs import rtl_package, write_outputs
from dfcompiler.public.given import AnyChip, chip_of
from dfcompiler.rtl import from_json, render
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
    named = isinstance(source, str) and source in chip_names()
    if isinstance(source, str | Path) and Path(source).is_dir() and not named:
        return _renamed(Path(source), name, style, cores)
    if isinstance(source, Compiled):
        chip, package = source.chip, rtl_package(source.chip, source.report, name, source.graph)
    else:
        chip = chip_of(source)
        package = rtl_package(chip, None, name)
    files = render(package, style)
    if not cores:
        return files
    units = {unit.name: (unit.template, unit.ports) for unit in chip.units.values()}
    return files | cores_of(package, units, lambda said: on_note(Note(said)) if on_note else None)


def _renamed(folder: Path, name: str, style: str, cores: bool) -> dict[str, str]:
    """The package that `save` left in a folder, under another name."""
    if cores:
        raise Diag("bad-option", "cores are made of a chip: a folder holds its parameters only")
    path = folder / "rtl" / "params.json"
    if not path.is_file():
        raise Diag("no-such-file", f"`{folder}` holds no rtl/params.json", hint="`dfc compile -o DIR` writes one")
    return render(validated(replace(from_json(read_source(path).text), name=name)), style)


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
