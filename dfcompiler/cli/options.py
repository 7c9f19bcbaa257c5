"""Options as commands take them: the parser, values that are checked, and options that several commands have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dfcompiler.diagnostics import Diag

KINDS = ("ops", "models", "templates", "chips", "spaces", "passes", "pipelines")
STYLES = ("portable", "typed")
OBJECTIVES = "latency (default), energy, edp, area-delay or latency-then-energy"


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


def take_json(p: Parser) -> None:
    """`--json`."""
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def take_chip(p: Parser, required: bool = True) -> None:
    """`--on` with `--set` and `--without`."""
    p.add_argument(
        "--on", metavar="CHIP", required=required, help="a chip that `dfc list chips` names, or a .chip file"
    )
    take_settings(p)
    p.add_argument("--without", metavar="PART", action="append", default=[], help="leave a compute unit out")


def take_settings(p: Parser) -> None:
    """`--set`."""
    p.add_argument(
        "--set",
        metavar="PART.AXIS=VALUE",
        action="append",
        default=[],
        help="change the chip: `sa.rows=128`, `clock='2 GHz'`; the last of several wins",
    )


def take_dtype(p: Parser | argparse._ArgumentGroup, default: str | None = "w16a16kv16") -> None:
    """`--dtype`."""
    otherwise = default or "as the checkpoint is stored, else w16a16kv16"
    p.add_argument(
        "--dtype",
        default=default,
        help="bits of weights, activations and KV cache (w8a8kv8), or types (w=int4-g128,a=bf16); "
        f"default: {otherwise}",
    )


def take_cold(p: Parser) -> None:
    """`--cold`."""
    p.add_argument("--cold", action="store_true", help="nothing is found in L2, as in the layers of a model")


def take_devices(p: Parser) -> None:
    """`--devices` and how a step is split over them."""
    many = p.add_argument_group("several devices", "chips of this kind, joined by their links")
    many.add_argument("--devices", type=whole, metavar="N", help="how many in all; alone it is --tp N")
    for name, what in (
        ("tp", "weights, heads and caches"),
        ("ep", "experts, and the tokens of all else"),
        ("dp", "sequences"),
        ("pp", "layers, in stages"),
    ):
        many.add_argument(f"--{name}", type=whole, default=1, metavar="N", help=f"split {what}")


def take_watching(p: Parser) -> None:
    """`--verify` and `--print-after`."""
    p.add_argument(
        "--verify",
        action="store_true",
        help="run the graph on small shapes before and after every pass, and every mapped op tile by tile",
    )
    p.add_argument(
        "--print-after", metavar="PASS", action="append", default=[], help="write the graph to stderr after this pass"
    )
    p.add_argument("--print-after-all", action="store_true", help="write the graph to stderr after every pass")
