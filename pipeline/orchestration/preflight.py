"""What must hold before a trial is trained."""

from pipeline.errors import UserError
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.device import shares_gpus
from pipeline.metrics.names import has_weights
from pipeline.orchestration.planner import Plan, checkpoint_path


def require_machine(planned: Plan) -> None:
    """Fail before anything is trained where CUDA, or a folder of a sweep on CUDA, would stop it.

    A sweep on the CPU checks nothing here, so that it loses no time.
    """
    if planned.machine.device == "cpu":
        return
    from pipeline.checks.machine import folder_checks  # which a sweep on the CPU need not import

    config, drawn = planned.config, planned.samples_to_draw
    sharing = shares_gpus(config.compute) and len(planned.trials) + drawn > 1
    if fault := cuda_fault(find_cuda(), sharing=sharing):
        raise UserError(str(fault))
    new = [found for found in planned.trials if not checkpoint_path(config, found.key).exists()]
    for check in folder_checks(config, len(new) + drawn):
        if check.status == "fault":
            raise UserError(str(check).rstrip("."))


def require_means(planned: Plan) -> None:
    """Fail before anything is trained or recorded where a network of the metric cannot be had."""
    metric = planned.config.metric
    if has_weights(metric.extractor) or metric.also or metric.segmentation:
        from pipeline.metrics.extra_metrics import require_networks  # torch-fidelity, which takes a second to import

        require_networks(metric)
