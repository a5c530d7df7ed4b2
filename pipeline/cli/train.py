"""just train: one trial in this process, recorded like any other."""

import threading
from pathlib import Path

from analysis.records.names import SINGLE, score_label
from pipeline.checks.addresses import require_addresses
from pipeline.cli.sweep import print_missing_scores
from pipeline.config.compose import take_options
from pipeline.config.sweep_file import Row, Sweep
from pipeline.errors import UserError
from pipeline.hardware.device import describe_devices
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import check_readiness, estimate_requirements
from pipeline.signals import at_first_signal
from pipeline.trial.here import put_data
from pipeline.trial.stop_request import withdraw_stop

# Without this, a slow machine would print nothing for minutes: losses are logged every 100 steps.
LINE_SECONDS = 5.0


def train(overrides: list[str]) -> int:
    """One trial in this process, recorded like any other."""
    values, rest = take_options(overrides, ["seed"])
    seed = values.get("seed", 0)
    if type(seed) is not int:
        raise UserError(f"command line: seed is {seed!r}. It must be a whole number, as in seed=1.")
    require_addresses(rest)
    plan = plan_sweep(Sweep(SINGLE, "One trial by itself.", (seed,), (Row(SINGLE, {}),)), rest)
    # Retry also a trial that has failed: the user asks for this one.
    if not plan.to_train(retry_failed=True):
        register_trials(plan)
        print(f"{plan.trials[0].key} is done already; nothing to train")
        print_missing_scores(plan)
        return 0
    print(describe_devices(plan.machine, plan.config.compute), flush=True)
    check_readiness(plan)
    assert plan.data, "a trial has its data"
    put_data(plan.config.paths, plan.data.folder)
    (job,) = register_trials(plan, estimate_requirements(plan), retry_failed=True)
    withdraw_stop(Path(job.checkpoint).parent, job.stored)
    # torch-fidelity, which takes a second to import
    from pipeline.parallel.processes import LostProcessError
    from pipeline.trial.run import InterruptedTrialError, StopRequestedError, run_trial

    key, score, asked_to_stop = job.key[:8], "", threading.Event()
    label = score_label(plan.metric)
    try:
        with at_first_signal(asked_to_stop.set):
            for at in run_trial(job, asked_to_stop.is_set, LINE_SECONDS):
                score = f", {label} {at.score:.2f}" if at.score is not None else ""
                # A GPU may not have finished its first step.
                pace = f", {at.seconds_per_step:.3f} s/step" if at.seconds_per_step else ""
                print(f"{key}: step {at.step}/{at.steps}{pace}{score}", flush=True)
    except StopRequestedError as error:
        print(f"Stopped by request (just stop). {error} Run the same command to resume.")
        return 1
    except InterruptedTrialError as error:
        print(error)
        raise KeyboardInterrupt from None
    except LostProcessError as error:
        raise UserError(f"{error} Run the same command to resume.") from None
    checkpoint = f"{plan.config.paths.trials}/{job.key}/last.pt"
    print(f"{plan.config.model.method}, seed {seed}: done{score}. Checkpoint: {checkpoint}")
    print(f"Next: just translate {key} INPUT OUTPUT")
    return 0
