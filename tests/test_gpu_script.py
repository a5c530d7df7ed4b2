"""The script that shows all of a GPU, but for its parts: .ci/run rehearses those."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/gpu"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("gpu_script", str(SCRIPT))
    spec = spec_from_loader("gpu_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_parts_on_a_gpu_fit_into_nine_minutes(script: ModuleType) -> None:
    assert sum(script.LIMITS.values()) <= 9 * 60


def test_an_unknown_argument_is_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: .ci/gpu takes --cpu-rehearsal or nothing; found --cpu\n"


@pytest.mark.slow
def test_a_part_that_fails_dies_or_takes_too_long_stops_no_other(script: ModuleType, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    script.STARTED = script.time.monotonic()
    script.ENDINGS = ((script.signal.SIGINT, 30), (script.signal.SIGKILL, 2))
    run = script.Run(tmp_path / "out", sys.executable, project, dict(script.os.environ), 600)
    run.part("fails", 60, "-c", "import sys; sys.exit('no such thing')")
    run.part("dies", 60, "-c", "import os; os.kill(os.getpid(), 9)")
    run.part(
        "hangs", 6, "-c", "import time\ntry:\n  time.sleep(300)\nexcept KeyboardInterrupt:\n  print('what it has')"
    )
    assert run.part("works", 60, "-c", "print('well')") == "well\n"
    assert [part["exit_code"] for part in run.parts] == [1, -9, 124, 0]
    assert run.failed == ["fails", "dies", "hangs"]
    log = (tmp_path / "out/log.txt").read_text()
    assert "no such thing" in log and "what it has" in log and "ran out of time" in log


def test_without_time_a_part_is_not_begun_and_counts_as_failed(script: ModuleType, tmp_path: Path) -> None:
    script.STARTED = script.time.monotonic() - 1000
    run = script.Run(tmp_path / "out", sys.executable, tmp_path, dict(script.os.environ), 540)
    run.part("late", 60, "-c", "raise SystemExit(0)")
    assert run.failed == ["late"] and run.parts[0]["exit_code"] is None
