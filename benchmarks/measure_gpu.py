"""Measure a GPU's kernels: one file that needs torch (from 2.5 on) and nothing else, to be copied to where the GPU is.

    python measure_gpu.py -o mine                  all kinds, about half an hour
    python measure_gpu.py --list                   the sizes, as CSV, without torch
    python measure_gpu.py --kinds gemm --sizes sizes.csv -o mine      those that `dfc calibrate --propose` wrote
    python measure_gpu.py --device cpu -o mine     a few tiny sizes on a CPU, to see that it runs

Per kind it writes KIND_cold.csv and KIND_warm.csv into the folder, which `dfc validate` and `dfc calibrate` read as
they are (with `--cold` for the first), and about.json: what was measured on what. Cold: before every call a buffer
larger than any last-level cache is read; CUDA events around the one call, whose launch the reading hides. Warm: calls
one after the other in a CUDA graph, products through six copies of their weights in turn. Both are medians.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Size = tuple[int, ...]

COPIES = 6  # of a product's weights, in turn: as the published tables of GEMMs were measured
FLUSH_BYTES = {"cuda": 1 << 29, "cpu": 1 << 26}  # above the largest last-level cache of either: 256 MB of an MI300X
COLD_CALLS, WARM_GRAPHS = 20, 5  # repetitions, of which the median is taken
WARM_S = 0.005  # a graph has as many calls as take so long, up to MOST_CALLS
MOST_CALLS = 1000

# ---- sizes: fixed, so that two devices are compared on the same ones ---------------------------

ATTENTION = ("num_heads", "num_kv_heads", "head_dim")
COLUMNS = {
    "gemm": ("m", "n", "k"),
    "prefill": ("batch_size", "seq_len", *ATTENTION),
    "decode": ("batch_size", "kv_len", *ATTENTION),
    "softmax": ("m", "n"),
    "layernorm": ("m", "n"),
    "gelu": ("m",),
}
# Columns and depths of projections: Llama 3 8B; 70B whole and over 8 devices; Qwen3 8B; GPT-2; squares; an LM head.
WEIGHTS = (
    (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336),
    (10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672),
    (1280, 8192), (8192, 1024), (7168, 8192), (8192, 3584),
    (24576, 4096), (4096, 12288), (3072, 768), (768, 3072),
    (256, 256), (1024, 1024), (2048, 2048), (128256, 4096),
)  # fmt: skip
TOKENS = (1, 2, 4, 8, 16, 24, 32, 64, 100, 128, 256, 512, 1000, 1024, 2048, 4096, 8192)
HEADS = ((32, 8, 128), (32, 32, 128), (64, 8, 128), (8, 1, 128), (16, 2, 64))
LENGTHS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
ROWS, WIDTHS = (1, 16, 128, 1024, 4096, 16384, 65536), (128, 512, 1024, 2048, 4096, 8192, 32768)
MOST_ELEMENTS = 1 << 28  # of a result: 512 MB
MOST_PROMPT = 1 << 15  # tokens of all sequences
MOST_CACHED = 1 << 30  # elements of keys, and as many of values: 2 GB each
TINY: dict[str, tuple[Size, ...]] = {
    "gemm": ((1, 64, 64), (8, 64, 128), (64, 128, 64), (128, 128, 128), (100, 72, 40), (256, 256, 256)),
    "prefill": ((1, 16, 4, 2, 64), (2, 32, 4, 4, 64), (1, 128, 8, 1, 64)),
    "decode": ((1, 16, 4, 2, 64), (2, 64, 4, 4, 64), (4, 128, 8, 1, 64)),
    "softmax": ((1, 64), (64, 256)),
    "layernorm": ((1, 64), (64, 256)),
    "gelu": ((64,), (4096,)),
}


def sizes_of(kind: str) -> tuple[Size, ...]:
    """The sizes of a kind of kernel, in the order of `COLUMNS`: always the same."""
    if kind == "gemm":
        return tuple((m, n, k) for (n, k), m in itertools.product(WEIGHTS, TOKENS) if m * n <= MOST_ELEMENTS)
    if kind == "prefill":
        found = itertools.product(HEADS, (1, 2, 4, 16), LENGTHS)
        return tuple((b, s, *heads) for heads, b, s in found if b * s <= MOST_PROMPT)
    if kind == "decode":
        found = itertools.product(HEADS[:4], (1, 4, 16, 64, 256), (*LENGTHS[1:], 32768))
        return tuple((b, t, *heads) for heads, b, t in found if b * t * heads[1] * heads[2] <= MOST_CACHED)
    if kind == "gelu":
        return tuple((1 << i,) for i in range(10, 29))
    return tuple((m, n) for m, n in itertools.product(ROWS, WIDTHS) if m * n <= MOST_ELEMENTS)


def read_sizes(lines: Iterable[str], kind: str) -> tuple[Size, ...]:
    """Sizes from a CSV with at least the columns of a kind; raises Refused with the line of what is wrong."""
    reader = csv.DictReader(lines)
    missing = [c for c in COLUMNS[kind] if c not in (reader.fieldnames or ())]
    if missing:
        raise Refused(f"the sizes have no column `{missing[0]}`; `{kind}` needs {', '.join(COLUMNS[kind])}")
    found = tuple(tuple(_whole(row[c], c, number) for c in COLUMNS[kind]) for number, row in enumerate(reader, start=2))
    if not found:
        raise Refused("there are no sizes below the names")
    return found


def _whole(text: str | None, column: str, line: int) -> int:
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.nan
    if not (value >= 1 and value.is_integer()):
        raise Refused(f"line {line}: `{text}` is no size of `{column}`: a whole number from 1")
    return int(value)


class Refused(Exception):
    """Bad input, or nothing to measure on: said on stderr, exit code 2."""


# ---- what is measured --------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Calls to go through in turn, which do the same on other copies, and what they are in words."""

    calls: Sequence[Callable[[], Any]]
    name: str


