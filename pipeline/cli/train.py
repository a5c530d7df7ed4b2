"""just train: one trial in this process, recorded like any other."""

from pipeline.cli.sweep import _say_what_is_lacking
from pipeline.config.compose import take_options
from pipeline.config.sweep_file import Row, Sweep
from pipeline.errors import UserError
from pipeline.hardware.device import describe_devices
from pipeline.metrics.names import metric_names
from pipeline.orchestration.planner import find_needs, plan_sweep
from pipeline.orchestration.preflight import require_machine, require_means
from pipeline.orchestration.registration import register


def train(overrides: list[str]) -> int:
    """One trial in this process, recorded like any other."""
    values, others = take_options(overrides, ["seed"])
    seed = values.get("seed", 0)
    if type(seed) is not int:
        raise UserError(f"command line: seed is {seed!r}. It must be a whole number")
    single = Sweep("single", "One trial by itself.", (seed,), (Row("single", {}),))
    planned = plan_sweep(single, others)
    if planned.to_train(retry_failed=True):
        print(describe_devices(planned.machine, planned.config.compute), flush=True)
        require_machine(planned)
    require_means(planned)
    metric, _ = metric_names(planned.config.metric.extractor)
    # Who names a single trial wants it, also where it has failed before.
    jobs = register(planned, find_needs(planned), retry_failed=True)
    if not jobs:
        print(f"{planned.trials[0].key} is done already; nothing to train")
        _say_what_is_lacking(planned)
        return 0
    from pipeline.trial.run import run_trial  # torch-fidelity, which takes a second to import

    for job in jobs:
        for at in run_trial(job):
            score = f", {metric} {at.score:.2f}" if at.score is not None else ""
            print(f"{job.key}: step {at.step}/{at.steps}, {at.seconds_per_step:.3f} s/step{score}", flush=True)
    return 0
