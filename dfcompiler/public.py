"""What `import dfcompiler as dfc` gives: a function for each thing that the command line does, under its name.

A model and a chip are given by name, by path, or as `model()` and `chip()` made them. What is wrong with an input
raises `Diag`, a legal question whose answer is no `Infeasible`, both with the message that the command line prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from dfcompiler import registry
from dfcompiler.api import Compiled, Priced, compile_model, price_op
from dfcompiler.diagnostics import Diag, Note, unknown
from dfcompiler.graph import Graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.models import Model, library, load_model, model_names
from dfcompiler.outputs import rtl_package, write_outputs
from dfcompiler.parallelism import Parallel
from dfcompiler.pipeline import PIPELINES
from dfcompiler.rtl import Package, from_json, render
from dfcompiler.rtl import validate as validated
from dfcompiler.rtl import write as write_package
from dfcompiler.rtl.benches import cores as cores_of
from dfcompiler.serving import loads, runs
from dfcompiler.serving.answers import Objectives, objectives
from dfcompiler.serving.capacity import HOST_S, UTILIZATION
from dfcompiler.serving.cluster import Role
from dfcompiler.serving.engine import Engine
from dfcompiler.serving.loads import Load
from dfcompiler.serving.replicas import replicas as make_replicas
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.runs import Dispatch, Run
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.workloads import workload_names
from dfcompiler.steps import Step
from dfcompiler.steps import phase as phase_of
from dfcompiler.text.parse import read_source
from dfcompiler.validation import Validation, read_measured
from dfcompiler.validation import validate as compared

AnyModel: TypeAlias = Model | str | Path
AnyChip: TypeAlias = Chip | str | Path
Setting: TypeAlias = Mapping[str, str | int | float]
Size: TypeAlias = float | Sequence[float]
Pools: TypeAlias = Sequence[tuple[Role, AnyChip | None, int]]

_NAMES: dict[str, Callable[[], Sequence[str]]] = {
    "ops": lambda: sorted(library().ops),
    "models": model_names,
    "templates": lambda: registry.names("template"),
    "chips": chip_names,
    "passes": lambda: registry.names("pass"),
    "pipelines": lambda: list(PIPELINES),
    "policies": lambda: registry.names("policy"),
    "routers": lambda: registry.names("router"),
    "workloads": workload_names,
}


def names(kind: str) -> list[str]:
    """The names of all `ops`, `models`, `templates`, `chips`, `passes`, `pipelines`, `policies`, `routers` or
    `workloads`, ours and those of plug-ins. Raises Diag `unknown-kind`."""
    if kind not in _NAMES:
        raise unknown("kind", kind, _NAMES)
    return list(_NAMES[kind]())


def model(spec: str | Path) -> Model:
    """A model by its name, a `config.json`, a folder with one, or a `.dfm` file. Raises what `load_model` raises."""
    return load_model(str(spec))


def chip(spec: str | Path, *, set: Setting | Sequence[str] = (), without: Sequence[str] = ()) -> Chip:
    """A chip by its name or from a `.chip` file.

    `set` changes it: `{"sa.rows": 128, "hbm.bandwidth": "3 TB/s"}`, or the texts `sa.rows=128` of the command line, of
    which the last for an axis wins; `without` leaves compute units out. Raises what `load_chip` raises.
    """
    texts = [f"{name}={value}" for name, value in set.items()] if isinstance(set, Mapping) else set
    return load_chip(str(spec), overrides(texts), without)


def compile(
    model: AnyModel,
    chip: AnyChip,
    step: Step | str = "prefill",
    *,
    batch: int | None = None,
    seq: int | None = None,
    context: int | None = None,
    dtype: str | None = None,
    devices: int | None = None,
    tp: int = 1,
    ep: int = 1,
    dp: int = 1,
    pp: int = 1,
    pipeline: str = "default",
    objective: str = "latency",
    power_w: float | None = None,
    time_limit_s: float = 60.0,
    seed: int = 0,
    verify: bool = False,
    on_note: Callable[[Note], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    after: Callable[[str, Graph, float], None] | None = None,
) -> Compiled:
    """Map one step of a model onto a chip: `prefill`, `decode` or `mixed` with `batch`, `seq` and `context` as
    `--phase` has them, or any step that `dfcompiler.steps.step` makes.

    `devices`, `tp`, `ep`, `dp`, `pp` split it over several chips. `after(name, graph, seconds)` sees the graph behind
    each pass, `on_note` hears what passes remark, `on_progress` how much of a pass is done, and of how much. Raises
    what `compile_model` raises, and Diag `bad-option`.
    """
    if isinstance(step, Step) and (batch, seq, context) != (None, None, None):
        raise Diag("bad-option", "a step that is made has its own batch, seq and context")
    work = step if isinstance(step, Step) else phase_of(step, batch, seq, context)
    parallel = Parallel(devices, tp, ep, dp, pp)
    return compile_model(
        _model(model),
        _chip(chip),
        work,
        dtype=dtype,
        parallel=parallel,
        pipeline=pipeline,
        objective=objective,
        power_w=power_w,
        time_limit_s=time_limit_s,
        seed=checked_seed(seed),
        verify=verify,
        on_note=on_note,
        on_progress=on_progress,
        after=after,
    )


def price(
    op: str, sizes: Mapping[str, Size], chip: AnyChip, *, dtype: str = "w16a16kv16", unit: str | None = None
) -> Priced:
    """The best tiling of one op over all units of a chip (or on `unit`): `price("linear", {"t": (1, 2048), "k": 4096,
    "n": 4096}, "ador")`. Raises what `price_op` raises."""
    given = {name: tuple(size) if isinstance(size, Sequence) else (size,) for name, size in sizes.items()}
    return price_op(op, given, _chip(chip), dtype=dtype, unit=unit)


def validate(
    file: str | Path,
    op: str,
    chip: AnyChip,
    *,
    dtype: str = "w16a16kv16",
    min_us: float = 0.0,
    cold: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """A CSV of measurements against the model: a column per size, and one of times. Raises what `read_measured` and
    `validation.validate` raise."""
    on = _chip(chip)
    table = read_measured(Path(file), on.clock_hz)
    return compared(table, op, on, dtype=dtype, min_us=min_us, warm=not cold, tick=on_progress)


# ---- serving -----------------------------------------------------------------------------------


def workload(
    rate_per_s: float = 1.0,
    *,
    lengths: str = loads.LENGTHS,
    requests: int = loads.REQUESTS,
    arrivals: str = "poisson",
    spread: float | None = None,
    seed: int = 0,
) -> Load:
    """Requests at a rate: `lengths` are `PROMPT,OUTPUT` tokens, a name of `names("workloads")`, or a trace to draw
    from; `arrivals` are `poisson`, `gamma` or `bursty`. Raises what `loads.drawn` raises."""
    return loads.drawn(
        rate_per_s, arrivals=arrivals, lengths_of=lengths, count=requests, spread=spread, seed=checked_seed(seed)
    )


def trace(
    file: str | Path, *, sort: bool = False, requests: int | None = None, rate_per_s: float | None = None
) -> Load:
    """The requests of a CSV or JSONL file, the first so many of them, stretched to a rate. Raises what
    `loads.recorded` raises."""
    return loads.recorded(Path(file), sort=sort, count=requests, rate_per_s=rate_per_s)


def serve(
    model: AnyModel,
    chip: AnyChip,
    load: Load | Requests | str | Path | None = None,
    *,
    slo: Objectives | str | None = None,
    find_rate: bool = False,
    attain: float = 0.99,
    dtype: str | None = None,
    devices: int | None = None,
    tp: int = 1,
    ep: int = 1,
    dp: int = 1,
    pp: int = 1,
    replicas: int = 1,
    pools: Pools = (),
    policy: str = "fcfs",
    router: str = "round-robin",
    semantics: str = "vllm-v1",
    max_tokens: int = 2048,
    max_sequences: int = 256,
    block_tokens: int = 16,
    prefix_caching: bool = False,
    host_s: float = HOST_S,
    memory_utilization: float = UTILIZATION,
    simulator: Engine = "lazy",
    check: int = 0,
    on_run: Callable[[Requests], None] | None = None,
) -> Run:
    """What users feel of a model under a load (default: `workload()`; a path is that of a trace).

    `slo` is `ttft=1,tbt=0.1` in seconds; with `find_rate` the run is that at the highest rate at which the part
    `attain` of the requests keeps to it. `pools` are (role, chip or None, replicas): `[("prefill", None, 1),
    ("decode", "h200", 2)]`, else there are `replicas` that do both. `check` compiles so many random steps to tell the
    error of those that are looked up. Raises Diag and Infeasible as the modules of `dfcompiler.serving` say.
    """
    wanted = objectives(slo) if isinstance(slo, str) else slo or Objectives()
    by = Dispatch(policy, router, simulator)
    settings = Settings(semantics, max_tokens, max_sequences, block_tokens, prefix_caching)
    parallel = Parallel(devices, tp, ep, dp, pp)
    if not pools and replicas < 1:
        raise Diag("bad-cluster", f"--replicas must be at least 1, got {replicas}")
    asked = _load(load)
    served, first = _model(model), _chip(chip)
    made = [
        make_replicas(
            served, first if on is None else _chip(on), asked.requests, settings, parallel=parallel, dtype=dtype,
            count=count, role=role, host_s=host_s, utilization=memory_utilization, check=check,
        )
        for role, on, count in pools or [("both", None, replicas)]
    ]  # fmt: skip
    part = attain if find_rate else None
    return runs.run(served.name, first.name, asked, made, by, wanted=wanted, rate_for=part, on_run=on_run)


def _load(load: Load | Requests | str | Path | None) -> Load:
    if isinstance(load, Load):
        return load
    if isinstance(load, Requests):
        return loads.of(load)
    return workload() if load is None else trace(load)


# ---- files -------------------------------------------------------------------------------------


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
    on = source.chip if isinstance(source, Compiled) else None if folder else _chip(source)
    if folder is not None:
        package = _kept(folder, name)
    elif isinstance(source, Compiled):
        package = rtl_package(source.chip, source.report, name, source.graph)
    else:
        package = rtl_package(_chip(source), None, name)
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


# ---- what is given by name ---------------------------------------------------------------------


def _model(given: AnyModel) -> Model:
    return given if isinstance(given, Model) else model(given)


def _chip(given: AnyChip) -> Chip:
    return given if isinstance(given, Chip) else chip(given)


def checked_seed(seed: int) -> int:
    """A seed of the solver; raises Diag `bad-option` where it takes none such."""
    if not 0 <= seed < 2**31:
        raise Diag("bad-option", f"--seed must be from 0 to {2**31 - 1}, got {seed}")
    return seed
