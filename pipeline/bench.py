"""What parts of the work cost, measured: the command, and one file for each part."""

from pipeline.errors import UserError, nearest

PARTS = ("fid", "sweep")


def bench(what: str, *, trials: int, repeats: int, as_json: bool) -> int:
    """Measure what evaluating (fid) or running trials (sweep) costs beside the work itself."""
    match what:
        case "fid":
            from pipeline.bench_fid import bench_fid

            bench_fid(repeats, as_json=as_json)
        case "sweep":
            from pipeline.bench_sweep import bench_sweep  # Ray

            bench_sweep(trials, as_json=as_json)
        case _:
            raise UserError(f"there is no bench {what!r}; {nearest(what, PARTS)}")
    return 0
