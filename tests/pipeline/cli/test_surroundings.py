"""Commands run in a folder of any name and in any encoding. They leave the home folder alone, which may be absent."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from mini_sweep import SWEEP

from pipeline.__main__ import main
from pipeline.environment import library_settings

ROOT = Path(__file__).parents[3]
SMALL = [
    *("model.generator.channels=4", "model.discriminator.channels=4", "train.constant_epochs=1"),
    *("train.decay_epochs=0", "data.size=32", "data.train_count=8", "data.test_count=8"),
]
LIBRARIES = ("TORCH_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH")
# What else says where libraries write, and the user's name.
ELSEWHERE = (
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"),
    *("MLFLOW_TRACKING_URI", "USER", "LOGNAME", *LIBRARIES),
)


def run(folder: Path, home: str, *arguments: str, python: str = sys.executable) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    done = subprocess.run(
        [python, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=folder,
        env={**environment, "HOME": home, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["plan", "mini.yaml"], ["train", *SMALL], ["sweep", "mini.yaml"]])
@pytest.mark.parametrize("absent", [False, True])
def test_the_home_folder_stays_empty_and_may_be_absent(tmp_path: Path, command: list[str], absent: bool) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mini.yaml").write_text(SWEEP)
    home = tmp_path / "home"
    home.mkdir()
    # Nobody can make a folder there, not even root.
    said = run(tmp_path / "here", "/proc/none" if absent else str(home), *command)
    assert list(home.iterdir()) == []
    assert "/proc/none" not in said


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("command", ["plan", "status", "tables"])
def test_a_folder_that_an_address_cannot_name_is_refused_before_anything_is_made(
    project: Path, command: str, exported: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`just` exports the address."""
    here = project / "why?"
    here.mkdir()
    (here / "mini.yaml").write_text(SWEEP)
    monkeypatch.chdir(here)
    if exported:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here}/mlflow.db")
    assert main([command, "mini.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {here}/mlflow.db: ") and "Rename the folder" in line
    assert [file.name for file in here.iterdir()] == ["mini.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my project", f"d'Ivoire/ünï/{'x' * 200}"])
def test_a_sweep_runs_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    """Python is there, too. Ray gives its path to a shell."""
    here = tmp_path / name
    here.mkdir(parents=True)
    (here / ".venv").symlink_to(sys.prefix)
    (here / "mini.yaml").write_text(SWEEP)
    run(here, str(tmp_path), "sweep", "mini.yaml", python=str(here / ".venv/bin/python"))
    assert (here / "results/mini/stripes/index.html").exists()


def test_a_folder_for_temporary_files_that_ray_cannot_use_is_named(tmp_path: Path) -> None:
    """The link to Python is there. It must not lead to a restart for ever."""
    (tmp_path / "my project").mkdir()
    python = tmp_path / "my project/.venv"
    python.symlink_to(sys.prefix)
    with tempfile.TemporaryDirectory(prefix="a b", dir="/tmp") as short:
        run = [str(python / "bin/python"), "-m", "pipeline", "status", "mini"]
        told = subprocess.run(run, cwd=ROOT, env={**os.environ, "TMPDIR": short}, capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr.startswith(f"error: TMPDIR={short}: ") and len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_what_a_terminal_cannot_show_is_printed_as_a_code(
    project: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "mini.yaml").write_text(SWEEP.replace("row: CUT", "row: 猫").replace("Does", "Is it ünï? Does"))
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    assert r"\u732b" in run(project, str(project), "plan", "mini.yaml")


def test_libraries_write_into_the_projects_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    (tmp_path / "full/.cache/torch/hub").mkdir(parents=True)
    for home, torch_home in (("empty", [str(tmp_path / "torch")]), ("full", [])):
        monkeypatch.setenv("HOME", str(tmp_path / home))
        found = library_settings(tmp_path)
        assert [found.pop(name) for name in ("TORCH_HOME",) if name in found] == torch_home
        assert (found.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD"), found.pop("OMP_WAIT_POLICY")) == ("1", "passive")
        assert set(found) | {"TORCH_HOME"} == set(LIBRARIES)
        assert {Path(folder).parent for folder in found.values()} == {tmp_path}