def work(torch: Any, kind: str, size: Size, device: str) -> Work:
    """One kernel of a kind on random 16-bit operands."""

    def made(*shape: int) -> Any:
        return torch.randn(shape, device=device, dtype=torch.bfloat16)

    functional = torch.nn.functional
    if kind == "gemm":
        m, n, k = size
        x, weights = made(m, k), [made(n, k) for _ in range(COPIES)]
        return Work([lambda w=w: functional.linear(x, w) for w in weights], "linear")
    if kind in ("prefill", "decode"):
        return _attention(torch, kind, size, made)
    x = made(*size)
    if kind == "softmax":
        return Work([lambda: torch.softmax(x, -1)], "softmax")
    if kind == "layernorm":
        return Work([lambda: functional.layer_norm(x, size[-1:])], "layer_norm")
    return Work([lambda: functional.gelu(x, approximate="tanh")], "gelu")


def _attention(torch: Any, kind: str, size: Size, made: Callable[..., Any]) -> Work:
    """A prefill also writes its new keys and values into a cache, as the tables that prefill is modelled on have it."""
    b, length, heads, groups, width = size
    new = length if kind == "prefill" else 1
    q, k, v = made(b, heads, new, width), made(b, groups, length, width), made(b, groups, length, width)
    attend = torch.nn.functional.scaled_dot_product_attention
    if kind == "decode":
        return Work([lambda: attend(q, k, v, enable_gqa=heads != groups)], "sdpa")
    fresh = made(b * length, groups * width)
    cache = made(2, b * length, groups * width)
    slots = torch.randperm(b * length, device=fresh.device)

    def run() -> Any:
        cache[0].index_copy_(0, slots, fresh)
        cache[1].index_copy_(0, slots, fresh)
        return attend(q, k, v, is_causal=True, enable_gqa=heads != groups)

    return Work([run], "sdpa+index_copy")


# ---- clocks ------------------------------------------------------------------------------------


