"""What `dfc rtl` takes. Nothing heavy is imported here."""

from __future__ import annotations

from dfcompiler.cli.options import Parser, take_chip, take_dtype, whole


def configure(p: Parser) -> None:
    """Add the options of packages, and of cores in the loop."""
    p.add_argument(
        "dir", metavar="DIR", nargs="?", help="a folder that `dfc compile -o` wrote; or give --on for a chip alone"
    )
    take_chip(p, required=False)
    p.add_argument("--name", help="prefix of all names of the package")
    p.add_argument("-o", "--out", metavar="OUT", help="folder to write to")
    p.add_argument(
        "--style",
        default="portable",
        help="portable (default), or typed: enums and arrays of structs, which Icarus 11 does not read",
    )
    p.add_argument("--check", action="store_true", help="write nothing; exit 1 where OUT is not up to date")
    p.add_argument("--cores", action="store_true", help="write the reference cores of the chip's units as well")
    loop = p.add_argument_group("RTL in the loop")
    loop.add_argument(
        "--simulate",
        metavar="OP",
        nargs="+",
        help="run an operator (`linear t=64 k=100 n=70`) as mapped onto the chip of --on on a reference core, with "
        "random integers, in Verilator; compare with numpy and with the unit's formula",
    )
    loop.add_argument("--unit", metavar="U", help="on this unit (default: the fastest)")
    take_dtype(loop)
    loop.add_argument("--seed", type=whole, default=0, metavar="K", help="of the random integers (default 0)")
    loop.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
