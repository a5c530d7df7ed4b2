"""A trial whose negatives and loss are functions of the user's file."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from mlflow.artifacts import load_text
from trial_jobs import history, job_of

from pipeline.config.schema import Config
from pipeline.inference.load import load_trained
from pipeline.trial.run import run_trial

CODE = """
from models.negatives import internal

def hardest(patches):
    return internal(patches).topk(4).values

def moved(source, output):
    return (output - source).abs().mean()
"""


def test_a_trial_of_the_users_code_keeps_it_and_resumes_without_the_file(
    project: Path, tiny: Callable[..., Config]
) -> None:
    file = project / "mine.py"
    file.write_text(CODE)
    settings = [f"model.code={file}", "model.negatives=[hardest]", "model.extra_loss=moved"]
    whole = job_of(tiny(*settings))
    list(run_trial(whole))
    losses = history(whole)
    assert {"train/generator/extra", "train/generator/nce_a"} <= losses.keys()
    uri = f"runs:/{whole.run_id}/code.py"
    assert load_text(uri) == CODE

    stopped = job_of(tiny(*settings, "seed=1"))
    file.unlink()
    list(islice(run_trial(stopped), 2))
    resumed = [progress.first_step for progress in run_trial(stopped)]
    assert resumed[0] == 6
    assert load_trained(Path(stopped.checkpoint)).step == 12
