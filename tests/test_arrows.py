"""The arrows between modules, held by reading the imports (docs/architecture.md draws them)."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("models", "pipeline", "analysis")
FILES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

# Outside systems and the only files that may know them.
ONLY_IN = {
    "ray": {"pipeline/launch.py"},
    "hydra": {"pipeline/config.py"},
    "omegaconf": {"pipeline/config.py"},
    "mlflow": {"pipeline/tracking.py", "pipeline/store_health.py", "analysis/runs.py"},
    "sqlalchemy": {"pipeline/store_health.py"},
    "alembic": {"pipeline/store_health.py"},
    "requests": {"pipeline/fetch.py"},
    "optuna": {"pipeline/search.py"},
    "torch_fidelity": {"pipeline/extractors.py", "pipeline/fid.py", "pipeline/small_extractor.py"},
    "pynvml": {"pipeline/gpus.py"},
    "pytorch_fid": {"pipeline/compare.py"},
    "cleanfid": {"pipeline/compare.py"},
    "matplotlib": {f"analysis/{name}.py" for name in ("figure_data", "figures", "interval_figures", "plot_style")},
    "jinja2": {"analysis/page.py"},
}
# What each module of pipeline may import of pipeline: an arrow not listed is an arrow not meant.
ARROWS = {
    "errors": set(),
    "metrics": set(),
    "eta": set(),
    "timing": set(),
    "gpus": set(),
    "energy": {"gpus"},
    "cuda": {"errors", "gpus", "mps"},
    "cgroup": set(),
    "environment": set(),
    "fid": set(),
    "stripes": set(),
    "memory": {"errors"},
    "ahead": set(),
    "transfer": set(),
    "writer": {"transfer"},
    "graphs": {"memory", "transfer"},
    "trainer": {"ahead", "graphs", "timing", "transfer"},
    "calibration": {"metrics"},
    "segmentation": {"errors", "memory"},
    "small_extractor": {"metrics"},
    "checkpoint": {"errors", "settings", "writer"},
    "claim": {"errors"},
    "settings": set(),
    "compute": {"cgroup", "cuda", "errors", "gpus", "settings"},
    "circumstances": {"compute", "settings"},
    "mps": {"environment", "errors", "settings"},
    "job": {"settings"},
    "identity": {"settings"},
    "search": {"errors"},
    "config": {"errors", "identity", "settings"},
    "tracking": {"errors"},
    "ui_views": set(),
    "pictures": {"errors"},
    "data": {"errors", "identity", "pictures", "settings", "stripes", "trainer"},
    "fetch": {"errors"},
    "datasets": {"data", "errors", "fetch", "pictures"},
    "compare": {"errors", "pictures"},
    "extractors": {"errors", "metrics", "small_extractor"},
    "features": {"errors", "extractors"},
    "measures": {"errors", "extractors", "features", "fid", "metrics", "segmentation", "settings"},
    "evaluate": {
        *("data", "errors", "extractors", "features", "fid", "measures", "metrics", "pictures", "settings"),
        "transfer",
    },
    "meter": {"energy", "graphs", "job", "memory", "trainer"},
    "trained": {"checkpoint", "errors", "settings", "tracking"},
    "translate": {"errors", "pictures"},
    "cost": {"compute", "memory", "settings", "trainer"},
    "packing": {"compute", "errors", "job", "settings"},
    "forecast": {"circumstances", "compute", "cost", "packing", "settings", "tracking"},
    "trial": {
        *("checkpoint", "circumstances", "claim", "compute", "data", "errors", "evaluate", "job", "memory", "meter"),
        *("metrics", "mps", "packing", "settings", "tracking", "trainer", "writer"),
    },
    "worker": {"job", "tracking", "trial"},
    "sweep": {"config", "errors", "identity", "search", "settings"},
    "register": {"identity", "job", "plan", "sweep"},
    "plan": {
        *("circumstances", "claim", "compute", "config", "cost", "data", "errors", "extractors", "forecast"),
        *("identity", "job", "metrics", "packing", "search", "settings", "sweep", "tracking"),
    },
    "progress": {"eta", "job"},
    "launch": {"errors", "job", "worker"},
    "show": {
        *("claim", "compute", "config", "cost", "eta", "forecast", "job", "mps", "packing", "plan", "settings"),
        "sweep",
    },
    "bench_report": set(),
    "bench_peaks": set(),
    "bench_process": {"errors"},
    "bench_training": {"compute", "data", "memory", "settings", "trainer", "trial"},
    "bench_ways": {
        *("bench_process", "bench_training", "compute", "config", "errors", "graphs", "memory", "settings", "timing"),
    },
    "bench_fid": {"bench_report", "compute", "data", "evaluate", "extractors", "features", "metrics", "settings"},
    "bench_sweep": {"bench_report", "compute", "job", "launch", "plan", "register", "sweep", "worker"},
    "bench_tables": {"bench_report", "compute", "config", "identity", "tracking"},
    "bench_step": {"bench_peaks", "bench_report", "bench_ways", "compute", "config", "cost", "settings"},
    "bench_data": {"bench_report", "compute", "data", "settings", "stripes", "trainer"},
    "bench_pack": {
        *("bench_process", "bench_report", "bench_training", "compute", "config", "errors", "graphs", "mps"),
        *("settings", "trainer"),
    },
    "bench": {"bench_data", "bench_fid", "bench_pack", "bench_step", "bench_sweep", "bench_tables", "errors"},
    "manage": {"claim", "errors", "metrics", "plan", "sweep"},
    "rounds": {
        *("claim", "errors", "job", "launch", "metrics", "packing", "plan", "progress", "register", "search"),
        "sweep",
    },
    "checks": {"cgroup", "compute", "errors", "settings", "trainer"},
    "store_health": {"checks", "environment", "errors"},
    "service_checks": {"checks", "errors", "extractors", "metrics", "settings", "store_health"},
    "selftest": {"config", "graphs", "settings", "trainer", "trial"},
    "gpu_checks": {"checks", "compute", "cuda", "gpus", "selftest", "settings"},
    "doctor": {
        *("checks", "compute", "config", "cost", "cuda", "errors", "gpu_checks", "job", "packing"),
        *("service_checks", "settings"),
    },
    "conduct": {
        *("checks", "compute", "config", "cuda", "errors", "identity", "launch", "measures", "metrics", "mps", "plan"),
        *("register", "rounds", "sweep", "trial", "ui_views", "worker"),
    },
    "apply": {"checkpoint", "compute", "config", "trained", "translate"},
    "score": {
        *("apply", "calibration", "compare", "compute", "config", "data", "errors", "evaluate", "metrics"),
        *("settings", "tracking", "trained"),
    },
    "__main__": {"apply", "bench", "conduct", "datasets", "doctor", "errors", "manage", "memory", "score", "show"},
}


# The same for analysis.
ANALYSIS_ARROWS = {
    "records": set(),
    "estimates": {"records"},
    "columns": {"estimates", "records"},
    "paper": {"estimates", "records"},
    "qualitative": {"records"},
    "export": {"records"},
    "runs": {"records"},
    "comparability": {"records"},
    "tables": {"columns", "comparability", "estimates", "paper", "records"},
    "legend": {"columns", "estimates", "records"},
    "findings": {"columns", "comparability", "estimates", "records", "tables"},
    "rendering": {"legend", "records", "tables"},
    "comparison": {"columns", "comparability", "estimates", "findings", "records", "rendering", "tables"},
    "plot_style": set(),
    "figure_data": {"columns", "estimates", "records"},
    "interval_figures": {"figure_data", "plot_style"},
    "figures": {
        *("columns", "estimates", "figure_data", "findings", "interval_figures", "plot_style", "qualitative"),
        "records",
    },
    "page": {"qualitative"},
    "report": {
        *("figure_data", "findings", "legend", "page", "plot_style", "qualitative", "records", "rendering", "tables"),
    },
    "table_files": {"paper", "records", "rendering", "runs", "tables"},
    "results": {
        *("columns", "estimates", "export", "figure_data", "figures", "findings", "page", "paper", "plot_style"),
        *("qualitative", "records", "report", "runs", "table_files", "tables"),
    },
    "benchmarks": {"records"},
    "documents": {
        "benchmarks",
        "export",
        "figures",
        "findings",
        "paper",
        "plot_style",
        "records",
        "rendering",
        "tables",
    },
    "__main__": {"comparison", "documents", "records", "results", "runs"},
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
    for file in (ROOT / "analysis").glob("*.py"):
        assert not roots(file) & {"torch", "models", "pipeline"}, file


@pytest.mark.parametrize(("package", "arrows"), [("pipeline", ARROWS), ("analysis", ANALYSIS_ARROWS)])
def test_modules_follow_the_drawn_arrows(package: str, arrows: dict[str, set[str]]) -> None:
    for file in (ROOT / package).glob("*.py"):
        if file.stem == "__init__":
            continue
        found = {name.split(".")[1] for name in imports(file) if name.startswith(f"{package}.")}
        assert found == arrows[file.stem], file


def test_the_drawn_arrows_make_no_circle() -> None:
    for arrows in (ARROWS, ANALYSIS_ARROWS):
        tuple(TopologicalSorter(arrows).static_order())


def test_training_parts_import_without_ray_mlflow_and_hydra() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['ray', 'mlflow', 'hydra', 'omegaconf']));"
    code = f"{blocked} import models, pipeline.trainer, pipeline.fid"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_worker_of_ray_starts_without_torch() -> None:
    """It passes a job's text on; what trains is forked from the nursery."""
    code = "import sys, pipeline.launch; assert not {'torch', 'mlflow', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
