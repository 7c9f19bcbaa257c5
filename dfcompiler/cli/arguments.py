"""What can be typed: one parser per command. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from dfcompiler import __version__
from dfcompiler.diagnostics import Diag, unknown

KINDS = ("ops", "models", "templates", "chips", "passes", "pipelines")
PHASES = ("prefill", "decode", "mixed")
STYLES = ("portable",)
OBJECTIVES = "latency (default), energy, edp, area-delay or latency-then-energy"
# What a phase works on where nothing is said: sequences, new tokens, tokens that are there.
DEFAULTS = {"prefill": (1, 2048, 0), "decode": (1, 1, 2048), "mixed": (16, 2048, 2048)}

OVERVIEW = """\
usage: dfc COMMAND ...

Maps a large language model onto a chip of dataflow units, and proves how good the mapping is.

commands:
{commands}

  dfc COMMAND --help     what a command takes
  dfc --version

to begin with:
  dfc list chips
  dfc show ador
  dfc compile llama3-8b --on ador --phase decode --batch 16 --context 2048

exit codes: 0 done, 1 the answer is no (with the reason), 2 bad input (with the place), 3 a bug of dfc"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are diagnostics."""

    def error(self, message: str) -> NoReturn:
        """Raise Diag `usage`."""
        said = message.removeprefix("the following arguments are required: ")
        what = f"{self.prog} needs {said}" if said != message else message
        raise Diag("usage", what, hint=f"`{self.prog} --help` shows what it takes")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        with named("/".join(action.option_strings) or str(action.metavar)):
            return super()._get_value(action, arg_string)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Say of every error which option or argument it is about."""
    try:
        yield
    except Diag as error:
        raise Diag(error.code, f"{what}: {error.message}", error.span, hint=error.hint) from None


def whole(text: str) -> int:
    """A whole number such as `2048`, `1_000` or `1e6`."""
    try:
        return int(text)
    except ValueError:
        value = real(text)
    if not value.is_integer():
        raise Diag("bad-number", f"`{text}` is no whole number")
    return int(value)


def real(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Diag("bad-number", f"`{text}` is no finite number")
    return value


# ---- options that several commands have --------------------------------------------------------


def _json(p: Parser) -> None:
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _chip(p: Parser, required: bool = True) -> None:
    p.add_argument(
        "--on", metavar="CHIP", required=required, help="a chip that `dfc list chips` names, or a .chip file"
    )
    _set(p)
    p.add_argument("--without", metavar="PART", action="append", default=[], help="leave a compute unit out")


def _set(p: Parser) -> None:
    p.add_argument(
        "--set",
        metavar="PART.AXIS=VALUE",
        action="append",
        default=[],
        help="change the chip: `sa.rows=128`, `clock='2 GHz'`; the last of several wins",
    )


def _dtype(p: Parser, default: str | None = "w16a16kv16") -> None:
    otherwise = default or "as the checkpoint is stored, else w16a16kv16"
    p.add_argument(
        "--dtype",
        default=default,
        help="bits of weights, activations and KV cache (w8a8kv8), or types (w=int4-g128,a=bf16); "
        f"default: {otherwise}",
    )


def _watch(p: Parser) -> None:
    p.add_argument(
        "--verify",
        action="store_true",
        help="run the graph on small shapes before and after every pass, and every mapped op tile by tile",
    )
    p.add_argument(
        "--print-after", metavar="PASS", action="append", default=[], help="write the graph to stderr after this pass"
    )
    p.add_argument("--print-after-all", action="store_true", help="write the graph to stderr after every pass")


# ---- commands ----------------------------------------------------------------------------------


def _list(p: Parser) -> None:
    p.add_argument("kind", metavar="KIND", nargs="?", help=f"one of {', '.join(KINDS)} (default: all)")
    _json(p)


def _show(p: Parser) -> None:
    p.add_argument(
        "thing",
        metavar="THING",
        help="a name that `dfc list` prints, a config.json, .dfm or .chip file, or a folder of `dfc compile -o`",
    )
    p.add_argument("--op", metavar="NAME", help="of such a folder: why this op has its unit and its tile")
    _json(p)
    _set(p)


def _compile(p: Parser) -> None:
    p.add_argument(
        "model",
        metavar="MODEL",
        help="a name that `dfc list models` prints, a config.json, a folder with one, or a .dfm file",
    )
    _chip(p)
    step = p.add_argument_group(
        "the step", "defaults: prefill of 1 x 2048 new tokens; decode of 1 sequence with 2048 cached"
    )
    step.add_argument(
        "--phase",
        default="prefill",
        metavar="PHASE",
        help="prefill (default), decode, or mixed: one prefill beside decoding",
    )
    step.add_argument("--batch", type=whole, metavar="B", help="sequences (default 1; mixed: 16 that decode)")
    step.add_argument("--seq", type=whole, metavar="S", help="new tokens of a prefill (default 2048)")
    step.add_argument(
        "--context", type=whole, metavar="C", help="tokens already cached (default 0 for prefill, else 2048)"
    )
    _dtype(p, None)
    many = p.add_argument_group("several devices", "chips of this kind, joined by their links")
    many.add_argument("--devices", type=whole, metavar="N", help="how many in all; alone it is --tp N")
    for name, what in (
        ("tp", "weights, heads and caches"),
        ("ep", "experts, and the tokens of all else"),
        ("dp", "sequences"),
        ("pp", "layers, in stages"),
    ):
        many.add_argument(f"--{name}", type=whole, default=1, metavar="N", help=f"split {what}")
    how = p.add_argument_group("how to map")
    how.add_argument(
        "--pipeline",
        default="default",
        metavar="TEXT",
        help="a pipeline that `dfc list pipelines` names, or passes: tile,map-ilp{time-limit-s=10}",
    )
    how.add_argument("--objective", default="latency", metavar="WHAT", help=OBJECTIVES)
    how.add_argument("--power", type=real, metavar="W", help="watts that a device may take on average")
    how.add_argument("--time-limit", type=real, default=60.0, metavar="S", help="seconds for the solver (default 60)")
    how.add_argument("--seed", type=whole, default=0, metavar="K", help="of the solver (default 0)")
    _watch(p)
    p.add_argument(
        "-o", "--out", metavar="DIR", help="write mapping.json, the final graph, a trace and the RTL package here"
    )
    _json(p)


def _price(p: Parser) -> None:
    p.add_argument("op", metavar="OP", help="an operator that `dfc list ops` prints")
    p.add_argument("dims", metavar="DIM=SIZE", nargs="*", help="extents and attributes; a pack takes several: t=1,2048")
    _chip(p)
    p.add_argument("--unit", metavar="U", help="on this unit (default: the fastest)")
    _dtype(p)
    _json(p)


def _validate(p: Parser) -> None:
    p.add_argument("file", metavar="FILE.csv", help="a column per size, and one of latency_ms, latency_us or cycles")
    p.add_argument("--op", required=True, metavar="OP", help="gemm, prefill, decode, moe, ... or an operator")
    _chip(p)
    _dtype(p)
    p.add_argument("--min-us", type=real, default=0.0, metavar="T", help="leave out rows that take less (default 0)")
    p.add_argument("--cold", action="store_true", help="nothing is found in L2, as in the layers of a model")
    p.add_argument("--plot", metavar="FILE.svg", help="draw modelled over measured times")
    _json(p)


def _calibrate(p: Parser) -> None:
    p.add_argument("chip", metavar="CHIP", help="a chip that runs whole kernels, by name or as a .chip file")
    p.add_argument("file", metavar="FILE.csv", nargs="?", help="measured rows, as `dfc validate` takes them")
    p.add_argument("--op", default="gemm", metavar="OP", help="what was measured: gemm (default), prefill, decode, ...")
    p.add_argument("--propose", action="store_true", help="print which sizes to measure, and write nothing")
    p.add_argument("--rows", type=whole, default=20, metavar="N", help="how many to propose (default 20)")
    p.add_argument("-o", "--out", metavar="FILE.chip", help="where to write (default: CHIP_calibrated.chip)")
    _json(p)


def _opt(p: Parser) -> None:
    p.add_argument(
        "file", metavar="FILE.dfir", help="a graph, as `dfc compile -o` or --print-after writes it; `-` reads stdin"
    )
    p.add_argument(
        "-p", "--pipeline", required=True, metavar="TEXT", help="passes: fuse-elementwise{max-chain=2},tile,map-ilp"
    )
    _chip(p, required=False)
    _dtype(p)
    p.add_argument("--time-limit", type=real, default=60.0, metavar="S", help="seconds for the solver (default 60)")
    p.add_argument("--seed", type=whole, default=0, metavar="K", help="of the solver (default 0)")
    _watch(p)


def _test(p: Parser) -> None:
    p.add_argument("files", metavar="FILE", nargs="+", help="file tests, or folders with `*.test` files")
    p.add_argument("--update", action="store_true", help="let the files expect what is printed now")


def _rtl(p: Parser) -> None:
    p.add_argument(
        "dir", metavar="DIR", nargs="?", help="a folder that `dfc compile -o` wrote; or give --on for a chip alone"
    )
    _chip(p, required=False)
    p.add_argument("--name", required=True, help="prefix of all names of the package")
    p.add_argument("-o", "--out", required=True, metavar="OUT", help="folder to write to")
    p.add_argument("--style", default="portable", help="portable (default)")
    p.add_argument("--check", action="store_true", help="write nothing; exit 1 where OUT is not up to date")


@dataclass(frozen=True)
class Command:
    """A command: what it says of itself, the module of this folder that runs it, and its arguments."""

    summary: str
    module: str
    configure: Callable[[Parser], None]
    example: str


COMMANDS = {
    "list": Command(
        "what there is: operators, models, templates, chips, passes, pipelines", "catalog", _list, "dfc list chips"
    ),
    "show": Command("one of these, or the schedule in a folder", "show", _show, "dfc show attention"),
    "compile": Command(
        "map one step of a model onto a chip",
        "compile",
        _compile,
        "dfc compile llama3-8b --on ador --phase decode --batch 16 -o out",
    ),
    "price": Command(
        "the best tiling of one operator, no graph",
        "price",
        _price,
        "dfc price linear t=1,2048 k=4096 n=4096 --on ador",
    ),
    "validate": Command(
        "measured against modelled, for a table of measurements",
        "validate",
        _validate,
        "dfc validate gemm_a100.csv --op gemm --on a100_sxm",
    ),
    "calibrate": Command(
        "fit to a GPU's measurements what its data sheet does not tell",
        "calibrate",
        _calibrate,
        "dfc calibrate l40s gemm_l40s.csv --op gemm -o my_l40s.chip",
    ),
    "opt": Command("run passes on a graph and print it", "opt", _opt, "dfc opt graph.dfir -p fuse-elementwise"),
    "test": Command(
        "run file tests: input, command and expected text in one file", "test", _test, "dfc test mine/tests"
    ),
    "rtl": Command("the parameter package for an RTL team", "rtl", _rtl, "dfc rtl --on ador --name npu -o rtl"),
}


def parse(argv: Sequence[str]) -> argparse.Namespace | None:
    """The arguments with the command's `module`; None where a text was asked for and has been printed.

    Raises Diag `unknown-command`, `unknown-option`, `usage`, `bad-number`.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(OVERVIEW.format(commands="\n".join(f"  {name:{width}}  {c.summary}" for name, c in COMMANDS.items())))
        return None
    if argv[0] in ("-V", "--version"):
        print(f"dfc {__version__}")
        return None
    name, *rest = argv
    if name.startswith("-"):
        raise unknown("option", name, ["--help", "--version"])
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    return _parse(name, COMMANDS[name], rest)


def _parse(name: str, command: Command, argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog=f"dfc {name}",
        description=command.summary.capitalize() + ".",
        epilog=f"example: {command.example}",
        allow_abbrev=False,
    )
    command.configure(parser)
    parser.add_argument(
        "--plugins", metavar="DIR", action="append", default=[], help="a folder with further ir/, templates/, passes/"
    )
    known = {s for action in parser._actions for s in action.option_strings}
    for word in argv:
        option = word.partition("=")[0]
        if option.startswith("--") and option != "--" and option not in known:
            raise unknown("option", option, known)
    args, extra = parser.parse_known_intermixed_args(argv)
    if extra:
        kind = "option" if extra[0].startswith("-") and extra[0] != "-" else "argument"
        raise (
            unknown("option", extra[0], known)
            if kind == "option"
            else Diag("usage", f"unexpected argument `{extra[0]}`")
        )
    args.module = command.module
    return args
