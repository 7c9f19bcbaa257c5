"""Try damaged and random texts of every kind until the time is over: nothing but our own errors may come out.

    python tests/fuzz/run.py --seconds 600 --seed 1            what `make fuzz` does
    python tests/fuzz/run.py --seed 1 --only 4711              one input again, with its text and traceback
    python tests/fuzz/run.py --engine atheris --seconds 600    guided by coverage, where atheris is installed

Every input depends on the seed and its number alone. Inputs run in a process of their own with a limit on its
memory; an input has a limit on its CPU seconds, and a process that does not come back is ended and counts as a
hang. Exits with 1 where there was a failure; its text is in the folder of `--out`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

INPUT_S = 10.0  # CPU seconds of one input
SILENT_S = 120.0  # seconds without a new input, after which a process hangs
MEMORY_BYTES = 3 << 30
MOST_FAILURES = 20


class Hang(BaseException):
    """An input took too long; no handler of ours may take it for an error of its own."""


def draw(seed: str, number: int) -> tuple[str, str]:
    """Kind and text of an input."""
    from targets import WEIGHTS, drawn

    rng = Random(f"{seed}:{number}")
    kind = rng.choices([*WEIGHTS], [*WEIGHTS.values()])[0]
    return kind, drawn(kind, rng)


def attempt(kind: str, text: str) -> str | None:
    """None where all is well, else the traceback of what came out."""
    from targets import TARGETS

    from dfcompiler.diagnostics import Diag

    def stop(*_: object) -> None:
        raise Hang(f"more than {INPUT_S:g} CPU seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, INPUT_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            TARGETS[kind](text)
    except Diag as error:
        return None if error.render() and error.code else "an error without a code"
    except (Hang, Exception) as error:
        return "".join(traceback.format_exception(error, limit=-12))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


# ---- the process that tries --------------------------------------------------------------------


def child(args: argparse.Namespace) -> int:
    """Try inputs in turn; the number of the current one is always in the file `at`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    out = Path(args.out).resolve()
    failures, number, end = 0, args.start, time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        while failures < MOST_FAILURES and time.monotonic() < end and (args.inputs is None or number < args.inputs):
            (out / "at").write_text(str(number))
            kind, text = draw(args.seed, number)
            if said := attempt(kind, text):
                failures += 1
                report(out, args.seed, number, kind, text, said)
            number += 1
        os.chdir("/")
    (out / "at").write_text(f"{number} done")
    return min(failures, 1)


def report(out: Path, seed: str, number: int, kind: str, text: str, said: str) -> None:
    """Keep a text that failed, and say how to see it again."""
    (out / f"{kind}-{seed}-{number}.txt").write_text(text, encoding="utf-8", errors="surrogatepass")
    last = said.strip().splitlines()[-1][:200]
    print(f"FAILED {kind} --seed {seed} --only {number}: {last}", flush=True)


# ---- the process that watches ------------------------------------------------------------------


def watch(args: argparse.Namespace) -> int:
    """Run children until the time or the inputs are used up; one that dies or hangs is a failure of its input."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    failed, number, end = 0, args.start, time.monotonic() + args.seconds
    while time.monotonic() < end and (args.inputs is None or number < args.inputs) and failed < MOST_FAILURES:
        (out / "at").write_text(str(number))
        command = [sys.executable, __file__, "--child", "--seed", args.seed, "--start", str(number), "--out", str(out)]
        command += ["--seconds", str(end - time.monotonic())] + (["--inputs", str(args.inputs)] if args.inputs else [])
        code = supervised(command, out / "at")
        number, *done = (out / "at").read_text().split()
        number = int(number)
        if done:
            failed += code
            break
        failed += 1
        report(out, args.seed, number, *draw(args.seed, number), "hangs" if code is None else f"dies with {code}")
        number += 1
    result = f"failures in {out}" if failed else "all well"
    print(f"fuzz: {number - args.start:,} inputs of seed {args.seed}, {result}")
    return min(failed, 1)


def supervised(command: list[str], at: Path) -> int | None:
    """The exit code of a child, or None where it was ended because nothing new came for long."""
    with subprocess.Popen(command, env=os.environ | {"PYTHONHASHSEED": "0"}) as process:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                if time.time() - at.stat().st_mtime > SILENT_S:
                    process.kill()
                    return None


def once(args: argparse.Namespace) -> int:
    """Show one input and what becomes of it."""
    kind, text = draw(args.seed, args.only)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        said = attempt(kind, text)
        os.chdir("/")
    print(f"--- {kind}\n{text}\n--- {said or 'all well'}")
    return 1 if said else 0


def guided(args: argparse.Namespace) -> int:
    """Let atheris choose: its bytes are the choices of the same generators, and coverage of the engine guides it."""
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed (`pip install dfcompiler[fuzz]`), so nothing is guided by coverage")
        return 0
    import atheris

    with atheris.instrument_imports(include=["dfcompiler"]):
        import targets

    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)

    def one(data: bytes) -> None:
        kinds = [*targets.WEIGHTS]
        kind = kinds[data[0] % len(kinds)] if data else "op"
        if len(data) > 1 and data[1] % 2:
            text = data[2:].decode("utf-8", errors="ignore")
        else:
            text = targets.drawn(kind, Random(data))
        if said := attempt(kind, text):
            report(out, "atheris", len(list(out.iterdir())), kind, text, said)
            raise RuntimeError(said)

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        limits = [f"-max_total_time={args.seconds:.0f}", f"-rss_limit_mb={MEMORY_BYTES >> 20}", "-max_len=4096"]
        seed = [f"-seed={sum(map(ord, args.seed)) + 1}", f"-artifact_prefix={out}/atheris-", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *limits, *seed], one)
        atheris.Fuzz()  # does not return
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="when to stop (default 600)")
    parser.add_argument("--inputs", type=int, help="number of the first input that is not tried (default: no end)")
    parser.add_argument("--seed", default="0", help="any word (default 0)")
    parser.add_argument("--start", type=int, default=0, help="number of the first input (default 0)")
    parser.add_argument("--only", type=int, help="try this input alone and show it")
    parser.add_argument("--engine", choices=("random", "atheris"), default="random")
    parser.add_argument("--out", default="out/fuzz", help="folder for texts that fail (default out/fuzz)")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only is not None:
        return once(args)
    if args.child:
        return child(args)
    return guided(args) if args.engine == "atheris" else watch(args)


if __name__ == "__main__":
    sys.exit(main())
