"""What parts of the work cost, measured: the command, and one file for each part."""

from pipeline.errors import UserError, nearest

PARTS = ("fid", "sweep", "tables")


def bench(what: str, *, trials: int | None, repeats: int, as_json: bool) -> int:
    """Measure what evaluating (fid) or running trials (sweep) costs beside the work itself, or what tables cost."""
    match what:
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
