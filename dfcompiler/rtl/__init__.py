"""Parameter packages for an RTL team: SystemVerilog, Verilog and C, all made from one `params.json`.

`build.package` turns a chip and its mapped ops into a `Package`; `params` says what a valid one is and
keeps it as JSON; `render.render` makes the files; `output.write` puts them into a folder.
"""

from dfcompiler.rtl.build import Axis, PartSpec, package
from dfcompiler.rtl.output import write
from dfcompiler.rtl.params import (
    Column,
    Enum,
    Group,
    Omitted,
    Package,
    Parameter,
    Relation,
    Table,
    from_json,
    to_json,
    validate,
)
from dfcompiler.rtl.render import render
from dfcompiler.rtl.schedule import OpRow

__all__ = [
    "Axis",
    "Column",
    "Enum",
    "Group",
    "Omitted",
    "OpRow",
    "Package",
    "Parameter",
    "PartSpec",
    "Relation",
    "Table",
    "from_json",
    "package",
    "render",
    "to_json",
    "validate",
    "write",
]
