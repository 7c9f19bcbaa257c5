"""`dfc completion`: what a shell needs to complete `dfc`, and what it asks for then: the words that may come next.

The scripts ask by running the same command with the words up to the cursor in the variable `DFC_WORDS`, a line each.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from dfcompiler import registry
from dfcompiler.cli.arguments import COMMANDS, parser_of
from dfcompiler.cli.catalog import entries
from dfcompiler.cli.options import KINDS, STYLES
from dfcompiler.codes import explanations
from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.steps import PHASES

VARIABLE = "DFC_WORDS"
SCRIPTS = {
    "bash": r"""_dfc() {
    local IFS=$'\n'
    COMPREPLY=($(DFC_WORDS="${COMP_WORDS[*]:1:COMP_CWORD}" "${COMP_WORDS[0]}" completion bash 2>/dev/null))
    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -o default -F _dfc dfc
""",
    "zsh": r"""#compdef dfc
_dfc() {
    local -a found
    found=("${(@f)$(DFC_WORDS="${(pj:\n:)words[2,CURRENT]}" "${words[1]}" completion zsh 2>/dev/null)}")
    if [[ -n "$found" ]]; then _describe -V dfc found; else _files; fi
}
compdef _dfc dfc
""",
    "fish": r"""function __dfc_words
    set -l before (commandline -opc)
    set -l program $before[1]
    set -e before[1]
    set -lx DFC_WORDS (string join \n -- $before | string collect -a)\n(commandline -ct | string collect -a)
    command $program completion fish 2>/dev/null
end
complete -c dfc -a '(__dfc_words)'
""",
}

Words = Mapping[str, str]  # what may come next, with a line about it


def run(args: argparse.Namespace) -> None:
    """Print the script for a shell, or where it asks the words that may come next; raises Diag `unknown-shell`."""
    if args.shell not in SCRIPTS:
        raise unknown("shell", args.shell, SCRIPTS)
    asked = os.environ.get(VARIABLE)
    if asked is None:
        print(SCRIPTS[args.shell], end="")
        return
    for word, about in next_words(asked.split("\n")).items():
        print(_line(args.shell, word, " ".join(about.split())))


def _line(shell: str, word: str, about: str) -> str:
    match shell:
        case "zsh":
            return word.replace(":", r"\:") + (f":{about}" if about else "")
        case "fish":
            return f"{word}\t{about}" if about else word
        case _:
            return word


def next_words(words: list[str]) -> dict[str, str]:
    """What the last of the words after `dfc` may become, each with a line about it; nothing where it is a file's."""
    before, word = [w for w in words[:-1] if w], words[-1]
    if not before:
        known = {name: command.summary for name, command in COMMANDS.items()}
        return _fitting(word, known | {"--help": "what there is", "--version": ""} if word.startswith("-") else known)
    if before[0] not in COMMANDS:
        return {}
    actions = parser_of(before[0])._actions
    options = {text: action for action in actions for text in action.option_strings}
    if word.startswith("-"):
        return _fitting(word, {text: a.help or "" for text, a in options.items() if text.startswith("--")})
    asking = options.get(before[-1])
    if asking is not None and asking.nargs != 0:
        return _values(asking.dest, word, before)
    places = [a for a in actions if not a.option_strings]
    at = _positionals(before[1:], options)
    return _values(places[min(at, len(places) - 1)].dest, word, before) if places else {}


def _positionals(words: list[str], options: Mapping[str, argparse.Action]) -> int:
    """How many of the words stand for themselves: neither options nor their values."""
    taking = [False, *(w in options and options[w].nargs != 0 for w in words)]
    return sum(not w.startswith("-") and not taken for w, taken in zip(words, taking, strict=False))


def _fitting(word: str, known: Words) -> dict[str, str]:
    return {name: about for name, about in known.items() if name.startswith(word)}


# ---- values ------------------------------------------------------------------------------------


def _values(what: str, word: str, before: list[str]) -> dict[str, str]:
    """The values of an option or argument that begin with a word; of a pipeline, of its last pass."""
    if what not in VALUES:
        return {}
    head, comma, tail = word.rpartition(",") if what == "pipeline" else ("", "", word)
    try:
        found = _fitting(tail, VALUES[what](before))
    except Diag:  # a chip or a plug-in with a fault: there is nothing to complete
        return {}
    return {f"{head}{comma}{name}": about for name, about in found.items()}


def _kinds(*kinds: str) -> Callable[[list[str]], Words]:
    return lambda _: {name: about for named in entries(kinds).values() for name, about in named.items()}


def _plain(names: Iterable[str]) -> Callable[[list[str]], Words]:
    return lambda _: dict.fromkeys(names, "")


def _classes(kind: str) -> Callable[[list[str]], Words]:
    return lambda _: dict.fromkeys(registry.names(kind), "")


def _listed(module: str, name: str) -> Callable[[list[str]], Words]:
    """What a module lists; imported when it is asked for: who completes anything else need not wait for it."""
    return lambda _: dict.fromkeys(getattr(importlib.import_module(f"dfcompiler.{module}"), name), "")


def _axes(before: list[str]) -> Words:
    """`part.axis=` of the chip that is named before."""
    return {f"{part}.{axis}=": "" for part, axes in _parts(before) for axis in axes}


def _parts(before: list[str]) -> Iterator[tuple[str, list[str]]]:
    from dfcompiler.hardware.elaboration import load_chip

    named = before[before.index("--on") + 1] if "--on" in before[:-1] else before[1]
    for name, part in load_chip(named).parts.items():
        yield name, [axis.text_name for axis in part.template.axes()]


VALUES: dict[str, Callable[[list[str]], Words]] = {
    "code": lambda _: {one.code: one.meaning for one in explanations().values()},
    "shell": _plain(SCRIPTS),
    "kind": _plain(KINDS),
    "thing": _kinds(*KINDS),
    "model": _kinds("models"),
    "on": _kinds("chips"),
    "chip": _kinds("chips"),
    "op": _kinds("ops"),
    "simulate": _kinds("ops"),
    "pipeline": _kinds("pipelines", "passes"),
    "print_after": _kinds("passes"),
    "phase": _plain(PHASES),
    "objective": _listed("goals", "OBJECTIVES"),
    "space": _kinds("spaces"),
    "prices": _listed("explore.space", "PRICES"),
    "sampler": _listed("explore.samplers", "MODULES"),
    "engine": _listed("explore.studied", "ENGINES"),
    "semantics": _listed("serving.settings", "SEMANTICS"),
    "simulator": _listed("serving.engine", "ENGINES"),
    "style": _plain(STYLES),
    "policy": _classes("policy"),
    "router": _classes("router"),
    "set": _axes,
    "without": lambda before: {name: "" for name, _ in _parts(before)},
}
