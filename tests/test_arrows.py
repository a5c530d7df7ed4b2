"""The arrows between modules, held by reading the imports (docs/architecture.md draws them)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "pipeline", "analysis")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

# Outside systems and the only files that may know them.
ONLY_IN = {
    "ray": {"pipeline/orchestration/ray_tune.py"},
    "hydra": {"pipeline/config/compose.py"},
    "omegaconf": {"pipeline/config/compose.py"},
    "mlflow": {"pipeline/tracking/store.py", "pipeline/checks/store.py", "analysis/records/mlflow_reader.py"},
    "sqlalchemy": {"pipeline/checks/store.py"},
    "alembic": {"pipeline/checks/store.py"},
    "requests": {"pipeline/data/download.py"},
    "optuna": {"pipeline/config/search_space.py"},
    "torch_fidelity": {
        "pipeline/metrics/extractors.py",
        "pipeline/metrics/distances.py",
        "pipeline/metrics/random_conv.py",
    },
    "pynvml": {"pipeline/hardware/gpus.py"},
    "pytorch_fid": {"pipeline/metrics/other_fid.py"},
    "cleanfid": {"pipeline/metrics/other_fid.py"},
    "matplotlib": {
        "analysis/figures/data.py",
        "analysis/figures/draw.py",
        "analysis/figures/intervals.py",
        "analysis/figures/style.py",
    },
    "jinja2": {"analysis/report/page.py"},
}


def imports(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def roots(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(file)}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_outside_systems_are_known_to_one_file_each(file: Path) -> None:
    for system, allowed in ONLY_IN.items():
        assert system not in roots(file) or name_of(file) in allowed


def test_models_import_only_torch_and_the_standard_library() -> None:
    for file in (ROOT / "models").glob("*.py"):
        assert roots(file) <= {"models", "torch", *sys.stdlib_module_names}, file


def test_analysis_imports_no_training_code() -> None:
    for file in (ROOT / "analysis").rglob("*.py"):
        assert not roots(file) & {"torch", "models", "pipeline"}, file


def test_training_parts_import_without_ray_mlflow_and_hydra() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['ray', 'mlflow', 'hydra', 'omegaconf']));"
    code = f"{blocked} import models, pipeline.training.loop, pipeline.metrics.distances"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_worker_of_ray_starts_without_torch() -> None:
    """It passes a job's text on; what trains is forked from the nursery."""
    code = "import sys, pipeline.orchestration.ray_tune; assert not {'torch', 'mlflow', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
