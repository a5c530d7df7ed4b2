"""just bench: measure what parts of the work cost. pipeline/benchmarks has one file for each part."""

from argparse import Namespace


def bench(given: Namespace) -> int:
    """Measure one part and print a table, or JSON. given: the part and its options (`pipeline.command_line`)."""
    from pipeline.benchmarks.report import print_report

    match given.part:
        case "step":
            from pipeline.benchmarks.step import bench_step

            report = bench_step(
                given.overrides, given.repeats, only=given.ways, compiling=given.compile, choices=given.choices
            )
        case "data":
            from pipeline.benchmarks.data import bench_data

            report = bench_data()
        case "pack":
            from pipeline.benchmarks.packing import bench_pack

            report = bench_pack(given.overrides, given.repeats)
        case "fid":
            from pipeline.benchmarks.evaluation import bench_fid

            report = bench_fid(given.repeats, images=given.images)
        case "start":
            from pipeline.benchmarks.start import bench_start

            report = bench_start(given.repeats)
        case "sweep":
            from pipeline.benchmarks.orchestration import bench_sweep  # Ray

            report = bench_sweep(given.trials)
        case "scale":
            from pipeline.benchmarks.scale.bench import bench_scale

            report = bench_scale(given.trials, given.store)
        case _:
            from pipeline.benchmarks.tables import bench_tables

            report = bench_tables(given.trials)
    print_report(report, as_json=given.json)
    return 0