class Cuda:
    """Times by events on the GPU."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.flush = torch, torch.ones(FLUSH_BYTES["cuda"] // 4, device="cuda")

    def cold_us(self, w: Work) -> float:
        """Of one call whose operands are in DRAM. Reading leaves no dirty lines that the call would have to evict."""
        return statistics.median(self._after_flush(call) for call in _turns(w, COLD_CALLS))

    def _after_flush(self, call: Callable[[], Any]) -> float:
        self.flush.sum()
        return self._between(call)

    def warm_us(self, w: Work, once_us: float) -> float:
        """Of one call among many in a graph."""
        count = _repeats(once_us, len(w.calls))
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            for call in _turns(w, count):
                call()
        graph.replay()
        return statistics.median(self._between(graph.replay) for _ in range(WARM_GRAPHS)) / count

    def prepare(self, w: Work) -> None:
        """Let the library choose its kernels, on a stream beside, as graphs want it."""
        beside = self.torch.cuda.Stream()
        beside.wait_stream(self.torch.cuda.current_stream())
        with self.torch.cuda.stream(beside):
            for call in w.calls:
                call()
        self.torch.cuda.current_stream().wait_stream(beside)
        self.torch.cuda.synchronize()

    def release(self) -> None:
        """Give back what the last size held: others want other shapes of it."""
        self.torch.cuda.empty_cache()

    def _between(self, call: Callable[[], Any]) -> float:
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e3

    def about(self) -> dict[str, Any]:
        """What about.json says of the device; `empty_us` is what two events with nothing between them show."""
        p = self.torch.cuda.get_device_properties(0)
        empty = statistics.median(self._after_flush(lambda: None) for _ in range(COLD_CALLS))
        found = {"device": p.name, "sms": p.multi_processor_count, "memory_bytes": p.total_memory, "empty_us": empty}
        return found | {"cuda": self.torch.version.cuda or self.torch.version.hip}


class Cpu:
    """Times by the host's clock: to try the script, not to measure a CPU well."""

    def __init__(self, torch: Any) -> None:
        torch.set_num_threads(1)  # where cores are shared, threads wait for each other
        self.flush = torch.ones(FLUSH_BYTES["cpu"] // 4)

    def cold_us(self, w: Work) -> float:
        """Of one call whose operands are in DRAM."""
        return statistics.median(self._after_flush(call) for call in _turns(w, COLD_CALLS))

    def _after_flush(self, call: Callable[[], Any]) -> float:
        self.flush.sum()
        return _host_us([call])

    def warm_us(self, w: Work, once_us: float) -> float:
        """Of one call among many."""
        calls = list(_turns(w, _repeats(once_us, len(w.calls))))
        return statistics.median(_host_us(calls) for _ in range(WARM_GRAPHS)) / len(calls)

    def prepare(self, w: Work) -> None:
        """Run every call once."""
        for call in w.calls:
            call()

    def release(self) -> None:
        """Nothing is held."""

    def about(self) -> dict[str, Any]:
        """What about.json says of the device."""
        return {"device": "cpu"}


CLOCKS = {"cuda": Cuda, "cpu": Cpu}


def _host_us(calls: Sequence[Callable[[], Any]]) -> float:
    start = time.perf_counter_ns()
    for call in calls:
        call()
    return (time.perf_counter_ns() - start) / 1e3


def _turns(w: Work, count: int) -> Iterator[Callable[[], Any]]:
    return itertools.islice(itertools.cycle(w.calls), count)


def _repeats(once_us: float, copies: int) -> int:
    """Calls of a graph: every copy as often as every other."""
    return copies * min(max(1, round(WARM_S * 1e6 / once_us / copies)), MOST_CALLS // copies)


# ---- from sizes to files -----------------------------------------------------------------------

Timed = Callable[[str, Size], tuple[float, float, str]]  # kind, size -> cold and warm us, what ran


def timer(torch: Any, device: str, clock: Cuda | Cpu) -> Timed:
    """Measures one size after the other on a device."""

    def timed(kind: str, size: Size) -> tuple[float, float, str]:
        clock.release()
        w = work(torch, kind, size, device)
        clock.prepare(w)
        cold = clock.cold_us(w)
        return cold, clock.warm_us(w, cold), f"torch {torch.__version__} {w.name}"

    return timed


def write_kind(out: Path, kind: str, sizes: Sequence[Size], timed: Timed) -> int:
    """Measure sizes into `KIND_cold.csv` and `KIND_warm.csv`, a row as soon as it is known; how many there are.

    A size that does not run (too large for the device, no kernel) is said on stderr and left out.
    """
    done = 0
    with (
        (out / f"{kind}_cold.csv").open("w", newline="") as cold,
        (out / f"{kind}_warm.csv").open("w", newline="") as warm,
    ):
        files = (cold, warm)
        for file in files:
            csv.writer(file, lineterminator="\n").writerow((*COLUMNS[kind], "latency_us", "kernel_source"))
        for size in sizes:
            try:
                *us, what = timed(kind, size)
            except RuntimeError as error:  # torch: out of memory, or no kernel
                said = str(error).strip().partition("\n")[0]
                print(f"{kind} {' '.join(map(str, size))}: left out, {said}", file=sys.stderr)
                continue
            for file, t in zip(files, us, strict=True):
                csv.writer(file, lineterminator="\n").writerow((*size, f"{t:.6g}", what))
                file.flush()
            done += 1
    return done


def list_sizes(kinds: Sequence[str], device: str) -> str:
    """All sizes as a CSV per kind, under its name."""
    lines = []
    for kind in kinds:
        lines += [f"# {kind}", ",".join(COLUMNS[kind])]
        lines += [",".join(map(str, size)) for size in chosen(kind, device)]
    return "\n".join(lines)


def chosen(kind: str, device: str) -> tuple[Size, ...]:
    """What a device is measured on: a CPU on a few tiny sizes."""
    return TINY[kind] if device == "cpu" else sizes_of(kind)


def run(argv: Sequence[str]) -> None:
    """Raises Refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda (default; AMD too), or cpu for tiny sizes")
    parser.add_argument("--kinds", default=",".join(COLUMNS), help=f"of {','.join(COLUMNS)} (default: all)")
    parser.add_argument("--sizes", metavar="FILE.csv", help="measure these sizes of one kind")
    parser.add_argument("--list", action="store_true", help="print the sizes and measure nothing")
    parser.add_argument("-o", "--out", metavar="DIR", default="measured", help="where to write (default: measured)")
    args = parser.parse_args(argv)
    kinds = args.kinds.split(",")
    for name, known in ((args.device, CLOCKS), *((k, COLUMNS) for k in kinds)):
        if name not in known:
            raise Refused(f"`{name}` is unknown; known: {', '.join(known)}")
    if args.list:
        print(list_sizes(kinds, args.device))
        return
    given = _given(args.sizes, kinds)
    torch = _torch(args.device)
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"`{out}` cannot be made: {error.strerror}") from error
    clock = CLOCKS[args.device](torch)
    counts = {}
    for kind in kinds:
        counts[kind] = write_kind(out, kind, given or chosen(kind, args.device), timer(torch, args.device, clock))
        print(f"{kind}: {counts[kind]} sizes", file=sys.stderr)
    about = clock.about() | {"torch": torch.__version__, "dtype": "bf16", "copies": COPIES, "sizes": counts}
    (out / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _given(path: str | None, kinds: Sequence[str]) -> tuple[Size, ...] | None:
    if path is None:
        return None
    if len(kinds) != 1:
        raise Refused("--sizes are of one kind: say which with --kinds")
    try:
        return read_sizes(Path(path).read_text(encoding="utf-8").splitlines(), kinds[0])
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"`{path}` cannot be read: {error}") from error


def _torch(device: str) -> Any:
    try:
        import torch  # type: ignore[import-not-found]
    except ImportError as error:
        raise Refused("torch is not installed") from error
    if device == "cuda" and not torch.cuda.is_available():
        raise Refused("torch sees no GPU; --device cpu tries the script without one")
    return torch


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 measured, 2 bad input or nothing to measure on."""
    try:
        run(sys.argv[1:] if argv is None else argv)
    except Refused as error:
        print(f"measure_gpu: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
