"""What parts of the work cost, measured: the command, and one file for each part."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UserError, nearest

# Each part, and the options that it takes beside --json.
PARTS = {
    "step": ("repeats", "ways", "compile"),
    "data": (),
    "pack": ("repeats",),
    "fid": ("repeats", "images"),
    "sweep": ("trials",),
    "tables": ("trials",),
}
# Those of trials, which the command line may change.
OF_TRIALS = ("step", "pack")
REPEATS = 3


@dataclass(frozen=True)
class BenchOptions:
    """How a bench is run; None and False are the part's own default."""

    trials: int | None = None
    repeats: int | None = None
    images: int | None = None
    ways: str | None = None
    compile: bool = False


def bench(what: str, overrides: Sequence[str], options: BenchOptions, *, as_json: bool) -> int:
    """Measure what a training step (step) and its data (data) cost, what trials side by side do together (pack), what
    evaluating (fid) or running trials (sweep) costs beside the work itself, or what tables cost."""
    if what not in PARTS:
        raise UserError(f"there is no bench {what!r}; {nearest(what, PARTS)}")
    if overrides and what not in OF_TRIALS:
        raise UserError(f"command line: {overrides[0]}: just bench {what} takes no overrides")
    _refuse_options_of_others(what, options)
    repeats = options.repeats or REPEATS
    match what:
        case "step":
            from pipeline.benchmarks.step import bench_step

            ways = options.ways.split(",") if options.ways else []
            bench_step(overrides, repeats, ways=ways, compiling=options.compile, as_json=as_json)
        case "data":
            from pipeline.benchmarks.data import bench_data

            bench_data(as_json=as_json)
        case "pack":
            from pipeline.benchmarks.packing import bench_pack

            bench_pack(overrides, repeats, as_json=as_json)
        case "fid":
            from pipeline.benchmarks.evaluation import bench_fid

            bench_fid(repeats, images=options.images, as_json=as_json)
        case "sweep":
            from pipeline.benchmarks.orchestration import bench_sweep  # Ray

            bench_sweep(options.trials or 300, as_json=as_json)
        case _:
            from pipeline.benchmarks.tables import bench_tables

            bench_tables(options.trials or 10_000, as_json=as_json)
    return 0


def _refuse_options_of_others(what: str, options: BenchOptions) -> None:
    given = {name for name, value in vars(options).items() if value}
    for name in sorted(given - set(PARTS[what])):
        allowed = ", ".join(f"--{option}" for option in (*PARTS[what], "json"))
        raise UserError(f"command line: just bench {what} does not take --{name}. It takes {allowed}. Leave it out.")
