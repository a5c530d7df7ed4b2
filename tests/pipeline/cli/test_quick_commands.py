"""Commands that only look import neither torch nor MLflow, which take seconds. `just bench start` has the times."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main as pipeline
from pipeline.config.sweep_file import load_sweep
from pipeline.orchestration.planner import plan_sweep
from pipeline.orchestration.registration import register_trials
from pipeline.orchestration.requirements import estimate_requirements

SLOW = ("torch", "mlflow", "pandas", "scipy", "sqlalchemy", "ray", "matplotlib")
# Prints the slow modules that a command has imported, and its exit code.
RUN = f"""
import sys
from pipeline.__main__ import main
code = main(sys.argv[1:])
print("imported:", *[name for name in {SLOW!r} if name in sys.modules], f"code {{code}}")
"""


@pytest.fixture
def recorded(project: Path, tiny_overrides: tuple[str, ...]) -> tuple[str, ...]:
    """A sweep that is planned and recorded, whose step costs are in the cache."""
    plan = plan_sweep(load_sweep("smoke"), tiny_overrides)
    register_trials(plan, estimate_requirements(plan))
    assert pipeline(["plan", "smoke", *tiny_overrides]) == 0
    return tiny_overrides


def test_looking_imports_nothing_slow(recorded: tuple[str, ...]) -> None:
    for command, code in (
        (["status", "smoke"], 0),
        (["plan", "smoke", *recorded], 0),
        (["plan", "nosuch"], 2),
        (["sweep", "smoke", "train.nosuch=1"], 2),
        (["status", "nosuch"], 2),
        (["stop", "smoke", "CUT"], 0),
    ):
        done = subprocess.run([sys.executable, "-c", RUN, *command], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == f"imported: code {code}", (command, done.stdout, done.stderr)
