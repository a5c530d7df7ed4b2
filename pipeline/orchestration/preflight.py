"""Checks that must pass before a sweep or a trial starts to train."""

from pipeline.errors import UserError
from pipeline.hardware.cuda import cuda_fault, find_cuda
from pipeline.hardware.device import shares_gpus
from pipeline.metrics.names import has_weights
from pipeline.orchestration.planner import Plan, checkpoint_path


def require_machine(plan: Plan) -> None:
    """Raise UserError if CUDA has a fault, or if a folder of a sweep on CUDA cannot be used.

    A sweep on the CPU checks nothing here, so that it loses no time.
    """
    if plan.machine.device == "cpu":
        return
    from pipeline.checks.machine import folder_checks  # a sweep on the CPU does not need to import it

    config, samples = plan.config, plan.samples_to_draw
    sharing = shares_gpus(config.compute) and len(plan.trials) + samples > 1
    if fault := cuda_fault(find_cuda(), sharing=sharing):
        raise UserError(str(fault))
    new = [planned for planned in plan.trials if not checkpoint_path(config, planned.key).exists()]
    for check in folder_checks(config, len(new) + samples):
        if check.status == "fault":
            raise UserError(str(check).rstrip("."))


def require_metric_networks(plan: Plan) -> None:
    """Raise UserError if a network that the metric needs cannot be loaded or downloaded."""
    metric = plan.config.metric
    if has_weights(metric.extractor) or metric.also or metric.segmentation:
        from pipeline.metrics.extra_metrics import require_networks  # torch-fidelity, which takes a second to import

        require_networks(metric)
