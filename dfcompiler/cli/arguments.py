"""What can be typed: one parser per command. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dfcompiler import __version__
from dfcompiler.cli import explore_arguments, rtl_arguments, serve_arguments
from dfcompiler.cli.options import (
    KINDS,
    OBJECTIVES,
    Parser,
    real,
    take_chip,
    take_cold,
    take_devices,
    take_dtype,
    take_json,
    take_settings,
    take_watching,
    whole,
)
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.terms import terms

ABOUT = "Maps a large language model onto a chip of dataflow units, and proves how good the mapping is."
CODES = "exit codes: 0 done, 1 the answer is no (with the reason), 2 bad input (with the place), 3 a bug of dfc"
OVERVIEW = """\
usage: dfc COMMAND ...

{about}

commands:
{commands}

  dfc COMMAND --help     what a command takes
  dfc explain CODE       what a message means
  dfc --version

to begin with:
  dfc list chips
  dfc show ador
  dfc compile llama3-8b --on ador --phase decode --batch 16

{codes}"""


# ---- commands ----------------------------------------------------------------------------------


def _list(p: Parser) -> None:
    p.add_argument("kind", metavar="KIND", nargs="?", help=f"one of {', '.join(KINDS)} (default: all)")
    take_json(p)


def _show(p: Parser) -> None:
    p.add_argument(
        "thing",
        metavar="THING",
        help="a name that `dfc list` prints, a config.json, .dfm, .chip or .space file, or a folder of "
        "`dfc compile -o`",
    )
    p.add_argument("--op", metavar="NAME", help="of such a folder: why this op has its unit and its tile")
    p.add_argument("--kind", metavar="KIND", help="of things of one name, that of this kind: ops, chips, spaces, ...")
    take_json(p)
    take_settings(p)


def _compile(p: Parser) -> None:
    p.add_argument(
        "model",
        metavar="MODEL",
        help="a name that `dfc list models` prints, a config.json, a folder with one, a .dfm file, or a graph (.dfir)",
    )
    take_chip(p)
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
    take_dtype(p, None)
    take_devices(p)
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
    take_watching(p)
    p.add_argument(
        "-o", "--out", metavar="DIR", help="write mapping.json, the final graph, a trace and the RTL package here"
    )
    take_json(p)


def _explain(p: Parser) -> None:
    p.add_argument("code", metavar="CODE", nargs="?", help="what a message has in brackets; without it all are listed")
    take_json(p)


def _completion(p: Parser) -> None:
    p.add_argument("shell", metavar="SHELL", help="bash, zsh or fish: `source <(dfc completion bash)`")


def _check(p: Parser) -> None:
    p.add_argument("file", metavar="FILE", help="a mapping.json of `dfc compile -o`, or the folder that holds one")
    take_json(p)


def _serve(p: Parser) -> None:
    p.add_argument("model", metavar="MODEL", help="as `dfc compile` takes it")
    take_chip(p)
    take_dtype(p, None)
    take_devices(p)
    serve_arguments.configure(p, whole, real)
    p.add_argument("-o", "--out", metavar="DIR", help="write the answers, a row per request and what replicas did here")
    take_json(p)


def _explore(p: Parser) -> None:
    explore_arguments.configure(p, whole, real)
    take_json(p)


def _report(p: Parser) -> None:
    p.add_argument(
        "dir",
        metavar="DIR",
        help="a folder that `dfc compile -o`, `dfc serve -o` or `dfc explore -o` wrote, or its JSON",
    )
    p.add_argument("-o", "--out", metavar="FILE.html", help="where to write (default: report.html in that folder)")


def _price(p: Parser) -> None:
    p.add_argument("op", metavar="OP", help="an operator that `dfc list ops` prints")
    p.add_argument("dims", metavar="DIM=SIZE", nargs="*", help="extents and attributes; a pack takes several: t=1,2048")
    take_chip(p)
    p.add_argument("--unit", metavar="U", help="on this unit (default: the fastest)")
    take_dtype(p)
    take_json(p)


def _validate(p: Parser) -> None:
    p.add_argument("file", metavar="FILE.csv", help="a column per size, and one of latency_ms, latency_us or cycles")
    p.add_argument("--op", required=True, metavar="OP", help="gemm, prefill, decode, moe, ... or an operator")
    take_chip(p)
    take_dtype(p)
    p.add_argument("--min-us", type=real, default=0.0, metavar="T", help="leave out rows that take less (default 0)")
    take_cold(p)
    p.add_argument("--plot", metavar="FILE.svg", help="draw modelled over measured times")
    take_json(p)


def _calibrate(p: Parser) -> None:
    p.add_argument("chip", metavar="CHIP", help="a chip that runs whole kernels, by name or as a .chip file")
    p.add_argument("file", metavar="FILE.csv", nargs="?", help="measured rows, as `dfc validate` takes them")
    p.add_argument("--op", default="gemm", metavar="OP", help="what was measured: gemm (default), prefill, decode, ...")
    take_cold(p)
    p.add_argument("--propose", action="store_true", help="print which sizes to measure, and write nothing")
    p.add_argument("--rows", type=whole, default=20, metavar="N", help="how many to propose (default 20)")
    p.add_argument("-o", "--out", metavar="FILE.chip", help="where to write (default: CHIP_calibrated.chip)")
    take_json(p)


def _cost(p: Parser) -> None:
    p.add_argument("thing", metavar="THING", help="a chip by name or file, or a folder that `dfc compile -o` wrote")
    take_settings(p)
    p.add_argument("--devices", type=whole, metavar="N", help="of a chip: how many, with the switches between them")
    p.add_argument("--tokens-per-s", type=real, metavar="R", help="of a chip: what all devices make while they work")
    p.add_argument("--device-usd", type=real, metavar="USD", help="what you pay for a device (default: to make it)")
    own = p.add_argument_group("terms")
    for name, (value, what, source) in terms().items():
        option = "--" + name.replace("_", "-")
        own.add_argument(option, type=real, metavar="X", help=f"{what} (default {value:g}: {source})")
    take_json(p)


def _opt(p: Parser) -> None:
    p.add_argument(
        "file", metavar="FILE.dfir", help="a graph, as `dfc compile -o` or --print-after writes it; `-` reads stdin"
    )
    p.add_argument(
        "-p", "--pipeline", required=True, metavar="TEXT", help="passes: fuse-elementwise{max-chain=2},tile,map-ilp"
    )
    take_chip(p, required=False)
    take_dtype(p)
    p.add_argument("--time-limit", type=real, default=60.0, metavar="S", help="seconds for the solver (default 60)")
    p.add_argument("--seed", type=whole, default=0, metavar="K", help="of the solver (default 0)")
    take_watching(p)


def _import(p: Parser) -> None:
    p.add_argument(
        "file",
        metavar="FILE",
        help="hardware of LLMCompass (.json), ZigZag or Timeloop v4 (.yaml); a list of GEMMs (.csv); a graph (.onnx)",
    )
    take_dtype(p)
    p.add_argument("-o", "--out", metavar="OUT", help="a file or folder to write to (default: stdout)")


def _export(p: Parser) -> None:
    p.add_argument("dir", metavar="DIR", help="a folder that `dfc compile -o` wrote")
    p.add_argument("--op", metavar="NAME", help="only this op (default: all that Timeloop can express)")
    p.add_argument("-o", "--out", metavar="OUT", help="a folder for a .yaml per op (default: stdout, with --op)")


def _test(p: Parser) -> None:
    p.add_argument("files", metavar="FILE", nargs="+", help="file tests, or folders with `*.test` files")
    p.add_argument("--update", action="store_true", help="let the files expect what is printed now")


@dataclass(frozen=True)
class Command:
    """A command: what it says of itself, the module of this folder that runs it, and its arguments."""

    summary: str
    module: str
    configure: Callable[[Parser], None]
    example: str


COMMANDS = {
    "list": Command(
        "what there is: operators, models, templates, chips, spaces, passes, pipelines",
        "catalog",
        _list,
        "dfc list chips",
    ),
    "show": Command("one of these, or the schedule in a folder", "show", _show, "dfc show attention"),
    "compile": Command(
        "map one step of a model onto a chip",
        "compile",
        _compile,
        "dfc compile llama3-8b --on ador --phase decode --batch 16 -o out",
    ),
    "check": Command(
        "whether a schedule can run, adds up, and is as good as proven; no solver",
        "check",
        _check,
        "dfc check out/mapping.json",
    ),
    "serve": Command(
        "what users feel of a model on a chip: times to tokens, throughput, the highest rate",
        "serve",
        _serve,
        "dfc serve llama3-8b --on h100_sxm --poisson 5 --slo ttft=1,tbt=0.1",
    ),
    "explore": Command(
        "which chips and systems of a space serve best, with a proof",
        "explore",
        _explore,
        "dfc explore llmshare --need rate_req_s=20",
    ),
    "report": Command(
        "one HTML file on a result: floor plan, schedule, roofline, memory, QoS curves, proof",
        "report",
        _report,
        "dfc report out",
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
    "cost": Command(
        "what devices cost to make and to own, and a million tokens", "cost", _cost, "dfc cost out --usd-per-kwh 0.12"
    ),
    "explain": Command("what a message means and what to change", "explain", _explain, "dfc explain no-mapping"),
    "opt": Command("run passes on a graph and print it", "opt", _opt, "dfc opt graph.dfir -p fuse-elementwise"),
    "import": Command(
        "hardware or workloads of other tools as chips and graphs",
        "import_",
        _import,
        "dfc import tpu_like.yaml -o tpu_like.chip",
    ),
    "export": Command("mapped operators as mappings of Timeloop v4", "export", _export, "dfc export out -o timeloop"),
    "test": Command(
        "run file tests: input, command and expected text in one file", "test", _test, "dfc test mine/tests"
    ),
    "completion": Command(
        "what a shell needs to complete commands, options and names", "completion", _completion, "dfc completion bash"
    ),
    "rtl": Command(
        "the parameter package for an RTL team", "rtl", rtl_arguments.configure, "dfc rtl --on ador --name npu -o rtl"
    ),
}


def parse(argv: Sequence[str]) -> argparse.Namespace | None:
    """The arguments with the command's `module`; None where a text was asked for and has been printed.

    Raises Diag `unknown-command`, `unknown-option`, `usage`, `bad-number`.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview(shutil.get_terminal_size().columns))
        return None
    if argv[0] in ("-V", "--version"):
        print(f"dfc {__version__}")
        return None
    name, *rest = argv
    if name.startswith("-"):
        raise unknown("option", name, ["--help", "--version"])
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    return _parse(name, rest)


def _overview(columns: int) -> str:
    """The help of all commands, for a terminal of so many columns."""
    indent = max(map(len, COMMANDS)) + 4
    told = [
        textwrap.fill(c.summary, columns, initial_indent=f"  {name}".ljust(indent), subsequent_indent=" " * indent)
        for name, c in COMMANDS.items()
    ]
    about, codes = (textwrap.fill(text, columns) for text in (ABOUT, CODES))
    return OVERVIEW.format(about=about, codes=codes, commands="\n".join(told))


def parser_of(name: str) -> Parser:
    """The parser of a command."""
    command = COMMANDS[name]
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
    return parser


def _parse(name: str, argv: Sequence[str]) -> argparse.Namespace:
    parser = parser_of(name)
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
    args.module = COMMANDS[name].module
    return args
