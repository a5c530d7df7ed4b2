"""just bench: measure what parts of the work cost. pipeline/benchmarks has one file for each part."""

from argparse import Namespace


def bench(given: Namespace) -> int:
    """Measure one part and print a table, or JSON. given: the part and its options (`pipeline.command_line`)."""
    match given.part:
        case "step":
            from pipeline.benchmarks.step import bench_step

            ways, compiling = given.ways, given.compile
            bench_step(given.overrides, given.repeats, ways=ways, compiling=compiling, as_json=given.json)
        case "data":
            from pipeline.benchmarks.data import bench_data

            bench_data(as_json=given.json)
        case "pack":
            from pipeline.benchmarks.packing import bench_pack

            bench_pack(given.overrides, given.repeats, as_json=given.json)
        case "fid":
            from pipeline.benchmarks.evaluation import bench_fid

            bench_fid(given.repeats, images=given.images, as_json=given.json)
        case "sweep":
            from pipeline.benchmarks.orchestration import bench_sweep  # Ray

            bench_sweep(given.trials, as_json=given.json)
        case _:
            from pipeline.benchmarks.tables import bench_tables

            bench_tables(given.trials, as_json=given.json)
    return 0
