"""What parts of the work cost, measured: the command, and one file for each part."""

from collections.abc import Sequence

from pipeline.errors import UserError, nearest

PARTS = ("step", "data", "pack", "fid", "sweep", "tables")
# Those of trials, which the command line may change.
OF_TRIALS = ("step", "pack")


def bench(what: str, overrides: Sequence[str], *, trials: int | None, repeats: int, as_json: bool) -> int:
    """Measure what a training step (step) and its data (data) cost, what trials side by side do together (pack), what
    evaluating (fid) or running trials (sweep) costs beside the work itself, or what tables cost."""
    if overrides and what not in OF_TRIALS:
        raise UserError(f"command line: {overrides[0]}: just bench {what} takes no overrides")
    match what:
        case "step":
            from pipeline.bench_step import bench_step

            bench_step(overrides, repeats, as_json=as_json)
        case "data":
            from pipeline.bench_data import bench_data

            bench_data(as_json=as_json)
        case "pack":
            from pipeline.bench_pack import bench_pack

            bench_pack(overrides, repeats, as_json=as_json)
        case "fid":
            from pipeline.bench_fid import bench_fid

            bench_fid(repeats, as_json=as_json)
        case "sweep":
            from pipeline.bench_sweep import bench_sweep  # Ray

            bench_sweep(trials or 300, as_json=as_json)
        case "tables":
            from pipeline.bench_tables import bench_tables

            bench_tables(trials or 10_000, as_json=as_json)
        case _:
            raise UserError(f"there is no bench {what!r}; {nearest(what, PARTS)}")
    return 0
